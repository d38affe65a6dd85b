# SPDX-License-Identifier: Apache-2.0
"""Monotonic piecewise-linear functions in exact arithmetic, each known by what it maps onto a half-line.

A quantiser asks for which integers a value reaches a step. Going backwards through the functions before it keeps the
question a half-line, so that its end is an exact fraction and a tie is a tie.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True)
class HalfLine:
    """All v with v >= bound (upward) or v <= bound; without the bound itself if not inclusive."""

    bound: Fraction
    inclusive: bool
    upward: bool = True


#: A set of reals: a half-line, all (True) or nothing (False).
Reals = HalfLine | bool


class Function(ABC):
    """A monotonic function of one real, the same for every element of a channel."""

    @abstractmethod
    def preimage(self, half: HalfLine, channel: int) -> Reals:
        """{v : f(v) lies in `half`}."""

    @abstractmethod
    def value(self, v: Fraction, channel: int) -> Fraction:
        """f(v)."""

    def channel_values(self) -> tuple[tuple[Fraction, ...], ...]:
        """The parameters that may differ from channel to channel, each with one entry or one a channel."""
        return ()


def preimage(functions: tuple[Function, ...], half: Reals, channel: int) -> Reals:
    """The set that a chain of functions, first to last, maps into `half`."""
    for function in reversed(functions):
        if isinstance(half, bool):
            break
        half = function.preimage(half, channel)
    return half


@dataclass(frozen=True)
class Affine(Function):
    """``scale[c] * v + offset[c]``; one entry serves all channels."""

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]

    def channel_values(self) -> tuple[tuple[Fraction, ...], ...]:
        return (self.scale, self.offset)

    def _at(self, channel: int) -> tuple[Fraction, Fraction]:
        return (
            self.scale[channel if len(self.scale) > 1 else 0],
            self.offset[channel if len(self.offset) > 1 else 0],
        )

    def preimage(self, half: HalfLine, channel: int) -> Reals:
        scale, offset = self._at(channel)
        if scale == 0:
            distance = offset - half.bound if half.upward else half.bound - offset
            return distance > 0 or (distance == 0 and half.inclusive)
        return HalfLine((half.bound - offset) / scale, half.inclusive, half.upward == (scale > 0))

    def value(self, v: Fraction, channel: int) -> Fraction:
        scale, offset = self._at(channel)
        return scale * v + offset


@dataclass(frozen=True)
class Clip(Function):
    """``min(max(v, low), high)``; None for no bound. The rectifier is the clip at 0."""

    low: Fraction | None = None
    high: Fraction | None = None

    def preimage(self, half: HalfLine, channel: int) -> Reals:
        near, far = (self.low, self.high) if half.upward else (self.high, self.low)
        sign = 1 if half.upward else -1
        # Every value is at least `near`: asked for less (or for just that, inclusively), all qualify.
        if near is not None and (sign * (half.bound - near) < 0 or (half.bound == near and half.inclusive)):
            return True
        if far is not None and (sign * (half.bound - far) > 0 or (half.bound == far and not half.inclusive)):
            return False
        return half

    def value(self, v: Fraction, channel: int) -> Fraction:
        if self.low is not None and v < self.low:
            return self.low
        return self.high if self.high is not None and v > self.high else v


RECTIFIER = Clip(Fraction(0))


@dataclass(frozen=True)
class Leaky(Function):
    """``v`` for v >= 0, ``slope[c] * v`` below; slopes are positive (0 would be the rectifier)."""

    slope: tuple[Fraction, ...]

    def channel_values(self) -> tuple[tuple[Fraction, ...], ...]:
        return (self.slope,)

    def _at(self, channel: int) -> Fraction:
        return self.slope[channel if len(self.slope) > 1 else 0]

    def preimage(self, half: HalfLine, channel: int) -> Reals:
        if half.bound >= 0:
            return half
        return HalfLine(half.bound / self._at(channel), half.inclusive, half.upward)

    def value(self, v: Fraction, channel: int) -> Fraction:
        return v if v >= 0 else self._at(channel) * v


@dataclass(frozen=True)
class Curve(Function):
    """A function that is known by its float values only, such as a sigmoid; it needs a quantiser after it.

    values: float64 -> float64, element by element, as the framework computes it (rounded to float32 where that does).
    rises: whether it never falls, so that a maximum may be taken before it.
    """

    name: str
    values: Callable[[np.ndarray], np.ndarray]
    rises: bool = False

    def preimage(self, half: HalfLine, channel: int) -> Reals:
        raise AssertionError(f"{self.name} is tabulated")

    def value(self, v: Fraction, channel: int) -> Fraction:
        return Fraction(float(self.values(np.array([float(v)]))[0]))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Float32(Function):
    """The nearest float32, ties to even: what one operation of a framework that computes in float32 does to its exact result.

    Between exact functions it gives a framework's own arithmetic, operation by operation, as long as what goes in is a
    float32 itself. Where no quantiser follows, it is left out (see `Walk.settled`).
    """

    def preimage(self, half: HalfLine, channel: int) -> Reals:
        sign = 1 if half.upward else -1
        bound = sign * half.bound
        if abs(bound) > _LARGEST_FLOAT32:
            return bound < 0
        # The least float32 in the half-line, and the tie below it, which goes to the even one of its two neighbours.
        least = np.float32(float(bound))
        while Fraction(float(least)) < bound or (Fraction(float(least)) == bound and not half.inclusive):
            least = np.nextafter(least, np.float32(np.inf))
        while (lower := Fraction(float(np.nextafter(least, np.float32(-np.inf))))) > bound or (
            lower == bound and half.inclusive
        ):
            least = np.nextafter(least, np.float32(-np.inf))
        if not np.isfinite(least):
            return False
        is_even = not int(least.view(np.uint32)) & 1
        return HalfLine(sign * (Fraction(float(least)) + lower) / 2, is_even, half.upward)

    def value(self, v: Fraction, channel: int) -> Fraction:
        # Through float64 a value could be rounded twice; the neighbours decide exactly.
        near = np.float32(float(v))
        candidates = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))
        return min(
            (Fraction(float(c)) for c in candidates if np.isfinite(c)),
            key=lambda c: (abs(c - v), int(np.float32(float(c)).view(np.uint32)) & 1),
        )


_LARGEST_FLOAT32 = Fraction(float(np.finfo(np.float32).max))
