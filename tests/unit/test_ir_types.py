# SPDX-License-Identifier: Apache-2.0
"""Integer types: ranges, the narrowest type of an interval, and the way users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import InputError, SpecViolation
from toolchain.ir import IntegerType


@given(st.integers(-(1 << 200), 1 << 200), st.integers(-(1 << 200), 1 << 200))
def test_spanning_is_the_narrowest_word(a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    element = IntegerType.spanning(low, high)
    assert element.signed == (low < 0)
    assert element.lowest <= low
    assert high <= element.highest
    assert (element.minimum, element.maximum) == (low, high)
    if element.width > 1:
        narrower = IntegerType(element.signed, element.width - 1)
        assert low < narrower.lowest or high > narrower.highest


@pytest.mark.parametrize(
    ("text", "signed", "width", "fraction"),
    [
        ("fixed<16,6>", True, 16, 10),
        ("ap_fixed<8, 10>", True, 8, -2),
        ("ufixed<5,1>", False, 5, 4),
        (" ufixed < 4 , -2 > ", False, 4, 6),
        ("int<7>", True, 7, 0),
        ("uint8", False, 8, 0),
        ("ap_int<3>", True, 3, 0),
    ],
)
def test_parse(text: str, signed: bool, width: int, fraction: int) -> None:
    assert IntegerType.parse(text) == IntegerType(signed, width, fraction)


@pytest.mark.parametrize(
    "text", ["", "fixed", "fixed<8>", "float16", "int<0>", "fixed<99999,3>", "int8; rm", "uint<5000>"]
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(InputError, match="type "):
        IntegerType.parse(text)


def test_written_form_names_a_narrower_interval() -> None:
    assert str(IntegerType(False, 5, 4, 0, 16)) == "ufixed<5,1>[0..16]"
    assert str(IntegerType(True, 6, 5)) == "fixed<6,1>"


def test_interval_must_fit_the_word() -> None:
    with pytest.raises(SpecViolation) as caught:
        IntegerType(True, 4, 0, -9, 7)
    assert str(caught.value) == "integer type: the interval [-9, 7] must lie in [-8, 7], the range of 4 signed bits"
    with pytest.raises(SpecViolation, match="width must be 1 to 4096 bits, found 0"):
        IntegerType(True, 0)
