# SPDX-License-Identifier: Apache-2.0
"""Where branches meet: sums, differences, products, means and concatenations."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.elementwise import add, concatenate, multiply
from toolchain.frontends.exact.shapes import reshape
from toolchain.frontends.exact.values import Line, Site
from toolchain.frontends.qkeras_layers.float32 import require_exact, rounded
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles


def _operands(walk: KerasWalk, values: list[Value], site: Site) -> list[Line]:
    """The lines, with as many axes as the one with most: Keras puts axes of size 1 before the others."""
    lines = [walk.line(value, site) for value in values]
    rank = max(len(line.shape) for line in lines)
    padded = []
    for line in lines:
        shape = (1,) * (rank - len(line.shape)) + line.shape
        moved = reshape(walk, line, shape, site.inner("expand"))
        assert isinstance(moved, Line)
        padded.append(moved)
    return padded


def _sum(walk: KerasWalk, values: list[Value], site: Site) -> Line:
    first, *others = _operands(walk, values, site)
    total = first
    for line in others:
        total = add(walk, total, line, site)
        require_exact(walk, total)
    return total


@handles("Add", several=True)
def _add(walk: KerasWalk, layer: Any, values: list[Value], site: Site) -> Value:
    return _sum(walk, values, site)


@handles("Average", several=True)
def _average(walk: KerasWalk, layer: Any, values: list[Value], site: Site) -> Value:
    """The framework divides the sum, which rounds once."""
    return rounded(walk, walk.scaled(_sum(walk, values, site), (Fraction(1, len(values)),)))


@handles("Subtract", several=True)
def _subtract(walk: KerasWalk, layer: Any, values: list[Value], site: Site) -> Value:
    first, second = _operands(walk, values, site)
    result = add(walk, first, second, site, subtract=True)
    require_exact(walk, result)
    return result


@handles("Multiply", several=True)
def _multiply(walk: KerasWalk, layer: Any, values: list[Value], site: Site) -> Value:
    first, *others = _operands(walk, values, site)
    result = first
    for line in others:
        result = multiply(walk, result, line, site)
        require_exact(walk, result)
    return result


@handles("Concatenate", "axis", several=True)
def _concatenate(walk: KerasWalk, layer: Any, values: list[Value], site: Site) -> Value:
    lines = [walk.line(value, site) for value in values]
    rank = len(lines[0].shape)
    axis = layer.axis - 1 if layer.axis > 0 else rank + layer.axis
    if layer.axis == 0 or not 0 <= axis < rank:
        raise UnsupportedModel(f"{site.label}: axis is {layer.axis}; supported are the axes after the batch")
    return concatenate(walk, lines, axis, site)
