# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools in PyTorch, on floats that hold integers.

On a CPU a convolution is PyTorch's own: oneDNN computes it directly (in float64 PyTorch by matrix products), and the engines
switch NNPACK, which would transform its inputs, off. On a GPU cuDNN chooses its algorithm itself and may take Winograd's or
Fourier's transforms, which round: there the patches under the window are products of matrices, as the definition says.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from toolchain.ir import Conv, MaxPool, SumPool, TensorType
from toolchain.ir.windows import window_taps
from toolchain.measure.torch_lowering.registry import Constants, Step, lowers

if TYPE_CHECKING:
    import torch

#: Axes of the windows that PyTorch has.
_MAXIMUM_AXES = 3
#: Elements of the patches of one product of matrices: a large batch is taken in parts that fit into a GPU's memory.
_PATCH_ELEMENTS = 1 << 28


@lowers(Conv)
def conv(operation: Conv, types: tuple[TensorType, ...], make: Constants) -> Step:
    return _native_conv(operation, make) if make.device == "cpu" else product_conv(operation, types, make)


def _native_conv(operation: Conv, make: Constants) -> Step:
    import torch

    axes = len(operation.window)
    weights = make(operation.weights.transpose(axes + 1, axes, *range(axes)))
    convolve: Any = (torch.nn.functional.conv1d, torch.nn.functional.conv2d)[axes - 1]
    arguments = {"stride": operation.strides, "dilation": operation.dilation, "groups": operation.groups}
    if operation.input_channels == 1:
        # Planes with plain strides: of one channel that is seen as channels last, PyTorch 2.13 with oneDNN leaves results out.
        return lambda x: convolve(x.reshape(x.shape[0], 1, *x.shape[1:-1]), weights, **arguments).movedim(1, -1)
    # Channels last is PyTorch's `channels_last` memory format: nothing is copied on the way in or out.
    return lambda x: convolve(x.movedim(-1, 1), weights, **arguments).movedim(1, -1)


def product_conv(operation: Conv, types: tuple[TensorType, ...], make: Constants) -> Step:
    """A convolution as one product of matrices a group, of the patches under the window's positions and the weights."""
    import torch

    groups, axes = operation.groups, len(operation.window)
    *positions, outputs = operation.infer(*types).shape
    taps, of_group = prod(operation.window), operation.weights.shape[-2]
    columns = operation.weights.reshape(taps, of_group, groups, outputs // groups)
    weights = make(columns.transpose(2, 0, 1, 3).reshape(groups, taps * of_group, -1))
    samples = max(1, _PATCH_ELEMENTS // (prod(positions) * taps * of_group * groups))
    spans = [(k - 1) * d + 1 for k, d in zip(operation.window, operation.dilation, strict=True)]
    window_axes = range(axes + 2, 2 * axes + 2)

    dilated: Any = (..., *(slice(None, None, d) for d in operation.dilation))

    def patches(x: torch.Tensor) -> torch.Tensor:
        """(batch, *positions, *window, channels), a view."""
        for axis, (span, stride) in enumerate(zip(spans, operation.strides, strict=True), start=1):
            x = x.unfold(axis, span, stride)
        return x[dilated].permute(*range(axes + 1), *window_axes, axes + 1)

    def part(x: torch.Tensor) -> torch.Tensor:
        rows = patches(x)
        if groups == 1:
            y = rows.reshape(-1, taps * of_group) @ weights[0]
        else:
            split = rows.reshape(-1, taps, groups, of_group).permute(2, 0, 1, 3)
            y = (split.reshape(groups, -1, taps * of_group) @ weights).permute(1, 0, 2)
        return y.reshape(len(x), *positions, outputs)

    def step(x: torch.Tensor) -> torch.Tensor:
        return part(x) if len(x) <= samples else torch.cat([part(piece) for piece in x.split(samples)])

    return step


@lowers(SumPool)
def sum_pool(operation: SumPool, types: tuple[TensorType, ...], make: Constants) -> Step:
    import torch

    axes = len(operation.window)
    if operation.window == types[0].shape[:-1]:
        dimensions = tuple(range(1, axes + 1))
        return lambda x: x.sum(dim=dimensions, keepdim=True)
    if axes > _MAXIMUM_AXES:
        return _by_taps(operation, (1,) * axes, torch.add)
    # PyTorch's average in one dimension has no divisor: there a second axis of size 1 stands in front.
    extra = (1,) if axes == 1 else ()
    pool: Any = torch.nn.functional.avg_pool3d if axes == _MAXIMUM_AXES else torch.nn.functional.avg_pool2d
    window, strides = (*extra, *operation.window), (*extra, *operation.strides)

    def step(x: torch.Tensor) -> torch.Tensor:
        planes = x.unsqueeze(1) if extra else x
        y = pool(planes.movedim(-1, 1), window, strides, divisor_override=1).movedim(1, -1)
        return y.squeeze(1) if extra else y

    return step


@lowers(MaxPool)
def max_pool(operation: MaxPool, types: tuple[TensorType, ...], make: Constants) -> Step:
    import torch

    axes = len(operation.window)
    if axes > _MAXIMUM_AXES:
        return _by_taps(operation, operation.steps, torch.maximum)
    functional = torch.nn.functional
    pool: Any = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[axes - 1]
    arguments = {"kernel_size": operation.window, "stride": operation.strides, "dilation": operation.steps}
    return lambda x: pool(x.movedim(-1, 1), **arguments).movedim(1, -1)


def _by_taps(operation: SumPool | MaxPool, dilation: tuple[int, ...], combine: Any) -> Step:
    """The strided views under each element of the window, combined one after the other."""

    def step(x: Any) -> Any:
        total = None
        for _, tap in window_taps(x, operation.window, operation.strides, dilation):
            total = tap if total is None else combine(total, tap)
        return total

    return step
