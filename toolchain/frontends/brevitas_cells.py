# SPDX-License-Identifier: Apache-2.0
"""Brevitas's recurrent layers, as `brevitas_recurrent` describes them, unrolled.

As Brevitas 0.13.4 computes at inference, with Q for a quantiser and every sum and product in between in float32:

- QuantRNN: ``h = Q(f(Q(x @ kernel + h @ hidden + bias)))`` with f tanh or a rectifier.
- QuantLSTM: each gate ``Q(f(Q(x @ kernel + h @ hidden + bias)))`` with f sigmoid, for c tanh;
  ``carried = Q(Q(f * carried) + Q(i * c))`` by one quantiser, ``h = Q(o * Q(tanh(carried)))``. With coupled gates f is Q(1) - i.

The first state is zero. The results are in the order of time whatever the direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.brevitas_recurrent import OPERATION, Described, GateParameters
from toolchain.frontends.exact.functions import RECTIFIER, Curve, Function
from toolchain.frontends.exact.linear import with_bias
from toolchain.frontends.exact.recurrent import Apply, Arithmetic, Gate, Lstm, States, Step, stacked, unchanged, unroll
from toolchain.frontends.exact.requantise import requantise
from toolchain.frontends.exact.shapes import reshape
from toolchain.frontends.exact.values import Line, Site, compact, fractions_of
from toolchain.frontends.exact.walk import MAXIMUM_EXTRA_FRACTION, Walk
from toolchain.frontends.onnx_nodes.reader import Handler, NodeView, Reader, Result, Value, in_file_order

#: How far float32 may have rounded the step of a bias, the product of two others.
_ROUNDING = 2.0**-20


def readers(layers: Mapping[str, Described]) -> dict[str, Handler]:
    """What reads the nodes that stand for these layers, by the operation."""

    def read(reader: Reader, node: NodeView) -> Result:
        return _recurrent(reader, node, layers[str(node.attributes["key"])])

    return {OPERATION: read}


def _recurrent(reader: Reader, node: NodeView, layer: Described) -> Result:
    """(all results, the last state, an LSTM's last carried state), None for those that nothing reads."""
    kind = "QuantLSTM" if layer.function == "lstm" else "QuantRNN"
    where = f"{reader.walk.where}: " if reader.walk.where else ""
    site = Site(layer.name, f"{layer.name!r} ({kind})", f"{where}layer {layer.name!r} ({kind})")
    walk = reader.walk
    line = walk.settled(in_file_order(reader, reader.line(node.value(0), node), node), site)
    if len(line.shape) != 2:
        raise UnsupportedModel(f"{site.label}: takes samples of shape (steps, features), found {line.shape}")
    cell = _Cell(walk, layer)
    inputs = {name: _input(walk, line, gate, site.inner(name)) for name, gate in layer.gates.items()}
    order = range(line.shape[0])[:: -1 if layer.is_reversed else 1]
    initial: States = (None, None) if kind == "QuantLSTM" else (None,)
    step = cell.lstm() if kind == "QuantLSTM" else cell.simple()
    results, states = unroll(walk, inputs, order, initial, lambda states, place: states, step, site)
    if layer.is_reversed:
        results.reverse()
    found: list[Value | None] = []
    for tensor, make in zip(
        node.outputs,
        (
            lambda: stacked(walk, results, 0, site),
            lambda: reshape(walk, states[0], (layer.units,), site.inner("h")),
            lambda: reshape(walk, states[1], (layer.units,), site.inner("c")),
        ),
        strict=False,
    ):
        found.append(make() if reader.consumers.get(tensor) else None)
    return tuple(found)


def _input(walk: Walk, line: Line, gate: GateParameters, site: Site) -> Line:
    """A gate's product with all steps of the input, with its bias."""
    product = Arithmetic(walk).dense(line, gate.kernel, site)
    if gate.bias is not None:
        bias = fractions_of(gate.bias)
        if gate.bias_integers is not None and gate.bias_steps is not None:
            steps = product.spread(product.scale)
            if (np.abs(gate.bias_steps / [float(step) for step in steps] - 1) < _ROUNDING).all():
                bias = [int(integer) * step for integer, step in zip(gate.bias_integers, steps, strict=True)]
        product = with_bias(walk, product, compact(bias))
    product = walk.emitted(product, site)
    return walk.with_bias(product, MAXIMUM_EXTRA_FRACTION, site) or product


def _torch(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function of torch on float32, as one on arrays of float64."""

    def values(reals: np.ndarray) -> np.ndarray:
        import torch

        return np.asarray(getattr(torch, name)(torch.from_numpy(reals.astype(np.float32)))).astype(np.float64)

    return values


_FUNCTIONS: dict[str, Function] = {
    "tanh": Curve("tanh", _torch("tanh"), rises=True),
    "sigmoid": Curve("sigmoid", _torch("sigmoid"), rises=True),
    "relu": RECTIFIER,
}


class _Cell:
    """The cell of one layer, with its quantisers."""

    def __init__(self, walk: Walk, layer: Described) -> None:
        self.walk, self.layer, self.do = walk, layer, Arithmetic(walk)

    def simple(self) -> Step:
        gate = self._gate("h", "gate_acc_quant", self.layer.function, "output_quant")

        def step(rows: Mapping[str, Line], states: States, site: Site) -> tuple[Line, tuple[Line, ...]]:
            result = gate(self.do, rows["h"], states[0], site)
            return result, (result,)

        return step

    def lstm(self) -> Step:
        i = self._gate("i", "input_acc_quant", "sigmoid", "input_sigmoid_quant")
        f = self._gate("f", "forget_acc_quant", "sigmoid", "forget_sigmoid_quant") if "f" in self.layer.gates else None
        c = self._gate("c", "cell_acc_quant", "tanh", "cell_tanh_quant")
        o = self._gate("o", "output_acc_quant", "sigmoid", "output_sigmoid_quant")
        carry, output = self._quantised("cell_state_quant"), self._quantised("output_quant")
        squash = self._after("tanh", "hidden_state_tanh_quant")
        ones = {} if self.layer.one is None else {"one": self.layer.one}
        cell = Lstm(i, f, c, o, squash, part=carry, carry=carry, output=output, **ones)

        def step(rows: Mapping[str, Line], states: States, site: Site) -> tuple[Line, tuple[Line, ...]]:
            h, carried = states
            result, carried = cell.step(self.do, rows, h, carried, site)
            return result, (result, carried)

        return step

    def _gate(self, name: str, before: str, function: str, after: str) -> Gate:
        sums, values = self._quantised(before), self._after(function, after)

        def activate(line: Line, site: Site) -> Line:
            line = sums(line, site.inner("accumulator"))
            try:
                return values(line, site)
            except UnsupportedModel:
                if self.layer.quantisers[before] is not None:
                    raise
                width = self.walk.element(line).width
                raise UnsupportedModel(
                    f"{site.label}: gate_acc_quant is None, and its sums of {width} bits are too wide for a table of {function}; give "
                    "it an activation quantiser, for example Int8ActPerTensorFixedPoint"
                ) from None

        return Gate(name, self.layer.gates[name].hidden, activate)

    def _after(self, function: str, quantiser: str) -> Apply:
        quantised = self._quantised(quantiser)

        def apply(line: Line, site: Site) -> Line:
            return quantised(replace(line, functions=(*line.functions, _FUNCTIONS[function])), site)

        return apply

    def _quantised(self, name: str) -> Apply:
        quantiser = self.layer.quantisers[name]
        if quantiser is None:
            return unchanged

        def apply(line: Line, site: Site) -> Line:
            return requantise(self.walk, line, quantiser, site)

        return apply
