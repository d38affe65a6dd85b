# SPDX-License-Identifier: Apache-2.0
"""ONNX's operators on quantised tensors: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger.

Each is the operator on real tensors between a dequantisation of its operands and, for the QLinear ones, a quantisation of its
result; that is how it is read. Sums are exact integers. The file's own are of 32 bits: a product that could leave them is
refused, since what a framework gives then is no longer the operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import Line, fractions_of
from toolchain.frontends.onnx_nodes.quantize_linear import INTEGER_TYPES, dequantised, zero_point
from toolchain.frontends.onnx_nodes.reader import NodeView, Reader, Value, handlers, handles
from toolchain.frontends.onnx_nodes.requantisation import float32_scale, scaled_result


# ---- shared with ONNX Runtime's own operators ------------------------------------------------------------------------
def as_operator(reader: Reader, kind: str, operands: Sequence[Value | None], node: NodeView) -> Line:
    """What another operator would give for these operands, with the node's attributes and place."""
    result = handlers()[kind](reader, replace(node, kind=kind, operands=tuple(operands)))
    assert isinstance(result, Line)
    return result


def dequantised_operand(reader: Reader, node: NodeView, index: int, *, axis: int | None = None) -> Constant | Line:
    """Operands (tensor, scale, zero point) from `index` on, as real values.

    axis: along which scale and zero point may differ; None where the operator takes one of each.
    """
    scale, zero = node.constant(index + 1, "scale").values, zero_point(node, index + 2)
    for what, values in (("scales", scale), ("zero points", zero)):
        if axis is None and values is not None and values.size != 1:
            raise UnsupportedModel(f"{node.label}: {values.size} {what} for its operand {index + 1}; supported is one")
    return dequantised(reader, node.value(index), scale, zero, node, axis=0 if axis is None else axis)


def accumulator_units(node: NodeView, first: int, second: int, line: Line) -> list[Fraction]:
    """For each output the real value of one unit of the file's sums: the product of two scale operands."""
    factors = [fractions_of(node.constant(index, "scale").values) for index in (first, second)]
    units = [a * b for a in factors[0] for b in factors[1]]
    return line.spread(units)


def with_integer_bias(reader: Reader, line: Line, bias: Constant, units: Sequence[Fraction], node: NodeView) -> Line:
    """A product plus integers, one an output, that count units of the file's sums."""
    if bias.values.dtype.kind not in "iu" or bias.values.size not in (1, line.channels):
        raise UnsupportedModel(
            f"{node.label}: a bias of type {bias.values.dtype} and shape {bias.values.shape} for {line.channels} outputs; "
            "supported are int32, one an output"
        )
    integers = bias.values.reshape(-1).tolist() * (line.channels // bias.values.size)
    offsets = [int(value) * unit for value, unit in zip(integers, units, strict=True)]
    return reader.walk.scaled(line, [Fraction(1)], offsets)


def within_int32(reader: Reader, line: Line, units: Sequence[Fraction], node: NodeView) -> Line:
    """The line, after a proof that the sums of the file, in their own units, stay within 32 bits."""
    line = reader.walk.emitted(line, node.site)
    element = reader.walk.element(line)
    low, high = INTEGER_TYPES["int32"]
    for scale, offset, unit in zip(line.spread(line.scale), line.spread(line.offset), units, strict=True):
        ends = [(scale * end + offset) / unit for end in (element.minimum, element.maximum)]
        if min(ends) < low or max(ends) > high:
            raise UnsupportedModel(
                f"{node.label}: its sums reach from {float(min(ends)):.0f} to {float(max(ends)):.0f}, more than the 32 bits that "
                "the operator has; use fewer inputs, or smaller weights or biases"
            )
    return line


# ---- operators -------------------------------------------------------------------------------------------------------
@handles("QLinearConv")
def _qlinear_conv(reader: Reader, node: NodeView) -> Value:
    """Operands x, w, y, each with scale and zero point (y without a tensor), then the bias."""
    weights = dequantised_operand(reader, node, 3, axis=0)
    line = as_operator(reader, "Conv", (dequantised_operand(reader, node, 0), weights), node)
    units = accumulator_units(node, 1, 4, line)
    if node.has(8):
        line = with_integer_bias(reader, line, node.constant(8, "the bias"), units, node)
    line = within_int32(reader, line, units, node)
    ratios = float32_scale(node, 1) * float32_scale(node, 4) / float32_scale(node, 6)
    return scaled_result(reader, line, node, 6, like=2, units=units, ratios=ratios)


@handles("QLinearMatMul")
def _qlinear_matmul(reader: Reader, node: NodeView) -> Value:
    """Operands a, b, y, each with scale and zero point (y without a tensor); those of b may differ from column to column."""
    second = dequantised_operand(reader, node, 3, axis=-1)
    line = as_operator(reader, "MatMul", (dequantised_operand(reader, node, 0), second), node)
    units = accumulator_units(node, 1, 4, line)
    line = within_int32(reader, line, units, node)
    ratios = float32_scale(node, 1) * float32_scale(node, 4) / float32_scale(node, 6)
    return scaled_result(reader, line, node, 6, like=2, units=units, ratios=ratios)


@handles("ConvInteger", "MatMulInteger")
def _integer_product(reader: Reader, node: NodeView) -> Value:
    """Operands: tensor, weights, and their zero points; the result is int32."""
    is_conv = node.kind == "ConvInteger"
    one = np.ones(1)
    first = dequantised(reader, node.value(0), one, _single_zero(node), node)
    weights = dequantised(reader, node.value(1), one, zero_point(node, 3), node, axis=0 if is_conv else -1)
    line = as_operator(reader, "Conv" if is_conv else "MatMul", (first, weights), node)
    return within_int32(reader, line, [Fraction(1)] * line.channels, node)


def _single_zero(node: NodeView) -> np.ndarray | None:
    zero = zero_point(node, 2)
    if zero is not None and zero.size != 1:
        raise UnsupportedModel(f"{node.label}: {zero.size} zero points for its first operand; supported is one")
    return zero
