# SPDX-License-Identifier: Apache-2.0
"""How far a framework that computes in float32 can be from the graph's exact values.

Every operation of a framework rounds to float32, a relative error of at most 2**-24 of what it adds or multiplies. The bounds
here are worst cases: n terms are summed with at most n roundings of the largest partial sum that can occur.
"""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.ir import Add, AddBias, Concatenate, Graph, Input, Multiply, Node, Output, Relu, Scale, SumPool
from toolchain.ir.products import WeightedSums

#: The largest relative error of one rounding to float32.
UNIT = 2.0**-24
#: Roundings by which a framework may come from a result in the graph to the value that it quantises or returns: products with
#: scales and the steps of a batch norm, which are no operations of the graph.
AFFINE_ROUNDINGS = 8


def error_bounds(graph: Graph) -> dict[str, float]:
    """For each node: how far the framework's value can lie from the integer, in steps, if all quantised values before are equal."""
    bounds: dict[str, float] = {}
    for node in graph.nodes:
        bounds[node.name] = _bound(graph, node, [bounds[name] for name in node.inputs])
    return bounds


def largest_sums(graph: Graph) -> dict[str, float]:
    """For each node: what no term and no partial sum on the way from the last quantised values exceeds, in steps."""
    sums: dict[str, float] = {}
    for node in graph.nodes:
        operation, element = node.operation, graph.types[node.name].element
        inputs = [_size(graph, name) for name in node.inputs]
        aligned = [sums[name] * 2.0 ** (element.fraction - graph.types[name].element.fraction) for name in node.inputs]
        if isinstance(operation, WeightedSums):
            found = operation.largest_sum * inputs[0]
        elif isinstance(operation, SumPool):
            found = prod(operation.window) * inputs[0]
        elif isinstance(operation, (Add, AddBias, Relu)):
            found = sum(aligned)
        elif operation.kind in _PASS_ON:
            found = sums[node.inputs[0]]
        else:
            found = 0.0
        sums[node.name] = max(found, _size(graph, node.name))
    return sums


def _bound(graph: Graph, node: Node, before: list[float]) -> float:
    operation, element = node.operation, graph.types[node.name].element
    inputs = [graph.types[name].element for name in node.inputs]
    sizes = [_size(graph, name) for name in node.inputs]
    rounding = UNIT * _size(graph, node.name)
    if isinstance(operation, WeightedSums):
        terms = prod(operation.weights.shape[:-1])
        total = float(operation.largest_sum)
        return total * before[0] + (terms + 2) * UNIT * total * sizes[0]
    if isinstance(operation, SumPool):
        terms = prod(operation.window)
        return terms * before[0] + terms * UNIT * terms * sizes[0]
    if isinstance(operation, Multiply):
        return before[0] * sizes[1] + before[1] * sizes[0] + before[0] * before[1] + 3 * rounding
    if isinstance(operation, Scale):
        return before[0] * float(np.abs(operation.factors).max()) + 2 * rounding
    if isinstance(operation, (Add, AddBias, Concatenate)):
        aligned = [
            error * 2.0 ** (element.fraction - kind.fraction) for error, kind in zip(before, inputs, strict=True)
        ]
        return (max(aligned) if isinstance(operation, Concatenate) else sum(aligned)) + 2 * rounding
    if isinstance(operation, Relu):
        return before[0] * 2.0 ** (element.fraction - inputs[0].fraction) + rounding
    if operation.kind in _PASS_ON:
        return before[0]
    # Inputs, constants and all that quantises: an integer times a step, rounded.
    return 2 * rounding


def _size(graph: Graph, name: str) -> float:
    """The largest magnitude of the framework's value, in steps: an input's offset is part of it."""
    node = graph.by_name[name]
    if node.operation.kind in _PASS_ON:
        return _size(graph, node.inputs[0])
    element = graph.types[name].element
    if isinstance(node.operation, Input):
        offset = abs(node.operation.offset) / node.operation.scale
        return float(element.magnitude) + offset * 2.0**element.fraction
    return float(element.magnitude)


#: Operations whose values are some of their input's.
_PASS_ON = {"insert_zeros", "max_pool", "pad", "reshape", "slice", "transpose", "upsample"}


def output_bound(graph: Graph, output: Output, bounds: dict[str, float]) -> float:
    """The same for the real values of an output."""
    element = graph.types[output.tensor].element
    offset = max(abs(o) / s for o, s in zip(*np.broadcast_arrays(output.offset, output.scale), strict=True))
    size = float(element.magnitude) + offset * 2.0**element.fraction
    return bounds[output.tensor] + AFFINE_ROUNDINGS * UNIT * size
