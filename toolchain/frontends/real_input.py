# SPDX-License-Identifier: Apache-2.0
"""The types of real inputs: what a user declares, as the integers that the graph's input takes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from toolchain.errors import InputError, UsageError
from toolchain.frontends.thresholds import round_exactly
from toolchain.ir import IntegerType, OutOfRange, Rounding

#: How an input type is written, for messages.
HOW_TO_WRITE = (
    "write TYPE, TYPE*SCALE or either followed by ' saturate', for example 'fixed<16,6>', 'uint8', 'uint8*1/255' or "
    "'fixed<8,3> saturate'"
)
#: A scale beyond these is a typing error, and its powers would be huge.
_SMALLEST_SCALE, _LARGEST_SCALE = Fraction(1, 1 << 64), Fraction(1 << 64)
_SCALE = re.compile(r"(\d{1,40})(?:\s*/\s*(\d{1,40})|\.(\d{1,40}))?|2\*\*(-?\d{1,3})")


@dataclass(frozen=True)
class InputType:
    """The type of a real input that the user names: ``real = scale * (integer * 2**-fraction)``.

    saturates: whether values beyond the type become its ends; else they are refused.
    """

    element: IntegerType
    scale: Fraction = Fraction(1)
    saturates: bool = False

    @classmethod
    def parse(cls, text: str) -> InputType:
        """Read 'fixed<16,6>', 'uint8*1/255', 'int8*0.5', 'int8*2**-7', each also with ' saturate' after it.

        The scale is exact: '0.1' is one tenth. Raises UsageError for anything else.
        """
        rest = text.strip()
        kept = re.sub(r"\s+saturate$", "", rest)
        type_text, star, scale_text = kept.partition("*")
        try:
            element = IntegerType.parse(type_text)
        except InputError as error:
            raise UsageError(f"input type: {error}; with a scale: 'uint8*1/255'") from None
        scale = _parse_scale(scale_text.strip(), text) if star else Fraction(1)
        return cls(element, scale, saturates=kept != rest)

    def __str__(self) -> str:
        element = self.element
        whole = f"{'' if element.signed else 'u'}int{element.width}"
        scale = "" if self.scale == 1 else f"*{self.scale}"
        return f"{element if element.fraction else whole}{scale}{' saturate' * self.saturates}"

    @property
    def step(self) -> Fraction:
        """The real value of one step."""
        return self.scale * Fraction(2) ** -self.element.fraction


def _parse_scale(text: str, whole: str) -> Fraction:
    match = _SCALE.fullmatch(text)
    if match is None or (match[2] and not int(match[2])):
        raise UsageError(f"input type {whole!r}: scale {text!r} is not understood; {HOW_TO_WRITE}")
    scale = Fraction(2) ** int(match[4]) if match[4] else Fraction(re.sub(r"\s", "", text))
    if not _SMALLEST_SCALE <= scale <= _LARGEST_SCALE:
        raise UsageError(f"input type {whole!r}: scale is {float(scale):g}; allowed are 2**-64 to 2**64")
    return scale


def narrowed(
    element: IntegerType,
    real_range: tuple[float, float] | None,
    *,
    step: Fraction,
    zero_point: int = 0,
    rounding: Rounding = Rounding.HALF_EVEN,
) -> tuple[IntegerType, OutOfRange]:
    """The type of a model's own input quantiser, and what it does with real values beyond it.

    Without a declared range the quantiser saturates. With one that the quantiser takes without saturating, the type's
    interval shrinks to what those values become (rounding is monotonic, so the ends bound the rest) and other values are
    refused. A declared range that reaches further than the quantiser has to saturate, since the framework does.
    step: the real value of one step; a real x becomes ``round(x / step + zero_point)``.
    """
    if real_range is None:
        return element, OutOfRange.SATURATE
    low, high = (round_exactly(Fraction(value) / step + zero_point, rounding) for value in real_range)
    if element.minimum <= low and high <= element.maximum:
        return replace(element, minimum=low, maximum=high), OutOfRange.REFUSE
    return element, OutOfRange.SATURATE


def declared_type(named: InputType, real_range: tuple[float, float] | None) -> tuple[IntegerType, OutOfRange]:
    """An input type that the user named, shrunk to the real range where there is one, and what it does beyond that."""
    element = named.element
    beyond = OutOfRange.SATURATE if named.saturates else OutOfRange.REFUSE
    if real_range is None:
        return element, beyond
    low, high = (round_exactly(Fraction(value) / named.step, Rounding.HALF_EVEN) for value in real_range)
    low, high = max(low, element.minimum), min(high, element.maximum)
    if low > high:
        raise UsageError(
            f"input type {named} holds none of the values from {real_range[0]:g} to {real_range[1]:g} that model.toml "
            "declares; choose a type that does"
        )
    return replace(element, minimum=low, maximum=high), beyond
