# SPDX-License-Identifier: Apache-2.0
"""Add: the sum or the difference of two tensors, exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.ir.broadcast import broadcast_shape
from toolchain.ir.operation import Operation, operation, stored, working
from toolchain.ir.types import IntegerType, TensorType


@operation("add")
@dataclass(frozen=True)
class Add(Operation):
    """``y = a + b``, or ``y = a - b``, element by element, both aligned to the finer of the two binary points.

    subtract: whether the second operand is subtracted.

    The operands have the same number of axes. Along each axis their sizes are equal, or one of them is 1 and that operand is
    repeated.
    """

    subtract: bool = False

    arity = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "subtract", bool(self.subtract))

    @staticmethod
    def shifts(a: IntegerType, b: IntegerType) -> tuple[int, int]:
        """Left shifts of the two operands that bring both to the result's binary point."""
        fraction = max(a.fraction, b.fraction)
        return fraction - a.fraction, fraction - b.fraction

    def infer(self, *inputs: TensorType) -> TensorType:
        a, b = inputs
        shift_a, shift_b = self.shifts(a.element, b.element)
        low, high = (v << shift_b for v in (b.element.minimum, b.element.maximum))
        if self.subtract:
            low, high = -high, -low
        element = IntegerType.spanning(
            (a.element.minimum << shift_a) + low,
            (a.element.maximum << shift_a) + high,
            max(a.element.fraction, b.element.fraction),
        )
        return TensorType(broadcast_shape(a.shape, b.shape), element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (a, b), (a_type, b_type) = inputs, types
        shift_a, shift_b = self.shifts(a_type.element, b_type.element)
        bound = (a_type.element.magnitude << shift_a) + (b_type.element.magnitude << shift_b)
        a, b = working(a, bound) << shift_a, working(b, bound) << shift_b
        return stored(a - b if self.subtract else a + b, self.infer(*types).element)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        a, b = TensorType((2, 3), IntegerType(True, 4, 1)), TensorType((2, 3), IntegerType(False, 5, 3))

        for subtract in (False, True):
            yield cls(subtract), (a, b)
            yield cls(subtract), (b, a)
            yield cls(subtract), (a, TensorType((1, 3), IntegerType(True, 6, -2, -30, 7)))
            yield cls(subtract), (TensorType((1, 4, 1), a.element), TensorType((2, 1, 3), b.element))
            # The shifted operand, then the sum alone, passes 63 bits; then an operand does.
            yield cls(subtract), (TensorType((3,), IntegerType(True, 50)), TensorType((3,), IntegerType(True, 8, 20)))
            yield cls(subtract), (TensorType((3,), IntegerType(True, 63)), TensorType((1,), IntegerType(False, 63)))
            yield cls(subtract), (TensorType((3,), IntegerType(True, 80, 60)), TensorType((3,), IntegerType(True, 8)))
