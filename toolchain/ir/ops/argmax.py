# SPDX-License-Identifier: Apache-2.0
"""ArgMax: the index of the largest channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.ir.operation import Operation, operation
from toolchain.ir.types import IntegerType, TensorType


@operation("argmax")
@dataclass(frozen=True)
class ArgMax(Operation):
    """``y[..., 0] = min{c : x[..., c] = max(x)}``: ties go to the lowest index, as in NumPy. The last axis becomes 1."""

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        return TensorType((*x.shape[:-1], 1), IntegerType.spanning(0, x.channels - 1))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,) = inputs
        return np.argmax(x, axis=-1, keepdims=True).astype(np.int64)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        for channels in (1, 2, 5, 10):
            yield cls(), (TensorType((channels,), IntegerType(True, 3, 1)),)
        yield cls(), (TensorType((8,), IntegerType(False, 2)),)
