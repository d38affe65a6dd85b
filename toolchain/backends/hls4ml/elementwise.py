# SPDX-License-Identifier: Apache-2.0
"""Lowerings of what happens to each value, or to each row of channels, by itself.

hls4ml's own: the plain rectifier, and a requantisation whose rounding and overflow are ap_fixed modes, as a linear
activation. All else here is an extension layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.backends.hls4ml.lowering import Lowering, lowers
from toolchain.backends.hls4ml.words import (
    QUANTISATION,
    precision,
    saturation_mode,
    signed_spanning,
)
from toolchain.ir import (
    ArgMax,
    IntegerType,
    Lookup,
    Node,
    Relu,
    Requantise,
    Scale,
    Threshold,
    TopK,
)


def reachable_thresholds(threshold: Threshold, x: IntegerType) -> np.ndarray:
    """The thresholds (Python integers), those that are never or always reached moved to the ends of the input's interval."""
    return np.minimum(np.maximum(threshold.thresholds.astype(object), x.minimum), x.maximum + 1)


@lowers(Requantise)
def _(lowering: Lowering, node: Node, operation: Requantise) -> None:
    (x,) = lowering.graph.input_types(node)
    quantisation = QUANTISATION.get(operation.rounding)
    overflow = saturation_mode(operation.target, operation.overflow)
    target = operation.target
    same_word = (target.signed, target.width, target.fraction) == (
        x.element.signed,
        x.element.width,
        x.element.fraction,
    )
    if same_word and target.minimum <= x.element.minimum and x.element.maximum <= target.maximum:
        # hls4ml would take such an activation out, and an output port could then be the very array of an input.
        lowering.extend(node, "BitwrightCopy", {})
        return
    # ap_fixed's own model stops at a bit beyond the word when more bits are dropped than there are.
    narrow = operation.shift(x.element) > x.element.width
    if lowering.options.only_extensions or quantisation is None or overflow is None or overflow == "WRAP_SM" or narrow:
        lowering.extend(node, "BitwrightRequantise", _requantise_parameters(operation, x.element))
        return
    lowering.append(node, "Activation", precision(operation.target, quantisation, overflow), {"activation": "linear"})


def _requantise_parameters(operation: Requantise, x: IntegerType) -> dict[str, Any]:
    target = operation.target
    shift = operation.shift(x)
    # For x before and after the shift, for twice what is dropped, and for the bit above the result's word.
    widest = max(x.magnitude << max(0, -shift), 2 << max(0, shift), 2 << target.width)
    full = target.is_full_range
    return {
        "shift": shift,
        "rounding": operation.rounding.value,
        "overflow": operation.overflow.value,
        "is_signed": target.signed,
        "width": target.width,
        "full_range": full,
        "lowest": 0 if full else target.minimum,
        "highest": 0 if full else target.maximum,
        "integer_t": f"bitwright::integer<{signed_spanning(-widest, widest).width}>",
    }


@lowers(Relu)
def _(lowering: Lowering, node: Node, operation: Relu) -> None:
    (x,) = lowering.graph.input_types(node)
    if operation == Relu() and not lowering.options.only_extensions:
        lowering.append(node, "Activation", precision(lowering.type(node).element), {"activation": "relu"})
        return
    shift = operation.negative_slope_shift or 0
    bound = operation.upper_bound
    bounded = bound is not None and bound < x.element.maximum << shift
    integer = signed_spanning(min(x.element.minimum, 0), max(x.element.maximum << shift, 0))
    parameters = {
        "shift": shift,
        "leaky": operation.negative_slope_shift is not None,
        "bounded": bounded,
        "bound": bound if bounded else 0,
        "integer_t": f"bitwright::integer<{integer.width}>",
    }
    lowering.extend(node, "BitwrightRelu", parameters)


@lowers(Threshold)
def _(lowering: Lowering, node: Node, operation: Threshold) -> None:
    (x,) = lowering.graph.input_types(node)
    constants = reachable_thresholds(operation, x.element)
    result = lowering.type(node).element
    integer = signed_spanning(result.lowest, result.highest)
    parameters = {
        "n_channels": x.channels,
        "n_thresholds": constants.shape[1],
        "per_channel": constants.shape[0] > 1,
        "offset": operation.offset,
        "integer_t": f"bitwright::integer<{integer.width}>",
    }
    lowering.extend(node, "BitwrightThreshold", parameters, constants, x.element.fraction)


@lowers(Lookup)
def _(lowering: Lowering, node: Node, operation: Lookup) -> None:
    (x,) = lowering.graph.input_types(node)
    table = operation.reachable(x.element)
    # One value more than entries, so that the type has at least one bit.
    bits = max(1, (table.shape[1] - 1).bit_length())
    parameters = {
        "n_channels": x.channels,
        "n_entries": table.shape[1],
        "per_channel": len(table) > 1,
        "first": x.element.minimum % (1 << bits),
        "place_t": f"bitwright::natural<{bits}>",
    }
    lowering.extend(node, "BitwrightLookup", parameters, table, operation.fraction)


@lowers(Scale)
def _(lowering: Lowering, node: Node, operation: Scale) -> None:
    (x,) = lowering.graph.input_types(node)
    parameters = {"n_channels": x.channels, "per_channel": len(operation.factors) > 1}
    lowering.extend(node, "BitwrightScale", parameters, operation.factors, operation.fraction)


@lowers(ArgMax)
def _(lowering: Lowering, node: Node, operation: ArgMax) -> None:
    (x,) = lowering.graph.input_types(node)
    index_type = lowering.type(node).element
    lowering.extend(
        node, "BitwrightArgMax", {"n_channels": x.channels, "index_t": f"bitwright::natural<{index_type.width}>"}
    )


@lowers(TopK)
def _(lowering: Lowering, node: Node, operation: TopK) -> None:
    (x,) = lowering.graph.input_types(node)
    lowering.extend(node, "BitwrightTopK", {"n_channels": x.channels, "k": operation.k})
