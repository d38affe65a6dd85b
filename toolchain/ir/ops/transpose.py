# SPDX-License-Identifier: Apache-2.0
"""Transpose: the axes of a sample in another order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, integers, operation
from toolchain.ir.types import IntegerType, TensorType


@operation("transpose")
@dataclass(frozen=True)
class Transpose(Operation):
    """The axes of the sample in another order: axis a of the result is the input's axis `permutation[a]`.

    permutation: each axis of the sample once, 0 is the first.
    """

    permutation: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "permutation", integers(self.permutation, "permutation", 0))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if sorted(self.permutation) != list(range(len(x.shape))):
            raise SpecViolation(
                f"permutation {self.permutation} must hold each of the {len(x.shape)} axes of the input's {x.shape} once"
            )
        return TensorType(tuple(x.shape[axis] for axis in self.permutation), x.element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,) = inputs
        return x.transpose(0, *(axis + 1 for axis in self.permutation))

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((2, 3, 4), IntegerType(True, 4, 1))
        yield cls((2, 0, 1)), (x,)
        yield cls((0, 1, 2)), (x,)
        yield cls((1, 0)), (TensorType((2, 3), IntegerType(True, 80)),)
