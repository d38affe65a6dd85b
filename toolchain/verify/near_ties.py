# SPDX-License-Identifier: Apache-2.0
"""Whether a framework's float32 rounding accounts for a difference: a proof by reproduction.

A framework that computes in float32 may decide otherwise than the graph where an exact value lies within its rounding error of
the point at which a quantiser's next step begins. Such decisions are few. A difference counts as explained only if turning
some of them over in the graph gives exactly the framework's result; where float32 is exact, there are none to turn.

Which ones to turn is read off the framework's own values within the network where it gives them, for whole batches; else it is
searched for, one sample at a time. Either way the graph itself, with these decisions turned, has to give the result.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np

from toolchain.frontends.exact.ties import Ratio, Ties
from toolchain.ir import Graph, Input, Node, Overflow, Requantise, Threshold
from toolchain.ir.interpret import graph_order, round_real
from toolchain.verify.float32 import AFFINE_ROUNDINGS, UNIT, Error, Errors

#: Sums up to this many units are exact in float32, with a bit to spare for a quotient beside a tie.
_EXACT = 2.0**23


@dataclass(frozen=True)
class Allowed:
    """The integers, from `low` to `high` element by element, that float32 can make of a node's value.

    Where the graph's own is not among them, or float32 is exact, both are the graph's own: nothing may be turned over.
    distance: of the value from the nearest point where a step begins, in units of the largest error that float32 can have.
    """

    low: np.ndarray
    high: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True)
class Decision:
    """An element of a quantised tensor (with the batch axis) that the framework may have decided otherwise, or several.

    index: of the element; or of several elements, for each axis all of theirs, that were made of the same integer in the same
        channel: float32 decides the same way about equal values.
    distance: see `Allowed`.
    """

    node: str
    index: tuple[int, ...] | tuple[tuple[int, ...], ...]
    value: int
    distance: float


#: (values that differ, decisions turned, a number that tells states apart, the decisions, all results with them).
_State = tuple[int, int, int, tuple[Decision, ...], dict[str, np.ndarray]]


class NearTies:
    """The decisions of one graph.

    ties, deviations: from the frontend; see `toolchain.frontends.imported.ImportedModel`.
    """

    def __init__(
        self, graph: Graph, ties: Mapping[str, Ties], deviations: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self.graph, self.ties, self.deviations = graph, ties, deviations or {}

    def follow(
        self,
        integers: Mapping[str, np.ndarray],
        reals: Mapping[str, np.ndarray],
        framework: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """All results of the graph for a batch, with every decision as the framework made it, where float32 allows that.

        integers, reals: of each input with the batch axis, integers in the graph's order and the real values that they were made of
        in the user's. framework: its own integers at nodes of the graph, as floats; nodes may be missing.
        """
        values: dict[str, np.ndarray] = {}
        errors = self._errors(values)
        for node in self.graph.nodes:
            result = self._result(node, integers, values)
            values[node.name] = result
            theirs = framework.get(node.name)
            if theirs is None or theirs.shape != result.shape or (theirs == result).all():
                continue
            allowed = self.allowed(node, values, reals, errors)
            if allowed is not None:
                is_turned = (theirs != result) & (allowed.low <= theirs) & (theirs <= allowed.high)
                result = result.copy()
                result[is_turned] = theirs[is_turned].astype(np.int64)
                values[node.name] = result
        return values

    def reproduces(
        self,
        integers: Mapping[str, np.ndarray],
        reals: Mapping[str, np.ndarray],
        wanted: Mapping[str, np.ndarray],
        *,
        deadline: float = np.inf,
    ) -> list[Decision] | None:
        """The decisions that give `wanted` if they are turned over; None where none were found until the deadline.

        integers, reals: one sample for each input, as in `follow`. wanted: the framework's integers for tensors of the graph.
        deadline: by time.monotonic().
        """
        values = self._evaluate(integers, {}, ())
        numbers = count()
        waiting: list[_State] = [(self._differing(values, wanted), 0, next(numbers), (), values)]
        seen: set[frozenset[Decision]] = set()
        while waiting:
            differing, _, _, turned, values = heapq.heappop(waiting)
            if differing == 0:
                return list(turned)
            # Those of many elements first: where one of few values lies beside a tie, single ones would be too many to try.
            for decision in sorted(
                self.decisions(values, reals), key=lambda d: (isinstance(d.index[0], int), d.distance)
            ):
                taken = {(d.node, d.index) for d in turned}
                key = frozenset((*turned, decision))
                if (decision.node, decision.index) in taken or key in seen:
                    continue
                seen.add(key)
                if time.monotonic() > deadline:
                    return None
                following = (*turned, decision)
                changed = self._evaluate(integers, values, following)
                left = self._differing(changed, wanted)
                heapq.heappush(waiting, (left, len(following), next(numbers), following, changed))
        return None

    def _result(self, node: Node, integers: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> np.ndarray:
        if isinstance(node.operation, Input):
            return integers[node.name]
        operands = [values[name] for name in node.inputs]
        return node.operation.evaluate(*operands, types=self.graph.input_types(node))

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
            result = self._result(node, integers, values)
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
    def _errors(self, values: Mapping[str, np.ndarray]) -> Errors:
        return Errors(self.graph, self.deviations, self.ties.keys(), values)

    def decisions(self, values: Mapping[str, np.ndarray], reals: Mapping[str, np.ndarray]) -> Iterator[Decision]:
        """Everything that may be turned over in these results."""
        errors = self._errors(values)
        for node in self.graph.nodes:
            allowed = self.allowed(node, values, reals, errors)
            if allowed is None:
                continue
            own = values[node.name]
            single = []
            for others in (allowed.low, allowed.high):
                for index in np.argwhere(others != own):
                    at = tuple(int(i) for i in index)
                    single.append(Decision(node.name, at, int(others[at]), float(allowed.distance[at])))
            yield from single
            if len(single) > 1 and not isinstance(node.operation, Input):
                yield from _together(single, values[node.inputs[0]])

    def allowed(
        self, node: Node, values: Mapping[str, np.ndarray], reals: Mapping[str, np.ndarray], errors: Errors
    ) -> Allowed | None:
        """None for a node that decides nothing which float32 could decide otherwise. errors: of these values."""
        own = values[node.name]
        if isinstance(node.operation, Input):
            found = _of_input(node.operation, reals[node.name])
        elif node.name in self.ties:
            found = self._of_quantiser(node, self.ties[node.name], values, errors)
        else:
            return None
        if found is None:
            return None
        element = self.graph.types[node.name].element
        low, high = (np.clip(v, float(element.minimum), float(element.maximum)) for v in (found.low, found.high))
        # A decision that the exact value does not bear out is the graph's own fault, and no near tie.
        is_near = (low <= own) & (own <= high)
        return Allowed(np.where(is_near, low, own), np.where(is_near, high, own), found.distance)

    def _of_quantiser(self, node: Node, ties: Ties, values: Mapping[str, np.ndarray], errors: Errors) -> Allowed | None:
        operation = node.operation
        name = node.inputs[0] if ties.ratio is None else ties.ratio.tensor
        if name not in values:
            return None
        x, error = values[name].astype(np.float64), errors.of(name)
        bound = _bound(error, ties, x)
        if not bound.any():
            return None
        if ties.ratio is not None and isinstance(operation, Requantise):
            return _of_ratio(operation, ties.ratio, x, bound)
        if isinstance(operation, Threshold) and ties.begins is not None:
            return _of_thresholds(operation, ties.begins, x, bound)
        if isinstance(operation, Requantise):
            shift = self.graph.types[name].element.fraction - operation.target.fraction
            return _of_shift(operation, shift, x, bound)
        return None


def _bound(error: Error, ties: Ties, x: np.ndarray) -> np.ndarray:
    """How far the framework's value may be from each exact one, in integers, when it decides; 0 where float32 is exact."""
    size = np.broadcast_to(error.size, x.shape)
    # Constants that are added join the sum, and may do so first.
    bound = error.error + UNIT * (AFFINE_ROUNDINGS * (size + ties.reach) + error.roundings * ties.reach)
    is_exact = (size + ties.reach) * ties.unit <= _EXACT if error.is_exact else np.zeros(x.shape, bool)
    return np.where(is_exact, 0.0, bound)


def _of_input(operation: Input, real: np.ndarray) -> Allowed | None:
    """The framework divides in float32 and adds the zero point to the rounded quotient."""
    element = operation.element
    if np.frexp(operation.scale)[0] == 0.5 and operation.offset == 0:
        return None
    x = graph_order(operation, np.asarray(real, np.float64))
    steps = (x - operation.offset) / operation.scale * 2.0**element.fraction
    zero = abs(operation.offset / operation.scale) * 2.0**element.fraction
    bound = 4 * UNIT * (np.abs(steps) + zero)
    low, high = (round_real(steps + side * bound, operation.rounding) for side in (-1, 1))
    return Allowed(low, high, _distance(steps, bound))


def _of_thresholds(operation: Threshold, begins: np.ndarray, x: np.ndarray, bound: np.ndarray) -> Allowed:
    """begins: of the thresholds' shape, where each step begins exactly."""
    low, high = np.empty(x.shape), np.empty(x.shape)
    distance = np.full(x.shape, np.inf)
    for channel in range(x.shape[-1]):
        row = begins[channel if len(begins) > 1 else 0]
        at, error = x[..., channel], bound[..., channel]
        # A step that begins at the very end of what float32 can make of the value may or may not be reached.
        low[..., channel] = np.searchsorted(row, at - error, side="left")
        high[..., channel] = np.searchsorted(row, at + error, side="right")
        index = np.searchsorted(row, at)
        with np.errstate(invalid="ignore", divide="ignore"):
            for near in (index - 1, index):
                far = np.abs(at - row[np.clip(near, 0, len(row) - 1)]) / error
                distance[..., channel] = np.fmin(distance[..., channel], far)
    still = bound == 0
    own = np.where(still, np.nan, 0.0)
    return Allowed(low + operation.offset + own, high + operation.offset + own, distance)


def _of_shift(operation: Requantise, shift: int, x: np.ndarray, bound: np.ndarray) -> Allowed | None:
    if shift < 1 or operation.overflow is not Overflow.SATURATE:
        return None
    return _rounded(operation, np.ldexp(x, -shift), np.ldexp(bound, -shift))


def _of_ratio(operation: Requantise, ratio: Ratio, x: np.ndarray, bound: np.ndarray) -> Allowed:
    low, middle, high = (ratio.values(x + side * bound) for side in (-1, 0, 1))
    return _rounded(operation, middle, np.maximum(high - middle, middle - low))


def _rounded(operation: Requantise, steps: np.ndarray, bound: np.ndarray) -> Allowed:
    low, high = (round_real(steps + side * bound, operation.rounding) for side in (-1, 1))
    still = np.where(bound == 0, np.nan, 0.0)
    return Allowed(low + still, high + still, _distance(steps, bound))


def _distance(steps: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """From the nearest half step."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.abs(2 * steps - np.rint(2 * steps)) / 2 / bound)


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
