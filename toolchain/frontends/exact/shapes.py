# SPDX-License-Identifier: Apache-2.0
"""Rearranging lines: reshape, transpose, pad, crop, upsample. Only the order of integers and meanings changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.values import ZERO, Line, RealInput, Site, compact
from toolchain.frontends.exact.walk import Walk
from toolchain.ir import InsertZeros, Operation, Pad, Reshape, Slice, Transpose, Upsample

Pairs = Sequence[tuple[int, int]]


def move(
    walk: Walk, value: Line | RealInput, operation: Operation, shape: tuple[int, ...], site: Site
) -> Line | RealInput:
    """An operation that rearranges without mixing in other values and keeps every element's channel."""
    if isinstance(value, RealInput):
        return replace(value, shape=shape, moves=(*value.moves, (operation, site)))
    value = walk.emitted(value, site)
    return replace(value, tensor=walk.add(operation, value.tensor, site=site), shape=shape)


def reshape(walk: Walk, value: Line | RealInput, shape: tuple[int, ...], site: Site) -> Line | RealInput:
    """The same elements in row-major order of the graph's axes in another shape; `axes` must be in order."""
    if shape == value.shape:
        return value
    return _rearranged(walk, value, Reshape(shape), shape, lambda array: array.reshape(shape), site)


def transpose(walk: Walk, value: Line | RealInput, permutation: tuple[int, ...], site: Site) -> Line | RealInput:
    """Sample axis i of the result is axis ``permutation[i]``."""
    if permutation == tuple(range(len(permutation))):
        return value
    shape = tuple(value.shape[axis] for axis in permutation)
    return _rearranged(walk, value, Transpose(permutation), shape, lambda array: array.transpose(permutation), site)


def _rearranged(walk, value, operation, shape, apply, site):  # type: ignore[no-untyped-def]
    """Channels may become other axes: what differs from channel to channel must again be one value a channel."""
    if isinstance(value, RealInput):
        return replace(value, shape=shape, moves=(*value.moves, (operation, site)))
    line = walk.emitted(value, site)
    if line.functions and not line.is_uniform:
        line = walk.settled(line, site)
    parts = [_carried(values, line, shape, apply) for values in (line.scale, line.offset)]
    if None in parts:
        why = (
            "rearranges a tensor with a scale or bias a channel so that its last axis mixes them; put a quantiser with one scale "
            "before it"
        )
        line = walk.uniform(line, site, why)
        parts = [line.scale[:1], line.offset[:1]]
    return replace(
        line, tensor=walk.add(operation, line.tensor, site=site), shape=shape, scale=parts[0], offset=parts[1]
    )


def _carried(values, line, shape, apply):  # type: ignore[no-untyped-def]
    """What was one value a channel, after the elements have moved; None where it is no more one a channel."""
    if len(set(values)) == 1:
        return values[:1]
    index = apply(np.broadcast_to(np.arange(line.channels), line.shape)).reshape(-1, shape[-1])
    rows = [[values[i] for i in row] for row in (index if (index != index[:1]).any() else index[:1])]
    return compact(rows[0]) if all(row == rows[0] for row in rows[1:]) else None


def pad_zeros(walk: Walk, line: Line, widths: Pairs, site: Site, value: Fraction = ZERO) -> Line:
    """A real value (zero, if no other is given) before and after a settled line along each axis."""
    if not any(a or b for a, b in widths):
        return line
    if widths[-1] != (0, 0):
        why = "pads an axis along which the values have different scales; put a quantiser with one scale before it"
        line = walk.uniform(line, site, why)
    found = _integer_of(line, value)
    if found is None:
        line = walk.biased(line, site)
        found = _integer_of(line, value)
    if found is None:
        raise UnsupportedModel(
            f"{site.label}: pads with {float(value):g}, which is not a whole number of steps of the values; pad with 0, or put a "
            "quantiser after the padding"
        )
    return pad_integers(walk, line, widths, found, site)


def _integer_of(line: Line, value: Fraction) -> int | None:
    """The integer that stands for a real value in every channel, or None."""
    found = {(value - o) / s for o, s in zip(line.spread(line.offset), line.spread(line.scale), strict=True)}
    only = found.pop() if len(found) == 1 else None
    return None if only is None or only.denominator != 1 else only.numerator


def pad_integers(walk: Walk, line: Line, widths: Pairs, value: int, site: Site) -> Line:
    """An integer put around an emitted line."""
    if not any(a or b for a, b in widths):
        return line
    tensor = walk.add(Pad(tuple((int(a), int(b)) for a, b in widths), value), line.tensor, site=site.inner("pad"))
    shape = tuple(size + a + b for size, (a, b) in zip(line.shape, widths, strict=True))
    return replace(line, tensor=tensor, shape=shape)


def crop(walk: Walk, value: Line | RealInput, widths: Pairs, site: Site) -> Line:
    """Elements (before, after) taken off along each axis."""
    starts = [a for a, _ in widths]
    stops = [size - b for size, (_, b) in zip(value.shape, widths, strict=True)]
    return cut(walk, value, starts, stops, [1] * len(starts), site)  # type: ignore[return-value]


def cut(
    walk: Walk, value: Line | RealInput, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int], site: Site
) -> Line | RealInput:
    """``value[start:stop:step]`` along each axis."""
    size = value.shape
    if list(starts) == [0] * len(size) and list(stops) == list(size) and list(steps) == [1] * len(size):
        return value
    shape = tuple(len(range(a, b, c)) for a, b, c in zip(starts, stops, steps, strict=True))
    if min(shape) < 1:
        raise UnsupportedModel(f"{site.label}: leaves nothing of a tensor of shape {size}")
    operation = Slice(tuple(starts), tuple(stops), tuple(steps))
    if isinstance(value, RealInput):
        return replace(value, shape=shape, moves=(*value.moves, (operation, site)))
    line = walk.emitted(value, site)
    if line.functions and not line.is_uniform:
        line = walk.settled(line, site)
    kept = range(starts[-1], stops[-1], steps[-1])
    scale, offset = (compact([line.spread(v)[i] for i in kept]) for v in (line.scale, line.offset))
    return replace(line, tensor=walk.add(operation, line.tensor, site=site), shape=shape, scale=scale, offset=offset)


def insert_zeros(walk: Walk, line: Line, factors: tuple[int, ...], site: Site) -> Line:
    """Real zeros between neighbours of a settled line."""
    if set(factors) == {1}:
        return line
    line = walk.biased(line, site)
    shape = tuple((size - 1) * factor + 1 for size, factor in zip(line.shape, factors, strict=True))
    return replace(line, tensor=walk.add(InsertZeros(factors), line.tensor, site=site.inner("spread")), shape=shape)


def upsample(walk: Walk, value: Line | RealInput, factors: tuple[int, ...], site: Site) -> Line | RealInput:
    """Every element repeated, `factors` times along each axis."""
    if set(factors) == {1}:
        return value
    shape = tuple(size * factor for size, factor in zip(value.shape, factors, strict=True))
    if isinstance(value, Line) and factors[-1] > 1 and not value.is_uniform:
        if value.functions:
            value = walk.settled(value, site)
        scale, offset = (
            compact([v for v in value.spread(values) for _ in range(factors[-1])])
            for values in (value.scale, value.offset)
        )
        moved = move(walk, value, Upsample(factors), shape, site)
        return replace(moved, scale=scale, offset=offset)  # type: ignore[arg-type]
    return move(walk, value, Upsample(factors), shape, site)
