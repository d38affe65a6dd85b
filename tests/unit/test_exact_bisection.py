# SPDX-License-Identifier: Apache-2.0
"""Thresholds by bisection in float64 are those of exact fractions, for chains of float32 operations."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from toolchain.frontends.exact import bisection, requantise
from toolchain.frontends.exact.functions import Affine, Clip, Float32, Function, HalfLine, Leaky
from toolchain.frontends.exact.values import Line
from toolchain.ir import IntegerType

CHANNELS = 9


def fractions(values: np.ndarray) -> tuple[Fraction, ...]:
    return tuple(Fraction(float(v)) for v in values.astype(np.float32))


def chains(random: np.random.Generator) -> dict[str, tuple[Function, ...]]:
    factor = Affine(fractions(random.normal(0, 1, CHANNELS)), (Fraction(0),))
    constant = Affine(fractions(np.where(np.arange(CHANNELS) % 3, random.normal(0, 1, CHANNELS), 0)), (Fraction(0),))
    offset = Affine((Fraction(1),), fractions(random.normal(0, 30, CHANNELS)))
    slope = Leaky(fractions(random.uniform(0.01, 2, 1)))
    return {
        "batch_norm": (factor, Float32(), offset, Float32()),
        "falls_and_rises_again": (factor, Float32(), factor, Float32(), offset, Float32()),
        "constant_channels": (constant, Float32(), offset, Float32()),
        "rectified": (factor, Float32(), offset, Float32(), Clip(Fraction(0)), Clip(None, Fraction(6))),
        "leaky": (slope, Float32(), factor, Float32()),
        "rounding_alone": (Float32(),),
        "factor_in_the_scale": (Float32(), offset, Float32()),
    }


NAMES = (
    "batch_norm",
        "falls_and_rises_again",
        "constant_channels",
        "rectified",
        "leaky",
        "rounding_alone",
        "factor_in_the_scale",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [5, 12, 20])
def test_bisection_gives_what_fractions_give(name: str, width: int, random: np.random.Generator) -> None:
    scale = tuple(Fraction(2) ** int(e) for e in random.integers(-8, -3, CHANNELS))
    functions = chains(random)[name]
    if name == "rounding_alone":
        scale = scale[:1]
    if name == "factor_in_the_scale":
        scale = tuple(Fraction(abs(float(np.float32(v)))) for v in random.normal(0, 0.01, CHANNELS))
    offset = tuple(Fraction(int(v), 16) for v in random.integers(-50, 50, CHANNELS))
    line = Line("x", (CHANNELS,), scale, offset, functions)
    element = IntegerType(True, width)
    halves = [HalfLine(Fraction(2 * t - 1, 8), t % 2 == 0) for t in range(-20, 21)]
    found = bisection.reached_by_bisection(line, [halves], CHANNELS, element)
    assert found is not None
    for channel, (row, upward) in enumerate(found):
        expected, direction = requantise._reached_from(line, halves, channel, element)
        clipped = np.clip(np.array(expected, dtype=object), element.minimum, element.maximum + 1).tolist()
        if direction is None and upward is False:
            # A constant channel: reached by all is one past the largest where the function counts as falling.
            clipped = [element.minimum + element.maximum + 1 - v for v in clipped]
        assert row == clipped
        assert upward == (direction is not False) or direction is None


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_fractions(name: str, random: np.random.Generator) -> None:
    line = Line("x", (CHANNELS,), (Fraction(1, 64),), (Fraction(3, 16),), chains(random)[name])
    integers = range(-200, 300, 1)
    found = bisection.float32_values(line, integers, CHANNELS)
    assert found is not None
    for channel in range(CHANNELS):
        for integer, value in list(zip(integers, found[channel].tolist(), strict=True))[::37]:
            expected = Fraction(integer, 64) + Fraction(3, 16)
            for function in line.functions:
                expected = function.value(expected, channel)
            assert value == expected
    assert bisection.float32_values(Line("x", (4,), (Fraction(1),)), integers, 4) is None


def test_a_half_line_of_its_own_for_each_channel(random: np.random.Generator) -> None:
    line = Line("x", (CHANNELS,), (Fraction(1, 64),), functions=chains(random)["batch_norm"])
    element = IntegerType(True, 14)
    halves = [[HalfLine(Fraction(t, 4) + channel, True) for t in range(-9, 9)] for channel in range(CHANNELS)]
    found = bisection.reached_by_bisection(line, halves, CHANNELS, element)
    assert found is not None
    for channel, (row, _) in enumerate(found):
        expected, _ = requantise._reached_from(line, halves[channel], channel, element)
        assert row == np.clip(np.array(expected, dtype=object), element.minimum, element.maximum + 1).tolist()


HALVES = [HalfLine(Fraction(t), True) for t in range(100)]


@pytest.mark.parametrize(
    "line",
    [
        Line("x", (4,), (Fraction(1, 3),), functions=(Float32(),)),
        Line("x", (4,), (Fraction(1),), (Fraction(1, 1 << 50),), (Float32(),)),
        Line("x", (4,), (Fraction(1),), (Fraction(1, 1 << 20),), (Clip(Fraction(0)), Float32())),
        Line("x", (4,), (Fraction(1),), functions=(Affine((Fraction(1, 3),), (Fraction(0),)), Float32())),
        Line("x", (4,), (Fraction(1),), functions=(Affine((Fraction(3),), (Fraction(1),)), Float32())),
        Line("x", (4,), (Fraction(1),), functions=(Affine((Fraction(3),), (Fraction(0),)), Clip(Fraction(0)), Float32())),
        Line("x", (4,), (Fraction(1),), functions=(Clip(Fraction(1, 3)), Float32())),
        Line("x", (4,), (Fraction(1),), functions=(Clip(Fraction(0)),)),
    ],
)  # fmt: skip
def test_what_float64_might_round_is_left_to_fractions(line: Line) -> None:
    """Values or factors that are no float32, an operation whose result is not rounded, no float32 at all."""
    assert bisection.reached_by_bisection(line, [HALVES], 4, IntegerType(True, 10)) is None


def test_bounds_that_are_no_floats_are_left_to_fractions() -> None:
    line = Line("x", (4,), (Fraction(1),), functions=(Float32(),))
    halves = [HalfLine(Fraction(t, 3), True) for t in range(100)]
    assert bisection.reached_by_bisection(line, [HALVES], 4, IntegerType(True, 10)) is not None
    assert bisection.reached_by_bisection(line, [halves], 4, IntegerType(True, 10)) is None
