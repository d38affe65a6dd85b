# SPDX-License-Identifier: Apache-2.0
"""Random types and shifts under every rounding and overflow, bounds inside the range too."""

from __future__ import annotations

from rtl_tests.requantise.test_requantise import random_case

CASES = [random_case(number) for number in range(3, 80)]
