# SPDX-License-Identifier: Apache-2.0
"""Cycle-exact models of the handshakes of the kernels of branches, from the rules in their headers.

They answer as the contracts of `contract` do, for each of several inputs or outputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol


class BranchContract(Protocol):
    def ready(self, port: int) -> bool:
        """Whether a beat offered on this input in this cycle is accepted."""

    def valid(self, port: int) -> bool:
        """Whether a beat is offered on this output in this cycle."""

    def tick(self, accepted: Sequence[bool], taken: Sequence[bool]) -> None:
        """End the cycle: on which inputs a beat was accepted, on which outputs one was taken."""


class ForkContract:
    """Every beat waits for each of two outputs; neither may keep more than two waiting."""

    def __init__(self) -> None:
        self.waiting = [0, 0]

    def ready(self, port: int) -> bool:
        return max(self.waiting) < 2

    def valid(self, port: int) -> bool:
        return self.waiting[port] > 0

    def tick(self, accepted: Sequence[bool], taken: Sequence[bool]) -> None:
        self.waiting = [count + accepted[0] - gone for count, gone in zip(self.waiting, taken, strict=True)]


class CombineContract:
    """Two inputs hold two beats each; a step uses one of both and needs a slot for its result."""

    def __init__(self, slots: int, latency: int) -> None:
        self.slots, self.latency = slots, latency
        self.cycle = 0
        self.held = [0, 0]
        self.offered_from: deque[int] = deque()

    def ready(self, port: int) -> bool:
        return self.held[port] < 2

    def valid(self, port: int) -> bool:
        return bool(self.offered_from) and self.offered_from[0] <= self.cycle

    def tick(self, accepted: Sequence[bool], taken: Sequence[bool]) -> None:
        step = min(self.held) > 0 and len(self.offered_from) < self.slots
        if taken[0]:
            self.offered_from.popleft()
        if step:
            self.offered_from.append(self.cycle + self.latency)
        self.held = [count + more - step for count, more in zip(self.held, accepted, strict=True)]
        self.cycle += 1


class ConcatenateContract:
    """Runs of a and of b in turn, each beat accepted when it is its turn and fewer than two wait at the output."""

    def __init__(self, a_beats: int, b_beats: int) -> None:
        self.a_beats, self.b_beats = a_beats, b_beats
        self.step = self.waiting = 0

    def ready(self, port: int) -> bool:
        return self.waiting < 2 and port == int(self.step >= self.a_beats)

    def valid(self, port: int) -> bool:
        return self.waiting > 0

    def tick(self, accepted: Sequence[bool], taken: Sequence[bool]) -> None:
        made = accepted[0] or accepted[1]
        self.waiting += made - taken[0]
        self.step = (self.step + made) % (self.a_beats + self.b_beats)


class SliceContract:
    """One input, one output: a beat that is kept needs one of two places at the output, every other is accepted at once.

    kept: for each beat of a frame.
    """

    def __init__(self, kept: Sequence[bool]) -> None:
        self.kept = kept
        self.place = self.waiting = 0

    def ready(self) -> bool:
        return not self.kept[self.place] or self.waiting < 2

    def valid(self) -> bool:
        return self.waiting > 0

    def tick(self, accepted: bool, taken: bool) -> None:
        self.waiting += (accepted and self.kept[self.place]) - taken
        self.place = (self.place + accepted) % len(self.kept)
