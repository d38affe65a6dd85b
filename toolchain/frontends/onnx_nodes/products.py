# SPDX-License-Identifier: Apache-2.0
"""Products with constant, quantised weights: MatMul, Gemm, Conv, ConvTranspose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import linear
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import Line, Weights, compact, fractions_of
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Value,
    channels_first,
    channels_last,
    handles,
    in_file_order,
)


def weights_of(constant: Constant, node: NodeView) -> Weights:
    """Quantised weights whose outputs are on the last axis."""
    if constant.integers is None or constant.scale is None:
        raise UnsupportedModel(
            f"{node.label}: its weights are not quantised; use a quantised layer, or quantise the model after training"
        )
    scale = np.broadcast_to(constant.scale, constant.integers.shape)
    rows = scale.reshape(-1, scale.shape[-1])
    if (rows != rows[:1]).any():
        raise UnsupportedModel(
            f"{node.label}: its weights have a scale that differs within one output; supported is one, or one an output"
        )
    return Weights(constant.integers, compact(fractions_of(rows[0])))


def add_bias(reader: Reader, line: Line, bias: Constant, node: NodeView) -> Line:
    """A constant one a channel of a product. On a step within float32's rounding of the accumulator's it is an integer."""
    from toolchain.frontends.onnx_nodes.arithmetic import add_constant

    return add_constant(reader, line, bias, 1, node)


@handles("MatMul")
def _matmul(reader: Reader, node: NodeView) -> Value:
    if isinstance(node.value(0), Constant):
        raise UnsupportedModel(f"{node.label}: its first operand is a constant; supported is a constant second operand")
    if not isinstance(node.value(1), Constant):
        raise UnsupportedModel(f"{node.label}: multiplies two computed tensors; supported is a constant second operand")
    return _dense(reader, node, node.constant(1, "the second operand"))


def _dense(reader: Reader, node: NodeView, constant: Constant) -> Line:
    line = reader.line(node.value(0), node)
    line = in_file_order(reader, line, node)
    while constant.values.ndim > 2 and constant.values.shape[0] == 1:
        constant = constant.reshaped(constant.values.shape[1:])
    return linear.dense(reader.walk, line, weights_of(constant, node), node.site)


@handles("Gemm")
def _gemm(reader: Reader, node: NodeView) -> Value:
    for name, allowed in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        node.require(name, (allowed,), allowed)
    weights = node.constant(1, "the second operand")
    if node.integer("transB", 0):
        weights = weights.transposed((1, 0))
    line = _dense(reader, node, weights)
    return add_bias(reader, line, node.constant(2, "the bias"), node) if node.has(2) else line


def window_padding(
    node: NodeView, sizes: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> list[tuple[int, int]]:
    """(before, after) along each spatial axis, from pads or auto_pad."""
    mode = str(node.attributes.get("auto_pad", "NOTSET"))
    if mode == "VALID":
        return [(0, 0)] * len(sizes)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        padding = []
        if set(dilation) != {1}:
            raise UnsupportedModel(
                f"{node.label}: auto_pad {mode} with dilations {dilation}, which frameworks refuse; give the pads themselves"
            )
        for size, w, s, d in zip(sizes, window, strides, dilation, strict=True):
            total = max(0, (-(-size // s) - 1) * s + (w - 1) * d + 1 - size)
            less = total // 2
            padding.append((less, total - less) if mode == "SAME_UPPER" else (total - less, less))
        return padding
    node.require("auto_pad", ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), "NOTSET")
    pads = [int(v) for v in node.attributes.get("pads", [0] * (2 * len(sizes)))]
    if len(pads) != 2 * len(sizes) or min(pads) < 0:
        raise UnsupportedModel(f"{node.label}: pads are {pads}; supported are {2 * len(sizes)} numbers from 0")
    return list(zip(pads[: len(sizes)], pads[len(sizes) :], strict=True))


def window_numbers(node: NodeView, name: str, count: int) -> list[int]:
    """Strides or dilations: one a spatial axis, 1 by default."""
    values = [int(v) for v in node.attributes.get(name, [1] * count)]
    if len(values) != count or min(values) < 1:
        raise UnsupportedModel(f"{node.label}: {name} are {values}; supported are {count} numbers from 1")
    return values


def _spatial(reader: Reader, node: NodeView) -> tuple[Line, Constant, int]:
    line = channels_last(reader, reader.line(node.value(0), node), node)
    constant = node.constant(1, "the weights")
    count = len(line.shape) - 1
    if count not in (1, 2) or constant.values.ndim != count + 2:
        raise UnsupportedModel(
            f"{node.label}: weights of shape {constant.values.shape} on a sample with {count} spatial axes; supported are 1 or 2"
        )
    return line, constant, count


@handles("Conv")
def _conv(reader: Reader, node: NodeView) -> Value:
    line, constant, count = _spatial(reader, node)
    # (outputs, inputs / groups, window...) -> (window..., inputs / groups, outputs)
    weights = weights_of(constant.transposed((*range(2, count + 2), 1, 0)), node)
    strides, dilation = window_numbers(node, "strides", count), window_numbers(node, "dilations", count)
    padding = window_padding(node, line.shape[:-1], weights.integers.shape[:count], strides, dilation)
    result = linear.convolution(
        reader.walk,
        line,
        weights,
        strides=strides,
        dilation=dilation,
        padding=padding,
        groups=node.integer("group", 1),
        site=node.site,
    )
    return _channel_bias(reader, replace(result, axes=channels_first(count + 1)), node)


def _channel_bias(reader: Reader, line: Line, node: NodeView) -> Line:
    if not node.has(2):
        return line
    bias = node.constant(2, "the bias")
    return add_bias(reader, line, bias.reshaped((bias.values.size, *(1,) * (len(line.shape) - 1))), node)


@handles("ConvTranspose")
def _conv_transpose(reader: Reader, node: NodeView) -> Value:
    line, constant, count = _spatial(reader, node)
    groups = node.integer("group", 1)
    inputs, each = constant.values.shape[:2]
    window = constant.values.shape[2:]
    # (inputs, outputs / groups, window...) -> (window..., inputs / groups, outputs)
    split = constant.reshaped((groups, inputs // groups, each, *window))
    spatial = tuple(range(3, count + 3))
    weights = weights_of(
        split.transposed((*spatial, 1, 0, 2)).reshaped((*window, inputs // groups, groups * each)), node
    )
    strides, dilation = window_numbers(node, "strides", count), window_numbers(node, "dilations", count)
    extra = [int(v) for v in node.attributes.get("output_padding", [0] * count)]
    wanted = node.attributes.get("output_shape")
    cropping = []
    for axis in range(count):
        full = (line.shape[axis] - 1) * strides[axis] + (window[axis] - 1) * dilation[axis] + 1
        if wanted is not None:
            total = full + extra[axis] - int(wanted[axis])
            less = total // 2
            upper = str(node.attributes.get("auto_pad", "NOTSET")) == "SAME_UPPER"
            before, after = (less, total - less) if upper else (total - less, less)
        elif str(node.attributes.get("auto_pad", "NOTSET")) in ("SAME_UPPER", "SAME_LOWER"):
            total = full + extra[axis] - line.shape[axis] * strides[axis]
            less = total // 2
            upper = node.attributes["auto_pad"] == "SAME_UPPER"
            before, after = (less, total - less) if upper else (total - less, less)
        else:
            pads = [int(v) for v in node.attributes.get("pads", [0] * (2 * count))]
            before, after = pads[axis], pads[count + axis]
        cropping.append((before, after - extra[axis]))
    result = linear.transposed_convolution(
        reader.walk,
        line,
        weights,
        strides=strides,
        dilation=dilation,
        cropping=cropping,
        groups=groups,
        site=node.site,
    )
    return _channel_bias(reader, replace(result, axes=channels_first(count + 1)), node)
