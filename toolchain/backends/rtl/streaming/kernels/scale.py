# SPDX-License-Identifier: Apache-2.0
"""Scale: the module of the same name, which depthwise convolutions use as well."""

from __future__ import annotations

import numpy as np

from toolchain.backends.rtl.streaming.element_timing import scale_timing
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
from toolchain.backends.rtl.streaming.reserve import Room, room_of
from toolchain.ir import IntegerType, Scale
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Scale

_WIDEST_FACTOR = 64


def why_unsupported(stage: Stage) -> str | None:
    operation = stage.operation
    assert isinstance(operation, Scale)
    return scale_refusal(stage, operation.factors)


def scale_refusal(stage: Stage, factors: np.ndarray) -> str | None:
    """None if the module multiplies the stage's inputs by the factors, else the reason."""
    room = room_of(stage.operation)
    if stage.input_type.element.width > _WIDEST_FACTOR:
        return f"inputs have {stage.input_type.element.width} bits; allowed are {_WIDEST_FACTOR}. Quantise the input of this layer"
    width = room.width if room else signed_width(int(factors.min()), int(factors.max()))
    return f"factors have {width} bits; allowed are {_WIDEST_FACTOR}. Quantise them" if width > _WIDEST_FACTOR else None


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, Scale)
    factors = np.broadcast_to(operation.factors, (stage.input_type.channels,))
    beats = stage.input_type.size // folding.pe
    elements = stage.input_type.element, stage.output_type.element
    return (scale_instance(*elements, factors, folding.pe, beats, identifier, room_of(operation)),)


def scale_instance(
    source: IntegerType,
    result: IntegerType,
    factors: np.ndarray,
    lanes: int,
    beats: int,
    identifier: str,
    room: Room | None = None,
) -> Instance:
    """scale: elements of type `source` times the factors, which repeat, as elements of type `result`.

    room: of factors that can be replaced.
    """
    width = room.width if room else signed_width(int(factors.min()), int(factors.max()))
    if room is None and (factors == factors[0]).all():
        factors = factors[:lanes]
    words = tuple(packed(row, width) for row in factors.reshape(-1, lanes).tolist())
    memory = MemoryFile(f"{MEMORY_FOLDER}/{identifier}_factors.hex", lanes * width, words)
    parameters = (
        ("PERIOD", number(len(words))),
        ("PE", number(lanes)),
        ("INPUT_WIDTH", number(source.width)),
        ("INPUT_SIGNED", flag(source.signed)),
        ("FACTOR_WIDTH", number(width)),
        ("OUTPUT_WIDTH", number(result.width)),
        ("FACTOR_FILE", text(memory.path)),
        *loadable(room is not None),
    )
    return Instance(
        module="scale",
        parameters=parameters,
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(scale_timing(),),
        output_element=result,
        output_beats=beats,
        memories=(memory,),
        load_bases=("LOAD_BASE",),
        label="products",
        product_bits=source.width + width,
    )
