# SPDX-License-Identifier: Apache-2.0
"""AddBias that no Dense has absorbed: the module of the same name."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.instance import (
    MEMORY_FOLDER,
    Instance,
    MemoryFile,
    flag,
    loadable,
    number,
    packed,
    signed_width,
    text,
)
from toolchain.backends.rtl.streaming.reserve import room_of
from toolchain.backends.rtl.streaming.timing import queue_timing
from toolchain.ir import AddBias
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = AddBias

_LATENCY_CYCLES = 5


def why_unsupported(stage: Stage) -> str | None:
    return None


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, AddBias)
    element, channels, pe = stage.input_type.element, stage.input_type.channels, folding.pe
    input_shift, bias_shift = operation.shifts(element)
    bias = operation.bias.astype(object) * (1 << bias_shift)
    room = room_of(operation)
    width = room.shifted(bias_shift).width if room else signed_width(int(bias.min()), int(bias.max()))
    words = tuple(packed(bias[start : start + pe], width) for start in range(0, channels, pe))
    memory = MemoryFile(f"{MEMORY_FOLDER}/{identifier}_bias.hex", pe * width, words)
    parameters = (
        ("CHANNELS", number(channels)),
        ("PE", number(pe)),
        ("INPUT_WIDTH", number(element.width)),
        ("INPUT_SIGNED", flag(element.signed)),
        ("INPUT_SHIFT", number(input_shift)),
        ("BIAS_WIDTH", number(width)),
        ("OUTPUT_WIDTH", number(stage.output_type.element.width)),
        ("BIAS_FILE", text(memory.path)),
        *loadable(room is not None),
    )
    return (
        Instance(
            module="add_bias",
            parameters=parameters,
            input_lanes=pe,
            output_lanes=pe,
            timing=(queue_timing(_LATENCY_CYCLES + 1, _LATENCY_CYCLES),),
            output_element=stage.output_type.element,
            output_beats=stage.output_type.size // pe,
            memories=(memory,),
            load_bases=("LOAD_BASE",),
        ),
    )
