# SPDX-License-Identifier: Apache-2.0
"""Relu: the module of the same name."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.instance import Instance, flag, number, wide_number
from toolchain.backends.rtl.streaming.timing import queue_timing
from toolchain.ir import Relu
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Relu


def _upper_bound(stage: Stage) -> int | None:
    """The upper bound where an input reaches beyond it, else None."""
    operation = stage.operation
    assert isinstance(operation, Relu)
    highest = max(0, stage.input_type.element.maximum) << (operation.negative_slope_shift or 0)
    bound = operation.upper_bound
    return bound if bound is not None and highest > bound else None


def why_unsupported(stage: Stage) -> str | None:
    bound = _upper_bound(stage)
    if bound is not None and bound >= 1 << 63:
        return f"the upper bound must fit 64 signed bits, found {bound}. Quantise the input of this layer"
    return None


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, Relu)
    bound, slope = _upper_bound(stage), operation.negative_slope_shift
    parameters = (
        ("PE", number(folding.pe)),
        ("INPUT_WIDTH", number(stage.input_type.element.width)),
        ("INPUT_SIGNED", flag(stage.input_type.element.signed)),
        ("NEGATIVE_SLOPE_SHIFT", number(-1 if slope is None else slope)),
        ("HAS_UPPER", flag(bound is not None)),
        ("UPPER_BOUND", wide_number(bound or 0)),
        ("OUTPUT_WIDTH", number(stage.output_type.element.width)),
    )
    return (
        Instance(
            module="relu",
            parameters=parameters,
            input_lanes=folding.pe,
            output_lanes=folding.pe,
            timing=(queue_timing(2, 1),),
            output_element=stage.output_type.element,
            output_beats=stage.output_type.size // folding.pe,
        ),
    )
