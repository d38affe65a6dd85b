# SPDX-License-Identifier: Apache-2.0
"""Multiply: stream_combine."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.branch_timing import Combination
from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels._combine import combine_instance, combine_refusal
from toolchain.ir import Multiply
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Multiply


def why_unsupported(stage: Stage) -> str | None:
    return combine_refusal(stage)


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    return (combine_instance(stage, folding, Combination.MULTIPLY, (0, 0)),)
