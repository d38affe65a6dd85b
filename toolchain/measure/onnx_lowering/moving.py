# SPDX-License-Identifier: Apache-2.0
"""Operations that move values, or put constants beside them, as standard ONNX operators. None of them computes."""

from __future__ import annotations

import numpy as np

from toolchain.ir import Concatenate, Constant, InsertZeros, Pad, Reshape, Slice, TensorType, Transpose, Upsample
from toolchain.measure.onnx_lowering.writer import Writer, lowers


@lowers(Constant)
def constant(operation: Constant, types: tuple[TensorType, ...], writer: Writer) -> str:
    return writer.constant(operation.values[None])


@lowers(Reshape)
def reshape(operation: Reshape, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    return writer.node("Reshape", x, writer.whole([-1, *operation.shape]))


@lowers(Transpose)
def transpose(operation: Transpose, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    return writer.node("Transpose", x, perm=[0, *(axis + 1 for axis in operation.permutation)])


@lowers(Concatenate)
def concatenate(operation: Concatenate, types: tuple[TensorType, ...], writer: Writer, *operands: str) -> str:
    fraction = operation.infer(*types).element.fraction
    aligned = [
        writer.shifted(x, fraction - t.element.fraction, t.element.magnitude)
        for x, t in zip(operands, types, strict=True)
    ]
    return writer.node("Concat", *aligned, axis=operation.axis + 1)


@lowers(Slice)
def slice_(operation: Slice, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    axes = range(1, len(operation.starts) + 1)
    fields = (operation.starts, operation.stops, list(axes), operation.steps)
    return writer.node("Slice", x, *(writer.whole(values) for values in fields))


@lowers(Pad)
def pad(operation: Pad, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    if not any(map(any, operation.widths)):
        return x  # the value, which no element has, may be any large integer
    before, after = ([pair[end] for pair in operation.widths] for end in (0, 1))
    return writer.node("Pad", x, writer.whole([0, *before, 0, *after]), writer.scalar(float(operation.value)))


@lowers(Upsample)
def upsample(operation: Upsample, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    for axis, (size, factor) in enumerate(zip(types[0].shape, operation.factors, strict=True), start=1):
        if factor > 1:
            x = writer.node("Gather", x, writer.array(np.repeat(np.arange(size), factor)), axis=axis)
    return x


@lowers(InsertZeros)
def insert_zeros(operation: InsertZeros, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    """Each element gets an axis of its own, which is padded to the factor and joined again; the last zeros are cut off."""
    shape, factors = types[0].shape, operation.factors
    if set(factors) == {1}:
        return x
    after = [0, *(n for factor in factors for n in (0, factor - 1))]
    x = writer.node("Reshape", x, writer.whole([-1, *(n for size in shape for n in (size, 1))]))
    x = writer.node("Pad", x, writer.whole([*(0 for _ in after), *after]), writer.scalar(0.0))
    x = writer.node(
        "Reshape", x, writer.whole([-1, *(size * factor for size, factor in zip(shape, factors, strict=True))])
    )
    ends, axes = operation.infer(*types).shape, range(1, len(shape) + 1)
    return writer.node("Slice", x, writer.whole([0 for _ in axes]), writer.whole(ends), writer.whole(list(axes)))
