# SPDX-License-Identifier: Apache-2.0
"""stream_combine, which adds, subtracts and multiplies two streams."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.branch_timing import Combination, combine_timing
from toolchain.backends.rtl.streaming.instance import Instance, flag, number
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

_WIDEST_OPERAND = 64


def combine_refusal(stage: Stage) -> str | None:
    """None if the module combines the stage's operands, else the reason."""
    a, b = stage.input_types
    if a.shape != b.shape:
        return f"its operands have shapes {a.shape} and {b.shape}; allowed are equal ones. Repeat the smaller one by upsampling"
    width = max(a.element.width, b.element.width)
    return (
        f"operands have {width} bits; allowed are {_WIDEST_OPERAND}. Quantise them" if width > _WIDEST_OPERAND else None
    )


def combine_instance(
    stage: Stage, folding: StageFolding, combination: Combination, shifts: tuple[int, int]
) -> Instance:
    """shifts: left, of both operands."""
    a, b = (tensor.element for tensor in stage.input_types)
    parameters = (
        ("OPERATION", number(int(combination))),
        ("PE", number(folding.pe)),
        ("A_WIDTH", number(a.width)),
        ("A_SIGNED", flag(a.signed)),
        ("A_SHIFT", number(shifts[0])),
        ("B_WIDTH", number(b.width)),
        ("B_SIGNED", flag(b.signed)),
        ("B_SHIFT", number(shifts[1])),
        ("OUTPUT_WIDTH", number(stage.output_type.element.width)),
    )
    return Instance(
        module="stream_combine",
        parameters=parameters,
        input_lanes=folding.simd,
        output_lanes=folding.pe,
        timing=(combine_timing(combination),),
        output_element=stage.output_type.element,
        output_beats=stage.output_type.size // folding.pe,
        input_ports=("s_axis_a", "s_axis_b"),
        product_bits=a.width + b.width if combination == Combination.MULTIPLY else 0,
    )
