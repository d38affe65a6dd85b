# SPDX-License-Identifier: Apache-2.0
"""Requantise: the module of the same name."""

from __future__ import annotations

import numpy as np

from toolchain.backends.rtl.streaming.instance import Instance, flag, number, wide_number
from toolchain.backends.rtl.streaming.timing import queue_timing
from toolchain.ir import IntegerType, Overflow, Requantise, Rounding
from toolchain.ir.rounding import round_shift
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Requantise

#: The module's codes.
_ROUNDING = {
    Rounding.TRUNCATE: 0,
    Rounding.TRUNCATE_ZERO: 1,
    Rounding.HALF_UP: 2,
    Rounding.HALF_DOWN: 3,
    Rounding.HALF_ZERO: 4,
    Rounding.HALF_AWAY: 5,
    Rounding.HALF_EVEN: 6,
    Rounding.CEILING: 7,
    Rounding.AWAY: 8,
    Rounding.HALF_DPU: 9,
}
_OVERFLOW = {
    Overflow.SATURATE: 0,
    Overflow.WRAP: 1,
    Overflow.SATURATE_ZERO: 2,
    Overflow.WRAP_SIGN_MAGNITUDE: 3,
}


def _overflow(stage: Stage) -> Overflow:
    """The stage's overflow; WRAP, which costs nothing, where no input can overflow."""
    operation = stage.operation
    assert isinstance(operation, Requantise)
    element = stage.input_type.element
    # Rounding is monotonic: the ends of the interval bound every rounded value.
    ends = np.array([element.minimum, element.maximum], dtype=object)
    low, high = round_shift(ends, operation.shift(element), operation.rounding)
    fits = operation.target.minimum <= low and high <= operation.target.maximum
    return Overflow.WRAP if fits else operation.overflow


def why_unsupported(stage: Stage) -> str | None:
    operation = stage.operation
    assert isinstance(operation, Requantise)
    target = operation.target
    if _overflow(stage) in (Overflow.SATURATE, Overflow.SATURATE_ZERO) and (
        target.minimum < -(1 << 63) or target.maximum >= 1 << 63
    ):
        return f"saturation needs bounds of at most 64 signed bits; found {target}. Use a narrower type"
    return None


def convert_instance(source: IntegerType, target: IntegerType, lanes: int, beats: int) -> Instance:
    """Elements of one type as those of another that holds them all, in a stream of `beats` beats a frame."""
    assert source.fraction <= target.fraction
    parameters = (
        ("PE", number(lanes)),
        ("INPUT_WIDTH", number(source.width)),
        ("INPUT_SIGNED", flag(source.signed)),
        ("SHIFT", number(source.fraction - target.fraction)),
        ("ROUNDING", number(_ROUNDING[Rounding.TRUNCATE])),
        ("OVERFLOW", number(_OVERFLOW[Overflow.WRAP])),
        ("OUTPUT_WIDTH", number(target.width)),
        ("OUTPUT_SIGNED", flag(target.signed)),
        ("OUTPUT_MINIMUM", wide_number(0)),
        ("OUTPUT_MAXIMUM", wide_number(0)),
    )
    return Instance(
        module="requantise",
        parameters=parameters,
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(queue_timing(2, 1),),
        output_element=target,
        output_beats=beats,
        label="convert",
    )


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    operation = stage.operation
    assert isinstance(operation, Requantise)
    element, target, shift = stage.input_type.element, operation.target, operation.shift(stage.input_type.element)
    overflow = _overflow(stage)
    bounded = overflow in (Overflow.SATURATE, Overflow.SATURATE_ZERO)
    parameters = (
        ("PE", number(folding.pe)),
        ("INPUT_WIDTH", number(element.width)),
        ("INPUT_SIGNED", flag(element.signed)),
        ("SHIFT", number(shift)),
        ("ROUNDING", number(_ROUNDING[operation.rounding])),
        ("OVERFLOW", number(_OVERFLOW[overflow])),
        ("OUTPUT_WIDTH", number(target.width)),
        ("OUTPUT_SIGNED", flag(target.signed)),
        ("OUTPUT_MINIMUM", wide_number(target.minimum if bounded else 0)),
        ("OUTPUT_MAXIMUM", wide_number(target.maximum if bounded else 0)),
    )
    latency = 2 if shift > 0 and _ROUNDING[operation.rounding] > 0 else 1
    return (
        Instance(
            module="requantise",
            parameters=parameters,
            input_lanes=folding.pe,
            output_lanes=folding.pe,
            timing=(queue_timing(latency + 1, latency),),
            output_element=stage.output_type.element,
            output_beats=stage.output_type.size // folding.pe,
        ),
    )
