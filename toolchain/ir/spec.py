# SPDX-License-Identifier: Apache-2.0
"""The grammar of the integer graph, as a program. It runs on every graph that is built, loaded or returned by a pass."""

from __future__ import annotations

from math import isfinite

from toolchain.errors import SpecViolation
from toolchain.ir.graph import Graph
from toolchain.ir.operation import operations


def check(graph: Graph) -> Graph:
    """Return `graph` if it obeys every rule, else raise SpecViolation naming the node.

    Rules: node names are unique and not empty; every input is the result of an earlier node; each operation has its
    number of inputs and accepts their types; there is at least one graph input and one output; output names are unique;
    output scales are finite and positive, offsets finite, and both have one entry or one a channel; the axes of inputs and
    outputs are permutations.
    """
    seen: set[str] = set()
    for node in graph.nodes:
        if not node.name:
            raise SpecViolation(f"a node of operation {node.operation.kind!r} has an empty name")
        if node.name in seen:
            raise SpecViolation(f"{node}: the name is used twice; node names must be unique")
        if operations().get(node.operation.kind) is not type(node.operation):
            raise SpecViolation(f"{node}: operation {type(node.operation).__name__} is not registered")
        arity = node.operation.arity
        if arity is None and not node.inputs:
            raise SpecViolation(f"{node}: takes one or more inputs, found none")
        if arity is not None and len(node.inputs) != arity:
            raise SpecViolation(f"{node}: takes {arity} inputs, found {len(node.inputs)}")
        for name in node.inputs:
            if name not in seen:
                raise SpecViolation(f"{node}: input {name!r} is not the result of an earlier node")
        seen.add(node.name)
    types = graph.types  # raises for operations that do not accept their inputs
    if not graph.inputs:
        raise SpecViolation(f"graph {graph.name!r} has no input")
    if not graph.outputs:
        raise SpecViolation(f"graph {graph.name!r} has no output")
    names = [output.name for output in graph.outputs]
    if len(set(names)) != len(names):
        raise SpecViolation(f"graph {graph.name!r}: output names must be unique, found {names}")
    for output in graph.outputs:
        if output.tensor not in types:
            raise SpecViolation(f"output {output.name!r}: tensor {output.tensor!r} is not the result of a node")
        shape = types[output.tensor].shape
        if output.axes and sorted(output.axes) != list(range(len(shape))):
            raise SpecViolation(
                f"output {output.name!r}: axes {output.axes} must be a permutation of the {len(shape)} axes of {shape}"
            )
        channels = types[output.tensor].channels
        for label, values in (("scale", output.scale), ("offset", output.offset)):
            if len(values) not in (1, channels):
                raise SpecViolation(
                    f"output {output.name!r}: {label} has {len(values)} entries; allowed: 1 or {channels}"
                )
            if not all(isfinite(v) for v in values) or (label == "scale" and min(values) <= 0):
                raise SpecViolation(
                    f"output {output.name!r}: {label} must be finite{' and positive' * (label == 'scale')}"
                )
    return graph
