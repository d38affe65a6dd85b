# SPDX-License-Identifier: Apache-2.0
"""The graph: nodes in execution order, each with one result, and the outputs with what they mean outside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import LEFT_OUT, Operation
from toolchain.ir.ops.input import Input
from toolchain.ir.types import TensorType


@dataclass(frozen=True)
class Node:
    """One operation applied to earlier results. The node's name is its result's name.

    source: the path of the layer it came from in the user's model, for messages ('' if it came from none).
    """

    name: str
    operation: Operation
    inputs: tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.operation.kind}{f' from {self.source}' if self.source else ''})"


@dataclass(frozen=True)
class Output:
    """A result that leaves the graph.

    The real value of channel c is ``scale[c] * (integer * 2**-fraction) + offset[c]`` (one entry serves all channels).
    host_function: '' or the name of a function that the framework applies last and that stays on the host, such as
        'softmax'.
    axes: the user's sample is the graph's with its axes permuted, ``user = graph.transpose(axes)``; () leaves it as it is.
        Channels, scales and offsets are the graph's.
    """

    name: str
    tensor: str
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    host_function: str = ""
    axes: tuple[int, ...] = field(default=(), metadata={LEFT_OUT: True})

    def shape(self, graph: Graph) -> tuple[int, ...]:
        """The shape of one sample in the user's order."""
        shape = graph.types[self.tensor].shape
        return tuple(shape[axis] for axis in self.axes) if self.axes else shape


@dataclass(frozen=True)
class Graph:
    """A network as exact integer arithmetic. Immutable; passes return new graphs.

    metadata: free text about the model (framework, file), kept in the file but not part of the digest.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """The type of every node's result, inferred in order. Raises SpecViolation naming the node."""
        types: dict[str, TensorType] = {}
        for node in self.nodes:
            try:
                types[node.name] = node.operation.infer(*(types[name] for name in node.inputs))
            except KeyError as error:
                raise SpecViolation(f"{node}: input {error.args[0]!r} is not the result of an earlier node") from None
            except SpecViolation as error:
                raise SpecViolation(f"{node}: {error}") from None
        return types

    @property
    def inputs(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if isinstance(node.operation, Input))

    def input_types(self, node: Node) -> tuple[TensorType, ...]:
        return tuple(self.types[name] for name in node.inputs)

    def consumers(self, name: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if name in node.inputs)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all that the graph computes: names, operations, constants, outputs; not the metadata."""
        from toolchain.ir.serialise import canonical_description

        description, arrays = canonical_description(self)
        state = hashlib.sha256(description)
        for array in arrays:
            state.update(array)
        return state.hexdigest()

    def replace_nodes(self, nodes: tuple[Node, ...]) -> Graph:
        return replace(self, nodes=nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


class GraphBuilder:
    """Collects nodes in order, keeps names unique, and hands out a checked graph."""

    def __init__(self, name: str, metadata: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._metadata = dict(metadata or {})
        self._nodes: list[Node] = []
        self._types: dict[str, TensorType] = {}
        self._outputs: list[Output] = []

    def add(self, operation: Operation, *inputs: str, name: str, source: str = "") -> str:
        """Append a node and return the name of its result (`name`, with a number if that is taken)."""
        unique, number = name, 1
        while unique in self._types:
            number += 1
            unique = f"{name}_{number}"
        node = Node(unique, operation, inputs, source)
        try:
            self._types[unique] = operation.infer(*(self._types[i] for i in inputs))
        except SpecViolation as error:
            raise SpecViolation(f"{node}: {error}") from None
        self._nodes.append(node)
        return unique

    def type(self, name: str) -> TensorType:
        return self._types[name]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes so far."""
        return tuple(self._nodes)

    def output(
        self,
        tensor: str,
        *,
        name: str = "output",
        scale: float | tuple[float, ...] | np.ndarray = 1.0,
        offset: float | tuple[float, ...] | np.ndarray = 0.0,
        host_function: str = "",
        axes: tuple[int, ...] = (),
    ) -> None:
        scales = tuple(float(v) for v in np.atleast_1d(np.asarray(scale, dtype=np.float64)))
        offsets = tuple(float(v) for v in np.atleast_1d(np.asarray(offset, dtype=np.float64)))
        self._outputs.append(Output(name, tensor, scales, offsets, host_function, tuple(axes)))

    def build(self) -> Graph:
        from toolchain.ir.spec import check

        graph = Graph(self._name, tuple(self._nodes), tuple(self._outputs), self._metadata)
        check(graph)
        return graph
