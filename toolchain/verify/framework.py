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
from toolchain.verify.near_ties import NearTies

#: How far, in steps of the output type, a framework's output may lie from a whole step and still stand for it: what float32
#: arithmetic can be off by, in the worst case, but within these. At most a quarter, far from the 0.5 at which a neighbour
#: would be meant, so a wrong integer cannot pass.
SMALLEST_TOLERANCE_STEPS, LARGEST_TOLERANCE_STEPS = 2.0**-10, 0.25

#: Vectors with differences that are looked into one by one; more are no rounding.
MAXIMUM_EXPLAINED_VECTORS = 200

EXPLAINED_REMARK = (
    "{} of the {} differing values are the framework's own float32 rounding: it decided otherwise where an exact value lies within "
    "its error of a tie, or the output's steps are finer than float32 tells apart"
)
SUMS_REMARK = (
    "values between the quantisers of this model (sums, or what a batch norm or a free scale makes of them) can need more than the "
    "24 bits of float32: there the framework rounds, and the graph stays exact"
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
    """How many vectors were compared, how many single values of the outputs differed, and where the first one did.

    Every differing value counts once, as one of two:
    mismatches: differences without an explanation; any of them means that graph and framework are not the same network.
    explained_ties: differences that the framework's own float32 rounding accounts for, by reproduction (see
        `toolchain.verify.near_ties`) or because an output's steps are finer than float32 tells apart.
    first_mismatch: the first of the mismatches; None where there is none.
    remark: '' or why values differ or may differ.
    """

    vectors: int
    mismatches: int
    first_mismatch: FrameworkMismatch | None
    remark: str = ""
    explained_ties: int = 0

    @property
    def differing_values(self) -> int:
        """All values that differ, explained or not: 0 where the framework's float32 is exact."""
        return self.mismatches + self.explained_ties


def compare_framework(model: LoadedModel, x: np.ndarray | Mapping[str, np.ndarray]) -> FrameworkComparison:
    """Run `x` through the framework and through the interpreter and compare every value of every output as an integer.

    x: real inputs of shape (samples, *input shape), axes in the user's order; by the inputs' names where there are several.
        Where the model does not quantise its own inputs, `x` is first moved to the steps of the declared input type, for both
        sides; else both sides get it as float32, which is what frameworks compute with.
    Outputs are compared with their axes in the user's order too. The framework's real output y stands for the integer nearest to
    ``(y - offset) / scale * 2**fraction``; where the distance to it is more than float32 arithmetic explains (and more than a
    quarter), the framework's arithmetic did not yield a value of the output type at all.
    Raises UsageError for a model without a framework, InputError for inputs that the model refuses and for framework outputs
    that are off the grid.
    """
    if model.run is None:
        raise UsageError(f"{model.name}: a graph file has no framework to compare with")
    graph = model.graph
    feeds = _by_name(graph, x, as_float32=model.quantises_input)
    quantised = {node.name: quantise_input(node, feeds[node.name]).integers for node in graph.inputs}
    results = interpret(graph, quantised)
    if model.quantises_input:
        real = feeds
    else:
        real = {node.name: real_inputs(node, quantised[node.name]) for node in graph.inputs}
    found = model.run(real if len(real) > 1 else next(iter(real.values())))
    bounds = error_bounds(graph)
    compared = []
    for number, output in enumerate(graph.outputs):
        y = _output(found, number, output, len(graph.outputs))
        compared.append(_compared(model, output, results[output.tensor], y, output_bound(graph, output, bounds)))
    explained = _explained(model, compared, quantised, real)
    first = None
    for part in compared:
        left = part.different & ~part.is_fine & ~explained.reshape(-1, *(1,) * (part.different.ndim - 1))
        if left.any() and first is None:
            position = tuple(int(i) for i in np.argwhere(left)[0])
            first = FrameworkMismatch(
                position[0], position[1:], int(part.expected[position]), int(part.found[position]), part.output.name
            )
    count = sum(int(part.different.sum()) for part in compared)
    accounted = sum(
        int((part.different & (part.is_fine | explained.reshape(-1, *(1,) * (part.different.ndim - 1)))).sum())
        for part in compared
    )
    rounds = graph.metadata.get("framework_sums_exact") == "no"
    remarks = [SUMS_REMARK] * rounds + [EXPLAINED_REMARK.format(accounted, count)] * bool(accounted)
    return FrameworkComparison(len(explained), count - accounted, first, "; ".join(remarks), accounted)


def _by_name(graph: Graph, x: np.ndarray | Mapping[str, np.ndarray], *, as_float32: bool) -> dict[str, np.ndarray]:
    names = [node.name for node in graph.inputs]
    if not isinstance(x, Mapping):
        if len(names) != 1:
            raise InputError(f"the model has inputs {names}: give one array for each, by name")
        x = {names[0]: x}
    missing = [name for name in names if name not in x]
    if missing:
        raise InputError(f"input {missing[0]!r} is missing; found {sorted(x)}")
    arrays = {name: np.asarray(x[name]) for name in names}
    if as_float32:
        arrays = {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}
    return arrays


def _output(found: Any, number: int, output: Output, count: int) -> np.ndarray:
    """One output of the framework, which gives an array, or several by name or in order."""
    if isinstance(found, Mapping):
        found = found[output.name]
    elif isinstance(found, (list, tuple)) and count > 1:
        found = found[number]
    return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True)
class _Compared:
    """One output in the user's order: the interpreter's integers, the framework's, and where they differ.

    is_fine: where the difference is within float32's error on steps that are finer than it tells apart.
    """

    output: Output
    expected: np.ndarray
    found: np.ndarray
    different: np.ndarray
    is_fine: np.ndarray


def _compared(model: LoadedModel, output: Output, integers: np.ndarray, y: np.ndarray, bound: float) -> _Compared:
    """bound: what float32 arithmetic can be off by at this output, in steps."""
    graph = model.graph
    element = graph.types[output.tensor].element
    ones = (1,) * (integers.ndim - 1)
    scale, offset = (
        host_order(output, np.broadcast_to(np.array(values), (*ones, integers.shape[-1])))
        for values in (output.scale, output.offset)
    )
    expected = host_order(output, integers)
    y = y.reshape(expected.shape)
    steps = np.ldexp((y - offset) / scale, element.fraction)
    found = np.rint(steps)
    distance = np.abs(steps - expected.astype(np.float64))
    is_fine = (distance <= bound) & (bound > LARGEST_TOLERANCE_STEPS)
    tolerance = min(max(bound, SMALLEST_TOLERANCE_STEPS), LARGEST_TOLERANCE_STEPS)
    # Not <=, so that NaN is caught.
    off_grid = ~((np.abs(steps - found) < tolerance) | is_fine)
    if off_grid.any():
        position = tuple(int(i) for i in np.argwhere(off_grid)[0])
        raise InputError(
            f"{model.name}: {int(off_grid.sum())} of {y.size} outputs of {model.framework} are not values of the output type "
            f"{element}; first: vector {position[0]}, index {list(position[1:])}, value {y[position]!r} "
            f"({steps[position]:.6f} steps)"
        )
    return _Compared(output, expected, found, found != expected.astype(np.float64), is_fine)


def _explained(
    model: LoadedModel, compared: list[_Compared], integers: dict[str, np.ndarray], real: dict[str, np.ndarray]
) -> np.ndarray:
    """For each vector: whether turning over what float32 may have decided otherwise gives all of the framework's outputs."""
    samples = len(compared[0].different)
    wrong = np.zeros(samples, bool)
    for part in compared:
        wrong |= (part.different & ~part.is_fine).reshape(samples, -1).any(axis=1)
    explained = np.zeros(samples, bool)
    vectors = np.flatnonzero(wrong)
    if len(vectors) > MAXIMUM_EXPLAINED_VECTORS or any(part.is_fine.any() for part in compared):
        return explained
    near = NearTies(model.graph, model.ties)
    for vector in vectors:
        one = slice(vector, vector + 1)
        wanted = {part.output.tensor: _graph_order(part.output, part.found[one]) for part in compared}
        ours, theirs = ({name: array[one] for name, array in arrays.items()} for arrays in (integers, real))
        explained[vector] = near.reproduces(ours, theirs, wanted) is not None
    return explained


def _graph_order(output: Output, array: np.ndarray) -> np.ndarray:
    """The reverse of `host_order`."""
    if not output.axes:
        return array
    return array.transpose(0, *(output.axes.index(axis) + 1 for axis in range(len(output.axes))))
