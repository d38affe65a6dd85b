# SPDX-License-Identifier: Apache-2.0
"""When a streaming kernel takes and gives beats: the rules in the headers of the library's modules, as data.

A kernel never looks at more than its own history, and it keeps a promise once made: it can take its next beat from some
cycle on, and offers its next result from some cycle on. A beat passes a stream in the later of the two cycles, so all
times follow from each other by maxima and sums (a max-plus system) and the schedule of a whole network is exact.
`schedule` computes it.

Conventions: beats are numbered over all frames from 0, and so are steps; cycle 0 is the first in which the network may
accept a beat. A beat is accepted on an input and taken from an output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd

import numpy as np

#: Most ports on one side of a kernel.
MOST_PORTS = 4


@dataclass(frozen=True)
class Queue:
    """An output of a kernel with steps: `slots` beats may be made and not taken; a beat is offered `latency_cycles` later.

    It is offered in the cycle after the beat before it was taken if that is later.
    """

    slots: int
    latency_cycles: int


@dataclass(frozen=True, eq=False)
class StepTiming:
    """A kernel that works in steps, at most one a cycle, in a pattern that repeats.

    consumes: for each step of the pattern the inputs that it takes a beat from, as bits (bit 0 is the first input).
        Bit 8 and above: the inputs of which it waits for a held beat without using it.
    produces: for each step the outputs that it makes a beat for, as bits.
    outputs: the queue of each output. inputs: beats that each input can hold, accepted before their step; 0: a beat is
        accepted in its step itself.

    A step is done in the first cycle after the step before it in which every queue that it makes a beat for has a slot free
    (the beat that leaves it room was taken in an earlier cycle), and every input that it takes a beat from offers one, or
    holds one that was accepted in an earlier cycle. An input that holds beats accepts one iff fewer than it can hold were
    accepted and not used in earlier cycles.
    """

    consumes: np.ndarray
    produces: np.ndarray
    outputs: tuple[Queue, ...]
    inputs: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for label in ("consumes", "produces"):
            object.__setattr__(self, label, np.ascontiguousarray(getattr(self, label), np.int32))
        assert self.consumes.shape == self.produces.shape
        assert len(self.consumes) > 0
        assert 0 < len(self.inputs) <= MOST_PORTS
        assert 0 < len(self.outputs) <= MOST_PORTS

    def _times(self, pattern: np.ndarray, port: int) -> int:
        return int((pattern >> port & 1).sum())

    @property
    def rates(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Beats of each input and of each output in one run of the pattern."""
        return (
            tuple(self._times(self.consumes, port) for port in range(len(self.inputs))),
            tuple(self._times(self.produces, port) for port in range(len(self.outputs))),
        )

    def reach_beats(self, output: int) -> int:
        """How many beats back on an output a step may look."""
        return self.outputs[output].slots


@dataclass(frozen=True, eq=False)
class BufferTiming:
    """A kernel that keeps its newest input beats and reads its output beats from them, one a cycle, in any order.

    sources: for each output beat of a frame the input beat of the same frame that it is. keeps: the oldest input beat of the
    frame that has to be kept until that output beat is read, never falling. input_beats: a frame. An input beat is accepted iff
    it lies fewer than `buffer_beats` behind what the first output beat not read in earlier cycles keeps. An output beat is
    read in the first cycle after the one before in which its source was accepted in an earlier cycle and the queue has a
    slot free.
    """

    sources: np.ndarray
    keeps: np.ndarray
    input_beats: int
    buffer_beats: int
    queue: Queue

    def __post_init__(self) -> None:
        for label in ("sources", "keeps"):
            object.__setattr__(self, label, np.ascontiguousarray(getattr(self, label), np.int32))
        assert self.sources.shape == self.keeps.shape
        assert (np.diff(self.keeps) >= 0).all()
        assert (self.sources >= self.keeps).all()

    @property
    def rates(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Beats of the input and of the output a frame."""
        return (self.input_beats,), (len(self.sources),)

    def reach_beats(self, output: int) -> int:
        """An input beat looks back to the read that made room for it."""
        return (self.buffer_beats // self.input_beats + 2) * len(self.sources) + self.queue.slots


@dataclass(frozen=True)
class NarrowTiming:
    """One input beat becomes `factor` (stream_narrow); the next one waits in a register of its own.

    It moves on to the output register in the cycle in which the last part before it is taken, the cycle after its acceptance at
    the earliest, and is offered in the cycle behind that.
    """

    factor: int

    @property
    def rates(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Beats of the input and of the output."""
        return (1,), (self.factor,)

    def reach_beats(self, output: int) -> int:
        """The part whose taking lets the next beat move on."""
        return 2 * self.factor


Timing = StepTiming | BufferTiming | NarrowTiming


def queue_timing(capacity_beats: int, latency_cycles: int) -> StepTiming:
    """One output beat for each input beat (skid_buffer, stream_fifo, requantise, relu, threshold).

    A beat is accepted iff fewer than `capacity_beats` beats accepted in earlier cycles are still inside, and is offered
    `latency_cycles` after its acceptance.
    """
    one = np.ones(1, np.int32)
    return StepTiming(one, one, (Queue(capacity_beats, latency_cycles),))


def folded_timing(input_beats: int, groups: int, slots: int, latency_cycles: int) -> StepTiming:
    """Vectors of `input_beats`, worked through once for each of `groups` output beats (matrix_vector_unit, argmax).

    One step a cycle; the steps of the first group accept the input beats; the last step of a group waits until fewer
    than `slots` finished groups are still to be taken; a group is offered `latency_cycles` after its last step.
    """
    consumes = np.zeros((groups, input_beats), np.int32)
    produces = np.zeros((groups, input_beats), np.int32)
    consumes[0] = 1
    produces[:, -1] = 1
    return StepTiming(consumes.ravel(), produces.ravel(), (Queue(slots, latency_cycles),))


def widen_timing(factor: int) -> StepTiming:
    """`factor` input beats become one (stream_widen): the one that completes it waits until the one before was taken."""
    produces = np.zeros(factor, np.int32)
    produces[-1] = 1
    return StepTiming(np.ones(factor, np.int32), produces, (Queue(1, 1),))


def pattern_timing(takes: np.ndarray, gives: np.ndarray, queue: Queue) -> StepTiming:
    """Steps that take a beat where `takes`, and make one where `gives` (one input, one output)."""
    return StepTiming(np.asarray(takes, np.int32), np.asarray(gives, np.int32), (queue,))


@dataclass(frozen=True)
class Link:
    """One stream in a schedule: from output `port` of kernel `writer` (None: the source) to input of kernel `reader` (None: the sink)."""

    beats: int
    writer: tuple[int, int] | None
    reader: tuple[int, int] | None


@dataclass(frozen=True)
class Circuit:
    """Kernels and the streams between them. links: the first is the network's input; the last its output."""

    kernels: tuple[Timing, ...]
    links: tuple[Link, ...] = field(repr=False)

    def __post_init__(self) -> None:
        assert self.links[0].writer is None
        assert self.links[-1].reader is None
        for number, timing in enumerate(self.kernels):
            # Every frame is a whole number of runs of each kernel's pattern, the same on all of its ports.
            inputs, outputs = timing.rates
            read = {link.reader[1]: link.beats for link in self.links if link.reader and link.reader[0] == number}
            written = {link.writer[1]: link.beats for link in self.links if link.writer and link.writer[0] == number}
            assert sorted(read) == list(range(len(inputs))), (number, timing)
            assert sorted(written) == list(range(len(outputs))), (number, timing)
            runs = read[0] // gcd(read[0], inputs[0]), inputs[0] // gcd(read[0], inputs[0])
            for found, rate in ((read, inputs), (written, outputs)):
                for port, beats in enumerate(rate):
                    assert found[port] * runs[1] == beats * runs[0], (number, timing, read, written)


def line(kernels: Sequence[Timing], beats: Sequence[int]) -> Circuit:
    """Kernels of one input and one output behind each other; beats: a frame, on each of the len(kernels) + 1 streams."""
    last = len(kernels)
    links = [
        Link(count, (place - 1, 0) if place else None, (place, 0) if place < last else None)
        for place, count in enumerate(beats)
    ]
    return Circuit(tuple(kernels), tuple(links))
