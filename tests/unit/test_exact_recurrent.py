# SPDX-License-Identifier: Apache-2.0
"""Unrolled recurrent layers: the cells against plain fractions, and what the steps share in the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import linear
from toolchain.frontends.exact.functions import RECTIFIER, Affine, Clip, Curve, Float32
from toolchain.frontends.exact.quantiser import Quantiser
from toolchain.frontends.exact.recurrent import Apply, Arithmetic, Gate, Gru, Lstm, stacked, unroll
from toolchain.frontends.exact.requantise import requantise
from toolchain.frontends.exact.values import ONE, Fractions, Line, Site, Weights
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.thresholds import round_exactly
from toolchain.ir import Dense, Input, IntegerType, Threshold, interpret

SITE = Site("layer", "layer 'layer'", "model: layer 'layer'")
ELEMENT = IntegerType(True, 4, 1)
STEPS, FEATURES, UNITS = 5, 3, 2
#: One step for all, so that sums stay within the bits that values may be aligned in; the other is a power of two.
STEP_SIZES = {"powers of two": Fraction(1, 4), "free": Fraction(3, 10)}

Vector = list[Fraction]


@dataclass(frozen=True)
class Quantising:
    """A quantiser, as what it does to a line and as what it means."""

    quantiser: Quantiser

    def apply(self, walk: Walk) -> Apply:
        return lambda line, site: requantise(walk, line, self.quantiser, site)

    def mean(self, values: Vector) -> Vector:
        q = self.quantiser
        rounded = [round_exactly(v / q.steps[0], q.rounding) for v in values]
        return [min(max(r, q.lowest), q.highest) * q.steps[0] for r in rounded]


def product(x: Vector, weights: Weights) -> Vector:
    steps = weights.steps * (weights.outputs if len(weights.steps) == 1 else 1)
    return [
        sum((v * int(w) for v, w in zip(x, weights.integers[:, unit], strict=True)), Fraction(0)) * steps[unit]
        for unit in range(weights.outputs)
    ]


def plus(a: Vector, b: Sequence[Fraction]) -> Vector:
    return [x + y for x, y in zip(a, b, strict=True)]


def times(a: Vector, b: Sequence[Fraction]) -> Vector:
    return [x * y for x, y in zip(a, b, strict=True)]


def rest(a: Vector, one: Fraction = ONE) -> Vector:
    return [one - x for x in a]


@dataclass(frozen=True)
class Parameters:
    kernel: Weights
    hidden: Weights
    bias: Fractions


class Network:
    """A walk with one input of shape (steps, features), and random gates on it."""

    def __init__(self, step: Fraction, names: Sequence[str], seed: int = 3) -> None:
        random = np.random.default_rng(seed)

        def weights(inputs: int) -> Weights:
            return Weights(random.integers(-3, 4, (inputs, UNITS)), (step,))

        self.walk = Walk("net", "test")
        self.step = step
        tensor = self.walk.builder.add(Input((STEPS, FEATURES), ELEMENT), name="x")
        self.x = Line(tensor, (STEPS, FEATURES), (Fraction(1, 2),))
        self.parameters = {
            name: Parameters(
                weights(FEATURES), weights(UNITS), tuple(step * int(v) for v in random.integers(-4, 5, UNITS))
            )
            for name in names
        }
        self.samples = random.integers(ELEMENT.minimum, ELEMENT.maximum + 1, (60, STEPS, FEATURES))
        #: For gates and results, with ends that are reached.
        self.gate = Quantising(Quantiser((step / 8,), 0, 15))
        self.signed = Quantising(Quantiser((step / 4,), -8, 7))

    def rows(self) -> dict[str, Line]:
        found = {}
        for name, p in self.parameters.items():
            line = linear.dense(self.walk, self.x, p.kernel, SITE.inner(name))
            found[name] = self.walk.emitted(linear.with_bias(self.walk, line, p.bias), SITE.inner(name))
        return found

    def row(self, name: str, x: Vector) -> Vector:
        p = self.parameters[name]
        return plus(product(x, p.kernel), p.bias)

    def check(self, results: Sequence[Line], expected: Callable[[list[Vector]], list[Vector]]) -> None:
        """The results' exact values are those of `expected` for every sample."""
        for number, line in enumerate(results):
            self.walk.builder.output(line.tensor, name=f"y{number}")
        graph = self.walk.builder.build()
        values = interpret(graph, {"x": self.samples})
        distinct = set()
        for sample, integers in enumerate(self.samples):
            wanted = expected([[Fraction(int(v), 2) for v in row] for row in integers])
            for line, vector in zip(results, wanted, strict=True):
                found = values[line.tensor][sample].reshape(-1)
                scale, offset = line.spread(line.scale), line.spread(line.offset)
                assert [int(v) * s + o for v, s, o in zip(found, scale, offset, strict=True)] == vector
                distinct.update(vector)
        assert len(distinct) > 3


def last_states(after: tuple[Line, ...], place: Site) -> tuple[Line | None, ...]:
    return after


@pytest.fixture(params=STEP_SIZES)
def step_size(request: pytest.FixtureRequest) -> Fraction:
    return STEP_SIZES[request.param]


# ---- cells -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [range(STEPS), range(STEPS)[::-1]], ids=["forward", "backward"])
@pytest.mark.parametrize("is_coupled", [False, True])
def test_lstm(step_size: Fraction, is_coupled: bool, order: Sequence[int]) -> None:
    net = Network(step_size, "ico" if is_coupled else "ifco")
    walk, gate, signed = net.walk, net.gate, net.signed
    part = Quantising(Quantiser((step_size / 16,), -40, 40))
    squash = Quantising(Quantiser((step_size / 2,), -2, 3))
    one = Fraction(15, 8) * step_size
    gates = {
        name: Gate(name, p.hidden, (signed if name == "c" else gate).apply(walk)) for name, p in net.parameters.items()
    }
    cell = Lstm(
        gates["i"],
        gates.get("f"),
        gates["c"],
        gates["o"],
        squash=squash.apply(walk),
        part=part.apply(walk),
        carry=signed.apply(walk),
        output=signed.apply(walk),
        one=one,
    )
    do = Arithmetic(walk)

    def step(rows: Mapping[str, Line], states: tuple[Line | None, ...], site: Site) -> tuple[Line, tuple[Line, ...]]:
        h, carried = cell.step(do, rows, *states, site)
        return h, (h, carried)

    results, states = unroll(walk, net.rows(), order, (None, None), last_states, step, SITE)

    def expected(x: list[Vector]) -> list[Vector]:
        h = carried = [Fraction(0)] * UNITS
        found = []
        for number, index in enumerate(order):
            sums = {
                name: plus(net.row(name, x[index]), product(h, p.hidden)) if number else net.row(name, x[index])
                for name, p in net.parameters.items()
            }
            i, o, c = gate.mean(sums["i"]), gate.mean(sums["o"]), signed.mean(sums["c"])
            new = part.mean(times(i, c))
            if number:
                f = rest(i, one) if is_coupled else gate.mean(sums["f"])
                new = plus(part.mean(times(f, carried)), new)
            carried = signed.mean(new)
            h = signed.mean(times(o, squash.mean(carried)))
            found.append(h)
        return [*found, h, carried]

    net.check([*results, *states], expected)


GRUS = {
    "resets before": (False, None),
    "resets after": (True, None),
    "resets after, with a bias": (True, (Fraction(3, 4), Fraction(-1, 2))),
    "resets after, with a bias of zeros": (True, (Fraction(0), Fraction(0))),
}


@pytest.mark.parametrize("name", GRUS)
def test_gru(step_size: Fraction, name: str) -> None:
    resets_after, bias = GRUS[name]
    net = Network(step_size, "zrh")
    walk, gate, signed = net.walk, net.gate, net.signed
    gates = {
        name: Gate(name, p.hidden, (signed if name == "h" else gate).apply(walk)) for name, p in net.parameters.items()
    }
    cell, do = Gru(gates["z"], gates["r"], gates["h"], resets_after, bias), Arithmetic(walk)

    def step(rows: Mapping[str, Line], states: tuple[Line | None, ...], site: Site) -> tuple[Line, tuple[Line, ...]]:
        state = requantise(walk, cell.step(do, rows, states[0], site), signed.quantiser, site.inner("q"))
        return state, (state,)

    results, _ = unroll(walk, net.rows(), range(STEPS), (None,), last_states, step, SITE)

    def expected(x: list[Vector]) -> list[Vector]:
        state, found = [Fraction(0)] * UNITS, []
        for row in x:
            sums = {k: plus(net.row(k, row), product(state, net.parameters[k].hidden)) for k in "zr"}
            z, r = gate.mean(sums["z"]), gate.mean(sums["r"])
            hidden = net.parameters["h"].hidden
            reset = (
                times(r, plus(product(state, hidden), bias or (Fraction(0),) * UNITS))
                if resets_after
                else product(times(r, state), hidden)
            )
            candidate = signed.mean(plus(net.row("h", row), reset))
            state = signed.mean(plus(times(z, state), times(rest(z), candidate)))
            found.append(state)
        return found

    net.check(results, expected)


def test_a_gate_tells_what_the_framework_computes_on_its_way(step_size: Fraction) -> None:
    """``h @ hidden + hidden_bias``, and the sums before each of what is added last."""
    net = Network(step_size, "g")
    walk = net.walk
    passed: list[Line] = []

    class Telling(Arithmetic):
        def passes(self, line: Line) -> None:
            passed.append(line)

    hidden_bias = (step_size, -2 * step_size)
    last = ((3 * step_size, Fraction(0)), (Fraction(0), 5 * step_size))
    p = net.parameters["g"]
    gate = Gate("g", p.hidden, net.signed.apply(walk), hidden_bias, last)
    rows = net.rows()
    row = Line(rows["g"].tensor, (STEPS, UNITS), rows["g"].scale, rows["g"].offset)
    state = requantise(walk, row, net.signed.quantiser, SITE.inner("state"))
    do = Telling(walk)
    result = gate(do, row, state, SITE)
    assert gate(do, row, None, SITE.inner("first")).shape == (STEPS, UNITS)
    assert len(passed) == 3  # none where there is no state
    lines = [walk.settled(line, SITE.inner(f"passed{number}")) for number, line in enumerate(passed)]

    def flat(vectors: list[Vector]) -> Vector:
        return [v for vector in vectors for v in vector]

    def expected(x: list[Vector]) -> list[Vector]:
        ours = [net.row("g", row) for row in x]
        hidden = [product(net.signed.mean(row), p.hidden) for row in ours]
        total = [plus(a, b) for a, b in zip(ours, hidden, strict=True)]
        before = [plus(t, [-v for v in last[1]]) for t in total]
        return [
            flat([plus(b, hidden_bias) for b in hidden]),
            flat(before),
            flat([plus(t, [-v for v in last[0]]) for t in before]),
            flat([net.signed.mean(t) for t in total]),
        ]

    def check(line: Line) -> Line:
        return replace(
            line, shape=(STEPS * UNITS,), scale=line.spread(line.scale) * STEPS, offset=line.spread(line.offset) * STEPS
        )

    net.check([check(line) for line in (*lines, result)], expected)


# ---- steps -----------------------------------------------------------------------------------------------------------
def running_sum(net: Network, calls: list[str]) -> Callable[..., tuple[Line, tuple[Line, ...]]]:
    """``state = quantised(row + state @ hidden)``, with each call's place."""
    walk, p, do = net.walk, net.parameters["g"], Arithmetic(net.walk)
    gate = Gate("g", p.hidden, net.signed.apply(walk))

    def step(rows: Mapping[str, Line], states: tuple[Line | None, ...], site: Site) -> tuple[Line, tuple[Line, ...]]:
        calls.append(site.name)
        result = gate(do, rows["g"], states[0], site)
        return result, (result,)

    return step


def test_a_step_whose_state_means_the_same_is_repeated_with_the_very_operations(step_size: Fraction) -> None:
    net, calls = Network(step_size, "g"), list[str]()
    results, _ = unroll(net.walk, net.rows(), range(STEPS), (None,), last_states, running_sum(net, calls), SITE)
    # On free steps the result of the first step has a smaller range than those after it.
    assert calls == [f"layer/step{number}" for number in range(2 if step_size == STEP_SIZES["powers of two"] else 3)]
    known = calls[-1]
    nodes = {node.name: node for node in net.walk.builder.nodes}
    pattern = [name.removeprefix(known) for name in nodes if name.startswith(f"{known}/")]
    assert "/g/hidden" in pattern
    for number in range(len(calls), STEPS):
        for part in pattern:
            repeated, first = nodes[f"layer/step{number}{part}"], nodes[f"{known}{part}"]
            if not part.endswith("/row"):
                assert repeated.operation is first.operation
            assert repeated.source == first.source
    thresholds = [node.name for node in nodes.values() if isinstance(node.operation, Threshold)]
    assert bool(thresholds) == (step_size == STEP_SIZES["free"])
    assert [name for name in thresholds if name not in net.walk.ties] == []

    def expected(x: list[Vector]) -> list[Vector]:
        state, found = [Fraction(0)] * UNITS, []
        for row in x:
            state = net.signed.mean(plus(net.row("g", row), product(state, net.parameters["g"].hidden)))
            found.append(state)
        return found

    net.check(results, expected)


def test_states_that_are_one_tensor_and_then_two_are_not_mistaken_for_each_other() -> None:
    """The states (a, b) become (quantised(row + b), a); the first step leaves one tensor for both."""
    net, calls = Network(Fraction(1, 4), "g"), list[str]()
    walk, do = net.walk, Arithmetic(net.walk)

    def step(rows: Mapping[str, Line], states: tuple[Line | None, ...], site: Site) -> tuple[Line, tuple[Line, ...]]:
        calls.append(site.name)
        a, b = states
        total = rows["g"] if b is None else do.add(rows["g"], b, site.inner("sum"))
        result = requantise(walk, total, net.signed.quantiser, site.inner("q"))
        return result, (result, result if a is None else a)

    results, states = unroll(walk, net.rows(), range(STEPS), (None, None), last_states, step, SITE)
    assert calls == ["layer/step0", "layer/step1", "layer/step2"]

    def expected(x: list[Vector]) -> list[Vector]:
        a = b = net.signed.mean(net.row("g", x[0]))
        found = [a]
        for row in x[1:]:
            a, b = net.signed.mean(plus(net.row("g", row), b)), a
            found.append(a)
        return [*found, a, b]

    net.check([*results, *states], expected)


#: What a step does to its result: what the next step gets then differs in this alone, every other time.
TURNS: dict[str, tuple[Callable[[Line], Line], Callable[[Fraction], Fraction]]] = {
    "scale": (lambda line: replace(line, scale=(line.scale[0] * 3,)), lambda v: 3 * v),
    "offset": (lambda line: replace(line, offset=(Fraction(3, 4),)), lambda v: v + Fraction(3, 4)),
    "function": (lambda line: replace(line, functions=(RECTIFIER,)), lambda v: max(v, Fraction(0))),
    "function of the same kind": (
        lambda line: replace(line, functions=(Clip(None, Fraction(0)),)),
        lambda v: min(v, Fraction(0)),
    ),
}


@pytest.mark.parametrize(
    ("first", "second"), [*((None, name) for name in TURNS), ("function", "function of the same kind")]
)
def test_states_of_different_meanings_take_steps_of_their_own(first: str | None, second: str) -> None:
    net, calls = Network(Fraction(1, 4), "g"), list[str]()
    walk, do = net.walk, Arithmetic(net.walk)
    turns = [TURNS[name] if name else (lambda line: line, lambda v: v) for name in (first, second)]

    def step(rows: Mapping[str, Line], states: tuple[Line | None, ...], site: Site) -> tuple[Line, tuple[Line, ...]]:
        calls.append(site.name)
        (state,) = states
        total = rows["g"] if state is None else do.add(rows["g"], state, site.inner("sum"))
        result = requantise(walk, total, net.signed.quantiser, site.inner("q"))
        candidates = [turn(result) for turn, _ in turns]
        # The other one than what this step was given, which its meaning tells.
        told = [(line.scale, line.offset, line.functions) for line in candidates]
        is_first = state is None or (state.scale, state.offset, state.functions) != told[0]
        return result, (candidates[0 if is_first else 1],)

    results, _ = unroll(walk, net.rows(), range(STEPS), (None,), last_states, step, SITE)
    assert calls == ["layer/step0", "layer/step1", "layer/step2"]

    def expected(x: list[Vector]) -> list[Vector]:
        state, found = [Fraction(0)] * UNITS, []
        for number, row in enumerate(x):
            result = net.signed.mean(plus(net.row("g", row), state))
            state = [turns[number % 2][1](v) for v in result]
            found.append(result)
        return found

    net.check(results, expected)


def test_states_are_read_before_every_step_but_the_first() -> None:
    """What a framework does with a state that it takes up again (here: half of it) is part of the step."""
    net, calls = Network(Fraction(1, 4), "g"), list[str]()
    half = Quantising(Quantiser((Fraction(1, 4),), -2, 1))
    read: list[str] = []

    def halved(after: tuple[Line, ...], place: Site) -> tuple[Line | None, ...]:
        read.append(place.name)
        return (requantise(net.walk, after[0], half.quantiser, place.inner("read")),)

    results, states = unroll(net.walk, net.rows(), range(STEPS), (None,), halved, running_sum(net, calls), SITE)
    assert read == calls[1:] == ["layer/step1"]

    def expected(x: list[Vector]) -> list[Vector]:
        state, found = [Fraction(0)] * UNITS, []
        for row in x:
            state = net.signed.mean(plus(net.row("g", row), product(half.mean(state), net.parameters["g"].hidden)))
            found.append(state)
        return [*found, state]

    net.check([*results, *states], expected)


def test_more_operations_than_one_layer_may_become(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.frontends.exact.recurrent.MAXIMUM_OPERATIONS", 20)
    net = Network(Fraction(1, 4), "g")
    with pytest.raises(UnsupportedModel) as caught:
        unroll(net.walk, net.rows(), range(STEPS), (None,), last_states, running_sum(net, []), SITE)
    nodes = [node.name for node in net.walk.builder.nodes]
    each = sum(name.startswith("layer/step1/") for name in nodes)
    assert not any(name.startswith("layer/step2/") for name in nodes)
    assert each * STEPS > 20
    assert str(caught.value) == (
        f"model: layer 'layer': 5 steps of {each} operations each are more than the 20 operations that one layer may become; "
        f"supported are {20 // each} steps: shorten the sequence before the layer (by pooling or strides), or classify it in parts"
    )


# ---- products --------------------------------------------------------------------------------------------------------
def test_the_same_weights_on_the_same_meaning_are_one_operation() -> None:
    net = Network(Fraction(1, 4), "gh")
    do, walk = Arithmetic(net.walk), net.walk

    def operation(line: Line, weights: Weights, name: str) -> Any:
        tensor = walk.emitted(do.dense(line, weights, SITE.inner(name)), SITE.inner(name)).tensor
        return next(node.operation for node in walk.builder.nodes if node.name == tensor)

    weights = net.parameters["g"].kernel
    first = operation(net.x, weights, "a")
    assert isinstance(first, Dense)
    assert operation(net.x, weights, "b") is first
    assert operation(net.x, net.parameters["h"].kernel, "c") is not first
    # A negative factor afterwards flips the weights: another operation, with other integers.
    flipped = walk.scaled(do.dense(net.x, weights, SITE.inner("d")), [Fraction(-1), Fraction(1)])
    tensor = walk.emitted(flipped, SITE.inner("d")).tensor
    other = next(node.operation for node in walk.builder.nodes if node.name == tensor)
    assert other is not first
    assert isinstance(other, Dense)
    assert (other.weights == first.weights * np.array([-1, 1])).all()
    # With another binary point before it, the product has another one too.
    shifted = do.labelled(replace(net.x, scale=(Fraction(1, 16),)), SITE.inner("e"))
    assert operation(shifted, weights, "f") is first
    assert operation(replace(net.x, scale=(Fraction(1, 16),)), weights, "g") is not first


def test_labels_follow_the_real_values() -> None:
    net = Network(Fraction(1, 4), "g")
    do, walk = Arithmetic(net.walk), net.walk
    assert do.labelled(net.x, SITE) is net.x
    finer = do.labelled(replace(net.x, scale=(Fraction(1, 16),)), SITE.inner("finer"))
    assert walk.element(finer).fraction == 4
    assert finer.scale == (Fraction(1, 16),)
    free = replace(net.x, scale=(Fraction(1, 3),))
    assert do.labelled(free, SITE.inner("free")) is free
    # The product of a line with a label of its own has that of its real values.
    odd = replace(net.x, scale=(Fraction(1, 16),))
    product_line = walk.emitted(do.dense(odd, net.parameters["g"].kernel, SITE.inner("p")), SITE.inner("p"))
    assert product_line.scale == (Fraction(1, 64),)
    assert walk.element(product_line).fraction == 6


# ---- what comes out --------------------------------------------------------------------------------------------------
def test_results_are_stacked_with_the_functions_that_all_have_yet_to_go_through() -> None:
    net = Network(Fraction(1, 4), "g")
    walk = net.walk
    a, b = net.x, replace(net.x, tensor=walk.add(Dense(np.eye(FEATURES, dtype=np.int64)), "x", site=SITE.inner("b")))
    assert stacked(walk, [a], 0, SITE) is a
    curve = Curve("tanh", np.tanh)
    waiting = [replace(line, functions=(curve, RECTIFIER)) for line in (a, b)]
    joined = stacked(walk, waiting, 0, SITE.inner("curve"))
    assert joined.shape == (2 * STEPS, FEATURES)
    assert joined.functions == (curve, RECTIFIER)
    # Where one of them has nothing to go through, what only rounds to float32 may wait, and a rectifier may not.
    rounded = stacked(walk, [a, replace(b, functions=(Float32(),))], 0, SITE.inner("rounded"))
    assert rounded.functions == (Float32(),)
    half = stacked(walk, [a, replace(b, functions=(RECTIFIER,))], 0, SITE.inner("half"))
    assert half.functions == ()
    # A function with a value for every channel is applied too, because channels may be what is stacked.
    scaled = replace(a, functions=(RECTIFIER, Affine((ONE, ONE * 2, ONE * 3), (Fraction(0),))))
    every = stacked(walk, [scaled, scaled], 1, SITE.inner("every"))
    assert every.functions == ()
    assert every.shape == (STEPS, 2 * FEATURES)

    def expected(x: list[Vector]) -> list[Vector]:
        flat = [v for row in x for v in row]
        positive = [max(v, Fraction(0)) for v in flat]
        wide = [v * (k + 1) for row in x for _ in range(2) for k, v in enumerate(max(u, Fraction(0)) for u in row)]
        return [flat + flat, flat + flat, flat + positive, wide]

    def spread(line: Line) -> Line:
        count = int(np.prod(line.shape)) // line.channels
        return replace(
            line,
            functions=(),
            shape=(count * line.channels,),
            scale=line.spread(line.scale) * count,
            offset=line.spread(line.offset) * count,
        )

    net.check([spread(line) for line in (joined, rounded, half, every)], expected)
