# SPDX-License-Identifier: Apache-2.0
"""How far a framework that computes in float32 can be from the graph's exact values.

Every operation of a framework rounds to float32, a relative error of at most 2**-24 of what it adds or multiplies. The bounds
here hold whatever the order in which it sums: n terms are summed with at most n roundings of the largest partial sum that can
occur. `error_bounds` gives the worst case for a whole node, `Errors` what it is for the values that a batch really has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from toolchain.ir import (
    Add,
    AddBias,
    Concatenate,
    Graph,
    Input,
    IntegerType,
    Multiply,
    Node,
    Operation,
    Output,
    Pad,
    Relu,
    Requantise,
    Scale,
    SumPool,
    TensorType,
)
from toolchain.ir.products import WeightedSums

#: The largest relative error of one rounding to float32.
UNIT = 2.0**-24
#: Roundings by which a framework may come from a result in the graph to the value that it quantises or returns: products with
#: scales and the steps of a batch norm, which are no operations of the graph.
AFFINE_ROUNDINGS = 8
#: Bits to which bounds are kept on their way through an operation on integers.
_BOUND_BITS = 18
#: Errors of errors, and of the bounds' own arithmetic.
_MARGIN = 1 + 2.0**-10


def error_bounds(graph: Graph, deviations: Mapping[str, np.ndarray] | None = None) -> dict[str, float]:
    """For each node: how far the framework's value can lie from the integer, in steps, if all quantised values before are equal.

    deviations: of the framework's own weights, see `toolchain.frontends.exact.values.Weights`.
    """
    bounds: dict[str, float] = {}
    for node in graph.nodes:
        bounds[node.name] = _bound(graph, node, [bounds[name] for name in node.inputs])
        if deviations and node.name in deviations:
            off = deviations[node.name]
            largest = float(off.reshape(-1, off.shape[-1]).sum(axis=0).max())
            bounds[node.name] += largest * _size(graph, node.inputs[0])
    return bounds


def _bound(graph: Graph, node: Node, before: list[float]) -> float:
    operation, element = node.operation, graph.types[node.name].element
    inputs = [graph.types[name].element for name in node.inputs]
    sizes = [_size(graph, name) for name in node.inputs]
    rounding = UNIT * _size(graph, node.name)
    if isinstance(operation, WeightedSums):
        terms = prod(operation.weights.shape[:-1])
        total = float(operation.largest_sum)
        return total * before[0] + (terms + 2) * UNIT * total * sizes[0]
    if isinstance(operation, SumPool):
        terms = prod(operation.window)
        return terms * before[0] + terms * UNIT * terms * sizes[0]
    if isinstance(operation, Multiply):
        return before[0] * sizes[1] + before[1] * sizes[0] + before[0] * before[1] + 3 * rounding
    if isinstance(operation, Scale):
        return before[0] * float(np.abs(operation.factors).max()) + 2 * rounding
    if isinstance(operation, (Add, AddBias, Concatenate)):
        aligned = [
            error * 2.0 ** (element.fraction - kind.fraction) for error, kind in zip(before, inputs, strict=True)
        ]
        return (max(aligned) if isinstance(operation, Concatenate) else sum(aligned)) + 2 * rounding
    if isinstance(operation, Relu):
        return before[0] * 2.0 ** (element.fraction - inputs[0].fraction) + rounding
    if operation.kind in _PASS_ON:
        return before[0]
    # Inputs, constants and all that quantises: an integer times a step, rounded.
    return 2 * rounding


def _size(graph: Graph, name: str) -> float:
    """The largest magnitude of the framework's value, in steps: an input's offset is part of it."""
    node = graph.by_name[name]
    if node.operation.kind in _PASS_ON:
        return _size(graph, node.inputs[0])
    return float(graph.types[name].element.magnitude) + _offset(node.operation)


def _offset(operation: Operation) -> float:
    """What an input's offset is, in steps."""
    if not isinstance(operation, Input):
        return 0.0
    return abs(operation.offset) / operation.scale * 2.0**operation.element.fraction


#: Operations whose values are some of their input's.
_PASS_ON = {"insert_zeros", "max_pool", "pad", "reshape", "slice", "transpose", "upsample"}


def output_bound(graph: Graph, output: Output, bounds: dict[str, float]) -> float:
    """The same for the real values of an output."""
    element = graph.types[output.tensor].element
    offset = max(abs(o) / s for o, s in zip(*np.broadcast_arrays(output.offset, output.scale), strict=True))
    size = float(element.magnitude) + offset * 2.0**element.fraction
    return bounds[output.tensor] + AFFINE_ROUNDINGS * UNIT * size


@dataclass(frozen=True)
class Error:
    """Of a node's values, element by element, each an array that broadcasts against them.

    error: how far the framework's value can lie from the integer, in steps, if all quantised values before are equal.
    size: what no term and no partial sum on the way from those quantised values exceeds in magnitude.
    roundings: how many additions a further term of the same sum may go through.
    is_exact: whether float32 has the integer itself, as long as it holds numbers of this size.
    """

    error: np.ndarray
    size: np.ndarray
    roundings: np.ndarray
    is_exact: bool


class Errors:
    """`Error` of every node for a batch of values, worked out when it is asked for.

    quantising: names of the nodes that quantise. values: the results of the nodes, which may be filled in as they are computed.
    """

    def __init__(
        self,
        graph: Graph,
        deviations: Mapping[str, np.ndarray],
        quantising: Collection[str],
        values: Mapping[str, np.ndarray],
    ) -> None:
        self.graph, self.deviations, self.quantising, self.values = graph, deviations, quantising, values
        self._known: dict[str, Error] = {}

    def of(self, name: str) -> Error:
        if name not in self._known:
            node = self.graph.by_name[name]
            before = [self.of(tensor) for tensor in node.inputs] if self._passes(node) else []
            self._known[name] = self._of(node, before)
        return self._known[name]

    def _passes(self, node: Node) -> bool:
        """Whether the error of what goes in is part of what comes out."""
        operation = node.operation
        if isinstance(operation, Requantise):
            before = self.graph.types[node.inputs[0]].element.fraction
            return node.name not in self.quantising and operation.target.fraction >= before
        return isinstance(operation, _COMPUTING) or operation.kind in _PASS_ON

    def _of(self, node: Node, before: list[Error]) -> Error:
        operation = node.operation
        none = np.zeros(1)
        if not before:
            # An integer times a step, rounded.
            size = np.abs(self.values[node.name].astype(np.float64)) + _offset(operation)
            return Error(2 * UNIT * size, size, none, True)
        first = before[0]
        types = self.graph.input_types(node)
        fraction = self.graph.types[node.name].element.fraction
        shifts = [2.0 ** (fraction - kind.element.fraction) for kind in types]
        is_exact = all(part.is_exact for part in before)
        if isinstance(operation, WeightedSums):
            return self._of_product(node, operation, first, types[0])
        if isinstance(operation, SumPool):
            error, size = (_through(operation, part, types[0]) for part in (first.error, first.size))
            terms = float(prod(operation.window))
            return Error(error + terms * UNIT * size * _MARGIN, size, np.array([terms]), is_exact)
        if isinstance(operation, Multiply):
            second = before[1]
            error = first.error * second.size + second.error * first.size + first.error * second.error
            size = first.size * second.size
            return Error(error + 3 * UNIT * size, size, none, is_exact)
        if isinstance(operation, Scale):
            factors = np.abs(operation.factors).astype(np.float64)
            size = first.size * factors
            return Error(first.error * factors + 2 * UNIT * size, size, first.roundings, is_exact)
        if isinstance(operation, AddBias):
            bias = np.abs(operation.bias).astype(np.float64) * 2.0 ** (fraction - operation.bias_fraction)
            size = first.size * shifts[0] + bias
            # A framework may begin its sum with the bias.
            error = first.error * shifts[0] + UNIT * (2 * size + first.roundings * bias) * _MARGIN
            return Error(error, size, first.roundings, is_exact)
        if isinstance(operation, Add):
            second = before[1]
            error = first.error * shifts[0] + second.error * shifts[1]
            size = first.size * shifts[0] + second.size * shifts[1]
            return Error(error + 2 * UNIT * size, size, none, is_exact)
        if isinstance(operation, Concatenate):
            return self._of_joined(node, operation, before, shifts)
        if operation.kind in _PASS_ON:
            return self._of_moved(operation, first, types[0], before)
        # A rectifier, a clip, or the same value on a finer step.
        return Error(first.error * shifts[0], first.size * shifts[0], first.roundings, is_exact)

    def _of_product(self, node: Node, operation: WeightedSums, x: Error, kind: TensorType) -> Error:
        weights = np.abs(operation.weights).astype(np.float64)
        size = _summed(operation, weights, x.size, kind)
        terms = _summed(operation, (weights != 0).astype(np.float64), (x.size != 0).astype(np.float64), kind)
        # Each product is rounded, each weight may be, and so is each sum of two.
        error = _summed(operation, weights, x.error, kind) + (terms + 2) * UNIT * size * _MARGIN
        is_exact = x.is_exact
        if node.name in self.deviations:
            off = _summed(operation, self.deviations[node.name], x.size, kind)
            error, is_exact = error + off * _MARGIN, False
        return Error(error, size, terms, is_exact)

    def _of_joined(self, node: Node, operation: Concatenate, before: list[Error], shifts: list[float]) -> Error:
        shapes = [self.values[name].shape for name in node.inputs]
        samples = max(shape[0] for shape in shapes)

        def joined(arrays: list[np.ndarray]) -> np.ndarray:
            whole = [np.broadcast_to(a, (samples, *shape[1:])) for a, shape in zip(arrays, shapes, strict=True)]
            return np.concatenate(whole, axis=operation.axis + 1)

        error = joined([part.error * shift for part, shift in zip(before, shifts, strict=True)])
        size = joined([part.size * shift for part, shift in zip(before, shifts, strict=True)])
        return Error(error, size, joined([part.roundings for part in before]), all(part.is_exact for part in before))

    @staticmethod
    def _of_moved(operation: Operation, x: Error, kind: TensorType, before: list[Error]) -> Error:
        padded = abs(operation.value) if isinstance(operation, Pad) else 0
        bare = replace(operation, value=0) if isinstance(operation, Pad) else operation
        error, size, roundings = (_through(bare, part, kind) for part in (x.error, x.size, x.roundings))
        if padded:
            size, error = np.maximum(size, padded), np.maximum(error, 2 * UNIT * padded)
        return Error(error, size, roundings, x.is_exact)


_COMPUTING: tuple[type[Any], ...] = (WeightedSums, SumPool, Multiply, Scale, AddBias, Add, Concatenate, Relu)


def _whole(bounds: np.ndarray) -> tuple[np.ndarray, float, TensorType]:
    """(integers, what one of them is worth, the type of a sample) for bounds that are not negative, rounded up."""
    largest = float(bounds.max(initial=0.0))
    if largest <= 1 << _BOUND_BITS and (bounds == np.rint(bounds)).all():
        step = 1.0
    else:
        step = float(np.exp2(np.ceil(np.log2(largest)) - _BOUND_BITS))
    integers = np.ceil(bounds / step).astype(np.int64)
    return integers, step, TensorType(bounds.shape[1:], IntegerType.spanning(0, max(1, int(integers.max(initial=0)))))


def _through(operation: Operation, bounds: np.ndarray, kind: TensorType) -> np.ndarray:
    """Bounds of the elements that go into an operation which keeps or sums them, as those of its results."""
    integers, step, own = _whole(_full(bounds, kind))
    return operation.evaluate(integers, types=(own,)).astype(np.float64) * step


def _summed(operation: WeightedSums, weights: np.ndarray, bounds: np.ndarray, kind: TensorType) -> np.ndarray:
    """The operation with other weights, which are not negative, on bounds."""
    whole, unit, _ = _whole(weights)
    integers, step, own = _whole(_full(bounds, kind))
    changed: Any = replace(operation, weights=whole, weight_fraction=0)  # type: ignore[type-var]
    return np.asarray(changed.evaluate(integers, types=(own,)).astype(np.float64) * (unit * step))


def _full(bounds: np.ndarray, kind: TensorType) -> np.ndarray:
    return np.broadcast_to(bounds, (len(bounds), *kind.shape))
