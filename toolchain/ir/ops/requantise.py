# SPDX-License-Identifier: Apache-2.0
"""Requantise: to another binary point and width, with a named rounding and a named overflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, operation, stored, working
from toolchain.ir.rounding import Overflow, Rounding, fit, round_shift
from toolchain.ir.types import IntegerType, TensorType


@operation("requantise")
@dataclass(frozen=True)
class Requantise(Operation):
    """``y = overflow(round(x * 2**(target.fraction - x.fraction)))``, element by element.

    target: the result's type. Saturation goes to the ends of its interval, so an interval of [-n, n] saturates
    symmetrically; the wrapping modes need the full range of the width.
    """

    target: IntegerType
    rounding: Rounding = Rounding.TRUNCATE
    overflow: Overflow = Overflow.WRAP

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        wraps = self.overflow in (Overflow.WRAP, Overflow.WRAP_SIGN_MAGNITUDE)
        if wraps and not self.target.is_full_range:
            raise SpecViolation(f"overflow '{self.overflow.value}' needs a full-range target, found {self.target}")
        if self.overflow is Overflow.WRAP_SIGN_MAGNITUDE and not self.target.signed:
            raise SpecViolation("overflow 'wrap_sign_magnitude' needs a signed target")
        if self.overflow is Overflow.SATURATE_ZERO and not self.target.minimum <= 0 <= self.target.maximum:
            raise SpecViolation(f"overflow 'saturate_zero' needs 0 in the target's interval, found {self.target}")
        # Rounding is monotonic, so the ends of the input's interval bound every rounded value.
        ends = np.array([x.element.minimum, x.element.maximum], dtype=object)
        low, high = (int(v) for v in round_shift(ends, self.shift(x.element), self.rounding))
        if self.target.minimum <= low and high <= self.target.maximum:
            return TensorType(x.shape, replace(self.target, minimum=low, maximum=high))
        if self.overflow is Overflow.SATURATE:
            low, high = (min(max(v, self.target.minimum), self.target.maximum) for v in (low, high))
            return TensorType(x.shape, replace(self.target, minimum=low, maximum=high))
        return TensorType(x.shape, self.target)

    def shift(self, element: IntegerType) -> int:
        """Bits dropped (positive) or appended (negative) at the low end."""
        return element.fraction - self.target.fraction

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        shift = self.shift(x_type.element)
        # Covers 2**shift (compared with remainders), the left-shifted value and the interval's ends.
        bound = max(x_type.element.magnitude << max(0, -shift), 1 << (max(0, shift) + 1), 1 << (self.target.width + 1))
        rounded = round_shift(working(x, bound), shift, self.rounding)
        return stored(fit(rounded, self.target, self.overflow), self.infer(x_type).element)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        wide = (TensorType((7,), IntegerType(True, 9, 5)),)
        for rounding in Rounding:
            yield cls(IntegerType(True, 6, 2), rounding, Overflow.SATURATE), wide
        for overflow in Overflow:
            yield cls(IntegerType(True, 4, 3), Rounding.HALF_EVEN, overflow), wide
        yield cls(IntegerType(True, 4, 3, -7, 7), Rounding.HALF_EVEN, Overflow.SATURATE), wide
        yield cls(IntegerType(False, 4, 2), Rounding.HALF_EVEN, Overflow.SATURATE), wide
        yield cls(IntegerType(False, 4, 2), Rounding.TRUNCATE, Overflow.WRAP), wide
        yield cls(IntegerType(True, 12, 8), Rounding.HALF_UP, Overflow.SATURATE), wide
        yield cls(IntegerType(False, 1, -6), Rounding.HALF_AWAY, Overflow.SATURATE), wide
        yield cls(IntegerType(True, 3, -20), Rounding.CEILING, Overflow.WRAP), wide
        narrow = (TensorType((3,), IntegerType(False, 6, 6)),)
        yield cls(IntegerType(False, 3, 3), Rounding.HALF_UP, Overflow.SATURATE_ZERO), narrow
        yield cls(IntegerType(True, 3, 3), Rounding.HALF_EVEN, Overflow.WRAP), narrow
        yield (
            cls(IntegerType(True, 20, 10), Rounding.HALF_EVEN, Overflow.SATURATE),
            (TensorType((2,), IntegerType(True, 80, 60)),),
        )
