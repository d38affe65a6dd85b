# SPDX-License-Identifier: Apache-2.0
"""Products with constant weights: dense, convolution (grouped, depthwise) and transposed convolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.quantiser import MAXIMUM_BITS
from toolchain.frontends.exact.shapes import crop, insert_zeros, pad_zeros
from toolchain.frontends.exact.values import (
    ZERO,
    Fractions,
    Line,
    Product,
    Site,
    Weights,
    common_step,
    compact,
    power_of_two,
    spread,
)
from toolchain.frontends.exact.walk import MAXIMUM_ALIGNMENT_BITS, Walk
from toolchain.ir import Conv, Dense, Operation
from toolchain.ir.operation import working


def dense(walk: Walk, line: Line, weights: Weights, site: Site) -> Line:
    """``x @ weights`` over the last axis; weights of shape (inputs, outputs)."""
    if weights.integers.ndim != 2 or weights.integers.shape[0] != line.channels:
        raise UnsupportedModel(f"{site.label}: weights of shape {weights.integers.shape} for {line.channels} inputs")
    line = walk.settled(line, site)
    return _product(walk, line, weights, 1, Dense, (*line.shape[:-1], weights.outputs), site)


def convolution(
    walk: Walk,
    line: Line,
    weights: Weights,
    *,
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
    groups: int,
    site: Site,
) -> Line:
    """Correlation over the axes before the channels.

    weights: of shape (window..., channels / groups, outputs). padding: zeros (before, after) along each spatial axis.
    """
    spatial = len(line.shape) - 1
    shape = weights.integers.shape
    if len(shape) != spatial + 2 or shape[-2] * groups != line.channels or shape[-1] % groups:
        raise UnsupportedModel(
            f"{site.label}: weights of shape {shape} in {groups} groups for an input of shape {line.shape}"
        )
    line = pad_zeros(walk, walk.settled(line, site), (*padding, (0, 0)), site)
    strides, dilation = tuple(strides), tuple(dilation)
    positions = [
        (size - (window - 1) * d - 1) // s + 1
        for size, window, s, d in zip(line.shape, shape, strides, dilation, strict=False)
    ]
    if min(positions) < 1:
        raise UnsupportedModel(f"{site.label}: the window {shape[:-2]} is larger than the input {line.shape}")

    def make(integers: np.ndarray, fraction: int) -> Operation:
        return Conv(integers, strides, dilation, groups, fraction)

    return _product(walk, line, weights, groups, make, (*positions[:spatial], weights.outputs), site)


def transposed_convolution(
    walk: Walk,
    line: Line,
    weights: Weights,
    *,
    strides: Sequence[int],
    dilation: Sequence[int],
    cropping: Sequence[tuple[int, int]],
    groups: int,
    site: Site,
) -> Line:
    """The adjoint of a strided convolution: every input adds its window of weights to the result.

    weights: of shape (window..., channels / groups, outputs), as the framework places them (the result's element
    ``input * stride + k * dilation`` gets tap k). cropping: elements (before, after) taken off the full result along each
    axis; negative ones append zeros, as frameworks' output padding does.
    """
    line = walk.settled(line, site)
    line = insert_zeros(walk, line, (*strides, 1), site)
    window = weights.integers.shape[:-2]
    reach = [(size - 1) * d for size, d in zip(window, dilation, strict=True)]
    # A crop of the full result is less padding before, up to none.
    padding = [(r - before, r - after) for r, (before, after) in zip(reach, cropping, strict=True)]
    line = pad_zeros(walk, line, tuple((max(0, b), max(0, a)) for b, a in (*padding, (0, 0))), site)
    line = crop(walk, line, tuple((max(0, -b), max(0, -a)) for b, a in (*padding, (0, 0))), site)
    axes = tuple(range(len(window)))
    turned = np.flip(weights.integers, axis=axes)
    deviations = None if weights.deviations is None else np.flip(weights.deviations, axis=axes)
    return convolution(
        walk,
        line,
        Weights(turned, weights.steps, deviations),
        strides=[1] * len(window),
        dilation=dilation,
        padding=[(0, 0)] * len(window),
        groups=groups,
        site=site,
    )


def _product(
    walk: Walk,
    line: Line,
    weights: Weights,
    groups: int,
    make: Callable[[np.ndarray, int], Operation],
    shape: tuple[int, ...],
    site: Site,
) -> Line:
    """The pending product of a settled line."""
    integers, outputs = weights.integers, weights.outputs
    steps = spread(weights.steps, outputs)
    offset = _offsets(line, integers, steps, groups)
    integers, units, multiples = _aligned_inputs(line, integers, groups, site)
    deviations = None if weights.deviations is None else weights.deviations * multiples
    scale = [unit * step for unit, step in zip(spread(units, outputs), steps, strict=True)]
    exponents = [power_of_two(step) for step in steps]
    known = [exponent for exponent in exponents if exponent is not None]
    fraction = 0
    if len(known) == outputs and max(known) - min(known) <= MAXIMUM_BITS and len(units) == 1:
        # Powers of two go into the weights' binary point, on the finest of them.
        fraction = -min(known)
        shifts = [exponent + fraction for exponent in known]
        integers = working(integers, _magnitude(integers) << max(shifts)) * np.array([1 << s for s in shifts])
        deviations = None if deviations is None else deviations * np.exp2(shifts)
        scale = [units[0] * Fraction(2) ** -fraction]
    pending = Product(make, integers, fraction, site, deviations)
    return Line(line.tensor, shape, compact(scale), compact(offset), pending=pending, axes=line.axes)


def _magnitude(integers: np.ndarray) -> int:
    return max(1, int(integers.max()), -int(integers.min()))


def _offsets(line: Line, integers: np.ndarray, steps: list[Fraction], groups: int) -> list[Fraction]:
    """What the input's offset adds to each output."""
    outputs = integers.shape[-1]
    if not any(line.offset):
        return [ZERO] * outputs
    taps = working(integers, _magnitude(integers) * integers.size).reshape(-1, *integers.shape[-2:]).sum(axis=0)
    if len(set(line.offset)) == 1:
        return [step * line.offset[0] * int(w) for step, w in zip(steps, taps.sum(axis=0), strict=True)]
    rows = len(taps)
    offset = []
    for output, step in enumerate(steps):
        first = output // (outputs // groups) * rows
        terms = zip(line.offset[first : first + rows], taps[:, output], strict=True)
        offset.append(step * sum((o * int(w) for o, w in terms), ZERO))
    return offset


def _aligned_inputs(
    line: Line, integers: np.ndarray, groups: int, site: Site
) -> tuple[np.ndarray, Fractions, np.ndarray]:
    """(weights, real value of one unit of the sum: one, or one an output, multiples) for inputs with a scale a channel.

    The channels that one output sums have a step in common, of which each channel's scale is a whole multiple; the
    multiples go into the weights.
    """
    if len(set(line.scale)) == 1:
        return integers, (line.scale[0],), np.ones(())
    rows, outputs = integers.shape[-2:]
    each = outputs // groups
    units, factors = [], np.ones((rows, outputs), dtype=object)
    for group in range(groups):
        scales = line.scale[group * rows : (group + 1) * rows]
        unit = common_step(scales)
        multiples = [(s / unit).numerator for s in scales]
        if max(multiples).bit_length() > MAXIMUM_ALIGNMENT_BITS:
            raise UnsupportedModel(
                f"{site.label}: sums channels whose scales have no common step within {MAXIMUM_ALIGNMENT_BITS} bits; put a "
                "quantiser with one scale before it"
            )
        units += [unit] * each
        factors[:, group * each : (group + 1) * each] = np.array(multiples, dtype=object)[:, None]
    largest = int(factors.max()) * _magnitude(integers)
    integers = working(integers, largest) * working(
        factors if largest >= 1 << 63 else factors.astype(np.int64), largest
    )
    return integers, compact(units), factors.astype(np.float64)


def with_bias(walk: Walk, line: Line, bias: Sequence[Fraction]) -> Line:
    """Each output plus a value."""
    return walk.scaled(line, [Fraction(1)], compact(bias))
