# SPDX-License-Identifier: Apache-2.0
"""Cycle-exact models of the kernels' handshakes, written from the rules in the modules' headers.

A contract answers, for the current cycle, whether s_axis_tready and m_axis_tvalid are high (both are functions of earlier
cycles only), and is told at the end of the cycle what was accepted and taken.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Contract(Protocol):
    def ready(self) -> bool:
        """Whether an input beat offered in this cycle is accepted."""

    def valid(self) -> bool:
        """Whether an output beat is offered in this cycle."""

    def tick(self, accepted: bool, taken: bool) -> None:
        """End the cycle, in which an input beat was accepted, an output beat taken, or both."""


class QueueContract:
    """A beat accepted in cycle t is offered from t + latency, in order; at most `capacity` beats are inside."""

    def __init__(self, latency: int, capacity: int) -> None:
        self.latency, self.capacity = latency, capacity
        self.cycle = 0
        self.offered_from: deque[int] = deque()

    def ready(self) -> bool:
        return len(self.offered_from) < self.capacity

    def valid(self) -> bool:
        return bool(self.offered_from) and self.offered_from[0] <= self.cycle

    def tick(self, accepted: bool, taken: bool) -> None:
        if taken:
            self.offered_from.popleft()
        if accepted:
            self.offered_from.append(self.cycle + self.latency)
        self.cycle += 1


class FoldedContract:
    """Steps of a folded kernel: `beats` steps make a group, `groups` groups a frame, a group makes one output beat.

    The first group's steps accept the frame's input beats; the others follow by themselves, one a cycle. The last step of
    a group waits while `slots` groups are done and not taken. A group is offered `latency` cycles after its last step.
    """

    def __init__(self, beats: int, groups: int, latency: int, slots: int) -> None:
        self.beats, self.groups, self.latency, self.slots = beats, groups, latency, slots
        self.cycle = 0
        self.step = 0
        self.offered_from: deque[int] = deque()

    def _closing(self) -> bool:
        return self.step % self.beats == self.beats - 1

    def _unblocked(self) -> bool:
        return not self._closing() or len(self.offered_from) < self.slots

    def ready(self) -> bool:
        return self.step < self.beats and self._unblocked()

    def valid(self) -> bool:
        return bool(self.offered_from) and self.offered_from[0] <= self.cycle

    def tick(self, accepted: bool, taken: bool) -> None:
        step_done = accepted if self.step < self.beats else self._unblocked()
        closed = step_done and self._closing()
        if taken:
            self.offered_from.popleft()
        if closed:
            self.offered_from.append(self.cycle + self.latency)
        if step_done:
            self.step = (self.step + 1) % (self.beats * self.groups)
        self.cycle += 1


class WidenContract:
    """`factor` input beats make one output beat; the last of them waits until the output beat before was taken."""

    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.kept = 0
        self.full = False

    def ready(self) -> bool:
        return self.kept < self.factor - 1 or not self.full

    def valid(self) -> bool:
        return self.full

    def tick(self, accepted: bool, taken: bool) -> None:
        if taken:
            self.full = False
        if accepted:
            self.kept += 1
            if self.kept == self.factor:
                self.kept, self.full = 0, True


class NarrowContract:
    """One input beat makes `factor` output beats; another input beat waits inside meanwhile."""

    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.waiting = False
        self.parts = 0

    def ready(self) -> bool:
        return not self.waiting

    def valid(self) -> bool:
        return self.parts > 0

    def tick(self, accepted: bool, taken: bool) -> None:
        if taken:
            self.parts -= 1
        if self.waiting and self.parts == 0:
            self.waiting, self.parts = False, self.factor
        elif accepted:
            self.waiting = True


class ChainContract:
    """Two kernels, the output of the first being the input of the second."""

    def __init__(self, first: Contract, second: Contract) -> None:
        self.first, self.second = first, second

    def ready(self) -> bool:
        return self.first.ready()

    def valid(self) -> bool:
        return self.second.valid()

    def tick(self, accepted: bool, taken: bool) -> None:
        passed_on = self.first.valid() and self.second.ready()
        self.first.tick(accepted, passed_on)
        self.second.tick(passed_on, taken)
