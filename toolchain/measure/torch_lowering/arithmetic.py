# SPDX-License-Identifier: Apache-2.0
"""Sums, products and functions of single values in PyTorch, on floats that hold integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toolchain.ir import Add, AddBias, Dense, Lookup, Multiply, Relu, Scale, TensorType, Threshold
from toolchain.measure.float_exactness import as_lookup, clipped_thresholds, compares_at_once, table_positions
from toolchain.measure.torch_lowering.registry import Constants, Step, lowers

if TYPE_CHECKING:
    import torch


def shifted(shift: int, x: TensorType) -> Step:
    """``value << shift`` for values of type `x`."""
    # A value that is always 0 may be shifted by any amount, also by more than a float holds.
    factor = float(1 << shift) if x.element.magnitude else 1.0
    return (lambda value: value) if factor == 1.0 else (lambda value: value * factor)


@lowers(Dense)
def dense(operation: Dense, types: tuple[TensorType, ...], make: Constants) -> Step:
    weights = make(operation.weights)
    return lambda x: x @ weights


@lowers(AddBias)
def add_bias(operation: AddBias, types: tuple[TensorType, ...], make: Constants) -> Step:
    input_shift, bias_shift = operation.shifts(types[0].element)
    bias, align = make(operation.bias.astype(object) << bias_shift), shifted(input_shift, types[0])
    return lambda x: align(x) + bias


@lowers(Scale)
def scale(operation: Scale, types: tuple[TensorType, ...], make: Constants) -> Step:
    factors = make(operation.factors)
    return lambda x: x * factors


@lowers(Add)
def add(operation: Add, types: tuple[TensorType, ...], make: Constants) -> Step:
    shifts = operation.shifts(types[0].element, types[1].element)
    align_a, align_b = (shifted(shift, t) for shift, t in zip(shifts, types, strict=True))
    if operation.subtract:
        return lambda a, b: align_a(a) - align_b(b)
    return lambda a, b: align_a(a) + align_b(b)


@lowers(Multiply)
def multiply(operation: Multiply, types: tuple[TensorType, ...], make: Constants) -> Step:
    return lambda a, b: a * b


@lowers(Relu)
def relu(operation: Relu, types: tuple[TensorType, ...], make: Constants) -> Step:
    import torch

    shift = operation.negative_slope_shift
    highest = types[0].element.maximum << (shift or 0)
    # A bound that no value reaches is left out: it may be any large integer.
    bound = operation.upper_bound if operation.upper_bound is not None and operation.upper_bound < highest else None
    if shift is None:
        return lambda x: torch.clamp(x, 0, bound)
    slope = float(1 << shift)

    def leaky(x: torch.Tensor) -> torch.Tensor:
        y = torch.maximum(x * slope, x)  # slope * x is the larger of the two exactly where x >= 0
        return y if bound is None else torch.clamp(y, max=bound)

    return leaky


@lowers(Threshold)
def threshold(operation: Threshold, types: tuple[TensorType, ...], make: Constants) -> Step:
    thresholds, offset = make(clipped_thresholds(operation, types[0])), operation.offset
    if compares_at_once(operation, types[0]):
        return lambda x: (x.unsqueeze(-1) >= thresholds).sum(-1, dtype=x.dtype) + offset
    table = as_lookup(operation, types[0])
    if table is not None:
        return lookup(table, types, make)
    columns = [column.contiguous() for column in thresholds.T]

    def one_after_the_other(x: torch.Tensor) -> torch.Tensor:
        count = (x >= columns[0]).to(x.dtype)
        for column in columns[1:]:
            count += x >= column
        return count + offset

    return one_after_the_other


@lowers(Lookup)
def lookup(operation: Lookup, types: tuple[TensorType, ...], make: Constants) -> Step:
    import torch

    values, zero = table_positions(operation, types[0])
    table = make(values)
    if not np.any(zero):
        return lambda x: table[x.to(torch.int64)]
    offsets = make.whole(zero)
    return lambda x: table[x.to(torch.int64) + offsets]
