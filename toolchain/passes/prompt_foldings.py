# SPDX-License-Identifier: Apache-2.0
"""All foldings of a chain of stages that nothing beats in both cost and delay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from toolchain.passes.choose_folding import Costs, Folding
from toolchain.passes.folding_model import (
    ALL,
    Choices,
    StageFolding,
    cycles,
    input_lanes,
    is_matrix,
    matrix_shape,
    positions,
    slides,
)
from toolchain.passes.group_stages import Stage


def delay_cycles(stage: Stage, option: StageFolding) -> int:
    """About the cycles from a stage's last input beat to its last output beat."""
    if not is_matrix(stage):
        return 5
    inputs, outputs = matrix_shape(stage)
    beats, groups = inputs // option.simd, outputs // option.pe
    pipeline = 6 + (option.simd - 1).bit_length()
    return pipeline + beats * groups if slides(stage) else pipeline + beats * (groups - 1) * positions(stage)


_Times = tuple[np.ndarray, np.ndarray]


def _converted(times: _Times, found: int, wanted: int, size: int) -> _Times:
    """About when beats of `wanted` elements leave, if those of `found` come from `times[0]` to `times[1]`."""
    first, last = times
    if found == wanted:
        return times
    if found < wanted:  # the first beat waits for its last part
        return first + 1 + (last - first) * (wanted - found) // max(1, size - found), last + 2
    return first + 1, np.maximum(last + found // wanted - 1, first + size // wanted - 1) + 1


def _passed(stage: Stage, option: StageFolding, times: _Times) -> _Times:
    """About when a stage's first and last output beats leave, if its input beats come from `times[0]` to `times[1]`."""
    first, last = times
    if slides(stage):
        # It starts when the rows under the first window are there, and keeps its own pace or that of its input.
        rows = stage.input_type.shape[0]
        window = getattr(stage.operation, "window", (1,))[0]
        start = first + (last - first) * min(window, rows) // rows
        delay = delay_cycles(stage, option)
        return start + delay, np.maximum(last, start + cycles(stage, option)) + delay
    if is_matrix(stage):
        inputs, outputs = matrix_shape(stage)
        beats, groups = inputs // option.simd, outputs // option.pe
        pipeline = 6 + (option.simd - 1).bit_length()
        # A vector's first group is done with its last beat.
        vectors = positions(stage)
        start = np.maximum(first + beats - 1, first + (last - first) // vectors) + pipeline
        work = beats * groups
        return start, np.maximum(last + pipeline, first + (vectors - 1) * work + beats - 1 + pipeline) + work - beats
    return first + 5, np.maximum(last, first + cycles(stage, option) - 1) + 5


@dataclass(frozen=True)
class Prompt:
    """A folding with its cost, and about the cycles from the network's first input beat to its last output beat."""

    cost: float
    latency: int
    folding: Folding


@dataclass(frozen=True)
class _Labels:
    """Ways to a width of beats, none of them beaten in both cost and time of the last beat: costs ascend and times descend.

    options: the last stage's. widths, places: width of the beats before it, and place among the ways there.
    """

    costs: np.ndarray
    firsts: np.ndarray
    lasts: np.ndarray
    options: np.ndarray
    widths: np.ndarray
    places: np.ndarray


def is_chain(stages: Sequence[Stage]) -> bool:
    """Whether each stage's result is the next one's only operand."""
    return all(list(stage.sources) == [before.name] for before, stage in pairwise(stages))


def prompt_foldings(
    stages: Sequence[Stage],
    interval: int,
    costs: Costs,
    most_cycles: int | None = None,
    choices: Choices = ALL,
) -> list[Prompt]:
    """Foldings of a chain of stages that no other one beats in both cost and latency.

    No stage needs more than `interval` cycles a frame; foldings with a latency above most_cycles are left out. Costs ascend,
    latencies descend. Dynamic programming: for every width of a stage's output beat all ways there that are not beaten. Latencies
    are approximate: they assume that input comes at full rate and that no queue is ever full.
    """
    chosen = {stage.name: [o for o in choices.of(stage) if cycles(stage, o) <= interval] for stage in stages}
    history: list[dict[int, _Labels]] = []
    for place, stage in enumerate(stages):
        element, size = stage.input_type.element, stage.input_type.size
        ways: dict[int, list[tuple[np.ndarray, ...]]] = {}
        for number, option in enumerate(chosen[stage.name]):
            own, lanes = costs.stage(stage, option), input_lanes(stage, option)
            if not place:
                source = np.array([own + costs.source(element, lanes)])
                times = _passed(stage, option, (np.array([0]), np.array([size // lanes - 1])))
                nothing = np.zeros(1, dtype=np.int64)
                ways.setdefault(option.pe, []).append((source, *times, nothing + number, nothing, nothing))
                continue
            for found, labels in history[-1].items():
                count = len(labels.costs)
                times = _passed(stage, option, _converted((labels.firsts, labels.lasts), found, lanes, size))
                cost = labels.costs + own + costs.converter(element, found, lanes)
                way = (cost, *times, np.full(count, number), np.full(count, found), np.arange(count))
                ways.setdefault(option.pe, []).append(way)
        history.append({width: _unbeaten(parts, most_cycles) for width, parts in ways.items()})
    return _walk_back(stages, chosen, history, interval)


def _unbeaten(parts: Sequence[tuple[np.ndarray, ...]], most_cycles: int | None) -> _Labels:
    costs, firsts, lasts, *rest = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((firsts, lasts, costs))
    # In the order of cost, a way counts if it is quicker than all before it.
    quickest = np.minimum.accumulate(lasts[order])
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = lasts[order][1:] < quickest[:-1]
    if most_cycles is not None:
        keep &= lasts[order] < most_cycles
    order = order[keep]
    return _Labels(costs[order], firsts[order], lasts[order], *(column[order] for column in rest))


def _walk_back(
    stages: Sequence[Stage], chosen: dict[str, list[StageFolding]], history: list[dict[int, _Labels]], interval: int
) -> list[Prompt]:
    ends = [
        (float(cost), int(last) + 1, width, place)
        for width, labels in history[-1].items()
        for place, (cost, last) in enumerate(zip(labels.costs, labels.lasts, strict=True))
    ]
    found: list[Prompt] = []
    for cost, latency, end, end_place in sorted(ends):
        if found and latency >= found[-1].latency:
            continue
        width, place, taken = end, end_place, {}
        for stage, reached in zip(reversed(stages), reversed(history), strict=True):
            labels = reached[width]
            taken[stage.name] = chosen[stage.name][int(labels.options[place])]
            width, place = int(labels.widths[place]), int(labels.places[place])
        found.append(Prompt(cost, latency, Folding(interval, {stage.name: taken[stage.name] for stage in stages})))
    return found
