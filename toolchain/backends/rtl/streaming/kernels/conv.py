# SPDX-License-Identifier: Apache-2.0
"""Conv, with the bias behind it: sliding_window and matrix_vector_unit; depthwise: scale and window_reduce in its place."""

from __future__ import annotations

import numpy as np

from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels._windows import too_many_axes, window_instances
from toolchain.backends.rtl.streaming.kernels.dense import matrix_instance, matrix_refusal
from toolchain.ir import Conv
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Conv


def why_unsupported(stage: Stage) -> str | None:
    return too_many_axes(stage) or matrix_refusal(stage, _matrix(stage))


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    return (*window_instances(stage, folding.simd), matrix_instance(stage, _matrix(stage), folding, identifier))


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
