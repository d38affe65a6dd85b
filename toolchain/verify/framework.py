# SPDX-License-Identifier: Apache-2.0
"""Rung 1 of the ladder: the framework's own output equals the interpreter's, integer by integer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.errors import InputError, UsageError
from toolchain.frontends import LoadedModel
from toolchain.ir import host_order, interpret, quantise_input, real_inputs

#: How far, in steps of the output type, a framework's float32 output may lie from a whole step and still stand for it.
#: Far below the 0.5 at which a neighbour would be meant, so a wrong integer cannot pass.
GRID_TOLERANCE_STEPS = 2.0**-10

SUMS_REMARK = (
    "sums of this model can pass 2**24 steps, where the framework's float32 arithmetic rounds and the graph stays exact; "
    "narrower weights or activations avoid that"
)


@dataclass(frozen=True)
class FrameworkMismatch:
    """The first difference: `expected` is the interpreter's integer, `found` the framework's."""

    vector: int
    index: tuple[int, ...]
    expected: int
    found: int


@dataclass(frozen=True)
class FrameworkComparison:
    """How many vectors were compared, how many single values differed, and where the first one did.

    remark: '' or why a difference may be the framework's own float32 rounding, for the report.
    """

    vectors: int
    mismatches: int
    first_mismatch: FrameworkMismatch | None
    remark: str = ""


def compare_framework(model: LoadedModel, x: np.ndarray) -> FrameworkComparison:
    """Run `x` through the framework and through the interpreter and compare every output value as an integer.

    x: real inputs of shape (samples, *input shape), axes in the user's order. Where the model does not quantise its own inputs, `x` is first moved
        to the steps of the declared input type, for both sides.
    Outputs are compared with their axes in the user's order too. The framework's real output y stands for the integer nearest to ``(y - offset) / scale * 2**fraction``; the distance to
    it must be below 2**-10 steps, or the framework's arithmetic did not yield a value of the output type at all.
    Raises UsageError for a model without a framework, InputError for inputs that the model refuses and for framework outputs
    that are off the grid.
    """
    if model.run is None:
        raise UsageError(f"{model.name}: a graph file has no framework to compare with")
    graph, output = model.graph, model.graph.outputs[0]
    source = graph.inputs[0]
    quantised = quantise_input(source, x)
    expected = interpret(graph, quantised.integers)[output.tensor]
    channels = expected.shape[-1]
    scale, offset = (
        host_order(output, np.broadcast_to(np.array(values), (*(1,) * (expected.ndim - 1), channels)))
        for values in (output.scale, output.offset)
    )
    expected = host_order(output, expected)
    real = np.asarray(x) if model.quantises_input else real_inputs(source, quantised.integers)
    element = graph.types[output.tensor].element
    if element.magnitude >= 1 << 53:
        raise UsageError(f"{model.name}: output type {element} is too wide to compare with float values")
    y = np.asarray(model.run(real), dtype=np.float64).reshape(expected.shape)
    steps = np.ldexp((y - offset) / scale, element.fraction)
    found = np.rint(steps)
    # Not <=, so that NaN is caught.
    off_grid = ~(np.abs(steps - found) < GRID_TOLERANCE_STEPS)
    if off_grid.any():
        position = tuple(int(i) for i in np.argwhere(off_grid)[0])
        raise InputError(
            f"{model.name}: {int(off_grid.sum())} of {y.size} outputs of {model.framework} are not values of the output type "
            f"{element}; first: vector {position[0]}, index {list(position[1:])}, value {y[position]!r} "
            f"({steps[position]:.6f} steps)"
        )
    different = found != expected.astype(np.float64)
    count = int(different.sum())
    first = None
    if count:
        position = tuple(int(i) for i in np.argwhere(different)[0])
        first = FrameworkMismatch(position[0], position[1:], int(expected[position]), int(found[position]))
    rounds = graph.metadata.get("framework_sums_exact") == "no"
    return FrameworkComparison(len(expected), count, first, SUMS_REMARK if rounds else "")
