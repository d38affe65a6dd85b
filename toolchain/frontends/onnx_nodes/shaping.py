# SPDX-License-Identifier: Apache-2.0
"""Rearranging: Reshape, Flatten, Transpose, Squeeze, Unsqueeze, Pad, Resize, and constants of shapes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import shapes
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import Line
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Value,
    axes_of,
    file_shape,
    handles,
    in_graph_order,
    ordered,
    reshaped,
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


@handles("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(reader: Reader, node: NodeView) -> Value:
    value = node.value(0)
    if isinstance(value, Constant):
        return _reshaped_constant(value, node)
    before = file_shape(value)
    size = prod(before)
    if node.kind == "Flatten":
        axis = node.integer("axis", 1)
        if axis not in (1, -len(before)):
            raise UnsupportedModel(f"{node.label}: axis is {axis}; supported is 1")
        return reshaped(reader, value, (size,), node)
    if node.kind == "Reshape":
        target = node.numbers(1, "the shape")
        full = (1, *before)
        target = [
            full[i] if v == 0 and i < len(full) and not node.integer("allowzero", 0) else v
            for i, v in enumerate(target)
        ]
        # The batch is kept where the file says 0, -1, 1 or the input's own batch for it, with all other sizes given.
        sizes = target[1:]
        known = prod(v for v in sizes if v != -1)
        shape = tuple(size // known if v == -1 and known else v for v in sizes)
        if not shape or target[0] not in (1, -1, reader.batch) or min(shape) < 1 or prod(shape) != size:
            raise UnsupportedModel(
                f"{node.label}: to shape {target}; supported are shapes that keep the batch as the first axis"
            )
        return reshaped(reader, value, shape, node)
    axes = node.numbers(1, "the axes") if node.has(1) else [int(a) for a in node.attributes.get("axes", [])]
    if node.kind == "Squeeze":
        drop = {sample_axis(axis, value, node) for axis in axes} or {i for i, s in enumerate(before) if s == 1}
        if any(before[axis] != 1 for axis in drop) or len(drop) == len(before):
            raise UnsupportedModel(
                f"{node.label}: drops axes {axes} of a sample of shape {before}; supported are axes of size 1"
            )
        return reshaped(reader, value, tuple(s for i, s in enumerate(before) if i not in drop), node)
    rank = len(before) + 1 + len(axes)
    places = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if 0 in places:
        raise UnsupportedModel(f"{node.label}: puts an axis before the batch; supported are axes of the sample")
    sizes = list(before)
    for place in places:
        sizes.insert(place - 1, 1)
    return reshaped(reader, value, tuple(sizes), node)


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
    axes = [a + rank if a < 0 else a for a in node.numbers(3, "the axes")] if node.has(3) else list(range(rank))
    if len(pads) != 2 * len(axes) or not all(0 <= a < rank for a in axes):
        raise UnsupportedModel(f"{node.label}: pads {pads} along axes {axes} of a tensor with {rank} axes")
    pairs = [(0, 0)] * rank
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        pairs[axis] = (before, after)
    if pairs[0] != (0, 0):
        raise UnsupportedModel(f"{node.label}: pads the batch with {pairs[0]}; supported are the axes of a sample")
    # Negative pads cut off.
    widths = in_graph_order(line, [(max(0, a), max(0, b)) for a, b in pairs[1:]])
    cuts = in_graph_order(line, [(max(0, -a), max(0, -b)) for a, b in pairs[1:]])
    line = shapes.crop(reader.walk, reader.walk.settled(line, node.site), cuts, node.site.inner("crop"))
    return shapes.pad_zeros(reader.walk, line, widths, node.site, Fraction(fill))


@handles("Resize", "Upsample")
def _resize(reader: Reader, node: NodeView) -> Value:
    """Nearest neighbour by whole factors."""
    line = reader.line(node.value(0), node)
    node.require("mode", ("nearest",), "nearest")
    factors = _factors(line, node)
    if any(f != int(f) or f < 1 for f in factors) or factors[0] != 1:
        raise UnsupportedModel(f"{node.label}: by {factors}; supported are whole factors from 1, and 1 for the batch")
    if node.kind == "Resize" and set(factors) != {1}:
        # Before version 11 there is one way only, that of 'asymmetric' and 'floor'.
        is_old = reader.opset < 11
        transform = node.attributes.get("coordinate_transformation_mode", "asymmetric" if is_old else "half_pixel")
        nearest = node.attributes.get("nearest_mode", "floor" if is_old else "round_prefer_floor")
        if (transform, nearest) not in (
            ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil"),
            ("pytorch_half_pixel", "round_prefer_floor"), ("pytorch_half_pixel", "round_prefer_ceil"),
        ):  # fmt: skip
            raise UnsupportedModel(
                f"{node.label}: {transform} with {nearest}; supported is what repeats every element equally often"
            )
        if transform == "pytorch_half_pixel" and any(
            size * f == 1 for size, f in zip(file_shape(line), factors[1:], strict=True) if f > 1
        ):
            raise UnsupportedModel(f"{node.label}: makes an axis of one element; supported are larger ones")
    placed = in_graph_order(line, [int(f) for f in factors[1:]])
    return shapes.upsample(reader.walk, line, tuple(placed), node.site)


def _factors(line: Line, node: NodeView) -> list[float]:
    """By how much each axis grows, the batch first."""
    before = [1, *file_shape(line)]
    rank = len(before)
    axes = [int(a) % rank for a in node.attributes.get("axes", range(rank))]
    # Upsample and the first Resize have the scales as their second operand; later ones a region before them.
    index = 1 if node.kind == "Upsample" or len(node.operands) == 2 else 2
    if node.kind == "Resize" and node.has(3):
        sizes = node.numbers(3, "the sizes")
        given = [after / before[axis] for after, axis in zip(sizes, axes, strict=False)]
        given += [0.0] * (len(sizes) - len(given))
    elif node.has(index):
        given = [float(v) for v in node.constant(index, "the scales").values.reshape(-1)]
    else:
        given = [float(v) for v in node.attributes.get("scales", ())]
    if len(given) != len(axes):
        raise UnsupportedModel(f"{node.label}: scales {given} for axes {axes} of a tensor with {rank} axes")
    factors = [1.0] * rank
    for axis, factor in zip(axes, given, strict=True):
        factors[axis] = factor
    return factors
