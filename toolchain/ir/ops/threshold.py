# SPDX-License-Identifier: Apache-2.0
"""Threshold: any non-decreasing step function of an integer, such as batch norm + activation + float-scale quantiser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import INT64_EXACT, Operation, constant, operation, stored
from toolchain.ir.types import IntegerType, TensorType

#: Up to this many thresholds, comparing with each of them is faster than searching.
_COMPARED = 32
#: Values that are compared in one go: they and the counts stay in the cache.
_PIECE_ELEMENTS = 1 << 15


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

    def bounds(self, element: IntegerType) -> tuple[int, int]:
        """The lowest and the highest threshold that hardware has to hold for inputs of a type.

        A threshold outside the input's interval is always or never reached: the nearest one that is so, too, does as well.
        """
        ends = element.minimum, element.maximum + 1
        low, high = (min(max(int(value), ends[0]), ends[1]) for value in (self.thresholds.min(), self.thresholds.max()))
        return low, high

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
        # Thresholds beyond the interval are never or always reached: clipping keeps them comparable in a narrow dtype.
        ends = (x_type.element.minimum, x_type.element.maximum + 1)
        if self.thresholds.dtype != object:
            ends = (max(ends[0], -INT64_EXACT), min(ends[1], INT64_EXACT - 1))
        thresholds = np.minimum(np.maximum(self.thresholds, ends[0]), ends[1])
        largest = x_type.element.magnitude + 1
        dtype = np.int32 if largest < 1 << 31 else np.int64 if largest < INT64_EXACT else object
        thresholds, rows = thresholds.astype(dtype), x.reshape(-1, x_type.channels)
        count = np.empty(rows.shape, dtype=np.int64)
        if thresholds.shape[1] <= _COMPARED and dtype is not object:
            _compare(rows, thresholds, count)
        elif len(thresholds) == 1:
            count[:] = np.searchsorted(thresholds[0], rows, side="right")
        else:
            for channel, row in enumerate(thresholds):
                count[:, channel] = np.searchsorted(row, rows[:, channel], side="right")
        return stored(count.reshape(x.shape) + self.offset, result)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        random = np.random.default_rng(3)
        x = TensorType((6,), IntegerType(True, 8, 4))
        for count in (1, 2, 3, 7, 15, 20):
            yield cls(np.sort(random.integers(-140, 140, (6, count)), axis=1), 0, 2), (x,)
        yield cls(np.sort(random.integers(-100, 100, (1, 15)), axis=1), -8, 3), (x,)
        yield cls(np.array([[-5, -5, 0, 7, 7, 7]]), -3, 0), (x,)
        yield cls(np.sort(random.integers(0, 40, (4, 3)), axis=1), 0), (TensorType((4,), IntegerType(False, 5)),)
        yield cls(np.sort(random.integers(-140, 140, (3, 40)), axis=1), 1), (TensorType((2, 3), IntegerType(True, 8)),)
        yield cls(np.sort(random.integers(-140, 140, (1, 40)), axis=1), 1), (TensorType((2, 3), IntegerType(True, 8)),)
        middle = (TensorType((2,), IntegerType(True, 40)),)
        yield cls(np.array([[-(1 << 32), 5, 1 << 31], [-(1 << 38), -1, (1 << 32) + 1]])), middle
        wide = (TensorType((2,), IntegerType(True, 80)),)
        yield cls(np.array([[-5, 0, 1 << 40], [-(1 << 62), 1, 2]])), wide
        yield cls(np.array([[-(1 << 70), 0, 1 << 78], [-(1 << 79), 1, 1 << 90]], dtype=object)), wide
        yield cls(np.array([[-(1 << 70), 0, (1 << 62)]], dtype=object)), (TensorType((2,), IntegerType(True, 63)),)


def _compare(rows: np.ndarray, thresholds: np.ndarray, count: np.ndarray) -> None:
    """Count by comparison with every threshold. rows and count: (rows, channels); thresholds: (channels or 1, at most 127)."""
    step = max(1, _PIECE_ELEMENTS // rows.shape[1])
    columns = np.ascontiguousarray(thresholds.T)
    for start in range(0, len(rows), step):
        piece = rows[start : start + step].astype(thresholds.dtype)
        reached = np.zeros(piece.shape, dtype=np.int8)
        for column in columns:
            reached += piece >= column
        count[start : start + step] = reached
