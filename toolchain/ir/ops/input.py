# SPDX-License-Identifier: Apache-2.0
"""Input: where real numbers enter the graph. The conversion happens on the host, before the hardware."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import LEFT_OUT, Operation, operation
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import IntegerType, TensorType


class OutOfRange(Enum):
    """What a real input outside the type's range means."""

    REFUSE = "refuse"
    SATURATE = "saturate"


@operation("input")
@dataclass(frozen=True)
class Input(Operation):
    """A graph input of integers.

    The real value of an integer q is ``scale * (q * 2**-fraction) + offset``; `scale` and `offset` are float64 and exact
    as written. A real input x becomes ``round((x - offset) / scale * 2**fraction)`` with `rounding`, on the host;
    `out_of_range` says whether values beyond the type's interval saturate (the model quantises its own input that
    way) or are refused.

    axes: the graph's sample is the user's with its axes permuted, ``graph = user.transpose(axes)``; () leaves it as it is.
        `shape` is the graph's. The host permutes, and speaks of the user's axes in messages.
    """

    shape: tuple[int, ...]
    element: IntegerType
    scale: float = 1.0
    offset: float = 0.0
    rounding: Rounding = Rounding.HALF_EVEN
    out_of_range: OutOfRange = OutOfRange.REFUSE
    axes: tuple[int, ...] = field(default=(), metadata={LEFT_OUT: True})

    arity = 0

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample in the user's order."""
        if not self.axes:
            return self.shape
        return tuple(self.shape[self.axes.index(axis)] for axis in range(len(self.shape)))

    def infer(self, *inputs: TensorType) -> TensorType:
        if self.axes and sorted(self.axes) != list(range(len(self.shape))):
            raise SpecViolation(
                f"axes {self.axes} must be a permutation of the {len(self.shape)} axes of shape {self.shape}"
            )
        if not (isfinite(self.scale) and self.scale > 0 and isfinite(self.offset)):
            raise SpecViolation(
                f"scale must be finite and positive and offset finite, found {self.scale}, {self.offset}"
            )
        return TensorType(self.shape, self.element)

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        raise AssertionError("the interpreter feeds inputs itself")

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        yield cls((4,), IntegerType(True, 8, 4)), ()
        yield cls((2, 3), IntegerType(False, 5, 4, 0, 16)), ()
        yield cls((3, 4, 2), IntegerType(False, 3, 3), axes=(1, 2, 0)), ()
