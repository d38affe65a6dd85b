# SPDX-License-Identifier: Apache-2.0
"""TopK: the indices of the k largest channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, integers, operation
from toolchain.ir.types import IntegerType, TensorType


@operation("top_k")
@dataclass(frozen=True)
class TopK(Operation):
    """The indices of the k largest values along the last axis, the largest first; of equal values the lower index comes first.

    k: 1 to the size of the last axis, which becomes k. With k = 1 this is `argmax`.
    """

    k: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", *integers((self.k,), "k", 1))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if self.k > x.channels:
            raise SpecViolation(f"k must be 1 to {x.channels}, the size of the input's last axis, found {self.k}")
        return TensorType((*x.shape[:-1], self.k), IntegerType.spanning(0, x.channels - 1))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,) = inputs
        return np.argsort(-x, axis=-1, kind="stable")[..., : self.k].astype(np.int64, copy=False)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        for channels, k in ((5, 3), (5, 5), (4, 1), (1, 1)):
            yield cls(k), (TensorType((channels,), IntegerType(True, 3, 1)),)
        yield cls(2), (TensorType((2, 8), IntegerType(False, 2)),)
        yield cls(2), (TensorType((3,), IntegerType(True, 80)),)
