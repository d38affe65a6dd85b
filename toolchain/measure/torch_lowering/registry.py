# SPDX-License-Identifier: Apache-2.0
"""Which function makes which operation in PyTorch, and the constants it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from toolchain.ir import Operation

if TYPE_CHECKING:
    import torch

#: Operands -> result, tensors of (batch, *shape).
Step = Callable[..., Any]
#: (operation, the operands' types, constants) -> step.
Lowering = TypeVar("Lowering", bound=Callable[..., Step])
LOWERINGS: dict[type[Operation], Callable[..., Step]] = {}


def lowers(kind: type[Operation]) -> Callable[[Lowering], Lowering]:
    """Register the function that makes operations of class `kind`."""

    def register(function: Lowering) -> Lowering:
        LOWERINGS[kind] = function
        return function

    return register


@dataclass(frozen=True)
class Constants:
    """Makes constant tensors, in the model's dtype ('float32' or 'float64') and on its device."""

    dtype: str
    device: str

    def __call__(self, values: np.ndarray) -> torch.Tensor:
        """Integers as floats."""
        import torch

        element = {"float32": torch.float32, "float64": torch.float64}[self.dtype]
        return torch.from_numpy(values.astype(np.float64)).to(element).to(self.device)

    def whole(self, values: np.ndarray) -> torch.Tensor:
        """Integers as int64: positions in other tensors."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(self.device)
