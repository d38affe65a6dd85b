# SPDX-License-Identifier: Apache-2.0
"""Add, which also subtracts: stream_combine."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.branch_timing import Combination
from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels._combine import combine_instance, combine_refusal
from toolchain.ir import Add
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Add


def why_unsupported(stage: Stage) -> str | None:
    return combine_refusal(stage)


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, Add)
    combination = Combination.SUBTRACT if operation.subtract else Combination.ADD
    a, b = (tensor.element for tensor in stage.input_types)
    return (combine_instance(stage, folding, combination, operation.shifts(a, b)),)
