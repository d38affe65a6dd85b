# SPDX-License-Identifier: Apache-2.0
"""Choose how many rows (PE) and columns (SIMD) of every stage are computed in one cycle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from toolchain.errors import UnsupportedModel, UsageError
from toolchain.ir import Graph, IntegerType
from toolchain.passes.folding_model import (
    ALL,
    FOLDABLE,
    WIDEST_VECTOR,
    Choices,
    StageFolding,
    converter_logic,
    cycles,
    divisors,
    fewest_cycles,
    input_lanes,
    lanes,
    logic,
    multipliers,
    options,
    too_wide,
)
from toolchain.passes.group_stages import Stage, group_stages

__all__ = [
    "FOLDABLE",
    "Choices",
    "Costs",
    "Folding",
    "StageFolding",
    "check_folding",
    "choose_folding",
    "cycles",
    "default_cycles_per_frame",
    "divisors",
    "foldable_stages",
    "given_options",
    "multipliers",
]

#: Rounds over all chains after which a choice counts as final; it hardly ever takes more than three.
_MOST_ROUNDS = 8

#: (cost with converters, cycles summed over stages): the first counts before the second.
_Cost = tuple[float, int]

_WHY_WIDTH = f"vectors of up to {WIDEST_VECTOR:,} bits are what every tool takes"


class Costs:
    """What a folding is made to cost little of: here about the LUTs that it takes, on any device (`folding_model.logic`)."""

    def stage(self, stage: Stage, option: StageFolding) -> float:
        """Of a stage by itself."""
        return logic(stage, option)

    def converter(self, element: IntegerType, found: int, wanted: int) -> float:
        """Of what stands between beats of `found` and of `wanted` elements; 0 where they are equal."""
        return converter_logic(element.width, found, wanted)

    def source(self, element: IntegerType, simd: int) -> float:
        """Of the register that whatever feeds the network needs for a beat of its input."""
        return 2 * simd * element.width


@dataclass(frozen=True)
class Folding:
    """cycles_per_frame: the initiation interval that was asked for; stages: folding by the name of the stage's node."""

    cycles_per_frame: int
    stages: Mapping[str, StageFolding]

    def text(self) -> str:
        """As JSON, a line for each stage, in the form in which a user gives it (toolchain/pipeline/folding_file.py)."""
        lines = [
            f"  {json.dumps(name)}: {json.dumps({'pe': option.pe, 'simd': option.simd})}"
            for name, option in self.stages.items()
        ]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def default_cycles_per_frame(graph: Graph, choices: Choices = ALL) -> int:
    """As many cycles as the largest tensor between two stages has elements, so that streams of one element a cycle keep up.

    A 64-32-32-10 network gets 64. More where a stage cannot be that fast, however wide it is, or as wide as it was given.
    """
    stages = foldable_stages(graph)
    sizes = [tensor.size for stage in stages for tensor in (*stage.input_types, stage.output_type)]
    return max(
        [graph.types[graph.inputs[0].name].size, *sizes, fewest_cycles(stages, replace(choices, parallel=False))]
    )


def choose_folding(
    graph: Graph, cycles_per_frame: int, costs: Costs | None = None, *, choices: Choices = ALL
) -> Folding:
    """The folding with the least cost in which no stage needs more than `cycles_per_frame` cycles a frame.

    costs: without it, logic. Logic is that of `folding_model.logic`, of the width converters between stages, which prefers
    beats as wide as the neighbour's, and of a register for the network's input. Among equals it is the one with the fewest
    cycles summed over the stages. In a network without branches it is the best of all; with branches, each chain of stages
    between them is the best for the lanes chosen around it.
    Raises UsageError where no folding is fast enough, naming the stage and the fewest cycles it can take; UnsupportedModel
    for operations that cannot be folded.
    """
    if type(cycles_per_frame) is not int or cycles_per_frame < 1:
        raise UsageError(f"cycles_per_frame must be a whole number of at least 1, found {cycles_per_frame!r}")
    costs = costs or Costs()
    stages = foldable_stages(graph)
    candidates = {stage.name: _options(stage, cycles_per_frame, choices) for stage in stages}
    chosen: dict[str, StageFolding] = {}
    chains = _chains(stages)
    readers = _readers(stages)
    for _ in range(_MOST_ROUNDS):
        before = dict(chosen)
        for chain in chains:
            chosen.update(_best_chain(chain, candidates, chosen, readers, costs))
        if chosen == before or len(chains) == 1:
            break
    return Folding(cycles_per_frame, {stage.name: chosen[stage.name] for stage in stages})


def _readers(stages: Sequence[Stage]) -> dict[str, list[Stage]]:
    """The stages that take a stage's result, once for each operand."""
    readers: dict[str, list[Stage]] = {stage.name: [] for stage in stages}
    for stage in stages:
        for source in stage.sources:
            readers.setdefault(source, []).append(stage)
    return readers


def _chains(stages: Sequence[Stage]) -> list[list[Stage]]:
    """The stages cut into lines: within one, each stage's result is the next one's only operand and is used nowhere else."""
    readers = _readers(stages)
    chains: list[list[Stage]] = []
    for stage in stages:
        last = next((chain for chain in chains if [chain[-1].name] == list(stage.sources)), None)
        if last is not None and len(readers[last[-1].name]) == 1:
            last.append(stage)
        else:
            chains.append([stage])
    return chains


def _best_chain(
    chain: Sequence[Stage],
    candidates: Mapping[str, Sequence[StageFolding]],
    chosen: Mapping[str, StageFolding],
    readers: Mapping[str, Sequence[Stage]],
    costs: Costs,
) -> dict[str, StageFolding]:
    """The best foldings of a chain; what is chosen around it counts by the converters that it needs.

    Dynamic programming along the chain: for every width of a stage's output beat, the cheapest way to get there.
    """
    best: dict[int, tuple[_Cost, tuple[StageFolding, ...]]] = {}
    for place, stage in enumerate(chain):
        reached: dict[int, tuple[_Cost, tuple[StageFolding, ...]]] = {}
        for option in candidates[stage.name]:
            own = (costs.stage(stage, option), cycles(stage, option))
            if place:
                ways: Iterable[tuple[int, tuple[_Cost, tuple[StageFolding, ...]]]] = best.items()
            else:
                around = sum(
                    costs.converter(tensor.element, chosen[source].pe, input_lanes(stage, option))
                    if source in chosen
                    else costs.source(tensor.element, input_lanes(stage, option)) * (source not in candidates)
                    for source, tensor in zip(stage.sources, stage.input_types, strict=True)
                )
                ways = [(input_lanes(stage, option), ((around, 0), ()))]
            if place == len(chain) - 1:
                own = (own[0] + _behind(stage, option, chosen, readers[stage.name], costs), own[1])
            for found, (cost, before) in ways:
                converter = costs.converter(stage.input_type.element, found, input_lanes(stage, option))
                total = (cost[0] + own[0] + converter, cost[1] + own[1])
                if option.pe not in reached or total < reached[option.pe][0]:
                    reached[option.pe] = (total, (*before, option))
        best = reached
    picked = min(best.values(), key=lambda entry: (entry[0], [(option.simd, option.pe) for option in entry[1]]))[1]
    return {stage.name: option for stage, option in zip(chain, picked, strict=True)}


def _behind(
    stage: Stage,
    option: StageFolding,
    chosen: Mapping[str, StageFolding],
    readers: Sequence[Stage],
    costs: Costs,
) -> float:
    """Cost of the converters between a stage and those behind it whose folding is chosen."""
    element = stage.output_type.element
    return sum(
        costs.converter(element, option.pe, input_lanes(reader, chosen[reader.name]))
        for reader in readers
        if reader.name in chosen
    )


def foldable_stages(graph: Graph) -> tuple[Stage, ...]:
    """The stages of a network. Raises UnsupportedModel, naming every operation that cannot be folded."""
    stages = group_stages(graph)
    known = ", ".join(sorted(operation.kind for operation in FOLDABLE))
    refused = [
        f"{stage}: operation {stage.operation.kind!r} cannot be folded; {known} can"
        for stage in stages
        if not isinstance(stage.operation, FOLDABLE)
    ]
    if not refused:
        refused = [
            f"{stage}: even one element a cycle {too_wide(stage, _narrowest(stage))}; {_WHY_WIDTH}. Quantise it to fewer bits"
            for stage in stages
            if not options(stage)
        ]
    if refused:
        raise UnsupportedModel("the network cannot be folded:\n  " + "\n  ".join(refused))
    return stages


def _narrowest(stage: Stage) -> StageFolding:
    allowed = lanes(stage)
    return StageFolding(allowed.simd[0], allowed.pe[0])


def check_folding(graph: Graph, folding: Folding) -> Folding:
    """Return `folding` if it fits the graph, else raise UsageError with the stage, what was found and what is allowed.

    Raises UnsupportedModel for operations that cannot be folded.
    """
    stages = {stage.name: stage for stage in foldable_stages(graph)}
    for name in folding.stages:
        if name not in stages:
            raise UsageError(
                f"folding names a stage {name!r} that the network does not have; its stages: {', '.join(stages)}"
            )
    for name, stage in stages.items():
        if name not in folding.stages:
            raise UsageError(f"{stage}: folding has no entry for this stage; it needs simd and pe")
        given_options(stage, folding.stages[name].simd, folding.stages[name].pe)
    return folding


def given_options(stage: Stage, simd: int | None, pe: int | None) -> tuple[StageFolding, ...]:
    """The foldings of a stage with this simd and this pe, where they are given; at least one.

    Raises UsageError with the stage, what was found and what is allowed.
    """
    allowed = lanes(stage)
    for label, value, values, reason in (
        ("simd", simd, allowed.simd, allowed.simd_why),
        ("pe", pe, allowed.pe, allowed.pe_why),
    ):
        if value is not None and value not in values:
            raise UsageError(
                f"{stage}: {label} must divide {reason}; found {value}. Use {label} in "
                f"{{{', '.join(map(str, values))}}}"
            )
    if allowed.equal and simd is not None and pe is not None and simd != pe:
        raise UsageError(
            f"{stage}: its beats are as wide on both sides, so simd and pe must be equal; found {simd} and {pe}"
        )
    found = tuple(option for option in options(stage) if simd in (None, option.simd) and pe in (None, option.pe))
    if not found:
        narrow = StageFolding(
            simd or (pe if allowed.equal and pe else 1), pe or (simd if allowed.equal and simd else 1)
        )
        raise UsageError(
            f"{stage}: with simd {narrow.simd} and pe {narrow.pe} {too_wide(stage, narrow)}; {_WHY_WIDTH}. Use "
            f"{_instead(stage, narrow)}"
        )
    return found


def _instead(stage: Stage, wide: StageFolding) -> str:
    """What to use in the place of a folding with a vector that is too wide: usually less of either."""
    thinner = any(option.simd <= wide.simd and option.pe <= wide.pe for option in options(stage))
    return "a smaller simd or pe" if thinner else "a larger simd or pe"


def _options(stage: Stage, limit: int, choices: Choices) -> list[StageFolding]:
    every = choices.of(stage)
    fitting = [option for option in every if cycles(stage, option) <= limit]
    if not fitting:
        fewest = fewest_cycles([stage], choices)
        if stage.name in choices.given:
            takes = f"with the folding that it was given it takes at least {fewest} cycles"
            instead = f"Give it a larger simd or pe, or use cycles_per_frame of {fewest} or more"
        else:
            vectors = f"{stage.vectors} vector{'' if stage.vectors == 1 else 's'}"
            takes = f"it has {vectors} a frame and takes at least {fewest} cycles"
            instead = f"Use cycles_per_frame of {fewest} or more"
        raise UsageError(f"{stage}: cannot take a frame every {limit} cycles: {takes}. {instead}")
    return fitting
