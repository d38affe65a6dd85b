# SPDX-License-Identifier: Apache-2.0
"""Cycle-exact models of the handshakes of sliding_window, window_reduce and pad, from the rules in their headers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """A frame of height x width pixels of `beats` beats, and a kernel over it; pairs are (rows, columns)."""

    height: int
    width: int
    beats: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    @property
    def frame(self) -> int:
        return self.height * self.width * self.beats

    @property
    def positions(self) -> tuple[int, int]:
        over = [(k - 1) * d for k, d in zip(self.kernel, self.dilation, strict=True)]
        return (self.height - over[0] - 1) // self.stride[0] + 1, (self.width - over[1] - 1) // self.stride[1] + 1

    @property
    def window_beats(self) -> int:
        return self.kernel[0] * self.kernel[1] * self.beats

    @property
    def span(self) -> int:
        """Beats from the first to the last of a window: the least that a buffer may hold."""
        (rows, columns), (down, right) = self.kernel, self.dilation
        return ((rows - 1) * down * self.width + (columns - 1) * right + 1) * self.beats

    def first(self, window: int) -> int:
        """Input beat, counted over all frames, that is the first of a window, counted over all frames."""
        line, x = divmod(window, self.positions[1])
        f, y = divmod(line, self.positions[0])
        return f * self.frame + (y * self.stride[0] * self.width + x * self.stride[1]) * self.beats

    def source(self, k: int) -> int:
        window, beat = divmod(k, self.window_beats)
        tap, c = divmod(beat, self.beats)
        r, s = divmod(tap, self.kernel[1])
        return self.first(window) + (r * self.dilation[0] * self.width + s * self.dilation[1]) * self.beats + c


class SlidingWindowContract:
    """Output beats are read one a cycle as their input beats arrive; a window's beats are given up at its end."""

    def __init__(self, geometry: Geometry, buffer_beats: int) -> None:
        self.geometry, self.buffer_beats = geometry, buffer_beats
        self.slots, self.latency = 5, 4
        self.cycle = self.accepted = self.read = 0
        self.offered_from: deque[int] = deque()

    def ready(self) -> bool:
        window = self.read // self.geometry.window_beats
        return self.accepted < self.buffer_beats + self.geometry.first(window)

    def valid(self) -> bool:
        return bool(self.offered_from) and self.offered_from[0] <= self.cycle

    def tick(self, accepted: bool, taken: bool) -> None:
        reads = self.geometry.source(self.read) < self.accepted and len(self.offered_from) < self.slots
        if taken:
            self.offered_from.popleft()
        if reads:
            self.offered_from.append(self.cycle + self.latency)
            self.read += 1
        self.accepted += accepted
        self.cycle += 1


class ReduceContract:
    """Groups of taps * beats input beats; each beat of the last tap makes an output beat, and needs a slot for it."""

    def __init__(self, taps: int, beats: int, slots: int, latency: int) -> None:
        self.taps, self.beats, self.slots, self.latency = taps, beats, slots, latency
        self.cycle = self.step = 0
        self.offered_from: deque[int] = deque()

    def _last_tap(self) -> bool:
        return self.step // self.beats == self.taps - 1

    def ready(self) -> bool:
        return not self._last_tap() or len(self.offered_from) < self.slots

    def valid(self) -> bool:
        return bool(self.offered_from) and self.offered_from[0] <= self.cycle

    def tick(self, accepted: bool, taken: bool) -> None:
        if taken:
            self.offered_from.popleft()
        if accepted:
            if self._last_tap():
                self.offered_from.append(self.cycle + self.latency)
            self.step = (self.step + 1) % (self.taps * self.beats)
        self.cycle += 1


class PadContract:
    """Every step makes an output beat: of the border by itself, else from an input beat; two wait at most.

    beats: of a row and of its left border, inner part and right border; rows likewise. hold: two input beats can be held,
    and the first step of a frame needs one.
    """

    def __init__(self, rows: tuple[int, int, int], beats: tuple[int, int, int], hold: bool = False) -> None:
        self.rows, self.beats, self.hold = rows, beats, hold
        self.step = self.waiting = self.held = 0

    def _border(self) -> bool:
        row, beat = divmod(self.step, sum(self.beats))
        return not (0 <= row - self.rows[0] < self.rows[1] and 0 <= beat - self.beats[0] < self.beats[1])

    def ready(self) -> bool:
        return self.held < 2 if self.hold else self.waiting < 2 and not self._border()

    def valid(self) -> bool:
        return self.waiting > 0

    def tick(self, accepted: bool, taken: bool) -> None:
        border, room = self._border(), self.waiting < 2
        if self.hold:
            made = room and (self.held > 0 or (border and self.step > 0))
            self.held += accepted - (made and not border)
        else:
            made = accepted or (room and border)
        self.waiting += made - taken
        self.step = (self.step + made) % (sum(self.rows) * sum(self.beats))


class ParallelWindowContract:
    """One input pixel a step; a window is offered `latency` cycles after its last pixel, which waits for one of `slots`."""

    def __init__(self, geometry: Geometry, slots: int) -> None:
        assert geometry.beats == 1
        self.slots, self.latency = slots, 4 if slots <= 2 else 5
        windows = range(geometry.positions[0] * geometry.positions[1])
        self.ends = {geometry.source((w + 1) * geometry.window_beats - 1) for w in windows}
        self.frame = geometry.frame
        self.cycle = self.step = 0
        self.offered_from: deque[int] = deque()

    def ready(self) -> bool:
        return self.step not in self.ends or len(self.offered_from) < self.slots

    def valid(self) -> bool:
        return bool(self.offered_from) and self.offered_from[0] <= self.cycle

    def tick(self, accepted: bool, taken: bool) -> None:
        if taken:
            self.offered_from.popleft()
        if accepted:
            if self.step in self.ends:
                self.offered_from.append(self.cycle + self.latency)
            self.step = (self.step + 1) % self.frame
        self.cycle += 1
