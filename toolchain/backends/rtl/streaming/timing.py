# SPDX-License-Identifier: Apache-2.0
"""When a streaming kernel takes and gives beats: the rules in the headers of the library's modules, as programs.

A kernel never looks at more than its own history, and it keeps a promise once made: it can take its next beat from some
cycle on, and offers its next result from some cycle on. A beat passes a stream in the later of the two cycles, so all
times follow from each other by maxima and sums (a max-plus system) and the schedule of a whole network is exact.

Conventions: beats are numbered over all frames from 0; `accepts[j]` is the cycle in which input beat j was accepted and
`takes[k]` the cycle in which output beat k was taken; cycle 0 is the first in which the network may accept a beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Behaviour(Protocol):
    """A running kernel. Both functions return None as long as the answer depends on a beat that is not decided yet."""

    def ready(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        """Earliest cycle in which input beat `beat` can be accepted; all input beats before it have been."""

    def offer(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        """Earliest cycle in which output beat `beat` is offered; all output beats before it have been taken."""


class Timing(Protocol):
    """How a kernel times its beats, as data. `capacity_beats`: how many output beats back a rule may look."""

    @property
    def capacity_beats(self) -> int: ...

    def start(self) -> Behaviour:
        """The kernel behind a reset."""


@dataclass(frozen=True)
class QueueTiming:
    """One output beat for each input beat (skid_buffer, stream_fifo, requantise, relu, threshold).

    A beat is accepted iff fewer than `capacity_beats` beats accepted in earlier cycles are still inside, and is offered
    `latency_cycles` after its acceptance, or in the cycle after the beat before it was taken if that is later.
    """

    capacity_beats: int
    latency_cycles: int

    def start(self) -> Behaviour:
        return self

    def ready(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        earliest = accepts[beat - 1] + 1 if beat else 0
        leaving = beat - self.capacity_beats
        if leaving < 0:
            return earliest
        return max(earliest, takes[leaving] + 1) if leaving < len(takes) else None

    def offer(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        if beat >= len(accepts):
            return None
        earliest = accepts[beat] + self.latency_cycles
        return max(earliest, takes[beat - 1] + 1) if beat else earliest


@dataclass(frozen=True)
class FoldedTiming:
    """Vectors of `input_beats`, worked through once for each of `groups` output beats (matrix_vector_unit, argmax).

    One step a cycle; the steps of the first group accept the input beats; the last step of a group waits until fewer
    than `slots` finished groups are still to be taken; a group is offered `latency_cycles` after its last step, or in
    the cycle after the group before it was taken if that is later.
    """

    input_beats: int
    groups: int
    slots: int
    latency_cycles: int

    @property
    def capacity_beats(self) -> int:
        return self.slots

    def start(self) -> Behaviour:
        return _Folded(self)


class _Folded:
    def __init__(self, timing: FoldedTiming) -> None:
        self._timing = timing
        self._last_steps: list[int] = []  # cycle of the last step of each group

    def _last_step(self, group: int, accepts: list[int], takes: list[int]) -> int | None:
        timing, known = self._timing, self._last_steps
        while len(known) <= group:
            number = len(known)
            if number % timing.groups == 0:
                closing_beat = (number // timing.groups + 1) * timing.input_beats - 1
                if closing_beat >= len(accepts):
                    return None
                known.append(accepts[closing_beat])
                continue
            cycle = known[-1] + timing.input_beats
            if number >= timing.slots:
                if number - timing.slots >= len(takes):
                    return None
                cycle = max(cycle, takes[number - timing.slots] + 1)
            known.append(cycle)
        return known[group]

    def ready(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        timing = self._timing
        vector, position = divmod(beat, timing.input_beats)
        group = vector * timing.groups
        cycle = 0
        if position:
            cycle = accepts[beat - 1] + 1
        elif vector:
            before = self._last_step(group - 1, accepts, takes)
            if before is None:
                return None
            cycle = before + 1
        if position == timing.input_beats - 1 and group >= timing.slots:
            if group - timing.slots >= len(takes):
                return None
            cycle = max(cycle, takes[group - timing.slots] + 1)
        return cycle

    def offer(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        last_step = self._last_step(beat, accepts, takes)
        if last_step is None:
            return None
        earliest = last_step + self._timing.latency_cycles
        return max(earliest, takes[beat - 1] + 1) if beat else earliest


@dataclass(frozen=True)
class WidenTiming:
    """`factor` input beats become one (stream_widen): the one that completes it waits until the one before was taken."""

    factor: int
    capacity_beats: int = 1

    def start(self) -> Behaviour:
        return self

    def ready(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        earliest = accepts[beat - 1] + 1 if beat else 0
        output, position = divmod(beat, self.factor)
        if position != self.factor - 1 or output == 0:
            return earliest
        return max(earliest, takes[output - 1] + 1) if output - 1 < len(takes) else None

    def offer(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        closing_beat = (beat + 1) * self.factor - 1
        return accepts[closing_beat] + 1 if closing_beat < len(accepts) else None


@dataclass(frozen=True)
class NarrowTiming:
    """One input beat becomes `factor` (stream_narrow); the next one waits in a register of its own."""

    factor: int

    @property
    def capacity_beats(self) -> int:
        return 2 * self.factor

    def start(self) -> Behaviour:
        return self

    def _load(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        """The cycle in which input beat `beat` moves from the waiting to the output register."""
        if beat >= len(accepts):
            return None
        if beat == 0:
            return accepts[0] + 1
        last_part = beat * self.factor - 1
        return max(accepts[beat] + 1, takes[last_part]) if last_part < len(takes) else None

    def ready(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        if beat == 0:
            return 0
        load = self._load(beat - 1, accepts, takes)
        return None if load is None else max(load + 1, accepts[beat - 1] + 1)

    def offer(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        source, part = divmod(beat, self.factor)
        if part:
            return takes[beat - 1] + 1
        load = self._load(source, accepts, takes)
        return None if load is None else load + 1
