# SPDX-License-Identifier: Apache-2.0
"""Sums, differences, products, quotients and batch norm, with constants and between branches."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import elementwise
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import ONE, ZERO, Line, RealInput, fractions_of
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Value,
    axes_of,
    channels_last,
    constant_line,
    fractions_on_channels,
    handles,
    laid_out,
    on_channels,
)

#: Relative distance within which two float32 scales are the same number computed in another order.
SAME_SCALE = Fraction(1, 1 << 22)


@handles("Add", "Sub", "Mul", "Div")
def _arithmetic(reader: Reader, node: NodeView) -> Value:
    first, second = node.value(0), node.value(1)
    if isinstance(first, Constant) and node.kind in ("Add", "Mul"):
        first, second = second, first
    if isinstance(first, Constant):
        return _from_constant(reader, first, second, node)
    if not isinstance(second, Constant):
        return _between(reader, first, second, node)
    if node.kind in ("Add", "Sub"):
        sign = 1 if node.kind == "Add" else -1
        if isinstance(first, RealInput):
            return _affine_input(first, ONE, sign * _single(first, second, node), node)
        return add_constant(reader, first, second, sign, node)
    values = second.values.astype(np.float64)
    if node.kind == "Div" and (values == 0).any():
        raise UnsupportedModel(f"{node.label}: divides by 0")
    if isinstance(first, RealInput):
        factor = _single(first, second, node)
        return _affine_input(first, factor if node.kind == "Mul" else 1 / factor, ZERO, node)
    if on_channels(first, values, node) is None:
        factors_line = constant_line(reader, first, second.values, node, inverse=node.kind == "Div")
        return elementwise.multiply(reader.walk, first, factors_line, node.site)
    factors = fractions_on_channels(first, values, node, "a factor")
    if node.kind == "Div":
        factors = tuple(1 / factor for factor in factors)
    return reader.walk.scaled(first, factors)


def _from_constant(reader: Reader, constant: Constant, value: Value, node: NodeView) -> Value:
    """``constant - x``; a quotient by a computed tensor is not supported."""
    if node.kind != "Sub":
        raise UnsupportedModel(f"{node.label}: divides by a computed tensor; supported are constant divisors")
    if isinstance(value, RealInput):
        return _affine_input(value, -ONE, _single(value, constant, node), node)
    line = reader.line(value, node)
    return add_constant(reader, reader.walk.scaled(line, [-ONE]), constant, 1, node)


def _single(value: RealInput, constant: Constant, node: NodeView) -> Fraction:
    values = set(fractions_on_channels(value, constant.values, node, "a constant"))
    if len(values) != 1:
        raise UnsupportedModel(
            f"{node.label}: treats the channels of a real input differently; give the input a type (--input-type), and this "
            "step is done in the graph"
        )
    return values.pop()


def _affine_input(value: RealInput, factor: Fraction, shift: Fraction, node: NodeView) -> RealInput:
    """``factor * value + shift`` of a real input, on the host."""
    if value.low is not None or value.high is not None or factor == 0:
        raise UnsupportedModel(
            f"{node.label}: computes with a clipped real input; give the input a type (--input-type), and this is done in "
            "the graph"
        )
    return replace(value, factor=value.factor * factor, shift=value.shift * factor + shift)


def add_constant(reader: Reader, line: Line, constant: Constant, sign: int, node: NodeView) -> Line:
    """A bias. One that is quantised on the accumulator's own step counts as integers of that step."""
    found = on_channels(line, constant.values, node)
    if found is None:
        other = constant_line(reader, line, constant.values, node)
        return elementwise.add(reader.walk, line, other, node.site, subtract=sign < 0)
    values = fractions_of(found)
    if constant.integers is not None and constant.scale is not None and not line.functions:
        integers = on_channels(line, constant.integers, node)
        scales = on_channels(line, np.broadcast_to(constant.scale, constant.values.shape), node)
        assert integers is not None
        assert scales is not None
        own, steps = line.spread(line.scale), fractions_of(scales)
        steps = steps * (len(own) // len(steps))
        if all(s > 0 and abs(step - s) <= s * SAME_SCALE for step, s in zip(steps, own, strict=True)):
            values = [int(i) * s for i, s in zip(integers.tolist() * (len(own) // len(integers)), own, strict=True)]
    return reader.walk.scaled(line, [ONE], [sign * value for value in values])


def _between(reader: Reader, first: Value, second: Value, node: NodeView) -> Line:
    """Two computed tensors."""
    a, b = reader.line(first, node), reader.line(second, node)
    if len(a.shape) != len(b.shape):
        raise UnsupportedModel(
            f"{node.label}: joins samples of {len(a.shape)} and {len(b.shape)} axes; supported is the same number"
        )
    b = laid_out(reader, b, axes_of(a), node)
    if node.kind in ("Add", "Sub"):
        return elementwise.add(reader.walk, a, b, node.site, subtract=node.kind == "Sub")
    if node.kind == "Div":
        raise UnsupportedModel(f"{node.label}: divides by a computed tensor; supported are constant divisors")
    return elementwise.multiply(reader.walk, a, b, node.site)


@handles("Sum", "Mean")
def _sum(reader: Reader, node: NodeView) -> Value:
    values = [node.value(i) for i in range(len(node.operands))]
    lines = [reader.line(value, node) for value in values if not isinstance(value, Constant)]
    if not lines:
        raise UnsupportedModel(
            f"{node.label}: works on constants only; supported is at least one tensor that the input reaches"
        )
    total = lines[0]
    for value in values:
        total = add_constant(reader, total, value, 1, node) if isinstance(value, Constant) else total
    for line in lines[1:]:
        total = elementwise.add(reader.walk, total, laid_out(reader, line, axes_of(total), node), node.site)
    return total if node.kind == "Sum" else reader.walk.scaled(total, [Fraction(1, len(values))])


@handles("Neg")
def _negative(reader: Reader, node: NodeView) -> Value:
    value = node.value(0)
    if isinstance(value, RealInput):
        return _affine_input(value, -ONE, ZERO, node)
    return reader.walk.scaled(reader.line(value, node), [-ONE])


@handles("BatchNormalization")
def _batch_norm(reader: Reader, node: NodeView) -> Value:
    """``(x - mean) * gamma / sqrt(variance + epsilon) + beta`` a channel of axis 1; the factor as its float64 value."""
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        node.constant(i + 1, what).values.astype(np.float64).reshape(-1) for i, what in enumerate(names)
    )
    if (variance < 0).any():
        raise UnsupportedModel(f"{node.label}: has a negative variance")
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    with np.errstate(invalid="ignore", divide="ignore"):
        factors = gamma / np.sqrt(variance + epsilon)
    if not np.isfinite(factors).all():
        raise UnsupportedModel(f"{node.label}: its factors gamma / sqrt(variance + epsilon) are not finite")
    exact = fractions_of(factors)
    shifts = [b - m * f for b, m, f in zip(fractions_of(beta), fractions_of(mean), exact, strict=True)]
    value = node.value(0)
    if isinstance(value, RealInput):
        if len(set(exact)) != 1 or len(set(shifts)) != 1:
            raise UnsupportedModel(
                f"{node.label}: treats the channels of a real input differently; give the input a type (--input-type), and "
                "this step is done in the graph"
            )
        return _affine_input(value, exact[0], shifts[0], node)
    line = reader.line(value, node)
    channels = len(exact)
    if len(line.shape) > 1 and axes_of(line)[0] != len(line.shape) - 1:
        line = channels_last(reader, line, node)
    if line.channels != channels:
        raise UnsupportedModel(f"{node.label}: {channels} channels for a sample with {line.channels}")
    return reader.walk.scaled(line, exact, shifts)
