# SPDX-License-Identifier: Apache-2.0
"""Random sizes, foldings, widths, kinds of weights, multiplier styles and shared DSP blocks."""

from __future__ import annotations

from rtl_tests.matrix_vector_unit.test_matrix_vector_unit import MORE_CASES, random_case

CASES = [*MORE_CASES, *(random_case(number) for number in range(3, 40))]
