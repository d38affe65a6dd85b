# SPDX-License-Identifier: Apache-2.0
"""The integer graph as a list of hls4ml layers with every precision set. Data only; hls4ml is not imported here.

hls4ml's own layers are used where they compute exactly this: Dense (with the bias that follows it), the linear
activation for a requantisation whose rounding and overflow are ap_fixed modes, the plain rectifier, and Reshape. All
else is a layer of the project's own, whose C++ is in `hls_templates/hls4ml`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Any

import numpy as np

from toolchain.backends.hls4ml.words import (
    QUANTISATION,
    ap_fixed,
    precision,
    real_constants,
    saturation_mode,
    signed_spanning,
)
from toolchain.errors import UnsupportedModel
from toolchain.identifiers import identifiers
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    Input,
    IntegerType,
    Node,
    Operation,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    TensorType,
    Threshold,
)

#: hls4ml clones a stream for each reader and stops at this many.
MAXIMUM_STREAM_READERS = 7


@dataclass(frozen=True)
class Layer:
    """One layer of the hls4ml model.

    kind: hls4ml's class name, or that of one of the project's extension layers. node: the graph's node whose result
    this is. precision: hls4ml type of 'result', 'weight', 'bias', 'accum' or 'constants'. attributes: what hls4ml wants
    to know in addition; numbers and arrays, never a name out of the model.
    """

    identifier: str
    kind: str
    node: str
    inputs: tuple[str, ...]
    precision: dict[str, str]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lowered:
    """Layers in order, the identifiers of the inputs, and (node, identifier) of each tensor that leaves."""

    layers: tuple[Layer, ...]
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


def folded_bias(graph: Graph, node: Node) -> Node | None:
    """The AddBias that becomes this Dense's bias: it is the only reader, and the sum itself does not leave the graph."""
    readers = graph.consumers(node.name)
    leaves = any(output.tensor == node.name for output in graph.outputs)
    return readers[0] if len(readers) == 1 and isinstance(readers[0].operation, AddBias) and not leaves else None


def accumulator(dense: Dense, x: IntegerType, bias: AddBias | None) -> IntegerType:
    """A signed type that holds the bias and every partial sum, in whatever order HLS adds them."""
    fraction = max(x.fraction + dense.weight_fraction, bias.bias_fraction if bias else -(1 << 30))
    absolute = np.abs(dense.weights.astype(object)).sum(axis=0)
    bound = int(absolute.max()) * x.magnitude << (fraction - x.fraction - dense.weight_fraction)
    if bias is not None:
        bound += int(np.abs(bias.bias.astype(object)).max()) << (fraction - bias.bias_fraction)
    return signed_spanning(-bound, bound, fraction)


def reachable_thresholds(threshold: Threshold, x: IntegerType) -> np.ndarray:
    """The thresholds (Python integers), those that are never or always reached moved to the ends of the input's interval."""
    return np.minimum(np.maximum(threshold.thresholds.astype(object), x.minimum), x.maximum + 1)


def lower(graph: Graph, io_type: str) -> Lowered:
    """Every node that an output needs, and every input, as layers."""
    return _Lowering(graph, io_type).run()


class _Lowering:
    def __init__(self, graph: Graph, io_type: str) -> None:
        self._graph = graph
        self._stream = io_type == "io_stream"
        names = identifiers(node.name for node in graph.nodes)
        # No name that hls4ml makes up begins like this.
        self._identifier = {name: f"node_{identifier}" for name, identifier in names.items()}
        self._layers: list[Layer] = []
        self._tensor: dict[str, str] = {}  # node name -> layer whose result it is

    def run(self) -> Lowered:
        needed = self._needed()
        for node in self._graph.nodes:
            if node.name in needed:
                types = self._graph.input_types(node)
                self._add(node.operation, node, types[0] if types else self._graph.types[node.name])
        outputs = tuple((name, self._output(name, index)) for index, name in enumerate(self._left_by()))
        inputs = tuple((node.name, self._identifier[node.name]) for node in self._graph.inputs)
        self._check_readers()
        return Lowered(tuple(self._layers), inputs, outputs)

    def _left_by(self) -> list[str]:
        """Tensors that leave the graph, each once."""
        return list(dict.fromkeys(output.tensor for output in self._graph.outputs))

    def _needed(self) -> set[str]:
        needed = {*self._left_by(), *(node.name for node in self._graph.inputs)}
        for node in reversed(self._graph.nodes):
            if node.name in needed:
                needed.update(node.inputs)
        return needed

    def _output(self, name: str, index: int) -> str:
        """The layer that drives an output port: the node's own, or a copy where that one is read inside as well."""
        own = self._tensor[name]
        operation = self._graph.by_name[name].operation
        if not self._graph.consumers(name) and not isinstance(operation, Input | Reshape):
            return own
        identifier = f"output_{index}"
        self._layers.append(self._copy(identifier, name, own, self._graph.types[name]))
        return identifier

    def _copy(self, identifier: str, node: str, source: str, result: TensorType) -> Layer:
        return Layer(
            identifier,
            "BitwrightCopy",
            node,
            (source,),
            {"result": precision(result.element)},
            {"target_shape": result.shape, "parameters": {}},
        )

    def _check_readers(self) -> None:
        if not self._stream:
            return
        for layer in self._layers:
            readers = sum(layer.identifier in other.inputs for other in self._layers)
            if readers > MAXIMUM_STREAM_READERS:
                raise UnsupportedModel(
                    f"{layer.node}: its result is read {readers} times; hls4ml copies a stream at most "
                    f"{MAXIMUM_STREAM_READERS} times. Use io_parallel for this network"
                )

    def _append(self, node: Node, kind: str, result: str, attributes: dict[str, Any], **types: str) -> None:
        identifier = self._identifier[node.name]
        inputs = tuple(self._tensor[name] for name in node.inputs)
        self._layers.append(Layer(identifier, kind, node.name, inputs, {"result": result, **types}, attributes))
        self._tensor[node.name] = identifier

    def _extend(
        self, node: Node, kind: str, parameters: dict[str, Any], constants: np.ndarray | None = None, fraction: int = 0
    ) -> None:
        """Append one of the project's own layers."""
        result = self._graph.types[node.name]
        attributes: dict[str, Any] = {"target_shape": result.shape, "parameters": parameters}
        types: dict[str, str] = {}
        if constants is not None:
            attributes["constants_data"] = real_constants(constants, fraction)
            types["constants"] = precision(IntegerType.spanning(int(constants.min()), int(constants.max()), fraction))
            parameters["n_constants"] = constants.size
        self._append(node, kind, precision(result.element), attributes, **types)

    @singledispatchmethod
    def _add(self, operation: Operation, node: Node, x: TensorType) -> None:
        raise AssertionError(f"{node} was not refused and has no lowering")

    @_add.register
    def _(self, operation: Input, node: Node, x: TensorType) -> None:
        self._append(node, "InputLayer", precision(x.element), {"input_shape": list(x.shape)})

    @_add.register
    def _(self, operation: Dense, node: Node, x: TensorType) -> None:
        bias_node = folded_bias(self._graph, node)
        bias = bias_node.operation if bias_node else None
        assert bias is None or isinstance(bias, AddBias)
        weight_type = operation.weight_type
        types = {
            "weight": precision(weight_type),
            "accum": precision(accumulator(operation, x.element, bias)),
        }
        attributes: dict[str, Any] = {
            "n_in": operation.weights.shape[0],
            "n_out": operation.weights.shape[1],
            "data_format": "channels_last",
            "weight_data": real_constants(operation.weights, operation.weight_fraction),
            "bias_data": None,
        }
        if bias is not None:
            bias_type = IntegerType.spanning(int(bias.bias.min()), int(bias.bias.max()), bias.bias_fraction)
            attributes["bias_data"] = real_constants(bias.bias, bias.bias_fraction)
            types["bias"] = precision(bias_type)
        last = bias_node or node
        identifier = self._identifier[last.name]
        types["result"] = precision(self._graph.types[last.name].element)
        self._layers.append(Layer(identifier, "Dense", last.name, (self._tensor[node.inputs[0]],), types, attributes))
        self._tensor[node.name] = self._tensor[last.name] = identifier

    @_add.register
    def _(self, operation: AddBias, node: Node, x: TensorType) -> None:
        if node.name not in self._tensor:  # else the Dense before it has taken it up
            parameters = {"n_channels": x.channels}
            self._extend(node, "BitwrightAddBias", parameters, operation.bias, operation.bias_fraction)

    @_add.register
    def _(self, operation: Requantise, node: Node, x: TensorType) -> None:
        quantisation = QUANTISATION.get(operation.rounding)
        overflow = saturation_mode(operation.target, operation.overflow)
        target = operation.target
        same_word = (target.signed, target.width, target.fraction) == (
            x.element.signed,
            x.element.width,
            x.element.fraction,
        )
        if same_word and target.minimum <= x.element.minimum and x.element.maximum <= target.maximum:
            # hls4ml would take such an activation out, and an output port could then be the very array of an input.
            self._extend(node, "BitwrightCopy", {})
            return
        # ap_fixed's own model stops at a bit beyond the word when more bits are dropped than there are.
        narrow = operation.shift(x.element) > x.element.width
        if quantisation is None or overflow is None or overflow == "WRAP_SM" or narrow:
            self._extend(node, "BitwrightRequantise", _requantise_parameters(operation, x.element))
            return
        self._append(node, "Activation", precision(operation.target, quantisation, overflow), {"activation": "linear"})

    @_add.register
    def _(self, operation: Relu, node: Node, x: TensorType) -> None:
        if operation == Relu():
            self._append(node, "Activation", precision(self._graph.types[node.name].element), {"activation": "relu"})
            return
        shift = operation.negative_slope_shift or 0
        bound = operation.upper_bound
        bounded = bound is not None and bound < x.element.maximum << shift
        integer = signed_spanning(min(x.element.minimum, 0), max(x.element.maximum << shift, 0))
        parameters = {
            "shift": shift,
            "leaky": operation.negative_slope_shift is not None,
            "bounded": bounded,
            "bound": bound if bounded else 0,
            "integer_t": f"ap_int<{integer.width}>",
        }
        self._extend(node, "BitwrightRelu", parameters)

    @_add.register
    def _(self, operation: Threshold, node: Node, x: TensorType) -> None:
        constants = reachable_thresholds(operation, x.element)
        result = self._graph.types[node.name].element
        integer = signed_spanning(result.lowest, result.highest)
        parameters = {
            "n_channels": x.channels,
            "n_thresholds": constants.shape[1],
            "per_channel": constants.shape[0] > 1,
            "offset": operation.offset,
            "integer_t": f"ap_int<{integer.width}>",
        }
        self._extend(node, "BitwrightThreshold", parameters, constants, x.element.fraction)

    @_add.register
    def _(self, operation: ArgMax, node: Node, x: TensorType) -> None:
        index_type = self._graph.types[node.name].element
        self._extend(node, "BitwrightArgMax", {"n_channels": x.channels, "index_t": f"ap_uint<{index_type.width}>"})

    @_add.register
    def _(self, operation: Reshape, node: Node, x: TensorType) -> None:
        # Parallel arrays are flat, so another shape costs nothing. A stream has to be packed anew, unless all its
        # readers are Dense layers, which collect packets of any size.
        readers = self._graph.consumers(node.name)
        flattened = len(operation.shape) == 1 and readers and all(isinstance(r.operation, Dense) for r in readers)
        leaves = any(output.tensor == node.name for output in self._graph.outputs)
        if self._stream and (not flattened or leaves or len(readers) > 1):
            self._extend(node, "BitwrightCopy", {})
        else:
            self._append(node, "Reshape", precision(x.element), {"target_shape": list(operation.shape)})


#: How x >= 0 and x < 0 are rounded where one ap_fixed mode does not do it; '' is upwards.
_TWO_SIDED: dict[Rounding, tuple[str, str]] = {
    Rounding.CEILING: ("", "TRN_ZERO"),
    Rounding.AWAY: ("", "TRN"),
    Rounding.HALF_DPU: ("RND_CONV", "RND"),
}


def _requantise_parameters(operation: Requantise, x: IntegerType) -> dict[str, Any]:
    target = operation.target
    shift = operation.shift(x)
    nonnegative, negative = _TWO_SIDED.get(operation.rounding) or (QUANTISATION[operation.rounding],) * 2
    exact = signed_spanning(-x.magnitude - (2 << max(shift, 0)), x.magnitude + (2 << max(shift, 0)), x.fraction)
    bound = ((x.magnitude >> shift) + 1 if shift > 0 else x.magnitude << -shift) + 1
    rounded = signed_spanning(min(-bound, target.minimum), max(bound, target.maximum), target.fraction)
    mode = saturation_mode(target, operation.overflow)
    own = mode is None
    return {
        "up": not nonnegative,
        "clamped": own and operation.overflow.value == "saturate",
        "zeroed": own and operation.overflow.value == "saturate_zero",
        "lowest": target.minimum if own else 0,
        "highest": target.maximum if own else 0,
        "exact_t": ap_fixed(exact),
        "floor_t": ap_fixed(rounded),
        "nonnegative_t": ap_fixed(rounded, nonnegative or "TRN"),
        "negative_t": ap_fixed(rounded, negative),
        "fitted_t": ap_fixed(target, "TRN", mode or "WRAP"),
    }


LOWERED: tuple[type[Operation], ...] = (Input, Dense, AddBias, Requantise, Relu, Threshold, ArgMax, Reshape)
