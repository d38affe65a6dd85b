# SPDX-License-Identifier: Apache-2.0
"""Random foldings, widths and shifts, outputs that drop bits or have spare ones."""

from __future__ import annotations

from rtl_tests.add_bias.test_add_bias import random_case

CASES = [random_case(number) for number in range(3, 60)]
