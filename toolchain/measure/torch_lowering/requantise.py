# SPDX-License-Identifier: Apache-2.0
"""Requantise as a PyTorch function on floats that hold integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolchain.ir import Overflow, Requantise, Rounding, TensorType
from toolchain.measure.float_exactness import plan_requantise
from toolchain.measure.torch_lowering.registry import Constants, Step, lowers

if TYPE_CHECKING:
    import torch


@lowers(Requantise)
def requantise(operation: Requantise, types: tuple[TensorType, ...], make: Constants) -> Step:
    plan = plan_requantise(operation, types[0])
    factor = 2.0**plan.scale_exponent
    round_scaled = _rounding(operation.rounding) if plan.scale_exponent < 0 else None
    fit = _overflow(operation) if plan.leaves_target else None

    def step(x: torch.Tensor) -> torch.Tensor:
        y = x if factor == 1.0 else x * factor
        y = y if round_scaled is None else round_scaled(y)
        return y if fit is None else fit(y)

    return step


def _rounding(rounding: Rounding) -> Step:
    """Round exact quotients to integers. A tie is where the quotient equals floor + 1/2, which is exact too."""
    import torch

    simple: dict[Rounding, Step] = {
        Rounding.TRUNCATE: torch.floor,
        Rounding.CEILING: torch.ceil,
        Rounding.TRUNCATE_ZERO: torch.trunc,
        Rounding.HALF_EVEN: torch.round,  # ties to even, as IEEE 754 roundToIntegralTiesToEven
        Rounding.HALF_UP: lambda q: torch.floor(q + 0.5),
        Rounding.HALF_DOWN: lambda q: torch.ceil(q - 0.5),
        Rounding.AWAY: lambda q: torch.where(q < 0, torch.floor(q), torch.ceil(q)),
        Rounding.HALF_ZERO: lambda q: torch.where(q < 0, torch.floor(q + 0.5), torch.ceil(q - 0.5)),
        Rounding.HALF_AWAY: lambda q: torch.where(q < 0, torch.ceil(q - 0.5), torch.floor(q + 0.5)),
        Rounding.HALF_DPU: lambda q: torch.where(q < 0, torch.floor(q + 0.5), torch.round(q)),
    }
    return simple[rounding]


def _overflow(operation: Requantise) -> Step:
    import torch

    target = operation.target
    low, high = target.minimum, target.maximum
    if operation.overflow is Overflow.SATURATE:
        return lambda y: torch.clamp(y, low, high)
    if operation.overflow is Overflow.SATURATE_ZERO:
        # A product, not torch.where with a constant: that copies the constant, which a CUDA graph cannot capture.
        return lambda y: y * ((y >= low) & (y <= high)).to(y.dtype)
    modulus = float(1 << target.width)
    half = modulus / 2

    def wrap(y: torch.Tensor) -> torch.Tensor:
        unsigned = y - modulus * torch.floor(y / modulus)
        return torch.where(unsigned >= half, unsigned - modulus, unsigned) if target.signed else unsigned

    if operation.overflow is Overflow.WRAP:
        return wrap

    def wrap_sign_magnitude(y: torch.Tensor) -> torch.Tensor:
        quotient = torch.floor(y / modulus)
        bit_above = quotient - 2 * torch.floor(quotient / 2)
        wrapped = wrap(y)
        return torch.where((bit_above == 1) != (wrapped < 0), -1 - wrapped, wrapped)

    return wrap_sign_magnitude
