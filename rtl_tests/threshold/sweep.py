# SPDX-License-Identifier: Apache-2.0
"""Random foldings, counts and widths, from tables and from memories."""

from __future__ import annotations

from rtl_tests.threshold.test_threshold import random_case

CASES = [random_case(number) for number in range(4, 40)]
