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
class Ties:
    """What a node that quantises decides by.

    measure: for thresholds what computes `gaps`; None where the points follow from the node's rounding.
    reach: the largest offset that is added to the integers on the way to the real value, in integers.
    unit: the smallest number of which ``integer * scale + offset`` times a power of two is a whole multiple, for integers of 1:
        sums up to 2**24 / unit are exact in float32. inf where they never are.
    """

    measure: Callable[[], np.ndarray] | None
    reach: float
    unit: float

    @cached_property
    def gaps(self) -> np.ndarray | None:
        """Of the thresholds' shape: by how many integers each lies above the exact point where its step begins; inf where no real
        value begins it."""
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


def gaps_of(
    line: Line, halves: list[list[HalfLine]], table: np.ndarray, falls: Sequence[bool], first: int
) -> np.ndarray:
    """`Ties.gaps` for a table of thresholds without its `first` columns.

    table: one row for each list of half-lines or channel. falls: for each row, whether its integers were negated.
    """
    gaps = np.full(table.shape, inf)
    for channel, (row, is_falling) in enumerate(zip(table, falls, strict=True)):
        scale = line.scale[channel if len(line.scale) > 1 else 0]
        offset = line.offset[channel if len(line.offset) > 1 else 0]
        for index, half in enumerate(halves[channel if len(halves) > 1 else 0]):
            found = preimage(line.functions, half, channel)
            if isinstance(found, bool):
                continue
            begins = (found.bound - offset) / scale
            gaps[channel, index] = float(int(row[index]) - (-begins if is_falling else begins))
    return gaps[:, first:]
