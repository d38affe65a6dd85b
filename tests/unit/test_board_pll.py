# SPDX-License-Identifier: Apache-2.0
"""PLL dividers: legal, the nearest not above the request, and the same for a clock that went through a float."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.deploy.pll_ecp5 import find_pll
from toolchain.errors import BoardError

OSCILLATORS = [8.0, 12.0, 16.0, 25.0, 27.0, 48.0, 50.0, 100.0, 125.0, 200.0, 400.0]
MHZ = st.decimals("3.2", "400", places=4).map(float)


def every_clock(oscillator: Fraction) -> set[Fraction]:
    """All clocks that the limits of the data sheet allow, by going through every divider."""
    clocks = set()
    for reference in range(1, 129):
        if not 10 <= oscillator / reference <= 400:
            continue
        for multiplier in range(1, 129):
            vco = oscillator / reference * multiplier
            if 400 <= vco <= 800:
                clocks |= {vco / divider for divider in range(1, 129) if Fraction(25, 8) <= vco / divider <= 400}
    return clocks


CLOCKS_FROM_25_MHZ = sorted(every_clock(Fraction(25)))


@given(st.sampled_from(OSCILLATORS), MHZ)
def test_every_setting_is_legal_and_not_above_the_request(oscillator: float, wanted: float) -> None:
    if oscillator < 10:  # the phase detector needs 10 MHz
        with pytest.raises(BoardError, match="cannot make"):
            find_pll(oscillator, wanted)
        return
    setting = find_pll(oscillator, wanted)
    assert all(1 <= d <= 128 for d in (setting.reference_divider, setting.feedback_multiplier, setting.output_divider))
    assert 10 <= setting.phase_detector_mhz <= 400
    assert 400 <= setting.vco_mhz <= 800
    assert Fraction(25, 8) <= setting.core_mhz <= Fraction(str(wanted))
    assert setting.core_mhz == (
        Fraction(str(oscillator)) / setting.reference_divider * setting.feedback_multiplier / setting.output_divider
    )


@given(MHZ)
def test_no_legal_clock_lies_between_the_setting_and_the_request(wanted: float) -> None:
    below = [clock for clock in CLOCKS_FROM_25_MHZ if clock <= Fraction(str(wanted))]
    assert find_pll(25.0, wanted).core_mhz == below[-1]


def test_every_clock_finds_itself_after_it_went_through_a_float() -> None:
    assert len(CLOCKS_FROM_25_MHZ) > 1000
    for clock in CLOCKS_FROM_25_MHZ:
        assert find_pll(25.0, float(clock)).core_mhz == clock


def test_ties_go_to_the_fastest_phase_detector() -> None:
    setting = find_pll(25.0, 100.0)
    assert (setting.reference_divider, setting.feedback_multiplier, setting.output_divider) == (1, 32, 8)


@pytest.mark.parametrize(
    ("oscillator", "wanted", "message"),
    [
        (25.0, 3.0, "the ECP5 PLL cannot make 3 MHz or less from 25 MHz; its clocks start at 3.125 MHz"),
        (25.0, -1.0, "the ECP5 PLL cannot make -1 MHz or less from 25 MHz; its clocks start at 3.125 MHz"),
        (4.0, 100.0, "the ECP5 PLL takes an oscillator of 8 to 400 MHz; got 4 MHz"),
        (401.0, 100.0, "the ECP5 PLL takes an oscillator of 8 to 400 MHz; got 401 MHz"),
    ],
)
def test_refusals(oscillator: float, wanted: float, message: str) -> None:
    with pytest.raises(BoardError) as error:
        find_pll(oscillator, wanted)
    assert str(error.value) == message
