# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers: QSimpleRNN, QLSTM, QGRU and both directions of one, unrolled over the sequence.

Read from the installed version's source (qkeras 0.9.0, qrecurrent.py). Every cell quantises the state that it gets with
state_quantizer, the zeros before the first step as well, and hands on what it computes; its result is not quantised again.
With h and c the states after that quantiser:

- QSimpleRNN: ``activation(x @ kernel + bias + h @ recurrent)``.
- QLSTM: the gates i, f, c and o in this order along the kernels' columns; ``c = f * c + i * activation(gate c)``,
  ``h = o * activation(c)``, the other gates with recurrent_activation. unit_forget_bias only decides how training begins.
- QGRU: the gates z, r and h; ``h = z * h + (1 - z) * activation(gate h)``. With reset_after the bias has a second row, which is
  added to ``h @ recurrent``, and r multiplies that sum; else r multiplies h before its product.

The framework's products and sums are float32. `float32` says where they are exact. A state without a quantiser takes more
bits with every step; past what float32 holds exactly, it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import Curve
from toolchain.frontends.exact.linear import with_bias
from toolchain.frontends.exact.recurrent import Apply, Arithmetic, Gate, Gru, Lstm, States, stacked, unroll
from toolchain.frontends.exact.shapes import reshape
from toolchain.frontends.exact.values import (
    ZERO,
    Fractions,
    Line,
    Site,
    Weights,
    common_step,
    compact,
    fractions_of,
)
from toolchain.frontends.exact.walk import MAXIMUM_EXTRA_FRACTION
from toolchain.frontends.qkeras_layers.dense import layer_bias, layer_weights
from toolchain.frontends.qkeras_layers.float32 import representable, require_exact, require_exact_sums, rounded
from toolchain.frontends.qkeras_layers.functions import activated
from toolchain.frontends.qkeras_layers.hard import HALF, hard, hard_of_half, is_hard, is_hard_sigmoid
from toolchain.frontends.qkeras_layers.registry import KerasWalk, OnHost, Value, handles, reader_of
from toolchain.frontends.qkeras_quantisers import is_quantiser, quantise
from toolchain.frontends.qkeras_weights import framework_weights
from toolchain.ir import Constant

_RECURRENT = (
    "units", "activation", "use_bias", "kernel_quantizer", "recurrent_quantizer", "bias_quantizer", "state_quantizer",
    "return_sequences", "return_state", "go_backwards", "stateful", "time_major",
)  # fmt: skip
_GATED = ("recurrent_activation", "implementation", *_RECURRENT)
_GATES = {"QSimpleRNN": ("h",), "QLSTM": ("i", "f", "c", "o"), "QGRU": ("z", "r", "h")}
#: What to give instead of a function whose result is not quantised.
_INSTEAD = {"activation": "quantized_tanh(8)", "recurrent_activation": "quantized_sigmoid(8)"}


@handles("QSimpleRNN", *_RECURRENT, several=True)
@handles("QLSTM", *_GATED, several=True)
@handles("QGRU", "reset_after", *_GATED, several=True)
def _one_direction(walk: KerasWalk, layer: Any, values: list[Value], site: Site) -> Value:
    line = _sequence(walk, layer, values, site)
    return _result(walk, layer, _Recurrence(walk, layer, site).results(line), site)


@handles("Bidirectional", "layer", "backward_layer", "merge_mode", several=True)
@handles("QBidirectional", "layer", "backward_layer", "merge_mode", several=True)
def _both_directions(walk: KerasWalk, layer: Any, values: list[Value], site: Site) -> Value:
    """The backward layer's results are turned round in time, and both are merged."""
    if layer.merge_mode not in ("concat", "sum", "ave", "mul"):
        raise UnsupportedModel(
            f"{site.label}: merge_mode is {layer.merge_mode!r}; supported are 'concat', 'sum', 'ave' and 'mul', which give one tensor"
        )
    found = []
    for part, inner in (("forward", layer.forward_layer), ("backward", layer.backward_layer)):
        place = Site(f"{site.name}/{part}", site.source, f"{site.label}: its {part} layer ({type(inner).__name__})")
        if (
            type(inner).__name__ in ("Bidirectional", "QBidirectional")
            or reader_of(inner, place.label).read is not _one_direction
        ):
            raise UnsupportedModel(f"{place.label} is not recurrent; supported are {', '.join(_GATES)}")
        line = _sequence(walk, inner, values, place)
        results = _Recurrence(walk, inner, place).results(line)
        if part == "backward" and inner.return_sequences:
            results.reverse()
        found.append(_result(walk, inner, results, place))
    do = _Float32Arithmetic(walk)
    first, second = found
    if layer.merge_mode == "concat":
        return stacked(walk, found, len(first.shape) - 1, site)
    if layer.merge_mode == "mul":
        return do.multiply(first, second, site)
    total = do.add(first, second, site)
    return total if layer.merge_mode == "sum" else do.scaled(total, (HALF,))


def _sequence(walk: KerasWalk, layer: Any, values: list[Value], site: Site) -> Line:
    """The layer's input as a settled line of shape (steps, features)."""
    if len(values) != 1:
        raise UnsupportedModel(f"{site.label}: is given its initial state; supported is a state of zeros")
    for setting, instead in (
        ("stateful", "a state of zeros before every sample"),
        ("return_state", "its result alone (the last step's is what it gives without return_sequences)"),
        ("time_major", "the batch as the first axis"),
    ):
        if getattr(layer, setting):
            raise UnsupportedModel(f"{site.label}: {setting} is True; supported is {instead}")
    line = walk.settled(walk.line(values[0], site), site)
    if len(line.shape) != 2:
        raise UnsupportedModel(f"{site.label}: takes samples of shape (steps, features), found {line.shape}")
    return line


def _result(walk: KerasWalk, layer: Any, results: list[Line], site: Site) -> Line:
    if layer.return_sequences:
        return stacked(walk, results, 0, site)
    last = reshape(walk, results[-1], results[-1].shape[1:], site)
    assert isinstance(last, Line)
    return last


class _Float32Arithmetic(Arithmetic):
    """The framework's, operation by operation.

    is_strict: whether a result that float32 does not hold is refused, because a state without a quantiser has led to it.
    """

    walk: KerasWalk
    is_strict = False

    def dense(self, line: Line, weights: Weights, site: Site) -> Line:
        line = self.walk.settled(line, site)
        product = require_exact_sums(self.walk, line, weights, 1, super().dense(line, weights, site))
        self._rounded(product, site)
        return product

    def add(self, a: Line, b: Line, site: Site) -> Line:
        return self._rounded(super().add(a, b, site), site)

    def multiply(self, a: Line, b: Line, site: Site) -> Line:
        return self._rounded(super().multiply(a, b, site), site)

    def scaled(self, line: Line, factors: Fractions, offsets: Fractions = (ZERO,)) -> Line:
        return rounded(self.walk, super().scaled(line, factors, offsets))

    def passes(self, line: Line) -> None:
        require_exact(self.walk, line)

    def _rounded(self, line: Line, site: Site) -> Line:
        if self.is_strict and not representable(self.walk, line):
            raise UnsupportedModel(
                f"{site.label}: its states have no quantiser and take more bits with every step; at {site.name!r} these are more "
                "than the framework's float32 holds. Give the layer one, for example "
                "state_quantizer='quantized_bits(8,2,alpha=1)'"
            )
        return rounded(self.walk, line)


@dataclass(frozen=True)
class _Part:
    """What one gate has of the layer's weights."""

    name: str
    kernel: Weights
    hidden: Weights
    bias: Fractions | None
    hidden_bias: Fractions | None
    which: str

    def halved(self) -> _Part:
        def half(values: Fractions | None) -> Fractions | None:
            return None if values is None else tuple(value / 2 for value in values)

        kernel, hidden = (replace(w, steps=tuple(s / 2 for s in w.steps)) for w in (self.kernel, self.hidden))
        return _Part(self.name, kernel, hidden, half(self.bias), half(self.hidden_bias), self.which)


class _Recurrence:
    """One layer over one sequence."""

    def __init__(self, walk: KerasWalk, layer: Any, site: Site) -> None:
        self.walk, self.cell, self.site = walk, layer.cell, site
        self.kind, self.goes_backwards = type(layer).__name__, bool(layer.go_backwards)
        self.do = _Float32Arithmetic(walk)
        self.parts = self._parts()

    def results(self, line: Line) -> list[Line]:
        """The result of each step, of shape (1, units), in the order of the steps."""
        inputs = {part.name: self._input(line, part) for part in self.parts}
        order = range(line.shape[0])[:: -1 if self.goes_backwards else 1]
        count = 2 if self.kind == "QLSTM" else 1
        step = {"QSimpleRNN": self._simple, "QLSTM": self._lstm, "QGRU": self._gru}[self.kind]()
        results, _ = unroll(self.walk, inputs, order, self._initial(count), self._read, step, self.site)
        return results

    # ---- weights -----------------------------------------------------------------------------------------------------
    def _parts(self) -> list[_Part]:
        cell, walk, site = self.cell, self.walk, self.site
        names, units = _GATES[self.kind], int(cell.units)
        kernel = layer_weights(walk, cell, "kernel", cell.kernel, site).weights()
        hidden = layer_weights(walk, cell, "recurrent", cell.recurrent_kernel, site).weights()
        bias = layer_bias(cell, site)
        rows = [bias[i : i + len(names) * units] for i in range(0, len(bias), len(names) * units)] if bias else []
        parts = []
        for number, name in enumerate(names):
            first, last = number * units, (number + 1) * units
            biases = [row[first:last] for row in rows] + [None, None]
            which = "recurrent_activation" if name in "ifozr" else "activation"
            part = _Part(
                name, _columns(kernel, first, last), _columns(hidden, first, last), biases[0], biases[1], which
            )
            parts.append(part.halved() if self._is_halved(part) else part)
        return parts

    def _is_halved(self, part: _Part) -> bool:
        """Whether the gate's products are those of a half of the weights.

        A hard sigmoid takes half of its argument. A half of the weights is only another binary point, and float32 rounds halves
        as it rounds the whole.
        """
        return is_hard_sigmoid(getattr(self.cell, part.which))

    def _input(self, line: Line, part: _Part) -> Line:
        """A gate's product with all steps of the input, and everything that is added to it or to the state's product."""
        site = self.site.inner(part.name)
        product = self.do.dense(line, part.kernel, site)
        if part.bias is not None:
            product = with_bias(self.walk, product, part.bias)
            self.do.passes(product)
        if part.hidden_bias is not None and not self._is_candidate(part):
            product = with_bias(self.walk, product, part.hidden_bias)
        if self._is_halved(part):
            product = with_bias(self.walk, product, (HALF,))
        self.do.passes(product)
        product = self.walk.emitted(product, site)
        return self.walk.with_bias(product, MAXIMUM_EXTRA_FRACTION, site) or product

    def _is_candidate(self, part: _Part) -> bool:
        return self.kind == "QGRU" and part.name == "h"

    def _gate(self, name: str) -> Gate:
        part = next(part for part in self.parts if part.name == name)
        last: list[Fractions] = []
        if part.bias is not None and self.kind == "QLSTM" and self.cell.implementation != 1:
            last.append(part.bias)
        is_halved = self._is_halved(part)
        if is_halved:
            last.append((HALF,))
        return Gate(name, part.hidden, self._function(part.which, is_halved), part.hidden_bias, tuple(last))

    # ---- states ------------------------------------------------------------------------------------------------------
    def _initial(self, count: int) -> States:
        """What the state quantiser makes of zeros; None for zeros."""
        quantiser = self.cell.state_quantizer_internal
        if quantiser is None:
            return (None,) * count
        zeros = np.zeros((1, int(self.cell.units)), np.float32)
        values = fractions_of(framework_weights(quantiser, zeros, f"{self.site.label}: state_quantizer"))
        if not any(values):
            return (None,) * count
        step = common_step([abs(value) for value in values if value])
        integers = np.array([(value / step).numerator for value in values], dtype=object)
        tensor = self.walk.add(Constant(integers.reshape(zeros.shape)), site=self.site.inner("initial"))
        return (Line(tensor, zeros.shape, (step,)),) * count

    def _read(self, states: tuple[Line, ...], site: Site) -> States:
        # A quantised activation of a simple cell is a state of few bits; other results grow.
        self.do.is_strict = self.cell.state_quantizer_internal is None and not (
            self.kind == "QSimpleRNN" and is_quantiser(self.cell.activation)
        )
        names = ("h", "c")[: len(states)]
        return tuple(self._state(state, name, site) for state, name in zip(states, names, strict=True))

    def _state(self, state: Line, name: str, site: Site) -> Line:
        quantiser = self.cell.state_quantizer_internal
        if quantiser is not None:
            inner = Site(f"{site.name}/{name}/state", site.source, f"{site.label}: state_quantizer")
            return self.do.labelled(self.walk.emitted(quantise(self.walk, state, quantiser, inner), inner), inner)
        curve = next((function for function in state.functions if isinstance(function, Curve)), None)
        if curve is not None:
            raise UnsupportedModel(
                f"{site.label}: activation is {curve.name!r}, whose result comes back as the state without being quantised; give "
                f"the layer activation={_INSTEAD['activation']!r}, or a state_quantizer"
            )
        return state

    # ---- steps -------------------------------------------------------------------------------------------------------
    def _simple(self) -> Any:
        gate = self._gate("h")

        def step(rows: Mapping[str, Line], states: States, site: Site) -> tuple[Line, tuple[Line, ...]]:
            result = gate(self.do, rows["h"], states[0], site)
            return result, (result,)

        return step

    def _lstm(self) -> Any:
        i, f, c, o = (self._gate(name) for name in "ifco")
        cell = Lstm(i, f, c, o, squash=self._function("activation"))

        def step(rows: Mapping[str, Line], states: States, site: Site) -> tuple[Line, tuple[Line, ...]]:
            h, carried = states
            result, carried = cell.step(self.do, rows, h, carried, site)
            return result, (result, carried)

        return step

    def _gru(self) -> Any:
        z, r, h = (self._gate(name) for name in "zrh")
        cell = Gru(z, r, h, bool(self.cell.reset_after), h.hidden_bias)

        def step(rows: Mapping[str, Line], states: States, site: Site) -> tuple[Line, tuple[Line, ...]]:
            result = cell.step(self.do, rows, states[0], site)
            return result, (result,)

        return step

    # ---- functions ---------------------------------------------------------------------------------------------------
    def _function(self, which: str, is_halved: bool = False) -> Apply:
        """`activation` or `recurrent_activation` of the cell. is_halved: whether it gets a hard sigmoid's ``0.5 * x + 0.5``."""
        function = getattr(self.cell, which)
        # Only a simple cell's result may be a curve: it becomes the state, which has a quantiser of its own.
        may_be_curve = self.kind == "QSimpleRNN"

        def apply(line: Line, site: Site) -> Line:
            place = Site(site.name, site.source, f"{site.label}: {which}")
            if is_halved:
                return hard_of_half(self.walk, line, function, place)
            if is_hard(function):
                return hard(self.walk, line, function, place)
            result = activated(self.walk, line, function, place)
            functions = () if isinstance(result, OnHost) else self.walk.line(result, place).functions
            if isinstance(result, OnHost) or (not may_be_curve and any(isinstance(f, Curve) for f in functions)):
                raise UnsupportedModel(
                    f"{place.label} is {getattr(function, '__name__', function)!r}, whose result goes into products without being "
                    f"quantised; give the layer {which}={_INSTEAD[which]!r}"
                )
            return self.walk.line(result, place)

        return apply


def _columns(weights: Weights, first: int, last: int) -> Weights:
    """Some of the outputs."""
    steps = weights.steps if len(weights.steps) == 1 else compact(weights.steps[first:last])
    off = None if weights.deviations is None else weights.deviations[:, first:last]
    return Weights(np.ascontiguousarray(weights.integers[:, first:last]), steps, off)
