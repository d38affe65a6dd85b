# SPDX-License-Identifier: Apache-2.0
"""Relu: the rectifier and its forms (upper bound, leaky with a power-of-two slope), exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, operation, stored, working
from toolchain.ir.types import IntegerType, TensorType


@operation("relu")
@dataclass(frozen=True)
class Relu(Operation):
    """``y = min(x if x >= 0 else slope * x, upper_bound)`` element by element.

    negative_slope_shift: None for a slope of 0 (plain rectifier); k >= 0 for a slope of ``2**-k``, and the result
        then has k more fraction bits.
    upper_bound: None, or an integer at the result's binary point, at least 0.
    """

    negative_slope_shift: int | None = None
    upper_bound: int | None = None

    def _apply(self, x: np.ndarray) -> np.ndarray:
        if self.negative_slope_shift is None:
            y = np.maximum(x, 0)
        else:
            y = np.where(x >= 0, x << self.negative_slope_shift, x).astype(x.dtype)
        return y if self.upper_bound is None else np.minimum(y, self.upper_bound)

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if self.negative_slope_shift is not None and not 0 <= self.negative_slope_shift <= 64:
            raise SpecViolation(f"negative_slope_shift must be None or 0 to 64, found {self.negative_slope_shift}")
        if self.upper_bound is not None and self.upper_bound < 0:
            raise SpecViolation(f"upper_bound must be None or at least 0, found {self.upper_bound}")
        low, high = (int(v) for v in self._apply(np.array([x.element.minimum, x.element.maximum], dtype=object)))
        return TensorType(
            x.shape, IntegerType.spanning(low, high, x.element.fraction + (self.negative_slope_shift or 0))
        )

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        bound = max(x_type.element.magnitude << (self.negative_slope_shift or 0), self.upper_bound or 0)
        return stored(self._apply(working(x, bound)), self.infer(x_type).element)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        signed = (TensorType((5,), IntegerType(True, 6, 3)),)
        for slope in (None, 0, 2, 5):
            for bound in (None, 0, 9):
                yield cls(slope, bound), signed
        yield cls(None, 6), (TensorType((5,), IntegerType(False, 4, 1)),)
