# SPDX-License-Identifier: Apache-2.0
"""Multiply: the product of two tensors, element by element, exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.ir.broadcast import broadcast_shape
from toolchain.ir.operation import Operation, operation, stored, working
from toolchain.ir.types import IntegerType, TensorType


@operation("multiply")
@dataclass(frozen=True)
class Multiply(Operation):
    """``y = a * b`` element by element, without loss; the result's fraction is the sum of both fractions.

    The operands have the same number of axes. Along each axis their sizes are equal, or one of them is 1 and that operand is
    repeated.
    """

    arity = 2

    def infer(self, *inputs: TensorType) -> TensorType:
        a, b = (t.element for t in inputs)
        corners = [x * y for x in (a.minimum, a.maximum) for y in (b.minimum, b.maximum)]
        element = IntegerType.spanning(min(corners), max(corners), a.fraction + b.fraction)
        return TensorType(broadcast_shape(inputs[0].shape, inputs[1].shape), element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (a, b), (a_type, b_type) = inputs, types
        bound = max(1, a_type.element.magnitude) * max(1, b_type.element.magnitude)
        return stored(working(a, bound) * working(b, bound), self.infer(*types).element)

    def multiplications(self, *types: TensorType) -> int:
        return self.infer(*types).size

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        a, b = TensorType((2, 3), IntegerType(True, 4, 1)), TensorType((2, 3), IntegerType(False, 5, 3))

        yield cls(), (a, b)
        yield cls(), (a, a)
        yield cls(), (b, TensorType((1, 3), IntegerType(True, 6, -2, -30, 7)))
        yield cls(), (TensorType((1, 4, 1), a.element), TensorType((2, 1, 3), b.element))
        yield cls(), (a, TensorType((2, 3), IntegerType(False, 1, 0, 0, 0)))
        yield cls(), (TensorType((3,), IntegerType(True, 33)), TensorType((3,), IntegerType(True, 34)))
        yield cls(), (TensorType((3,), IntegerType(True, 80, 60)), TensorType((3,), IntegerType(True, 8)))
