# SPDX-License-Identifier: Apache-2.0
"""Products, sums and rectifiers in QONNX.

A sum or a product of two float32 numbers is exact if float32 holds the result, which the emitter has checked for every
node. Sums of many products are exact in any order if no partial sum passes 2**24 steps.
"""

from __future__ import annotations

import numpy as np

from toolchain.ir.export_qonnx.emitter import Emitter, Layout
from toolchain.ir.export_qonnx.registry import lowers
from toolchain.ir.operation import FLOAT32_EXACT
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.add_bias import AddBias
from toolchain.ir.ops.dense import Dense
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.relu import Relu
from toolchain.ir.ops.scale import Scale
from toolchain.ir.types import IntegerType, TensorType


@lowers(Dense)
def dense(emit: Emitter, op: Dense, types: tuple[TensorType, ...], result: TensorType) -> str:
    emit.require_exact(op.largest_sum * types[0].element.magnitude, "its partial sums")
    (x,) = emit.operands(Layout.LAST)
    return emit.add(
        "MatMul", [x, emit.quantised_constant(op.weights, op.weight_type, "weights")], result.shape, final=True
    )


@lowers(AddBias)
def add_bias(emit: Emitter, op: AddBias, types: tuple[TensorType, ...], result: TensorType) -> str:
    (x,) = emit.operands()
    return emit.add("Add", [x, _channels(emit, op.bias, op.bias_fraction, types[0], "bias")], result.shape, final=True)


@lowers(Scale)
def scale(emit: Emitter, op: Scale, types: tuple[TensorType, ...], result: TensorType) -> str:
    (x,) = emit.operands()
    return emit.add("Mul", [x, _channels(emit, op.factors, op.fraction, types[0], "factors")], result.shape, final=True)


def _channels(emit: Emitter, values: np.ndarray, fraction: int, x: TensorType, what: str) -> str:
    """A constant of one value a channel, or one for all."""
    element = IntegerType.spanning(int(values.min()), int(values.max()), fraction)
    return emit.quantised_constant(emit.per_channel(values, len(x.shape)), element, what)


@lowers(Add)
def add(emit: Emitter, op: Add, types: tuple[TensorType, ...], result: TensorType) -> str:
    return emit.add("Sub" if op.subtract else "Add", emit.operands(), result.shape, final=True)


@lowers(Multiply)
def multiply(emit: Emitter, op: Multiply, types: tuple[TensorType, ...], result: TensorType) -> str:
    return emit.add("Mul", emit.operands(), result.shape, final=True)


@lowers(Relu)
def relu(emit: Emitter, op: Relu, types: tuple[TensorType, ...], result: TensorType) -> str:
    x = emit.operands()
    bounded = op.upper_bound is not None
    if op.negative_slope_shift is None:
        tensor = emit.add("Relu", x, result.shape, "relu", final=not bounded)
    else:
        slope = 2.0**-op.negative_slope_shift
        tensor = emit.add("LeakyRelu", x, result.shape, "relu", final=not bounded, alpha=slope)
    if op.upper_bound is None:
        return tensor
    # A bound that no value reaches may be too large for float32; it does nothing, at whatever value beyond.
    bound = min(op.upper_bound, FLOAT32_EXACT)
    limit = emit.constant(np.ldexp(float(bound), -result.element.fraction), "upper_bound")
    return emit.add("Min", [tensor, limit], result.shape, final=True)
