# SPDX-License-Identifier: Apache-2.0
"""The indices of the largest channels. Of equal values ONNX gives the lower index first, by definition of both operators."""

from __future__ import annotations

from toolchain.ir import ArgMax, TensorType, TopK
from toolchain.measure.onnx_lowering.writer import Writer, lowers


@lowers(ArgMax)
def argmax(operation: ArgMax, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    return writer.cast(writer.node("ArgMax", x, axis=-1, keepdims=1, select_last_index=0))


@lowers(TopK)
def top_k(operation: TopK, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    _, indices = writer.results_of("TopK", x, writer.whole([operation.k]), results=2, axis=-1, largest=1, sorted=1)
    return writer.cast(indices)
