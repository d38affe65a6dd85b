# SPDX-License-Identifier: Apache-2.0
"""SumPool: the sum of the values under a sliding window, channel by channel. An average is a sum with another scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.ir.operation import Operation, integers, operation, stored, working
from toolchain.ir.types import IntegerType, TensorType
from toolchain.ir.windows import window_positions, window_taps


@operation("sum_pool")
@dataclass(frozen=True)
class SumPool(Operation):
    """``y[p, c] = sum_k x[p * strides + k, c]`` over all axes before the channels, nothing padded, without loss.

    window, strides: one entry per spatial axis, 1 or more. An axis of `size` has ``(size - window) // strides + 1`` positions p.

    An average is this sum with another scale.
    """

    window: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        for label in ("window", "strides"):
            object.__setattr__(self, label, integers(getattr(self, label), label, 1))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        positions = window_positions(x.shape, self.window, self.strides, (1,) * len(self.window))
        count = prod(self.window)
        element = IntegerType.spanning(count * x.element.minimum, count * x.element.maximum, x.element.fraction)
        return TensorType((*positions, x.channels), element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        result = self.infer(x_type).element
        x = working(x, x_type.element.magnitude * prod(self.window))
        y: np.ndarray | None = None
        for _, tap in window_taps(x, self.window, self.strides, (1,) * len(self.window)):
            y = tap.copy() if y is None else np.add(y, tap, out=y)
        assert y is not None
        return stored(y, result)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((6, 5, 2), IntegerType(True, 4, 1))
        yield cls((2, 2), (2, 2)), (x,)
        yield cls((3, 2), (1, 3)), (x,)
        yield cls((6, 5), (1, 1)), (x,)
        yield cls((1, 1), (4, 2)), (x,)
        yield cls((3,), (2,)), (TensorType((8, 3), IntegerType(False, 5, 2, 3, 20)),)
        yield cls((4,), (1,)), (TensorType((6, 2), IntegerType(True, 63, 10)),)
        yield cls((2,), (1,)), (TensorType((4, 2), IntegerType(True, 80)),)
