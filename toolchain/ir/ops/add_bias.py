# SPDX-License-Identifier: Apache-2.0
"""AddBias: a constant added to each channel, exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, binary_point, constant, operation, stored, working
from toolchain.ir.types import IntegerType, TensorType


@operation("add_bias")
@dataclass(frozen=True, eq=False)
class AddBias(Operation):
    """``y[..., c] = x[..., c] + bias[c]``, both aligned to the finer of the two binary points.

    bias: integers of shape (channels,); the real bias is ``bias * 2**-bias_fraction``.
    """

    bias: np.ndarray
    bias_fraction: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", constant(self.bias, 1, "bias"))
        object.__setattr__(self, "bias_fraction", binary_point(self.bias_fraction, "bias_fraction"))

    def shifts(self, element: IntegerType) -> tuple[int, int]:
        """Left shifts (of the input, of the bias) that bring both to the result's binary point."""
        fraction = max(element.fraction, self.bias_fraction)
        return fraction - element.fraction, fraction - self.bias_fraction

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if x.channels != self.bias.shape[0]:
            raise SpecViolation(f"bias has {self.bias.shape[0]} channels, the input's last axis has {x.channels}")
        input_shift, bias_shift = self.shifts(x.element)
        low = (x.element.minimum << input_shift) + (int(self.bias.min()) << bias_shift)
        high = (x.element.maximum << input_shift) + (int(self.bias.max()) << bias_shift)
        return TensorType(x.shape, IntegerType.spanning(low, high, max(x.element.fraction, self.bias_fraction)))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        result = self.infer(x_type).element
        input_shift, bias_shift = self.shifts(x_type.element)
        bound = (x_type.element.magnitude << input_shift) + (
            max(-int(self.bias.min()), int(self.bias.max())) << bias_shift
        )
        return stored((working(x, bound) << input_shift) + (working(self.bias, bound) << bias_shift), result)

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        random = np.random.default_rng(2)
        for fraction in (-1, 4, 9):
            yield cls(random.integers(-32, 32, 6), fraction), (TensorType((6,), IntegerType(True, 8, 4)),)
        yield cls(random.integers(-3, 4, 3), 0), (TensorType((2, 3), IntegerType(False, 3)),)
        yield cls(np.array([1 << 70, -(1 << 70)], dtype=object), 60), (TensorType((2,), IntegerType(True, 50, 10)),)
