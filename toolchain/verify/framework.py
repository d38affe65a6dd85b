# SPDX-License-Identifier: Apache-2.0
"""Rung 1 of the ladder: the framework's own output equals the interpreter's, integer by integer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolchainError, UsageError
from toolchain.frontends import LoadedModel
from toolchain.ir import Graph, Output, host_order, interpret, quantise_input, real_inputs
from toolchain.verify.float32 import error_bounds, output_bound
from toolchain.verify.near_ties import NearTies

#: How far, in steps of the output type, a framework's output may lie from a whole step and still stand for it: what float32
#: arithmetic can be off by, in the worst case, but within these. At most a quarter, far from the 0.5 at which a neighbour
#: would be meant, so a wrong integer cannot pass.
SMALLEST_TOLERANCE_STEPS, LARGEST_TOLERANCE_STEPS = 2.0**-10, 0.25

#: Elements of all results for the vectors that are followed at once; bounds memory at a few hundred MB.
_FOLLOWED_ELEMENTS = 1 << 22
#: Where the framework's own values within the network do not say which decisions to turn over, they are searched for: this long
#: for one vector, this long for all, and not after this many vectors for which there were none.
SEARCH_SECONDS_OF_VECTOR, SEARCH_SECONDS, MAXIMUM_UNEXPLAINED = 10.0, 120.0, 10

EXPLAINED_REMARK = (
    "{} of the {} differing values are the framework's own float32 rounding: it decided otherwise where an exact value lies within "
    "its error of a tie, or the output's steps are finer than float32 tells apart"
)
UNEXAMINED_REMARK = (
    "{} vectors that differ were not looked into, because the time for it was over or others have no explanation; they count as "
    "mismatches"
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
    unexamined_vectors: those among the vectors with mismatches for which no explanation was looked for; the remark says why.
    first_mismatch: the first of the mismatches; None where there is none.
    remark: '' or why values differ or may differ.
    """

    vectors: int
    mismatches: int
    first_mismatch: FrameworkMismatch | None
    remark: str = ""
    explained_ties: int = 0
    unexamined_vectors: int = 0

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
    bounds = error_bounds(graph, model.deviations)
    compared = []
    for number, output in enumerate(graph.outputs):
        y = _output(found, number, output, len(graph.outputs))
        compared.append(_compared(model, output, results[output.tensor], y, output_bound(graph, output, bounds)))
    explained, unexamined = _explained(model, compared, quantised, real)
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
    remarks += [UNEXAMINED_REMARK.format(unexamined)] * bool(unexamined)
    return FrameworkComparison(len(explained), count - accounted, first, "; ".join(remarks), accounted, unexamined)


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

    steps: the framework's result before it is taken for the nearest integer. bound: what float32 can be off by, in steps.
    is_fine: where the difference is within float32's error on steps that are finer than it tells apart.
    """

    output: Output
    expected: np.ndarray
    found: np.ndarray
    steps: np.ndarray
    bound: float

    @property
    def different(self) -> np.ndarray:
        return np.asarray(self.found != self.expected.astype(np.float64))

    @property
    def is_fine(self) -> np.ndarray:
        return np.asarray(np.abs(self.steps - self.expected.astype(np.float64)) <= self.bound) & self.is_finer

    @property
    def is_finer(self) -> bool:
        """Whether the output's steps are finer than float32 tells apart."""
        return self.bound > LARGEST_TOLERANCE_STEPS

    def of(self, vectors: np.ndarray, integers: np.ndarray) -> _Compared:
        """The same for some of the vectors, with other integers of the graph, which have the graph's order."""
        expected = host_order(self.output, integers)
        return replace(self, expected=expected, found=self.found[vectors], steps=self.steps[vectors])

    def wrong(self) -> np.ndarray:
        """For each vector: whether a value differs in a way that is not fine."""
        return np.asarray((self.different & ~self.is_fine).reshape(len(self.found), -1).any(axis=1))


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
    part = _Compared(output, expected, np.rint(steps), steps, bound)
    # Where float32 does not tell the steps apart, any number may stand for one.
    tolerance = np.inf if part.is_finer else max(bound, SMALLEST_TOLERANCE_STEPS)
    # Not <=, so that NaN is caught.
    off_grid = ~(np.abs(steps - part.found) < tolerance)
    if off_grid.any():
        position = tuple(int(i) for i in np.argwhere(off_grid)[0])
        raise InputError(
            f"{model.name}: {int(off_grid.sum())} of {y.size} outputs of {model.framework} are not values of the output type "
            f"{element}; first: vector {position[0]}, index {list(position[1:])}, value {y[position]!r} "
            f"({steps[position]:.6f} steps)"
        )
    return part


def _explained(
    model: LoadedModel, compared: list[_Compared], integers: dict[str, np.ndarray], real: dict[str, np.ndarray]
) -> tuple[np.ndarray, int]:
    """(for each vector whether turning over what float32 may have decided otherwise gives all of the framework's outputs, the
    number of vectors for which that was not looked into)."""
    wrong = np.any([part.wrong() for part in compared], axis=0)
    explained = np.zeros(len(wrong), bool)
    near = NearTies(model.graph, model.ties, model.deviations)
    waiting = np.flatnonzero(wrong)
    for vectors in _pieces(model.graph, waiting):
        ours, theirs = ({name: array[vectors] for name, array in arrays.items()} for arrays in (integers, real))
        values = near.follow(ours, theirs, _inner(model, theirs))
        parts = [part.of(vectors, values[part.output.tensor]) for part in compared]
        explained[vectors] = ~np.any([part.wrong() for part in parts], axis=0)
    waiting = waiting[~explained[waiting]]
    if any(part.is_finer for part in compared):
        # There is no integer that a search could look for.
        return explained, len(waiting) if model.inner is None else 0
    end, missed = time.monotonic() + SEARCH_SECONDS, 0
    for number, vector in enumerate(waiting):
        now = time.monotonic()
        if now > end or missed == MAXIMUM_UNEXPLAINED:
            return explained, len(waiting) - number
        one = slice(vector, vector + 1)
        wanted = {part.output.tensor: _graph_order(part.output, part.found[one]) for part in compared}
        ours, theirs = ({name: array[one] for name, array in arrays.items()} for arrays in (integers, real))
        deadline = min(end, now + SEARCH_SECONDS_OF_VECTOR)
        explained[vector] = near.reproduces(ours, theirs, wanted, deadline=deadline) is not None
        missed += not explained[vector]
    return explained, 0


def _pieces(graph: Graph, vectors: np.ndarray) -> Iterator[np.ndarray]:
    """The vectors, a few at a time."""
    elements = sum(graph.types[node.name].size for node in graph.nodes)
    step = max(1, _FOLLOWED_ELEMENTS // elements)
    for start in range(0, len(vectors), step):
        yield vectors[start : start + step]


def _inner(model: LoadedModel, real: dict[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The framework's own integers within the network, where it gives them. They only say where to look."""
    if model.inner is None:
        return {}
    try:
        return model.inner(real if len(real) > 1 else next(iter(real.values())))
    except ToolchainError:
        return {}


def _graph_order(output: Output, array: np.ndarray) -> np.ndarray:
    """The reverse of `host_order`."""
    if not output.axes:
        return array
    return array.transpose(0, *(output.axes.index(axis) + 1 for axis in range(len(output.axes))))
