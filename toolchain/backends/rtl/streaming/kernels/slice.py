# SPDX-License-Identifier: Apache-2.0
"""Slice: stream_slice."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.branch_timing import slice_timing
from toolchain.backends.rtl.streaming.instance import Instance, number
from toolchain.backends.rtl.streaming.kernels._windows import image_size, too_many_axes
from toolchain.ir import Slice
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Slice


def why_unsupported(stage: Stage) -> str | None:
    return too_many_axes(stage)


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, Slice)
    lanes, element = folding.simd, stage.input_type.element
    sizes = (*image_size(stage.input_type), stage.input_type.channels // lanes)
    bounds = list(zip(operation.starts, operation.stops, operation.steps, strict=True))
    bounds = [(0, 1, 1)] * (3 - len(bounds)) + bounds
    start, stop, step = bounds[-1]
    bounds[-1] = (start // lanes, stop // lanes, step)
    parameters = [
        ("HEIGHT", number(sizes[0])),
        ("WIDTH", number(sizes[1])),
        ("CF", number(sizes[2])),
        ("DATA_WIDTH", number(lanes * element.width)),
    ]
    for axis, bound in zip(("HEIGHT", "WIDTH", "CF"), bounds, strict=True):
        parameters += [
            (f"{label}_{axis}", number(value)) for label, value in zip(("START", "STOP", "STEP"), bound, strict=True)
        ]
    return (
        Instance(
            module="stream_slice",
            parameters=tuple(parameters),
            input_lanes=lanes,
            output_lanes=lanes,
            timing=(slice_timing(sizes, [slice(*bound) for bound in bounds]),),
            output_element=element,
            output_beats=stage.output_type.size // lanes,
        ),
    )
