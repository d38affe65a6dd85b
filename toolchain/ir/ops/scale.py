# SPDX-License-Identifier: Apache-2.0
"""Scale: each channel times a constant, exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, binary_point, constant, operation, stored, working
from toolchain.ir.types import IntegerType, TensorType


@operation("scale")
@dataclass(frozen=True, eq=False)
class Scale(Operation):
    """``y[..., c] = x[..., c] * factors[c]``, without loss; the result's fraction is the sum of both fractions.

    factors: integers of shape (channels or 1,); one serves all channels. The real factor is ``factors * 2**-fraction``.
    """

    factors: np.ndarray
    fraction: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", constant(self.factors, 1, "factors"))
        object.__setattr__(self, "fraction", binary_point(self.fraction, "fraction"))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if len(self.factors) not in (1, x.channels):
            raise SpecViolation(
                f"there are {len(self.factors)} factors, the input's last axis has {x.channels}; allowed: 1 or that"
            )
        ends = (int(self.factors.min()), int(self.factors.max()))
        corners = [v * factor for v in (x.element.minimum, x.element.maximum) for factor in ends]
        element = IntegerType.spanning(min(corners), max(corners), x.element.fraction + self.fraction)
        return TensorType(x.shape, element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        bound = max(1, x_type.element.magnitude) * max(1, -int(self.factors.min()), int(self.factors.max()))
        return stored(working(x, bound) * working(self.factors, bound), self.infer(x_type).element)

    def multiplications(self, *types: TensorType) -> int:
        return types[0].size

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((2, 3), IntegerType(True, 4, 1))
        yield cls(np.array([3, -4, 0]), 2), (x,)
        yield cls(np.array([-5]), -3), (x,)
        yield cls(np.array([0]), 1), (x,)
        yield cls(np.array([7, 3, 9]), 1), (TensorType((2, 3), IntegerType(False, 4, 1, 3, 9)),)
        yield cls(np.array([1 << 31, -(1 << 31)])), (TensorType((2,), IntegerType(True, 33)),)
        yield cls(np.array([3, -(1 << 40)])), (TensorType((2,), IntegerType(True, 30)),)
        yield cls(np.array([1 << 70], dtype=object)), (TensorType((2,), IntegerType(False, 1, 0, 0, 0)),)
        yield cls(np.array([3, -2]), 1), (TensorType((2,), IntegerType(True, 80)),)
