# SPDX-License-Identifier: Apache-2.0
"""A quantiser on a line: as a shift where one is exact, as thresholds, or as a multiplier and shift with a computed bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import ceil, floor

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.bisection import reached_by_bisection
from toolchain.frontends.exact.functions import Clip, Curve, Float32, HalfLine, Leaky, preimage
from toolchain.frontends.exact.multiplier import multiplier_and_shift
from toolchain.frontends.exact.quantiser import Quantiser, fraction_bits
from toolchain.frontends.exact.tabulate import requantise_curve
from toolchain.frontends.exact.ties import begins_of, ties_of
from toolchain.frontends.exact.values import ZERO, Fractions, Line, Site, compact, power_of_two, spread
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.thresholds import MAXIMUM_STEPS, least_real, round_exactly
from toolchain.ir import IntegerType, Overflow, Relu, Requantise, Scale, Threshold


def requantise(walk: Walk, line: Line, quantiser: Quantiser, site: Site) -> Line:
    """The quantised line. Its integers stand for ``integer * step``: a zero point is taken off them."""
    line = walk.emitted(line, site)
    if len(quantiser.steps) not in (1, line.channels):
        raise UnsupportedModel(f"{site.label}: has {len(quantiser.steps)} scales for {line.channels} channels")
    if any(isinstance(function, Curve) for function in line.functions):
        return requantise_curve(walk, line, quantiser, site)
    line, quantiser = _clips_as_range(line, quantiser)
    if quantiser.count > MAXIMUM_STEPS:
        line = walk.without_rounding(line)
    shifted = _as_shift(walk, line, quantiser, site)
    if shifted is not None:
        return shifted
    if quantiser.count <= MAXIMUM_STEPS:
        return _as_thresholds(walk, line, quantiser, site)
    return multiplier_and_shift(walk, line, quantiser, site)


def on_step(walk: Walk, line: Line, steps: Fractions, site: Site) -> Line:
    """``round_half_even(x / step) * step`` of a settled line, not clipped; steps: one, or one a channel.

    Where every integer of the accumulator rounds to the same multiple of itself (it is on the step, or off it by a framework's
    float32 rounding of the step only), the integers stay and their meaning becomes those multiples.
    """
    element = walk.element(line)
    scales, offsets = [], []
    own = line.spread(steps)
    for scale, offset, step in zip(line.spread(line.scale), line.spread(line.offset), own, strict=True):
        multiple, shift = round(scale / step), round(offset / step)
        errors = [end * (scale / step - multiple) + offset / step - shift for end in (element.minimum, element.maximum)]
        if multiple < 1 or max(map(abs, errors)) * 2 >= 1:
            break
        scales.append(multiple * step)
        offsets.append(shift * step)
    else:
        return replace(line, scale=compact(scales), offset=compact(offsets))
    return requantise(walk, line, Quantiser(steps, *reachable(walk, line, steps)), site.inner("step"))


def reachable(walk: Walk, line: Line, steps: Sequence[Fraction]) -> tuple[int, int]:
    """(lowest, highest) that rounding a settled line to whole steps can give, in any mode."""
    element = walk.element(line)
    ends = [
        (scale * end + offset) / step
        for scale, offset, step in zip(
            line.spread(line.scale), line.spread(line.offset), line.spread(steps), strict=True
        )
        for end in (element.minimum, element.maximum)
    ]
    return floor(min(ends)), ceil(max(ends))


def _clips_as_range(line: Line, quantiser: Quantiser) -> tuple[Line, Quantiser]:
    """Clips right before the quantiser become bounds of its range: rounding is monotonic, so they commute."""
    while line.functions and isinstance(clip := line.functions[-1], Clip):
        if quantiser.is_bipolar or len(set(quantiser.steps)) != 1:
            break
        step, lowest, highest = quantiser.steps[0], quantiser.lowest, quantiser.highest
        if clip.low is not None:
            lowest = max(lowest, round_exactly(clip.low / step + quantiser.zero_point, quantiser.rounding))
        if clip.high is not None:
            highest = min(highest, round_exactly(clip.high / step + quantiser.zero_point, quantiser.rounding))
        if lowest >= highest:
            break
        line, quantiser = (
            replace(line, functions=line.functions[:-1]),
            replace(quantiser, lowest=lowest, highest=highest),
        )
    return line, quantiser


def _as_shift(walk: Walk, line: Line, quantiser: Quantiser, site: Site) -> Line | None:
    if quantiser.is_bipolar or quantiser.zero_point != 0 or len(set(quantiser.steps)) != 1 or len(set(line.scale)) != 1:
        return None
    exponent = power_of_two(line.scale[0] / quantiser.steps[0])
    if exponent is None:
        return None
    leaky = None
    if line.functions:
        leaky = line.functions[0]
        slopes = set(leaky.slope) if isinstance(leaky, Leaky) else set()
        slope = power_of_two(slopes.pop()) if len(slopes) == 1 else None
        if len(line.functions) > 1 or slope is None or not -32 <= slope <= 0:
            return None
    biased = walk.with_bias(line, 0 if quantiser.count <= MAXIMUM_STEPS else 32, site)
    if biased is None:
        return None
    fraction = walk.element(line).fraction + exponent
    tensor = biased.tensor
    if leaky is not None:
        assert slope is not None
        tensor = walk.add(Relu(-slope), tensor, site=site.inner("leaky"))
    target = IntegerType.spanning(quantiser.lowest, quantiser.highest, fraction)
    tensor = walk.add(Requantise(target, quantiser.rounding, Overflow.SATURATE), tensor, site=site)
    walk.ties[tensor] = ties_of(biased, quantiser.steps[:1])
    return Line(tensor, line.shape, quantiser.steps[:1], axes=line.axes)


def _as_thresholds(walk: Walk, line: Line, quantiser: Quantiser, site: Site) -> Line:
    lowest = -1 if quantiser.is_bipolar else quantiser.lowest - quantiser.zero_point
    if quantiser.is_bipolar:
        # -1 or +1 by the sign, 0 counting as positive: a step of two at 0.
        bounds, zero = [(ZERO, True)] * 2, 0
    else:
        bounds = [least_real(t, quantiser.rounding) for t in range(quantiser.lowest + 1, quantiser.highest + 1)]
        zero = quantiser.zero_point
    halves = [
        [HalfLine((bound - zero) * step, inclusive) for bound, inclusive in bounds] for step in compact(quantiser.steps)
    ]
    tensor = count_reached(walk, line, halves, lowest, fraction_bits(quantiser.steps), site, quantiser.steps)
    return Line(tensor, line.shape, compact(spread(quantiser.steps, line.channels)), axes=line.axes)


def count_reached(
    walk: Walk,
    line: Line,
    halves: list[list[HalfLine]],
    lowest: int,
    fraction: int,
    site: Site,
    steps: Sequence[Fraction] = (),
) -> str:
    """Thresholds in the graph: ``lowest`` plus the number of half-lines that the line's real value lies in.

    halves: one list, or one a channel; upward, and each contains the next. steps: by which the framework divides, if it does.
    """
    if any(isinstance(function, Curve) for function in line.functions):
        raise UnsupportedModel(f"{site.label}: compares a curve with thresholds; put a quantiser between them")
    element, values = walk.element(line), line
    channels = 1 if line.is_uniform and len(halves) == 1 else line.channels
    tables = reached_by_bisection(line, halves, channels, element)
    if tables is None:
        tables = [_reached_from(line, halves[c if len(halves) > 1 else 0], c, element) for c in range(channels)]
    falls = [upward is False for _, upward in tables]
    if any(falls):
        # Falling channels: on the negated integer they rise.
        signs = np.array([-1 if upward is False else 1 for _, upward in tables])
        line = replace(line, tensor=walk.add(Scale(signs), line.tensor, site=site.inner("sign")))
        element = walk.element(line)
        # a <= b there is -a >= -b; the entries hold b + 1.
        tables = [([1 - past for past in row] if upward is False else row, True) for row, upward in tables]
    table = np.array([row for row, _ in tables], dtype=object)
    # Beyond the interval a threshold is always or never reached, however far: keep the constants small.
    table = np.minimum(np.maximum(table, element.minimum), element.maximum + 1)
    always = int(np.cumprod((table == element.minimum).all(axis=0)).sum())
    always = min(always, table.shape[1] - 1)
    operation = Threshold(table[:, always:], offset=lowest + always, fraction=fraction)
    tensor = walk.add(operation, line.tensor, site=site)
    # Where the framework's own operations are followed one by one from an exact sum on, it cannot decide otherwise.
    if walk.is_inexact(line.tensor) or not any(isinstance(function, Float32) for function in values.functions):
        measure = partial(begins_of, values, halves, table, falls, always, element.minimum)
        walk.ties[tensor] = ties_of(values, steps, measure)
    return tensor


def _reached_from(
    line: Line, halves: list[HalfLine], channel: int, element: IntegerType
) -> tuple[list[int], bool | None]:
    """(for each half-line: the least integer that reaches it, direction).

    If the direction is False the function falls: the entry is then one past the largest integer that reaches it. None: it is
    constant.
    """
    scale = line.scale[channel if len(line.scale) > 1 else 0]
    offset = line.offset[channel if len(line.offset) > 1 else 0]
    sets = [preimage(line.functions, half, channel) for half in halves]
    upward = next((s.upward for s in sets if not isinstance(s, bool)), None)
    row = []
    for half in sets:
        if isinstance(half, bool):
            # Past the maximum a falling function's step is reached by all, a rising one's by none.
            row.append(element.minimum if half == (upward is not False) else element.maximum + 1)
            continue
        bound = (half.bound - offset) / scale
        ceiling = -((-bound.numerator) // bound.denominator)
        past = ceiling == bound and half.inclusive != half.upward
        row.append(ceiling + past)
    return row, upward
