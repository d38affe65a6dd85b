# SPDX-License-Identifier: Apache-2.0
"""Rounding and overflow against definitions in exact rational arithmetic, on int64 and on Python integers."""

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.ir import IntegerType, Overflow, Rounding
from toolchain.ir.rounding import OVERFLOW_TABLE, ROUNDING_TABLE, fit, round_shift


def rounded(value: Fraction, mode: Rounding) -> int:
    """The definition, one number at a time."""
    low, high = floor(value), ceil(value)
    nearest = low if value - low < high - value else high
    is_tie = low != high and value - low == high - value
    towards_zero = low if value > 0 else high
    away = high if value > 0 else low
    even = low if low % 2 == 0 else high
    match mode:
        case Rounding.TRUNCATE:
            return low
        case Rounding.CEILING:
            return high
        case Rounding.TRUNCATE_ZERO:
            return towards_zero
        case Rounding.AWAY:
            return away
    if not is_tie:
        return nearest
    return {
        Rounding.HALF_UP: high,
        Rounding.HALF_DOWN: low,
        Rounding.HALF_ZERO: towards_zero,
        Rounding.HALF_AWAY: away,
        Rounding.HALF_EVEN: even,
        Rounding.HALF_DPU: even if value > 0 else high,
    }[mode]


@pytest.mark.parametrize("mode", Rounding)
@pytest.mark.parametrize("shift", [-3, 0, 1, 2, 5])
def test_rounding_of_every_small_integer(mode: Rounding, shift: int) -> None:
    values = np.arange(-200, 201)
    expected = [rounded(Fraction(int(v)) / Fraction(2) ** shift, mode) for v in values]
    assert round_shift(values, shift, mode).tolist() == expected
    assert round_shift(values.astype(object), shift, mode).tolist() == expected


@given(st.integers(-(1 << 150), 1 << 150), st.integers(1, 140), st.sampled_from(list(Rounding)))
def test_rounding_of_wide_integers(value: int, shift: int, mode: Rounding) -> None:
    # A tie at the same place is where modes differ, so look at it too.
    tie = ((value >> shift) << shift) + (1 << (shift - 1))
    array = np.array([value, tie], dtype=object)
    assert round_shift(array, shift, mode).tolist() == [rounded(Fraction(v, 1 << shift), mode) for v in (value, tie)]


@pytest.mark.parametrize(
    "target", [IntegerType(True, 4), IntegerType(False, 4), IntegerType(True, 1), IntegerType(False, 1)]
)
def test_wrap_is_the_residue_in_the_words_range(target: IntegerType) -> None:
    values = np.arange(-100, 100)
    wrapped = fit(values, target, Overflow.WRAP)
    assert ((wrapped - values) % (1 << target.width) == 0).all()
    assert wrapped.min() >= target.lowest
    assert wrapped.max() <= target.highest


def test_saturation_goes_to_the_interval() -> None:
    symmetric = IntegerType(True, 4, 0, -7, 7)
    assert fit(np.array([-9, -8, -7, 7, 8]), symmetric, Overflow.SATURATE).tolist() == [-7, -7, -7, 7, 7]
    assert fit(np.array([-9, -8, 7, 8]), IntegerType(True, 4), Overflow.SATURATE_ZERO).tolist() == [0, -8, 7, 0]


@pytest.mark.parametrize("overflow", Overflow)
def test_values_inside_stay(overflow: Overflow) -> None:
    inside = np.arange(-8, 8)
    assert fit(inside, IntegerType(True, 4), overflow).tolist() == inside.tolist()


def test_tables_cover_every_mode() -> None:
    assert set(ROUNDING_TABLE) == set(Rounding)
    assert set(OVERFLOW_TABLE) == set(Overflow)
