# SPDX-License-Identifier: Apache-2.0
"""Room for other constants: a network whose weights can be replaced at run time is as wide as any of them need.

Types of the graph follow from the values of its constants. Here each operation with constants gets a `Room`, the interval that
its constants may lie in, and infers its type from that: hardware made of such a graph computes every network of the same
structure whose constants fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from toolchain.backends.rtl.streaming.instance import signed_width
from toolchain.errors import SpecViolation, UsageError
from toolchain.ir import AddBias, Conv, Dense, Graph, IntegerType, Node, Operation, Scale, TensorType, Threshold


@dataclass(frozen=True)
class Room:
    """The integers that an operation's constants may be: those from `low` to `high`, without 0 where not `zero`."""

    low: int
    high: int
    zero: bool = True

    @property
    def width(self) -> int:
        """Bits of two's complement."""
        return signed_width(self.low, self.high)

    def holds(self, values: np.ndarray) -> bool:
        return self.low <= int(values.min()) and int(values.max()) <= self.high and (self.zero or bool(values.all()))

    def shifted(self, places: int) -> Room:
        return Room(self.low << places, self.high << places, self.zero)

    def __str__(self) -> str:
        return f"[{self.low}, {self.high}]{'' if self.zero else ' without 0'}"


def _of_width(width: int) -> Room:
    return Room(-(1 << (width - 1)), (1 << (width - 1)) - 1)


class _Reserved:
    """What an operation with room has beside its own fields, which it shares with the operation it was made from."""

    room: Room


class ReservedDense(_Reserved, Dense):
    """Dense with any weights that there is room for."""

    def reachable(self, element: IntegerType) -> tuple[list[int], list[int]]:
        return _reachable(self.weights, self.room, element)


class ReservedConv(_Reserved, Conv):
    """Conv with any weights that there is room for."""

    def reachable(self, element: IntegerType) -> tuple[list[int], list[int]]:
        return _reachable(self.weights, self.room, element)


class ReservedScale(_Reserved, Scale):
    """Scale with any factors that there is room for."""

    def infer(self, *inputs: TensorType) -> TensorType:
        shape, fraction = super().infer(*inputs).shape, inputs[0].element.fraction + self.fraction
        element = inputs[0].element
        corners = [v * w for v in (element.minimum, element.maximum) for w in (self.room.low, self.room.high)]
        return TensorType(shape, IntegerType.spanning(min(corners), max(corners), fraction))


class ReservedAddBias(_Reserved, AddBias):
    """AddBias with any bias that there is room for."""

    def infer(self, *inputs: TensorType) -> TensorType:
        own, (x,) = super().infer(*inputs), inputs
        input_shift, bias_shift = self.shifts(x.element)
        low = (x.element.minimum << input_shift) + (self.room.low << bias_shift)
        high = (x.element.maximum << input_shift) + (self.room.high << bias_shift)
        return TensorType(own.shape, IntegerType.spanning(low, high, own.element.fraction))


class ReservedThreshold(_Reserved, Threshold):
    """Threshold with any ascending thresholds; its room is what makes a difference to its input."""

    def bounds(self, element: IntegerType) -> tuple[int, int]:
        return self.room.low, self.room.high

    def infer(self, *inputs: TensorType) -> TensorType:
        own, count = super().infer(*inputs), self.thresholds.shape[1]
        return TensorType(own.shape, IntegerType.spanning(self.offset, self.offset + count, self.fraction))


_RESERVED: Mapping[type[Operation], type[Any]] = {
    Dense: ReservedDense,
    Conv: ReservedConv,
    Scale: ReservedScale,
    AddBias: ReservedAddBias,
    Threshold: ReservedThreshold,
}


def room_of(operation: Operation) -> Room | None:
    """The room of an operation's constants; None where they are fixed."""
    return operation.room if isinstance(operation, _Reserved) else None


def reserve_constants(graph: Graph, rooms: Sequence[Room] | None = None) -> tuple[Graph, tuple[Room, ...]]:
    """The graph with room for other constants, and the rooms in the order of its nodes.

    rooms: those that hardware has; None for new ones: weights and factors get as many bits as they have now (weights of -1 and
    +1, and those with 0, stay such), biases as many as the sums that they are added to, and thresholds whatever their input
    can be compared with.
    Raises UsageError, naming every node, for constants that do not fit the given rooms, or too few or too many operations
    with constants; and for a node that cannot take what any constants before it may give.
    """
    changed: list[Node] = []
    types: dict[str, TensorType] = {}
    found: list[Room] = []
    refused: list[str] = []
    count = sum(type(node.operation) in _RESERVED for node in graph)
    if rooms is not None and count != len(rooms):
        raise UsageError(
            f"the model has {count} operations with constants, the build {len(rooms)}: it is another network"
        )
    for node in graph:
        inputs = [types[name] for name in node.inputs]
        operation = node.operation
        if type(operation) in _RESERVED:
            room = rooms[len(found)] if rooms is not None else _new_room(operation, inputs[0].element)
            found.append(room)
            values = _constants(operation)
            if not isinstance(operation, Threshold) and not room.holds(values):
                refused.append(
                    f"{node}: constants lie in [{values.min()}, {values.max()}], the build has room for {room}"
                )
            operation = _reserved(operation, room)
        changed.append(replace(node, operation=operation))
        try:
            types[node.name] = operation.infer(*inputs)
        except SpecViolation as error:
            raise UsageError(
                f"{node}: with room for any constants before it, {error}. Requantise its input, or build without loadable weights"
            ) from None
    if refused:
        raise UsageError("constants of the model do not fit the build:\n  " + "\n  ".join(refused))
    return graph.replace_nodes(tuple(changed)), tuple(found)


def _reserved(operation: Operation, room: Room) -> Operation:
    assert is_dataclass(operation)
    changed: Operation = _RESERVED[type(operation)](**{f.name: getattr(operation, f.name) for f in fields(operation)})
    object.__setattr__(changed, "room", room)
    return changed


def _reachable(weights: np.ndarray, room: Room, element: IntegerType) -> tuple[list[int], list[int]]:
    terms = weights[..., 0].size
    corners = [terms * w * v for w in (room.low, room.high) for v in (element.minimum, element.maximum)]
    return [min(corners)], [max(corners)]


def _constants(operation: Operation) -> np.ndarray:
    if isinstance(operation, Dense | Conv):
        return operation.weights
    if isinstance(operation, Scale):
        return operation.factors
    if isinstance(operation, AddBias):
        return operation.bias
    assert isinstance(operation, Threshold)
    return operation.thresholds


def _new_room(operation: Operation, element: IntegerType) -> Room:
    """element: of the operation's input, with the rooms before it."""
    if isinstance(operation, Threshold):
        # A threshold beyond these ends is always or never reached, as they are.
        return Room(element.minimum, element.maximum + 1)
    values = _constants(operation)
    low, high = int(values.min()), int(values.max())
    width = signed_width(low, high)
    if isinstance(operation, AddBias):
        input_shift, bias_shift = operation.shifts(element)
        sums = signed_width(element.minimum << input_shift, element.maximum << input_shift)
        return _of_width(max(width, sums - bias_shift))
    if isinstance(operation, Dense | Conv) and width == 2 and low >= -1:
        # Between the groups of a convolution its matrix has zeros.
        alone = isinstance(operation, Dense) or operation.groups == 1
        return Room(-1, 1, not (alone and bool(values.all())))
    return _of_width(width)
