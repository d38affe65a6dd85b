# SPDX-License-Identifier: Apache-2.0
"""The schedule against its rules, which here go cycle by cycle: the same beats in the same cycles on every stream."""

from __future__ import annotations

import numpy as np
import pytest

from tests.equivalence.rtl_images import image_members
from toolchain.backends.rtl.streaming.circuit_state import CircuitState
from toolchain.backends.rtl.streaming.network import Library, draw
from toolchain.backends.rtl.streaming.plumbing import Plumbing
from toolchain.backends.rtl.streaming.schedule import Deadlock, Schedule
from toolchain.backends.rtl.streaming.timing import (
    BufferTiming,
    Circuit,
    NarrowTiming,
    Queue,
    StepTiming,
    line,
    queue_timing,
)
from toolchain.passes.choose_folding import choose_folding, default_cycles_per_frame

#: Cycles without any event after which nothing happens any more: longer than any kernel's latency or idle steps here.
QUIET_CYCLES = 600

#: Random networks that are looked at.
SEEDS = 24


class Ports:
    """What passed a kernel's inputs and outputs, and what it made, as cycles; a cycle sees only the ones before it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.accepted: list[list[int]] = [[] for _ in range(inputs)]
        self.taken: list[list[int]] = [[] for _ in range(outputs)]
        self.made: list[list[int]] = [[] for _ in range(outputs)]

    def offers(self, port: int, cycle: int, latency_cycles: int) -> bool:
        number = len(self.taken[port])
        return number < len(self.made[port]) and self.made[port][number] + latency_cycles <= cycle

    def has_slot(self, port: int, cycle: int, queue: Queue) -> bool:
        left = sum(taken < cycle for taken in self.taken[port][-queue.slots :])
        left += max(0, len(self.taken[port]) - queue.slots)
        return len(self.made[port]) - left < queue.slots


class Steps(Ports):
    def __init__(self, timing: StepTiming) -> None:
        super().__init__(len(timing.inputs), len(timing.outputs))
        self.timing, self.step = timing, 0
        self.used = [0] * len(timing.inputs)

    def _bits(self) -> tuple[int, int]:
        place = self.step % len(self.timing.consumes)
        return int(self.timing.consumes[place]), int(self.timing.produces[place])

    def _may_step(self, cycle: int) -> bool:
        """As far as queues and held beats go."""
        consumes, produces = self._bits()
        for port, queue in enumerate(self.timing.outputs):
            if produces >> port & 1 and not self.has_slot(port, cycle, queue):
                return False
        for port, depth in enumerate(self.timing.inputs):
            held = self.accepted[port][self.used[port] :]
            if depth and (consumes | consumes >> 8) >> port & 1 and (not held or held[0] >= cycle):
                return False
        return True

    def ready(self, port: int, cycle: int) -> bool:
        if depth := self.timing.inputs[port]:
            return len(self.accepted[port]) - self.used[port] < depth
        return bool(self._bits()[0] >> port & 1) and self._may_step(cycle)

    def valid(self, port: int, cycle: int) -> bool:
        return self.offers(port, cycle, self.timing.outputs[port].latency_cycles)

    def tick(self, cycle: int) -> bool:
        """The end of a cycle whose beats have passed; whether a step was done."""
        consumes, produces = self._bits()
        direct = [port for port, depth in enumerate(self.timing.inputs) if not depth and consumes >> port & 1]
        if not self._may_step(cycle) or any(self.accepted[port][-1:] != [cycle] for port in direct):
            return False
        for port in range(len(self.used)):
            self.used[port] += consumes >> port & 1
        for port in range(len(self.made)):
            self.made[port] += [cycle] * (produces >> port & 1)
        self.step += 1
        return True


class Buffer(Ports):
    def __init__(self, timing: BufferTiming) -> None:
        super().__init__(1, 1)
        self.timing = timing

    def _of_next(self, beats: np.ndarray) -> int:
        frame, place = divmod(len(self.made[0]), len(beats))
        return frame * self.timing.input_beats + int(beats[place])

    def ready(self, port: int, cycle: int) -> bool:
        return len(self.accepted[0]) < self.timing.buffer_beats + self._of_next(self.timing.keeps)

    def valid(self, port: int, cycle: int) -> bool:
        return self.offers(port, cycle, self.timing.queue.latency_cycles)

    def tick(self, cycle: int) -> bool:
        source = self._of_next(self.timing.sources)
        there = source < len(self.accepted[0]) and self.accepted[0][source] < cycle
        if not there or not self.has_slot(0, cycle, self.timing.queue):
            return False
        self.made[0].append(cycle)
        return True


class Narrow(Ports):
    def __init__(self, timing: NarrowTiming) -> None:
        super().__init__(1, 1)
        self.factor, self.moved = timing.factor, 0

    def ready(self, port: int, cycle: int) -> bool:
        return len(self.accepted[0]) == self.moved

    def valid(self, port: int, cycle: int) -> bool:
        return len(self.taken[0]) < self.moved * self.factor

    def tick(self, cycle: int) -> bool:
        waits = len(self.accepted[0]) > self.moved and self.accepted[0][self.moved] < cycle
        if not waits or len(self.taken[0]) < self.moved * self.factor:
            return False
        self.moved += 1
        return True


def by_cycles(circuit: Circuit, frames: int, interval: int, even: bool) -> list[list[int]]:
    """The cycles in which the beats of `frames` frames pass each stream, as far as they do."""
    kinds = {StepTiming: Steps, BufferTiming: Buffer, NarrowTiming: Narrow}
    kernels = [kinds[type(timing)](timing) for timing in circuit.kernels]  # type: ignore[index, arg-type]
    passed: list[list[int]] = [[] for _ in circuit.links]
    source = circuit.links[0].beats
    cycle = quiet = 0
    while quiet < QUIET_CYCLES + interval and any(
        len(times) < link.beats * frames for times, link in zip(passed, circuit.links, strict=True)
    ):
        moves = []
        for number, link in enumerate(circuit.links):
            beat = len(passed[number])
            if beat == link.beats * frames:
                continue
            if link.writer:
                valid = kernels[link.writer[0]].valid(link.writer[1], cycle)
            else:
                frame, place = divmod(beat, source)
                valid = frame * interval + (place * interval // source if even else 0) <= cycle
            if valid and (link.reader is None or kernels[link.reader[0]].ready(link.reader[1], cycle)):
                moves.append(number)
        for number in moves:
            link = circuit.links[number]
            passed[number].append(cycle)
            if link.writer:
                kernels[link.writer[0]].taken[link.writer[1]].append(cycle)
            if link.reader:
                kernels[link.reader[0]].accepted[link.reader[1]].append(cycle)
        stepped = [kernel.tick(cycle) for kernel in kernels]
        quiet = 0 if moves or any(stepped) else quiet + 1
        cycle += 1
    return passed


def drawn(seed: int) -> tuple[Plumbing, int, np.random.Generator]:
    """A random network, its pace, and more chance; each memory has its least depth or a few beats more."""
    random = np.random.default_rng(seed)
    (member,) = image_members(range(200 + seed, 201 + seed))
    pace = int(default_cycles_per_frame(member.graph) * random.choice([1, 3]))
    plumbing = draw(member.graph, choose_folding(member.graph, pace), Library())
    least = {place: plumbing.drafts[place].instance.least_depth for place in plumbing.resizable()}
    return plumbing.with_depths({n: depth + int(random.integers(0, 40)) for n, depth in least.items()}), pace, random


@pytest.mark.parametrize("seed", range(SEEDS))
def test_schedules_are_those_of_the_rules(seed: int) -> None:
    plumbing, pace, random = drawn(seed)
    circuit, interval, even = plumbing.circuit()[0], int(random.choice([0, pace])), bool(random.random() < 0.5)
    expected = by_cycles(circuit, 2, interval, even)
    state = CircuitState(circuit, interval, even)
    state.run(1)
    state.run(2)  # what one frame left behind is where the next begins
    for number, times in enumerate(expected):
        assert state.passed(number).tolist() == times, f"stream {number}"
    schedule = Schedule(circuit, interval, even)
    if all(len(times) == 2 * link.beats for times, link in zip(expected, circuit.links, strict=True)):
        schedule.extend(2)
    else:
        with pytest.raises(Deadlock, match="no beat passes"):
            schedule.extend(2)


def test_some_of_those_networks_deadlock_and_most_do_not() -> None:
    """Or the test above would not say what it seems to."""
    stuck = 0
    for seed in range(SEEDS):
        try:
            drawn(seed)[0].schedule().extend(2)
        except Deadlock:
            stuck += 1
    assert 2 <= stuck <= SEEDS // 2


def test_a_long_line() -> None:
    """Two million beats through compiled code: one a cycle, each link a cycle behind the one before it."""
    beats = 100_000
    schedule = Schedule(line([queue_timing(2 + number % 3, 1) for number in range(20)], [beats] * 21))
    schedule.extend(1)
    assert schedule.latency_cycles() == beats - 1 + 20
