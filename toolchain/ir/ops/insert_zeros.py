# SPDX-License-Identifier: Apache-2.0
"""InsertZeros: zeros between neighbours, which turns a transposed convolution into a convolution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, integers, operation, storage_dtype
from toolchain.ir.types import IntegerType, TensorType


@operation("insert_zeros")
@dataclass(frozen=True)
class InsertZeros(Operation):
    """``y[i * factors[0], j * factors[1], ...] = x[i, j, ...]``, and 0 everywhere else.

    factors: one per axis of the sample, 1 or more; `factor - 1` zeros stand between two neighbours, so that an axis of `size`
        becomes ``(size - 1) * factor + 1``.

    The result's interval includes 0 where any zero is put. A transposed convolution is this, `pad` by window - 1, and `conv`
    with the window mirrored.
    """

    factors: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", integers(self.factors, "factors", 1))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if len(self.factors) != len(x.shape):
            raise SpecViolation(f"factors {self.factors} must have one entry for each axis of the input's {x.shape}")
        shape = tuple((n - 1) * factor + 1 for n, factor in zip(x.shape, self.factors, strict=True))
        return TensorType(shape, x.element if shape == x.shape else x.element.including(0))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        result = self.infer(x_type)
        y: np.ndarray = np.zeros((len(x), *result.shape), storage_dtype(result.element))
        y[(slice(None), *(slice(None, None, factor) for factor in self.factors))] = x
        return y

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((2, 3, 2), IntegerType(True, 4, 1))
        yield cls((2, 3, 1)), (x,)
        yield cls((1, 1, 1)), (TensorType((2, 3, 2), IntegerType(False, 4, 1, 3, 9)),)
        yield cls((1, 1, 2)), (TensorType((2, 3, 2), IntegerType(False, 4, 1, 3, 9)),)
        yield cls((5,)), (TensorType((1,), IntegerType(False, 4, 1, 3, 9)),)
        yield cls((3,)), (TensorType((2,), IntegerType(True, 80, 0, -(1 << 70), -5)),)
