# SPDX-License-Identifier: Apache-2.0
"""Weights as a layer uses them: the quantiser itself runs on the stored values, and its float32 result becomes integers.

A quantiser gives ``scale * integer`` with one scale, or one for each index of its last axis. The step of the integers is
known from its settings and the scale that it chose, so the integers are found by division and checked:

- A scale that is a power of two: every weight is its integer times the step, exactly.
- Any other scale: the framework rounds each product ``scale * integer`` to float32, and its straight-through estimator
  (``x + (y - x)``) once more. The graph keeps the integer and the scale, both exact; the weights that the framework
  computes with lie within two float32 roundings of that, and `exact` says that they are not the same.
- A quantiser without a step (powers of two, curves): the float32 results themselves are binary fractions, on the finest of
  which all are integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.values import Weights, common_step, compact, fractions_of
from toolchain.frontends.qkeras_quantisers import check_settings, refuse, word_length
from toolchain.frontends.qkeras_runtime import import_qkeras

#: Bits that all weights of a layer may span together.
_MAXIMUM_SPAN_BITS = 64
#: How far a weight of a float scale may lie from its integer: two roundings to float32, each of half a unit in the last place.
_RELATIVE_ROUNDING = 2.0**-22


@dataclass(frozen=True)
class Quantised:
    """``values = integers * steps``, where `steps` (floats) broadcasts against the integers.

    exact: whether the framework's own weights are these very values. deviations: if not, how far each lies from its own integer,
        in steps.
    """

    integers: np.ndarray
    steps: np.ndarray
    exact: bool
    deviations: np.ndarray | None = None

    def transposed(self, *axes: int) -> Quantised:
        steps = self.steps.transpose(axes) if self.steps.ndim else self.steps
        off = None if self.deviations is None else self.deviations.transpose(axes)
        return Quantised(self.integers.transpose(axes), steps, self.exact, off)

    def reshaped(self, *shape: int) -> Quantised:
        """In another shape; the steps are spread over the whole of it first."""
        steps = np.broadcast_to(self.steps, self.integers.shape)
        off = None if self.deviations is None else self.deviations.reshape(shape)
        return Quantised(self.integers.reshape(shape), steps.reshape(shape), self.exact, off)

    def weights(self) -> Weights:
        """For a product whose outputs are the last axis: one step, or one an output."""
        outputs = self.integers.shape[-1]
        if (self.steps == 0).any():
            # A scale of 0 belongs to weights that are all 0: any other serves.
            steps = np.where(self.steps == 0, self.steps.max() or 1.0, self.steps)
            return replace(self, steps=steps).weights()
        if self.steps.size == 1:
            return Weights(self.integers, tuple(fractions_of(self.steps)), self.deviations)
        steps = np.broadcast_to(self.steps, self.integers.shape).reshape(-1, outputs)
        if (steps == steps[:1]).all():
            return Weights(self.integers, compact(fractions_of(steps[0])), self.deviations)
        # A scale for other axes than the outputs: whole multiples of a step that all have in common.
        known = {value: Fraction(float(value)) for value in np.unique(steps)}
        step = common_step(list(known.values()))
        multiples = np.array([(known[v] / step).numerator for v in steps.reshape(-1)], dtype=object)
        multiples = multiples.reshape(self.integers.shape)
        integers = self.integers.astype(object) * multiples
        small = max(abs(int(integers.max())), abs(int(integers.min()))) < 1 << 62
        off = None if self.deviations is None else self.deviations * multiples.astype(np.float64)
        return Weights(integers.astype(np.int64) if small else integers, (step,), off)


def framework_weights(quantiser: Any, values: Any, label: str) -> np.ndarray:
    """The quantiser's own float32 result for stored values, as float64. Raises UnsupportedModel."""
    check_settings(quantiser, label)
    kind = type(quantiser).__name__
    if kind == "quantized_bits" and isinstance(quantiser.alpha, str) and word_length(quantiser, label) == 1:
        refuse(label, kind, "alpha", quantiser.alpha, "a number where bits is 1 (there is no level to scale to)")
    try:
        result = np.asarray(quantiser(values), dtype=np.float64)
    except Exception as error:  # a quantiser may fail in its own way on shapes that it does not expect
        raise UnsupportedModel(f"{label}: {kind} fails on weights of shape {np.shape(values)}: {error}") from None
    if not np.isfinite(result).all():
        raise UnsupportedModel(f"{label}: {kind} gave weights that are not finite")
    return result


def quantised_weights(quantiser: Any, values: Any, label: str) -> Quantised:
    """Weights as the layer's call computes them at inference.

    quantiser: a QKeras quantiser object. values: float32, finite, in the shape in which the layer calls the quantiser.
    label: of the quantiser, for messages. Raises UnsupportedModel for a quantiser that is not supported on weights.
    """
    kind = type(quantiser).__name__
    result = framework_weights(quantiser, values, label)
    steps = _steps(quantiser, kind)
    if steps is None:
        return _on_finest_step(result, label)
    steps = np.broadcast_to(steps, (1,) * (result.ndim - steps.ndim) + steps.shape) if steps.ndim else steps
    with np.errstate(divide="ignore", invalid="ignore"):
        integers = np.rint(np.where(steps == 0, 0, result / np.where(steps == 0, 1, steps)))
    if np.abs(integers).max() >= 1 << 30:
        return _on_finest_step(result, label)
    exact = integers * steps == result
    if exact.all():
        return Quantised(integers.astype(np.int64), steps, True)
    if (np.frexp(steps)[0] == 0.5).all():
        # Values far beyond a power-of-two quantiser's range, where its own float32 arithmetic loses the step.
        return _on_finest_step(result, label)
    distance = np.abs(integers * steps - result)
    if (distance > _RELATIVE_ROUNDING * np.maximum(np.abs(result), np.abs(np.asarray(values)))).any():
        raise UnsupportedModel(f"{label}: {kind} gave weights that are not whole multiples of its scale")
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(steps == 0, 0, distance / np.where(steps == 0, 1, steps))
    return Quantised(integers.astype(np.int64), steps, False, deviations)


def _steps(quantiser: Any, kind: str) -> np.ndarray | None:
    """The step of the integers, broadcasting against the weights; None where there is no common one."""
    qkeras = import_qkeras()
    if isinstance(quantiser, qkeras.quantized_bits):
        unsigned = int(quantiser.bits) - bool(quantiser.keep_negative)
        integer = np.asarray(quantiser.integer, dtype=np.float64)
        step = 2.0 ** (integer - unsigned) if unsigned else np.float64(1.0)
        return np.asarray(step * _scale(quantiser), dtype=np.float64)
    if isinstance(quantiser, (qkeras.binary, qkeras.ternary)):
        return _scale(quantiser)
    return None


def _scale(quantiser: Any) -> np.ndarray:
    scale = 1.0 if quantiser.scale is None else quantiser.scale
    # The layer multiplies in float32: a Python number is rounded to it first.
    return np.asarray(np.asarray(scale, dtype=np.float32), dtype=np.float64)


def _on_finest_step(values: np.ndarray, label: str) -> Quantised:
    """Float32 values as integers on the finest binary step among them."""
    mantissas, exponents = np.frexp(values)
    whole = (mantissas * 2.0**53).astype(np.int64)
    # Trailing zeros of the 53-bit mantissa: the lowest set bit is 2**zeros.
    lowest = np.where(whole == 0, 1, whole & -whole)
    finest = exponents - 53 + np.rint(np.log2(lowest.astype(np.float64))).astype(np.int64)
    used = whole != 0
    if not used.any():
        return Quantised(np.zeros(values.shape, np.int64), np.array(1.0), True)
    exponent = int(finest[used].min())
    span = int(exponents[used].max()) - exponent
    if span > _MAXIMUM_SPAN_BITS:
        raise UnsupportedModel(
            f"{label}: its weights span {span} bits, from 2**{exponent} to 2**{int(exponents[used].max())}; supported are "
            f"{_MAXIMUM_SPAN_BITS}. Fewer bits in the quantiser bound the exponents"
        )
    scaled = np.ldexp(values, -exponent)
    integers = scaled.astype(np.int64) if span < 62 else np.frompyfunc(int, 1, 1)(scaled)
    return Quantised(integers, np.ldexp(1.0, exponent).reshape(()), True)
