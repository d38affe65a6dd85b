# SPDX-License-Identifier: Apache-2.0
"""Which decisions float32 may make otherwise beside a tie."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.ir import Node, Threshold
from toolchain.verify.near_ties import Decision, _of_thresholds, _together


@pytest.mark.parametrize(("x", "expected"), [(1, [(1, 2)]), (0, [(0, 1)]), (2, [])])
def test_equal_thresholds_that_begin_at_different_points_are_different_decisions(
    x: int, expected: list[tuple[int, int]]
) -> None:
    """Steps begin at 1e-7 above 0, 1e-7 above 1, and at 1.7: two of them become the integer threshold 2."""
    node = Node("y", Threshold(np.array([[1, 2, 2]])), ("x",))
    gaps = np.array([[1 - 1e-7, 1 - 1e-7, 0.3]])
    inputs = np.array([[x]])
    result = np.array([[int((np.array([1, 2, 2]) <= x).sum())]])
    found = list(_of_thresholds(node, gaps, inputs, result, 1e-6))
    assert [(int(result[0, 0]), decision.value) for decision in found] == expected


def test_elements_of_one_value_are_decided_together() -> None:
    x = np.array([[[5, 7], [5, 5]]])
    single = [Decision("y", index, 1, 0.5) for index in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1))]
    groups = [set(zip(*decision.index, strict=True)) for decision in _together(single, x)]  # type: ignore[arg-type]
    assert groups == [{(0, 0, 0), (0, 1, 0), (0, 1, 1)}, {(0, 0, 0), (0, 1, 0)}]
