# SPDX-License-Identifier: Apache-2.0
"""Random foldings and kinds of numbers, narrow ones for ties."""

from __future__ import annotations

from rtl_tests.argmax.test_argmax import random_case

CASES = [random_case(number) for number in range(3, 60)]
