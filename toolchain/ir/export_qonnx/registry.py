# SPDX-License-Identifier: Apache-2.0
"""Which function writes which operation of the graph into a QONNX file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from toolchain.ir.operation import Operation

#: (emitter, operation, the operands' types, the result's type) -> the file's tensor that holds the result, in the emitter's
#: current layout.
Lowering = TypeVar("Lowering", bound=Callable[..., str])
LOWERINGS: dict[type[Operation], Callable[..., Any]] = {}


def lowers(kind: type[Operation]) -> Callable[[Lowering], Lowering]:
    """Register the function that writes operations of class `kind`."""

    def register(function: Lowering) -> Lowering:
        LOWERINGS[kind] = function
        return function

    return register
