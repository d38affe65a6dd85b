# SPDX-License-Identifier: Apache-2.0
"""Runs of one, two and more beats on each side, with types that take turns."""

from __future__ import annotations

from itertools import product

from rtl_tests.stream_concatenate.test_stream_concatenate import case

TYPES = [
    ((4, True, 0), (4, True, 0), 4),
    ((3, False, 2), (6, True, 0), 7),
    ((1, True, 0), (1, False, 5), 7),
    ((17, False, 0), (2, True, 1), 16),
]

CASES = [
    case((a_beats, b_beats), 1 + number % 3, *TYPES[number % 4])
    for number, (a_beats, b_beats) in enumerate(product((1, 2, 3, 4, 9), repeat=2))
]
