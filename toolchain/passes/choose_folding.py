# SPDX-License-Identifier: Apache-2.0
"""Choose how many rows (PE) and columns (SIMD) of every stage are computed in one cycle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import lcm

from toolchain.errors import UnsupportedModel, UsageError
from toolchain.ir import AddBias, ArgMax, Dense, Graph, Operation, Relu, Requantise, Threshold
from toolchain.passes.group_stages import Stage, group_stages

#: Operations whose stages work element by element: a beat goes in, a beat of as many elements comes out.
_ELEMENTWISE: tuple[type[Operation], ...] = (AddBias, Relu, Requantise, Threshold)
FOLDABLE: tuple[type[Operation], ...] = (Dense, ArgMax, *_ELEMENTWISE)


@dataclass(frozen=True)
class StageFolding:
    """simd: elements of an input beat; pe: elements of an output beat."""

    simd: int
    pe: int


@dataclass(frozen=True)
class Folding:
    """cycles_per_frame: the initiation interval that was asked for; stages: folding by the name of the stage's node."""

    cycles_per_frame: int
    stages: Mapping[str, StageFolding]


def default_cycles_per_frame(graph: Graph) -> int:
    """As many cycles as the largest tensor between two stages has elements, so that streams of one element a cycle keep up.

    A 64-32-32-10 network gets 64.
    """
    stages = group_stages(graph)
    sizes = [tensor.size for stage in stages for tensor in (stage.input_type, stage.output_type)]
    return max([graph.types[graph.inputs[0].name].size, *sizes])


def choose_folding(graph: Graph, cycles_per_frame: int) -> Folding:
    """The folding with the fewest multipliers in which no stage needs more than `cycles_per_frame` cycles a frame.

    Among those, the one with the least logic for comparators, lanes and width converters (see `_logic`), which prefers
    beats as wide as the neighbour's; then the one with the fewest cycles summed over the stages.
    Raises UsageError where no folding is fast enough, naming the stage and the fewest cycles it can take; UnsupportedModel
    for operations that cannot be folded.
    """
    if type(cycles_per_frame) is not int or cycles_per_frame < 1:
        raise UsageError(f"cycles_per_frame must be a whole number of at least 1, found {cycles_per_frame!r}")
    # Dynamic programming along the line: for every width of a stage's output beat, the cheapest way to get there.
    best: dict[int, tuple[tuple[int, int, int], tuple[StageFolding, ...]]] | None = None
    stages = _foldable_stages(graph)
    for stage in stages:
        reached: dict[int, tuple[tuple[int, int, int], tuple[StageFolding, ...]]] = {}
        for option in _options(stage, cycles_per_frame):
            own = (multipliers(stage, option), _logic(stage, option), cycles(stage, option))
            for lanes, (cost, chosen) in (best or {option.simd: ((0, 0, 0), ())}).items():
                total = (
                    cost[0] + own[0],
                    cost[1] + own[1] + _converter_logic(stage, lanes, option.simd),
                    cost[2] + own[2],
                )
                if option.pe not in reached or total < reached[option.pe][0]:
                    reached[option.pe] = (total, (*chosen, option))
        best = reached
    chosen = min(best.values(), key=lambda entry: (entry[0], [(s.simd, s.pe) for s in entry[1]]))[1] if best else ()
    return Folding(cycles_per_frame, {stage.name: option for stage, option in zip(stages, chosen, strict=True)})


def _foldable_stages(graph: Graph) -> tuple[Stage, ...]:
    stages = group_stages(graph)
    known = ", ".join(sorted(operation.kind for operation in FOLDABLE))
    refused = [
        f"{stage}: operation {stage.operation.kind!r} cannot be folded; {known} can"
        for stage in stages
        if not isinstance(stage.operation, FOLDABLE)
    ]
    if refused:
        raise UnsupportedModel("the network cannot be folded:\n  " + "\n  ".join(refused))
    return stages


def check_folding(graph: Graph, folding: Folding) -> Folding:
    """Return `folding` if it fits the graph, else raise UsageError with the stage, what was found and what is allowed.

    Raises UnsupportedModel for operations that cannot be folded.
    """
    stages = {stage.name: stage for stage in _foldable_stages(graph)}
    for name in folding.stages:
        if name not in stages:
            raise UsageError(
                f"folding names a stage {name!r} that the network does not have; its stages: {', '.join(stages)}"
            )
    for name, stage in stages.items():
        if name not in folding.stages:
            raise UsageError(f"{stage}: folding has no entry for this stage; it needs simd and pe")
        option = folding.stages[name]
        for label, value, size in (
            ("simd", option.simd, stage.input_type.channels),
            ("pe", option.pe, stage.output_type.channels),
        ):
            if value not in divisors(size):
                raise UsageError(
                    f"{stage}: {label} must divide its {size} {'input' if label == 'simd' else 'output'} channels; "
                    f"found {value}. Use {label} in {{{', '.join(map(str, divisors(size)))}}}"
                )
        if not isinstance(stage.operation, Dense | ArgMax) and option.simd != option.pe:
            raise UsageError(
                f"{stage}: works element by element, so simd and pe must be equal; found {option.simd} and {option.pe}"
            )
        if isinstance(stage.operation, ArgMax) and option.pe != 1:
            raise UsageError(f"{stage}: gives one index a vector, so pe must be 1; found {option.pe}")
    return folding


def divisors(number: int) -> list[int]:
    """All positive divisors, ascending."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return small + [number // n for n in reversed(small) if n * n != number]


def multipliers(stage: Stage, option: StageFolding) -> int:
    """Multipliers of a stage."""
    return option.simd * option.pe if isinstance(stage.operation, Dense) else 0


def cycles(stage: Stage, option: StageFolding) -> int:
    """Cycles a frame that a stage needs."""
    beats = stage.input_type.channels // option.simd
    groups = stage.output_type.channels // option.pe if isinstance(stage.operation, Dense) else 1
    return stage.vectors * beats * groups


def _options(stage: Stage, limit: int) -> Iterable[StageFolding]:
    inputs, outputs = divisors(stage.input_type.channels), divisors(stage.output_type.channels)
    if isinstance(stage.operation, Dense):
        options = [StageFolding(simd, pe) for simd in inputs for pe in outputs]
    elif isinstance(stage.operation, ArgMax):
        options = [StageFolding(simd, 1) for simd in inputs]
    else:
        options = [StageFolding(lanes, lanes) for lanes in inputs]
    fitting = [option for option in options if cycles(stage, option) <= limit]
    if not fitting:
        fewest = min(cycles(stage, option) for option in options)
        raise UsageError(
            f"{stage}: cannot take a frame every {limit} cycles: it has {stage.vectors} vectors a frame and takes at least "
            f"{fewest} cycles. Use cycles_per_frame of {fewest} or more"
        )
    return fitting


def _logic(stage: Stage, option: StageFolding) -> int:
    """A figure that grows with a stage's logic: bits that are added, compared or selected in a cycle, multipliers aside."""
    if isinstance(stage.operation, Dense):
        return option.pe * stage.output_type.element.width
    bits = option.simd * stage.input_type.element.width
    if isinstance(stage.operation, Threshold):
        return bits * (1 + stage.operation.thresholds.shape[1])
    return bits


def _converter_logic(stage: Stage, found: int, wanted: int) -> int:
    """Register bits of the converter from beats of `found` to beats of `wanted` elements; 0 if they are equal."""
    return 0 if found == wanted else 2 * lcm(found, wanted) * stage.input_type.element.width
