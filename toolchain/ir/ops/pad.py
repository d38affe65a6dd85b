# SPDX-License-Identifier: Apache-2.0
"""Pad: a border of one constant value around each sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, integer, integers, operation, storage_dtype
from toolchain.ir.types import IntegerType, TensorType


@operation("pad")
@dataclass(frozen=True)
class Pad(Operation):
    """The input with `widths[a][0]` elements before it and `widths[a][1]` after it along each axis a, all of them `value`.

    widths: (before, after), 0 or more, for each axis of the sample, channels included.
    value: an integer at the input's binary point. The result's interval includes it where anything is added; the word is the
        input's if that can hold the value.
    """

    widths: tuple[tuple[int, int], ...]
    value: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(integers(pair, "widths", 0) for pair in self.widths))
        object.__setattr__(self, "value", integer(self.value, "value"))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if len(self.widths) != len(x.shape) or any(len(pair) != 2 for pair in self.widths):
            raise SpecViolation(
                f"widths {self.widths} must hold (before, after) for each axis of the input's {x.shape}"
            )
        shape = tuple(before + size + after for size, (before, after) in zip(x.shape, self.widths, strict=True))
        return TensorType(shape, x.element if shape == x.shape else x.element.including(self.value))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        result = self.infer(x_type)
        y: np.ndarray = np.full(
            (len(x), *result.shape), self.value if result.shape != x_type.shape else 0, storage_dtype(result.element)
        )
        places = (slice(before, before + n) for n, (before, _) in zip(x_type.shape, self.widths, strict=True))
        y[(slice(None), *places)] = x
        return y

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((3, 4, 2), IntegerType(True, 4, 1))
        yield cls(((1, 2), (0, 1), (0, 0))), (x,)
        yield cls(((0, 0), (0, 0), (1, 1)), -8), (x,)
        yield cls(((2, 0), (0, 3), (0, 0)), 100), (x,)
        yield cls(((0, 0), (0, 0), (0, 0)), 100), (x,)
        yield cls(((1, 1), (0, 0)), -1), (TensorType((4, 2), IntegerType(False, 3)),)
        yield cls(((1, 1), (0, 0))), (TensorType((4, 2), IntegerType(False, 3, 0, 2, 5)),)
        yield cls(((0, 5),), 1 << 70), (TensorType((4,), IntegerType(True, 63)),)
        yield cls(((2, 0),)), (TensorType((4,), IntegerType(True, 80)),)
