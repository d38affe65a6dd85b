# SPDX-License-Identifier: Apache-2.0
"""Which decisions float32 may make otherwise beside a tie."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from toolchain.frontends.exact.ties import Ratio, Ties
from toolchain.ir import (
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Requantise,
    Rounding,
    Threshold,
    interpret,
)
from toolchain.verify.near_ties import Decision, NearTies, _of_thresholds, _together


@pytest.mark.parametrize(("x", "expected"), [(0, (0, 1)), (1, (1, 2)), (2, (3, 3)), (-1, (0, 0))])
def test_equal_thresholds_that_begin_at_different_points_are_different_decisions(
    x: int, expected: tuple[int, int]
) -> None:
    """Steps begin at 1e-7 above 0, 1e-7 above 1, and at 1.7: two of them become the integer threshold 2."""
    begins = np.array([[1e-7, 1 + 1e-7, 1.7]])
    found = _of_thresholds(Threshold(np.array([[1, 2, 2]])), begins, np.array([[float(x)]]), np.full((1, 1), 1e-6))
    assert (int(found.low[0, 0]), int(found.high[0, 0])) == expected
    assert (found.distance[0, 0] < 1) == (expected[0] != expected[1])


def test_elements_of_one_value_are_decided_together() -> None:
    x = np.array([[[5, 7], [5, 5]]])
    single = [Decision("y", index, 1, 0.5) for index in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1))]
    groups = [set(zip(*decision.index, strict=True)) for decision in _together(single, x)]  # type: ignore[arg-type]
    assert groups == [{(0, 0, 0), (0, 1, 0), (0, 1, 1)}, {(0, 0, 0), (0, 1, 0)}]


def counting(thresholds: list[int]) -> Graph:
    builder = GraphBuilder("counting")
    x = builder.add(Input((1,), IntegerType(True, 8)), name="x")
    sums = builder.add(Dense(np.array([[3]])), x, name="sums")
    builder.output(builder.add(Threshold(np.array([thresholds])), sums, name="y"))
    return builder.build()


def followed(graph: Graph, ties: Ties, x: list[int], framework: list[int], **off: np.ndarray) -> list[int]:
    """The graph's results with the framework's decisions where they are allowed."""
    integers = np.array(x)[:, None]
    near = NearTies(graph, {"y": ties}, off)
    values = near.follow({"x": integers}, {"x": integers * 1.0}, {"y": np.array(framework, float)[:, None]})
    return [int(v) for v in values["y"][:, 0]]


@pytest.mark.parametrize(("begins", "turned"), [(6.0, [1, 0, 0]), (6 - 1e-6, [1, 0, 0]), (5.999, [0, 1, 0])])
def test_only_a_decision_beside_the_exact_point_is_turned_over(begins: float, turned: list[int]) -> None:
    """The step begins at 6, or so little below that float32 may miss it, or too far below; the framework says the opposite."""
    graph, ties = counting([6]), Ties(lambda: np.array([[begins]]), 0.0, inf)
    mine = [int(v) for v in interpret(graph, np.array([[2], [1], [3]]))["y"][:, 0]]
    assert mine == [1, 0, 1]
    found = followed(graph, ties, [2, 1, 3], [0, 1, 0])
    assert found == ([0, 0, 1] if turned[0] else mine)


def test_a_wrong_threshold_is_not_a_near_tie() -> None:
    """The step begins at 5.5. A threshold of 7 is off by one: 6 reaches the step, and no rounding makes of that what it does."""
    ties = Ties(lambda: np.array([[5.5]]), 0.0, inf)
    assert followed(counting([6]), ties, [2, 1], [0, 1]) == [1, 0]
    assert followed(counting([7]), ties, [2], [1]) == [0]


def test_nothing_is_turned_over_where_float32_is_exact() -> None:
    """Sums of whole numbers on a step of one: as far as 2**23, float32 has them exactly."""
    exact, not_exact = (Ties(lambda: np.array([[6.0]]), 0.0, unit) for unit in (1.0, 2.0**22))
    assert followed(counting([6]), exact, [2], [0]) == [1]
    assert followed(counting([6]), not_exact, [2], [0]) == [0]
    # Unless the framework's own weights are not those of the graph.
    assert followed(counting([6]), exact, [2], [0], sums=np.array([[1e-7]])) == [0]


def test_weights_that_differ_make_the_error_larger() -> None:
    ties = Ties(lambda: np.array([[6 - 1e-3]]), 0.0, inf)
    assert followed(counting([6]), ties, [2], [0]) == [1]
    assert followed(counting([6]), ties, [2], [0], sums=np.array([[4e-4]])) == [1]
    assert followed(counting([6]), ties, [2], [0], sums=np.array([[6e-4]])) == [0]


@pytest.mark.parametrize("slope", [None, 0.3])
def test_a_multiplier_and_shift_is_judged_by_the_exact_ratio(slope: float | None) -> None:
    """x / 2 rounded half to even; below 0 with a slope, 0.15 times x. A tie at 5, and at -10 where there is a slope."""
    builder = GraphBuilder("ratio")
    x = builder.add(Input((1,), IntegerType(True, 8)), name="x")
    builder.output(
        builder.add(Requantise(IntegerType(True, 8, -1), Rounding.HALF_EVEN, Overflow.SATURATE), x, name="y")
    )
    graph = builder.build()
    ratio = Ratio("x", np.array([0.5]), np.array([0.0]), 0, None if slope is None else np.array([slope]))
    near = NearTies(graph, {"y": Ties(None, 0.0, inf, ratio)})
    values = {"x": np.array([[5], [6], [-10]])}
    values["y"] = np.array([[2], [3], [-5 if slope is None else -2]])
    (node,) = (node for node in graph.nodes if node.name == "y")
    allowed = near.allowed(node, values, values, near._errors(values))
    assert allowed is not None
    assert allowed.low[:, 0].tolist() == [2, 3, -5 if slope is None else -2]
    assert allowed.high[:, 0].tolist() == [3, 3, -5 if slope is None else -1]
