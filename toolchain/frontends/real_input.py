# SPDX-License-Identifier: Apache-2.0
"""The types of real inputs: what a user declares, as the integers that the graph's input takes."""

from __future__ import annotations

from fractions import Fraction

from toolchain.errors import InputError, UsageError
from toolchain.ir import IntegerType


def parse_input_type(text: str) -> IntegerType:
    """'fixed<16,6>' and the like. Raises UsageError for anything else."""
    try:
        return IntegerType.parse(text)
    except InputError as error:
        raise UsageError(f"input type: {error}") from None


def declared_interval(real_range: tuple[float, float], fraction: int, scale: Fraction = Fraction(1)) -> tuple[int, int]:
    """The integers that real values in the closed range become: rounding is monotonic, so the ends bound the rest.

    Rounded to nearest, ties to even, in steps of ``scale * 2**-fraction``.
    """
    step = scale * Fraction(2) ** -fraction
    low, high = (round(Fraction(value) / step) for value in real_range)
    return low, high
