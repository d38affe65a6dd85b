# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime's operators on quantised tensors (domain com.microsoft), as its quantisation tools write them.

What they compute is defined by ONNX Runtime's kernels. Where those add the result's zero point was measured on every pair of
operands (version 1.25 on x86-64): QLinearAdd, QLinearMul and QLinearAveragePool add it before rounding, all others after. How
they round otherwise is in `requantisation`.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import Curve, Leaky
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import Line, fractions_of, power_of_two
from toolchain.frontends.onnx_nodes.integer_operators import (
    accumulator_units,
    as_operator,
    dequantised_operand,
    with_integer_bias,
    within_int32,
)
from toolchain.frontends.onnx_nodes.reader import NodeView, Reader, Value, file_shape, handles
from toolchain.frontends.onnx_nodes.requantisation import divided_result, exact_result, float32_scale, scaled_result
from toolchain.frontends.onnx_session import float32_operator

DOMAIN = "com.microsoft"
#: The operators of the domain that are read. The others may share their name with one of ONNX, and mean something else.
OPERATORS = {
    "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearSigmoid",
    "QLinearLeakyRelu", "QLinearSoftmax", "QGemm", "QuantizeLinear", "DequantizeLinear",
}  # fmt: skip
_DYNAMIC = (
    "takes its scale from the data at hand, so that every sample has another one; quantise the model statically, with scales "
    "that a calibration finds (onnxruntime.quantization.quantize_static)"
)
_BLOCKS = "has a scale for every block of inputs; supported are one scale, or one an output"
#: Operators that are refused, with the reason.
REFUSALS = {
    "DynamicQuantizeLinear": _DYNAMIC,
    "DynamicQuantizeMatMul": _DYNAMIC,
    "DynamicQuantizeLSTM": _DYNAMIC,
    "MatMulIntegerToFloat": _DYNAMIC,
    "MatMulNBits": _BLOCKS,
    "MatMulBnb4": _BLOCKS,
    "GatherBlockQuantized": _BLOCKS,
}


@handles("QLinearAdd", "QLinearMul")
def _between(reader: Reader, node: NodeView) -> Value:
    """Operands a, b, y, each with scale and zero point (y without a tensor)."""
    operands = tuple(_exact(dequantised_operand(reader, node, index)) for index in (0, 3))
    line = as_operator(reader, node.kind.removeprefix("QLinear"), operands, node)
    if node.kind == "QLinearAdd":
        return exact_result(reader, line, node, 6, like=2, zero_is_rounded=True)
    a, b, y = (float32_scale(node, index) for index in (1, 4, 6))
    units = [fractions_of(a)[0] * fractions_of(b)[0]]
    return scaled_result(reader, line, node, 6, like=2, units=units, ratios=a * b / y, zero_is_rounded=True)


def _exact(value: Constant | Line) -> Constant | Line:
    """A constant whose values are not rounded to float32: 8 bits of integer times 24 of scale fit float64."""
    if isinstance(value, Line):
        return value
    assert value.integers is not None
    assert value.scale is not None
    return Constant(value.integers * value.scale.astype(np.float64), value.integers, value.scale)


@handles("QLinearConcat")
def _concat(reader: Reader, node: NodeView) -> Value:
    """Operands: scale and zero point of the result, then (tensor, scale, zero point) of each part; every part is requantised."""
    if len(node.operands) < 5 or (len(node.operands) - 2) % 3:
        raise UnsupportedModel(f"{node.label}: has {len(node.operands)} operands; expected 2, and 3 for every part")
    lines = []
    for number, index in enumerate(range(2, len(node.operands), 3)):
        part = replace(node, site=node.site.inner(f"part{number}"))
        line = reader.line(_exact(dequantised_operand(reader, part, index)), part)
        lines.append(divided_result(reader, line, (), part, 0, like=index + 2, is_exact=True))
    return as_operator(reader, "Concat", lines, node)


@handles("QLinearAveragePool", "QLinearGlobalAveragePool")
def _pool(reader: Reader, node: NodeView) -> Value:
    """Operands x and y, each with scale and zero point (y without a tensor)."""
    node.require("channels_last", (0,), 0)
    kind = node.kind.removeprefix("QLinear")
    operand = reader.line(dequantised_operand(reader, node, 0), node)
    line = as_operator(reader, kind, (operand,), node)
    if kind == "AveragePool":
        return exact_result(reader, line, node, 3, like=2, zero_is_rounded=True)
    count = prod(file_shape(operand)[1:])
    x, y = float32_scale(node, 1), float32_scale(node, 3)
    units = [fractions_of(x)[0] / count]
    return scaled_result(reader, line, node, 3, like=2, units=units, ratios=x / (y * np.float32(count)))


@handles("QLinearSigmoid", "QLinearLeakyRelu")
def _function(reader: Reader, node: NodeView) -> Value:
    """Operands x and y, each with scale and zero point (y without a tensor)."""
    line = reader.line(dequantised_operand(reader, node, 0), node)
    if node.kind == "QLinearSigmoid":
        curve = Curve("QLinearSigmoid", lambda x: float32_operator("Sigmoid", x), rises=True)
        return exact_result(reader, replace(line, functions=(*line.functions, curve)), node, 3, like=2)
    functions = as_operator(reader, "LeakyRelu", (replace(line, functions=()),), node).functions
    slopes = [slope for function in functions if isinstance(function, Leaky) for slope in function.slope]
    is_exact = all(power_of_two(slope) is not None for slope in slopes)
    return divided_result(reader, line, functions, node, 3, like=2, is_exact=is_exact)


@handles("QGemm")
def _gemm(reader: Reader, node: NodeView) -> Value:
    """Operands a and b, each with scale and zero point, integers c on the product's step, scale and zero point of the result.

    Without the last two the result is real: ``alpha * a_scale * b_scale * (a @ b + c)``.
    """
    node.require("transA", (0,), 0)
    alpha = Fraction(float(np.float32(node.attributes.get("alpha", 1.0))))
    if alpha <= 0:
        raise UnsupportedModel(f"{node.label}: alpha is {float(alpha):g}; supported are positive ones")
    transposed = node.integer("transB", 0)
    weights = dequantised_operand(reader, node, 3, axis=0 if transposed else 1)
    if not isinstance(weights, Constant):
        raise UnsupportedModel(f"{node.label}: multiplies two computed tensors; supported is a constant second operand")
    if transposed:
        weights = weights.transposed((1, 0))
    line = as_operator(reader, "MatMul", (dequantised_operand(reader, node, 0), weights), node)
    units = accumulator_units(node, 1, 4, line)
    if node.has(6):
        line = with_integer_bias(reader, line, node.constant(6, "the bias"), units, node)
    line = within_int32(reader, line, units, node)
    if node.has(7) != node.has(8):
        raise UnsupportedModel(f"{node.label}: has one of scale and zero point of its result; both or none are needed")
    if not node.has(7):
        return reader.walk.scaled(line, [alpha])
    ratios = np.float32(alpha) * float32_scale(node, 1) * float32_scale(node, 4) / float32_scale(node, 7)
    line = reader.walk.scaled(line, [alpha])
    return scaled_result(reader, line, node, 7, like=2, units=[alpha * unit for unit in units], ratios=ratios)


def softmax_apart(proto: Any) -> Any:
    """The model with every QLinearSoftmax as the three operators that it stands for: dequantise, softmax, quantise.

    The softmax then ends the graph as any other does; `proto` itself is returned where there is none.
    """
    from onnx import ModelProto, helper

    if not any(node.op_type == "QLinearSoftmax" and node.domain == DOMAIN for node in proto.graph.node):
        return proto
    copy = ModelProto()
    copy.CopyFrom(proto)
    nodes = []
    for node in proto.graph.node:
        if node.op_type != "QLinearSoftmax" or node.domain != DOMAIN:
            nodes.append(node)
            continue
        settings = {attribute.name: attribute.i for attribute in node.attribute}
        axis = settings.get("axis", -1 if settings.get("opset", 13) >= 13 else 1)
        name, result = node.name or node.output[0], node.output[0]
        x, scale, zero, *end = node.input
        real, probabilities = f"{result}/dequantised", f"{result}/softmax"
        nodes += [
            helper.make_node("DequantizeLinear", [x, scale, zero], [real], name=f"{name}/dequantise"),
            helper.make_node("Softmax", [real], [probabilities], name=name, axis=axis),
            helper.make_node("QuantizeLinear", [probabilities, *end], [result], name=f"{name}/quantise"),
        ]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy
