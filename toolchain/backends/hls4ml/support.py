# SPDX-License-Identifier: Apache-2.0
"""What the hls4ml backend refuses, and why."""

from __future__ import annotations

import numpy as np

from toolchain.backends.hls4ml.elementwise import reachable_thresholds
from toolchain.backends.hls4ml.lower import LOWERED
from toolchain.backends.hls4ml.sums import accumulator, folded_bias
from toolchain.backends.hls4ml.words import exact_in_double
from toolchain.ir import (
    AddBias,
    Constant,
    Conv,
    Dense,
    Graph,
    Input,
    IntegerType,
    Lookup,
    Node,
    Pad,
    Relu,
    Requantise,
    Scale,
    Threshold,
)
from toolchain.target import Target

#: ap_fixed ends at 1,024 bits (AP_INT_MAX_W); a product of two such words still fits.
MAXIMUM_WIDTH = 500
#: hls4ml chooses another type by itself for inputs that are wider than this.
MAXIMUM_INPUT_WIDTH = 100
#: Bounds, offsets and interval ends reach C++ as `long long`.
_LONG_LONG = 1 << 62


def why_unsupported(node: Node, graph: Graph, target: Target) -> str | None:
    """None if hls4ml can express the node exactly, else the reason and what to do."""
    operation = node.operation
    if not isinstance(operation, LOWERED):
        known = ", ".join(sorted(cls.kind for cls in LOWERED))
        return f"operation {operation.kind!r} has no lowering to hls4ml; it has {known}"
    result = graph.types[node.name].element
    x = graph.input_types(node)[0] if node.inputs else graph.types[node.name]
    if isinstance(operation, Input) and result.width > MAXIMUM_INPUT_WIDTH:
        return f"hls4ml takes inputs of at most {MAXIMUM_INPUT_WIDTH} bits, found {result}; narrow the input"
    widths = [result]
    constants: tuple[str, np.ndarray, int] | None = None
    numbers: tuple[int, ...] = ()
    if isinstance(operation, Dense):
        bias = folded_bias(graph, node)
        widths.append(accumulator(operation, x.element, bias.operation if bias else None))  # type: ignore[arg-type]
        constants = ("weights", operation.weights, operation.weight_fraction)
    elif isinstance(operation, Conv):
        widths.append(accumulator(operation, x.element, None))
        constants = ("weights", operation.weights, operation.weight_fraction)
    elif isinstance(operation, AddBias):
        constants = ("bias", operation.bias, operation.bias_fraction)
    elif isinstance(operation, Scale):
        constants = ("factors", operation.factors, operation.fraction)
    elif isinstance(operation, Constant):
        constants = ("values", operation.values, operation.fraction)
    elif isinstance(operation, Lookup):
        constants = ("entries", operation.reachable(x.element), operation.fraction)
    elif isinstance(operation, Pad):
        constants = ("border", np.array([[operation.value]]), result.fraction)
    elif isinstance(operation, Threshold):
        constants = ("thresholds", reachable_thresholds(operation, x.element), x.element.fraction)
        numbers = (operation.offset,)
    elif isinstance(operation, Relu) and operation.upper_bound is not None:
        numbers = (min(operation.upper_bound, x.element.maximum << (operation.negative_slope_shift or 0)),)
    elif isinstance(operation, Requantise):
        shift = operation.shift(x.element)
        widths.append(IntegerType(True, min(4096, max(x.element.width, abs(shift)) + 4)))
        if not operation.target.is_full_range:
            numbers = (operation.target.minimum, operation.target.maximum)
    too_wide = next((t for t in widths if t.width > MAXIMUM_WIDTH or abs(t.fraction) > MAXIMUM_WIDTH), None)
    if too_wide:
        return (
            f"needs words of {too_wide.width} bits with {too_wide.fraction} fraction bits; this backend stops at "
            f"{MAXIMUM_WIDTH} bits. Narrow the types around this node"
        )
    if constants and not exact_in_double(constants[1], constants[2]):
        return (
            f"its {constants[0]} need more than 53 significant bits; HLS reads constants as double precision numbers and "
            "would round them. Use coarser constants"
        )
    if any(abs(number) >= _LONG_LONG for number in numbers):
        return "a bound, an offset or a saturation interval needs more than 62 bits; narrow the result's type"
    return None
