# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers, unrolled: the arithmetic of their cells, and their steps one after the other.

A gate's product with the layer's input does not depend on the state, so it is one product over all steps, of which each step
takes its row. The rest of a step is added to the graph operation by operation, named 'layer/step3/...'. From the step on whose
state comes in with the type and meaning that it had in a step before, nothing new can happen: the operations of that step
are repeated, the very objects with their weights and tables, so that long sequences take little time and memory.

Frameworks differ in where a cell quantises. What a cell does with a result is a function (line, where) -> line here, which
may leave it as it is. The state before the first step is zero, written None, and everything that it multiplies is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import elementwise, linear
from toolchain.frontends.exact.functions import Curve, Float32, Function
from toolchain.frontends.exact.shapes import cut
from toolchain.frontends.exact.values import ONE, ZERO, Fractions, Line, Site, Weights, power_of_two
from toolchain.frontends.exact.walk import Walk
from toolchain.ir import Dense, Node, Operation, Scale

#: Operations that one layer may become.
MAXIMUM_OPERATIONS = 20_000

Apply = Callable[[Line, Site], Line]


def unchanged(line: Line, site: Site) -> Line:
    return line


class Arithmetic:
    """Products, sums and element-wise joins of a cell, exact. A framework that rounds in between says so in a subclass."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._products: dict[int, tuple[Weights, list[Dense]]] = {}

    def dense(self, line: Line, weights: Weights, site: Site) -> Line:
        """``line @ weights``. The same weights with inputs of the same meaning are the same operation, array and all."""
        line = self.walk.settled(line, site)
        product = linear.dense(self.walk, line, weights, site)
        known = self._products.setdefault(id(weights), (weights, []))[1]
        pending = product.pending
        assert pending is not None
        exponent = power_of_two(product.scale[0])
        fraction = pending.weight_fraction
        if exponent is not None:
            # A binary point is a label. Where it is that of the real values, it does not drift from step to step.
            fraction = -exponent - self.walk.element(line).fraction

        def make(integers: np.ndarray, fraction: int) -> Operation:
            for operation in known:
                if operation.weight_fraction == fraction and np.array_equal(operation.weights, integers):
                    return operation
            known.append(Dense(integers, fraction))
            return known[-1]

        return replace(product, pending=replace(pending, make=make, weight_fraction=fraction))

    def labelled(self, line: Line, site: Site) -> Line:
        """An emitted line whose binary point is that of its real values, where they are multiples of a power of two."""
        exponent = power_of_two(line.scale[0]) if len(line.scale) == 1 else None
        shift = 0 if exponent is None else -exponent - self.walk.element(line).fraction
        if not shift:
            return line
        return replace(line, tensor=self.walk.add(Scale(np.array([1]), shift), line.tensor, site=site.inner("point")))

    def add(self, a: Line, b: Line, site: Site) -> Line:
        return elementwise.add(self.walk, a, b, site)

    def multiply(self, a: Line, b: Line, site: Site) -> Line:
        return elementwise.multiply(self.walk, a, b, site)

    def passes(self, line: Line) -> None:
        """A value that the framework computes on its way, and the graph does not."""

    def scaled(self, line: Line, factors: Fractions, offsets: Fractions = (ZERO,)) -> Line:
        """``line * factors[c] + offsets[c]``."""
        return self.walk.scaled(line, factors, offsets)


# ---- cells -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Gate:
    """``activate(x + h @ hidden)``, where x is the gate's row of inputs: its product with them, and all that is added.

    hidden_bias: of that, what the framework adds to ``h @ hidden`` first. last: what it adds to the whole, one after the other.
    """

    name: str
    hidden: Weights
    activate: Apply
    hidden_bias: Fractions | None = None
    last: tuple[Fractions, ...] = ()

    def __call__(self, do: Arithmetic, row: Line, h: Line | None, site: Site) -> Line:
        site = site.inner(self.name)
        if h is None:
            return self.activate(row, site)
        product = do.dense(h, self.hidden, site.inner("hidden"))
        if self.hidden_bias is not None:
            do.passes(linear.with_bias(do.walk, product, self.hidden_bias))
        total = earlier = do.add(row, product, site.inner("sum"))
        for addend in reversed(self.last):
            earlier = linear.with_bias(do.walk, earlier, [-value for value in addend])
            do.passes(earlier)
        return self.activate(total, site)


@dataclass(frozen=True)
class Lstm:
    """A cell with gates i (input), f (forget), c (candidate) and o (output).

    carried = carry(part(f * carried) + part(i * c)); result = output(o * squash(carried)).
    f is None where it is ``1 - i``; one: that 1 as the framework has it.
    """

    i: Gate
    f: Gate | None
    c: Gate
    o: Gate
    squash: Apply
    part: Apply = unchanged
    carry: Apply = unchanged
    output: Apply = unchanged
    one: Fraction = ONE

    def step(
        self, do: Arithmetic, rows: Mapping[str, Line], h: Line | None, carried: Line | None, site: Site
    ) -> tuple[Line, Line]:
        """(result, carried) from those of the step before."""
        i = self.i(do, rows["i"], h, site)
        kept = None
        if carried is not None:
            f = self.f(do, rows["f"], h, site) if self.f else do.scaled(i, (-ONE,), (self.one,))
            kept = self.part(do.multiply(f, carried, site.inner("forget")), site.inner("kept"))
        candidate = self.c(do, rows["c"], h, site)
        new = self.part(do.multiply(i, candidate, site.inner("input")), site.inner("new"))
        carried = self.carry(new if kept is None else do.add(kept, new, site.inner("cell")), site.inner("carry"))
        o = self.o(do, rows["o"], h, site)
        squashed = self.squash(carried, site.inner("squash"))
        return self.output(do.multiply(o, squashed, site.inner("h")), site.inner("output")), carried


@dataclass(frozen=True)
class Gru:
    """A cell with gates z (update), r (reset) and h (candidate): ``z * h + (1 - z) * candidate``.

    resets_after: whether r multiplies the product of the state with h's weights (and `hidden_bias`, one value a unit), else
    the state itself.
    """

    z: Gate
    r: Gate
    h: Gate
    resets_after: bool
    hidden_bias: Fractions | None = None

    def step(self, do: Arithmetic, rows: Mapping[str, Line], state: Line | None, site: Site) -> Line:
        z = self.z(do, rows["z"], state, site)
        inner = site.inner(self.h.name)
        total, has_bias = rows["h"], self.hidden_bias is not None and any(self.hidden_bias)
        if state is not None or (self.resets_after and has_bias):
            r = self.r(do, rows["r"], state, site)
            total = do.add(total, self._reset(do, r, state, inner), inner.inner("sum"))
        candidate = self.h.activate(total, inner)
        rest = do.scaled(z, (-ONE,), (ONE,))
        new = do.multiply(rest, candidate, site.inner("new"))
        if state is None:
            return new
        return do.add(do.multiply(z, state, site.inner("kept")), new, site.inner("state"))

    def _reset(self, do: Arithmetic, r: Line, state: Line | None, site: Site) -> Line:
        if state is None:
            assert self.hidden_bias is not None
            return do.scaled(r, self.hidden_bias)
        if not self.resets_after:
            return do.dense(do.multiply(r, state, site.inner("reset")), self.h.hidden, site.inner("hidden"))
        product = do.dense(state, self.h.hidden, site.inner("hidden"))
        if self.hidden_bias is not None:
            product = do.scaled(product, (ONE,), self.hidden_bias)
        return do.multiply(r, product, site.inner("reset"))


# ---- steps -----------------------------------------------------------------------------------------------------------
States = tuple[Line | None, ...]
#: (rows of the inputs, states, where) -> (result, states)
Step = Callable[[Mapping[str, Line], States, Site], tuple[Line, tuple[Line, ...]]]
#: (states as the step before has left them, where) -> states as the next step takes them
Read = Callable[[tuple[Line, ...], Site], States]


def unroll(
    walk: Walk, inputs: Mapping[str, Line], order: Sequence[int], initial: States, read: Read, step: Step, site: Site
) -> tuple[list[Line], tuple[Line, ...]]:
    """(the result of every step, the states after the last).

    inputs: lines of shape (steps, channels); a step gets one row of each. order: the rows in the order of the steps.
    initial: the states that the first step takes. step, read: add operations to the graph; what they do may depend on their
    arguments' types and meanings only.
    Raises UnsupportedModel where the layer becomes more than MAXIMUM_OPERATIONS operations.
    """
    known: dict[Any, _Recorded] = {}
    results: list[Line] = []
    states: tuple[Line, ...] = ()
    for number, index in enumerate(order):
        place = site.inner(f"step{number}")
        rows = {name: _row(walk, line, index, place.inner(f"{name}/row")) for name, line in inputs.items()}
        meaning = tuple(_meaning(walk, state, states) for state in states)
        recorded = known.get(meaning)
        if recorded is None:
            first = len(walk.builder.nodes)
            result, after = step(rows, read(states, place) if number else initial, place)
            result, after = walk.emitted(result, place), tuple(walk.emitted(state, place) for state in after)
            recorded = known[meaning] = _Recorded(place.name, walk.builder.nodes[first:], rows, states, result, after)
            _require_few(len(recorded.nodes) + len(rows), len(order), site)
        result, states = recorded.repeated(walk, rows, states, place)
        results.append(result)
    return results, states


def _require_few(each: int, steps: int, site: Site) -> None:
    if each * steps > MAXIMUM_OPERATIONS:
        raise UnsupportedModel(
            f"{site.label}: {steps} steps of {each} operations each are more than the {MAXIMUM_OPERATIONS} operations that one layer "
            f"may become; supported are {MAXIMUM_OPERATIONS // each} steps: shorten the sequence before the layer (by pooling or "
            "strides), or classify it in parts"
        )


def _row(walk: Walk, line: Line, index: int, site: Site) -> Line:
    row = cut(walk, line, (index, 0), (index + 1, line.channels), (1, 1), site)
    assert isinstance(row, Line)
    return row


def _meaning(walk: Walk, line: Line, states: tuple[Line, ...]) -> Any:
    """What decides the operations on a state: its type and meaning, and which states are one tensor."""
    same = next(i for i, state in enumerate(states) if state.tensor == line.tensor)
    functions = tuple(_named(function) for function in line.functions)
    return walk.builder.type(line.tensor), line.shape, line.scale, line.offset, functions, line.axes, same


def _named(function: Function) -> Any:
    """A function as something that is equal for equal functions: within a layer, a curve is known by its name."""
    return function.name if isinstance(function, Curve) else function


@dataclass(frozen=True)
class _Recorded:
    """One step as it was added to the graph: its nodes, what went into it and what came out."""

    name: str
    nodes: tuple[Node, ...]
    rows: Mapping[str, Line]
    states: tuple[Line, ...]
    result: Line
    after: tuple[Line, ...]

    def repeated(
        self, walk: Walk, rows: Mapping[str, Line], states: tuple[Line, ...], place: Site
    ) -> tuple[Line, tuple[Line, ...]]:
        """The same operations on other rows and states."""
        if place.name == self.name:
            return self.result, self.after
        tensors = {self.rows[name].tensor: row.tensor for name, row in rows.items()}
        tensors.update({old.tensor: new.tensor for old, new in zip(self.states, states, strict=True)})
        for node in self.nodes:
            name = place.name + node.name.removeprefix(self.name)
            inputs = (tensors.get(tensor, tensor) for tensor in node.inputs)
            tensors[node.name] = walk.builder.add(node.operation, *inputs, name=name, source=node.source)
            if node.name in walk.ties:
                walk.ties[tensors[node.name]] = walk.ties[node.name]
            if node.name in walk.deviations:
                walk.deviations[tensors[node.name]] = walk.deviations[node.name]
            if node.name in walk.inexact:
                walk.inexact.add(tensors[node.name])

        def moved(line: Line) -> Line:
            return replace(line, tensor=tensors.get(line.tensor, line.tensor))

        return moved(self.result), tuple(moved(line) for line in self.after)


def stacked(walk: Walk, lines: Sequence[Line], axis: int, site: Site) -> Line:
    """The lines one after the other along an axis, with the functions that all of them have yet to go through."""
    if len(lines) == 1:
        return lines[0]
    longest = max((line.functions for line in lines), key=len)
    if all(_is_same(line.functions, longest) for line in lines) and not any(f.channel_values() for f in longest):
        bare = [replace(line, functions=()) for line in lines]
        return replace(elementwise.concatenate(walk, bare, axis, site), functions=longest)
    return elementwise.concatenate(walk, lines, axis, site)


def _is_same(functions: tuple[Function, ...], longest: tuple[Function, ...]) -> bool:
    # Where a step is not rounded to float32, its values are float32 already.
    rounds = not functions and all(isinstance(function, Float32) for function in longest)
    return rounds or [_named(f) for f in functions] == [_named(f) for f in longest]
