# SPDX-License-Identifier: Apache-2.0
"""Constant: a tensor that is the same for every sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.ir.operation import Operation, binary_point, constant, operation, stored
from toolchain.ir.types import IntegerType, TensorType


@operation("constant")
@dataclass(frozen=True, eq=False)
class Constant(Operation):
    """The integers of `values`, the same for every sample.

    values: integers in the shape of a sample, one or more axes; the real value is ``values * 2**-fraction``.
    fraction: the result's binary point.
    """

    values: np.ndarray
    fraction: int = 0

    arity = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", constant(self.values, None, "values"))
        object.__setattr__(self, "fraction", binary_point(self.fraction, "fraction"))

    def infer(self, *inputs: TensorType) -> TensorType:
        element = IntegerType.spanning(int(self.values.min()), int(self.values.max()), self.fraction)
        return TensorType(self.values.shape, element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        return stored(self.values[None], self.infer().element)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        random = np.random.default_rng(6)
        yield cls(np.array([3, -4, 0]), 2), ()
        yield cls(random.integers(0, 9, (2, 3)), -1), ()
        yield cls(random.integers(-9, 9, (2, 1, 4))), ()
        yield cls(np.zeros(1, np.int64)), ()
        yield cls(np.array([1 << 70, -(1 << 70)], dtype=object), 60), ()
