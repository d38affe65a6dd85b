# SPDX-License-Identifier: Apache-2.0
"""Conv, with the bias behind it: a window and matrix_vector_unit; depthwise: sliding_window, scale and window_reduce.

The window is sliding_window, or parallel_window where more than a pixel is multiplied at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels import add_bias
from toolchain.backends.rtl.streaming.kernels._windows import (
    parallel_window_instances,
    reduce_instance,
    too_many_axes,
    window_instances,
)
from toolchain.backends.rtl.streaming.kernels.dense import matrix_instance, matrix_refusal
from toolchain.backends.rtl.streaming.kernels.scale import scale_instance, scale_refusal
from toolchain.backends.rtl.streaming.reserve import room_of
from toolchain.ir import Conv, IntegerType
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.folding_model import is_depthwise, positions
from toolchain.passes.group_stages import Stage

OPERATION = Conv


def why_unsupported(stage: Stage) -> str | None:
    if is_depthwise(stage.operation):
        return too_many_axes(stage) or scale_refusal(stage, _taps(stage))
    return too_many_axes(stage) or matrix_refusal(stage, _matrix(stage))


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    if folding.simd > stage.input_type.channels:  # only a matrix takes more than a pixel at once
        return (*parallel_window_instances(stage), matrix_instance(stage, _matrix(stage), folding, identifier))
    windows = window_instances(stage, folding.simd)
    if not is_depthwise(stage.operation):
        return (*windows, matrix_instance(stage, _matrix(stage), folding, identifier))
    # Each element under the window times its weight, and the sum over the window's pixels: a channel's own sum.
    element, lanes = stage.input_type.element, folding.pe
    factors = _taps(stage)
    room = room_of(stage.operation)
    ends = (room.low, room.high) if room else (int(factors.min()), int(factors.max()))
    corners = [v * w for v in (element.minimum, element.maximum) for w in ends]
    product = IntegerType.spanning(min(corners), max(corners))
    beats = positions(stage) * factors.size // lanes
    scaled = scale_instance(element, product, factors.ravel(), lanes, beats, identifier, room)
    sums = stage.operation.infer(stage.input_type).element
    summed = reduce_instance(stage, product, lanes, is_sum=True, result=sums)
    if stage.bias is None:
        return (*windows, scaled, summed)
    biased = Stage(stage.nodes[1:], (stage.name,), (replace(stage.output_type, element=sums),), stage.output_type)
    return (*windows, scaled, replace(summed, label="sums"), *add_bias.instances(biased, folding, identifier))


def _taps(stage: Stage) -> np.ndarray:
    """The weights (pixels under the window, channels) of a depthwise convolution."""
    operation = stage.operation
    assert isinstance(operation, Conv)
    return operation.weights.reshape(-1, operation.output_channels)


def _matrix(stage: Stage) -> np.ndarray:
    """The weights (outputs, window and input channels), zero between channels of different groups."""
    operation = stage.operation
    assert isinstance(operation, Conv)
    weights = operation.weights.reshape(-1, *operation.weights.shape[-2:])
    count, inputs, outputs = weights.shape
    matrix = np.zeros((count, operation.groups, inputs, outputs), weights.dtype)
    for group in range(operation.groups):
        columns = slice(group * outputs // operation.groups, (group + 1) * outputs // operation.groups)
        matrix[:, group, :, columns] = weights[:, :, columns]
    return matrix.reshape(-1, outputs).T
