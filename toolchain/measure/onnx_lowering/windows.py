# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools as standard ONNX operators on floats that hold integers.

In float32 a convolution is ONNX's Conv, between Transposes that ONNX Runtime moves out of the way. It has no Conv in float64, and
no windows of more than three axes: there each tap of the window is a strided slice, and the taps are summed one after the
other. Either way products are those of the definition, in some order. ONNX Runtime's Conv on a CPU computes directly or by
matrix products, without Winograd's or Fourier's transforms.

A sum over a window is a convolution of each channel with weights of 1: ONNX's AveragePool divides, and that rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from toolchain.ir import Conv, MaxPool, SumPool, TensorType
from toolchain.ir.windows import window_positions
from toolchain.measure.onnx_lowering.writer import Writer, lowers

#: Axes of the windows that ONNX Runtime has.
_MAXIMUM_AXES = 3


@lowers(Conv)
def conv(operation: Conv, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    weights, axes = operation.weights, len(operation.window)
    if writer.dtype == np.float32:
        planes = weights.transpose(axes + 1, axes, *range(axes))
        return _native_conv(planes, operation.strides, operation.dilation, operation.groups, writer, x)
    # Groups become an axis behind the batch, as MatMul wants it; its other axes are batches of products too.
    (*spatial, channels), groups = types[0].shape, operation.groups
    of_group, outputs = weights.shape[-2], operation.output_channels // groups
    front = list(range(1, axes + 1))
    if groups > 1:
        x = writer.node("Reshape", x, writer.whole([-1, *spatial, groups, of_group]))
        x = writer.node("Transpose", x, perm=[0, axes + 1, *front, axes + 2])
    shape = (*spatial, channels)
    total = ""
    for index, tap in _taps(operation.window, operation.strides, operation.dilation, shape, writer, x, groups > 1):
        factors = np.moveaxis(weights[index].reshape(of_group, groups, outputs), 1, 0)
        factors = (
            factors.reshape(groups, *(1 for _ in spatial[1:]), of_group, outputs) if groups > 1 else weights[index]
        )
        term = writer.node("MatMul", tap, writer.constant(factors))
        total = writer.node("Add", total, term) if total else term
    if groups > 1:
        positions = window_positions(shape, operation.window, operation.strides, operation.dilation)
        total = writer.node("Transpose", total, perm=[0, *(axis + 1 for axis in front), 1, axes + 2])
        total = writer.node("Reshape", total, writer.whole([-1, *positions, groups * outputs]))
    return total


def _taps(
    window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...], shape: tuple[int, ...], writer: Writer,
    x: str, grouped: bool = False,
) -> Iterator[tuple[tuple[int, ...], str]]:  # fmt: skip
    """(index in the window, the elements under it) for each element of the window. grouped: an axis more in front."""
    positions = window_positions(shape, window, strides, dilation)
    axes = writer.whole([axis + 1 + grouped for axis in range(len(window))])
    steps = writer.whole(strides)
    for index in product(*map(range, window)):
        starts = [i * d for i, d in zip(index, dilation, strict=True)]
        ends = [start + (n - 1) * s + 1 for start, n, s in zip(starts, positions, strides, strict=True)]
        yield index, writer.node("Slice", x, writer.whole(starts), writer.whole(ends), axes, steps)


def _native_conv(
    planes: np.ndarray, strides: tuple[int, ...], dilation: tuple[int, ...], groups: int, writer: Writer, x: str
) -> str:
    """planes: weights of shape (outputs, inputs of a group, window...)."""
    y = writer.node(
        "Conv", _channels_first(planes.ndim - 2, writer, x), writer.constant(planes),
        kernel_shape=planes.shape[2:], strides=strides, dilations=dilation, group=groups,
    )  # fmt: skip
    return _channels_last(planes.ndim - 2, writer, y)


def _channels_first(axes: int, writer: Writer, x: str) -> str:
    return writer.node("Transpose", x, perm=[0, axes + 1, *range(1, axes + 1)])


def _channels_last(axes: int, writer: Writer, x: str) -> str:
    return writer.node("Transpose", x, perm=[0, *range(2, axes + 2), 1])


@lowers(SumPool)
def sum_pool(operation: SumPool, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    window, (x_type,) = operation.window, types
    axes = len(window)
    if window == x_type.shape[:-1]:
        return writer.node("ReduceSum", x, writer.whole(range(1, axes + 1)), keepdims=1)
    if writer.dtype == np.float32 and axes <= _MAXIMUM_AXES:
        ones = np.ones((x_type.channels, 1, *window), dtype=np.int64)
        return _native_conv(ones, operation.strides, (1,) * axes, x_type.channels, writer, x)
    return _one_axis_after_the_other("Add", operation, x_type.shape, (1,) * axes, writer, x)


@lowers(MaxPool)
def max_pool(operation: MaxPool, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    axes = len(operation.window)
    if axes > _MAXIMUM_AXES:
        return _one_axis_after_the_other("Max", operation, types[0].shape, operation.steps, writer, x)
    y = writer.node(
        "MaxPool", _channels_first(axes, writer, x),
        kernel_shape=operation.window, strides=operation.strides, dilations=operation.steps,
    )  # fmt: skip
    return _channels_last(axes, writer, y)


def _one_axis_after_the_other(
    combine: str,
    operation: SumPool | MaxPool,
    shape: tuple[int, ...],
    dilation: tuple[int, ...],
    writer: Writer,
    x: str,
) -> str:
    """The sum or the largest under a window is that along its first axis, then along the next, and so on."""
    for axis, size in enumerate(operation.window):
        one = tuple(1 for _ in operation.window)
        along = [(*one[:axis], v[axis], *one[axis + 1 :]) for v in (operation.window, operation.strides, dilation)]
        taps = [tap for _, tap in _taps(along[0], along[1], along[2], shape, writer, x)]
        x = taps[0]
        for tap in taps[1:]:
            x = writer.node(combine, x, tap)
        assert len(taps) == size
        shape = (*window_positions(shape, along[0], along[1], along[2]), shape[-1])
    return x
