# SPDX-License-Identifier: Apache-2.0
"""Random widths and depths, in registers, LUT RAM and block RAM."""

from __future__ import annotations

from rtl_tests.stream_fifo.test_stream_fifo import random_case

CASES = [random_case(number) for number in range(3, 24)]
