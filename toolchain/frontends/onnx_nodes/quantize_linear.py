# SPDX-License-Identifier: Apache-2.0
"""ONNX's own quantisation: QuantizeLinear and DequantizeLinear, and what operators on quantised tensors share.

``quantised = saturate(round_half_even(x / scale) + zero_point)`` and ``real = (quantised - zero_point) * scale``. Between the
two a line's real value is the integer in the file. Scales are the exact fractions that the file's floats are: the graph has no
rounding but the one to integers, and a tie is a tie of the exact quotient. A framework divides in float32, so it can differ
by one step where the exact quotient lies within its rounding error of a tie.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.quantiser import Constant, Quantiser, check_scale
from toolchain.frontends.exact.requantise import requantise
from toolchain.frontends.exact.values import Line, RealInput
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Value,
    file_shape,
    fractions_on_channels,
    handles,
    sample_axis,
    with_axis_last,
)

#: ONNX's integer types, with their ranges.
INTEGER_TYPES: dict[str, tuple[int, int]] = {
    "uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-32768, 32767),
    "int32": (-(1 << 31), (1 << 31) - 1), "uint4": (0, 15), "int4": (-8, 7), "uint2": (0, 3), "int2": (-2, 1),
}  # fmt: skip


@handles("QuantizeLinear")
def _quantize_linear(reader: Reader, node: NodeView) -> Value:
    _refuse_blocks(node)
    scale, zero = node.constant(1, "scale").values, zero_point(node, 2)
    if zero is None:
        zero = np.zeros(1, _output_dtype(node))
    value, axis = node.value(0), node.integer("axis", 1)
    if isinstance(value, Constant):
        return _quantised_constant(value, scale, zero, axis, node)
    lowest, highest = INTEGER_TYPES[str(zero.dtype)]
    return quantised(reader, value, scale, zero, node, axis=axis, bounds=_clip_bounds(reader, node, lowest, highest))


@handles("DequantizeLinear")
def _dequantize_linear(reader: Reader, node: NodeView) -> Value:
    _refuse_blocks(node)
    scale, zero = node.constant(1, "scale").values, zero_point(node, 2)
    return dequantised(reader, node.value(0), scale, zero, node, axis=node.integer("axis", 1))


# ---- shared by all operators on quantised tensors --------------------------------------------------------------------
def zero_point(node: NodeView, index: int) -> np.ndarray | None:
    """The zero point operand, of one of ONNX's integer types; None where it is left out."""
    if not node.has(index):
        return None
    values = node.constant(index, "zero point").values
    _require_integers(values, "a zero point", node)
    return values


def along(values: np.ndarray, shape: tuple[int, ...], axis: int, what: str, node: NodeView) -> np.ndarray:
    """A scale or zero point placed so that it broadcasts against a tensor of `shape` (batch first): one value, or one along an axis."""
    values = np.asarray(values)
    if values.size == 1:
        return values.reshape(())
    rank = len(shape)
    if values.ndim != 1:
        raise UnsupportedModel(
            f"{node.label}: {what} of shape {values.shape}, which is in blocks; supported are one value, or one a channel"
        )
    place = axis + rank if axis < 0 else axis
    if not 0 <= place < rank or values.size != shape[place]:
        raise UnsupportedModel(
            f"{node.label}: {what} of {values.size} values along axis {axis} of a tensor of shape {shape}; they must be as many as "
            "that axis has elements"
        )
    return values.reshape([-1 if i == place else 1 for i in range(rank)])


def dequantised(
    reader: Reader, value: Value, scale: np.ndarray, zero: np.ndarray | None, node: NodeView, *, axis: int = 1
) -> Constant | Line:
    """``(value - zero) * scale`` of a tensor of integers; one scale and zero point, or one a channel along `axis`.

    Of a constant, `values` are what the framework computes in the scale's float type, `integers` and `scale` are exact.
    """
    check_scale(scale, node.label)
    zero = np.zeros(1, np.int64) if zero is None else zero
    if isinstance(value, Constant):
        _require_integers(value.values, "a constant", node)
        shape = value.values.shape
        scale = along(scale, shape, axis, "a scale", node)
        integers = value.values.astype(np.int64) - along(zero, shape, axis, "a zero point", node).astype(np.int64)
        floats = (integers.astype(np.float32) * scale.astype(np.float32)).astype(scale.dtype)
        return Constant(floats, integers, scale)
    line = reader.line(value, node)
    if scale.size > 1 or zero.size > 1:
        line = with_axis_last(reader, line, sample_axis(axis, line, node), node)
    shape = (1, *file_shape(line))
    factors = fractions_on_channels(line, along(scale, shape, axis, "a scale", node), node, "a scale")
    zeros = fractions_on_channels(
        line, along(zero, shape, axis, "a zero point", node).astype(np.int64), node, "a zero point"
    )
    shifts = [-f * z for f, z in zip(line.spread(factors), line.spread(zeros), strict=True)]
    return reader.walk.scaled(line, factors, shifts)


def quantised(
    reader: Reader,
    value: Line | RealInput,
    scale: np.ndarray,
    zero: np.ndarray,
    node: NodeView,
    *,
    axis: int = 1,
    bounds: tuple[int, int] | None = None,
    zero_is_rounded: bool = False,
) -> Line:
    """The tensor of integers ``saturate(round_half_even(value / scale) + zero)``, in the type of `zero`.

    bounds: a narrower range than the type's. zero_is_rounded: the zero point is added before rounding,
    ``round_half_even(value / scale + zero)``; with an odd one ties then go to the other neighbour.
    """
    check_scale(scale, node.label)
    found = np.unique(zero.astype(np.int64))
    if found.size != 1:
        raise UnsupportedModel(
            f"{node.label}: zero points {found.tolist()[:8]} for one tensor; supported is one for all channels of a computed "
            "tensor"
        )
    offset = int(found[0])
    low, high = bounds or INTEGER_TYPES[str(zero.dtype)]
    if scale.size > 1:
        value = with_axis_last(reader, value, sample_axis(axis, value, node), node)
    steps = fractions_on_channels(value, along(scale, (1, *file_shape(value)), axis, "a scale", node), node, "a scale")
    if isinstance(value, RealInput):
        quantiser = Quantiser(steps, low - offset, high - offset)
        line = reader.walk.quantised_input(value, quantiser, reader.real_range, node.site)
    elif _is_on_grid(reader, value, steps, low - offset, high - offset):
        line = value
    else:
        # Added after rounding, a zero point leaves the ties where they are; so does an even one added before.
        quantiser = Quantiser(steps, low - offset, high - offset)
        if zero_is_rounded and offset % 2:
            quantiser = Quantiser(steps, low, high, zero_point=offset)
        line = requantise(reader.walk, value, quantiser, node.site)
    return reader.walk.scaled(line, [1 / step for step in line.spread(steps)], [Fraction(offset)])


def _is_on_grid(reader: Reader, line: Line, steps: tuple[Fraction, ...], low: int, high: int) -> bool:
    """Whether every value that the line can have is a step of the quantiser already."""
    if line.functions or line.pending is not None or any(line.offset):
        return False
    element = reader.walk.element(line)
    same = line.spread(line.scale) == line.spread(steps)
    return same and low <= element.minimum and element.maximum <= high


# ---- details ---------------------------------------------------------------------------------------------------------
def _refuse_blocks(node: NodeView) -> None:
    size = node.integer("block_size", 0)
    if size:
        raise UnsupportedModel(
            f"{node.label}: has a scale for every {size} elements (block_size); supported are one scale, or one a channel"
        )


def _require_integers(values: np.ndarray, what: str, node: NodeView) -> None:
    if str(values.dtype) not in INTEGER_TYPES:
        raise UnsupportedModel(f"{node.label}: {what} of type {values.dtype}; supported are {', '.join(INTEGER_TYPES)}")


def _output_dtype(node: NodeView) -> Any:
    """The integer type that is named by an attribute where there is no zero point; uint8 by default."""
    code = node.integer("output_dtype", 0)
    if not code:
        return np.uint8
    from onnx import helper

    try:
        dtype = helper.tensor_dtype_to_np_dtype(code)
    except KeyError:
        raise UnsupportedModel(f"{node.label}: output_dtype is {code}, which is no type of ONNX") from None
    _require_integers(np.zeros(1, dtype), "a result", node)
    return dtype


def _quantised_constant(value: Constant, scale: np.ndarray, zero: np.ndarray, axis: int, node: NodeView) -> Constant:
    """As the framework computes it: the quotient in float32, which is deterministic."""
    check_scale(scale, node.label)
    if value.values.dtype.kind in "iub":
        raise UnsupportedModel(f"{node.label}: quantises integers of type {value.values.dtype}; supported are floats")
    shape = value.values.shape
    lowest, highest = INTEGER_TYPES[str(zero.dtype)]
    offset = along(zero, shape, axis, "a zero point", node).astype(np.float64)
    steps = value.values.astype(np.float32) / along(scale, shape, axis, "a scale", node).astype(np.float32)
    integers = np.clip(np.rint(steps).astype(np.float64) + offset, lowest, highest).astype(np.int64)
    return Constant(integers.astype(zero.dtype), integers, np.ones(1))


def _clip_bounds(reader: Reader, node: NodeView, lowest: int, highest: int) -> tuple[int, int]:
    """The range that is left where the one reader of the result clips it: that is how fewer than 8 bits are written."""
    following = reader.only_consumer(node.outputs[0])
    if following is None or following.op_type != "Clip" or len(following.input) != 3:
        return lowest, highest
    bounds = [reader.values.get(name) for name in following.input[1:]]
    if not all(isinstance(bound, Constant) and bound.values.size == 1 for bound in bounds):
        return lowest, highest
    low, high = (int(bound.values.reshape(-1)[0]) for bound in bounds)  # type: ignore[union-attr]
    low, high = max(lowest, low), min(highest, high)
    return (low, high) if low < high else (lowest, highest)
