# SPDX-License-Identifier: Apache-2.0
"""InsertZeros: the module of the same name."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.element_timing import insert_zeros_timing
from toolchain.backends.rtl.streaming.instance import Instance, number
from toolchain.backends.rtl.streaming.kernels._windows import image_size, pair, too_many_axes
from toolchain.backends.rtl.streaming.kernels.requantise import convert_instance
from toolchain.ir import InsertZeros
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = InsertZeros


def why_unsupported(stage: Stage) -> str | None:
    operation = stage.operation
    assert isinstance(operation, InsertZeros)
    if operation.factors[-1] != 1:
        return f"puts zeros between channels (factor {operation.factors[-1]}); allowed is 1. Use rows and columns only"
    return too_many_axes(stage)


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, InsertZeros)
    image, factor = image_size(stage.input_type), pair(operation.factors[:-1])
    before, element = stage.input_type.element, stage.output_type.element
    parameters = (
        ("HEIGHT", number(image[0])),
        ("WIDTH", number(image[1])),
        ("CHANNELS", number(stage.input_type.channels)),
        ("SIMD", number(folding.simd)),
        ("ELEMENT_WIDTH", number(element.width)),
        ("FACTOR_HEIGHT", number(factor[0])),
        ("FACTOR_WIDTH", number(factor[1])),
    )
    inserted = Instance(
        module="insert_zeros",
        parameters=parameters,
        input_lanes=folding.simd,
        output_lanes=folding.pe,
        timing=(insert_zeros_timing(image, stage.input_type.channels // folding.simd, factor),),
        output_element=element,
        output_beats=stage.output_type.size // folding.pe,
    )
    if (before.width, before.signed) == (element.width, element.signed):
        return (inserted,)
    # A word that cannot hold 0 becomes wider first.
    return convert_instance(before, element, folding.simd, stage.input_type.size // folding.simd), inserted
