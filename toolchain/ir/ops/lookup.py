# SPDX-License-Identifier: Apache-2.0
"""Lookup: any function of an integer, by a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, binary_point, constant, integer, operation, stored
from toolchain.ir.types import IntegerType, TensorType


@operation("lookup")
@dataclass(frozen=True, eq=False)
class Lookup(Operation):
    """``y[..., c] = table[c, x[..., c] - first]``: any function of a value, as a table that covers the input's interval.

    table: integers of shape (channels or 1, entries); one row serves all channels.
    first: the integer, at the input's binary point, to which the first entry belongs.
    fraction: the result's binary point.

    The result's interval is that of the entries which the input's interval reaches.
    """

    table: np.ndarray
    first: int
    fraction: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", constant(self.table, 2, "table"))
        object.__setattr__(self, "first", integer(self.first, "first"))
        object.__setattr__(self, "fraction", binary_point(self.fraction, "fraction"))

    def reachable(self, element: IntegerType) -> np.ndarray:
        """The part of the table that inputs of type `element` can reach, from the interval's minimum on."""
        last = self.first + self.table.shape[1] - 1
        if element.minimum < self.first or element.maximum > last:
            raise SpecViolation(
                f"the table covers [{self.first}, {last}], the input's interval is [{element.minimum}, {element.maximum}]"
            )
        return self.table[:, element.minimum - self.first : element.maximum - self.first + 1]

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if len(self.table) not in (1, x.channels):
            raise SpecViolation(
                f"the table has {len(self.table)} channels, the input's last axis has {x.channels}; allowed: 1 or that"
            )
        values = self.reachable(x.element)
        return TensorType(x.shape, IntegerType.spanning(int(values.min()), int(values.max()), self.fraction))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        # An interval that a table covers is short, wherever it lies: positions in it fit into 63 bits.
        position = (x - x_type.element.minimum).astype(np.int64)
        values = self.reachable(x_type.element)
        channel = np.arange(x_type.channels) if len(values) > 1 else np.zeros(1, np.int64)
        return stored(values[channel, position], self.infer(x_type).element)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        random = np.random.default_rng(5)
        x = TensorType((2, 3), IntegerType(True, 4, 1))
        yield cls(random.integers(-9, 9, (1, 16)), -8, 2), (x,)
        yield cls(random.integers(-9, 9, (3, 16)), -8, -1), (x,)
        yield cls(random.integers(-9, 9, (3, 40)), -20), (x,)
        yield cls(np.array([[7]]), 5), (TensorType((3,), IntegerType(False, 4, 0, 5, 5)),)
        yield (
            cls(np.array([[1 << 70, 3, -(1 << 80), 0]], dtype=object), 0, 60),
            (TensorType((3,), IntegerType(False, 2)),),
        )
        # Only entries of few bits can be reached; then values of many bits.
        yield cls(np.array([[1 << 70, 3, -4, 0]], dtype=object), -1), (TensorType((3,), IntegerType(False, 1)),)
        far = IntegerType(True, 80, 0, 1 << 70, (1 << 70) + 5)
        yield cls(random.integers(-9, 9, (3, 8)), (1 << 70) - 1), (TensorType((2, 3), far),)
