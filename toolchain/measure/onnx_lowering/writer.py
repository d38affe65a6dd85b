# SPDX-License-Identifier: Apache-2.0
"""The nodes and constants of an ONNX model while it is written, and which function writes which operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from toolchain.ir import Operation

#: (operation, the operands' types, writer, the operands' names) -> the name of the result.
Lowering = TypeVar("Lowering", bound=Callable[..., str])
LOWERINGS: dict[type[Operation], Callable[..., str]] = {}


def lowers(kind: type[Operation]) -> Callable[[Lowering], Lowering]:
    """Register the function that writes operations of class `kind`."""

    def register(function: Lowering) -> Lowering:
        LOWERINGS[kind] = function
        return function

    return register


class Writer:
    """Collects ONNX nodes and constants; every value gets a name of its own making (model names are untrusted)."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._shared: dict[float, str] = {}

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        (output,) = self.results_of(operator, *inputs, results=1, **attributes)
        return output

    def results_of(self, operator: str, *inputs: str, results: int, **attributes: Any) -> list[str]:
        """An operator with several results: their names."""
        from onnx import helper

        outputs = [f"t{len(self.nodes)}_{number}" for number in range(results)]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def array(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def constant(self, values: np.ndarray) -> str:
        """Integers, as the model's float type."""
        return self.array(values.astype(np.float64).astype(self.dtype))

    def whole(self, values: Sequence[int]) -> str:
        """An int64 constant of one axis: a shape, axes, indices."""
        return self.array(np.array(values, dtype=np.int64))

    def scalar(self, value: float) -> str:
        if value not in self._shared:
            self._shared[value] = self.array(np.array(value, dtype=self.dtype))
        return self._shared[value]

    def shifted(self, value: str, shift: int, magnitude: int) -> str:
        """``value << shift`` for values up to `magnitude`."""
        # A value that is always 0 may be shifted by any amount, also by more than a float holds.
        return self.node("Mul", value, self.scalar(float(1 << shift))) if shift and magnitude else value

    def cast(self, value: str) -> str:
        """Booleans or indices as the model's float type."""
        from onnx import helper

        return self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(self.dtype))

    def clip(self, value: str, low: float | None, high: float | None) -> str:
        if low is not None:
            value = self.node("Max", value, self.scalar(low))
        return value if high is None else self.node("Min", value, self.scalar(high))
