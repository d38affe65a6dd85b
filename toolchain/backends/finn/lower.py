# SPDX-License-Identifier: Apache-2.0
"""A network as FINN thinks of it: chains of biases, rectifiers, factors and quantisers become thresholds, exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from toolchain.ir import (
    AddBias,
    Graph,
    GraphBuilder,
    Lookup,
    Node,
    Overflow,
    Relu,
    Requantise,
    Scale,
    TensorType,
    Threshold,
)
from toolchain.ir.operation import Operation
from toolchain.ir.rounding import round_shift
from toolchain.ir.spec import check

#: Thresholds a channel that FINN's unit is built with here: a result of eight bits.
MOST_THRESHOLDS = 255
#: Values of one evaluation while thresholds are looked for.
_PIECE_ELEMENTS = 1 << 22


def lower(graph: Graph) -> Graph:
    """The same network with `Threshold` in the place of each chain of elementwise steps that never falls and quantises.

    A chain's nodes are read by nobody else; the threshold has the name of the chain's last node and gives the same integers.
    Chains whose result has more than 255 steps, or that may fall (a wrapping overflow, a negative factor), stay as they are.
    """
    reads = Counter(name for node in graph for name in node.inputs)
    reads.update(output.tensor for output in graph.outputs)
    chains = {chain[-1].name: chain for chain in _chains(graph, reads)}
    inside = {node.name for chain in chains.values() for node in chain[:-1]}
    builder = GraphBuilder(graph.name, dict(graph.metadata))
    for node in graph:
        if node.name in inside:
            continue
        if node.name in chains:
            chain = chains[node.name]
            source = next((part.source for part in reversed(chain) if part.source), "")
            threshold = as_threshold(chain, graph)
            builder.add(threshold, chain[0].inputs[0], name=node.name, source=source)
        else:
            builder.add(node.operation, *node.inputs, name=node.name, source=node.source)
    return check(Graph(graph.name, builder.nodes, graph.outputs, graph.metadata))


def _chains(graph: Graph, reads: Counter[str]) -> list[list[Node]]:
    """The longest chains that become thresholds, each from its first to its last node."""
    found: list[list[Node]] = []
    taken: set[str] = set()
    for node in graph:
        if node.name in taken or not _never_falls(node, graph):
            continue
        chain = [node]
        while reads[chain[-1].name] == 1:
            following = graph.consumers(chain[-1].name)
            if not following or not _never_falls(following[0], graph):
                break
            chain.append(following[0])
        taken.update(part.name for part in chain)
        while chain and not _ends_chain(chain, graph):
            chain.pop()
        if chain:
            found.append(chain)
    return found


def _ends_chain(chain: Sequence[Node], graph: Graph) -> bool:
    """Whether a chain may end with its last node: something quantises, and the steps are not too many."""
    element = graph.types[chain[-1].name].element
    quantises = any(isinstance(node.operation, Requantise | Lookup | Threshold) for node in chain)
    alone = len(chain) == 1 and isinstance(chain[0].operation, Threshold)
    return quantises and not alone and 1 <= element.maximum - element.minimum <= MOST_THRESHOLDS


def _never_falls(node: Node, graph: Graph) -> bool:
    """Whether an operation works element by element and a larger input never gives a smaller result."""
    operation = node.operation
    if isinstance(operation, AddBias | Relu | Threshold):
        return True
    if isinstance(operation, Scale):
        return int(operation.factors.min()) >= 0
    if isinstance(operation, Lookup):
        table = operation.reachable(graph.input_types(node)[0].element)
        return bool((table[:, 1:] >= table[:, :-1]).all())
    if isinstance(operation, Requantise):
        if operation.overflow is Overflow.SATURATE:
            return True
        # Rounding never falls; where no value of the interval overflows, it does not matter what overflow would do.
        element = graph.input_types(node)[0].element
        ends = np.array([element.minimum, element.maximum], dtype=object)
        low, high = (int(v) for v in round_shift(ends, operation.shift(element), operation.rounding))
        return operation.target.minimum <= low and high <= operation.target.maximum
    return False


def as_threshold(chain: Sequence[Node], graph: Graph) -> Threshold:
    """The one threshold operation that gives what the chain gives, for every input in its interval."""
    (before,) = graph.input_types(chain[0])
    after = graph.types[chain[-1].name].element
    operations = [node.operation for node in chain]
    lowest, highest = before.element.minimum, before.element.maximum
    levels = np.arange(after.minimum + 1, after.maximum + 1)
    rows = before.channels if _differs_by_channel(operations) else 1
    width = before.channels
    table = np.empty((rows, len(levels)), dtype=object)
    piece = max(1, _PIECE_ELEMENTS // width)
    for start in range(0, len(levels), piece):
        wanted = levels[start : start + piece]
        low = np.full((len(wanted), width), lowest, dtype=object)
        high = np.full((len(wanted), width), highest + 1, dtype=object)
        # The first input whose result reaches the level lies in [low, high]; highest + 1: none does.
        while (low < high).any():
            middle = (low + high) // 2
            reached = _apply(operations, np.minimum(middle, highest), before) >= wanted[:, None]
            reached &= middle <= highest
            open_ = low < high
            high = np.where(open_ & reached, middle, high)
            low = np.where(open_ & ~reached, middle + 1, low)
        table[:, start : start + piece] = low.T[:rows]
    fits = max(abs(lowest), abs(highest) + 1) < 1 << 62
    return Threshold(table.astype(np.int64) if fits else table, after.minimum, after.fraction)


def _differs_by_channel(operations: Sequence[Operation]) -> bool:
    for operation in operations:
        if isinstance(operation, AddBias) and len(set(operation.bias.tolist())) > 1:
            return True
        if isinstance(operation, Scale) and len(operation.factors) > 1:
            return True
        if isinstance(operation, Lookup) and len(operation.table) > 1:
            return True
        if isinstance(operation, Threshold) and len(operation.thresholds) > 1:
            return True
    return False


def _apply(operations: Sequence[Operation], x: np.ndarray, before: TensorType) -> np.ndarray:
    tensor = TensorType((before.channels,), before.element)
    value = x if max(abs(before.element.minimum), before.element.maximum) >= 1 << 62 else x.astype(np.int64)
    for operation in operations:
        value = operation.evaluate(value, types=(tensor,))
        tensor = operation.infer(tensor)
    return value
