# SPDX-License-Identifier: Apache-2.0
"""Random types, slopes and bounds."""

from __future__ import annotations

from rtl_tests.relu.test_relu import random_case

CASES = [random_case(number) for number in range(3, 60)]
