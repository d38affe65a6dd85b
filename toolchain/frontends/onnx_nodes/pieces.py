# SPDX-License-Identifier: Apache-2.0
"""Taking apart and putting together: Slice, Split, Gather, Concat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import elementwise, shapes
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import Line, RealInput
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Result,
    Value,
    axes_of,
    constant_line,
    file_shape,
    handles,
    in_graph_order,
    laid_out,
    reshaped,
    sample_axis,
)


@handles("Slice")
def _slice(reader: Reader, node: NodeView) -> Value:
    value = node.value(0)
    rank = value.values.ndim if isinstance(value, Constant) else len(value.shape) + 1
    if len(node.operands) > 1:
        starts, stops = node.numbers(1, "the starts"), node.numbers(2, "the ends")
        axes = node.numbers(3, "the axes") if node.has(3) else list(range(len(starts)))
        steps = node.numbers(4, "the steps") if node.has(4) else [1] * len(starts)
    else:
        starts, stops = ([int(v) for v in node.attributes[k]] for k in ("starts", "ends"))
        axes, steps = [int(v) for v in node.attributes.get("axes", range(len(starts)))], [1] * len(starts)
    sizes = value.values.shape if isinstance(value, Constant) else (reader.batch, *file_shape(value))
    ranges = [range(size) for size in sizes]
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        place = axis + rank if axis < 0 else axis
        ranges[place] = range(sizes[place])[start:stop:step]
    if isinstance(value, Constant):
        return _picked(value, [slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in ranges])
    if ranges[0] != range(reader.batch):
        raise UnsupportedModel(f"{node.label}: cuts the batch; supported are the axes of a sample")
    return _cut(reader, value, ranges[1:], node)


def _picked(value: Constant, index: Sequence[slice]) -> Constant:
    def pick(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else np.broadcast_to(array, value.values.shape)[tuple(index)]

    scale = value.scale if value.scale is None or value.scale.size == 1 else pick(value.scale)
    return Constant(value.values[tuple(index)], pick(value.integers), scale)


def _cut(reader: Reader, value: Line | RealInput, ranges: Sequence[range], node: NodeView) -> Line | RealInput:
    if any(r.step < 0 or len(r) == 0 for r in ranges):
        raise UnsupportedModel(
            f"{node.label}: cuts out {[list(r)[:3] for r in ranges]}; supported are rising, non-empty ranges"
        )
    placed = in_graph_order(value, ranges)
    site = node.site
    return shapes.cut(
        reader.walk, value, [r.start for r in placed], [r[-1] + 1 for r in placed], [r.step for r in placed], site
    )


@handles("Split")
def _split(reader: Reader, node: NodeView) -> Result:
    value = node.value(0)
    if isinstance(value, Constant):
        raise UnsupportedModel(f"{node.label}: splits a constant; supported are computed tensors")
    axis = sample_axis(node.integer("axis", 0), value, node)
    size = file_shape(value)[axis]
    lengths = node.numbers(1, "the lengths") if node.has(1) else [int(v) for v in node.attributes.get("split", [])]
    if not lengths:
        each = -(-size // len(node.outputs))
        lengths = [min(each, size - i * each) for i in range(len(node.outputs))]
    parts, start = [], 0
    for number, length in enumerate(lengths):
        ranges = [range(s) for s in file_shape(value)]
        ranges[axis] = range(start, start + length)
        parts.append(_cut(reader, value, ranges, node.inner(str(number))))
        start += length
    return tuple(parts)


@handles("Gather")
def _gather(reader: Reader, node: NodeView) -> Value:
    value, index = node.value(0), node.constant(1, "the index").values
    axis = node.integer("axis", 0)
    if isinstance(value, Constant):
        return _taken(value, index.astype(np.int64), axis, node)
    place = sample_axis(axis, value, node)
    shape = file_shape(value)
    wanted = [int(v) + (shape[place] if v < 0 else 0) for v in index.reshape(-1)]
    if not wanted or min(wanted) < 0 or max(wanted) >= shape[place]:
        raise UnsupportedModel(f"{node.label}: picks elements {wanted[:8]} of {shape[place]}")
    runs = _runs(wanted)
    if len(runs) > _MAXIMUM_RUNS:
        raise UnsupportedModel(
            f"{node.label}: picks elements {wanted[:8]} ... in {len(runs)} pieces; supported are up to {_MAXIMUM_RUNS} runs of rising "
            "ones at equal distances"
        )
    parts = []
    for number, run in enumerate(runs):
        ranges = [range(s) for s in shape]
        ranges[place] = run
        parts.append(_cut(reader, value, ranges, node if len(runs) == 1 else node.inner(str(number))))
    result: Line | RealInput = parts[0]
    if len(parts) > 1:
        lines = [reader.line(part, node) for part in parts]
        result = elementwise.concatenate(reader.walk, lines, axes_of(value)[place], node.site)
    if index.ndim == 1:
        return result
    # The index's own axes take the place of the one that is picked from.
    return reshaped(reader, result, (*shape[:place], *index.shape, *shape[place + 1 :]), node.inner("shape"))


def _taken(value: Constant, index: np.ndarray, axis: int, node: NodeView) -> Constant:
    def take(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else np.take(np.broadcast_to(array, value.values.shape), index, axis=axis)

    try:
        values = np.take(value.values, index, axis=axis)
    except IndexError:
        raise UnsupportedModel(
            f"{node.label}: picks elements {index.reshape(-1)[:8].tolist()} along axis {axis} of a constant of shape "
            f"{value.values.shape}"
        ) from None
    scale = value.scale if value.scale is None or value.scale.size == 1 else take(value.scale)
    return Constant(values, take(value.integers), scale)


#: Pieces that a gather may fall into.
_MAXIMUM_RUNS = 64


def _runs(wanted: Sequence[int]) -> list[range]:
    """Whole numbers as rising ranges, in order."""
    runs: list[range] = []
    for number in wanted:
        last = runs[-1] if runs else range(0)
        if len(last) == 1 and number > last[0]:
            runs[-1] = range(last[0], number + 1, number - last[0])
        elif len(last) > 1 and number == last[-1] + last.step:
            runs[-1] = range(last[0], number + 1, last.step)
        else:
            runs.append(range(number, number + 1))
    return runs


@handles("Concat")
def _concat(reader: Reader, node: NodeView) -> Value:
    values = [node.value(i) for i in range(len(node.operands))]
    axis = node.integer("axis", 0)
    if all(isinstance(value, Constant) for value in values):
        return _joined([value for value in values if isinstance(value, Constant)], axis)
    first = next(value for value in values if not isinstance(value, Constant))
    base = reader.line(first, node)
    lines = []
    for value in values:
        line = (
            constant_line(reader, base, value.values, node) if isinstance(value, Constant) else reader.line(value, node)
        )
        lines.append(laid_out(reader, line, axes_of(base), node))
    place = axes_of(base)[sample_axis(axis, base, node)]
    return elementwise.concatenate(reader.walk, lines, place, node.site)


def _joined(constants: Sequence[Constant], axis: int) -> Constant:
    """Constants one after the other; quantised if all of them are."""
    values = np.concatenate([constant.values for constant in constants], axis=axis)
    known = [(c.integers, np.broadcast_to(c.scale, c.values.shape)) for c in constants if c.scale is not None]
    if len(known) != len(constants) or any(integers is None for integers, _ in known):
        return Constant(values)
    integers, scales = (np.concatenate([pair[i] for pair in known], axis=axis) for i in (0, 1))  # type: ignore[arg-type]
    return Constant(values, integers, scales)
