# SPDX-License-Identifier: Apache-2.0
"""Where the framework's float32 arithmetic is exact, and where its rounding has to be followed.

A float32 holds every multiple of a power of two up to 2**24 of them. While that holds for all values and partial sums of
an operation, the framework is exact whatever the order of its sums. A single product or quotient that does not fit is
rounded to the nearest float32, which `Float32` follows; a sum of many that does not fit depends on the order, and cannot
be followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.frontends.exact.functions import Float32
from toolchain.frontends.exact.values import Line, Weights, common_step, spread
from toolchain.frontends.qkeras_layers.registry import KerasWalk
from toolchain.ir import IntegerType
from toolchain.ir.operation import FLOAT32_EXACT


def interval(walk: KerasWalk, line: Line) -> IntegerType:
    """The type of the line's integers, whether its product is in the graph already or not."""
    if line.pending is None:
        return walk.element(line)
    operation = line.pending.make(line.pending.weights, line.pending.weight_fraction)
    return operation.infer(walk.builder.type(line.tensor)).element


def fits(largest: Fraction, *units: Fraction) -> bool:
    """Whether float32 holds all multiples of the (positive) units, and of their common step, up to `largest`."""
    unit = common_step([u for u in units if u])
    if unit.denominator & (unit.denominator - 1):
        return False
    odd = unit.numerator // (unit.numerator & -unit.numerator)
    return largest / unit * odd <= FLOAT32_EXACT


def representable(walk: KerasWalk, line: Line, *units: Fraction) -> bool:
    """Whether float32 holds every value that the line can have (and multiples of `units` up to the largest of them)."""
    if line.functions:
        return False
    element = interval(walk, line)
    pairs = set(zip(line.spread(line.scale), line.spread(line.offset), strict=True))
    for scale, offset in pairs:
        largest = max(abs(scale * element.minimum + offset), abs(scale * element.maximum + offset))
        if scale and not fits(largest, abs(scale), abs(offset), *units):
            return False
    return True


def rounded(walk: KerasWalk, line: Line) -> Line:
    """The line after one operation in float32: rounded to the nearest, where its values need that."""
    return line if representable(walk, line) else replace(line, functions=(*line.functions, Float32()))


def require_exact(walk: KerasWalk, line: Line, *units: Fraction) -> None:
    """Note it where the framework cannot have this (sum of many) exactly."""
    if not representable(walk, line, *units):
        walk.note_inexact(line)


def require_reach(walk: KerasWalk, line: Line, units: Sequence[Fraction]) -> None:
    """Note it where a straight-through estimator ``x + (y - x)`` may not give y in float32.

    It does for any float32 x, and y a multiple of `units` with few bits, as long as x is at most 2**24 times the power of two
    in the smallest unit: then either y is close to x and the difference is exact, or both are multiples of x's last place.
    """
    if not walk.sums_exact:
        return
    element = interval(walk, line)
    unit = min(_power_of_two_in(unit) for unit in units)
    for channel in range(1 if line.is_uniform else line.channels):
        scale, offset = line.spread(line.scale)[channel], line.spread(line.offset)[channel]
        for integer in (element.minimum, element.maximum):
            value = scale * integer + offset
            for function in line.functions:
                value = function.value(value, channel)
            if abs(value) > unit * FLOAT32_EXACT:
                walk.sums_exact = False
                return


def _power_of_two_in(value: Fraction) -> Fraction:
    """The largest power of two of which a binary fraction is a multiple."""
    top = value.numerator
    return Fraction(top & -top, value.denominator)


def require_exact_sums(walk: KerasWalk, line: Line, weights: Weights, groups: int, product: Line) -> Line:
    """`product`, which is ``line * weights``; noted where a partial sum, taken in any order, may not fit into float32.

    line: settled. weights: of shape (..., inputs / groups, outputs).
    """
    element = walk.element(line)
    unit = common_step([abs(v) for v in (*line.scale, *line.offset) if v])
    ends = (element.minimum, element.maximum)
    pairs = zip(line.spread(line.scale), line.spread(line.offset), strict=True)
    reach = [(max(abs(s * end + o) for end in ends) / unit).numerator for s, o in pairs]
    small = max(reach) < FLOAT32_EXACT and weights.integers.dtype != object
    magnitudes = np.abs(weights.integers.astype(np.int64 if small else object))
    rows, outputs = magnitudes.shape[-2:]
    totals = magnitudes.reshape(-1, rows, outputs).sum(axis=0)
    inputs = np.array(reach, dtype=totals.dtype).reshape(groups, rows)
    columns = np.split(totals, groups, axis=1)
    sums = np.concatenate([row @ column for row, column in zip(inputs, columns, strict=True)])
    for total, step in zip(sums, spread(weights.steps, outputs), strict=True):
        if not fits(int(total) * unit * abs(step), unit * abs(step)):
            walk.note_inexact(product)
            break
    return product
