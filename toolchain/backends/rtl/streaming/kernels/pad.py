# SPDX-License-Identifier: Apache-2.0
"""Pad: the module of the same name."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.instance import Instance, flag, number, wide_number
from toolchain.backends.rtl.streaming.kernels._windows import image_size, too_many_axes
from toolchain.backends.rtl.streaming.kernels.requantise import convert_instance
from toolchain.backends.rtl.streaming.window_timing import pad_timing
from toolchain.ir import Pad
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Pad


def why_unsupported(stage: Stage) -> str | None:
    operation = stage.operation
    assert isinstance(operation, Pad)
    if len(operation.widths) > 0 and any(operation.widths[-1]):
        return f"pads the channels by {operation.widths[-1]}; allowed is (0, 0) there. Pad rows and columns only"
    if not -(1 << 63) <= operation.value < 1 << 63:
        return f"the value must fit 64 signed bits, found {operation.value}"
    return too_many_axes(stage)


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    before, element = stage.input_type.element, stage.output_type.element
    # A border of a value that the input's word cannot hold makes the word wider.
    if (before.width, before.signed) == (element.width, element.signed):
        return (_pad(stage, folding, hold=False),)
    convert = convert_instance(before, element, folding.simd, stage.input_type.size // folding.simd)
    return convert, _pad(stage, folding, hold=False)


def _pad(stage: Stage, folding: StageFolding, *, hold: bool) -> Instance:
    operation = stage.operation
    assert isinstance(operation, Pad)
    height, width = image_size(stage.input_type)
    (top, bottom), (left, right) = ((0, 0),) * (3 - len(operation.widths)) + operation.widths[:-1]
    beats, element = stage.input_type.channels // folding.simd, stage.output_type.element
    parameters = (
        ("HEIGHT", number(height)),
        ("WIDTH", number(width)),
        ("CHANNELS", number(stage.input_type.channels)),
        ("SIMD", number(folding.simd)),
        ("ELEMENT_WIDTH", number(element.width)),
        ("TOP", number(top)),
        ("BOTTOM", number(bottom)),
        ("LEFT", number(left)),
        ("RIGHT", number(right)),
        ("VALUE", wide_number(operation.value)),
        ("HOLD", flag(hold)),
    )
    row_beats = (left * beats, width * beats, right * beats)
    return Instance(
        module="pad",
        parameters=parameters,
        input_lanes=folding.simd,
        output_lanes=folding.pe,
        timing=(pad_timing((top, height, bottom), row_beats, hold=hold),),
        output_element=element,
        output_beats=stage.output_type.size // folding.pe,
        hold=None if hold else lambda: _pad(stage, folding, hold=True),
    )
