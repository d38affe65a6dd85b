# SPDX-License-Identifier: Apache-2.0
"""What an operation of the integer graph has to say about itself, and the registry that finds them.

An operation is one file in `toolchain/ir/ops/`: a frozen dataclass under ``@operation("name")`` with its type inference,
its check, its interpreter, and sample instances from which tests are made. Nothing else has to be edited to add one.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar, TypeVar

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.types import MAXIMUM_ELEMENTS, MAXIMUM_WIDTH, IntegerType, TensorType

#: Sums of integers below this bound are exact in float64 in any order, so BLAS may do them.
FLOAT64_EXACT = 1 << 53
#: The same for float32.
FLOAT32_EXACT = 1 << 24
#: int64 holds every integer whose magnitude is below this bound.
INT64_EXACT = 1 << 63
#: Metadata key of a dataclass field that files leave out where it holds its default: fields of later releases, so that
#: older files are read and graphs which do not use them keep their digests.
LEFT_OUT = "left out of files at its default"


class Operation(ABC):
    """Base of all operations. Instances are immutable values; arrays in them are read-only."""

    kind: ClassVar[str]
    #: Number of inputs; None: one or more.
    arity: ClassVar[int | None] = 1

    @abstractmethod
    def infer(self, *inputs: TensorType) -> TensorType:
        """The result's type. Raises SpecViolation (without the node's name, which the caller adds) if inputs do not fit."""

    @abstractmethod
    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        """The definition of the operation on a batch.

        inputs: arrays of shape (batch, *type.shape), int64 or, where 63 bits do not suffice, Python integers (object).
        types: the inputs' types. Returns an array of the inferred shape, in `storage_dtype` of the inferred element type.
        An operation without inputs returns one sample, shape (1, *shape), which is the same for the whole batch.
        """

    @classmethod
    @abstractmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        """Instances with input types that tests run through every backend; they cover each option and corner."""

    def multiplications(self, *types: TensorType) -> int:
        """Products of two operands in one sample, constants included; for sums of products these are its MACs.

        types: the inputs' types. 0 for operations that do not multiply. A product with 0 or 1 counts like any other.
        """
        return 0

    @property
    def parameters(self) -> int:
        """Number of constants (weights, biases, thresholds) held."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))  # type: ignore[arg-type]
        return sum(value.size for value in values if isinstance(value, np.ndarray))


OperationClass = TypeVar("OperationClass", bound=type[Operation])
_REGISTRY: dict[str, type[Operation]] = {}


def operation(kind: str) -> Callable[[OperationClass], OperationClass]:
    """Register a dataclass as the operation called `kind` in files, tables and messages."""

    def register(cls: OperationClass) -> OperationClass:
        if kind in _REGISTRY:
            raise AssertionError(f"operation {kind!r} is registered twice")
        cls.kind = kind
        _REGISTRY[kind] = cls
        return cls

    return register


@cache
def operations() -> dict[str, type[Operation]]:
    """All operations by kind: every module of `toolchain/ir/ops` is imported and so registers itself."""
    package = import_module("toolchain.ir.ops")
    for module in iter_modules(package.__path__):
        import_module(f"toolchain.ir.ops.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def constant(values: Any, dimensions: int | tuple[int, ...] | None, label: str) -> np.ndarray:
    """A read-only integer array for an operation's field: int64 where that suffices, else Python integers (object).

    dimensions: the number of axes, or the numbers that are allowed; None: one or more.
    Raises SpecViolation for values that are not integers or have another number of axes.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iub":
        if array.dtype == np.uint64 and array.size and int(array.max()) >= INT64_EXACT:
            array = array.astype(object)
        else:
            array = array.astype(np.int64)
    elif array.dtype == object:
        if any(type(v) is not int for v in array.ravel()):
            raise SpecViolation(f"{label} must be integers")
        fits = all(-INT64_EXACT <= v < INT64_EXACT for v in array.ravel())
        array = array.astype(np.int64) if fits else array.copy()
    else:
        raise SpecViolation(f"{label} must be integers, found an array of {array.dtype}")
    allowed = (dimensions,) if isinstance(dimensions, int) else dimensions
    if array.size == 0 or (array.ndim == 0 if allowed is None else array.ndim not in allowed):
        axes = "one or more" if allowed is None else " or ".join(map(str, allowed))
        raise SpecViolation(f"{label} must have {axes} axes and at least one value, found shape {array.shape}")
    array.setflags(write=False)
    return array


def integers(values: Any, label: str, minimum: int) -> tuple[int, ...]:
    """A tuple of Python integers from `minimum` to 2**31 for an operation's field. Raises SpecViolation for anything else."""
    found = tuple(values)
    if any(isinstance(v, bool) or not isinstance(v, int | np.integer) for v in found):
        raise SpecViolation(f"{label} must be integers, found {found}")
    if any(not minimum <= v <= MAXIMUM_ELEMENTS for v in found):
        raise SpecViolation(f"{label} must lie in {minimum} to {MAXIMUM_ELEMENTS}, found {found}")
    return tuple(int(v) for v in found)


def integer(value: Any, label: str) -> int:
    """A Python integer for an operation's field. Raises SpecViolation for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise SpecViolation(f"{label} must be an integer, found {value!r}")
    return int(value)


def binary_point(value: Any, label: str) -> int:
    """A fraction for an operation's field. One that is far away is refused: aligning with it would take all memory."""
    if abs(integer(value, label)) > MAXIMUM_WIDTH:
        raise SpecViolation(f"{label} must lie in +-{MAXIMUM_WIDTH}, found {value}")
    return int(value)


def storage_dtype(element: IntegerType) -> type:
    """np.int64 where every value of the type fits, else object (Python integers)."""
    return np.int64 if element.magnitude < INT64_EXACT else object


def working(array: np.ndarray, magnitude: int) -> np.ndarray:
    """`array` in a dtype whose arithmetic is exact up to `magnitude`: int64, or object beyond 63 bits."""
    return array if magnitude < INT64_EXACT and array.dtype != object else array.astype(object)


def stored(array: np.ndarray, element: IntegerType) -> np.ndarray:
    """`array` in the dtype in which values of `element` are kept."""
    return array.astype(storage_dtype(element), copy=False)
