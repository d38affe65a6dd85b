# SPDX-License-Identifier: Apache-2.0
"""Every K of frames of one to six numbers, both kinds of them, of one bit and of more."""

from __future__ import annotations

from itertools import product

from rtl_tests.top_k.test_top_k import SIGNED, UNSIGNED, case

CASES = [
    case(channels, k, (width, signed))
    for channels in range(1, 7)
    for k, width, signed in product(range(1, channels + 1), (1, 5), (SIGNED, UNSIGNED))
]
