# SPDX-License-Identifier: Apache-2.0
"""Lowerings of what only moves values: inputs, constants, other shapes, borders, parts, repetitions, other orders, joins."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ldexp, prod

from toolchain.backends.hls4ml.lowering import Lowering, lowers
from toolchain.backends.hls4ml.words import precision
from toolchain.ir import (
    Concatenate,
    Constant,
    Dense,
    Input,
    InsertZeros,
    IntegerType,
    Node,
    Pad,
    Reshape,
    Slice,
    TensorType,
    Transpose,
    Upsample,
)


@lowers(Input)
def _(lowering: Lowering, node: Node, operation: Input) -> None:
    x = lowering.type(node)
    lowering.append(node, "InputLayer", lowering.word(x.element), {"input_shape": list(x.shape)})


@lowers(Constant)
def _(lowering: Lowering, node: Node, operation: Constant) -> None:
    lowering.extend(node, "BitwrightConstant", {}, operation.values, operation.fraction)


@lowers(Reshape)
def _(lowering: Lowering, node: Node, operation: Reshape) -> None:
    # Parallel arrays are flat, so another shape costs nothing. A stream has to be packed anew, unless all its
    # readers are Dense layers, which collect packets of any size.
    (x,) = lowering.graph.input_types(node)
    readers = lowering.graph.consumers(node.name)
    flattened = len(operation.shape) == 1 and readers and all(isinstance(r.operation, Dense) for r in readers)
    packed = lowering.options.stream and (not flattened or lowering.leaves(node) or len(readers) > 1)
    if packed or lowering.options.only_extensions:
        lowering.extend(node, "BitwrightCopy", {})
    else:
        lowering.append(node, "Reshape", precision(x.element), {"target_shape": list(operation.shape)})


@dataclass(frozen=True)
class Axis:
    """Where place c of a result's axis comes from: element ``(c * step + start) / repeat`` of the input's axis `source`."""

    source: int
    step: int = 1
    start: int = 0
    repeat: int = 1


@lowers(Pad)
def _(lowering: Lowering, node: Node, operation: Pad) -> None:
    axes = [Axis(axis, start=-before) for axis, (before, _) in enumerate(operation.widths)]
    fraction = lowering.type(node).element.fraction
    _move(lowering, node, axes, fill=ldexp(operation.value, -fraction) if _grows(lowering, node) else 0.0)


@lowers(InsertZeros)
def _(lowering: Lowering, node: Node, operation: InsertZeros) -> None:
    _move(lowering, node, [Axis(axis, repeat=factor) for axis, factor in enumerate(operation.factors)], gaps=True)


@lowers(Upsample)
def _(lowering: Lowering, node: Node, operation: Upsample) -> None:
    _move(lowering, node, [Axis(axis, repeat=factor) for axis, factor in enumerate(operation.factors)])


@lowers(Slice)
def _(lowering: Lowering, node: Node, operation: Slice) -> None:
    parts = zip(operation.steps, operation.starts, strict=True)
    _move(lowering, node, [Axis(axis, step, start) for axis, (step, start) in enumerate(parts)])


@lowers(Transpose)
def _(lowering: Lowering, node: Node, operation: Transpose) -> None:
    _move(lowering, node, [Axis(source) for source in operation.permutation])


def _grows(lowering: Lowering, node: Node) -> bool:
    return lowering.type(node).shape != lowering.graph.input_types(node)[0].shape


def _move(lowering: Lowering, node: Node, axes: list[Axis], *, fill: float = 0.0, gaps: bool = False) -> None:
    """One layer of the project's own for all of these, where hls4ml's does not do it."""
    if lowering.append_own(node):
        return
    (x,), y = lowering.graph.input_types(node), lowering.type(node)
    strides = [prod(x.shape[axis + 1 :]) for axis in range(len(x.shape))]
    whole_tensor = axes[-1].source != len(axes) - 1
    depth, steps = (1, 1) if whole_tensor or not lowering.options.stream else _schedule(axes, x.shape, y.shape, gaps)
    parameters = {
        "n_out": y.size,
        "n_axes": len(axes),
        "size": y.shape,
        "source_size": tuple(x.shape[axis.source] for axis in axes),
        "source_stride": tuple(strides[axis.source] for axis in axes),
        "step": tuple(axis.step for axis in axes),
        "start": tuple(axis.start for axis in axes),
        "repeat": tuple(axis.repeat for axis in axes),
        "gaps": gaps,
        "whole_tensor": whole_tensor,
        "depth": depth,
        "n_steps": steps,
        "fill": fill,
    }
    lowering.extend(node, "BitwrightMove", parameters)


def _schedule(axes: list[Axis], x: tuple[int, ...], y: tuple[int, ...], gaps: bool) -> tuple[int, int]:
    """(packets that have to be kept, clocks) of a frame, if in each clock a packet is read, or written, or both."""
    along: list[list[int | None]] = []
    for axis, size in zip(axes[:-1], y[:-1], strict=True):
        places: list[int | None] = []
        for c in range(size):
            place, rest = divmod(c * axis.step + axis.start, axis.repeat)
            outside = not 0 <= place < x[axis.source] or (gaps and rest)
            places.append(None if outside else place * prod(x[axis.source + 1 : -1]))
        along.append(places)
    taken, depth, steps = 0, 1, 0
    for combination in product(*along):
        known = [place for place in combination if place is not None]
        needed = sum(known) if len(known) == len(combination) else -1
        steps += max(1, needed + 1 - taken)
        taken = max(taken, needed + 1)
        if needed >= 0:
            depth = max(depth, taken - needed)
    return depth, steps + prod(x[:-1]) - taken


@lowers(Concatenate)
def _(lowering: Lowering, node: Node, operation: Concatenate) -> None:
    types = lowering.graph.input_types(node)
    sources = lowering.sources(node)
    if len(types) == 1:
        lowering.extend(node, "BitwrightCopy", {})
        return
    if lowering.append_own(node):
        return
    # Two operands at a time; the first ones already at the result's binary point.
    element: IntegerType = lowering.type(node).element
    joined, shape = sources[0], types[0].shape
    for index, (source, x) in enumerate(zip(sources[1:], types[1:], strict=True), start=1):
        axis = operation.axis
        blocks = tuple(prod(s[axis:]) for s in (shape, x.shape))
        parameters = {
            "n_a": prod(shape),
            "n_b": x.size,
            "block_a": blocks[0],
            "block_b": blocks[1],
            "last_axis": axis == len(shape) - 1,
        }
        shape = (*shape[:axis], shape[axis] + x.shape[axis], *shape[axis + 1 :])
        result = TensorType(shape, element)
        if index < len(types) - 1:
            joined = lowering.part(node, f"join_{index}", "BitwrightJoin", (joined, source), result, parameters)
        else:
            identifier = lowering.identifier(node)
            lowering.add(
                lowering.extension(identifier, "BitwrightJoin", node, (joined, source), result, parameters), node
            )
