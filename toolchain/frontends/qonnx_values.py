# SPDX-License-Identifier: Apache-2.0
"""Values on the walk through a QONNX file: constants, real inputs, and integers on an exact rational line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.ir import Reshape, Rounding
from toolchain.ir.interpret import round_real

Fractions = tuple[Fraction, ...]
#: Widest quantiser (biases are often declared with 32 bits).
MAXIMUM_BITS = 32


def fractions_of(values: np.ndarray) -> list[Fraction]:
    """Floats as the exact fractions that they are."""
    return [Fraction(float(value)) for value in np.asarray(values).reshape(-1)]


def power_of_two(value: Fraction) -> int | None:
    """k where value is 2**k, else None."""
    top, bottom = value.numerator, value.denominator
    if top < 1 or top & (top - 1) or bottom & (bottom - 1):
        return None
    return top.bit_length() - bottom.bit_length()


@dataclass(frozen=True)
class Constant:
    """A constant of the file. integers and scale: set where it went through a quantiser; ``values = integers * scale``."""

    values: np.ndarray
    integers: np.ndarray | None = None
    scale: np.ndarray | None = None

    def transposed(self) -> Constant:
        def turn(array: np.ndarray | None) -> np.ndarray | None:
            return array.T if array is not None and array.ndim == 2 else array

        return Constant(self.values.T, turn(self.integers), turn(self.scale))

    def per_channel(self, channels: int, label: str, array: np.ndarray | None = None) -> np.ndarray:
        """The values (or `array`) as one entry for each channel of the last axis."""
        values = np.asarray(self.values if array is None else array)
        if values.size == 1:
            return np.full(channels, values.reshape(-1)[0])
        if values.shape[-1] != channels or values.size != channels:
            raise UnsupportedModel(
                f"{label}: a constant of shape {values.shape} with {channels} channels; supported are one value, or one a channel"
            )
        return values.reshape(channels)


@dataclass(frozen=True)
class RealInput:
    """The graph's real input before it is quantised. shape: without the batch. moves: what rearranged it on the way."""

    shape: tuple[int, ...]
    moves: tuple[tuple[Reshape, str, str], ...] = ()


@dataclass(frozen=True)
class PendingDense:
    """A matrix product not yet put into the graph, because a later negative factor has to flip its columns."""

    weights: np.ndarray
    weight_fraction: int
    name: str
    source: str


@dataclass(frozen=True)
class Line:
    """Integers and their exact meaning: ``real[c] = scale[c] * integer[c] + offset[c]``, rectified where `rectified`.

    tensor: the result in the graph that holds the integers, or, where `pending` is set, that goes into that product.
    scale, offset: one entry, or one for each channel of the last axis. shape: without the batch.
    """

    tensor: str
    shape: tuple[int, ...]
    scale: Fractions
    offset: Fractions = (Fraction(0),)
    rectified: bool = False
    pending: PendingDense | None = None
    source: str = ""

    @property
    def channels(self) -> int:
        return self.shape[-1]

    def spread(self, values: Sequence[Fraction]) -> list[Fraction]:
        """One entry for each channel."""
        return list(values) if len(values) == self.channels else [values[0]] * self.channels


@dataclass(frozen=True)
class Quantiser:
    """``clip(round(x / step + zero_point))`` in [lowest, highest]; the real result is ``(that - zero_point) * step``.

    scale: the float32 array as in the file, broadcast against the tensor. is_bipolar: +step for x >= 0, else -step.
    """

    scale: np.ndarray
    zero_point: int
    lowest: int
    highest: int
    rounding: Rounding
    is_bipolar: bool = False

    @classmethod
    def read(
        cls,
        scale: np.ndarray,
        zero: np.ndarray,
        bits: np.ndarray,
        *,
        signed: bool,
        narrow: bool,
        rounding: Rounding,
        label: str,
    ) -> Quantiser:
        """From a Quant node's constants. Raises UnsupportedModel naming the one that does not fit."""
        for what, values in (("zero point", zero), ("bit width", bits)):
            if values.size != 1 or float(values.reshape(-1)[0]) != int(values.reshape(-1)[0]):
                raise UnsupportedModel(f"{label}: its {what} must be one whole number, found {values.tolist()}")
        width, zero_point = int(bits.reshape(-1)[0]), int(zero.reshape(-1)[0])
        if not 1 <= width <= MAXIMUM_BITS:
            raise UnsupportedModel(f"{label}: bit width is {width}; supported are 1 to {MAXIMUM_BITS}")
        if signed and width == 1:
            return cls.bipolar(scale, label)
        cls._check_scale(scale, label)
        if signed:
            lowest, highest = -(1 << (width - 1)) + narrow, (1 << (width - 1)) - 1
        else:
            lowest, highest = 0, (1 << width) - 1 - narrow
        return cls(scale, zero_point, lowest, highest, rounding)

    @classmethod
    def bipolar(cls, scale: np.ndarray, label: str) -> Quantiser:
        cls._check_scale(scale, label)
        return cls(scale, 0, -1, 1, Rounding.HALF_EVEN, is_bipolar=True)

    @staticmethod
    def _check_scale(scale: np.ndarray, label: str) -> None:
        if scale.size == 0 or not (scale > 0).all():
            raise UnsupportedModel(
                f"{label}: its scale must be positive, found {scale.min() if scale.size else 'nothing'}"
            )

    def steps(self, channels: int, label: str) -> Fractions:
        """The step as one fraction, or one for each channel of the last axis."""
        if self.scale.size == 1:
            return tuple(fractions_of(self.scale))
        return tuple(fractions_of(Constant(self.scale).per_channel(channels, label)))


def quantised_constant(constant: Constant, quantiser: Quantiser, label: str) -> Constant:
    """Weights as the framework quantises them: element by element in float32, which is deterministic."""
    values = constant.values.astype(np.float32)
    scale = quantiser.scale.astype(np.float32)
    try:
        scale = (
            np.broadcast_to(scale, np.broadcast_shapes(values.shape, scale.shape))
            if scale.size > 1
            else scale.reshape(-1)[0]
        )
    except ValueError:
        raise UnsupportedModel(
            f"{label}: scale of shape {quantiser.scale.shape} for a constant of shape {values.shape}"
        ) from None
    if quantiser.is_bipolar:
        integers = np.where(values >= 0, 1, -1).astype(np.int64)
    else:
        real = values / scale + np.float32(quantiser.zero_point)
        rounded = round_real(np.clip(real, quantiser.lowest, quantiser.highest).astype(np.float64), quantiser.rounding)
        integers = rounded.astype(np.int64) - quantiser.zero_point
    return Constant(integers.astype(np.float32) * scale, integers, np.asarray(scale))


def compact(values: Sequence[Fraction]) -> Fractions:
    """One entry where all are equal."""
    return tuple(values[:1]) if len(set(values)) == 1 else tuple(values)
