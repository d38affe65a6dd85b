# SPDX-License-Identifier: Apache-2.0
"""Which floating-point format computes a graph without any rounding, and why.

Processors and their libraries are fast with floats. An integer of magnitude below 2**24 (float32) or 2**53 (float64) is
a float, and sums, differences, and products of such integers that stay below that bound are exact in any order (IEEE
754: a result that can be represented is returned unrounded). Products with powers of two are exact as long as nothing
underflows. So a lowering is exact if no integer that can occur anywhere in it reaches the bound; this module finds the
largest one, operation by operation.

That holds for convolutions whose products are those of the definition, summed in any order (directly, or as matrix products).
It does not hold for fast algorithms that transform their inputs first (Winograd, Fourier), nor for products in fewer bits
(TF32, bfloat16): the lowerings and engines keep those out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.ir import (
    Add,
    AddBias,
    ArgMax,
    Concatenate,
    Constant,
    Conv,
    Dense,
    Graph,
    Input,
    InsertZeros,
    Lookup,
    MaxPool,
    Multiply,
    Operation,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Reshape,
    Scale,
    Slice,
    SumPool,
    TensorType,
    Threshold,
    TopK,
    Transpose,
    Upsample,
)
from toolchain.ir.operation import FLOAT32_EXACT, FLOAT64_EXACT
from toolchain.ir.products import WeightedSums
from toolchain.ir.rounding import round_shift

#: Comparisons with thresholds that are made at once for one sample; more would need as much memory for a large batch.
_COMPARED = 1 << 14
#: Up to this many thresholds, comparing with one after the other is faster than a table.
_FEW = 6
#: Entries of the largest table that stands for thresholds.
_LARGEST_TABLE = 1 << 20


@dataclass(frozen=True)
class RequantisePlan:
    """A Requantise broken into float steps whose constants are bounded by the values that can occur.

    scale_exponent: the value is first multiplied by ``2**scale_exponent`` (exactly), then rounded if it is negative.
    low, high: the interval of the rounded values. leaves_target: whether any of them lies outside the target's interval.
    """

    scale_exponent: int
    low: int
    high: int
    leaves_target: bool


def plan_requantise(operation: Requantise, x: TensorType) -> RequantisePlan:
    """The steps of `operation` on values of type `x`.

    Dropping s bits of an integer of magnitude below 2**n gives the same result for every s > n: the quotient lies
    strictly between -1/2 and 1/2, and only its sign matters. So s is limited to n + 1, which keeps every power of two
    representable however far apart the binary points are.
    """
    shift = operation.shift(x.element)
    magnitude = x.element.magnitude
    ends = np.array([x.element.minimum, x.element.maximum], dtype=object)
    low, high = (int(v) for v in round_shift(ends, shift, operation.rounding))
    exponent = -min(shift, magnitude.bit_length() + 1) if magnitude else 0
    leaves_target = low < operation.target.minimum or high > operation.target.maximum
    return RequantisePlan(exponent, low, high, leaves_target)


def _requantise(operation: Requantise, x: TensorType) -> int:
    plan = plan_requantise(operation, x)
    bound = max(x.element.magnitude, abs(plan.low), abs(plan.high))
    if plan.scale_exponent < 0:
        # Rounding adds one half to the quotient: its numerator must still fit the significand.
        bound = x.element.magnitude + (1 << (-plan.scale_exponent - 1))
    if plan.leaves_target:
        bound = max(bound, operation.target.magnitude)
        if operation.overflow in (Overflow.WRAP, Overflow.WRAP_SIGN_MAGNITUDE):
            # The modulus, and its product with the (floored) quotient of the widest rounded value.
            bound = max(bound, max(abs(plan.low), abs(plan.high)) + (1 << operation.target.width))
    return bound


def _weighted_sums(operation: WeightedSums, x: TensorType) -> int:
    # No partial sum, in whatever order, exceeds the sum of the absolute products.
    return operation.bound(x.element)


def _sum_pool(operation: SumPool, x: TensorType) -> int:
    return prod(operation.window) * x.element.magnitude


def _add(operation: Add, a: TensorType, b: TensorType) -> int:
    shift_a, shift_b = operation.shifts(a.element, b.element)
    return (a.element.magnitude << shift_a) + (b.element.magnitude << shift_b)


def _multiply(operation: Multiply, a: TensorType, b: TensorType) -> int:
    return max(1, a.element.magnitude) * max(1, b.element.magnitude)


def _scale(operation: Scale, x: TensorType) -> int:
    return max(1, x.element.magnitude) * max(1, -int(operation.factors.min()), int(operation.factors.max()))


def _add_bias(operation: AddBias, x: TensorType) -> int:
    input_shift, bias_shift = operation.shifts(x.element)
    bias = int(np.abs(operation.bias.astype(object)).max())
    return (x.element.magnitude << input_shift) + (bias << bias_shift)


def _relu(operation: Relu, x: TensorType) -> int:
    return max(x.element.magnitude << (operation.negative_slope_shift or 0), x.element.magnitude)


def _threshold(operation: Threshold, x: TensorType) -> int:
    # Thresholds are clipped to one past the input's interval (see `clipped_thresholds`).
    return max(x.element.magnitude + 1, operation.thresholds.shape[1] + abs(operation.offset))


def clipped_thresholds(operation: Threshold, x: TensorType) -> np.ndarray:
    """The thresholds, those beyond the input's interval moved to its lowest value or one past its highest.

    A threshold at or below the lowest value is always reached, one past the highest never: the count stays the same,
    and every threshold is representable where the input is.
    """
    clipped = np.minimum(np.maximum(operation.thresholds.astype(object), x.element.minimum), x.element.maximum + 1)
    return np.asarray(clipped, dtype=object)


def compares_at_once(operation: Threshold, x: TensorType) -> bool:
    """Whether each value is compared with all thresholds in one step."""
    return x.size * operation.thresholds.shape[1] <= _COMPARED


def as_lookup(operation: Threshold, x: TensorType) -> Lookup | None:
    """The same function of `x` as a table, or None where thresholds are few or the interval is too long for one."""
    (rows, count), span = operation.thresholds.shape, x.element.maximum - x.element.minimum + 1
    if count <= _FEW or rows * span > _LARGEST_TABLE:
        return None
    # Places in the interval, which fit into 63 bits wherever it lies.
    places = (clipped_thresholds(operation, x) - x.element.minimum).astype(np.int64)
    counts = np.stack([np.searchsorted(row, np.arange(span), side="right") for row in places])
    return Lookup(counts.astype(object) + operation.offset, x.element.minimum, operation.fraction)


def table_positions(operation: Lookup, x: TensorType) -> tuple[np.ndarray, np.ndarray]:
    """(table, zero): a value v of channel c becomes ``table[v + zero[c]]``; one entry of `zero` serves all channels.

    table: the entries that `x` can reach, rows one after the other. zero: int64. Positions are integers in every lowering, so
    no bound of a float format limits them.
    """
    table = operation.reachable(x.element)
    rows, entries = table.shape
    return table.reshape(-1), np.arange(rows, dtype=np.int64) * entries - x.element.minimum


def _moves_values(operation: Operation, *types: TensorType) -> int:
    return max((t.element.magnitude for t in types), default=0)


def _selects(operation: Operation, x: TensorType) -> int:
    return max(x.element.magnitude, x.channels)


#: The largest integer inside each lowering, apart from its result.
_BOUNDS: dict[type[Operation], Callable[..., int]] = {
    Add: _add,
    AddBias: _add_bias,
    ArgMax: _selects,
    Concatenate: _moves_values,
    Constant: _moves_values,
    Conv: _weighted_sums,
    Dense: _weighted_sums,
    InsertZeros: _moves_values,
    Lookup: _moves_values,
    MaxPool: _moves_values,
    Multiply: _multiply,
    Pad: _moves_values,
    Relu: _relu,
    Requantise: _requantise,
    Reshape: _moves_values,
    Scale: _scale,
    Slice: _moves_values,
    SumPool: _sum_pool,
    Threshold: _threshold,
    TopK: _selects,
    Transpose: _moves_values,
    Upsample: _moves_values,
}


#: The operations that have a floating-point lowering.
LOWERED: tuple[type[Operation], ...] = (Input, *_BOUNDS)


def largest_integer(operation: Operation, types: tuple[TensorType, ...]) -> int | None:
    """The largest magnitude that can occur inside a float lowering of `operation`; None for one that has no lowering.

    types: the inputs' types.
    """
    if isinstance(operation, Input):
        return operation.element.magnitude
    bound = _BOUNDS.get(type(operation))
    return None if bound is None else max(bound(operation, *types), operation.infer(*types).element.magnitude)


@dataclass(frozen=True)
class Precision:
    """The narrowest float format that computes a graph exactly, or why there is none.

    dtype: 'float32', 'float64', or '' with the reason in why_not. largest: the largest integer that can occur.
    """

    dtype: str
    largest: int
    why_not: str = ""


def float_precision(graph: Graph) -> Precision:
    """Find the format for all of `graph`; the reason names the node that needs more than float64 holds."""
    largest = 0
    for node in graph.nodes:
        found = largest_integer(node.operation, graph.input_types(node))
        if found is None:
            return Precision("", largest, f"{node}: operation {node.operation.kind!r} has no floating-point lowering")
        if found >= FLOAT64_EXACT:
            return Precision(
                "",
                found,
                f"{node}: integers of up to {found.bit_length()} bits occur, "
                f"float64 is exact below {FLOAT64_EXACT.bit_length()} bits; it would only be approximated",
            )
        largest = max(largest, found)
    return Precision("float32" if largest < FLOAT32_EXACT else "float64", largest)
