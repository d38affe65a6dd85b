# SPDX-License-Identifier: Apache-2.0
"""Thresholds and tables in QONNX."""

from __future__ import annotations

import numpy as np

from toolchain.ir.export_qonnx.emitter import INT64, Emitter, Layout
from toolchain.ir.export_qonnx.registry import lowers
from toolchain.ir.ops.lookup import Lookup
from toolchain.ir.ops.threshold import Threshold
from toolchain.ir.types import IntegerType, TensorType

#: QONNX's name of a layout, by the number of axes of a sample.
_LAYOUTS = {
    Layout.LAST: {1: "NC", 2: "NWC", 3: "NHWC"},
    Layout.FIRST: {1: "NC", 2: "NCW", 3: "NCHW"},
}


@lowers(Threshold)
def threshold(emit: Emitter, op: Threshold, types: tuple[TensorType, ...], result: TensorType) -> str:
    (x,), element = emit.operands(), types[0].element
    layout = _LAYOUTS[emit.layout].get(len(result.shape))
    if layout is None:
        emit.refuse(f"QONNX has thresholds on up to 3 axes, the input has shape {types[0].shape}; reshape it before")
    # Thresholds outside the input's interval are always or never reached, wherever exactly they are.
    table = np.minimum(np.maximum(op.thresholds, element.minimum), element.maximum + 1)
    emit.require_exact(int(np.abs(table).max()), "its thresholds")
    emit.require_exact(abs(op.offset) + op.thresholds.shape[1], "its results")
    thresholds = emit.constant(np.ldexp(table.astype(np.float64), -element.fraction), "thresholds")
    word = IntegerType.spanning(op.offset, op.offset + op.thresholds.shape[1])
    step = 2.0**-op.fraction
    return emit.add(
        "MultiThreshold", [x, thresholds], result.shape, final=True,
        out_scale=step, out_bias=op.offset * step, out_dtype=f"{'INT' if word.signed else 'UINT'}{word.width}",
        data_layout=layout,
    )  # fmt: skip


@lowers(Lookup)
def lookup(emit: Emitter, op: Lookup, types: tuple[TensorType, ...], result: TensorType) -> str:
    """Gather from the rows of the table one after the other, by int64 positions."""
    (x,), element, shape = emit.operands(), types[0].element, result.shape
    table = op.reachable(element)
    rows, entries = table.shape
    if element.fraction:
        x = emit.add("Mul", [x, emit.constant(2.0**element.fraction, "steps_per_unit")], shape, "steps")
    position = emit.add("Cast", [x], shape, "integer", element=INT64, to=INT64)
    # The position of the integer 0 in each row, which need not be in the table.
    zero = np.arange(rows, dtype=np.int64) * entries - element.minimum
    if zero.any():
        offsets = emit.constant(emit.per_channel(zero, len(shape)), "position_of_zero")
        position = emit.add("Add", [position, offsets], shape, "position", element=INT64)
    values = emit.quantised_constant(table.reshape(-1), result.element, "table")
    return emit.add("Gather", [values, position], shape, final=True, axis=0)
