# SPDX-License-Identifier: Apache-2.0
"""Pooling of lines: a maximum commutes with what rises, an average is a sum with another scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import lcm, prod

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import Affine, Curve
from toolchain.frontends.exact.shapes import Pairs, pad_integers, pad_zeros
from toolchain.frontends.exact.values import Line, Site
from toolchain.frontends.exact.walk import Walk
from toolchain.ir import Constant, MaxPool, Multiply, SumPool


def _positions(
    shape: Sequence[int], window: Sequence[int], strides: Sequence[int], dilation: Sequence[int], site: Site
) -> tuple[int, ...]:
    positions = tuple(
        (size - (w - 1) * d - 1) // s + 1 for size, w, s, d in zip(shape, window, strides, dilation, strict=True)
    )
    if min(positions) < 1:
        raise UnsupportedModel(f"{site.label}: the window {tuple(window)} is larger than the input {tuple(shape)}")
    return positions


def max_pool(
    walk: Walk,
    line: Line,
    *,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    site: Site,
    dilation: Sequence[int] = (),
) -> Line:
    """The largest value of each window over the axes before the channels; what is padded never wins."""
    line = walk.emitted(line, site)
    dilation = tuple(dilation) or (1,) * len(window)
    if _falls(line):
        line = walk.settled(line, site)
    line = pad_integers(walk, line, (*padding, (0, 0)), walk.element(line).minimum, site)
    positions = _positions(line.shape[:-1], window, strides, dilation, site)
    tensor = walk.add(MaxPool(tuple(window), tuple(strides), dilation), line.tensor, site=site)
    return replace(line, tensor=tensor, shape=(*positions, line.channels))


def _falls(line: Line) -> bool:
    """Whether a function on the way may fall in some channel."""
    return any(
        (isinstance(function, Affine) and min(function.scale) < 0)
        or (isinstance(function, Curve) and not function.rises)
        for function in line.functions
    )


def average_pool(
    walk: Walk,
    line: Line,
    *,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    counts_padding: bool,
    site: Site,
) -> Line:
    """The mean of each window over the axes before the channels.

    counts_padding: whether padded zeros count as elements; else a window is divided by the number of its real elements.
    """
    line = walk.settled(line, site)
    before = line.shape[:-1]
    counts = _counts(before, window, strides, padding)
    if counts_padding:
        line = pad_zeros(walk, line, (*padding, (0, 0)), site)
    else:
        # Integers that add nothing to the sum, whatever real value an integer 0 stands for.
        line = pad_integers(walk, line, (*padding, (0, 0)), 0, site)
    positions = _positions(line.shape[:-1], window, strides, (1,) * len(window), site)
    tensor = walk.add(SumPool(tuple(window), tuple(strides)), line.tensor, site=site)
    size = prod(window)
    line = replace(line, tensor=tensor, shape=(*positions, line.channels))
    if not counts_padding and counts.min() != counts.max():
        # Windows of different sizes: the sums on the common multiple of all sizes.
        size = lcm(*(int(c) for c in np.unique(counts)))
        factors = walk.add(Constant((size // counts)[..., None]), site=site.inner("weights"))
        line = replace(line, tensor=walk.add(Multiply(), line.tensor, factors, site=site.inner("share")))
    elif not counts_padding:
        size = int(counts.max())
    # The offset of each element is in the sum as often as there are elements, and so in the mean once.
    return replace(line, scale=tuple(s * Fraction(1, size) for s in line.scale))


def _counts(shape: Sequence[int], window: Sequence[int], strides: Sequence[int], padding: Pairs) -> np.ndarray:
    """Elements that are not padding, for each position."""
    lengths = []
    for size, w, s, (before, after) in zip(shape, window, strides, padding, strict=True):
        starts = range(0, size + before + after - w + 1, s)
        lengths.append([min(start + w, before + size) - max(start, before) for start in starts])
    counts = np.array([prod(each) for each in product(*lengths)], dtype=np.int64)
    return counts.reshape([len(each) for each in lengths])
