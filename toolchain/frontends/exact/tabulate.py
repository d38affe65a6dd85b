# SPDX-License-Identifier: Apache-2.0
"""Any function of one value, by its result for every integer that can occur: curves such as sigmoid and hard swish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.bisection import float32_values
from toolchain.frontends.exact.functions import Curve, Float32
from toolchain.frontends.exact.quantiser import Quantiser, fraction_bits
from toolchain.frontends.exact.values import Line, Site, compact, power_of_two
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.thresholds import MAXIMUM_STEPS
from toolchain.ir import Lookup, Threshold
from toolchain.ir.interpret import round_real

#: Widest accumulator whose every integer is evaluated at once, and in pieces (where its values are binary fractions and the
#: results never fall), and the largest table that becomes hardware.
MAXIMUM_EVALUATED_BITS = 20
MAXIMUM_PIECEWISE_BITS = 26
MAXIMUM_TABLE_BITS = 16

#: float64 values (channels, integers) -> float64 results of the same shape, all multiples of the step that is given with it.
RealFunction = Callable[[np.ndarray], np.ndarray]


def tabulate(
    walk: Walk, line: Line, function: RealFunction, step: Fraction | None, site: Site, *, fraction: int | None = None
) -> Line:
    """``function`` of a line, element by element, whose results are whole multiples of `step`.

    step: None for the finest binary step that the results need.
    function: gets the real values of all integers in the accumulator's interval, rounded to float64, one row a channel (one
    row in all where channels do not differ). Pending functions of the line are part of the values.
    fraction: the binary point of the result's type; by default that of the step, or 0 where it is no power of two.
    A result that never falls becomes thresholds (and a table of their values where it jumps), any other a table. Raises
    UnsupportedModel for an accumulator that is too wide, or for results that are not on the step.
    """
    line = walk.emitted(line, site)
    element = walk.element(line)
    count = element.maximum - element.minimum + 1
    if count > 1 << MAXIMUM_EVALUATED_BITS:
        return _in_pieces(walk, line, function, step, site, fraction)
    reals = _reals(line, element.minimum, count)
    results = np.asarray(function(reals), dtype=np.float64)
    if step is None:
        step = _finest(results)
    table = _whole(results, step, site)
    fraction = fraction_bits((step,)) if fraction is None else fraction
    lowest, highest = int(table[:, 0].min()), int(table[:, -1].max())
    rises = (np.diff(table, axis=1) >= 0).all()
    if rises and highest - lowest <= MAXIMUM_STEPS:
        wanted = np.arange(lowest + 1, max(highest, lowest + 1) + 1)
        starts = np.stack([np.searchsorted(row, wanted, side="left") for row in table]) + element.minimum
        operation: Lookup | Threshold = Threshold(starts, offset=lowest, fraction=fraction)
    elif count <= 1 << MAXIMUM_TABLE_BITS:
        operation = Lookup(table, element.minimum, fraction)
    elif rises and len(levels := np.unique(table)) <= MAXIMUM_STEPS:
        starts = np.stack([np.searchsorted(row, levels[1:], side="left") for row in table]) + element.minimum
        index = replace(line, tensor=walk.add(Threshold(starts), line.tensor, site=site.inner("level")), functions=())
        reached = walk.element(index)
        line, operation = index, Lookup(levels[None, reached.minimum : reached.maximum + 1], reached.minimum, fraction)
    else:
        raise UnsupportedModel(
            f"{site.label}: needs a table of {count} entries, more than {1 << MAXIMUM_TABLE_BITS}; put a quantiser before it"
        )
    return Line(walk.add(operation, line.tensor, site=site), line.shape, (step,), axes=line.axes)


def _in_pieces(
    walk: Walk, line: Line, function: RealFunction, step: Fraction | None, site: Site, fraction: int | None
) -> Line:
    """`tabulate` for an accumulator that is too wide for one table: only where the result changes is kept."""
    element = walk.element(line)
    count = element.maximum - element.minimum + 1
    limit = MAXIMUM_PIECEWISE_BITS if line.is_uniform and _exponent(line, 0) is not None else MAXIMUM_EVALUATED_BITS
    if count > 1 << limit:
        raise UnsupportedModel(
            f"{site.label}: is a curve on values of {(count - 1).bit_length()} bits; supported are up to {limit}. Put a quantiser "
            "before it, or give what it is computed from fewer bits"
        )
    starts: list[np.ndarray] = []
    values: list[np.ndarray] = []
    last = np.nan
    for first in range(element.minimum, element.maximum + 1, 1 << MAXIMUM_EVALUATED_BITS):
        size = min(1 << MAXIMUM_EVALUATED_BITS, element.maximum + 1 - first)
        rows = np.asarray(function(_reals(line, first, size)), dtype=np.float64)
        if len(rows) > 1:
            raise UnsupportedModel(
                f"{site.label}: quantises a curve on values of {(count - 1).bit_length()} bits with a scale a channel; supported are "
                f"{MAXIMUM_EVALUATED_BITS} bits. Put a quantiser before the curve"
            )
        results = rows[0]
        changes = np.flatnonzero(np.diff(results, prepend=last) != 0)
        starts.append(changes + first)
        values.append(results[changes])
        last = results[-1]
        if sum(map(len, starts)) > MAXIMUM_STEPS + 1 or (np.diff(np.concatenate(values)) < 0).any():
            raise UnsupportedModel(
                f"{site.label}: is a curve on values of {(count - 1).bit_length()} bits that falls or has more than {MAXIMUM_STEPS} "
                f"steps; supported are up to {MAXIMUM_EVALUATED_BITS} bits. Put a quantiser before it"
            )
    levels, firsts = np.unique(np.concatenate(values), return_index=True)
    reached = np.concatenate(starts)[firsts]
    step = _finest(levels) if step is None else step
    table = _whole(levels, step, site)
    fraction = fraction_bits((step,)) if fraction is None else fraction
    lowest, highest = int(table[0]), int(table[-1])
    operation: Lookup | Threshold
    if highest - lowest <= MAXIMUM_STEPS:
        wanted = np.arange(lowest + 1, max(highest, lowest + 1) + 1)
        bounds = np.append(reached, element.maximum + 1)[np.searchsorted(table, wanted, side="left")]
        operation = Threshold(bounds[None], offset=lowest, fraction=fraction)
    else:
        index = walk.add(Threshold(reached[None, 1:]), line.tensor, site=site.inner("level"))
        line, operation = replace(line, tensor=index), Lookup(table[None], 0, fraction)
    return Line(walk.add(operation, line.tensor, site=site), line.shape, (step,), axes=line.axes)


def _exponent(line: Line, channel: int) -> int | None:
    """k where the channel's values are the integers times 2**k, rounded to float32 at most; else None."""
    if line.spread(line.offset)[channel] or not all(isinstance(function, Float32) for function in line.functions):
        return None
    return power_of_two(line.spread(line.scale)[channel])


def _whole(results: np.ndarray, step: Fraction, site: Site) -> np.ndarray:
    """Results as multiples of the step."""
    steps = results / float(step)
    if not np.isfinite(results).all() or (steps != np.rint(steps)).any() or np.abs(steps).max() >= 1 << 52:
        raise UnsupportedModel(f"{site.label}: gave values that are not whole multiples of its step {float(step):g}")
    return steps.astype(np.int64)


def _finest(values: np.ndarray) -> Fraction:
    """The largest power of two of which all (finite) values are multiples."""
    values = values[np.isfinite(values) & (values != 0)]
    if not values.size:
        return Fraction(1)
    mantissas, exponents = np.frexp(np.unique(values))
    whole = (mantissas * 2.0**53).astype(np.int64)
    zeros = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return Fraction(2) ** int((exponents - 53 + zeros).min())


def _reals(line: Line, first: int, count: int) -> np.ndarray:
    """The exact real value of every integer of the interval, rounded once to float64; (channels or 1, count)."""
    known = float32_values(line, range(first, first + count), 1 if line.is_uniform else line.channels)
    if known is not None:
        return known
    rows = []
    for channel in range(1 if line.is_uniform else line.channels):
        scale, offset = line.spread(line.scale)[channel], line.spread(line.offset)[channel]
        exponent = _exponent(line, channel)
        if exponent is not None:
            exact = np.ldexp(np.arange(first, first + count).astype(np.float64), exponent)
            rows.append(exact.astype(np.float32).astype(np.float64) if line.functions else exact)
            continue
        values = [scale * integer + offset for integer in range(first, first + count)]
        reals: np.ndarray | None = None
        for function in line.functions:
            if isinstance(function, Curve):
                reals = function.values(np.array([float(v) for v in values]) if reals is None else reals)
            elif reals is None:
                values = [function.value(v, channel) for v in values]
            else:
                # Past a curve there are floats only; what follows is computed as a float32 framework does.
                following = [float(np.float32(function.value(Fraction(v), channel))) for v in reals]
                reals = np.array(following)
        rows.append(np.array([float(v) for v in values]) if reals is None else reals)
    return np.stack(rows)


def requantise_curve(walk: Walk, line: Line, quantiser: Quantiser, site: Site) -> Line:
    """A quantiser after a curve: ``clip(round(value / step + zero point))`` of the curve's own float values."""
    step = np.array([float(s) for s in quantiser.steps], dtype=np.float32)[:, None]

    def quantised(reals: np.ndarray) -> np.ndarray:
        if quantiser.is_bipolar:
            return np.where(reals >= 0, 1.0, -1.0) + np.zeros(step.shape)
        steps = (reals.astype(np.float32) / step).astype(np.float64) + quantiser.zero_point
        clipped = np.clip(steps, quantiser.lowest, quantiser.highest)
        return np.asarray(round_real(clipped, quantiser.rounding) - quantiser.zero_point)

    table = tabulate(walk, line, quantised, Fraction(1), site, fraction=fraction_bits(quantiser.steps))
    return replace(table, scale=compact(quantiser.steps))
