# SPDX-License-Identifier: Apache-2.0
"""Where a quantiser's steps begin exactly: what tells whether a framework's float32 may have decided otherwise.

The graph has the integers from which on a step is reached. How far the exact point lies from them is known here only, while the
graph is being built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import inf, lcm

import numpy as np

from toolchain.frontends.exact.functions import Clip, Function, HalfLine, Leaky, preimage
from toolchain.frontends.exact.values import Line


@dataclass(frozen=True, eq=False)
class Ratio:
    """What a quantiser rounds that a multiplier and a shift stand for: ``leaky(scale[c] * integer + offset[c]) + zero_point``.

    tensor: whose integers these are. scale, offset, slope: floats, one or one a channel; leaky multiplies what is below 0 by the
    slope.
    """

    tensor: str
    scale: np.ndarray
    offset: np.ndarray
    zero_point: int = 0
    slope: np.ndarray | None = None

    def values(self, integers: np.ndarray) -> np.ndarray:
        """For integers of shape (..., channels) as floats."""
        steps = integers * self.scale + self.offset
        if self.slope is not None:
            steps = np.where(steps < 0, steps * self.slope, steps)
        return np.asarray(steps + self.zero_point)


@dataclass(frozen=True, eq=False)
class Ties:
    """What a node that quantises decides by.

    measure: for thresholds what computes `begins`; None where the points follow from the node's rounding.
    reach: the largest offset that is added to the integers on the way to the real value, in integers.
    unit: the smallest number of which ``integer * scale + offset`` times a power of two is a whole multiple, for integers of 1:
        sums up to 2**24 / unit are exact in float32. inf where they never are.
    ratio: where the points follow neither from thresholds nor from the node's input.
    """

    measure: Callable[[], np.ndarray] | None
    reach: float
    unit: float
    ratio: Ratio | None = None

    @cached_property
    def begins(self) -> np.ndarray | None:
        """Of the thresholds' shape: the exact point of the integers' axis where each step begins; -inf where every integer has
        reached it, inf where none does."""
        return None if self.measure is None else self.measure()


def ties_of(line: Line, steps: Sequence[Fraction], measure: Callable[[], np.ndarray] | None = None) -> Ties:
    """For an emitted line that is quantised to multiples of halves of `steps`."""
    parts = list(zip(line.spread(line.scale), line.spread(line.offset), strict=True))
    reach = max(float(abs(offset) / abs(scale)) for scale, offset in parts)
    denominators = [2 * step.denominator for step in steps]
    for function in line.functions:
        denominators += _denominators(function)
    common = lcm(*denominators, *(part.denominator for pair in parts for part in pair))
    if common & (common - 1) or 0 in denominators:
        return Ties(measure, reach, inf)
    return Ties(measure, reach, max(float(abs(scale) * common) for scale, _ in parts))


def _denominators(function: Function) -> list[int]:
    """Of the binary fractions by which a function makes values finer; 0 for one that float32 does not compute exactly."""
    if isinstance(function, Clip):
        return [bound.denominator for bound in (function.low, function.high) if bound is not None]
    if isinstance(function, Leaky):
        return [slope.denominator**2 for slope in function.slope]
    return [0]


def begins_of(
    line: Line, halves: list[list[HalfLine]], table: np.ndarray, falls: Sequence[bool], first: int, lowest: int
) -> np.ndarray:
    """`Ties.begins` for a table of thresholds without its `first` columns.

    table: one row for each list of half-lines or channel. falls: for each row, whether its integers were negated. lowest: the
    least integer; a threshold there is reached by all.
    """
    begins = np.empty(table.shape)
    for channel, (row, is_falling) in enumerate(zip(table, falls, strict=True)):
        scale = line.scale[channel if len(line.scale) > 1 else 0]
        offset = line.offset[channel if len(line.offset) > 1 else 0]
        for index, half in enumerate(halves[channel if len(halves) > 1 else 0]):
            found = preimage(line.functions, half, channel)
            if isinstance(found, bool):
                begins[channel, index] = -inf if row[index] <= lowest else inf
            else:
                point = float((found.bound - offset) / scale)
                begins[channel, index] = -point if is_falling else point
    return begins[:, first:]
