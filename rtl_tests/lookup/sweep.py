# SPDX-License-Identifier: Apache-2.0
"""One table and one a channel, of sizes on both sides of every power of two, over foldings and kinds of numbers."""

from __future__ import annotations

from itertools import product

from rtl_tests.lookup.test_lookup import ONE, OWN, SIGNED, UNSIGNED, case

CASES = [
    case(channels, pe, own, entries, (7, signed), 11, first=first)
    for (channels, pe), own, entries, (signed, first) in product(
        ((1, 1), (4, 1), (6, 3)),
        (ONE, OWN),
        (1, 15, 16, 17, 64, 65, 128),
        ((SIGNED, -64), (SIGNED, -3), (UNSIGNED, 0), (UNSIGNED, 5)),
    )
    if not (channels == 1 and own)
]
