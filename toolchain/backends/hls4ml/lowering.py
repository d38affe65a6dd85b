# SPDX-License-Identifier: Apache-2.0
"""What every lowering builds on: the layers of an hls4ml model as data, and the walk over the graph that makes them.

A lowering is a function under ``@lowers(Operation)``. It appends one layer of hls4ml's own or of the project's, or several.
Nothing here imports hls4ml.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from toolchain.backends.hls4ml.own import Own, own_layer
from toolchain.backends.hls4ml.words import precision, real_constants
from toolchain.identifiers import identifiers
from toolchain.ir import Graph, Input, IntegerType, Node, Operation, Reshape, TensorType

#: hls4ml clones a stream for each reader and stops at this many.
MAXIMUM_STREAM_READERS = 7


@dataclass(frozen=True)
class Layer:
    """One layer of the hls4ml model.

    kind: hls4ml's class name, or that of one of the project's extension layers. node: the graph's node that it belongs to.
    shape: of the result. precision: hls4ml type of 'result', 'weight', 'bias', 'accum' or 'constants'. attributes: what hls4ml wants to know in
    addition; numbers and arrays, never a name out of the model. settings: entries of hls4ml's configuration of this layer.
    partial: the result is not the node's, but something on the way to it.
    """

    identifier: str
    kind: str
    node: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    precision: dict[str, str]
    attributes: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    partial: bool = False


@dataclass(frozen=True)
class Lowered:
    """Layers in order, (node, identifier) of the inputs, and (node, identifier) of each tensor that leaves.

    reuse_factors: of each sum of products as the project has it. plain_sums: the nodes whose products no strategy of hls4ml builds.
    """

    layers: tuple[Layer, ...]
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    reuse_factors: Mapping[str, int]
    plain_sums: tuple[str, ...]


@dataclass(frozen=True)
class Options:
    """io_type: 'io_parallel' or 'io_stream'. strategy: 'latency', 'resource' or 'distributed_arithmetic', for sums of
    products. reuse_factors: by node, how often a multiplier is used for one result; 1 where none is given. own_layers: 'exact',
    'never' for the project's own layers only, or 'always' for hls4ml's also where they are known to be wrong (the table in
    docs/hls4ml.md needs that). clones: how many readers a stream may have."""

    io_type: str = "io_parallel"
    strategy: str = "latency"
    reuse_factors: Mapping[str, int] = field(default_factory=dict)
    own_layers: str = "exact"
    clones: int = MAXIMUM_STREAM_READERS

    @property
    def only_extensions(self) -> bool:
        return self.own_layers == "never"

    @property
    def stream(self) -> bool:
        return self.io_type == "io_stream"


class Lowering:
    """A walk over the graph in the making. `tensor` maps a node to the layer whose result it is."""

    def __init__(self, graph: Graph, options: Options) -> None:
        self.graph = graph
        self.options = options
        names = identifiers(node.name for node in graph.nodes)
        # No name that hls4ml makes up begins like this.
        self._identifier = {name: f"node_{identifier}" for name, identifier in names.items()}
        self._layers: list[Layer] = []
        self._reuse_factors: dict[str, int] = {}
        self._plain_sums: list[str] = []
        self.tensor: dict[str, str] = {}

    def run(self) -> Lowered:
        needed = self._needed()
        for node in self.graph.nodes:
            if node.name in needed:
                LOWERINGS[type(node.operation)](self, node, node.operation)
        outputs = tuple((name, self._output(name, index)) for index, name in enumerate(self._left_by()))
        inputs = tuple((node.name, self._identifier[node.name]) for node in self.graph.inputs)
        layers = _share_readers(self._layers, self.options.clones) if self.options.stream else self._layers
        return Lowered(tuple(layers), inputs, outputs, self._reuse_factors, tuple(self._plain_sums))

    def identifier(self, node: Node) -> str:
        return self._identifier[node.name]

    def type(self, node: Node) -> TensorType:
        """The type of the node's result."""
        return self.graph.types[node.name]

    def sources(self, node: Node) -> tuple[str, ...]:
        """The layers whose results the node takes."""
        return tuple(self.tensor[name] for name in node.inputs)

    def leaves(self, node: Node) -> bool:
        """Whether the node's result leaves the graph."""
        return any(output.tensor == node.name for output in self.graph.outputs)

    def note_sums(self, node: Node, reuse_factor: int, *, plain: bool) -> None:
        """Remember how often the multipliers of a sum of products are used, and whether hls4ml's strategies do not reach it."""
        self._reuse_factors[node.name] = reuse_factor
        if plain:
            self._plain_sums.append(node.name)

    def add(self, layer: Layer, *nodes: Node) -> None:
        """Append a layer, whose result is that of `nodes`."""
        self._layers.append(layer)
        for node in nodes:
            self.tensor[node.name] = layer.identifier

    def word(self, element: IntegerType) -> str:
        """The type as hls4ml's configuration writes it.

        Where hls4ml writes ac_fixed it takes a word of one bit to be one of two, with the binary point elsewhere: such a word
        gets its second bit here.
        """
        if self.options.only_extensions and element.width == 1:
            element = IntegerType(element.signed, 2, element.fraction)
        return precision(element)

    def extension(
        self, identifier: str, kind: str, node: Node, sources: tuple[str, ...], result: TensorType,
        parameters: dict[str, Any], *, partial: bool = False,
    ) -> Layer:  # fmt: skip
        """One of the project's own layers. parameters: values for its configuration struct."""
        attributes = {"target_shape": result.shape, "parameters": parameters}
        words = {"result": self.word(result.element)}
        return Layer(identifier, kind, node.name, sources, result.shape, words, attributes, partial=partial)

    def append(self, node: Node, kind: str, result: str, attributes: dict[str, Any], **types: str) -> None:
        """Append a layer of hls4ml's own that does the node's work. result: precision of the result."""
        shape, words = self.type(node).shape, {"result": result, **types}
        self.add(Layer(self.identifier(node), kind, node.name, self.sources(node), shape, words, attributes), node)

    def own(self, node: Node) -> Own | None:
        """hls4ml's own layer for the node, if it is to be used."""
        types = self.graph.input_types(node)
        own = own_layer(node.operation, types, self.type(node), stream=self.options.stream)
        usable = own is not None and (not own.fault or self.options.own_layers == "always")
        return own if usable and not self.options.only_extensions else None

    def append_own(self, node: Node, **types: str) -> bool:
        """Append hls4ml's own layer for the node, if there is one that is exact. types: further precisions that it has."""
        own = self.own(node)
        if own is not None:
            self.append(node, own.kind, precision(self.type(node).element), own.attributes, **types)
        return own is not None

    def extend(
        self,
        node: Node,
        kind: str,
        parameters: dict[str, Any],
        constants: np.ndarray | None = None,
        fraction: int = 0,
        *,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """Append one of the project's own layers that does the node's work. constants: integers at `fraction`."""
        layer = self.extension(self.identifier(node), kind, node, self.sources(node), self.type(node), parameters)
        if constants is not None:
            layer.attributes["constants_data"] = real_constants(constants, fraction)
            layer.precision["constants"] = self.word(
                IntegerType.spanning(int(constants.min()), int(constants.max()), fraction)
            )
            parameters["n_constants"] = constants.size
        self.add(replace(layer, settings=settings or {}), node)

    def part(self, node: Node, suffix: str, kind: str, source: tuple[str, ...], result: TensorType,
             parameters: dict[str, Any]) -> str:  # fmt: skip
        """Append one of the project's own layers on the way to the node's result, and return its identifier."""
        identifier = f"{self.identifier(node)}_{suffix}"
        self.add(self.extension(identifier, kind, node, source, result, parameters, partial=True))
        return identifier

    def _left_by(self) -> list[str]:
        """Tensors that leave the graph, each once."""
        return list(dict.fromkeys(output.tensor for output in self.graph.outputs))

    def _needed(self) -> set[str]:
        needed = {*self._left_by(), *(node.name for node in self.graph.inputs)}
        for node in reversed(self.graph.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return needed

    def _output(self, name: str, index: int) -> str:
        """The layer that drives an output port: the node's own, or a copy where that one is read inside as well."""
        node = self.graph.by_name[name]
        own = self.tensor[name]
        if not self.graph.consumers(name) and not isinstance(node.operation, Input | Reshape):
            return own
        identifier = f"output_{index}"
        self.add(self.extension(identifier, "BitwrightCopy", node, (own,), self.type(node), {}))
        return identifier


Lower = Callable[[Lowering, Node, Any], None]
LOWERINGS: dict[type[Operation], Lower] = {}
_Function = TypeVar("_Function", bound=Lower)


def lowers(*operations: type[Operation]) -> Callable[[_Function], _Function]:
    """The function appends the layers of one node with such an operation."""

    def register(function: _Function) -> _Function:
        for operation in operations:
            assert operation not in LOWERINGS, f"two lowerings of {operation.kind}"
            LOWERINGS[operation] = function
        return function

    return register


def _share_readers(layers: list[Layer], clones: int) -> list[Layer]:
    """The same layers, with copies put in so that no stream has more than `clones` readers."""
    made: list[Layer] = []
    pending = list(layers)
    while pending:
        layer = pending.pop(0)
        made.append(layer)
        readers = [(i, j) for i, r in enumerate(pending) for j, name in enumerate(r.inputs) if name == layer.identifier]
        if len(readers) <= clones:
            continue
        copy = Layer(
            f"{layer.identifier}_more",
            "BitwrightCopy",
            layer.node,
            (layer.identifier,),
            layer.shape,
            {"result": _word(layer.precision["result"])},
            {"target_shape": layer.shape, "parameters": {}},
            partial=True,
        )
        for i, j in readers[clones - 1 :]:
            inputs = list(pending[i].inputs)
            inputs[j] = copy.identifier
            pending[i] = replace(pending[i], inputs=tuple(inputs))
        pending.insert(0, copy)
    return made


def _word(written: str) -> str:
    """The type without the rounding and overflow of the layer that makes it."""
    return ",".join(written.removesuffix(">").split(",")[:2]) + ">"
