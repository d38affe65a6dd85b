# SPDX-License-Identifier: Apache-2.0
"""Every combination of factors from 1 to 4 around frames of one and of several rows, columns and beats a pixel."""

from __future__ import annotations

from itertools import product

from rtl_tests.insert_zeros.test_insert_zeros import case

CASES = [
    case(f"sweep_{number}", (height, columns, channels, 1), factor, width=9)
    for number, ((height, columns, channels), factor) in enumerate(
        product(((1, 1, 2), (2, 1, 1), (1, 3, 1), (3, 2, 2)), product((1, 2, 4), (1, 2, 3)))
    )
]
