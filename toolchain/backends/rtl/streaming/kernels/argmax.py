# SPDX-License-Identifier: Apache-2.0
"""ArgMax: the module of the same name."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.instance import Instance, flag, number
from toolchain.backends.rtl.streaming.timing import folded_timing
from toolchain.ir import ArgMax
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = ArgMax


def why_unsupported(stage: Stage) -> str | None:
    return None


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    channels, pe = stage.input_type.channels, folding.simd
    parameters = (
        ("CHANNELS", number(channels)),
        ("PE", number(pe)),
        ("INPUT_WIDTH", number(stage.input_type.element.width)),
        ("INPUT_SIGNED", flag(stage.input_type.element.signed)),
        ("INDEX_WIDTH", number(stage.output_type.element.width)),
    )
    beats, levels = channels // pe, (pe - 1).bit_length()
    if levels + 1 < beats:
        slots = 1
    elif levels + 1 < 2 * beats:
        slots = 2
    else:
        slots = (levels + 2) // beats + 1
    return (
        Instance(
            module="argmax",
            parameters=parameters,
            input_lanes=pe,
            output_lanes=1,
            timing=(folded_timing(beats, 1, slots, levels + (1 if slots <= 2 else 2)),),
            output_element=stage.output_type.element,
            output_beats=stage.output_type.size,
        ),
    )
