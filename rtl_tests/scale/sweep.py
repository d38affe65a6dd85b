# SPDX-License-Identifier: Apache-2.0
"""All multiplier styles and both kinds of numbers over widths of both operands and outputs that drop or add bits."""

from __future__ import annotations

from itertools import product

from rtl_tests.scale.test_scale import ANY, DSP, LUTS, SIGNED, UNSIGNED, case

CASES = [
    case(period, pe, (input_width, signed), factor_width, output_width, style)
    for (input_width, factor_width, output_width), (period, pe), signed, style in product(
        ((1, 4, 9), (2, 2, 3), (5, 1, None), (7, 3, 8), (12, 9, None), (33, 31, 50)),
        ((1, 2), (7, 1)),
        (SIGNED, UNSIGNED),
        (ANY, LUTS, DSP),
    )
]
