# SPDX-License-Identifier: Apache-2.0
"""Operations that move values, or put constants beside them, in PyTorch. None of them computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolchain.ir import Concatenate, Constant, InsertZeros, Pad, Reshape, Slice, TensorType, Transpose, Upsample
from toolchain.measure.torch_lowering.arithmetic import shifted
from toolchain.measure.torch_lowering.registry import Constants, Step, lowers

if TYPE_CHECKING:
    import torch


@lowers(Constant)
def constant(operation: Constant, types: tuple[TensorType, ...], make: Constants) -> Step:
    values = make(operation.values[None])
    return lambda: values


@lowers(Reshape)
def reshape(operation: Reshape, types: tuple[TensorType, ...], make: Constants) -> Step:
    shape = operation.shape
    return lambda x: x.reshape(x.shape[0], *shape)


@lowers(Transpose)
def transpose(operation: Transpose, types: tuple[TensorType, ...], make: Constants) -> Step:
    axes = (0, *(axis + 1 for axis in operation.permutation))
    return lambda x: x.permute(axes)


@lowers(Concatenate)
def concatenate(operation: Concatenate, types: tuple[TensorType, ...], make: Constants) -> Step:
    import torch

    fraction, axis = operation.infer(*types).element.fraction, operation.axis + 1
    align = [shifted(fraction - t.element.fraction, t) for t in types]
    return lambda *operands: torch.cat([step(x) for step, x in zip(align, operands, strict=True)], dim=axis)


@lowers(Slice)
def slice_(operation: Slice, types: tuple[TensorType, ...], make: Constants) -> Step:
    places = (slice(None), *map(slice, operation.starts, operation.stops, operation.steps))
    return lambda x: x[places]


@lowers(Pad)
def pad(operation: Pad, types: tuple[TensorType, ...], make: Constants) -> Step:
    import torch

    if not any(map(any, operation.widths)):
        return lambda x: x  # the value, which no element has, may be any large integer
    widths = [n for pair in reversed(operation.widths) for n in pair]  # torch begins at the last axis
    return lambda x: torch.nn.functional.pad(x, widths, value=float(operation.value))


@lowers(Upsample)
def upsample(operation: Upsample, types: tuple[TensorType, ...], make: Constants) -> Step:
    repeated = [(axis, factor) for axis, factor in enumerate(operation.factors, start=1) if factor > 1]

    def step(x: torch.Tensor) -> torch.Tensor:
        for axis, factor in repeated:
            x = x.repeat_interleave(factor, dim=axis)
        return x

    return step


@lowers(InsertZeros)
def insert_zeros(operation: InsertZeros, types: tuple[TensorType, ...], make: Constants) -> Step:
    shape = operation.infer(*types).shape
    places = (slice(None), *(slice(None, None, factor) for factor in operation.factors))

    def step(x: torch.Tensor) -> torch.Tensor:
        y = x.new_zeros((x.shape[0], *shape))
        y[places] = x
        return y

    return step
