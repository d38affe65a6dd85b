# SPDX-License-Identifier: Apache-2.0
"""Threshold: any non-decreasing step function of an integer, such as batch norm + activation + float-scale quantiser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, constant, operation, storage_dtype, stored
from toolchain.ir.types import IntegerType, TensorType


@operation("threshold")
@dataclass(frozen=True, eq=False)
class Threshold(Operation):
    """``y[..., c] = offset + #{t : thresholds[c, t] <= x[..., c]}``: the count of thresholds not above the value.

    thresholds: integers of shape (channels or 1, count) at the input's binary point, ascending along the count
        axis; one row serves all channels. Equal thresholds make a step of more than one.
    offset: the result where no threshold is reached. fraction: the result's binary point.
    """

    thresholds: np.ndarray
    offset: int = 0
    fraction: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", constant(self.thresholds, 2, "thresholds"))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        rows, count = self.thresholds.shape
        if rows not in (1, x.channels):
            raise SpecViolation(
                f"thresholds have {rows} channels, the input's last axis has {x.channels}; allowed: 1 or that"
            )
        if (self.thresholds[:, 1:] < self.thresholds[:, :-1]).any():
            raise SpecViolation("thresholds must ascend along their last axis")
        lowest = int((self.thresholds <= x.element.minimum).sum(axis=1).min())
        highest = int((self.thresholds <= x.element.maximum).sum(axis=1).max())
        # The word holds every count, reachable or not; the interval is what can be reached.
        word = IntegerType.spanning(self.offset, self.offset + count, self.fraction)
        element = IntegerType(word.signed, word.width, self.fraction, self.offset + lowest, self.offset + highest)
        return TensorType(x.shape, element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        result = self.infer(x_type).element
        # Beyond-the-interval thresholds are never or always reached: clipping keeps them comparable in int64.
        thresholds = self.thresholds
        if thresholds.dtype == object and storage_dtype(x_type.element) is not object:
            clipped = np.minimum(np.maximum(thresholds, x_type.element.minimum), x_type.element.maximum + 1)
            if int(clipped.max()) < 1 << 63:
                thresholds = clipped.astype(np.int64)
        count = np.empty(x.shape, dtype=np.int64)
        for channel in range(x.shape[-1]):
            row = thresholds[channel if len(thresholds) > 1 else 0]
            count[..., channel] = np.searchsorted(row, x[..., channel], side="right")
        return stored(count + self.offset, result)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        random = np.random.default_rng(3)
        x = TensorType((6,), IntegerType(True, 8, 4))
        for count in (1, 2, 3, 7, 15, 20):
            yield cls(np.sort(random.integers(-140, 140, (6, count)), axis=1), 0, 2), (x,)
        yield cls(np.sort(random.integers(-100, 100, (1, 15)), axis=1), -8, 3), (x,)
        yield cls(np.array([[-5, -5, 0, 7, 7, 7]]), -3, 0), (x,)
        yield cls(np.sort(random.integers(0, 40, (4, 3)), axis=1), 0), (TensorType((4,), IntegerType(False, 5)),)
