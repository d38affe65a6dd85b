# SPDX-License-Identifier: Apache-2.0
"""Rounding to float32 between exact functions: the same steps as NumPy's float32 arithmetic, at every boundary."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.frontends.exact.functions import Affine, Float32, HalfLine, preimage
from toolchain.frontends.exact.values import Line, Site
from toolchain.frontends.exact.walk import Walk
from toolchain.ir import Input, IntegerType

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60).filter(
    lambda v: v == 0 or abs(v) > 2.0**-60
)


@given(bound=floats, offset=st.sampled_from([-1, 0, 1]), inclusive=st.booleans(), upward=st.booleans())
def test_the_end_of_a_half_line_is_where_rounding_first_reaches_it(
    bound: float, offset: int, inclusive: bool, upward: bool
) -> None:
    """At the end that comes back, and 2**-40 of its size to both sides, rounding decides as the half-line says."""
    exact = Fraction(bound) + Fraction(bound) * offset * Fraction(2) ** -30
    half = HalfLine(exact, inclusive, upward)
    found = Float32().preimage(half, 0)
    assert isinstance(found, HalfLine)
    assert found.upward == upward
    gap = max(abs(found.bound), Fraction(2) ** -100) * Fraction(2) ** -40
    for v in (found.bound - gap, found.bound, found.bound + gap):
        y = Float32().value(v, 0)
        reached = (y > exact) == upward if y != exact else inclusive
        inside = (v > found.bound) == upward if v != found.bound else found.inclusive
        assert reached == inside


@given(st.integers(-(2**30), 2**30), st.integers(-40, 40))
def test_values_are_those_of_numpy(integer: int, exponent: int) -> None:
    """Integers of up to 30 bits are exact in float64, so NumPy's cast rounds once."""
    value = Fraction(integer) * Fraction(2) ** exponent
    assert Float32().value(value, 0) == Fraction(float(np.float32(float(value))))


def test_a_value_that_float64_would_round_onto_a_tie() -> None:
    """1 + 2**-24 + 2**-60 is above the tie between 1 and 1 + 2**-23; through float64 it would be on it, and go to 1."""
    value = 1 + Fraction(2) ** -24 + Fraction(2) ** -60
    assert Float32().value(value, 0) == 1 + Fraction(2) ** -23
    assert Float32().value(1 + Fraction(2) ** -24, 0) == 1
    assert Float32().value(1 + 3 * Fraction(2) ** -24, 0) == 1 + 2 * Fraction(2) ** -23


@pytest.mark.parametrize("upward", [True, False])
def test_no_float32_lies_beyond_the_largest(upward: bool) -> None:
    far = Fraction(10) ** 39 * (1 if upward else -1)
    assert Float32().preimage(HalfLine(far, True, upward), 0) is False
    assert Float32().preimage(HalfLine(-far, True, upward), 0) is True


@given(
    scale=floats.filter(lambda v: 2.0**-20 < abs(v) < 2.0**20),
    offset=floats.filter(lambda v: abs(v) < 2.0**20),
    bound=st.floats(-(2.0**20), 2.0**20, width=32),
)
def test_a_product_and_a_sum_in_float32_step_by_step(scale: float, offset: float, bound: float) -> None:
    """The least integer for which float32 gives ``a * scale + offset >= bound`` is where the exact chain says."""
    chain = (
        Affine((Fraction(scale),), (Fraction(0),)),
        Float32(),
        Affine((Fraction(1),), (Fraction(offset),)),
        Float32(),
    )
    half = preimage(chain, HalfLine(Fraction(bound), True), 0)
    assert isinstance(half, HalfLine)
    centre = int(half.bound)
    if abs(centre) >= 2**23:
        return
    integers = np.arange(centre - 3, centre + 4)
    with np.errstate(over="ignore"):
        reached = integers.astype(np.float32) * np.float32(scale) + np.float32(offset) >= np.float32(bound)
    for integer, is_reached in zip(integers.tolist(), reached.tolist(), strict=True):
        inside = (integer > half.bound) == half.upward if integer != half.bound else half.inclusive
        assert is_reached == inside


def test_without_a_quantiser_the_exact_value_stays_and_the_walk_says_that_the_framework_rounds() -> None:
    walk = Walk("net", "test")
    walk.sums_exact = True
    site = Site("x", "x", "x")
    tensor = walk.add(Input((3,), IntegerType(True, 8)), site=site)
    line = Line(tensor, (3,), (Fraction(1),), functions=(Affine((Fraction(1, 3),), (Fraction(0),)), Float32()))
    settled = walk.settled(line, site)
    assert (settled.functions, settled.scale, walk.sums_exact) == ((), (Fraction(1, 3),), False)
