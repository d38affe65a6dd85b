# SPDX-License-Identifier: Apache-2.0
"""Thresholds against the plain meaning of a quantiser, in exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.frontends.thresholds import accumulator_thresholds, least_real, round_exactly
from toolchain.ir import Rounding
from toolchain.ir.rounding import round_shift


@pytest.mark.parametrize("rounding", list(Rounding), ids=lambda rounding: rounding.value)
def test_round_exactly_is_the_graphs_own_rounding(rounding: Rounding) -> None:
    """On all multiples of 1/8 from -5 to 5, ties included."""
    eighths = np.arange(-40, 41)
    expected = round_shift(eighths, 3, rounding)
    assert [round_exactly(Fraction(int(v), 8), rounding) for v in eighths] == expected.tolist()


@pytest.mark.parametrize("rounding", list(Rounding), ids=lambda rounding: rounding.value)
def test_least_real_is_where_a_step_begins(rounding: Rounding) -> None:
    tiny = Fraction(1, 1 << 40)
    for step in range(-4, 5):
        bound, inclusive = least_real(step, rounding)
        assert (round_exactly(bound, rounding) >= step) == inclusive
        assert round_exactly(bound + tiny, rounding) >= step
        assert round_exactly(bound - tiny, rounding) < step


@given(
    scale=st.fractions(Fraction(1, 40), Fraction(7, 3), max_denominator=64),
    offset=st.fractions(-9, 9, max_denominator=16),
    step=st.fractions(Fraction(1, 8), 3, max_denominator=32),
    zero_point=st.integers(-3, 3),
    lowest=st.integers(-5, 2),
    span=st.integers(1, 9),
    rounding=st.sampled_from(list(Rounding)),
    rectify=st.booleans(),
)
def test_count_of_thresholds_is_the_quantiser(
    scale: Fraction,
    offset: Fraction,
    step: Fraction,
    zero_point: int,
    lowest: int,
    span: int,
    rounding: Rounding,
    rectify: bool,
) -> None:
    minimum, maximum = -60, 60
    table = accumulator_thresholds(
        scale=[scale],
        offset=[offset],
        quantiser_step=[step],
        zero_point=zero_point,
        lowest=lowest,
        highest=lowest + span,
        rounding=rounding,
        rectify=rectify,
        always=minimum,
    )
    assert table.shape == (1, span)
    for accumulator in range(minimum, maximum + 1):
        real = scale * accumulator + offset
        if rectify:
            real = max(real, Fraction(0))
        expected = min(max(round_exactly(real / step + zero_point, rounding), lowest), lowest + span)
        assert lowest + int((table[0] <= accumulator).sum()) == expected


def test_the_sign() -> None:
    table = accumulator_thresholds(
        scale=[Fraction(1, 2)],
        offset=[Fraction(3, 4)],
        quantiser_step=[Fraction(1)],
        zero_point=0,
        lowest=-1,
        highest=1,
        rounding=Rounding.HALF_EVEN,
        rectify=False,
        always=-10,
        is_bipolar=True,
    )
    assert table.tolist() == [[-1, -1]]  # 0.75 - 0.5 is positive, 0.75 - 1 is not
