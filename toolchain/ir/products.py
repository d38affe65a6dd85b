# SPDX-License-Identifier: Apache-2.0
"""What sums of products with constant weights have in common: their bounds, and the arithmetic in which they are exact."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from toolchain.ir.operation import FLOAT32_EXACT, FLOAT64_EXACT, INT64_EXACT, Operation, working
from toolchain.ir.types import IntegerType


def product_dtype(bound: int) -> type:
    """The fastest dtype in which a sum of products is exact in any order, if no partial sum and no operand exceeds `bound`.

    float32 and float64 go through BLAS; beyond them int64, and object (Python integers) beyond 63 bits.
    """
    if bound <= FLOAT32_EXACT:
        return np.float32
    if bound <= FLOAT64_EXACT:
        return np.float64
    return np.int64 if bound < INT64_EXACT else object


class WeightedSums(Operation):
    """Base of operations whose result channels are sums of inputs times constant `weights`, result channels last."""

    weights: np.ndarray
    weight_fraction: int

    @cached_property
    def weight_type(self) -> IntegerType:
        """The narrowest type that holds all weights."""
        return IntegerType.spanning(int(self.weights.min()), int(self.weights.max()), self.weight_fraction)

    @cached_property
    def largest_sum(self) -> int:
        """Largest sum of the absolute weights of one output, at least 1."""
        positive, negative = self._sums
        return max(1, int((positive - negative).max()))

    @cached_property
    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """(sum of the positive weights, sum of the negative weights) of each output, as Python integers."""
        columns = self.weights.reshape(-1, self.weights.shape[-1])
        columns = working(columns, self.weight_type.magnitude * len(columns))
        return (np.maximum(columns, 0).sum(axis=0).astype(object), np.minimum(columns, 0).sum(axis=0).astype(object))

    def reachable(self, element: IntegerType) -> tuple[list[int], list[int]]:
        """(lowest, highest) sum of each output for inputs anywhere in `element`'s interval."""
        positive, negative = self._sums
        low = positive * element.minimum + negative * element.maximum
        high = positive * element.maximum + negative * element.minimum
        return [int(v) for v in low], [int(v) for v in high]

    def bound(self, element: IntegerType) -> int:
        """What no input, no weight and no partial sum, taken in any order, exceeds in magnitude."""
        return self.largest_sum * max(1, element.magnitude)

    def result_element(self, element: IntegerType) -> IntegerType:
        """The type of the sums, for inputs of type `element`."""
        low, high = self.reachable(element)
        return IntegerType.spanning(min(low), max(high), element.fraction + self.weight_fraction)
