# SPDX-License-Identifier: Apache-2.0
"""An integer multiplier and a shift in place of a free scale, for quantisers with too many steps for thresholds.

``round(a * scale / step + offset / step)`` becomes ``round((a * multiplier + bias) * 2**-shift)``. The number of multiplier
bits is raised until both agree on every integer of the accumulator's interval; if they still differ at the largest, the
difference is at most one step where the error of the line stays below one step, and the note says for how many integers.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from toolchain.frontends.exact.quantiser import Quantiser, fraction_bits
from toolchain.frontends.exact.values import Line, Site, compact, spread
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.thresholds import least_real
from toolchain.ir import AddBias, IntegerType, Overflow, Requantise, Rounding, Scale

#: Multiplier widths that are tried, in bits. The last is what fits two 18-bit and three 16-bit hardware multipliers.
_WIDTHS = (16, 24, 32, 48)


def multiplier_and_shift(walk: Walk, line: Line, quantiser: Quantiser, site: Site) -> Line:
    """The quantised line. A difference that is left goes into `walk.notes`, with its bound."""
    element = walk.element(line)
    channels = max(len(line.scale), len(line.offset), len(quantiser.steps))
    scales = [s / q for s, q in zip(spread(line.scale, channels), spread(quantiser.steps, channels), strict=True)]
    offsets = [
        o / q + quantiser.zero_point
        for o, q in zip(spread(line.offset, channels), spread(quantiser.steps, channels), strict=True)
    ]
    differing = 0
    for width in _WIDTHS:
        multipliers, biases, shift = _fixed_point(scales, offsets, width)
        differing = sum(
            _differing(s, o, m, b, shift, quantiser, element)
            for s, o, m, b in zip(scales, offsets, multipliers, biases, strict=True)
        )
        if differing == 0:
            break
    if differing:
        reachable = channels * (element.maximum - element.minimum + 1)
        walk.notes.append(
            f"{site.source}: a {_WIDTHS[-1]}-bit multiplier and shift in place of the exact scale; the result differs by one step "
            f"for {differing} of the {reachable} accumulator values that can occur"
        )
    # The binary points are those of the result, so that the last step drops `shift` bits.
    fraction = fraction_bits(quantiser.steps)
    factors = Scale(np.array(multipliers, dtype=object), shift + fraction - element.fraction)
    scaled = walk.add(factors, line.tensor, site=site.inner("multiply"))
    if any(biases):
        bias = AddBias(np.array(spread(biases, line.channels), dtype=object), shift + fraction)
        scaled = walk.add(bias, scaled, site=site.inner("bias"))
    target = IntegerType.spanning(quantiser.lowest, quantiser.highest, fraction)
    tensor = walk.add(Requantise(target, quantiser.rounding, Overflow.SATURATE), scaled, site=site)
    steps = spread(quantiser.steps, line.channels)
    offset = compact([-quantiser.zero_point * step for step in steps])
    return Line(tensor, line.shape, compact(steps), offset, axes=line.axes)


def _fixed_point(scales: list[Fraction], offsets: list[Fraction], width: int) -> tuple[list[int], list[int], int]:
    """Multipliers of `width` bits for the largest scale, biases, and the shift that all share."""
    largest = max(scales)
    shift = max(0, width - (largest.numerator.bit_length() - largest.denominator.bit_length()))
    one = 1 << shift
    return [round(s * one) for s in scales], [round(o * one) for o in offsets], shift


def _differing(
    scale: Fraction,
    offset: Fraction,
    multiplier: int,
    bias: int,
    shift: int,
    quantiser: Quantiser,
    element: IntegerType,
) -> int:
    """For how many integers of the interval the two give different steps (see `_starts`)."""
    exact = _starts(scale, offset, quantiser, element)
    fixed = _starts(Fraction(multiplier, 1 << shift), Fraction(bias, 1 << shift), quantiser, element)
    return sum(abs(a - b) for a, b in zip(exact, fixed, strict=True) if a != b)


def _starts(scale: Fraction, offset: Fraction, quantiser: Quantiser, element: IntegerType) -> list[int]:
    """For every step above the lowest: the least integer of the interval that reaches it, or one past the interval."""
    if scale <= 0:
        reached = offset
        return [
            element.minimum if reached > bound or (reached == bound and inclusive) else element.maximum + 1
            for bound, inclusive in _bounds(quantiser)
        ]
    starts = []
    # a >= (bound - offset) / scale, in one integer division a step.
    top, bottom = scale.denominator, scale.numerator
    for bound, inclusive in _bounds(quantiser):
        distance = bound - offset
        numerator, denominator = distance.numerator * top, distance.denominator * bottom
        ceiling = -(-numerator // denominator)
        if not inclusive and ceiling * denominator == numerator:
            ceiling += 1
        starts.append(min(max(ceiling, element.minimum), element.maximum + 1))
    return starts


def _bounds(quantiser: Quantiser) -> list[tuple[Fraction, bool]]:
    rounding: Rounding = quantiser.rounding
    return [least_real(t, rounding) for t in range(quantiser.lowest + 1, quantiser.highest + 1)]
