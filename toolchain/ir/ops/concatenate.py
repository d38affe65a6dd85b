# SPDX-License-Identifier: Apache-2.0
"""Concatenate: tensors joined along one axis, aligned exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, integers, operation, storage_dtype
from toolchain.ir.types import IntegerType, TensorType


@operation("concatenate")
@dataclass(frozen=True)
class Concatenate(Operation):
    """The operands one after the other along `axis`, all aligned to the finest of their binary points.

    axis: of the sample, 0 is the first. Along all other axes the sizes are equal.

    The result's interval spans those of the operands.
    """

    axis: int

    arity = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "axis", *integers((self.axis,), "axis", 0))

    def infer(self, *inputs: TensorType) -> TensorType:
        first = inputs[0]
        if self.axis >= len(first.shape):
            raise SpecViolation(f"axis {self.axis} must be one of the {len(first.shape)} axes of {first.shape}, from 0")
        others = {(*t.shape[: self.axis], *t.shape[self.axis + 1 :]) for t in inputs}
        if len(others) != 1 or len({len(t.shape) for t in inputs}) != 1:
            raise SpecViolation(
                f"operands of shapes {', '.join(str(t.shape) for t in inputs)} must be equal in all axes but {self.axis}"
            )
        size = sum(t.shape[self.axis] for t in inputs)
        shape = (*first.shape[: self.axis], size, *first.shape[self.axis + 1 :])
        if len({t.element for t in inputs}) == 1:
            return TensorType(shape, first.element)
        fraction = max(t.element.fraction for t in inputs)
        low = min(t.element.minimum << (fraction - t.element.fraction) for t in inputs)
        high = max(t.element.maximum << (fraction - t.element.fraction) for t in inputs)
        return TensorType(shape, IntegerType.spanning(low, high, fraction))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        element = self.infer(*types).element
        # The result's interval holds every aligned operand, so its dtype does too.
        dtype = storage_dtype(element)
        aligned = [
            x.astype(dtype, copy=False) << (element.fraction - t.element.fraction)
            for x, t in zip(inputs, types, strict=True)
        ]
        return np.concatenate(aligned, axis=self.axis + 1)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:

        a, b = TensorType((2, 3), IntegerType(True, 4, 1)), TensorType((2, 2), IntegerType(False, 5, 3))
        yield cls(1), (a, b)
        yield cls(0), (a, a)
        yield cls(0), (a,)
        yield cls(1), (b, a, TensorType((2, 1), IntegerType(True, 6, -2, -30, 7)))
        yield cls(0), (TensorType((2,), IntegerType(True, 50)), TensorType((3,), IntegerType(True, 8, 20)))
        yield cls(0), (TensorType((2,), IntegerType(False, 3)), TensorType((1,), IntegerType(True, 80)))
