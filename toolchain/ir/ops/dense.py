# SPDX-License-Identifier: Apache-2.0
"""Dense: matrix product with constant weights, exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import (
    FLOAT32_EXACT,
    FLOAT64_EXACT,
    Operation,
    constant,
    operation,
    stored,
    working,
)
from toolchain.ir.types import IntegerType, TensorType


@operation("dense")
@dataclass(frozen=True, eq=False)
class Dense(Operation):
    """``y[..., o] = sum_i x[..., i] * weights[i, o]`` over the last axis, without loss.

    weights: integers of shape (inputs, outputs); the real weight is ``weights * 2**-weight_fraction``.
    The result's fraction is the sum of both fractions; its interval is what these weights can reach for any input in
    the input's interval.
    """

    weights: np.ndarray
    weight_fraction: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", constant(self.weights, 2, "weights"))

    @cached_property
    def weight_type(self) -> IntegerType:
        """The narrowest type that holds all weights."""
        return IntegerType.spanning(int(self.weights.min()), int(self.weights.max()), self.weight_fraction)

    @cached_property
    def largest_sum(self) -> int:
        """Largest sum of the absolute weights of one output, at least 1."""
        magnitude = self.weight_type.magnitude
        absolute = np.abs(working(self.weights, magnitude * self.weights.shape[0]))
        return max(1, int(absolute.sum(axis=0).max()))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if x.channels != self.weights.shape[0]:
            raise SpecViolation(f"weights take {self.weights.shape[0]} inputs, the input's last axis has {x.channels}")
        low, high = self.reachable(x.element)
        element = IntegerType.spanning(min(low), max(high), x.element.fraction + self.weight_fraction)
        return TensorType((*x.shape[:-1], self.weights.shape[1]), element)

    def reachable(self, element: IntegerType) -> tuple[list[int], list[int]]:
        """(lowest, highest) sum of each output for inputs anywhere in `element`'s interval."""
        weights = working(self.weights, self.largest_sum * max(1, element.magnitude))
        positive = np.where(weights > 0, weights, 0).sum(axis=0)
        negative = np.where(weights < 0, weights, 0).sum(axis=0)
        low = positive * element.minimum + negative * element.maximum
        high = positive * element.maximum + negative * element.minimum
        return [int(v) for v in low], [int(v) for v in high]

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        result = self.infer(x_type).element
        # No partial sum, in whatever order, exceeds this.
        bound = self.largest_sum * x_type.element.magnitude
        if bound <= FLOAT64_EXACT:
            dtype = np.float32 if bound <= FLOAT32_EXACT else np.float64
            return stored(x.astype(dtype) @ self.weights.astype(dtype), result)
        return stored(working(x, bound) @ working(self.weights, bound), result)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        random = np.random.default_rng(1)
        yield cls(random.integers(-31, 32, (8, 6)), 5), (TensorType((8,), IntegerType(False, 6, 4)),)
        yield cls(random.integers(-8, 8, (12, 4)), 3), (TensorType((12,), IntegerType(True, 4, 2)),)
        yield cls(random.integers(-1, 2, (5, 1)), 0), (TensorType((5,), IntegerType(True, 1)),)
        yield cls(random.integers(0, 2, (1, 3)), -1), (TensorType((1,), IntegerType(False, 1)),)
        yield cls(np.zeros((4, 2), np.int64), 2), (TensorType((4,), IntegerType(True, 3)),)
        yield cls(random.integers(-(1 << 15), 1 << 15, (16, 4)), 15), (TensorType((16,), IntegerType(True, 16, 15)),)
        yield cls(random.integers(-(1 << 30), 1 << 30, (4, 2)), 30), (TensorType((4,), IntegerType(True, 30, 15)),)
