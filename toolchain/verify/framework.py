# SPDX-License-Identifier: Apache-2.0
"""Rung 1 of the ladder: the framework's own output equals the interpreter's, integer by integer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.errors import InputError, UsageError
from toolchain.frontends import LoadedModel
from toolchain.ir import Graph, Output, host_order, interpret, quantise_input, real_inputs
from toolchain.verify.float32 import error_bounds, output_bound

#: How far, in steps of the output type, a framework's output may lie from a whole step and still stand for it: what float32
#: arithmetic can be off by, in the worst case, but within these. At most a quarter, far from the 0.5 at which a neighbour
#: would be meant, so a wrong integer cannot pass.
SMALLEST_TOLERANCE_STEPS, LARGEST_TOLERANCE_STEPS = 2.0**-10, 0.25

SUMS_REMARK = (
    "sums of this model can pass 2**24 steps, where the framework's float32 arithmetic rounds and the graph stays exact; "
    "narrower weights or activations avoid that"
)


@dataclass(frozen=True)
class FrameworkMismatch:
    """The first difference: `expected` is the interpreter's integer, `found` the framework's, at `index` of the output named."""

    vector: int
    index: tuple[int, ...]
    expected: int
    found: int
    output: str = ""


@dataclass(frozen=True)
class FrameworkComparison:
    """How many vectors were compared, how many single values differed, and where the first one did.

    remark: '' or why a difference may be the framework's own float32 rounding, for the report.
    """

    vectors: int
    mismatches: int
    first_mismatch: FrameworkMismatch | None
    remark: str = ""


def compare_framework(model: LoadedModel, x: np.ndarray | Mapping[str, np.ndarray]) -> FrameworkComparison:
    """Run `x` through the framework and through the interpreter and compare every value of every output as an integer.

    x: real inputs of shape (samples, *input shape), axes in the user's order; by the inputs' names where there are several.
        Where the model does not quantise its own inputs, `x` is first moved to the steps of the declared input type, for both
        sides.
    Outputs are compared with their axes in the user's order too. The framework's real output y stands for the integer nearest to
    ``(y - offset) / scale * 2**fraction``; where the distance to it is more than float32 arithmetic explains (and never more
    than a quarter), the framework's arithmetic did not yield a value of the output type at all.
    Raises UsageError for a model without a framework, InputError for inputs that the model refuses and for framework outputs
    that are off the grid.
    """
    if model.run is None:
        raise UsageError(f"{model.name}: a graph file has no framework to compare with")
    graph = model.graph
    feeds = _by_name(graph, x)
    quantised = {node.name: quantise_input(node, feeds[node.name]).integers for node in graph.inputs}
    results = interpret(graph, quantised)
    if model.quantises_input:
        real = feeds
    else:
        real = {node.name: real_inputs(node, quantised[node.name]) for node in graph.inputs}
    found = model.run(real if len(real) > 1 else next(iter(real.values())))
    bounds = error_bounds(graph)
    count, first = 0, None
    for number, output in enumerate(graph.outputs):
        y = _output(found, number, output, len(graph.outputs))
        different, expected, integers = _differences(model, output, results[output.tensor], y, bounds)
        count += int(different.sum())
        if first is None and different.any():
            position = tuple(int(i) for i in np.argwhere(different)[0])
            first = FrameworkMismatch(
                position[0], position[1:], int(expected[position]), int(integers[position]), output.name
            )
    rounds = graph.metadata.get("framework_sums_exact") == "no"
    samples = len(next(iter(feeds.values())))
    return FrameworkComparison(samples, count, first, SUMS_REMARK if rounds else "")


def _by_name(graph: Graph, x: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [node.name for node in graph.inputs]
    if not isinstance(x, Mapping):
        if len(names) != 1:
            raise InputError(f"the model has inputs {names}: give one array for each, by name")
        x = {names[0]: x}
    missing = [name for name in names if name not in x]
    if missing:
        raise InputError(f"input {missing[0]!r} is missing; found {sorted(x)}")
    return {name: np.asarray(x[name]) for name in names}


def _output(found: Any, number: int, output: Output, count: int) -> np.ndarray:
    """One output of the framework, which gives an array, or several by name or in order."""
    if isinstance(found, Mapping):
        found = found[output.name]
    elif isinstance(found, (list, tuple)) and count > 1:
        found = found[number]
    return np.asarray(found, dtype=np.float64)


def _differences(
    model: LoadedModel, output: Output, integers: np.ndarray, y: np.ndarray, bounds: dict[str, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(where they differ, the interpreter's integers, the framework's) for one output, in the user's order."""
    graph = model.graph
    element = graph.types[output.tensor].element
    if element.magnitude >= 1 << 53:
        raise UsageError(f"{model.name}: output type {element} is too wide to compare with float values")
    ones = (1,) * (integers.ndim - 1)
    scale, offset = (
        host_order(output, np.broadcast_to(np.array(values), (*ones, integers.shape[-1])))
        for values in (output.scale, output.offset)
    )
    expected = host_order(output, integers)
    y = y.reshape(expected.shape)
    steps = np.ldexp((y - offset) / scale, element.fraction)
    found = np.rint(steps)
    tolerance = min(max(output_bound(graph, output, bounds), SMALLEST_TOLERANCE_STEPS), LARGEST_TOLERANCE_STEPS)
    # Not <=, so that NaN is caught.
    off_grid = ~(np.abs(steps - found) < tolerance)
    if off_grid.any():
        position = tuple(int(i) for i in np.argwhere(off_grid)[0])
        raise InputError(
            f"{model.name}: {int(off_grid.sum())} of {y.size} outputs of {model.framework} are not values of the output type "
            f"{element}; first: vector {position[0]}, index {list(position[1:])}, value {y[position]!r} "
            f"({steps[position]:.6f} steps)"
        )
    return found != expected.astype(np.float64), expected, found
