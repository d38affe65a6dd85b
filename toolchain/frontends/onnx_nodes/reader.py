# SPDX-License-Identifier: Apache-2.0
"""What the functions that read ONNX nodes share: the node at hand, its operands, constants, and the order of axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import shapes
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import (
    Fractions,
    Line,
    RealInput,
    Site,
    common_step,
    compact,
    fractions_of,
    per_channel,
)
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.imported import Meaning
from toolchain.ir import Constant as ConstantTensor

Value = Constant | RealInput | Line
Moving = TypeVar("Moving", Line, RealInput, Line | RealInput)
#: Bits of the integers that a constant tensor may need on one step.
_MAXIMUM_CONSTANT_BITS = 128


@dataclass
class Reader:
    """The walk through a file.

    values: what is known of each tensor so far. real_range: the declared range of real inputs, or None.
    opset: the version of ONNX's operations. batch: samples in the file's own batch, 1 where it says none. own: what reads
    operations that only this model has. meanings: by tensor, of those that quantisers made.
    """

    walk: Walk
    real_range: tuple[float, float] | None
    values: dict[str, Value] = field(default_factory=dict)
    consumers: dict[str, list[Any]] = field(default_factory=dict)
    opset: int = 18
    batch: int = 1
    own: Mapping[str, Handler] = field(default_factory=dict)
    meanings: dict[str, Meaning] = field(default_factory=dict)

    def line(self, value: Value, node: NodeView) -> Line:
        return self.walk.line(value, node.site)

    def only_consumer(self, tensor: str) -> Any | None:
        """The single node that reads a tensor."""
        found = self.consumers.get(tensor, [])
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class NodeView:
    """One node: its operands (None for one that is left out), attributes and place."""

    kind: str
    operands: tuple[Value | None, ...]
    attributes: dict[str, Any]
    outputs: tuple[str, ...]
    site: Site

    @property
    def label(self) -> str:
        return self.site.label

    def inner(self, part: str) -> NodeView:
        """The node as the place of a step within it."""
        return replace(self, site=self.site.inner(part))

    def value(self, index: int) -> Value:
        if index >= len(self.operands) or (value := self.operands[index]) is None:
            raise UnsupportedModel(f"{self.label}: has no operand {index + 1}; one is needed")
        return value

    def has(self, index: int) -> bool:
        return index < len(self.operands) and self.operands[index] is not None

    def constant(self, index: int, what: str) -> Constant:
        value = self.value(index)
        if not isinstance(value, Constant):
            raise UnsupportedModel(f"{self.label}: {what} must be a constant")
        return value

    def numbers(self, index: int, what: str) -> list[int]:
        """A constant operand as whole numbers."""
        return [int(v) for v in self.constant(index, what).values.reshape(-1)]

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes.get(name, default))

    def require(self, name: str, allowed: Sequence[Any], default: Any) -> None:
        found = self.attributes.get(name, default)
        if found not in allowed:
            raise UnsupportedModel(
                f"{self.label}: {name} is {found!r}; supported: {', '.join(repr(a) for a in allowed)}"
            )


#: What a node gives: one value, or one for each of its outputs (None for one that is not supported).
Result = Value | tuple[Value | None, ...]
Handler = Callable[[Reader, NodeView], Result]
_HANDLERS: dict[str, Handler] = {}


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register the function that reads nodes of these operations."""

    def register(function: Handler) -> Handler:
        for kind in kinds:
            if kind in _HANDLERS:
                raise AssertionError(f"operation {kind!r} is read twice")
            _HANDLERS[kind] = function
        return function

    return register


@cache
def handlers() -> dict[str, Handler]:
    """All operations that are read: every module of this package registers its own."""
    package = import_module("toolchain.frontends.onnx_nodes")
    for module in iter_modules(package.__path__):
        import_module(f"toolchain.frontends.onnx_nodes.{module.name}")
    return dict(sorted(_HANDLERS.items()))


# ---- axes ------------------------------------------------------------------------------------------------------------
def axes_of(value: Line | RealInput) -> tuple[int, ...]:
    """For each sample axis of the file: the axis of the graph's tensor."""
    return value.axes or tuple(range(len(value.shape)))


def file_shape(value: Line | RealInput) -> tuple[int, ...]:
    """The sample's shape in the file's order."""
    return tuple(value.shape[axis] for axis in axes_of(value))


def sample_axis(axis: int, value: Line | RealInput, node: NodeView) -> int:
    """A node's axis attribute as an index of the file's sample axes. Raises for the batch axis."""
    rank = len(value.shape) + 1
    axis = axis + rank if axis < 0 else axis
    if not 1 <= axis < rank:
        raise UnsupportedModel(f"{node.label}: works along axis {axis}, the batch; supported are the axes of a sample")
    return axis - 1


def ordered(axes: tuple[int, ...]) -> tuple[int, ...]:
    """() where nothing is out of order."""
    return () if axes == tuple(range(len(axes))) else axes


def laid_out(reader: Reader, value: Moving, axes: tuple[int, ...], node: NodeView) -> Moving:
    """The value with the graph's axes in another order: file axis i becomes graph axis ``axes[i]``."""
    have = axes_of(value)
    if have == axes:
        return value
    result = shapes.transpose(reader.walk, value, _permutation(have, axes), node.site.inner("order"))
    return replace(result, axes=ordered(axes))  # type: ignore[return-value]


def _permutation(have: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Of the graph's axes, for a tensor whose file axes are to lie elsewhere."""
    permutation = [0] * len(wanted)
    for old, new in zip(have, wanted, strict=True):
        permutation[new] = old
    return tuple(permutation)


def with_axis_last(reader: Reader, value: Moving, axis: int, node: NodeView) -> Moving:
    """The value with one sample axis of the file on the graph's last axis, and the others in the file's order if they move."""
    rank: int = len(value.shape)
    if axes_of(value)[axis] == rank - 1:
        return value
    axes = [0] * rank
    for place, other in enumerate((*(a for a in range(rank) if a != axis), axis)):
        axes[other] = place
    return laid_out(reader, value, tuple(axes), node)


def in_file_order(reader: Reader, value: Moving, node: NodeView) -> Moving:
    """The value with the graph's axes as the file has them."""
    return laid_out(reader, value, tuple(range(len(value.shape))), node)


def channels_first(rank: int) -> tuple[int, ...]:
    """Axes of a channels-first sample whose graph tensor has the channels last."""
    return (rank - 1, *range(rank - 1))


def channels_last(reader: Reader, value: Moving, node: NodeView) -> Moving:
    """A channels-first sample (channels, spatial axes ...) with its channels on the graph's last axis."""
    return laid_out(reader, value, channels_first(len(value.shape)), node)


def reshaped(reader: Reader, value: Line | RealInput, shape: tuple[int, ...], node: NodeView) -> Line | RealInput:
    """The same elements in the file's order in another shape."""
    if shape == file_shape(value):
        return value
    order = _permutation(axes_of(value), tuple(range(len(value.shape))))
    return replace(shapes.transpose_and_reshape(reader.walk, value, order, shape, node.site), axes=())


def in_graph_order(value: Line | RealInput, entries: Sequence[Any]) -> list[Any]:
    """One entry for each sample axis of the file, in the order of the graph's axes."""
    placed: list[Any] = [None] * len(entries)
    for entry, axis in zip(entries, axes_of(value), strict=True):
        placed[axis] = entry
    return placed


# ---- constants -------------------------------------------------------------------------------------------------------
def on_channels(value: Line | RealInput, array: np.ndarray, node: NodeView) -> np.ndarray | None:
    """A constant that broadcasts against the file's tensor as one entry, or one for each channel of the graph's last axis.

    None where it differs along another axis too.
    """
    rank = len(value.shape)
    array = np.asarray(array)
    if array.size == 1:
        return array.reshape(1)
    if array.ndim > rank + 1 or (array.ndim == rank + 1 and array.shape[0] != 1):
        raise UnsupportedModel(
            f"{node.label}: a constant of shape {array.shape} does not fit a sample of shape {file_shape(value)}"
        )
    sample = array.reshape((1,) * (rank + 1 - array.ndim) + array.shape)[0]
    axes = axes_of(value)
    for axis, size in enumerate(sample.shape):
        if size not in (1, value.shape[axes[axis]]):
            raise UnsupportedModel(
                f"{node.label}: a constant of shape {array.shape} does not fit a sample of shape {file_shape(value)}"
            )
        if size > 1 and axes[axis] != rank - 1:
            return None
    return per_channel(sample.reshape(-1), value.shape[-1], node.label)


def varying_axis(value: Line | RealInput, array: np.ndarray) -> int | None:
    """The sample axis of the file along which a constant that broadcasts against the tensor differs, if it is one only."""
    rank = len(value.shape)
    sizes = np.shape(array)
    if len(sizes) > rank + 1 or (len(sizes) == rank + 1 and sizes[0] != 1):
        return None
    sample = ((1,) * (rank + 1 - len(sizes)) + sizes)[1:]
    wide = [axis for axis, size in enumerate(sample) if size > 1]
    return wide[0] if len(wide) == 1 else None


def with_channels_of(reader: Reader, value: Moving, array: np.ndarray, node: NodeView) -> Moving:
    """The value with the axis on the graph's last one along which a constant differs, if it is one axis."""
    axis = varying_axis(value, array)
    return value if axis is None else with_axis_last(reader, value, axis, node)


def fractions_on_channels(value: Line | RealInput, array: np.ndarray, node: NodeView, what: str) -> Fractions:
    """The same as exact fractions; raises where the constant differs along another axis than the channels."""
    found = on_channels(value, array, node)
    if found is None:
        raise UnsupportedModel(
            f"{node.label}: {what} of shape {np.shape(array)} for a sample of shape {file_shape(value)}; supported are one value, "
            "or one a channel"
        )
    return compact(fractions_of(found))


def constant_line(reader: Reader, value: Line, array: np.ndarray, node: NodeView, *, inverse: bool = False) -> Line:
    """A constant that broadcasts against the file's tensor as a line of its own, exactly; inverse: of 1 divided by it."""
    rank = len(value.shape)
    sizes = np.shape(array)
    if len(sizes) > rank + 1 or (len(sizes) == rank + 1 and sizes[0] != 1):
        raise UnsupportedModel(
            f"{node.label}: a constant of shape {sizes} does not fit a sample of shape {file_shape(value)}"
        )
    sample = np.asarray(array).reshape((1,) * (rank + 1 - len(sizes)) + sizes)[0]
    axes = axes_of(value)
    order = sorted(range(rank), key=lambda axis: axes[axis])
    sample = sample.transpose(order)
    exact = [1 / v for v in fractions_of(sample)] if inverse else fractions_of(sample)
    known = [abs(v) for v in exact if v]
    step = common_step(known) if known else fractions_of(np.ones(1))[0]
    if known and (max(known) / step).numerator.bit_length() > _MAXIMUM_CONSTANT_BITS:
        raise UnsupportedModel(f"{node.label}: its constant spans more than {_MAXIMUM_CONSTANT_BITS} bits; quantise it")
    integers = np.array([(v / step).numerator for v in exact], dtype=object).reshape(sample.shape)
    tensor = reader.walk.add(ConstantTensor(integers), site=node.site.inner("constant"))
    return Line(tensor, sample.shape, (step,), axes=value.axes)
