# SPDX-License-Identifier: Apache-2.0
"""Random widths."""

from __future__ import annotations

from rtl_tests.skid_buffer.test_skid_buffer import random_case

CASES = [random_case(number) for number in range(3, 12)]
