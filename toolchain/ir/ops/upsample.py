# SPDX-License-Identifier: Apache-2.0
"""Upsample: every element repeated along each axis (nearest neighbour)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, integers, operation
from toolchain.ir.types import IntegerType, TensorType


@operation("upsample")
@dataclass(frozen=True)
class Upsample(Operation):
    """``y[i, j, ...] = x[i // factors[0], j // factors[1], ...]``: each element is repeated (nearest neighbour).

    factors: one per axis of the sample, 1 or more.
    """

    factors: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", integers(self.factors, "factors", 1))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if len(self.factors) != len(x.shape):
            raise SpecViolation(f"factors {self.factors} must have one entry for each axis of the input's {x.shape}")
        return TensorType(tuple(n * factor for n, factor in zip(x.shape, self.factors, strict=True)), x.element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,) = inputs
        for axis, factor in enumerate(self.factors, start=1):
            if factor > 1:
                x = np.repeat(x, factor, axis=axis)
        return x

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((2, 3, 2), IntegerType(True, 4, 1))
        yield cls((2, 3, 1)), (x,)
        yield cls((1, 1, 1)), (x,)
        yield cls((1, 2, 4)), (x,)
        yield cls((3,)), (TensorType((2,), IntegerType(True, 80)),)
