# SPDX-License-Identifier: Apache-2.0
"""Dividers of the ECP5 PLL (EHXPLLL) for a wanted core clock.

Wiring, as in boards/common/ecp5/ecp5_clock.sv: CLKOP closes the loop with divider M and CLKFB_DIV = 1, CLKOS with divider D
is the core clock:

    f_pfd = f_oscillator / R      f_vco = f_pfd * M      f_core = f_vco / D

Limits: Lattice FPGA-DS-02012, table 'sysCLOCK PLL Timing' (input 8 to 400 MHz, output 3.125 to 400 MHz, VCO 400 to
800 MHz). For the phase detector the sources differ in the lower limit (3.125 MHz in Project Trellis' ecppll, 10 MHz in
others); the narrower range, 10 to 400 MHz, is legal in all of them. Dividers: 1 to 128 (Lattice FPGA-TN-02200).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from toolchain.errors import BoardError

INPUT_MHZ = (8, 400)
OUTPUT_MHZ = (Fraction("3.125"), 400)
VCO_MHZ = (400, 800)
PHASE_DETECTOR_MHZ = (10, 400)
LARGEST_DIVIDER = 128


@dataclass(frozen=True)
class PllSetting:
    """Dividers and the exact frequencies (MHz) that follow from them."""

    oscillator_mhz: Fraction
    reference_divider: int
    feedback_multiplier: int
    output_divider: int

    @property
    def phase_detector_mhz(self) -> Fraction:
        return self.oscillator_mhz / self.reference_divider

    @property
    def vco_mhz(self) -> Fraction:
        return self.phase_detector_mhz * self.feedback_multiplier

    @property
    def core_mhz(self) -> Fraction:
        return self.vco_mhz / self.output_divider


def find_pll(oscillator_mhz: float, core_mhz: float) -> PllSetting:
    """The legal setting whose core clock is nearest to `core_mhz` and not above it (by more than a float's rounding).

    Of several settings for that clock, the one with the fastest phase detector (least jitter), then the fastest VCO.
    Raises BoardError if the oscillator cannot drive the PLL or no legal clock is that slow.
    """
    low, high = INPUT_MHZ
    oscillator, wanted = _exact(oscillator_mhz), _exact(core_mhz)
    if not low <= oscillator <= high:
        raise BoardError(f"the ECP5 PLL takes an oscillator of {low} to {high} MHz; got {oscillator_mhz:g} MHz")
    candidates = list(_settings_not_above(oscillator, wanted))
    if not candidates:
        raise BoardError(
            f"the ECP5 PLL cannot make {core_mhz:g} MHz or less from {oscillator_mhz:g} MHz; its clocks start at "
            f"{float(OUTPUT_MHZ[0]):g} MHz"
        )
    return max(candidates, key=lambda setting: (setting.core_mhz, setting.phase_detector_mhz, setting.vco_mhz))


def _exact(mhz: float) -> Fraction:
    """A decimal number of MHz, as it is written, without the rounding of its binary form."""
    return Fraction(repr(float(mhz)))


#: A clock such as 250/3 MHz, passed on as a float, must find itself again though the float may be a little less.
_FLOAT_ROUNDING = Fraction(1, 1 << 52)


def _settings_not_above(oscillator: Fraction, wanted: Fraction) -> Iterator[PllSetting]:
    """For each legal VCO frequency the setting with the fastest core clock that is not above `wanted`."""
    limit = min(wanted * (1 + _FLOAT_ROUNDING), Fraction(OUTPUT_MHZ[1]))
    if limit < OUTPUT_MHZ[0]:
        return
    for reference in range(1, LARGEST_DIVIDER + 1):
        detector = oscillator / reference
        if not PHASE_DETECTOR_MHZ[0] <= detector <= PHASE_DETECTOR_MHZ[1]:
            continue
        first, last = ceil(VCO_MHZ[0] / detector), floor(VCO_MHZ[1] / detector)
        for multiplier in range(first, min(last, LARGEST_DIVIDER) + 1):
            output = ceil(detector * multiplier / limit)
            setting = PllSetting(oscillator, reference, multiplier, output)
            if output <= LARGEST_DIVIDER and setting.core_mhz >= OUTPUT_MHZ[0]:
                yield setting
