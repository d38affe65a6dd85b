# SPDX-License-Identifier: Apache-2.0
"""TopK: the module of the same name."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.element_timing import top_k_timing
from toolchain.backends.rtl.streaming.instance import Instance, flag, number
from toolchain.ir import TopK
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = TopK


def why_unsupported(stage: Stage) -> str | None:
    return None


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation, element = stage.operation, stage.input_type.element
    assert isinstance(operation, TopK)
    parameters = (
        ("CHANNELS", number(stage.input_type.channels)),
        ("K", number(operation.k)),
        ("PE", number(1)),
        ("INPUT_WIDTH", number(element.width)),
        ("INPUT_SIGNED", flag(element.signed)),
        ("INDEX_WIDTH", number(stage.output_type.element.width)),
    )
    return (
        Instance(
            module="top_k",
            parameters=parameters,
            input_lanes=1,
            output_lanes=1,
            timing=(top_k_timing(stage.input_type.channels, operation.k),),
            output_element=stage.output_type.element,
            output_beats=stage.output_type.size,
        ),
    )
