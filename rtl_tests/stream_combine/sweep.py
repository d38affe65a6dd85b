# SPDX-License-Identifier: Apache-2.0
"""Every operation over widths, both kinds of numbers, shifts, and output widths around the needed one."""

from __future__ import annotations

from itertools import product

from rtl_tests.stream_combine.test_stream_combine import ADD, MULTIPLY, SUBTRACT, case

CASES = [
    case(operation, 1 + number % 3, (a, a_signed, a_shift), (b, b_signed, b_shift), spare)
    for number, (operation, (a, b), (a_shift, b_shift, spare), a_signed, b_signed) in enumerate(
        product(
            (ADD, SUBTRACT), ((1, 1), (2, 5), (9, 3)), ((0, 0, 0), (3, 0, 2), (0, 4, -1)), (False, True), (False, True)
        )
    )
] + [
    case(MULTIPLY, 1 + number % 3, (a, a_signed, 0), (b, b_signed, 0), spare, style)
    for number, (style, (a, b, spare), a_signed, b_signed) in enumerate(
        product((0, 1, 2), ((1, 1, 0), (2, 5, 1), (9, 3, -1), (33, 17, 0)), (False, True), (False, True))
    )
]
