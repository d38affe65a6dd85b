# SPDX-License-Identifier: Apache-2.0
"""Slice: a part of a tensor, every n-th element along each axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, integers, operation
from toolchain.ir.types import IntegerType, TensorType


@operation("slice")
@dataclass(frozen=True)
class Slice(Operation):
    """Along each axis the elements `start`, `start + step`, `start + 2 * step` and so on before `stop`.

    starts, stops, steps: one entry per axis of the sample, ``0 <= start < stop <= size`` and ``step >= 1``.
    """

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        for label, minimum in (("starts", 0), ("stops", 1), ("steps", 1)):
            object.__setattr__(self, label, integers(getattr(self, label), label, minimum))

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        if any(len(values) != len(x.shape) for values in (self.starts, self.stops, self.steps)):
            raise SpecViolation(f"starts, stops and steps must have one entry for each axis of the input's {x.shape}")
        bounds = list(zip(self.starts, self.stops, self.steps, strict=True))
        if any(not start < stop <= size for (start, stop, _), size in zip(bounds, x.shape, strict=True)):
            raise SpecViolation(
                f"0 <= start < stop <= size must hold along each axis, found starts {self.starts}, stops {self.stops} "
                f"in {x.shape}"
            )
        return TensorType(tuple(len(range(*bound)) for bound in bounds), x.element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,) = inputs
        return x[(slice(None), *map(slice, self.starts, self.stops, self.steps))]

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        x = TensorType((5, 4, 3), IntegerType(True, 4, 1))
        yield cls((1, 0, 0), (5, 4, 2), (2, 1, 1)), (x,)
        yield cls((0, 0, 0), (5, 4, 3), (1, 1, 1)), (x,)
        yield cls((4, 1, 2), (5, 4, 3), (7, 2, 1)), (x,)
        yield cls((1,), (6,), (3,)), (TensorType((6,), IntegerType(True, 80)),)
