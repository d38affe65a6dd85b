# SPDX-License-Identifier: Apache-2.0
"""Thresholds of a quantised activation, exactly: where an integer accumulator takes the next output step.

A channel's real value is ``r = scale * a + offset`` for the accumulator integer a, with exact rational scale and offset. The
quantiser gives ``clip(round(f(r) / step + zero_point))``, where f is the identity or the rectifier. Both are non-decreasing,
so the result is a count of thresholds: for each output value t, the smallest integer a that yields at least t. All
arithmetic here is on fractions; no float is involved, and a tie is a tie.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from toolchain.ir import Rounding

#: Most output steps that become thresholds: a 12-bit activation. Beyond that a shift is the only sensible hardware.
MAXIMUM_STEPS = (1 << 12) - 1


def least_real(step: int, rounding: Rounding) -> tuple[Fraction, bool]:
    """(bound, inclusive): ``round(v) >= step`` holds exactly for ``v >= bound``, or for ``v > bound`` if not inclusive."""
    half = Fraction(2 * step - 1, 2)
    rules: dict[Rounding, tuple[Fraction | int, bool]] = {
        Rounding.TRUNCATE: (step, True),
        Rounding.CEILING: (step - 1, False),
        # Towards zero: positive steps need the whole value, others all that is above the step below.
        Rounding.TRUNCATE_ZERO: (step, True) if step > 0 else (step - 1, False),
        Rounding.AWAY: (step - 1, False) if step > 0 else (step, True),
        Rounding.HALF_UP: (half, True),
        Rounding.HALF_DOWN: (half, False),
        Rounding.HALF_ZERO: (half, step <= 0),
        Rounding.HALF_AWAY: (half, step > 0),
        Rounding.HALF_EVEN: (half, step % 2 == 0),
        # Negative ties go up; the others to the even neighbour.
        Rounding.HALF_DPU: (half, step <= 0 or step % 2 == 0),
    }
    bound, inclusive = rules[rounding]
    return Fraction(bound), inclusive


def round_exactly(value: Fraction, rounding: Rounding) -> int:
    """A rational number as an integer, in a named mode."""
    floor = value.numerator // value.denominator
    bound, inclusive = least_real(floor + 1, rounding)
    return floor + (value >= bound if inclusive else value > bound)


def accumulator_thresholds(
    *,
    scale: list[Fraction],
    offset: list[Fraction],
    quantiser_step: list[Fraction],
    zero_point: int,
    lowest: int,
    highest: int,
    rounding: Rounding,
    rectify: bool,
    always: int,
    is_bipolar: bool = False,
) -> np.ndarray:
    """Integers of shape (channels, highest - lowest): entry [c, t - lowest - 1] is the least accumulator that gives t.

    scale, offset, quantiser_step: one entry a channel; scale and step are positive.
    lowest, highest: the quantiser's result range. rectify: whether f is the rectifier.
    is_bipolar: the quantiser is the sign, from -1 to +1, and `rounding` is not used.
    always: the entry for a step that every accumulator reaches (the accumulator's minimum, or less).
    """
    if is_bipolar:
        # -1 or +1 by the sign, 0 counting as positive: a step of two at 0.
        bounds = [(Fraction(0), True)] * 2
    else:
        bounds = [least_real(t, rounding) for t in range(lowest + 1, highest + 1)]
    rows = []
    for channel_scale, channel_offset, step in zip(scale, offset, quantiser_step, strict=True):
        row = []
        for bound, inclusive in bounds:
            real = (bound - zero_point) * step
            if rectify and (real < 0 or (real == 0 and inclusive)):
                row.append(always)
                continue
            least = (real - channel_offset) / channel_scale
            ceiling = -((-least.numerator) // least.denominator)
            row.append(ceiling if inclusive or ceiling != least else ceiling + 1)
        rows.append(row)
    table = np.array(rows, dtype=object)
    return np.maximum(table, always)
