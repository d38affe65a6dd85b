# SPDX-License-Identifier: Apache-2.0
"""Quantisers: QONNX's Quant, BipolarQuant and Trunc, and FINN's MultiThreshold."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import HalfLine
from toolchain.frontends.exact.quantiser import MAXIMUM_BITS, Constant, Quantiser, check_scale, quantised_constant
from toolchain.frontends.exact.requantise import count_reached, on_step, reachable, requantise
from toolchain.frontends.exact.values import ONE, Fractions, Line, RealInput, compact, fractions_of
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Value,
    file_shape,
    fractions_on_channels,
    handles,
    with_axis_last,
    with_channels_of,
)
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
    # Brevitas exports this one too, which QONNX does not execute.
    "DPU": Rounding.HALF_DPU,
}
#: Operations of qonnx that are refused, each with what to do.
QONNX_REFUSALS = {
    "FloatQuant": "quantises to small floating-point numbers (such as fp8), which are no integers on one step; use an integer "
    "quantiser (Quant, BipolarQuant)",
    "Im2Col": "is half of a convolution that FINN has taken apart; give the file as it was before (with Conv)",
    "GenericPartition": "stands for another file; give the whole network as one file",
    "XnorPopcountMatMul": "multiplies bits by counting equal ones; give the file as it was before (with MatMul on -1 and +1)",
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
    if lowest == highest:
        raise UnsupportedModel(f"{node.label}: one bit, unsigned and narrow, has no value but 0; use more bits")
    if is_bipolar and zero.any():
        raise UnsupportedModel(f"{node.label}: one bit with a zero point of {zero.max():g}; supported is 0")
    value = node.value(0)
    if isinstance(value, Constant):
        return quantised_constant(value, scale, zero, lowest, highest, rounding, node.label, is_bipolar=is_bipolar)
    value = with_channels_of(reader, value, scale, node)
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
    value = with_channels_of(reader, value, scale, node)
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
    """Drops low bits of a value that is on the step `scale`: ``t = round((round(x / scale) + zero) / 2**k)``.

    Version 1 (operands x, scale, zero point, in_bits, out_bits): k = in_bits - out_bits, the result is
    ``(t - zero) * scale``, not clipped. Version 2 (x, scale, zero point, in_bits, out_scale, out_bits): 2**k is the power of two
    nearest to ``out_scale / scale``, t is clipped to out_bits, the result is ``(t - zero / 2**k) * out_scale``.
    """
    is_second = node.has(5)
    zero = whole(node.constant(2, "zero point").values, "zero point", node)
    in_bits = whole(node.constant(3, "input bit width").values, "input bit width", node)
    out_bits = whole(node.constant(5 if is_second else 4, "output bit width").values, "output bit width", node)
    if not (1 <= out_bits <= MAXIMUM_BITS and abs(in_bits - out_bits) <= 2 * MAXIMUM_BITS):
        raise UnsupportedModel(
            f"{node.label}: from {in_bits} to {out_bits} bits; supported are 1 to {MAXIMUM_BITS} output bits"
        )
    line = with_channels_of(reader, reader.line(node.value(0), node), node.constant(1, "scale").values, node)
    steps = _steps(line, node.constant(1, "scale").values, node)
    line = on_step(reader.walk, reader.walk.settled(line, node.site), steps, node.site)
    own = line.spread(steps)
    if is_second:
        out_scale = node.constant(4, "output scale").values
        check_scale(out_scale, node.label)
        ratio = np.round(np.log2(np.asarray(out_scale, np.float64) / node.constant(1, "scale").values))
        if np.unique(ratio).size != 1:
            raise UnsupportedModel(f"{node.label}: drops different numbers of bits; supported is one for all channels")
        dropped = int(ratio.reshape(-1)[0])
        targets = line.spread(_steps(line, out_scale, node))
        signed, narrow = bool(node.integer("signed", 1)), bool(node.integer("narrow", 0))
        lowest, highest = integer_range(out_bits, signed=signed, narrow=narrow)
        back = zero * Fraction(2) ** -dropped
    else:
        dropped, targets, back = in_bits - out_bits, own, Fraction(zero)
    # The same integers as what is rounded: (u + zero) / 2**k in steps of the result.
    shrink = Fraction(2) ** -dropped
    factors = [shrink * target / step for target, step in zip(targets, own, strict=True)]
    line = reader.walk.scaled(line, factors, [zero * shrink * target for target in targets])
    if not is_second:
        lowest, highest = reachable(reader.walk, line, targets)
    quantiser = Quantiser(compact(targets), lowest, highest, rounding_of(node, "FLOOR"))
    result = requantise(reader.walk, line, quantiser, node.site)
    return reader.walk.scaled(result, [ONE], [-back * target for target in targets])


@handles("MultiThreshold")
def _multi_threshold(reader: Reader, node: NodeView) -> Value:
    """``out_scale * (number of thresholds not above x) + out_bias``; thresholds of shape (channels or 1, steps)."""
    line = reader.line(node.value(0), node)
    table = node.constant(1, "the thresholds").values
    rank = len(line.shape) + 1
    # As qonnx finds the channels: by the layout's letters; without a layout by the number of axes.
    layout = str(node.attributes.get("data_layout", "")) or {2: "NC", 3: "NWC", 4: "NCHW"}.get(rank, "")
    channel = layout.index("C") if "C" in layout else 1
    if not 1 <= channel < rank:
        raise UnsupportedModel(f"{node.label}: layout {layout!r} for a tensor with {rank} axes")
    if table.ndim != 2 or table.size == 0 or table.shape[0] not in (1, file_shape(line)[channel - 1]):
        raise UnsupportedModel(
            f"{node.label}: thresholds of shape {table.shape} for {file_shape(line)[channel - 1]} channels (axis {channel} of "
            f"{layout!r}); supported are (channels or 1, steps)"
        )
    if table.shape[0] > 1:
        line = with_axis_last(reader, line, channel - 1, node)
    scale, bias = (Fraction(float(node.attributes.get(k, d))) for k, d in (("out_scale", 1.0), ("out_bias", 0.0)))
    if scale == 0:
        raise UnsupportedModel(f"{node.label}: out_scale is 0; supported are others")
    line = reader.walk.emitted(line, node.site)
    halves = [[HalfLine(bound, True) for bound in fractions_of(np.sort(row))] for row in table]
    shift = bias / scale
    lowest = int(shift) if shift.denominator == 1 else 0
    tensor = count_reached(reader.walk, line, halves, lowest, 0, node.site)
    return Line(tensor, line.shape, (scale,), (bias - lowest * scale,), axes=line.axes)
