# SPDX-License-Identifier: Apache-2.0
"""Uniform formats, and the step that a range of values asks for."""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp

import numpy as np

#: Steps that are tried below the one that clips nothing, in powers of two, and how many between two of them where any is allowed.
_OCTAVES, _BETWEEN = 6, 16
#: The step of values that are all zero, and the range of steps that a float32 product of two of them can hold.
_SMALLEST_EXPONENT, _LARGEST_EXPONENT = -40, 40


@dataclass(frozen=True)
class Format:
    """Integers from `lowest` to `highest`, each standing for ``integer * step``; step is a float32 number.

    Weights have a symmetric range, activations the whole one; neither has a zero point.
    """

    bits: int
    signed: bool
    step: float = 1.0
    is_symmetric: bool = False

    @property
    def lowest(self) -> int:
        return -(1 << (self.bits - 1)) + self.is_symmetric if self.signed else 0

    @property
    def highest(self) -> int:
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def storage(self) -> str:
        """The ONNX integer type that holds the integers."""
        return f"{'' if self.signed else 'u'}int{8 if self.bits <= 8 else 16}"

    def integers(self, values: np.ndarray) -> np.ndarray:
        """Values as float32 arithmetic quantises them: ``clip(round_half_even(x / step))``."""
        steps = np.rint(values.astype(np.float32) / np.float32(self.step))
        return np.clip(steps, self.lowest, self.highest).astype(np.int64)

    def squared_error(self, values: np.ndarray, step: float) -> float:
        """The sum over all values of the squared distance to what they become with another step."""
        real = values.astype(np.float64)
        steps = np.clip(np.rint(real / step), self.lowest, self.highest)
        return float(np.square(steps * step - real).sum())


def covering_step(kind: Format, low: float, high: float, *, power_of_two: bool) -> float:
    """The smallest step with which no value from `low` to `high` moves by more than half a step.

    power_of_two: only such steps, else float32 numbers.
    """
    needed = max(high / (kind.highest + 0.5), low / (kind.lowest - 0.5) if kind.signed else 0.0)
    if needed <= 2.0**_SMALLEST_EXPONENT:
        return 2.0 ** (1 - kind.bits)
    if needed >= 2.0**_LARGEST_EXPONENT:
        return 2.0**_LARGEST_EXPONENT
    if power_of_two:
        mantissa, exponent = frexp(needed)
        return 2.0 ** (exponent - (mantissa == 0.5))
    # Without the half step: then the ends themselves are steps, and a float32 rounding cannot clip them.
    step = max(high / kind.highest, low / kind.lowest if kind.signed else 0.0)
    return float(np.float32(step))


def candidates(largest: float, *, power_of_two: bool) -> list[float]:
    """Steps to try for the least error, from the one that clips nothing downwards."""
    if power_of_two:
        return [largest * 2.0**-octave for octave in range(_OCTAVES + 1)]
    count = _OCTAVES * _BETWEEN
    return [float(np.float32(largest * 2.0 ** (-i / _BETWEEN))) for i in range(count + 1)]


def best_step(kind: Format, values: np.ndarray, *, power_of_two: bool) -> float:
    """The step of the least squared error for constant values; of equals the largest."""
    largest = covering_step(kind, float(values.min()), float(values.max()), power_of_two=power_of_two)
    return min(
        candidates(largest, power_of_two=power_of_two), key=lambda step: (kind.squared_error(values, step), -step)
    )
