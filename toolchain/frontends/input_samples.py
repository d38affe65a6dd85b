# SPDX-License-Identifier: Apache-2.0
"""The type of a real input chosen from samples of it, and what a type does to samples."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from toolchain.errors import UsageError
from toolchain.frontends.real_input import InputType
from toolchain.ir import IntegerType
from toolchain.ir.types import bits_for

DEFAULT_BITS = 16
MINIMUM_BITS, MAXIMUM_BITS = 2, 32
#: How many times the range is halved in search of the least error.
_HALVINGS = 8
#: Samples that reach no further than 2 to this power, and at least to its inverse.
_MAXIMUM_EXPONENT = 64


@dataclass(frozen=True)
class SampledType:
    """An input type and what it does to the samples.

    samples, values: how many there were. clipped: values beyond the type's ends. largest_error: of any value, real;
    largest_rounding: of the values that are not clipped. chosen: whether the samples decided the type. shape: of one sample, ()
    where single values were given.
    """

    type: InputType
    samples: int
    values: int
    clipped: int
    largest_error: float
    largest_rounding: float
    chosen: bool
    shape: tuple[int, ...] = ()

    @property
    def clipped_share(self) -> float:
        return self.clipped / self.values

    def __str__(self) -> str:
        verb = "chosen from" if self.chosen else "on"
        told = f"input type '{self.type}' {verb} {self.samples} sample{'s' * (self.samples != 1)}: "
        if not self.clipped and not self.largest_error:
            return f"{told}it holds every value exactly"
        beyond = "clipped" if self.type.saturates else "beyond its range, which is refused"
        share = f"{self.clipped} of {self.values} values ({100 * self.clipped_share:.3g} %) {beyond}"
        return (
            f"{told}{share if self.clipped else 'no value beyond its range'}, largest error {self.largest_error:.3g}"
            f"{f' ({self.largest_rounding:.3g} by rounding alone)' if self.clipped else ''}, step {float(self.type.step):g}"
        )


def require_numbers(x: np.ndarray, what: str) -> None:
    """Raise UsageError unless `x` holds numbers from which a type can be chosen. what: for messages."""
    if x.dtype.kind not in "fiub" or not x.size or not np.isfinite(x).all():
        raise UsageError(f"{what} must be one or more finite numbers, found shape {x.shape} of {x.dtype}")
    largest = float(np.abs(x.astype(np.float64)).max())
    if largest and not 2.0**-_MAXIMUM_EXPONENT < largest < 2.0**_MAXIMUM_EXPONENT:
        raise UsageError(
            f"{what} reach {largest:g}; types are chosen for largest values from 2**-{_MAXIMUM_EXPONENT} to "
            f"2**{_MAXIMUM_EXPONENT}: scale the inputs"
        )


def choose_input_type(x: np.ndarray, bits: int) -> SampledType:
    """The type of at most `bits` bits that suits the samples `x`, real or integer values of any shape.

    The first that applies:
    1. An array of 8- or 16-bit integers keeps its own type ('uint8'), where that has at most `bits` bits.
    2. Where a type of at most `bits` bits holds every sample exactly, the narrowest such type with the fewest fraction bits.
    3. Else `bits` bits, signed where any sample is negative, with the binary point of the least mean squared error; of
       equals the one with the larger range. Where that clips samples, the type saturates.
    """
    if not MINIMUM_BITS <= bits <= MAXIMUM_BITS:
        raise UsageError(f"input_bits must be {MINIMUM_BITS} to {MAXIMUM_BITS}, found {bits}")
    if x.dtype.kind in "iu" and 8 * x.dtype.itemsize <= min(bits, 16):
        own = IntegerType(x.dtype.kind == "i", 8 * x.dtype.itemsize)
        return effect_of(InputType(own), x, chosen=True)
    real = np.unique(x.astype(np.float64))
    exact = _exact_type(real, bits)
    if exact is not None:
        return effect_of(InputType(exact), x, chosen=True)
    signed = bool(real[0] < 0)
    real = x.astype(np.float64)
    # From the finest point at which nothing is clipped; floor(log2) may be one off at a power of two, hence the loop.
    fraction = bits - signed - int(np.floor(np.log2(np.abs(real).max())))
    while effect_of(InputType(IntegerType(signed, bits, fraction)), real).clipped:
        fraction -= 1
    candidates = [IntegerType(signed, bits, fraction + halvings) for halvings in range(_HALVINGS + 1)]
    best = min(candidates, key=lambda element: _squared_error(element, real))
    found = effect_of(InputType(best), x, chosen=True)
    return found if not found.clipped else effect_of(InputType(best, saturates=True), x, chosen=True)


def _exact_type(real: np.ndarray, bits: int) -> IntegerType | None:
    """The narrowest type of at most `bits` bits that holds each of the ascending values; None where there is none."""
    largest = float(np.abs(real).max())
    if largest == 0:
        return IntegerType(False, 1)
    top = int(np.floor(np.log2(largest))) + 1
    # With more fraction bits than this the largest value alone needs more than `bits`.
    for least in range(-top, bits - top + 1):
        steps = np.ldexp(real, least)
        if (steps == np.rint(steps)).all():
            # No fraction bits are read more easily than a negative number: 'uint5' for multiples of 2 up to 16.
            fraction = max(least, 0) if top <= bits else least
            signed, width = bits_for(int(np.ldexp(real[0], fraction)), int(np.ldexp(real[-1], fraction)))
            return IntegerType(signed, width, fraction) if width <= bits else None
    return None


def _steps(element: IntegerType, scale: Fraction, x: np.ndarray) -> np.ndarray:
    """Values as the host rounds them to whole steps, before they are clipped."""
    return np.rint(np.ldexp(x.astype(np.float64) / float(scale), element.fraction))


def _squared_error(element: IntegerType, x: np.ndarray) -> float:
    steps = np.clip(_steps(element, Fraction(1), x), element.minimum, element.maximum)
    return float(np.mean((np.ldexp(steps, -element.fraction) - x) ** 2))


def effect_of(named: InputType, x: np.ndarray, *, chosen: bool = False) -> SampledType:
    """What a type does to the samples `x`."""
    element = named.element
    steps = _steps(element, named.scale, x)
    clipped = np.clip(steps, element.minimum, element.maximum)
    outside = clipped != steps
    error = np.abs(float(named.scale) * np.ldexp(clipped, -element.fraction) - x.astype(np.float64))
    inside = error[~outside]
    return SampledType(
        named,
        len(x),
        x.size,
        int(outside.sum()),
        float(error.max()),
        float(inside.max()) if inside.size else 0.0,
        chosen,
        x.shape[1:],
    )
