# SPDX-License-Identifier: Apache-2.0
"""Dense: matrix product with constant weights, exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, binary_point, constant, operation, stored
from toolchain.ir.products import WeightedSums, product_dtype
from toolchain.ir.types import IntegerType, TensorType


@operation("dense")
@dataclass(frozen=True, eq=False)
class Dense(WeightedSums):
    """``y[..., o] = sum_i x[..., i] * weights[i, o]`` over the last axis, without loss.

    weights: integers of shape (inputs, outputs); the real weight is ``weights * 2**-weight_fraction``.

    The result's fraction is the sum of both fractions; its interval is what these weights can reach for any input in
    the input's interval.
    """

    weights: np.ndarray
    weight_fraction: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", constant(self.weights, 2, "weights"))
        object.__setattr__(self, "weight_fraction", binary_point(self.weight_fraction, "weight_fraction"))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if x.channels != self.weights.shape[0]:
            raise SpecViolation(f"weights take {self.weights.shape[0]} inputs, the input's last axis has {x.channels}")
        return TensorType((*x.shape[:-1], self.weights.shape[1]), self.result_element(x.element))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        dtype = product_dtype(self.bound(x_type.element))
        return stored(x.astype(dtype, copy=False) @ self.weights.astype(dtype), self.result_element(x_type.element))

    def multiplications(self, *types: TensorType) -> int:
        (x,) = types
        return x.size * self.weights.shape[1]

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
