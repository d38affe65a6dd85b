# SPDX-License-Identifier: Apache-2.0
"""The interpreter: the definition of what a graph computes. Everything else has to equal it, bit for bit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.errors import InputError
from toolchain.ir.graph import Graph, Node, Output
from toolchain.ir.operation import storage_dtype, stored
from toolchain.ir.ops.input import Input, OutOfRange
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import IntegerType

#: Elements of the widest result that one chunk of a batch may hold; bounds memory at a few hundred MB.
_CHUNK_ELEMENTS = 1 << 22


def interpret(
    graph: Graph, inputs: np.ndarray | Mapping[str, np.ndarray], record: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Run the graph on a batch of integers.

    inputs: integers of shape (batch, *input shape): one array for a graph with one input, else one by input name.
    record: names of the nodes whose results are returned; default: the tensors of the graph's outputs.
    Returns node name -> integers of shape (batch, *shape), int64 or Python integers (object) past 63 bits.
    Raises InputError for a wrong shape, a type that is not integer, or values outside an input's interval.
    """
    feeds = _check_feeds(graph, inputs)
    wanted = set(record) if record is not None else {output.tensor for output in graph.outputs}
    unknown = wanted - set(graph.by_name)
    if unknown:
        raise InputError(f"cannot record {sorted(unknown)}: the graph's nodes are {list(graph.by_name)}")
    batch = len(next(iter(feeds.values())))
    widest = max(graph.types[node.name].size for node in graph.nodes)
    step = max(1, _CHUNK_ELEMENTS // widest)
    results: dict[str, np.ndarray] = {
        name: np.empty((batch, *graph.types[name].shape), dtype=storage_dtype(graph.types[name].element))
        for name in wanted
    }
    last_use = {name: node.name for node in graph.nodes for name in node.inputs}
    for start in range(0, batch, step):
        chunk = slice(start, start + step)
        live: dict[str, np.ndarray] = {}
        for node in graph.nodes:
            if isinstance(node.operation, Input):
                value = feeds[node.name][chunk]
            else:
                operands = [live[name] for name in node.inputs]
                value = node.operation.evaluate(*operands, types=graph.input_types(node))
                if not operands:  # a constant is one sample, the same for the whole batch
                    samples = len(next(iter(feeds.values()))[chunk])
                    value = np.broadcast_to(value, (samples, *value.shape[1:]))
                for name in set(node.inputs):
                    if last_use[name] == node.name:
                        del live[name]
            if node.name in wanted:
                results[node.name][chunk] = value
            if node.name in last_use:
                live[node.name] = value
    return results


def _check_feeds(graph: Graph, inputs: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    nodes = graph.inputs
    if not isinstance(inputs, Mapping):
        if len(nodes) != 1:
            raise InputError(f"the graph has inputs {[n.name for n in nodes]}: give one array for each, by name")
        inputs = {nodes[0].name: inputs}
    feeds: dict[str, np.ndarray] = {}
    for node in nodes:
        if node.name not in inputs:
            raise InputError(f"input {node.name!r} is missing; found {list(inputs)}")
        array = np.asarray(inputs[node.name])
        expected = graph.types[node.name]
        check_shape(node.name, array, expected.shape)
        if array.dtype.kind not in "iuO":
            raise InputError(f"input {node.name!r}: the interpreter takes integers, found {array.dtype}")
        if array.size:
            low, high = int(array.min()), int(array.max())
            if low < expected.element.minimum or high > expected.element.maximum:
                raise InputError(
                    f"input {node.name!r}: integers lie in [{low}, {high}], "
                    f"allowed are [{expected.element.minimum}, {expected.element.maximum}] ({expected.element})"
                )
        feeds[node.name] = stored(array, expected.element)
    if len({len(array) for array in feeds.values()}) != 1:
        raise InputError(f"inputs have different numbers of samples: { {k: len(v) for k, v in feeds.items()} }")
    return feeds


def check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise InputError unless `array` is (samples, *shape)."""
    if array.shape[1:] != shape or array.ndim == 0:
        expected = ", ".join(["samples", *map(str, shape)])
        raise InputError(f"input {name!r}: expected an array of shape ({expected}), found {array.shape}")


@dataclass(frozen=True)
class QuantisedInput:
    """Integers for a graph input, and how many of the real values lay beyond its range and were saturated."""

    integers: np.ndarray
    saturated: int


def quantise_input(node: Node, values: np.ndarray) -> QuantisedInput:
    """Convert real inputs of shape (samples, *sample_shape) to the integers of the input node, as the host does.

    values have their axes in the user's order, the integers that are returned in the graph's (see `Input.axes`).
    Decided in float64: exact for float32 values with scales that are float32, including ties (a quotient of two 24-bit
    significands cannot come closer to a tie than 2**-50 without being one).
    Raises InputError for a wrong shape, NaN or infinite values, and values out of range where the input refuses them.
    """
    operation = node.operation
    assert isinstance(operation, Input)
    element = operation.element
    array = np.asarray(values)
    check_shape(node.name, array, operation.sample_shape)
    if array.dtype.kind not in "fiub":
        raise InputError(f"input {node.name!r}: expected numbers, found an array of {array.dtype}")
    real = array.astype(np.float64)
    if not np.isfinite(real).all():
        position = tuple(int(i) for i in np.argwhere(~np.isfinite(real))[0])
        raise InputError(
            f"input {node.name!r}: sample {position[0]} holds {real[position]} at index {list(position[1:])}"
        )
    steps = (real - operation.offset) / operation.scale * 2.0**element.fraction
    rounded = round_real(steps, operation.rounding)
    outside = (rounded < element.minimum) | (rounded > element.maximum)
    count = int(outside.sum())
    if count and operation.out_of_range is OutOfRange.REFUSE:
        position = tuple(int(i) for i in np.argwhere(outside)[0])
        step = operation.scale * 2.0**-element.fraction
        low, high = (operation.offset + step * v for v in (element.minimum, element.maximum))
        raise InputError(
            f"input {node.name!r}: {count} of {real.size} values lie outside [{low:g}, {high:g}] ({element}); "
            f"first: sample {position[0]}, index {list(position[1:])}, value {real[position]:g}"
        )
    clipped = np.clip(rounded, float(element.minimum), float(element.maximum))
    if element.magnitude <= 1 << 53:
        integers = clipped.astype(np.int64)
    else:
        integers = np.array([min(max(int(v), element.minimum), element.maximum) for v in clipped.ravel()], dtype=object)
        integers = integers.reshape(clipped.shape)
    return QuantisedInput(graph_order(operation, stored(integers, element)), count)


def round_real(values: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Round float64 values to integers (still float64) in a named mode; exact, since floor and remainder are."""
    floor = np.floor(values)
    remainder = values - floor
    negative = values < 0
    tie = remainder == 0.5
    above = remainder > 0.5
    odd = np.mod(floor, 2.0) == 1.0
    up = {
        Rounding.TRUNCATE: lambda: np.zeros_like(tie),
        Rounding.CEILING: lambda: remainder > 0,
        Rounding.TRUNCATE_ZERO: lambda: negative & (remainder > 0),
        Rounding.AWAY: lambda: ~negative & (remainder > 0),
        Rounding.HALF_UP: lambda: above | tie,
        Rounding.HALF_DOWN: lambda: above,
        Rounding.HALF_ZERO: lambda: above | (tie & negative),
        Rounding.HALF_AWAY: lambda: above | (tie & ~negative),
        Rounding.HALF_EVEN: lambda: above | (tie & odd),
        Rounding.HALF_DPU: lambda: above | (tie & (negative | odd)),
    }[rounding]()
    return floor + up


def real_inputs(node: Node, integers: np.ndarray) -> np.ndarray:
    """The float64 values that an input's integers stand for: ``scale * (integer * 2**-fraction) + offset``.

    integers: as the graph takes them, (samples, *shape); the result has its axes in the user's order.
    """
    operation = node.operation
    assert isinstance(operation, Input)
    exact = np.ldexp(integers.astype(np.float64), -operation.element.fraction)
    return host_order(operation, operation.scale * exact + operation.offset)


def _permuted(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, *(axis + 1 for axis in axes))) if axes else array


def graph_order(operation: Input, array: np.ndarray) -> np.ndarray:
    """An array (samples, *sample_shape) in the user's order of axes as the graph takes it, (samples, *shape)."""
    return _permuted(array, operation.axes)


def host_order(end: Input | Output, array: np.ndarray) -> np.ndarray:
    """An array (samples, *shape) as the graph has it at this input or output, with its axes in the user's order."""
    if isinstance(end, Input):
        return _permuted(array, tuple(end.axes.index(axis) for axis in range(len(end.axes))))
    return _permuted(array, end.axes)


def real_values(output: Output, element: IntegerType, integers: np.ndarray) -> np.ndarray:
    """The float64 values that an output's integers stand for: ``scale * (integer * 2**-fraction) + offset``.

    integers: as the graph gives them, (samples, *shape); the result has its axes in the user's order.
    """
    exact = np.ldexp(integers.astype(np.float64), -element.fraction)
    return host_order(output, exact * np.array(output.scale) + np.array(output.offset))
