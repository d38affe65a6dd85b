# SPDX-License-Identifier: Apache-2.0
"""The types of real inputs: what a user declares, as the integers that the graph's input takes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from toolchain.errors import InputError, UsageError
from toolchain.frontends.thresholds import round_exactly
from toolchain.ir import IntegerType, OutOfRange, Rounding


def parse_input_type(text: str) -> IntegerType:
    """'fixed<16,6>' and the like. Raises UsageError for anything else."""
    try:
        return IntegerType.parse(text)
    except InputError as error:
        raise UsageError(f"input type: {error}") from None


def narrowed(
    element: IntegerType,
    real_range: tuple[float, float] | None,
    *,
    step: Fraction,
    zero_point: int = 0,
    rounding: Rounding = Rounding.HALF_EVEN,
) -> tuple[IntegerType, OutOfRange]:
    """The type of a model's own input quantiser, and what it does with real values beyond it.

    Without a declared range the quantiser saturates. With one that the quantiser takes without saturating, the type's
    interval shrinks to what those values become (rounding is monotonic, so the ends bound the rest) and other values are
    refused. A declared range that reaches further than the quantiser has to saturate, since the framework does.
    step: the real value of one step; a real x becomes ``round(x / step + zero_point)``.
    """
    if real_range is None:
        return element, OutOfRange.SATURATE
    low, high = (round_exactly(Fraction(value) / step + zero_point, rounding) for value in real_range)
    if element.minimum <= low and high <= element.maximum:
        return replace(element, minimum=low, maximum=high), OutOfRange.REFUSE
    return element, OutOfRange.SATURATE


def declared(element: IntegerType, real_range: tuple[float, float] | None) -> IntegerType:
    """An input type that the user declared, shrunk to the real range where there is one. Values beyond it are refused."""
    if real_range is None:
        return element
    step = Fraction(2) ** -element.fraction
    low, high = (round_exactly(Fraction(value) / step, Rounding.HALF_EVEN) for value in real_range)
    low, high = max(low, element.minimum), min(high, element.maximum)
    if low > high:
        raise UsageError(
            f"input type {element} holds none of the values from {real_range[0]:g} to {real_range[1]:g} that model.toml "
            "declares; choose a type that does"
        )
    return replace(element, minimum=low, maximum=high)
