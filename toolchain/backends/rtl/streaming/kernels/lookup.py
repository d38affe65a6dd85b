# SPDX-License-Identifier: Apache-2.0
"""Lookup: the module of the same name."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.element_timing import lookup_timing
from toolchain.backends.rtl.streaming.instance import MEMORY_FOLDER, Instance, MemoryFile, flag, number, packed, text
from toolchain.ir import Lookup
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Lookup


def why_unsupported(stage: Stage) -> str | None:
    first = stage.input_type.element.minimum
    return None if -(1 << 31) < first < 1 << 31 else f"the first entry must fit 32 bits, found {first}"


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation, element, result = stage.operation, stage.input_type.element, stage.output_type.element
    assert isinstance(operation, Lookup)
    channels, lanes = stage.input_type.channels, folding.pe
    table = operation.reachable(element)  # (1 or channels, entries)
    if len(table) > 1 and (table == table[0]).all():
        table = table[:1]
    rows, entries = table.shape
    if rows == 1:
        words, width = tuple(packed([value], result.width) for value in table[0].tolist()), result.width
    else:
        order = table.reshape(channels // lanes, lanes, entries).transpose(0, 2, 1).reshape(-1, lanes)
        words, width = tuple(packed(row, result.width) for row in order.tolist()), lanes * result.width
    memory = MemoryFile(f"{MEMORY_FOLDER}/{identifier}_table.hex", width, words)
    parameters = (
        ("CHANNELS", number(channels)),
        ("PE", number(lanes)),
        ("ROWS", number(rows)),
        ("ENTRIES", number(entries)),
        ("INPUT_WIDTH", number(element.width)),
        ("INPUT_SIGNED", flag(element.signed)),
        ("FIRST", number(element.minimum)),
        ("OUTPUT_WIDTH", number(result.width)),
        ("TABLE_FILE", text(memory.path)),
    )
    return (
        Instance(
            module="lookup",
            parameters=parameters,
            input_lanes=lanes,
            output_lanes=lanes,
            timing=(lookup_timing(len(words)),),
            output_element=result,
            output_beats=stage.output_type.size // lanes,
            memories=(memory,),
        ),
    )
