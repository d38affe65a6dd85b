# SPDX-License-Identifier: Apache-2.0
"""Where branches meet: sums, differences, products and concatenations of lines, exact for any scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.values import ZERO, Line, Site, common_step, compact
from toolchain.frontends.exact.walk import MAXIMUM_ALIGNMENT_BITS, Walk
from toolchain.ir import Add, Concatenate, Multiply


def _joined_shape(a: Line, b: Line, site: Site) -> tuple[int, ...]:
    if len(a.shape) != len(b.shape) or any(1 not in (m, n) and m != n for m, n in zip(a.shape, b.shape, strict=True)):
        raise UnsupportedModel(f"{site.label}: joins shapes {a.shape} and {b.shape}, which do not fit")
    return tuple(max(sizes) for sizes in zip(a.shape, b.shape, strict=True))


def _step(lines: Sequence[Line], site: Site) -> Fraction:
    scales = [s for line in lines for s in line.scale]
    step = common_step(scales)
    if (max(scales) / step).numerator.bit_length() > MAXIMUM_ALIGNMENT_BITS:
        raise UnsupportedModel(
            f"{site.label}: joins values whose scales have no common step within {MAXIMUM_ALIGNMENT_BITS} bits; quantise them "
            "with one scale first"
        )
    return step


def add(walk: Walk, a: Line, b: Line, site: Site, *, subtract: bool = False) -> Line:
    """``a + b`` or ``a - b``, on the step that both have in common; sizes of 1 are repeated."""
    shape = _joined_shape(a, b, site)
    a, b = walk.settled(a, site), walk.settled(b, site)
    channels = shape[-1]
    sign = -1 if subtract else 1
    offset = [ZERO] * channels
    if any(a.offset) or any(b.offset):
        first, second = (line.spread(line.offset) * (channels // line.channels) for line in (a, b))
        offset = [x + sign * y for x, y in zip(first, second, strict=True)]
    a, b = replace(a, offset=(ZERO,)), replace(b, offset=(ZERO,))
    step = _step((a, b), site)
    fraction = _finest(walk, (a, b), step)
    a, b = walk.aligned(a, step, fraction, site), walk.aligned(b, step, fraction, site)
    tensor = walk.add(Add(subtract), a.tensor, b.tensor, site=site)
    return Line(tensor, shape, (step,), compact(offset), axes=a.axes)


def _finest(walk: Walk, lines: Sequence[Line], step: Fraction) -> int:
    """The binary point for integers on `step`: that of a line which is already on it, else the finest."""
    on_step = [walk.element(line).fraction for line in lines if set(line.scale) == {step}]
    return on_step[0] if on_step else max(walk.element(line).fraction for line in lines)


def multiply(walk: Walk, a: Line, b: Line, site: Site) -> Line:
    """``a * b`` element by element; sizes of 1 are repeated."""
    shape = _joined_shape(a, b, site)
    a, b = (walk.biased(walk.settled(line, site), site) for line in (a, b))
    channels = shape[-1]
    first, second = (line.spread(line.scale) * (channels // line.channels) for line in (a, b))
    tensor = walk.add(Multiply(), a.tensor, b.tensor, site=site)
    return Line(tensor, shape, compact([x * y for x, y in zip(first, second, strict=True)]), axes=a.axes)


def concatenate(walk: Walk, lines: Sequence[Line], axis: int, site: Site) -> Line:
    """The lines one after the other along a sample axis of the graph."""
    lines = [walk.settled(line, site) for line in lines]
    rank = len(lines[0].shape)
    if any(len(line.shape) != rank for line in lines) or any(
        len({line.shape[i] for line in lines}) != 1 for i in range(rank) if i != axis
    ):
        raise UnsupportedModel(f"{site.label}: concatenates shapes {[line.shape for line in lines]} along axis {axis}")
    shape = (*lines[0].shape[:axis], sum(line.shape[axis] for line in lines), *lines[0].shape[axis + 1 :])
    if axis != rank - 1:
        if len({(line.offset if len(set(line.offset)) > 1 else line.offset[:1]) for line in lines}) != 1:
            lines = [walk.biased(line, site) for line in lines]
        step = _step(lines, site)
        fraction = _finest(walk, lines, step)
        lines = [walk.aligned(line, step, fraction, site) for line in lines]
        tensor = walk.add(Concatenate(axis), *(line.tensor for line in lines), site=site)
        return Line(tensor, shape, (step,), lines[0].offset, axes=lines[0].axes)
    # Channels keep their own scales; the operation brings all integers to the finest binary point.
    finest = max(walk.element(line).fraction for line in lines)
    scale: list[Fraction] = []
    offset: list[Fraction] = []
    for line in lines:
        shift = finest - walk.element(line).fraction
        scale += [s / (1 << shift) for s in line.spread(line.scale)]
        offset += line.spread(line.offset)
    tensor = walk.add(Concatenate(axis), *(line.tensor for line in lines), site=site)
    return Line(tensor, shape, compact(scale), compact(offset), axes=lines[0].axes)
