# SPDX-License-Identifier: Apache-2.0
"""Rearranging lines: reshape, transpose, pad, crop, upsample. Only the order of integers and meanings changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.values import ZERO, Fractions, Line, RealInput, Site, compact
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
    return transpose_and_reshape(walk, value, tuple(range(len(value.shape))), shape, site)


def transpose(walk: Walk, value: Line | RealInput, permutation: tuple[int, ...], site: Site) -> Line | RealInput:
    """Sample axis i of the result is axis ``permutation[i]``."""
    shape = tuple(value.shape[axis] for axis in permutation)
    return transpose_and_reshape(walk, value, permutation, shape, site)


def transpose_and_reshape(
    walk: Walk, value: Line | RealInput, permutation: tuple[int, ...], shape: tuple[int, ...], site: Site
) -> Line | RealInput:
    """Both, one after the other: channels that are mixed in between may be apart again at the end.

    Channels may become other axes: what differs from channel to channel must then again be one value a channel, or all
    values come to one step.
    """
    operations: list[Operation] = []
    moved = [axis for axis in permutation if value.shape[axis] > 1]
    before = value.shape
    if moved != sorted(moved):  # else only axes of size 1 change places, and the elements stay where they are
        operations.append(Transpose(permutation))
        before = tuple(value.shape[axis] for axis in permutation)
    if before != shape:
        operations.append(Reshape(shape))
    if not operations:
        return value
    sites = [site.inner("order"), site] if len(operations) == 2 else [site]
    if isinstance(value, RealInput):
        return replace(value, shape=shape, moves=(*value.moves, *zip(operations, sites, strict=True)))
    line = walk.emitted(value, site)
    if line.functions and not line.is_uniform:
        line = walk.settled(line, site)
    scale, offset = (_carried(values, line, permutation, shape) for values in (line.scale, line.offset))
    if scale is None or offset is None:
        why = (
            "rearranges a tensor with a scale or bias a channel so that its last axis mixes them; put a quantiser with one scale "
            "before it"
        )
        line = walk.uniform(line, site, why)
        scale, offset = line.scale[:1], line.offset[:1]
    tensor = line.tensor
    for operation, place in zip(operations, sites, strict=True):
        tensor = walk.add(operation, tensor, site=place)
    return replace(line, tensor=tensor, shape=shape, scale=scale, offset=offset)


def _carried(values: Fractions, line: Line, permutation: tuple[int, ...], shape: tuple[int, ...]) -> Fractions | None:
    """What was one value a channel, after the elements have moved; None where it is no more one a channel."""
    if len(set(values)) == 1:
        return values[:1]
    index = np.broadcast_to(np.arange(line.channels), line.shape).transpose(permutation).reshape(-1, shape[-1])
    kinds = {value: number for number, value in enumerate(dict.fromkeys(values))}
    meaning = np.array([kinds[value] for value in values])[index]
    return compact([values[i] for i in index[0]]) if (meaning == meaning[:1]).all() else None


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
