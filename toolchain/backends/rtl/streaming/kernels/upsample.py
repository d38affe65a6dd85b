# SPDX-License-Identifier: Apache-2.0
"""Upsample: the module of the same name."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.element_timing import upsample_beats, upsample_timing
from toolchain.backends.rtl.streaming.instance import Instance, number
from toolchain.backends.rtl.streaming.kernels._windows import image_size, pair, too_many_axes
from toolchain.ir import Upsample
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Upsample


def why_unsupported(stage: Stage) -> str | None:
    operation = stage.operation
    assert isinstance(operation, Upsample)
    if operation.factors[-1] != 1:
        return f"repeats channels {operation.factors[-1]} times; allowed is 1. Repeat rows and columns only"
    return too_many_axes(stage)


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, Upsample)
    image, factor = image_size(stage.input_type), pair(operation.factors[:-1])
    beats, element = stage.input_type.channels // folding.pe, stage.input_type.element
    depth = upsample_beats(image[1], beats, factor)
    parameters = (
        ("HEIGHT", number(image[0])),
        ("WIDTH", number(image[1])),
        ("CHANNELS", number(stage.input_type.channels)),
        ("PE", number(folding.pe)),
        ("ELEMENT_WIDTH", number(element.width)),
        ("FACTOR_HEIGHT", number(factor[0])),
        ("FACTOR_WIDTH", number(factor[1])),
        ("BUFFER_BEATS", number(depth)),
    )
    return (
        Instance(
            module="upsample",
            parameters=parameters,
            input_lanes=folding.simd,
            output_lanes=folding.pe,
            timing=(upsample_timing(image, beats, factor, depth),),
            output_element=element,
            output_beats=stage.output_type.size // folding.pe,
        ),
    )
