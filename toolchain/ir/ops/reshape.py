# SPDX-License-Identifier: Apache-2.0
"""Reshape: another shape for the same elements in the same order (flatten is a reshape to one axis)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, operation
from toolchain.ir.types import IntegerType, TensorType


@operation("reshape")
@dataclass(frozen=True)
class Reshape(Operation):
    """The elements in row-major order (last axis fastest), in `shape`; the batch axis is kept."""

    shape: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if prod(self.shape) != x.size:
            raise SpecViolation(f"cannot reshape {x.size} elements of shape {x.shape} into {self.shape}")
        return TensorType(self.shape, x.element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,) = inputs
        return x.reshape((x.shape[0], *self.shape))

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((2, 3, 4), IntegerType(True, 5, 1))
        yield cls((24,)), (x,)
        yield cls((4, 6)), (x,)
