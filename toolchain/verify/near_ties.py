# SPDX-License-Identifier: Apache-2.0
"""Whether a framework's float32 rounding accounts for a difference: a proof by reproduction.

A framework that computes in float32 may decide otherwise than the graph where an exact value lies within its rounding error of
the point at which a quantiser's next step begins. Such decisions are few. A difference counts as explained only if turning
some of them over in the graph gives exactly the framework's result; where float32 is exact, there are none to turn.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np

from toolchain.frontends.exact.ties import Ties
from toolchain.ir import Graph, Input, Node, Requantise, Threshold
from toolchain.ir.interpret import graph_order, round_real
from toolchain.ir.rounding import Overflow, fit, round_shift
from toolchain.verify.float32 import AFFINE_ROUNDINGS, UNIT, error_bounds, largest_sums

#: Evaluations of the graph with some decisions turned, for one sample.
_MAXIMUM_EVALUATIONS = 400
#: Sums up to this many units are exact in float32, with a bit to spare for a quotient beside a tie.
_EXACT = 2.0**23


@dataclass(frozen=True)
class Decision:
    """An element of a quantised tensor (with the batch axis) that the framework may have decided otherwise, or several.

    index: of the element; or of several elements, for each axis all of theirs, that were made of the same integer in the same
        channel: float32 decides the same way about equal values.
    distance: from the point where the step begins, in units of the largest error that float32 can have.
    """

    node: str
    index: tuple[int, ...] | tuple[tuple[int, ...], ...]
    value: int
    distance: float


#: (values that differ, decisions turned, a number that tells states apart, the decisions, all results with them).
_State = tuple[int, int, int, tuple[Decision, ...], dict[str, np.ndarray]]


class NearTies:
    """The decisions of one graph. ties: from the frontend; see `toolchain.frontends.exact.ties`."""

    def __init__(self, graph: Graph, ties: Mapping[str, Ties]) -> None:
        self.graph, self.ties = graph, ties
        self.bounds, self.sums = error_bounds(graph), largest_sums(graph)

    def reproduces(
        self, integers: Mapping[str, np.ndarray], reals: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]
    ) -> list[Decision] | None:
        """The decisions that give `wanted` if they are turned over; None where none were found.

        integers, reals: one sample for each input, with the batch axis, integers in the graph's order and the real values that
            they were made of in the user's. wanted: the framework's integers for tensors of the graph.
        """
        values = self._evaluate(integers, {}, ())
        numbers = count()
        waiting: list[_State] = [(self._differing(values, wanted), 0, next(numbers), (), values)]
        seen: set[frozenset[Decision]] = set()
        evaluations = 0
        while waiting:
            differing, _, _, turned, values = heapq.heappop(waiting)
            if differing == 0:
                return list(turned)
            # Those of many elements first: where one of few values lies beside a tie, single ones would be too many to try.
            for decision in sorted(
                self._decisions(values, reals), key=lambda d: (isinstance(d.index[0], int), d.distance)
            ):
                taken = {(d.node, d.index) for d in turned}
                key = frozenset((*turned, decision))
                if (decision.node, decision.index) in taken or key in seen:
                    continue
                seen.add(key)
                evaluations += 1
                if evaluations > _MAXIMUM_EVALUATIONS:
                    return None
                following = (*turned, decision)
                changed = self._evaluate(integers, values, following)
                left = self._differing(changed, wanted)
                heapq.heappush(waiting, (left, len(following), next(numbers), following, changed))
        return None

    def _evaluate(
        self,
        integers: Mapping[str, np.ndarray],
        known: Mapping[str, np.ndarray],
        turned: tuple[Decision, ...],
    ) -> dict[str, np.ndarray]:
        """All results with some decisions turned. known: results with all of them but the last, which are used again."""
        values: dict[str, np.ndarray] = {}
        for node in self.graph.nodes:
            mine = [decision for decision in turned if decision.node == node.name]
            old = known.get(node.name)
            is_same = old is not None and all(values[name] is known[name] for name in node.inputs)
            if is_same and not (mine and mine[-1] is turned[-1]):
                assert old is not None
                values[node.name] = old
                continue
            if isinstance(node.operation, Input):
                result = integers[node.name]
            else:
                operands = [values[name] for name in node.inputs]
                result = node.operation.evaluate(*operands, types=self.graph.input_types(node))
            if mine:
                result = result.copy()
                for decision in mine:
                    result[decision.index] = decision.value
            values[node.name] = old if old is not None and np.array_equal(old, result) else result
        return values

    @staticmethod
    def _differing(values: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> int:
        return sum(int((values[name] != array).sum()) for name, array in wanted.items())

    # ---- what float32 may decide otherwise -------------------------------------------------------------------------------
    def _decisions(self, values: Mapping[str, np.ndarray], reals: Mapping[str, np.ndarray]) -> Iterator[Decision]:
        for node in self.graph.nodes:
            element = self.graph.types[node.name].element
            single = [
                decision
                for decision in self._of_node(node, values, reals)
                if element.minimum <= decision.value <= element.maximum
            ]
            yield from single
            if len(single) > 1 and not isinstance(node.operation, Input):
                yield from _together(single, values[node.inputs[0]])

    def _of_node(
        self, node: Node, values: Mapping[str, np.ndarray], reals: Mapping[str, np.ndarray]
    ) -> Iterator[Decision]:
        if isinstance(node.operation, Input):
            yield from self._of_input(node, values[node.name], reals[node.name])
        elif node.name in self.ties:
            (name,) = node.inputs
            ties, size = self.ties[node.name], float(self.graph.types[name].element.magnitude)
            if (self.sums[name] + ties.reach) * ties.unit <= _EXACT:
                return
            error = self.bounds[name] + AFFINE_ROUNDINGS * UNIT * (size + ties.reach)
            if isinstance(node.operation, Threshold) and ties.gaps is not None:
                yield from _of_thresholds(node, ties.gaps, values[name], values[node.name], error)
            elif isinstance(node.operation, Requantise):
                shift = self.graph.types[name].element.fraction - node.operation.target.fraction
                yield from _of_shift(node, shift, values[name], values[node.name], error)

    @staticmethod
    def _of_input(node: Node, integers: np.ndarray, real: np.ndarray) -> Iterator[Decision]:
        """The framework divides in float32 and adds the zero point to the rounded quotient."""
        operation = node.operation
        assert isinstance(operation, Input)
        element = operation.element
        if np.frexp(operation.scale)[0] == 0.5 and operation.offset == 0:
            return
        x = graph_order(operation, np.asarray(real, np.float64))
        steps = (x - operation.offset) / operation.scale * 2.0**element.fraction
        zero = abs(operation.offset / operation.scale) * 2.0**element.fraction
        error = 4 * UNIT * (np.abs(steps) + zero)
        for below in (np.floor(2 * steps) / 2, np.floor(2 * steps) / 2 + 0.5):
            distance = np.abs(steps - below)
            for side in (-0.125, 0.125):
                other = np.clip(round_real(below + side, operation.rounding), element.minimum, element.maximum)
                risky = (distance > 0) & (distance <= error) & (other != integers.astype(np.float64))
                for index in np.argwhere(risky):
                    at = tuple(int(i) for i in index)
                    yield Decision(node.name, at, int(other[at]), float(distance[at] / error[at]))


def _together(decisions: list[Decision], x: np.ndarray) -> Iterator[Decision]:
    """The decisions of one node about elements that were made of the same integer of `x` in the same channel, as one."""
    groups: dict[tuple[int, int, int], list[Decision]] = {}
    for decision in decisions:
        channel = decision.index[-1]
        assert isinstance(channel, int)
        groups.setdefault((channel, int(x[decision.index]), decision.value), []).append(decision)
    by_value: dict[tuple[int, int], list[Decision]] = {}
    for (_, integer, value), members in groups.items():
        by_value.setdefault((integer, value), []).extend(members)
    seen: set[frozenset[Decision]] = set()
    for members in (*by_value.values(), *groups.values()):
        if len(members) > 1 and (key := frozenset(members)) not in seen:
            seen.add(key)
            index = tuple(zip(*(decision.index for decision in members), strict=True))
            distance = min(decision.distance for decision in members)
            yield Decision(members[0].node, index, members[0].value, distance)  # type: ignore[arg-type]


def _of_thresholds(node: Node, gaps: np.ndarray, x: np.ndarray, result: np.ndarray, error: float) -> Iterator[Decision]:
    operation = node.operation
    assert isinstance(operation, Threshold)
    table = operation.thresholds
    counts = result - operation.offset
    rows = np.arange(x.shape[-1]) if len(table) > 1 else np.zeros(x.shape[-1], np.int64)
    rows = np.broadcast_to(rows, x.shape)
    for step, is_there in ((0, counts < table.shape[1]), (-1, counts > 0)):
        at = np.clip(counts.astype(np.int64) + step, 0, table.shape[1] - 1)
        begins = table[rows, at].astype(np.float64) - gaps[rows, at]
        distance = np.abs(x.astype(np.float64) - begins)
        for index in np.argwhere(is_there & (distance <= error)):
            place = tuple(int(i) for i in index)
            row = table[rows[place]].astype(np.float64) - gaps[rows[place]]
            # Steps that begin at the same point are one decision; equal integer thresholds may lie apart.
            point = begins[place]
            other = int((row <= point + error).sum()) if step == 0 else int((row < point - error).sum())
            yield Decision(node.name, place, other + operation.offset, float(distance[place] / error))


def _of_shift(node: Node, shift: int, x: np.ndarray, result: np.ndarray, error: float) -> Iterator[Decision]:
    operation = node.operation
    assert isinstance(operation, Requantise)
    if shift < 1 or operation.overflow is not Overflow.SATURATE:
        return
    half = 1 << (shift - 1)
    below = x // half * half
    for begins in (below, below + half):
        distance = np.abs((x - begins).astype(np.float64))
        for side in (-1, 0, 1):
            rounded = round_shift((2 * begins + side).astype(object), shift + 1, operation.rounding)
            other = fit(rounded, operation.target, operation.overflow)
            for index in np.argwhere((distance <= error) & (other != result)):
                place = tuple(int(i) for i in index)
                yield Decision(node.name, place, int(other[place]), float(distance[place] / error))
