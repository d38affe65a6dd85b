# SPDX-License-Identifier: Apache-2.0
"""Sizes at random for parallel_window."""

from __future__ import annotations

from rtl_tests.parallel_window.test_parallel_window import draw_case

CASES = [draw_case(number) for number in range(30)]
