# SPDX-License-Identifier: Apache-2.0
"""An integer multiplier and a shift in place of a free scale, for quantisers with too many steps for thresholds.

``round(a * scale / step + offset / step)`` becomes ``round((a * multiplier + bias) * 2**-shift)``. The number of multiplier
bits is raised until both agree on every integer of the accumulator's interval; if they still differ at the largest, the note
says for how many integers, and by how many steps at most: both are computed from where every step begins, for all integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import Leaky
from toolchain.frontends.exact.quantiser import Quantiser, fraction_bits
from toolchain.frontends.exact.ties import Ratio, Ties
from toolchain.frontends.exact.values import ONE, Line, Site, compact, spread
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.thresholds import least_real, round_exactly
from toolchain.ir import AddBias, IntegerType, Overflow, Requantise, Scale

#: Multiplier widths that are tried, in bits. The last is what fits two 18-bit and three 16-bit hardware multipliers.
_WIDTHS = (16, 24, 32, 48)
#: Steps that are looked at one by one, for each of the widths.
_MAXIMUM_STEPS = (1 << 18) - 1


def multiplier_and_shift(walk: Walk, line: Line, quantiser: Quantiser, site: Site) -> Line:
    """The quantised line. A difference that is left goes into `walk.notes`, with its bound.

    A leaky rectifier right before the quantiser is a second multiplier, for what is below zero.
    """
    slopes: tuple[Fraction, ...] = (ONE,)
    if line.functions and isinstance(last := line.functions[-1], Leaky):
        line, slopes = replace(line, functions=line.functions[:-1]), last.slope
    line = walk.settled(line, site)
    element = walk.element(line)
    channels = max(len(line.scale), len(line.offset), len(quantiser.steps), len(slopes))
    steps = spread(quantiser.steps, channels)
    exact = [
        _Segments(s / q, o / q, slope)
        for s, o, q, slope in zip(
            *(spread(values, channels) for values in (line.scale, line.offset)),
            steps,
            spread(slopes, channels),
            strict=True,
        )
    ]
    zero = quantiser.zero_point
    bounds = _Bounds.of(_reached(quantiser, exact, element, site))
    starts = [segments.starts(bounds, element) for segments in exact]
    differing = largest = 0
    for width in _WIDTHS:
        known: dict[_Segments, tuple[int, int]] = {}
        fixed = _FixedPoint.of(exact, width).fitted(starts, bounds, element)
        differing = largest = 0
        for segments, wanted, near in zip(exact, starts, fixed.segments(), strict=True):
            if segments not in known:
                known[segments] = _differences(wanted, near.starts(bounds, element))
            differing += known[segments][0]
            largest = max(largest, known[segments][1])
        if differing == 0:
            break
    if differing:
        reachable = channels * (element.maximum - element.minimum + 1)
        walk.notes.append(
            f"{site.source}: a {_WIDTHS[-1]}-bit multiplier and shift in place of the exact scale; the result differs by "
            f"{'one step' if largest == 1 else f'up to {largest} steps'} for {differing} of the {reachable} accumulator values that can occur"
        )
    # The binary points are those of the result, so that the last step drops `shift` bits.
    fraction = fraction_bits(quantiser.steps)
    factors = Scale(np.array(fixed.multipliers, dtype=object), fixed.shift + fraction - element.fraction)
    scaled = walk.add(factors, line.tensor, site=site.inner("multiply"))
    is_leaky = set(slopes) != {ONE}
    # A zero point is added after the rectifier.
    biases = [bias + (0 if is_leaky else zero << fixed.shift) for bias in fixed.biases]
    scaled = _with_bias(walk, scaled, spread(biases, line.channels), fixed.shift + fraction, site.inner("bias"))
    if is_leaky:
        scaled = walk.two_sided(scaled, fixed.slopes, fixed.slope_shift, site)
        offset = [zero] * line.channels
        scaled = _with_bias(walk, scaled, offset, fraction, site.inner("zero"))
    target = IntegerType.spanning(quantiser.lowest, quantiser.highest, fraction)
    tensor = walk.add(Requantise(target, quantiser.rounding, Overflow.SATURATE), scaled, site=site)
    reach = max((float(abs(each.offset / each.scale)) for each in exact if each.scale), default=0.0)
    slope = _floats([each.slope for each in exact]) if is_leaky else None
    ratio = Ratio(
        line.tensor, _floats([each.scale for each in exact]), _floats([each.offset for each in exact]), zero, slope
    )
    walk.ties[tensor] = Ties(None, reach, inf, ratio)
    steps = spread(quantiser.steps, line.channels)
    zeros = compact([-zero * step for step in steps])
    return Line(tensor, line.shape, compact(steps), zeros, axes=line.axes)


def _differences(exact: np.ndarray, fixed: np.ndarray) -> tuple[int, int]:
    """(how many integers of the interval get another step, by how many steps at most), from where each step begins in both."""
    moved = exact != fixed
    places = np.concatenate([exact[moved], fixed[moved]])
    order = np.argsort(places, kind="stable")
    # Between one place and the next, how many more steps have begun in `exact` than in `fixed`.
    ahead = np.cumsum(np.repeat([1, -1], int(moved.sum()))[order])[:-1]
    lengths = np.diff(places[order])
    differs = (ahead != 0) & (lengths > 0)
    return int(lengths[differs].sum()), int(np.abs(ahead[differs]).max(initial=0))


def _with_bias(walk: Walk, tensor: str, biases: list[int], fraction: int, site: Site) -> str:
    if not any(biases):
        return tensor
    return walk.add(AddBias(np.array(biases, dtype=object), fraction), tensor, site=site)


def _floats(values: list[Fraction]) -> np.ndarray:
    return np.array([float(value) for value in values])


def _reached(quantiser: Quantiser, exact: list[_Segments], element: IntegerType, site: Site) -> Quantiser:
    """The quantiser without the steps that no integer of the interval comes to, but for the next one at either end, which a
    multiplier must not come to either.

    Raises UnsupportedModel for too many steps.
    """
    ends = [each.value(end) + quantiser.zero_point for each in exact for end in (element.minimum, element.maximum)]
    low, high = (
        min(max(round_exactly(end, quantiser.rounding), quantiser.lowest), quantiser.highest)
        for end in (min(ends), max(ends))
    )
    if high - low > _MAXIMUM_STEPS:
        raise UnsupportedModel(
            f"{site.label}: rounds to {high - low + 1} steps whose scale is no power of two times that of its input; supported are "
            f"{_MAXIMUM_STEPS + 1}. Use fewer bits, or power-of-two scales"
        )
    return replace(quantiser, lowest=max(low - 1, quantiser.lowest), highest=min(high + 1, quantiser.highest))


@dataclass(frozen=True)
class _Segments:
    """``leaky(scale * a + offset)`` of an accumulator a, in steps without the zero point."""

    scale: Fraction
    offset: Fraction
    slope: Fraction

    def value(self, integer: int) -> Fraction:
        steps = self.scale * integer + self.offset
        return steps if steps >= 0 else steps * self.slope

    def starts(self, bounds: _Bounds, element: IntegerType) -> np.ndarray:
        """For every step above the lowest: the least integer of the interval that reaches it, or one past the interval."""
        scale, offset, slope = self.scale, self.offset, self.slope
        # a >= (bound / slope - offset) / scale, in whole numbers: one division a step.
        is_below = bounds.doubled < 0
        doubled = bounds.doubled * np.where(is_below, slope.denominator, 1).astype(object)
        twice = 2 * np.where(is_below, slope.numerator, 1).astype(object)
        top = (doubled * offset.denominator - twice * offset.numerator) * scale.denominator
        if scale <= 0:
            reached = (top < 0) | ((top == 0) & bounds.inclusive)
            return np.where(reached, element.minimum, element.maximum + 1)
        bottom = twice * offset.denominator * scale.numerator
        ceiling = -(-top // bottom)
        ceiling = ceiling + ((ceiling * bottom == top) & ~bounds.inclusive)
        return np.minimum(np.maximum(ceiling, element.minimum), element.maximum + 1)


@dataclass(frozen=True)
class _FixedPoint:
    """``a * multiplier + bias`` at `shift` fraction bits, and below zero that times a slope at `slope_shift` more.

    multipliers, biases: one a channel. slopes: one, or one a channel.
    """

    multipliers: list[int]
    biases: list[int]
    shift: int
    slopes: list[int]
    slope_shift: int

    @classmethod
    def of(cls, exact: list[_Segments], width: int) -> _FixedPoint:
        """Multipliers of `width` bits for the largest scale and the largest slope; slopes of fewer where those are exact."""
        multipliers, shift = _whole([each.scale for each in exact], width)
        biases = [round(each.offset * (1 << shift)) for each in exact]
        slopes, slope_shift = _whole(compact([each.slope for each in exact]), width)
        spare = min(((slope & -slope).bit_length() - 1 for slope in slopes if slope), default=0)
        spare = min(spare, slope_shift)
        return cls(multipliers, biases, shift, [slope >> spare for slope in slopes], slope_shift - spare)

    def fitted(self, starts: list[np.ndarray], bounds: _Bounds, element: IntegerType) -> _FixedPoint:
        """With multipliers and biases, next to the exact scale and offset, that let every step begin at `starts`, if there are any.

        starts: a row of least integers for each channel. A multiplier is never a third, but a little can be added that keeps ``a``
        of them at or above a bound where ``a`` thirds are, and below it for one integer less. Where bounds belong to the upper
        step above zero and to the lower one below it, or the other way round, a multiplier a little larger or smaller does that.
        Channels for which nothing fits stay as they are, and so do those before a rectifier's slope.
        """
        if set(self.slopes) != {1 << self.slope_shift}:
            return self
        known: dict[tuple[int, int, bytes], tuple[int, int]] = {}
        pairs = []
        for multiplier, bias, wanted in zip(self.multipliers, self.biases, starts, strict=True):
            key = (multiplier, bias, wanted.astype(np.int64).tobytes())
            if key not in known:
                tries = (self._with_bias(near, bias, wanted, bounds, element) for near in _nearest(multiplier))
                known[key] = next((pair for pair in tries if pair), (multiplier, bias))
            pairs.append(known[key])
        return replace(self, multipliers=[pair[0] for pair in pairs], biases=[pair[1] for pair in pairs])

    def _with_bias(
        self, multiplier: int, bias: int, wanted: np.ndarray, bounds: _Bounds, element: IntegerType
    ) -> tuple[int, int] | None:
        """(multiplier, the bias next to `bias` with which ``2 * (multiplier * a + bias)`` reaches ``doubled << shift`` for
        a = wanted, and not for one less), or None."""
        at = (bounds.doubled << self.shift) - 2 * multiplier * wanted
        before = at + 2 * multiplier
        # The least of those that reach a bound, and the largest of those that do not.
        least = np.where(bounds.inclusive, -(-at // 2), at // 2 + 1)[wanted <= element.maximum]
        most = np.where(bounds.inclusive, -(-before // 2) - 1, before // 2)[wanted > element.minimum]
        low, high = max(least, default=bias), min(most, default=bias)
        return (multiplier, min(max(bias, low), high)) if low <= high else None

    def segments(self) -> list[_Segments]:
        one, slope_one = 1 << self.shift, 1 << self.slope_shift
        slopes = spread(self.slopes, len(self.multipliers))
        return [
            _Segments(Fraction(multiplier, one), Fraction(bias, one), Fraction(slope, slope_one))
            for multiplier, bias, slope in zip(self.multipliers, self.biases, slopes, strict=True)
        ]


def _nearest(multiplier: int) -> tuple[int, ...]:
    return (multiplier, multiplier + 1, multiplier - 1) if multiplier > 1 else (multiplier,)


def _whole(values: Sequence[Fraction], width: int) -> tuple[list[int], int]:
    """(the values times ``2**shift`` as whole numbers, of `width` bits for the largest, shift)."""
    largest = max(values)
    shift = max(0, width - (largest.numerator.bit_length() - largest.denominator.bit_length()))
    return [round(value * (1 << shift)) for value in values], shift


@dataclass(frozen=True)
class _Bounds:
    """Where each step above the lowest begins, without the zero point: twice the value (a whole number), and whether the bound
    belongs to it."""

    doubled: np.ndarray
    inclusive: np.ndarray

    @classmethod
    def of(cls, quantiser: Quantiser) -> _Bounds:
        rules = [least_real(t, quantiser.rounding) for t in range(quantiser.lowest + 1, quantiser.highest + 1)]
        doubled = np.array([int(2 * bound) - 2 * quantiser.zero_point for bound, _ in rules], dtype=object)
        return cls(doubled, np.array([inclusive for _, inclusive in rules]))
