# SPDX-License-Identifier: Apache-2.0
"""The types of the integer graph: what an integer in a tensor may be and which real value it stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from math import prod

from toolchain.errors import InputError, SpecViolation

#: Widest integer that the graph accepts. Far beyond any real network; it bounds what an untrusted file can ask for.
MAXIMUM_WIDTH = 4096
#: Most elements of one sample of a tensor, and most axes it may have: again bounds on what a file can ask for.
MAXIMUM_ELEMENTS = 1 << 31
MAXIMUM_AXES = 16


def bits_for(minimum: int, maximum: int) -> tuple[bool, int]:
    """(signed, width) of the smallest two's complement or unsigned word that holds [minimum, maximum].

    The width is at least 1, so the constant 0 has one unsigned bit.
    """
    if minimum > maximum:
        raise SpecViolation(f"empty integer interval [{minimum}, {maximum}]: the minimum must not exceed the maximum")
    if minimum >= 0:
        return False, max(1, maximum.bit_length())
    return True, 1 + max((-minimum - 1).bit_length(), maximum.bit_length() if maximum > 0 else 0)


@dataclass(frozen=True)
class IntegerType:
    """An integer of `width` bits whose real value is ``integer * 2**-fraction``.

    signed: two's complement if true, else non-negative.
    width: number of bits, sign included, 1 to 4096.
    fraction: position of the binary point; may be negative or larger than the width.
    minimum, maximum: the interval that values really lie in; by default all that the width can represent. A narrower
        interval (a symmetric range, an accumulator's reachable values) is what later widths are computed from.
    """

    signed: bool
    width: int
    fraction: int = 0
    minimum: int = None  # type: ignore[assignment]  # replaced in __post_init__, so that readers see an int
    maximum: int = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for label in ("width", "fraction"):
            value = getattr(self, label)
            if type(value) is not int:
                raise SpecViolation(f"integer type: {label} must be an int, found {value!r}")
        if not 1 <= self.width <= MAXIMUM_WIDTH:
            raise SpecViolation(f"integer type: width must be 1 to {MAXIMUM_WIDTH} bits, found {self.width}")
        if abs(self.fraction) > MAXIMUM_WIDTH:
            raise SpecViolation(f"integer type: fraction must lie in +-{MAXIMUM_WIDTH}, found {self.fraction}")
        if self.minimum is None:
            object.__setattr__(self, "minimum", self.lowest)
        if self.maximum is None:
            object.__setattr__(self, "maximum", self.highest)
        if not self.lowest <= self.minimum <= self.maximum <= self.highest:
            raise SpecViolation(
                f"integer type: the interval [{self.minimum}, {self.maximum}] must lie in "
                f"[{self.lowest}, {self.highest}], the range of {self.width} {'signed' if self.signed else 'unsigned'} bits"
            )

    @property
    def lowest(self) -> int:
        """Smallest integer that the word can represent."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """Largest integer that the word can represent."""
        return (1 << (self.width - 1)) - 1 if self.signed else (1 << self.width) - 1

    @property
    def is_full_range(self) -> bool:
        return self.minimum == self.lowest and self.maximum == self.highest

    @property
    def magnitude(self) -> int:
        """Largest absolute value in the interval."""
        return max(-self.minimum, self.maximum)

    @classmethod
    def spanning(cls, minimum: int, maximum: int, fraction: int = 0) -> IntegerType:
        """The narrowest type that holds the interval."""
        signed, width = bits_for(minimum, maximum)
        return cls(signed, width, fraction, minimum, maximum)

    def including(self, value: int) -> IntegerType:
        """This type with `value` in its interval: the same word where that can hold the value, else the narrowest."""
        low, high = min(self.minimum, value), max(self.maximum, value)
        if self.lowest <= value <= self.highest:
            return IntegerType(self.signed, self.width, self.fraction, low, high)
        return IntegerType.spanning(low, high, self.fraction)

    @classmethod
    def parse(cls, text: str) -> IntegerType:
        """Read 'fixed<16,6>', 'ufixed<8,0>' (width, integer bits, as in ap_fixed), 'int<8>', 'uint<5>', 'int8', 'uint8'.

        Raises InputError for anything else.
        """
        match = re.fullmatch(r"\s*(?:ap_)?(u?)fixed\s*<\s*(\d{1,4})\s*,\s*(-?\d{1,4})\s*>\s*", text)
        if match:
            width, integer_bits = int(match[2]), int(match[3])
            fraction = width - integer_bits
        else:
            match = re.fullmatch(r"\s*(?:ap_)?(u?)int(?:\s*<\s*(\d{1,4})\s*>|(\d{1,4}))\s*", text)
            if not match:
                raise InputError(
                    f"type {text!r} is not understood; write 'fixed<WIDTH,INTEGER_BITS>', 'ufixed<WIDTH,INTEGER_BITS>', "
                    "'int<WIDTH>' or 'uint<WIDTH>', for example 'fixed<16,6>'"
                )
            width, fraction = int(match[2] or match[3]), 0
        try:
            return cls(match[1] != "u", width, fraction)
        except SpecViolation as error:
            raise InputError(f"type {text!r}: {error}") from None

    def __str__(self) -> str:
        integer_bits = self.width - self.fraction
        name = f"{'' if self.signed else 'u'}fixed<{self.width},{integer_bits}>"
        return name if self.is_full_range else f"{name}[{self.minimum}..{self.maximum}]"


@dataclass(frozen=True)
class TensorType:
    """An array of integers of one type. `shape` leaves the batch axis out; channels are the last axis."""

    shape: tuple[int, ...]
    element: IntegerType

    def __post_init__(self) -> None:
        if not self.shape or any(type(size) is not int or size < 1 for size in self.shape):
            raise SpecViolation(f"tensor shape must be one or more positive sizes, found {self.shape!r}")
        if len(self.shape) > MAXIMUM_AXES:
            raise SpecViolation(f"a tensor has up to {MAXIMUM_AXES} axes, found {len(self.shape)}")
        if prod(self.shape) > MAXIMUM_ELEMENTS:
            raise SpecViolation(f"a tensor has up to {MAXIMUM_ELEMENTS} elements, found shape {self.shape}")

    @cached_property
    def size(self) -> int:
        """Elements in one sample."""
        return prod(self.shape)

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.shape[-1]

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))} {self.element}"
