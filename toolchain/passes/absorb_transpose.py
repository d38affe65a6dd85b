# SPDX-License-Identifier: Apache-2.0
"""Absorb a transposition that stands before a dense layer into the order of the layer's weights.

A framework that keeps channels first flattens an image in that order; the graph keeps channels last, so a Transpose stands
before the Reshape. Streaming hardware would have to hold the whole image for it. The sums of the dense layer do not depend on
the order of their terms, so its weight rows can be in the order in which the image arrives anyway.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from toolchain.ir import (
    Dense,
    Graph,
    Lookup,
    Node,
    Operation,
    Relu,
    Requantise,
    Reshape,
    Scale,
    Threshold,
    Transpose,
    check,
)


def absorb_transpose(graph: Graph) -> Graph:
    """The graph without every Transpose that only a Reshape to one axis and a Dense behind it see; `graph` itself if none is.

    Between the three there may be operations that do the same to each element: requantise, relu, and scale, threshold and
    lookup with one entry or row for all channels. Each result on the way is read once and is no output. The weight rows of the
    Dense are permuted, so every sum has the same terms. All other nodes, all names and sources stay as they are, and the graph
    computes the same integers.
    """
    while (found := _find(graph)) is not None:
        graph = _absorb(graph, *found)
    return graph


def _find(graph: Graph) -> tuple[Node, Node] | None:
    """(the Transpose, the Dense) of the first place where the pass applies."""
    reads = Counter(name for node in graph.nodes for name in node.inputs)
    reads.update(output.tensor for output in graph.outputs)
    for dense in graph.nodes:
        if not isinstance(dense.operation, Dense):
            continue
        node, flattened = graph.by_name[dense.inputs[0]], False
        while reads[node.name] == 1:
            operation = node.operation
            if flattened and isinstance(operation, Transpose):
                return node, dense
            if not flattened and isinstance(operation, Reshape) and len(operation.shape) == 1:
                flattened = True
            elif not _same_for_each_element(operation):
                break
            node = graph.by_name[node.inputs[0]]
    return None


def _same_for_each_element(operation: Operation) -> bool:
    if isinstance(operation, Threshold):
        return len(operation.thresholds) == 1
    if isinstance(operation, Lookup):
        return len(operation.table) == 1
    if isinstance(operation, Scale):
        return len(operation.factors) == 1
    return isinstance(operation, Relu | Requantise)


def _absorb(graph: Graph, transpose: Node, dense: Node) -> Graph:
    before = graph.input_types(transpose)[0]
    permutation, operation = transpose.operation, dense.operation
    assert isinstance(permutation, Transpose)
    assert isinstance(operation, Dense)
    # order[j]: where the element at place j of the transposed image stands in the image as it is.
    order = np.arange(before.size).reshape(before.shape).transpose(permutation.permutation).reshape(-1)
    weights = np.empty_like(operation.weights)
    weights[order] = operation.weights
    nodes = []
    for node in graph.nodes:
        if node is transpose:
            continue
        inputs = tuple(transpose.inputs[0] if name == transpose.name else name for name in node.inputs)
        if node is dense:
            nodes.append(replace(node, operation=Dense(weights, operation.weight_fraction), inputs=inputs))
        else:
            nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
    return check(graph.replace_nodes(tuple(nodes)))
