# SPDX-License-Identifier: Apache-2.0
"""Both operations and both kinds of numbers over numbers of taps and of beats a vector, on both sides of every limit."""

from __future__ import annotations

from itertools import product

from rtl_tests.window_reduce.test_window_reduce import MAXIMUM, SIGNED, SUM, UNSIGNED, case

CASES = [
    case(taps, beats * pe, pe, operation, (width, signed))
    for (taps, beats, pe), (operation, signed, width) in product(
        ((1, 1, 2), (1, 5, 1), (2, 1, 1), (2, 4, 2), (3, 1, 3), (3, 5, 1), (3, 6, 2), (8, 7, 1), (11, 3, 2)),
        ((MAXIMUM, UNSIGNED, 7), (MAXIMUM, SIGNED, 4), (SUM, UNSIGNED, 2), (SUM, SIGNED, 5)),
    )
]
