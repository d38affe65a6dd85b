# SPDX-License-Identifier: Apache-2.0
"""Choose a folding for a rate, a latency and a budget of resources, alone or together, or say what comes nearest."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from toolchain.errors import UsageError
from toolchain.ir import Graph, IntegerType
from toolchain.passes.choose_folding import Costs, Folding, choose_folding, foldable_stages
from toolchain.passes.folding_model import ALL, Choices, StageFolding, cycles, fewest_cycles, input_lanes
from toolchain.passes.group_stages import Stage, result_stage
from toolchain.passes.prompt_foldings import Prompt, delay_cycles, is_chain, prompt_foldings
from toolchain.resources import RESOURCES

#: Amounts of the resources, in the order of `toolchain.resources.RESOURCES`.
Amounts = tuple[float, ...]

#: Tries to bring several resources within a budget by making dearer what is short.
_WEIGHT_TRIES = 6
#: Foldings whose latency is computed at most, and beats of all streams together that they may have.
_LATENCY_TRIES, _LATENCY_BEATS = 64, 40_000_000
_FEWEST_TRIES = 10
#: Intervals that are tried for a latency, and prices of a cycle of latency at each.
_PACES, _PRICES = 16, 7
#: A price of a cycle of latency, in shares of the cost, beside which the rest hardly counts.
_DEAREST = 4096
_IMPROVING_ROUNDS = 3
#: Of the quickest foldings of a chain, those whose latency is computed before a target is refused.
_QUICKEST = 6
#: Of the foldings of a chain, those whose approximate latency is compared with the computed one.
_SAMPLES = 5


class Model(Protocol):
    """What a backend knows of a folding without laying the network out."""

    def stage(self, stage: Stage, option: StageFolding) -> Amounts:
        """What a stage takes with all that belongs to it."""

    def converter(self, element: IntegerType, found: int, wanted: int) -> Amounts:
        """What stands between beats of different widths."""

    def fork(self, element: IntegerType, lanes: int) -> Amounts:
        """What copies a stream of beats of `lanes` elements for a second reader."""

    def latency_cycles(self, folding: Folding) -> int:
        """From a frame's first input beat to its last output beat, the network being empty."""

    def beats(self) -> int:
        """Beats a frame of all streams together, about: what a look at the latency costs."""


@dataclass(frozen=True)
class Targets:
    """cycles_per_frame: largest initiation interval. latency_cycles: largest latency. budget: resource -> most that may be used.

    None, or a resource that is not named: no limit. clock_mhz: for messages.
    """

    cycles_per_frame: int | None = None
    latency_cycles: int | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    clock_mhz: float = 100.0


def meet_targets(graph: Graph, targets: Targets, model: Model, choices: Choices = ALL) -> Folding:
    """The folding of least cost that meets all targets; with a budget alone, or a budget and a latency, the fastest that fits.

    choices: what the foldings are chosen from. Cost is the sum of the shares of the budget; without a budget it is logic, as in `choose_folding`. The search is a dynamic
    programme along the stages for a given interval and given prices of the resources, whose prices are raised where the budget
    is exceeded, and of a cycle of latency, which is raised until the latency is met. Of the intervals the greatest is the one
    asked for; the fastest that fits is found by bisection. In a chain of stages the search for a latency is exact but for the
    approximation of `prompt_foldings`.
    Raises UsageError with the layer that limits, what was found, and the nearest folding that can be built.
    """
    search = _Search(graph, targets, model, choices)
    if targets.cycles_per_frame is None and targets.latency_cycles is None and targets.budget:
        return search.fastest_or_refuse()
    interval = search.slowest if targets.cycles_per_frame is None else targets.cycles_per_frame
    plain = choose_folding(graph, interval, choices=choices)
    if search.fits(search.amounts(plain)) and search.timely(plain):
        return plain
    found = search.cheapest(interval)
    return found if found is not None else search.refuse(interval)


class _Weighted(Costs):
    """The sum of weighted amounts, and a price for the cycles by which a stage delays the last result."""

    def __init__(self, model: Model, weights: Amounts, delay_price: float) -> None:
        self._model = model
        self._weights = weights
        self._delay_price = delay_price

    def stage(self, stage: Stage, option: StageFolding) -> float:
        return self._sum(self._model.stage(stage, option)) + self._delay_price * delay_cycles(stage, option)

    def converter(self, element: IntegerType, found: int, wanted: int) -> float:
        return self._sum(self._model.converter(element, found, wanted)) if found != wanted else 0.0

    def source(self, element: IntegerType, simd: int) -> float:
        return 0.0

    def _sum(self, amounts: Amounts) -> float:
        return sum(weight * amount for weight, amount in zip(self._weights, amounts, strict=True) if weight)


class _Search:
    def __init__(self, graph: Graph, targets: Targets, model: Model, choices: Choices) -> None:
        self._graph = graph
        self._targets = targets
        self._choices = choices
        self._model = model
        self._budget = dict(targets.budget)
        self._limits = tuple(self._budget.get(name) for name in RESOURCES)
        self._stages = {stage.name: stage for stage in foldable_stages(graph)}
        self._latencies: dict[tuple[StageFolding, ...], int] = {}
        self._tries = max(_FEWEST_TRIES, min(_LATENCY_TRIES, _LATENCY_BEATS // max(1, model.beats())))

    @cached_property
    def _forked(self) -> dict[str, tuple[IntegerType, int]]:
        """By the stage, or the input, the type of each result that several read, and how many do."""
        readers = [
            (source, tensor.element)
            for stage in self._stages.values()
            for source, tensor in zip(stage.sources, stage.input_types, strict=True)
        ]
        result = result_stage(list(self._stages.values()), self._graph)
        readers.append((result, self._graph.types[self._graph.outputs[0].tensor].element))
        counts = Counter(source for source, _ in readers)
        return {source: (element, counts[source]) for source, element in readers if counts[source] > 1}

    @cached_property
    def _intervals(self) -> list[int]:
        """Every interval that some folding of some stage has and all stages can keep, ascending."""
        fewest = fewest_cycles(list(self._stages.values()), self._choices)
        every = {cycles(stage, option) for stage in self._stages.values() for option in self._choices.of(stage)}
        return sorted({max(fewest, interval) for interval in every})

    @property
    def slowest(self) -> int:
        return self._intervals[-1]

    # ---- Measures -------------------------------------------------------------------------------------------------

    def amounts(self, folding: Folding) -> Amounts:
        """What the stages, the converters between them and the forks behind them take."""
        lanes = {name: folding.stages[name].pe for name in self._stages}
        parts = [self._model.stage(stage, folding.stages[name]) for name, stage in self._stages.items()]
        for name, stage in self._stages.items():
            for source, tensor in zip(stage.sources, stage.input_types, strict=True):
                wanted = input_lanes(stage, folding.stages[name])
                # The network's input is as wide as its first reader.
                found = lanes.setdefault(source, wanted)
                if found != wanted:
                    parts.append(self._model.converter(tensor.element, found, wanted))
        for source, (element, readers) in self._forked.items():
            parts += [self._model.fork(element, lanes[source])] * (readers - 1)
        return tuple(map(sum, zip(*parts, strict=True))) if parts else (0.0,) * len(RESOURCES)

    def fits(self, amounts: Amounts) -> bool:
        return all(limit is None or amount <= limit for amount, limit in zip(amounts, self._limits, strict=True))

    def timely(self, folding: Folding) -> bool:
        limit = self._targets.latency_cycles
        return limit is None or self.latency(folding) <= limit

    def latency(self, folding: Folding) -> int:
        key = tuple(folding.stages[name] for name in self._stages)
        if key not in self._latencies:
            self._latencies[key] = self._model.latency_cycles(folding)
        return self._latencies[key]

    def _share(self, amounts: Amounts) -> float:
        """The cost: the sum of the shares of the budget, or the first resource where there is no budget."""
        if not self._budget:
            return amounts[0]
        return sum(
            amount / max(limit, 0.5) for amount, limit in zip(amounts, self._limits, strict=True) if limit is not None
        )

    # ---- Search ---------------------------------------------------------------------------------------------------

    def _within(self, interval: int, delay_price: float = 0.0) -> tuple[Folding, Amounts]:
        """A folding at an interval, within the budget if one is found, else the one that exceeds it least."""
        weights = self._prices()
        best: tuple[float, Folding, Amounts] | None = None
        for _ in range(_WEIGHT_TRIES):
            costs = _Weighted(self._model, tuple(weights), delay_price)
            folding = choose_folding(self._graph, interval, costs, choices=self._choices)
            amounts = self.amounts(folding)
            excess = max(self._ratios(amounts))
            if best is None or excess < best[0]:
                best = (excess, folding, amounts)
            if self.fits(amounts):
                return folding, amounts
            weights = self._dearer(weights, amounts)
        assert best is not None
        return best[1], best[2]

    def cheapest(self, interval: int) -> Folding | None:
        """The least cost that meets all targets, for intervals of at most `interval`."""
        if self._targets.latency_cycles is None:
            folding, amounts = self._within(interval)
            return folding if self.fits(amounts) else None
        if is_chain(list(self._stages.values())):
            return self._cheapest_chain(min(interval, self._targets.latency_cycles))
        found: tuple[float, Folding] | None = None
        for pace in self._paces(min(interval, self._targets.latency_cycles)):
            for folding, amounts in self._prompt(pace):
                if self.fits(amounts) and self.timely(folding):
                    cost = self._share(amounts)
                    if found is None or cost < found[0]:
                        found = (cost, folding)
            if len(self._latencies) >= self._tries:
                break
        return self._improved(found[1], interval) if found else None

    def _cheapest_chain(self, interval: int) -> Folding | None:
        """The least cost of a chain within the latency: of the foldings that nothing beats, the cheapest that keeps it."""
        limit = self._targets.latency_cycles
        assert limit is not None
        for front in self._fronts(interval):
            # What a computed latency is above the approximate one: the least of a few, then what is met on the way.
            sample = [front[len(front) * place // _SAMPLES] for place in range(_SAMPLES)] if front else []
            late = min((self._lateness(prompt) for prompt in sample), default=0.0)
            for prompt in front:
                if len(self._latencies) >= self._tries:
                    break
                if prompt.latency <= limit - late and self.fits(self.amounts(prompt.folding)):
                    if self.timely(prompt.folding):
                        return self._improved(prompt.folding, interval)
                    late += (self._lateness(prompt) - late) / 4
        return None

    def _lateness(self, prompt: Prompt) -> float:
        return self.latency(prompt.folding) - prompt.latency

    def _fronts(self, interval: int) -> Iterator[list[Prompt]]:
        """The foldings of a chain that nothing beats in cost and latency, for prices that rise where the budget is exceeded."""
        weights = self._prices()
        limit = self._targets.latency_cycles
        for _ in range(_WEIGHT_TRIES):
            costs = _Weighted(self._model, tuple(weights), 0.0)
            front = prompt_foldings(list(self._stages.values()), interval, costs, choices=self._choices)
            yield front
            timely = [prompt for prompt in front if limit is None or prompt.latency <= limit]
            if not timely:
                return
            weights = self._dearer(weights, self.amounts(timely[0].folding))

    def _prices(self) -> list[float]:
        """What a unit of each resource costs: its share of the budget; without a budget only the first one costs."""
        weights = [0.0 if limit is None else 1.0 / max(limit, 0.5) for limit in self._limits]
        return weights if any(weights) else [1.0, *weights[1:]]

    def _dearer(self, weights: list[float], amounts: Amounts) -> list[float]:
        """The prices with those raised of which too much is used."""
        ratios = self._ratios(amounts)
        return [weight * 2 * ratio if ratio > 1 else weight for weight, ratio in zip(weights, ratios, strict=True)]

    def _ratios(self, amounts: Amounts) -> list[float]:
        """What is used of each resource, in shares of the budget; 0 where there is no limit."""
        return [
            0.0 if limit is None else amount / max(limit, 0.5)
            for amount, limit in zip(amounts, self._limits, strict=True)
        ]

    def _improved(self, folding: Folding, interval: int) -> Folding:
        """Change one stage after the other to what costs less, as long as all targets stay met."""
        tries = len(self._latencies) + self._tries
        for _ in range(_IMPROVING_ROUNDS):
            before = folding
            for name, stage in self._stages.items():
                cost = self._share(self.amounts(folding))
                choices = []
                for option in self._choices.of(stage):
                    other = Folding(interval, {**folding.stages, name: option})
                    amounts = self.amounts(other)
                    if cycles(stage, option) <= interval and self._share(amounts) < cost and self.fits(amounts):
                        choices.append((self._share(amounts), option.simd, option.pe, other))
                for *_, other in sorted(choices, key=lambda choice: choice[:3]):
                    if len(self._latencies) >= tries:
                        return folding
                    if self.timely(other):
                        folding = other
                        break
            if folding is before:
                break
        return folding

    def _paces(self, most: int) -> list[int]:
        """A few intervals up to `most`, the slowest first, each about two thirds of the one before."""
        fewest = self._intervals[0]
        paces = [max(most, fewest)]
        while paces[-1] > fewest and len(paces) < _PACES:
            paces.append(max(fewest, 2 * paces[-1] // 3))
        return paces

    def _prompt(self, interval: int) -> list[tuple[Folding, Amounts]]:
        """Foldings at an interval that trade cost for latency: the price of a cycle rises until the latency is met, and is refined."""
        found = [self._within(interval)]
        if self.timely(found[0][0]):
            return found
        unit = self._share(found[0][1]) / max(1, self.latency(found[0][0]))
        low, high = unit / 64, unit * _DEAREST
        found.append(self._within(interval, high))
        if not self.timely(found[-1][0]):
            return found
        for _ in range(_PRICES):
            price = (low * high) ** 0.5
            found.append(self._within(interval, price))
            low, high = (low, price) if self.timely(found[-1][0]) else (price, high)
        return found

    def _fastest(self) -> Folding | None:
        """The smallest interval at which a folding is within the budget, by bisection; None if none is."""
        intervals = self._intervals
        if not self.fits(self._within(intervals[-1])[1]):
            return None
        place = bisect_left(intervals, True, hi=len(intervals) - 1, key=lambda at: self.fits(self._within(at)[1]))
        return self._within(intervals[place])[0]

    # ---- Messages -------------------------------------------------------------------------------------------------

    def fastest_or_refuse(self) -> Folding:
        found = self._fastest()
        if found is None:
            folding, amounts = self._within(self.slowest)
            layer = self._largest(folding, amounts)
            raise UsageError(
                f"{layer}: no folding of the network fits {self._budget_text()}: the smallest found takes "
                f"{self._text(amounts)} (estimated), {self._in_layer(layer, folding, amounts)}. Raise the budget, or use a smaller "
                "or more narrowly quantised network"
            )
        return found

    def refuse(self, interval: int) -> Folding:
        """Raise UsageError: which target is not met, by how much, because of which layer, and what can be had instead."""
        latency = self._targets.latency_cycles
        wanted = [] if self._targets.cycles_per_frame is None else [self._rate(interval)]
        wanted += [] if latency is None else [f"a latency of {self._time(latency)}"]
        folding, amounts = self._within(interval)
        if latency is not None:
            folding, amounts = min(
                self._quick(interval), key=lambda entry: (not self.fits(entry[1]), self.latency(entry[0]))
            )
        within = f" within {self._budget_text()}" if self._budget else ""
        if latency is not None and not self.timely(folding):
            slow = max(self._stages.values(), key=lambda stage: delay_cycles(stage, folding.stages[stage.name]))
            delay = delay_cycles(slow, folding.stages[slow.name])
            raise UsageError(
                f"{slow}: the network does not reach {' and '.join(wanted)}{within}: the least latency found is "
                f"{self._time(self.latency(folding))}, of which this layer takes about {delay:,} cycles behind its last input; "
                f"that folding takes {self._text(amounts)} (estimated). Ask for that latency"
                f"{', raise the budget' if self._budget else ''} or make the layer smaller"
            )
        layer = self._largest(folding, amounts)
        nearest = self._fastest()
        if nearest is None:
            instead = "No folding fits the budget at all"
        else:
            reached = max(cycles(stage, nearest.stages[name]) for name, stage in self._stages.items())
            slowest = max(self._stages.values(), key=lambda stage: cycles(stage, nearest.stages[stage.name]))
            instead = f"The fastest folding found within the budget reaches {self._rate(reached)}, which {slowest} sets"
            if latency is not None:
                instead += f", with a latency of {self._time(self.latency(nearest))}"
        raise UsageError(
            f"{layer}: the network does not reach {' and '.join(wanted)}{within}: the smallest folding found that does takes "
            f"{self._text(amounts)} (estimated), {self._in_layer(layer, folding, amounts)}. {instead}"
        )

    def _quick(self, interval: int) -> list[tuple[Folding, Amounts]]:
        """Foldings of about the least latency, within the budget where such are found."""
        if not is_chain(list(self._stages.values())):
            folding, amounts = self._within(interval)
            dearest = _DEAREST * self._share(amounts) / self.latency(folding)
            return [self._within(pace, dearest) for pace in self._paces(interval)]
        found: list[tuple[Folding, Amounts]] = []
        for front in self._fronts(interval):
            quickest = [(prompt.folding, self.amounts(prompt.folding)) for prompt in reversed(front)]
            found += [entry for entry in quickest if self.fits(entry[1])][:_QUICKEST]
            found += quickest[:1]
        return found

    def _largest(self, folding: Folding, amounts: Amounts) -> Stage:
        """The stage that takes most of the resource that is exceeded most."""
        place = self._shortest(amounts)
        return max(self._stages.values(), key=lambda stage: self._model.stage(stage, folding.stages[stage.name])[place])

    def _shortest(self, amounts: Amounts) -> int:
        """The place of the resource that is exceeded most."""
        ratios = self._ratios(amounts)
        return ratios.index(max(ratios))

    def _in_layer(self, layer: Stage, folding: Folding, amounts: Amounts) -> str:
        place = self._shortest(amounts)
        own = self._model.stage(layer, folding.stages[layer.name])[place]
        return f"{own:,.0f} of the {RESOURCES[place]} in this layer"

    def _budget_text(self) -> str:
        return ", ".join(f"{limit:,.0f} {name}" for name, limit in self._budget.items())

    def _text(self, amounts: Amounts) -> str:
        named = [
            f"{amount:,.0f} {name}"
            for name, amount in zip(RESOURCES, amounts, strict=True)
            if not self._budget or name in self._budget
        ]
        return ", ".join(named)

    def _rate(self, interval: int) -> str:
        rate = self._targets.clock_mhz * 1e6 / interval
        return f"{rate:,.0f} frames/s ({interval:,} cycles a frame at {self._targets.clock_mhz:g} MHz)"

    def _time(self, latency: int) -> str:
        return f"{latency / self._targets.clock_mhz:,.2f} us ({latency:,} cycles at {self._targets.clock_mhz:g} MHz)"
