# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools in QONNX: channels first, as ONNX has them, with the padding before them inside the node.

A sum over a window is a convolution of each channel with weights of 1: ONNX's AveragePool divides, and that rounds.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from toolchain.ir.export_qonnx.emitter import Emitter, Layout
from toolchain.ir.export_qonnx.registry import lowers
from toolchain.ir.graph import Graph, Node
from toolchain.ir.ops.conv import Conv
from toolchain.ir.ops.max_pool import MaxPool
from toolchain.ir.ops.pad import Pad
from toolchain.ir.ops.sum_pool import SumPool
from toolchain.ir.types import IntegerType, TensorType

#: ONNX Runtime, by which qonnx executes standard operations, has windows of up to three axes.
_MAXIMUM_AXES = 3


def pads_in_windows(graph: Graph) -> set[str]:
    """Names of the Pad nodes that convolutions and pools of ONNX do themselves: nothing else reads them."""
    wanted = {output.tensor for output in graph.outputs}
    pads = [node for node in graph.nodes if isinstance(node.operation, Pad) and node.name not in wanted]
    return {
        pad.name
        for pad in pads
        if (readers := graph.consumers(pad.name)) and all(_does(graph, pad, r) for r in readers)
    }


def _does(graph: Graph, pad: Node, reader: Node) -> bool:
    """Whether ONNX's form of `reader` can pad its input as `pad` does."""
    operation: Any = pad.operation
    *spatial, channels = operation.widths
    if any(channels):
        return False
    nothing = not any(map(any, spatial))
    if isinstance(reader.operation, Conv | SumPool):
        return nothing or operation.value == 0
    if not isinstance(reader.operation, MaxPool):
        return False
    # A pool of ONNX pads with minus infinity, which never wins against an element: each window has to hold one, and the value
    # must not be larger than any.
    window = reader.operation.window
    within = all(max(widths) < size for widths, size in zip(spatial, window, strict=True))
    lowest = graph.input_types(pad)[0].element.minimum
    return nothing or (operation.value <= lowest and within and set(reader.operation.steps) == {1})


def _padded_operand(emit: Emitter) -> tuple[str, list[int]]:
    """(the tensor under the windows, the widths before and then after it along each spatial axis) of the current node."""
    (name,) = emit.node.inputs
    axes = len(emit.graph.types[name].shape) - 1
    emit.layout = Layout.FIRST
    if not emit.is_left_out(name):
        return emit.held(name, Layout.FIRST), [0] * (2 * axes)
    pad = emit.graph.by_name[name]
    operation: Any = pad.operation
    widths = operation.widths[:-1]
    return emit.held(pad.inputs[0], Layout.FIRST), [*(before for before, _ in widths), *(after for _, after in widths)]


def _check_axes(emit: Emitter, window: tuple[int, ...]) -> None:
    if len(window) > _MAXIMUM_AXES:
        emit.refuse(
            f"windows in ONNX have up to {_MAXIMUM_AXES} axes, found {window}; reshape the tensor so that axes along which the "
            "window is 1 become one"
        )


@lowers(Conv)
def conv(emit: Emitter, op: Conv, types: tuple[TensorType, ...], result: TensorType) -> str:
    emit.require_exact(op.largest_sum * types[0].element.magnitude, "its partial sums")
    axes = len(op.window)
    weights = op.weights.transpose(axes + 1, axes, *range(axes))
    return _convolve(emit, weights, op.weight_type, op.strides, op.dilation, op.groups, result)


@lowers(SumPool)
def sum_pool(emit: Emitter, op: SumPool, types: tuple[TensorType, ...], result: TensorType) -> str:
    _check_axes(emit, op.window)
    emit.require_exact(prod(op.window) * types[0].element.magnitude, "its partial sums")
    ones = np.ones((result.channels, 1, *op.window), dtype=np.int64)
    one = IntegerType(False, 1, 0, 1, 1)
    return _convolve(emit, ones, one, op.strides, (1,) * len(op.window), result.channels, result)


def _convolve(
    emit: Emitter, weights: np.ndarray, element: IntegerType, strides: tuple[int, ...], dilation: tuple[int, ...], groups: int,
    result: TensorType,
) -> str:  # fmt: skip
    """weights: of shape (outputs, inputs of a group, window...)."""
    x, pads = _padded_operand(emit)
    return emit.add(
        "Conv", [x, emit.quantised_constant(weights, element, "weights")], result.shape, final=True,
        kernel_shape=weights.shape[2:], strides=strides, dilations=dilation, group=groups, pads=pads,
    )  # fmt: skip


@lowers(MaxPool)
def max_pool(emit: Emitter, op: MaxPool, types: tuple[TensorType, ...], result: TensorType) -> str:
    _check_axes(emit, op.window)
    x, pads = _padded_operand(emit)
    return emit.add(
        "MaxPool", [x], result.shape, final=True,
        kernel_shape=op.window, strides=op.strides, dilations=op.steps, pads=pads,
    )  # fmt: skip
