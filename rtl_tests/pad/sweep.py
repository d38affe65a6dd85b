# SPDX-License-Identifier: Apache-2.0
"""Every combination of no, one and two rows and columns of border, around frames of one and of several pixels."""

from __future__ import annotations

from itertools import product

from rtl_tests.pad.test_pad import case

CASES = [
    case(f"sweep_{number}", (height, across, channels, 1), (top, bottom), (left, right), width=9, value=-number)
    for number, ((height, across, channels), top, bottom, left, right) in enumerate(
        product(((1, 1, 1), (2, 3, 2)), (0, 2), (0, 1), (0, 1), (0, 2))
    )
]
