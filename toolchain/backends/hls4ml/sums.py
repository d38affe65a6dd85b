# SPDX-License-Identifier: Apache-2.0
"""Lowerings of sums of products with constant weights, and of the bias that follows them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from toolchain.backends.hls4ml.lowering import Layer, Lowering, lowers
from toolchain.backends.hls4ml.windows import window_parameters
from toolchain.backends.hls4ml.words import fixed_word, precision, real_constants, signed_spanning
from toolchain.ir import AddBias, Conv, Dense, Graph, IntegerType, Node, TensorType

#: hls4ml turns a Dense over rows into a convolution of one or two dimensions.
_MAXIMUM_DENSE_AXES = 3


def folded_bias(graph: Graph, node: Node) -> Node | None:
    """The AddBias that becomes this sum's bias: it is the only reader, and the sum itself does not leave the graph."""
    readers = graph.consumers(node.name)
    leaves = any(output.tensor == node.name for output in graph.outputs)
    return readers[0] if len(readers) == 1 and isinstance(readers[0].operation, AddBias) and not leaves else None


def accumulator(sums: Dense | Conv, x: IntegerType, bias: AddBias | None) -> IntegerType:
    """A signed type that holds the bias and every partial sum, in whatever order HLS adds them."""
    fraction = max(x.fraction + sums.weight_fraction, bias.bias_fraction if bias else -(1 << 30))
    bound = sums.bound(x) << (fraction - x.fraction - sums.weight_fraction)
    if bias is not None:
        bound += int(np.abs(bias.bias.astype(object)).max()) << (fraction - bias.bias_fraction)
    return signed_spanning(-bound, bound, fraction)


@lowers(Dense)
def _(lowering: Lowering, node: Node, operation: Dense) -> None:
    (x,) = lowering.graph.input_types(node)
    attributes = {
        "n_in": operation.weights.shape[0],
        "n_out": operation.weights.shape[1],
        "data_format": "channels_last",
        "weight_data": real_constants(operation.weights, operation.weight_fraction),
    }
    (source,) = lowering.sources(node)
    if lowering.options.only_extensions:
        _rows(lowering, node, operation)
        return
    if len(x.shape) <= _MAXIMUM_DENSE_AXES:
        _with_bias(lowering, node, operation, "Dense", source, attributes)
        return
    # Rows of channels, whatever axes they were on.
    rows = (prod(x.shape[:-1]), x.channels)
    flat = lowering.part(node, "rows", "BitwrightCopy", (source,), TensorType(rows, x.element), {})
    _with_bias(lowering, node, operation, "Dense", flat, attributes, rows=rows[0])


def _rows(lowering: Lowering, node: Node, operation: Dense) -> None:
    """A dense layer as a window of one element over rows of channels, which needs no layer of hls4ml's own."""
    (x,) = lowering.graph.input_types(node)
    rows, one = prod(x.shape[:-1]), (1,)
    flat = TensorType((rows, x.channels), x.element)
    parameters = window_parameters(flat, TensorType((rows, operation.weights.shape[1]), x.element), one, one, one)
    parameters |= {
        "accum_t": fixed_word(accumulator(operation, x.element, None)),
        "group_inputs": x.channels,
        "group_outputs": operation.weights.shape[1],
        "reuse_factor": _requested(lowering, node),
    }
    lowering.extend(node, "BitwrightConv", parameters, operation.weights, operation.weight_fraction)


@lowers(Conv)
def _(lowering: Lowering, node: Node, operation: Conv) -> None:
    (x,) = lowering.graph.input_types(node)
    own = lowering.own(node)
    if own is not None:
        _with_bias(lowering, node, operation, own.kind, lowering.sources(node)[0], own.attributes)
        return
    parameters = window_parameters(x, lowering.type(node), operation.window, operation.strides, operation.dilation)
    parameters |= {
        "accum_t": fixed_word(accumulator(operation, x.element, None)),
        "group_inputs": operation.weights.shape[-2],
        "group_outputs": operation.output_channels // operation.groups,
        "reuse_factor": _requested(lowering, node),
    }
    lowering.extend(node, "BitwrightConv", parameters, operation.weights, operation.weight_fraction)


@lowers(AddBias)
def _(lowering: Lowering, node: Node, operation: AddBias) -> None:
    if node.name not in lowering.tensor:  # else the sum before it has taken it up
        parameters = {"n_channels": lowering.type(node).channels}
        lowering.extend(node, "BitwrightAddBias", parameters, operation.bias, operation.bias_fraction)


def _requested(lowering: Lowering, node: Node) -> int:
    """The reuse factor of one of the project's own layers, which is a pragma to AMD's compilers and nothing to others."""
    factor = lowering.options.reuse_factors.get(node.name, 1) if not lowering.options.only_extensions else 1
    lowering.note_sums(node, factor, plain=True)
    return factor


def _settings(lowering: Lowering, node: Node, kind: str) -> dict[str, Any]:
    """How hls4ml builds the layer's products. Depthwise layers know one way only."""
    strategy = lowering.options.strategy
    depthwise = kind.startswith("Depthwise")
    factor = 1 if depthwise else lowering.options.reuse_factors.get(node.name, 1)
    lowering.note_sums(node, factor, plain=depthwise)
    return {} if strategy == "latency" or depthwise else {"Strategy": strategy, "ReuseFactor": factor}


def _with_bias(
    lowering: Lowering,
    node: Node,
    operation: Dense | Conv,
    kind: str,
    source: str,
    attributes: dict[str, Any],
    *,
    rows: int | None = None,
) -> None:
    """Append a layer of hls4ml's own that does the node's work, and that of the bias after it.

    rows: the layer works on so many rows of channels, and the result gets its own shape after it.
    """
    (x,) = lowering.graph.input_types(node)
    settings = _settings(lowering, node, kind)
    bias_node = folded_bias(lowering.graph, node)
    bias = bias_node.operation if bias_node else None
    assert bias is None or isinstance(bias, AddBias)
    types = {
        "weight": precision(operation.weight_type),
        "accum": precision(accumulator(operation, x.element, bias)),
    }
    attributes = {**attributes, "bias_data": None}
    if bias is not None:
        bias_type = IntegerType.spanning(int(bias.bias.min()), int(bias.bias.max()), bias.bias_fraction)
        attributes["bias_data"] = real_constants(bias.bias, bias.bias_fraction)
        types["bias"] = precision(bias_type)
    last = bias_node or node
    result = lowering.type(last)
    types["result"] = precision(result.element)
    nodes = (node, last) if bias_node else (node,)
    identifier = lowering.identifier(last)
    if rows is None:
        lowering.add(Layer(identifier, kind, last.name, (source,), result.shape, types, attributes, settings), *nodes)
        return
    shape = (rows, result.channels)
    flat = Layer(f"{identifier}_sums", kind, last.name, (source,), shape, types, attributes, settings, partial=True)
    lowering.add(flat)
    parameters: dict[str, Any] = {"target_shape": result.shape, "parameters": {}}
    copy = Layer(
        identifier,
        "BitwrightCopy",
        last.name,
        (flat.identifier,),
        result.shape,
        {"result": types["result"]},
        parameters,
    )
    lowering.add(copy, *nodes)
