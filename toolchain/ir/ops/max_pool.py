# SPDX-License-Identifier: Apache-2.0
"""MaxPool: the largest value under a sliding window, channel by channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.ir.operation import Operation, integers, operation
from toolchain.ir.types import IntegerType, TensorType
from toolchain.ir.windows import window_positions, window_taps


@operation("max_pool")
@dataclass(frozen=True)
class MaxPool(Operation):
    """``y[p, c] = max_k x[p * strides + k * dilation, c]`` over all axes before the channels, nothing padded.

    window, strides, dilation: one entry per spatial axis, 1 or more; a dilation of () is 1 everywhere. An axis of `size` has
        ``(size - (window - 1) * dilation - 1) // strides + 1`` positions p.
    """

    window: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for label in ("window", "strides", "dilation"):
            object.__setattr__(self, label, integers(getattr(self, label), label, 1))

    @property
    def steps(self) -> tuple[int, ...]:
        """The dilation along each spatial axis."""
        return self.dilation or (1,) * len(self.window)

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        positions = window_positions(x.shape, self.window, self.strides, self.steps)
        return TensorType((*positions, x.channels), x.element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,) = inputs
        y: np.ndarray | None = None
        for _, tap in window_taps(x, self.window, self.strides, self.steps):
            y = tap.copy() if y is None else np.maximum(y, tap, out=y)
        assert y is not None
        return y

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((6, 5, 2), IntegerType(True, 4, 1))
        yield cls((2, 2), (2, 2)), (x,)
        yield cls((3, 2), (1, 3)), (x,)
        yield cls((2, 3), (1, 1), (3, 2)), (x,)
        yield cls((6, 5), (1, 1)), (x,)
        yield cls((1, 1), (4, 2)), (x,)
        yield cls((3,), (2,)), (TensorType((8, 3), IntegerType(False, 5, 2, 3, 20)),)
        yield cls((2, 1, 2), (1, 1, 2)), (TensorType((3, 2, 4, 2), IntegerType(True, 3)),)
        yield cls((2,), (1,)), (TensorType((4, 2), IntegerType(True, 80)),)
