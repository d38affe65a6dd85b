# SPDX-License-Identifier: Apache-2.0
"""Uniform quantisers, and constants that have gone through one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.values import Fractions, compact, fractions_of, per_channel
from toolchain.ir import Rounding
from toolchain.ir.interpret import round_real

#: Widest quantiser (biases are often declared with 32 bits).
MAXIMUM_BITS = 32


@dataclass(frozen=True)
class Quantiser:
    """``clip(round(x / step + zero_point))`` in [lowest, highest]; the real result is ``(that - zero_point) * step``.

    steps: one entry, or one a channel; positive. is_bipolar: +step for x >= 0, else -step, and lowest, highest, rounding are
    not used.
    """

    steps: Fractions
    lowest: int
    highest: int
    rounding: Rounding = Rounding.HALF_EVEN
    zero_point: int = 0
    is_bipolar: bool = False

    @property
    def count(self) -> int:
        """Steps from the lowest to the highest result."""
        return 2 if self.is_bipolar else self.highest - self.lowest


def bipolar(steps: Fractions) -> Quantiser:
    return Quantiser(steps, -1, 1, is_bipolar=True)


@dataclass(frozen=True)
class Constant:
    """A constant of the model, in the framework's axes. integers, scale: set where it went through a quantiser, and then
    ``values = integers * scale`` with `scale` broadcast against the values."""

    values: np.ndarray
    integers: np.ndarray | None = None
    scale: np.ndarray | None = None

    def transposed(self, permutation: tuple[int, ...]) -> Constant:
        def turn(array: np.ndarray | None) -> np.ndarray | None:
            return array.transpose(permutation) if array is not None and array.ndim == len(permutation) else array

        return Constant(self.values.transpose(permutation), turn(self.integers), turn(self.scale))

    def reshaped(self, shape: tuple[int, ...]) -> Constant:
        def turn(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else np.broadcast_to(array, self.values.shape).reshape(shape)

        scale = self.scale if self.scale is None or self.scale.size == 1 else turn(self.scale)
        return Constant(self.values.reshape(shape), turn(self.integers), scale)


def grid_of(scale: np.ndarray, channels: int, label: str) -> Fractions:
    """A quantiser's float scale as exact steps: one, or one a channel of the last axis. Raises UnsupportedModel."""
    check_scale(scale, label)
    if scale.size == 1:
        return tuple(fractions_of(scale))
    return compact(fractions_of(per_channel(scale, channels, label)))


def check_scale(scale: np.ndarray, label: str) -> None:
    if scale.size == 0 or not (np.isfinite(scale).all() and (scale > 0).all()):
        found = scale.min() if scale.size else "nothing"
        raise UnsupportedModel(f"{label}: its scale must be positive and finite, found {found}")


def quantised_constant(
    constant: Constant,
    scale: np.ndarray,
    zero_point: np.ndarray,
    lowest: int,
    highest: int,
    rounding: Rounding,
    label: str,
    *,
    is_bipolar: bool = False,
) -> Constant:
    """Weights as the framework quantises them: element by element in float32, which is deterministic."""
    values, scale = constant.values.astype(np.float32), scale.astype(np.float32)
    check_scale(scale, label)
    if not (np.isfinite(zero_point).all() and (zero_point == np.rint(zero_point)).all()):
        raise UnsupportedModel(
            f"{label}: its zero points must be whole numbers, found {zero_point.reshape(-1)[:8].tolist()}"
        )
    if (np.abs(zero_point) >= 2.0**MAXIMUM_BITS).any():
        raise UnsupportedModel(
            f"{label}: has a zero point of {np.abs(zero_point).max():g}; supported are magnitudes below 2**{MAXIMUM_BITS}"
        )
    try:
        np.broadcast_shapes(values.shape, scale.shape, zero_point.shape)
        if scale.size == 1:
            scale = scale.reshape(-1)[0]
        elif np.broadcast_shapes(values.shape, scale.shape) != values.shape:
            raise ValueError
    except ValueError:
        raise UnsupportedModel(
            f"{label}: scale of shape {scale.shape} and zero point of shape {zero_point.shape} for a constant of shape "
            f"{values.shape}"
        ) from None
    if is_bipolar:
        integers = np.where(values >= 0, 1, -1).astype(np.int64)
    else:
        zero = zero_point.astype(np.float32)
        with np.errstate(over="ignore"):  # what is too large for float32 is clipped
            real = np.clip(values / scale + zero, np.float32(lowest), np.float32(highest))
        rounded = round_real(real.astype(np.float64), rounding)
        integers = (rounded - zero_point.astype(np.float64)).astype(np.int64)
    return Constant((integers.astype(np.float32) * scale).astype(np.float32), integers, np.asarray(scale))


def fraction_bits(steps: Fractions) -> int:
    """The binary point of integers on one power-of-two step; 0 where there is none."""
    from toolchain.frontends.exact.values import power_of_two

    exponent = power_of_two(steps[0]) if len(set(steps)) == 1 else None
    return 0 if exponent is None else -exponent


def step_of(fraction: int) -> Fraction:
    return Fraction(2) ** -fraction
