# SPDX-License-Identifier: Apache-2.0
"""Threshold: the module of the same name."""

from __future__ import annotations

import numpy as np

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
from toolchain.ir import Threshold
from toolchain.passes.folding_model import StageFolding, looks_thresholds_up
from toolchain.passes.group_stages import Stage

OPERATION = Threshold


def why_unsupported(stage: Stage) -> str | None:
    operation = stage.operation
    assert isinstance(operation, Threshold)
    if not -(1 << 31) < operation.offset < 1 << 31:
        return f"the offset must fit 32 bits, found {operation.offset}"
    return None


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, Threshold)
    element, channels, pe = stage.input_type.element, stage.input_type.channels, folding.pe
    rows = np.broadcast_to(operation.thresholds.astype(object), (channels, operation.thresholds.shape[1]))
    # Only the nearest thresholds outside the input's interval: they are narrower (Threshold.bounds).
    rows = np.minimum(np.maximum(rows, element.minimum), element.maximum + 1)
    count = rows.shape[1]
    width = signed_width(*operation.bounds(element))
    beats = channels // pe
    words = tuple(packed(rows[b * pe : (b + 1) * pe].ravel(), width) for b in range(beats))
    memory = MemoryFile(f"{MEMORY_FOLDER}/{identifier}_thresholds.hex", pe * count * width, words)
    parameters = (
        ("CHANNELS", number(channels)),
        ("PE", number(pe)),
        ("INPUT_WIDTH", number(element.width)),
        ("INPUT_SIGNED", flag(element.signed)),
        ("THRESHOLD_COUNT", number(count)),
        ("THRESHOLD_WIDTH", number(width)),
        ("OUTPUT_WIDTH", number(stage.output_type.element.width)),
        ("OUTPUT_OFFSET", number(operation.offset)),
        ("THRESHOLD_FILE", text(memory.path)),
        *loadable(room_of(operation) is not None),
    )
    levels = count.bit_length()  # ceil(log2(count + 1))
    latency = levels + (2 if looks_thresholds_up(operation, beats) else 3)
    return (
        Instance(
            module="threshold",
            parameters=parameters,
            input_lanes=pe,
            output_lanes=pe,
            timing=(queue_timing(latency + 1, latency),),
            output_element=stage.output_type.element,
            output_beats=stage.output_type.size // pe,
            memories=(memory,),
            load_bases=("LOAD_BASE",),
        ),
    )
