# SPDX-License-Identifier: Apache-2.0
"""Concatenate: stream_concatenate, one for each operand after the first."""

from __future__ import annotations

from math import prod

from toolchain.backends.rtl.streaming.branch_timing import concatenate_timing
from toolchain.backends.rtl.streaming.instance import Instance, flag, number
from toolchain.ir import Concatenate
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Concatenate


def why_unsupported(stage: Stage) -> str | None:
    return "it has one operand; remove the node" if len(stage.input_types) == 1 else None


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, Concatenate)
    result = stage.output_type
    first, *others = stage.input_types
    outer = prod(first.shape[: operation.axis])
    element, run = first.element, first.size // outer // folding.simd
    chain: list[Instance] = []
    for tensor in others:
        more = tensor.size // outer // folding.simd
        parameters = (
            ("A_BEATS", number(run)),
            ("B_BEATS", number(more)),
            ("PE", number(folding.pe)),
            ("A_WIDTH", number(element.width)),
            ("A_SIGNED", flag(element.signed)),
            ("A_SHIFT", number(result.element.fraction - element.fraction)),
            ("B_WIDTH", number(tensor.element.width)),
            ("B_SIGNED", flag(tensor.element.signed)),
            ("B_SHIFT", number(result.element.fraction - tensor.element.fraction)),
            ("OUTPUT_WIDTH", number(result.element.width)),
        )
        chain.append(
            Instance(
                module="stream_concatenate",
                parameters=parameters,
                input_lanes=folding.simd,
                output_lanes=folding.pe,
                timing=(concatenate_timing(run, more),),
                output_element=result.element,
                output_beats=outer * (run + more),
                label=f"first_{len(chain) + 2}",
                input_ports=("s_axis_a", "s_axis_b"),
            )
        )
        element, run = result.element, run + more
    return tuple(chain)
