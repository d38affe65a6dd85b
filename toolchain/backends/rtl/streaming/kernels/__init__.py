# SPDX-License-Identifier: Apache-2.0
"""How each operation becomes an instance of a library module. One file an operation.

A file defines OPERATION (the class), `why_unsupported(stage) -> str | None` and
`instances(stage, folding, identifier) -> tuple[Instance, ...]`. A file whose name begins with _ is none; a new one is found by
itself.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol

from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.ir import Operation
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage


class Kernel(Protocol):
    """What a file of this package exports."""

    OPERATION: type[Operation]

    def why_unsupported(self, stage: Stage) -> str | None:
        """None if the library's module computes the stage exactly, else the reason and what to do."""

    def instances(self, stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
        """The instances for a stage that is supported, from its input to its output. `identifier` names memory files."""


class _Kernels(dict[type[Operation], Kernel]):
    """By operation; one derived from another (`reserve`) has the other's kernel."""

    def __missing__(self, operation: type[Operation]) -> Kernel:
        return next(self[base] for base in operation.__mro__ if base in self)


@cache
def kernels() -> dict[type[Operation], Kernel]:
    """The kernels by operation."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__) if module.name[0] != "_"]
    return _Kernels({module.OPERATION: module for module in modules})  # type: ignore[misc]
