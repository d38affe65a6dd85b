# SPDX-License-Identifier: Apache-2.0
"""Thresholds after float32 arithmetic, for all channels and steps at once: the arithmetic itself runs, inside a bisection.

Going backwards through the functions of a line takes exact fractions, one threshold after the other. Where a framework's
float32 operations are what stands between the accumulator and the quantiser, every step of them is exact in float64 before it
is rounded (a product of two float32 always is, and a sum rounds to the same float32 through float64), so NumPy gives the same
answer for whole arrays.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from toolchain.frontends.exact.functions import Affine, Clip, Float32, HalfLine, Leaky
from toolchain.frontends.exact.values import Line, common_step
from toolchain.ir import IntegerType
from toolchain.ir.operation import FLOAT32_EXACT, FLOAT64_EXACT

#: Thresholds from which arrays pay off.
_LEAST_COUNT = 64


def reached_by_bisection(
    line: Line, halves: list[list[HalfLine]], channels: int, element: IntegerType
) -> list[tuple[list[int], bool | None]] | None:
    """For each channel: (for each half-line the least integer that reaches it, direction).

    halves: one list, or one a channel; upward. channels: how many are asked for, from the first on. If the direction is False
    the function falls, and an entry is one past the largest integer that reaches it. Returns None where this arithmetic cannot
    be shown to be exact, or is not worth it.
    """
    count = len(halves[0])
    if channels * count < _LEAST_COUNT or not any(isinstance(f, Float32) for f in line.functions):
        return None
    start = _floats(line, channels, element)
    bounds = np.array([[float(half.bound) for half in row] for row in halves])
    exact = (
        Fraction(b) == half.bound
        for floats, row in zip(bounds, halves, strict=True)
        for b, half in zip(floats, row, strict=True)
    )
    if start is None or not all(exact):
        return None
    inclusive = np.array([[half.inclusive for half in row] for row in halves])
    falls = np.zeros((channels, 1), bool)
    for function in line.functions:
        if isinstance(function, Affine):
            falls = falls != (_column(function.scale) < 0)
    low = np.full((channels, count), element.minimum)
    high = np.full((channels, count), element.maximum + 1)
    while (low < high).any():
        middle = (low + high) >> 1
        y = _evaluated(line, start, middle)
        reached = np.where(inclusive, y >= bounds, y > bounds) != falls
        low, high = np.where(reached | (low == high), low, middle + 1), np.where(reached, middle, high)
    return [(row, not fall) for row, fall in zip(low.tolist(), falls[:, 0].tolist(), strict=True)]  # type: ignore[misc]


def float32_values(line: Line, integers: range, channels: int) -> np.ndarray | None:
    """The line's real values for consecutive integers, of shape (channels, integers); None as for `reached_by_bisection`."""
    if not any(isinstance(function, Float32) for function in line.functions):
        return None
    start = _floats(line, channels, IntegerType.spanning(integers.start, integers.stop - 1, 0))
    if start is None:
        return None
    return _evaluated(line, start, np.broadcast_to(np.array(integers), (channels, len(integers))))


def _floats(line: Line, channels: int, element: IntegerType) -> tuple[np.ndarray, np.ndarray] | None:
    """(scale, offset) of each channel as float64, if what they make of every integer is exact, and so is what comes after.

    That is float64 where it is rounded to float32 right away, else a float32; and all factors are float32.
    """
    limit = FLOAT64_EXACT if isinstance(line.functions[0], Float32) else FLOAT32_EXACT
    for scale, offset in set(zip(line.spread(line.scale), line.spread(line.offset), strict=True)):
        unit = common_step([v for v in (abs(scale), abs(offset)) if v] or [Fraction(1)])
        largest = max(abs(scale * end + offset) for end in (element.minimum, element.maximum))
        odd = unit.numerator // (unit.numerator & -unit.numerator)
        if unit.denominator & (unit.denominator - 1) or largest / unit * odd > limit:
            return None
    following = [*line.functions[1:], None]
    for function, after in zip(line.functions, following, strict=True):
        if isinstance(function, Clip):
            single = [v for v in (function.low, function.high) if v is not None]
        elif isinstance(function, Affine) and isinstance(after, Float32):
            single = [*function.scale, *function.offset]
            if set(function.offset) != {0} and set(function.scale) != {1}:
                return None
        elif isinstance(function, Leaky) and isinstance(after, Float32):
            single = list(function.slope)
        elif isinstance(function, Float32):
            continue
        else:
            return None
        if any(Fraction(float(np.float32(float(v)))) != v for v in single):
            return None
    start = tuple(np.array([float(v) for v in line.spread(values)])[:channels] for values in (line.scale, line.offset))
    return start[0], start[1]


def _evaluated(line: Line, start: tuple[np.ndarray, np.ndarray], integers: np.ndarray) -> np.ndarray:
    """The line's real values for integers of shape (channels, count)."""
    scale, offset = start
    y: np.ndarray = integers * scale[:, None] + offset[:, None]
    for function in line.functions:
        if isinstance(function, Affine):
            y = y * _column(function.scale) + _column(function.offset)
        elif isinstance(function, Leaky):
            y = np.where(y >= 0, y, y * _column(function.slope))
        elif isinstance(function, Clip):
            low, high = (None if v is None else float(v) for v in (function.low, function.high))
            y = np.clip(y, -np.inf if low is None else low, np.inf if high is None else high)
        else:
            y = y.astype(np.float32).astype(np.float64)
    return y


def _column(values: tuple[Fraction, ...]) -> np.ndarray:
    return np.array([float(v) for v in values])[:, None]
