# SPDX-License-Identifier: Apache-2.0
"""An integer multiplier and a shift in place of a free scale, for quantisers with too many steps for thresholds.

``round(a * scale / step + offset / step)`` becomes ``round((a * multiplier + bias) * 2**-shift)``. The number of multiplier
bits is raised until both agree on every integer of the accumulator's interval; if they still differ at the largest, the
difference is at most one step where the error of the line stays below one step, and the note says for how many integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.quantiser import Quantiser, fraction_bits
from toolchain.frontends.exact.ties import Ratio, Ties
from toolchain.frontends.exact.values import Line, Site, compact, spread
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.thresholds import least_real, round_exactly
from toolchain.ir import AddBias, IntegerType, Overflow, Requantise, Scale

#: Multiplier widths that are tried, in bits. The last is what fits two 18-bit and three 16-bit hardware multipliers.
_WIDTHS = (16, 24, 32, 48)
#: Steps that are looked at one by one, for each of the widths.
_MAXIMUM_STEPS = (1 << 18) - 1


def multiplier_and_shift(walk: Walk, line: Line, quantiser: Quantiser, site: Site) -> Line:
    """The quantised line. A difference that is left goes into `walk.notes`, with its bound."""
    element = walk.element(line)
    channels = max(len(line.scale), len(line.offset), len(quantiser.steps))
    scales = [s / q for s, q in zip(spread(line.scale, channels), spread(quantiser.steps, channels), strict=True)]
    offsets = [
        o / q + quantiser.zero_point
        for o, q in zip(spread(line.offset, channels), spread(quantiser.steps, channels), strict=True)
    ]
    bounds = _Bounds.of(_reached(quantiser, scales, offsets, element, site))
    starts = [_starts(s, o, bounds, element) for s, o in zip(scales, offsets, strict=True)]
    differing = 0
    for width in _WIDTHS:
        known: dict[tuple[Fraction, Fraction], int] = {}
        multipliers, biases, shift = _fixed_point(scales, offsets, width)
        differing = 0
        for scale, offset, exact, multiplier, bias in zip(scales, offsets, starts, multipliers, biases, strict=True):
            if (scale, offset) not in known:
                fixed = _starts(Fraction(multiplier, 1 << shift), Fraction(bias, 1 << shift), bounds, element)
                known[scale, offset] = int(np.abs(exact - fixed).sum())
            differing += known[scale, offset]
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
        addend = AddBias(np.array(spread(biases, line.channels), dtype=object), shift + fraction)
        scaled = walk.add(addend, scaled, site=site.inner("bias"))
    target = IntegerType.spanning(quantiser.lowest, quantiser.highest, fraction)
    tensor = walk.add(Requantise(target, quantiser.rounding, Overflow.SATURATE), scaled, site=site)
    reach = max(
        (float(abs((o - quantiser.zero_point) / s)) for s, o in zip(scales, offsets, strict=True) if s), default=0.0
    )
    walk.ties[tensor] = Ties(
        None,
        reach,
        inf,
        Ratio(line.tensor, _floats(scales), _floats(offsets) - quantiser.zero_point, quantiser.zero_point),
    )
    steps = spread(quantiser.steps, line.channels)
    zeros = compact([-quantiser.zero_point * step for step in steps])
    return Line(tensor, line.shape, compact(steps), zeros, axes=line.axes)


def _floats(values: list[Fraction]) -> np.ndarray:
    return np.array([float(value) for value in values])


def _reached(
    quantiser: Quantiser, scales: list[Fraction], offsets: list[Fraction], element: IntegerType, site: Site
) -> Quantiser:
    """The quantiser without the steps that no integer of the interval comes to. Raises UnsupportedModel for too many."""
    ends = [s * end + o for s, o in zip(scales, offsets, strict=True) for end in (element.minimum, element.maximum)]
    low, high = (
        min(max(round_exactly(end, quantiser.rounding), quantiser.lowest), quantiser.highest)
        for end in (min(ends), max(ends))
    )
    if high - low > _MAXIMUM_STEPS:
        raise UnsupportedModel(
            f"{site.label}: rounds to {high - low + 1} steps whose scale is no power of two times that of its input; supported are "
            f"{_MAXIMUM_STEPS + 1}. Use fewer bits, or power-of-two scales"
        )
    return replace(quantiser, lowest=low, highest=high)


def _fixed_point(scales: list[Fraction], offsets: list[Fraction], width: int) -> tuple[list[int], list[int], int]:
    """Multipliers of `width` bits for the largest scale, biases, and the shift that all share."""
    largest = max(scales)
    shift = max(0, width - (largest.numerator.bit_length() - largest.denominator.bit_length()))
    one = 1 << shift
    return [round(s * one) for s in scales], [round(o * one) for o in offsets], shift


def _starts(scale: Fraction, offset: Fraction, bounds: _Bounds, element: IntegerType) -> np.ndarray:
    """For every step above the lowest: the least integer of the interval that reaches it, or one past the interval."""
    if scale <= 0:
        reached = (2 * offset > bounds.doubled) | ((2 * offset == bounds.doubled) & bounds.inclusive)
        return np.where(reached, element.minimum, element.maximum + 1)
    # a >= (bound - offset) / scale, in whole numbers: one division a step.
    top = (bounds.doubled * offset.denominator - 2 * offset.numerator) * scale.denominator
    bottom = 2 * offset.denominator * scale.numerator
    ceiling = -(-top // bottom)
    ceiling = ceiling + ((ceiling * bottom == top) & ~bounds.inclusive)
    return np.minimum(np.maximum(ceiling, element.minimum), element.maximum + 1)


@dataclass(frozen=True)
class _Bounds:
    """Where each step above the lowest begins, twice the value (a whole number), and whether the bound belongs to it."""

    doubled: np.ndarray
    inclusive: np.ndarray

    @classmethod
    def of(cls, quantiser: Quantiser) -> _Bounds:
        rules = [least_real(t, quantiser.rounding) for t in range(quantiser.lowest + 1, quantiser.highest + 1)]
        doubled = np.array([int(2 * bound) for bound, _ in rules], dtype=object)
        return cls(doubled, np.array([inclusive for _, inclusive in rules]))
