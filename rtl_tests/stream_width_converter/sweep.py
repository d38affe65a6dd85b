# SPDX-License-Identifier: Apache-2.0
"""Any two numbers of elements a beat."""

from __future__ import annotations

from rtl_tests.stream_width_converter.test_stream_width_converter import random_case

CASES = [random_case(number) for number in range(3, 40)]
