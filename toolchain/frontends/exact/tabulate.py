# SPDX-License-Identifier: Apache-2.0
"""Any function of one value, by its result for every integer that can occur: curves such as sigmoid and hard swish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import Curve
from toolchain.frontends.exact.quantiser import Quantiser, fraction_bits
from toolchain.frontends.exact.values import Line, Site, power_of_two
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.thresholds import MAXIMUM_STEPS
from toolchain.ir import Lookup, Threshold
from toolchain.ir.interpret import round_real

#: Widest accumulator whose every integer is evaluated, and the largest table that becomes hardware.
MAXIMUM_EVALUATED_BITS = 20
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
        raise UnsupportedModel(
            f"{site.label}: is a curve on values of {count.bit_length()} bits; supported are up to {MAXIMUM_EVALUATED_BITS}. Put "
            "a quantiser before it"
        )
    reals = _reals(line, element.minimum, count)
    results = np.asarray(function(reals), dtype=np.float64)
    if step is None:
        step = _finest(results)
    steps = results / float(step)
    if not np.isfinite(results).all() or (steps != np.rint(steps)).any() or np.abs(steps).max() >= 1 << 52:
        raise UnsupportedModel(f"{site.label}: gave values that are not whole multiples of its step {float(step):g}")
    table = steps.astype(np.int64)
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
    rows = []
    for channel in range(1 if line.is_uniform else line.channels):
        scale, offset = line.spread(line.scale)[channel], line.spread(line.offset)[channel]
        exponent = power_of_two(scale)
        if not line.functions and not offset and exponent is not None:
            rows.append(np.ldexp(np.arange(first, first + count).astype(np.float64), exponent))
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
    if quantiser.is_bipolar or len(set(quantiser.steps)) != 1:
        raise UnsupportedModel(
            f"{site.label}: quantises a curve with one bit or a scale a channel; supported is one scale"
        )
    step = quantiser.steps[0]

    def quantised(reals: np.ndarray) -> np.ndarray:
        steps = (reals.astype(np.float32) / np.float32(step)).astype(np.float64) + quantiser.zero_point
        clipped = np.clip(steps, quantiser.lowest, quantiser.highest)
        return np.asarray(round_real(clipped, quantiser.rounding) - quantiser.zero_point)

    table = tabulate(walk, line, quantised, Fraction(1), site, fraction=fraction_bits(quantiser.steps))
    return replace(table, scale=(step,))
