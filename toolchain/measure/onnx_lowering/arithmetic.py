# SPDX-License-Identifier: Apache-2.0
"""Sums, products and functions of single values as standard ONNX operators on floats that hold integers."""

from __future__ import annotations

import numpy as np

from toolchain.ir import Add, AddBias, Dense, Lookup, Multiply, Relu, Scale, TensorType, Threshold
from toolchain.measure.float_exactness import as_lookup, clipped_thresholds, compares_at_once, table_positions
from toolchain.measure.onnx_lowering.writer import Writer, lowers


@lowers(Dense)
def dense(operation: Dense, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    return writer.node("MatMul", x, writer.constant(operation.weights))


@lowers(AddBias)
def add_bias(operation: AddBias, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    element = types[0].element
    input_shift, bias_shift = operation.shifts(element)
    x = writer.shifted(x, input_shift, element.magnitude)
    return writer.node("Add", x, writer.constant(operation.bias.astype(object) << bias_shift))


@lowers(Scale)
def scale(operation: Scale, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    return writer.node("Mul", x, writer.constant(operation.factors))


@lowers(Add)
def add(operation: Add, types: tuple[TensorType, ...], writer: Writer, *operands: str) -> str:
    shifts = operation.shifts(types[0].element, types[1].element)
    aligned = [
        writer.shifted(x, shift, t.element.magnitude) for x, shift, t in zip(operands, shifts, types, strict=True)
    ]
    return writer.node("Sub" if operation.subtract else "Add", *aligned)


@lowers(Multiply)
def multiply(operation: Multiply, types: tuple[TensorType, ...], writer: Writer, *operands: str) -> str:
    return writer.node("Mul", *operands)


@lowers(Relu)
def relu(operation: Relu, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    shift = operation.negative_slope_shift
    if shift is None:
        y = writer.node("Relu", x)
    else:
        # 2**shift * x is the larger of the two exactly where x >= 0.
        y = writer.node("Max", writer.node("Mul", x, writer.scalar(float(1 << shift))), x)
    highest = types[0].element.maximum << (shift or 0)
    if operation.upper_bound is not None and operation.upper_bound < highest:
        y = writer.clip(y, None, operation.upper_bound)
    return y


@lowers(Threshold)
def threshold(operation: Threshold, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    thresholds = clipped_thresholds(operation, types[0])
    if compares_at_once(operation, types[0]):
        axis = writer.whole([-1])
        reached = writer.node("GreaterOrEqual", writer.node("Unsqueeze", x, axis), writer.constant(thresholds))
        count = writer.node("ReduceSum", writer.cast(reached), axis, keepdims=0)
    elif (table := as_lookup(operation, types[0])) is not None:
        return lookup(table, types, writer, x)
    else:
        reached, *others = (
            writer.cast(writer.node("GreaterOrEqual", x, writer.constant(column))) for column in thresholds.T
        )
        count = reached
        for reached in others:
            count = writer.node("Add", count, reached)
    return writer.node("Add", count, writer.scalar(float(operation.offset))) if operation.offset else count


@lowers(Lookup)
def lookup(operation: Lookup, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    from onnx import TensorProto

    table, zero = table_positions(operation, types[0])
    position = writer.node("Cast", x, to=TensorProto.INT64)
    if np.any(zero):
        position = writer.node("Add", position, writer.array(zero))
    return writer.node("Gather", writer.constant(table), position, axis=0)
