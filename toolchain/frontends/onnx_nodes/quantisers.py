# SPDX-License-Identifier: Apache-2.0
"""Quantisers: QONNX's Quant, BipolarQuant and Trunc, and FINN's MultiThreshold."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import HalfLine
from toolchain.frontends.exact.quantiser import MAXIMUM_BITS, Constant, Quantiser, check_scale, quantised_constant
from toolchain.frontends.exact.requantise import count_reached, requantise
from toolchain.frontends.exact.values import Fractions, Line, RealInput, fractions_of
from toolchain.frontends.onnx_nodes.reader import NodeView, Reader, Value, fractions_on_channels, handles
from toolchain.ir import Rounding

#: QONNX's rounding modes. Its HALF_UP and HALF_DOWN work on magnitudes.
ROUNDING_MODES = {
    "ROUND": Rounding.HALF_EVEN,
    "HALF_EVEN": Rounding.HALF_EVEN,
    "CEIL": Rounding.CEILING,
    "FLOOR": Rounding.TRUNCATE,
    "UP": Rounding.AWAY,
    "DOWN": Rounding.TRUNCATE_ZERO,
    "ROUND_TO_ZERO": Rounding.TRUNCATE_ZERO,
    "HALF_UP": Rounding.HALF_AWAY,
    "HALF_DOWN": Rounding.HALF_ZERO,
}


def whole(values: np.ndarray, what: str, node: NodeView) -> int:
    """A constant that must be one whole number (repeated ones count as one)."""
    distinct = np.unique(np.asarray(values))
    if distinct.size != 1 or float(distinct[0]) != int(distinct[0]):
        raise UnsupportedModel(f"{node.label}: its {what} must be one whole number, found {distinct.tolist()[:8]}")
    return int(distinct[0])


def rounding_of(node: NodeView, default: str) -> Rounding:
    mode = str(node.attributes.get("rounding_mode", default)).upper()
    if mode not in ROUNDING_MODES:
        raise UnsupportedModel(
            f"{node.label}: rounding mode {mode!r} is not known; supported are {', '.join(ROUNDING_MODES)}"
        )
    return ROUNDING_MODES[mode]


def integer_range(bits: int, *, signed: bool, narrow: bool) -> tuple[int, int]:
    """(lowest, highest) of a Quant node."""
    if signed:
        return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - narrow


@handles("Quant", "IntQuant")
def _quant(reader: Reader, node: NodeView) -> Value:
    scale, zero, bits = (
        node.constant(i, what).values for i, what in ((1, "scale"), (2, "zero point"), (3, "bit width"))
    )
    width = whole(bits, "bit width", node)
    if not 1 <= width <= MAXIMUM_BITS:
        raise UnsupportedModel(f"{node.label}: bit width is {width}; supported are 1 to {MAXIMUM_BITS}")
    signed, narrow = bool(node.integer("signed", 1)), bool(node.integer("narrow", 1))
    rounding = rounding_of(node, "ROUND")
    is_bipolar = signed and width == 1
    lowest, highest = (-1, 1) if is_bipolar else integer_range(width, signed=signed, narrow=narrow)
    value = node.value(0)
    if isinstance(value, Constant):
        return quantised_constant(value, scale, zero, lowest, highest, rounding, node.label, is_bipolar=is_bipolar)
    quantiser = Quantiser(
        _steps(value, scale, node), lowest, highest, rounding, whole(zero, "zero point", node), is_bipolar
    )
    return apply(reader, value, quantiser, node)


@handles("BipolarQuant")
def _bipolar(reader: Reader, node: NodeView) -> Value:
    scale, value = node.constant(1, "scale").values, node.value(0)
    if isinstance(value, Constant):
        zero = np.zeros(1, np.float32)
        return quantised_constant(value, scale, zero, -1, 1, Rounding.HALF_EVEN, node.label, is_bipolar=True)
    return apply(reader, value, Quantiser(_steps(value, scale, node), -1, 1, is_bipolar=True), node)


def _steps(value: Line | RealInput, scale: np.ndarray, node: NodeView) -> Fractions:
    check_scale(scale, node.label)
    return fractions_on_channels(value, scale, node, "a scale")


def apply(reader: Reader, value: Line | RealInput, quantiser: Quantiser, node: NodeView) -> Line:
    """A quantiser on what flows through the network."""
    if isinstance(value, RealInput):
        return reader.walk.quantised_input(value, quantiser, reader.real_range, node.site)
    return requantise(reader.walk, value, quantiser, node.site)


@handles("Trunc")
def _trunc(reader: Reader, node: NodeView) -> Value:
    """Drops low bits: ``trunc(round(x / scale) + zero) / 2**(in_bits - out_bits))`` on a step that is as much coarser.

    Version 2 names the coarser step itself (operands: x, scale, zero point, in_bits, out_scale, out_bits).
    """
    line = reader.line(node.value(0), node)
    with_output_scale = node.has(5)
    scale = node.constant(1, "scale").values
    zero = whole(node.constant(2, "zero point").values, "zero point", node)
    in_bits = whole(node.constant(3, "input bit width").values, "input bit width", node)
    out_bits = whole(node.constant(5 if with_output_scale else 4, "output bit width").values, "output bit width", node)
    if zero:
        raise UnsupportedModel(f"{node.label}: zero point is {zero}; supported is 0")
    steps = _steps(line, scale, node)
    if with_output_scale:
        coarse = _steps(line, node.constant(4, "output scale").values, node)
    else:
        coarse = tuple(step * Fraction(2) ** (in_bits - out_bits) for step in steps)
    signed = bool(node.integer("signed", 1))
    # Without clipping in version 1: a result beyond out_bits stays as it is, so the range is what the input can reach.
    lowest, highest = integer_range(out_bits, signed=signed, narrow=bool(node.integer("narrow", 0)))
    if not with_output_scale:
        lowest, highest = integer_range(max(in_bits, out_bits), signed=True, narrow=False)
    return requantise(reader.walk, line, Quantiser(coarse, lowest, highest, rounding_of(node, "FLOOR")), node.site)


@handles("MultiThreshold")
def _multi_threshold(reader: Reader, node: NodeView) -> Value:
    """``out_scale * (number of thresholds not above x) + out_bias``; thresholds of shape (channels or 1, steps)."""
    line = reader.line(node.value(0), node)
    table = node.constant(1, "the thresholds").values
    layout = str(node.attributes.get("data_layout", "NCHW" if len(line.shape) > 1 else "NC"))
    channel = (layout.index("C") if "C" in layout else 1) - 1
    rank = len(line.shape)
    if table.ndim != 2 or (
        table.shape[0] > 1 and (channel >= rank or (line.axes or tuple(range(rank)))[channel] != rank - 1)
    ):
        raise UnsupportedModel(
            f"{node.label}: thresholds of shape {table.shape} along axis {channel + 1} of layout {layout!r}; supported is the "
            "channel axis"
        )
    if (np.diff(table, axis=1) < 0).any():
        raise UnsupportedModel(f"{node.label}: its thresholds do not ascend")
    line = reader.walk.emitted(line, node.site)
    scale, bias = (Fraction(float(node.attributes.get(k, d))) for k, d in (("out_scale", 1.0), ("out_bias", 0.0)))
    if scale <= 0:
        raise UnsupportedModel(f"{node.label}: out_scale is {float(scale):g}; supported are positive ones")
    halves = [[HalfLine(bound, True) for bound in fractions_of(row)] for row in table]
    shift = bias / scale
    lowest = int(shift) if shift.denominator == 1 else 0
    tensor = count_reached(reader.walk, line, halves, lowest, 0, node.site)
    return Line(tensor, line.shape, (scale,), (bias - lowest * scale,), axes=line.axes)
