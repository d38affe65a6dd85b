# SPDX-License-Identifier: Apache-2.0
"""The indices of the largest channels in QONNX. Of equal values ONNX gives the lower index first, as the graph does."""

from __future__ import annotations

from toolchain.ir.export_qonnx.emitter import FLOAT, INT64, Emitter
from toolchain.ir.export_qonnx.registry import lowers
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.top_k import TopK
from toolchain.ir.types import TensorType


@lowers(ArgMax)
def argmax(emit: Emitter, op: ArgMax, types: tuple[TensorType, ...], result: TensorType) -> str:
    x, axes = emit.operands(), len(result.shape)
    axis = emit.axis(axes - 1, axes)
    index = emit.add("ArgMax", x, result.shape, "index", element=INT64, axis=axis, keepdims=1, select_last_index=0)
    return emit.add("Cast", [index], result.shape, final=True, to=FLOAT)


@lowers(TopK)
def top_k(emit: Emitter, op: TopK, types: tuple[TensorType, ...], result: TensorType) -> str:
    (x,), axes = emit.operands(), len(result.shape)
    indices = emit.add(
        "TopK", [x, emit.whole_numbers([op.k], "k")], result.shape, "indices", element=INT64, before=("values", FLOAT),
        axis=emit.axis(axes - 1, axes), largest=1, sorted=1,
    )  # fmt: skip
    return emit.add("Cast", [indices], result.shape, final=True, to=FLOAT)
