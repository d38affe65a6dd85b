# SPDX-License-Identifier: Apache-2.0
"""Operations that move values, or put constants beside them, in QONNX. None of them computes, so all are exact."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from toolchain.ir.export_qonnx.emitter import Emitter, Layout
from toolchain.ir.export_qonnx.registry import lowers
from toolchain.ir.ops.concatenate import Concatenate
from toolchain.ir.ops.constant_tensor import Constant
from toolchain.ir.ops.insert_zeros import InsertZeros
from toolchain.ir.ops.pad import Pad
from toolchain.ir.ops.reshape import Reshape
from toolchain.ir.ops.slice import Slice
from toolchain.ir.ops.transpose import Transpose
from toolchain.ir.ops.upsample import Upsample
from toolchain.ir.types import TensorType

#: Resize divides indices in float32: below this size the quotient of an index and a factor never rounds up to the next one.
_MAXIMUM_RESIZED = 1 << 20


def _unchanged(emit: Emitter, x: str, result: TensorType) -> str:
    return emit.add("Identity", [x], result.shape, final=True)


@lowers(Constant)
def constant(emit: Emitter, op: Constant, types: tuple[TensorType, ...], result: TensorType) -> str:
    """One sample, repeated for the batch."""
    sample = emit.quantised_constant(op.values[None], result.element, "values", final=emit.batch == 1)
    if emit.batch == 1:
        return sample
    shape = emit.whole_numbers([emit.batch, *result.shape], "shape")
    return emit.add("Expand", [sample, shape], result.shape, final=True)


@lowers(Reshape)
def reshape(emit: Emitter, op: Reshape, types: tuple[TensorType, ...], result: TensorType) -> str:
    """Of the elements in the graph's order; where there is one position only, both layouts have them in that order."""
    (x,) = emit.operands(None if prod(types[0].shape[:-1]) == 1 else Layout.LAST)
    emit.layout = Layout.LAST
    shape = emit.whole_numbers([0, *op.shape], "shape")  # 0: the batch as it is
    return emit.add("Reshape", [x, shape], result.shape, final=True)


@lowers(Transpose)
def transpose(emit: Emitter, op: Transpose, types: tuple[TensorType, ...], result: TensorType) -> str:
    """From the layout that the operand has; no node where that is the order asked for."""
    (x,), axes = emit.operands(), len(result.shape)
    places = [emit.axis(axis, axes) for axis in op.permutation]
    emit.layout = Layout.LAST
    if places == list(range(1, axes + 1)):
        return x if not emit.is_output else _unchanged(emit, x, result)
    return emit.add("Transpose", [x], result.shape, final=True, perm=[0, *places])


@lowers(Concatenate)
def concatenate(emit: Emitter, op: Concatenate, types: tuple[TensorType, ...], result: TensorType) -> str:
    operands = emit.operands()
    return emit.add("Concat", operands, result.shape, final=True, axis=emit.axis(op.axis, len(result.shape)))


@lowers(Slice)
def slice_(emit: Emitter, op: Slice, types: tuple[TensorType, ...], result: TensorType) -> str:
    (x,), shape = emit.operands(), types[0].shape
    bounds = list(zip(op.starts, op.stops, op.steps, strict=True))
    cut = [axis for axis, size in enumerate(shape) if bounds[axis] != (0, size, 1)]
    if not cut:
        return _unchanged(emit, x, result)
    starts, stops, steps = zip(*(bounds[axis] for axis in cut), strict=True)
    axes = [emit.axis(axis, len(shape)) for axis in cut]
    fields = {"starts": starts, "ends": stops, "axes": axes, "steps": steps}
    constants = [emit.whole_numbers(values, what) for what, values in fields.items()]
    return emit.add("Slice", [x, *constants], result.shape, final=True)


@lowers(Pad)
def pad(emit: Emitter, op: Pad, types: tuple[TensorType, ...], result: TensorType) -> str:
    (x,) = emit.operands()
    padded = [axis for axis, widths in enumerate(op.widths) if any(widths)]
    if not padded:
        return _unchanged(emit, x, result)
    places = sorted((emit.axis(axis, len(op.widths)), op.widths[axis]) for axis in padded)
    before, after = ([widths[end] for _, widths in places] for end in (0, 1))
    constants = [
        emit.whole_numbers([*before, *after], "widths"),
        emit.constant(np.ldexp(float(op.value), -result.element.fraction), "value"),
        emit.whole_numbers([place for place, _ in places], "axes"),
    ]
    return emit.add("Pad", [x, *constants], result.shape, final=True, mode="constant")


@lowers(Upsample)
def upsample(emit: Emitter, op: Upsample, types: tuple[TensorType, ...], result: TensorType) -> str:
    (x,) = emit.operands()
    if set(op.factors) == {1}:
        return _unchanged(emit, x, result)
    if max(result.shape) > _MAXIMUM_RESIZED:
        emit.refuse(
            f"ONNX computes the places of repeated elements in float32, here up to axes of {_MAXIMUM_RESIZED}; "
            f"found {result.shape}"
        )
    region = emit.constant(np.zeros(0), "no_region")
    factors = emit.constant(np.array([1, *emit.in_file_order(op.factors)], dtype=np.float64), "factors")
    return emit.add(
        "Resize", [x, region, factors], result.shape, final=True,
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip


@lowers(InsertZeros)
def insert_zeros(emit: Emitter, op: InsertZeros, types: tuple[TensorType, ...], result: TensorType) -> str:
    """Each element gets an axis of its own, which is padded to the factor and joined again; the last zeros are cut off."""
    (x,) = emit.operands()
    sizes, factors = (emit.in_file_order(values) for values in (types[0].shape, op.factors))
    spread = [place for place, factor in enumerate(factors) if factor > 1]
    if not spread:
        return _unchanged(emit, x, result)

    def shape_with(each: Sequence[int]) -> list[int]:
        """The sizes, behind each that is spread an axis of the size that `each` has for it."""
        pairs = ([size, each[place]] if place in spread else [size] for place, size in enumerate(sizes))
        return [emit.batch, *(n for pair in pairs for n in pair)]

    apart, padded = shape_with([1] * len(sizes)), shape_with(factors)
    joined = [emit.batch, *(size * factor for size, factor in zip(sizes, factors, strict=True))]
    # Behind the batch and the axes before it, `place` has as many axes of its own in front as were spread up to there.
    axes = [2 + place + number for number, place in enumerate(spread)]
    widths = [*(0 for _ in spread), *(factors[place] - 1 for place in spread)]
    x = emit.add("Reshape", [x, emit.whole_numbers(apart, "apart_shape")], (), "apart", file_shape=apart)
    pads = [emit.whole_numbers(widths, "widths"), emit.constant(0.0, "zero"), emit.whole_numbers(axes, "axes")]
    x = emit.add("Pad", [x, *pads], (), "padded", file_shape=padded, mode="constant")
    x = emit.add("Reshape", [x, emit.whole_numbers(joined, "joined_shape")], (), "joined", file_shape=joined)
    ends = emit.in_file_order(result.shape)
    bounds = {
        "starts": [0 for _ in spread],
        "ends": [ends[place] for place in spread],
        "places": [p + 1 for p in spread],
    }
    return emit.add(
        "Slice", [x, *(emit.whole_numbers(v, what) for what, v in bounds.items())], result.shape, final=True
    )
