# SPDX-License-Identifier: Apache-2.0
"""Encode activations that take two values, such as -1 and +1, in one bit.

A sign is a Threshold whose result is one of two integers, and which needs two bits as a number. Behind it stand matrix
products, and W (a + m c) = m W c + a W 1: with the bit c in the stream, the two values cost a bias. A product of weights of
-1 and +1 with c is a count of ones, as XNOR gates before a counter would compute it from signs.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from toolchain.ir import AddBias, Conv, Dense, Graph, MaxPool, Node, Reshape, Threshold, check

#: What may stand between a sign and the products: it hands elements on, and the larger of two stays the larger.
_HANDS_ON = (Reshape, MaxPool)


def encode_signs(graph: Graph, *, same_words: bool = True) -> Graph:
    """The graph with each two-valued Threshold as a bit, where only matrix products read it; `graph` itself if there is none.

    The two values must be a power of two apart, 2 at least. Between the Threshold and the Dense or Conv layers there may be
    Reshape and MaxPool. The layer's bias takes up the difference: that of the AddBias behind it if nothing else reads the layer,
    else a new AddBias `<layer>_signs`. All results that leave the graph stay the same integers, with `same_words` in the same
    words: where a bias would make an output's word wider, that Threshold then stays as it is, which depends on the weights.
    """
    for node in graph.nodes:
        if isinstance(node.operation, Threshold) and _two_values(node.operation):
            graph = _encode(graph, graph.by_name[node.name], same_words) or graph
    return graph


def _two_values(threshold: Threshold) -> bool:
    """Whether the result is one of two integers that are a power of two apart, 2 or more."""
    count = threshold.thresholds.shape[1]
    return count >= 2 and count & (count - 1) == 0 and bool((threshold.thresholds == threshold.thresholds[:, :1]).all())


def _encode(graph: Graph, sign: Node, same_words: bool) -> Graph | None:
    found = _products_behind(graph, sign)
    if found is None:
        return None
    assert isinstance(sign.operation, Threshold)
    step, lower = sign.operation.thresholds.shape[1].bit_length() - 1, sign.operation.offset
    # A bit stands for 2**step at the result's binary point.
    bit = Threshold(sign.operation.thresholds[:, :1], 0, sign.operation.fraction - step)
    changed: dict[str, list[Node]] = {sign.name: [replace(sign, operation=bit)]}
    renamed: dict[str, str] = {}
    for node in found:
        operation = node.operation
        assert isinstance(operation, Dense | Conv)
        sums = operation.weights.astype(object).reshape(-1, operation.weights.shape[-1]).sum(axis=0)
        fraction = sign.operation.fraction + operation.weight_fraction
        bias = AddBias(_narrowed(sums * lower), fraction)
        behind = _own_bias(graph, node)
        if behind is None:
            added = Node(_unused(graph, f"{node.name}_signs"), bias, (node.name,), node.source)
            changed[node.name] = [node, added]
            renamed[node.name] = added.name
        else:
            assert isinstance(behind.operation, AddBias)
            changed[behind.name] = [replace(behind, operation=_sum(behind.operation, bias))]
    nodes: list[Node] = []
    for node in graph.nodes:
        here = changed.get(node.name, [node])
        first = replace(here[0], inputs=tuple(renamed.get(name, name) for name in here[0].inputs))
        nodes += [first, *here[1:]]
    outputs = tuple(replace(output, tensor=renamed.get(output.tensor, output.tensor)) for output in graph.outputs)
    encoded = replace(graph, nodes=tuple(nodes), outputs=outputs)
    for before, after in zip(graph.outputs, encoded.outputs, strict=True):
        if same_words and _word(graph, before.tensor) != _word(encoded, after.tensor):
            return None
    return check(encoded)


def _word(graph: Graph, tensor: str) -> tuple[bool, int, int]:
    element = graph.types[tensor].element
    return element.signed, element.width, element.fraction


def _products_behind(graph: Graph, sign: Node) -> list[Node] | None:
    """The Dense and Conv layers that read the node's result, if nothing else does."""
    products: dict[str, Node] = {}
    waiting = [sign]
    while waiting:
        node = waiting.pop()
        if any(output.tensor == node.name for output in graph.outputs):
            return None
        for reader in graph.consumers(node.name):
            if isinstance(reader.operation, Dense | Conv):
                products[reader.name] = reader
            elif isinstance(reader.operation, _HANDS_ON):
                waiting.append(reader)
            else:
                return None
    return list(products.values()) or None


def _own_bias(graph: Graph, node: Node) -> Node | None:
    """The AddBias behind a layer that nothing else reads."""
    readers = graph.consumers(node.name)
    leaves = any(output.tensor == node.name for output in graph.outputs)
    return readers[0] if len(readers) == 1 and not leaves and isinstance(readers[0].operation, AddBias) else None


def _sum(first: AddBias, second: AddBias) -> AddBias:
    fraction = max(first.bias_fraction, second.bias_fraction)
    terms = [bias.bias.astype(object) * (1 << (fraction - bias.bias_fraction)) for bias in (first, second)]
    return AddBias(_narrowed(terms[0] + terms[1]), fraction)


def _narrowed(values: np.ndarray) -> np.ndarray:
    """Python integers as int64 where they fit."""
    largest = max(abs(int(value)) for value in values) if prod(values.shape) else 0
    return values.astype(np.int64) if largest < 1 << 62 else values


def _unused(graph: Graph, name: str) -> str:
    while name in graph.by_name:
        name += "_"
    return name
