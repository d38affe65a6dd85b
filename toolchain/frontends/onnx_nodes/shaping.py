# SPDX-License-Identifier: Apache-2.0
"""Rearranging: Reshape, Flatten, Transpose, Squeeze, Unsqueeze, Pad, Slice, Split, Concat, Resize, and constants of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import elementwise, shapes
from toolchain.frontends.exact.functions import Clip
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
    in_file_order,
    laid_out,
    ordered,
    sample_axis,
)


@handles("Constant")
def _constant(reader: Reader, node: NodeView) -> Value:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in node.attributes:
            return Constant(np.asarray(node.attributes[name]))
    raise UnsupportedModel(f"{node.label}: holds {sorted(node.attributes)}; supported are tensors and numbers")


@handles("Shape")
def _shape(reader: Reader, node: NodeView) -> Value:
    value = node.value(0)
    if isinstance(value, Constant):
        return Constant(np.array(value.values.shape, np.int64))
    full = [1, *file_shape(value)]
    return Constant(np.array(full[node.integer("start", 0) : node.attributes.get("end")], np.int64))


def _reshaped(reader: Reader, value: Line | RealInput, shape: tuple[int, ...], node: NodeView) -> Line | RealInput:
    if shape == file_shape(value):
        return value
    return shapes.reshape(reader.walk, in_file_order(reader, value, node), shape, node.site)


@handles("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(reader: Reader, node: NodeView) -> Value:
    value = node.value(0)
    if isinstance(value, Constant):
        return _reshaped_constant(value, node)
    before = file_shape(value)
    size = prod(before)
    if node.kind == "Flatten":
        if node.integer("axis", 1) != 1:
            raise UnsupportedModel(f"{node.label}: axis is {node.integer('axis', 1)}; supported is 1")
        return _reshaped(reader, value, (size,), node)
    if node.kind == "Reshape":
        target = node.numbers(1, "the shape")
        full = (1, *before)
        target = [
            full[i] if v == 0 and i < len(full) and not node.integer("allowzero", 0) else v
            for i, v in enumerate(target)
        ]
        # The batch is kept where the file says 0, 1 or -1 for it with all other sizes given.
        sizes = target[1:]
        known = prod(v for v in sizes if v != -1)
        shape = tuple(size // known if v == -1 and known else v for v in sizes)
        if not shape or target[0] not in (1, -1) or min(shape) < 1 or prod(shape) != size:
            raise UnsupportedModel(
                f"{node.label}: to shape {target}; supported are shapes that keep the batch as the first axis"
            )
        return _reshaped(reader, value, shape, node)
    axes = node.numbers(1, "the axes") if node.has(1) else [int(a) for a in node.attributes.get("axes", [])]
    if node.kind == "Squeeze":
        drop = {sample_axis(axis, value, node) for axis in axes} or {i for i, s in enumerate(before) if s == 1}
        if any(before[axis] != 1 for axis in drop) or len(drop) == len(before):
            raise UnsupportedModel(
                f"{node.label}: drops axes {axes} of a sample of shape {before}; supported are axes of size 1"
            )
        return _reshaped(reader, value, tuple(s for i, s in enumerate(before) if i not in drop), node)
    rank = len(before) + 1 + len(axes)
    places = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if 0 in places:
        raise UnsupportedModel(f"{node.label}: puts an axis before the batch; supported are axes of the sample")
    sizes = list(before)
    for place in places:
        sizes.insert(place - 1, 1)
    return _reshaped(reader, value, tuple(sizes), node)


def _reshaped_constant(value: Constant, node: NodeView) -> Constant:
    shape: Any = value.values.shape
    if node.kind == "Flatten":
        axis = node.integer("axis", 1)
        shape = (prod(shape[:axis]), prod(shape[axis:]))
    elif node.kind == "Reshape":
        shape = np.empty(shape).reshape(node.numbers(1, "the shape")).shape
    else:
        axes = tuple(node.numbers(1, "the axes") if node.has(1) else node.attributes.get("axes", ()))
        empty = np.empty(shape)
        shape = (np.squeeze(empty, axes or None) if node.kind == "Squeeze" else np.expand_dims(empty, axes)).shape
    return value.reshaped(tuple(shape))


@handles("Transpose")
def _transpose(reader: Reader, node: NodeView) -> Value:
    value = node.value(0)
    rank = value.values.ndim if isinstance(value, Constant) else len(value.shape) + 1
    permutation = tuple(int(a) for a in node.attributes.get("perm", range(rank)[::-1]))
    if isinstance(value, Constant):
        return value.transposed(permutation)
    if permutation[0] != 0:
        raise UnsupportedModel(f"{node.label}: moves the batch axis; supported are permutations of the sample's axes")
    axes = axes_of(value)
    # The graph's tensor stays as it is; the file names its axes in another order from here on.
    return replace(value, axes=ordered(tuple(axes[axis - 1] for axis in permutation[1:])))


def _in_graph_order(value: Line | RealInput, entries: Sequence[Any]) -> list[Any]:
    """One entry for each sample axis of the file, in the order of the graph's axes."""
    placed: list[Any] = [None] * len(entries)
    for entry, axis in zip(entries, axes_of(value), strict=True):
        placed[axis] = entry
    return placed


@handles("Pad")
def _pad(reader: Reader, node: NodeView) -> Value:
    node.require("mode", ("constant",), "constant")
    line = reader.line(node.value(0), node)
    pads = node.numbers(1, "the pads") if node.has(1) else [int(v) for v in node.attributes.get("pads", [])]
    fill = (
        float(node.constant(2, "the value").values.reshape(-1)[0])
        if node.has(2)
        else float(node.attributes.get("value", 0.0))
    )
    rank = len(line.shape) + 1
    if node.has(3) or len(pads) != 2 * rank or fill != 0 or pads[0] or pads[rank]:
        raise UnsupportedModel(
            f"{node.label}: pads {pads} with {fill:g}; supported is padding of a sample's axes with 0"
        )
    pairs = [(pads[i], pads[rank + i]) for i in range(1, rank)]
    grown = [max(0, b) for pair in pairs for b in pair]
    widths = _in_graph_order(line, list(zip(grown[::2], grown[1::2], strict=True)))
    if widths[-1] != (0, 0):
        line = in_file_order(reader, line, node)
        widths = list(zip(grown[::2], grown[1::2], strict=True))
    line = shapes.pad_zeros(reader.walk, reader.walk.settled(line, node.site), widths, node.site)
    cuts = _in_graph_order(line, [(max(0, -a), max(0, -b)) for a, b in pairs])
    return shapes.crop(reader.walk, line, cuts, node.site)


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
    sizes = value.values.shape if isinstance(value, Constant) else (1, *file_shape(value))
    ranges = [range(size) for size in sizes]
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        place = axis + rank if axis < 0 else axis
        ranges[place] = range(sizes[place])[start:stop:step]
    if isinstance(value, Constant):
        return _picked(value, [slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in ranges])
    if len(ranges[0]) != 1:
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
    placed = _in_graph_order(value, ranges)
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
        part = replace(node, site=node.site.inner(str(number)))
        parts.append(_cut(reader, value, ranges, part))
        start += length
    return tuple(parts)


@handles("Gather")
def _gather(reader: Reader, node: NodeView) -> Value:
    value, index = node.value(0), node.constant(1, "the index").values
    axis = node.integer("axis", 0)
    if isinstance(value, Constant):
        return Constant(np.take(value.values, index.astype(np.int64), axis=axis))
    place = sample_axis(axis, value, node)
    shape = file_shape(value)
    wanted = [int(v) + (shape[place] if v < 0 else 0) for v in index.reshape(-1)]
    step = wanted[1] - wanted[0] if len(wanted) > 1 else 1
    if (
        step < 1
        or wanted != list(range(wanted[0], wanted[-1] + 1, step))
        or wanted[-1] >= shape[place]
        or wanted[0] < 0
    ):
        raise UnsupportedModel(
            f"{node.label}: picks elements {wanted[:8]}; supported are rising ones at equal distances"
        )
    ranges = [range(s) for s in shape]
    ranges[place] = range(wanted[0], wanted[-1] + 1, step)
    result = _cut(reader, value, ranges, node)
    if index.ndim == 0:
        return _reshaped(
            reader,
            result,
            tuple(s for i, s in enumerate(shape) if i != place),
            replace(node, site=node.site.inner("shape")),
        )
    return result


@handles("Concat")
def _concat(reader: Reader, node: NodeView) -> Value:
    values = [node.value(i) for i in range(len(node.operands))]
    axis = node.integer("axis", 0)
    if all(isinstance(value, Constant) for value in values):
        return Constant(np.concatenate([value.values for value in values], axis=axis))  # type: ignore[union-attr]
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


@handles("Resize", "Upsample")
def _resize(reader: Reader, node: NodeView) -> Value:
    """Nearest neighbour by whole factors."""
    line = reader.line(node.value(0), node)
    node.require("mode", ("nearest",), "nearest")
    before = (1, *file_shape(line))
    if node.kind == "Resize" and node.has(3):
        after = node.numbers(3, "the sizes")
        factors = [a / b for a, b in zip(after, before, strict=True)]
    else:
        index = 1 if node.kind == "Upsample" else 2
        factors = (
            [float(v) for v in node.constant(index, "the scales").values]
            if node.has(index)
            else node.attributes["scales"]
        )
    if any(f != int(f) or f < 1 for f in factors) or factors[0] != 1:
        raise UnsupportedModel(f"{node.label}: by {factors}; supported are whole factors")
    if node.kind == "Resize" and set(factors) != {1}:
        transform = node.attributes.get("coordinate_transformation_mode", "half_pixel")
        nearest = node.attributes.get("nearest_mode", "round_prefer_floor")
        if (transform, nearest) not in (
            ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"),
            ("pytorch_half_pixel", "round_prefer_floor"), ("pytorch_half_pixel", "round_prefer_ceil"),
        ):  # fmt: skip
            raise UnsupportedModel(
                f"{node.label}: {transform} with {nearest}; supported is what repeats every element equally often"
            )
    placed = _in_graph_order(line, [int(f) for f in factors[1:]])
    return shapes.upsample(reader.walk, line, tuple(placed), node.site)


@handles("Max", "Min")
def _bound(reader: Reader, node: NodeView) -> Value:
    """With a constant: a clip."""
    values = [node.value(i) for i in range(len(node.operands))]
    constants = [v for v in values if isinstance(v, Constant)]
    if len(values) != 2 or len(constants) != 1 or constants[0].values.size != 1:
        raise UnsupportedModel(f"{node.label}: supported is the larger or smaller of a tensor and one constant")
    line = reader.line(next(v for v in values if not isinstance(v, Constant)), node)
    bound = Fraction(float(constants[0].values.reshape(-1)[0]))
    clip = Clip(bound, None) if node.kind == "Max" else Clip(None, bound)
    return replace(line, functions=(*line.functions, clip))
