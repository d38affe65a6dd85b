# SPDX-License-Identifier: Apache-2.0
"""SumPool: sliding_window, and window_reduce by the sum."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels._windows import reduce_instance, reduce_refusal, window_instances
from toolchain.ir import SumPool
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = SumPool


def why_unsupported(stage: Stage) -> str | None:
    return reduce_refusal(stage)


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    reduce = reduce_instance(stage, stage.input_type.element, folding.pe, is_sum=True)
    return (*window_instances(stage, folding.simd), reduce)
