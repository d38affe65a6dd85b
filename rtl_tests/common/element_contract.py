# SPDX-License-Identifier: Apache-2.0
"""Cycle-exact models of the handshakes of upsample, insert_zeros and top_k, from the rules in their headers."""

from __future__ import annotations

from collections import deque

#: The queue behind a reading: output beats read and not taken, and cycles to the offer.
READ_SLOTS, READ_LATENCY = 5, 4


class UpsampleContract:
    """Output beats are read one a cycle as their input beats arrive; a final one gives its input beat up.

    image: rows, columns and beats a pixel. factor: times that a row, and a pixel, is given.
    """

    def __init__(self, image: tuple[int, int, int], factor: tuple[int, int], buffer_beats: int) -> None:
        self.image, self.factor, self.buffer_beats = image, factor, buffer_beats
        self.cycle = self.accepted = self.read = self.given_up = 0
        self.offered_from: deque[int] = deque()

    def _source(self) -> tuple[int, bool]:
        """The input beat that the next output beat is, counted over all frames, and whether that is its final one."""
        _, columns, beats = self.image
        rest, beat = divmod(self.read, beats)
        rest, copy = divmod(rest, self.factor[1])
        rest, x = divmod(rest, columns)
        line, row_copy = divmod(rest, self.factor[0])
        final = (row_copy, copy) == (self.factor[0] - 1, self.factor[1] - 1)
        return (line * columns + x) * beats + beat, final

    def ready(self) -> bool:
        return self.accepted - self.given_up < self.buffer_beats

    def valid(self) -> bool:
        return bool(self.offered_from) and self.offered_from[0] <= self.cycle

    def tick(self, accepted: bool, taken: bool) -> None:
        source, final = self._source()
        reads = source < self.accepted and len(self.offered_from) < READ_SLOTS
        if taken:
            self.offered_from.popleft()
        if reads:
            self.offered_from.append(self.cycle + READ_LATENCY)
            self.read += 1
            self.given_up += final
        self.accepted += accepted
        self.cycle += 1


class InsertZerosContract:
    """Every step makes an output beat: of a zero pixel by itself, else from an input beat; two wait at most."""

    def __init__(self, image: tuple[int, int, int], factor: tuple[int, int]) -> None:
        self.image, self.factor = image, factor
        self.step = self.waiting = 0

    def _size(self) -> tuple[int, int]:
        return (self.image[0] - 1) * self.factor[0] + 1, (self.image[1] - 1) * self.factor[1] + 1

    def _zero(self) -> bool:
        y, x = divmod(self.step // self.image[2], self._size()[1])
        return y % self.factor[0] > 0 or x % self.factor[1] > 0

    def ready(self) -> bool:
        return self.waiting < 2 and not self._zero()

    def valid(self) -> bool:
        return self.waiting > 0

    def tick(self, accepted: bool, taken: bool) -> None:
        made = accepted or (self.waiting < 2 and self._zero())
        self.waiting += made - taken
        rows, columns = self._size()
        self.step = (self.step + made) % (rows * columns * self.image[2])


class TopKContract:
    """`k` output beats of a frame are read, one a cycle, once its last input beat was accepted."""

    def __init__(self, channels: int, k: int) -> None:
        self.channels, self.k = channels, k
        self.cycle = self.accepted = self.read = 0
        self.offered_from: deque[int] = deque()

    def ready(self) -> bool:
        frame, index = divmod(self.read, self.k)
        up_to = (frame + 2) * self.channels - 1  # the last beat of the next frame
        return self.accepted < up_to or (self.accepted == up_to and index == self.k - 1)

    def valid(self) -> bool:
        return bool(self.offered_from) and self.offered_from[0] <= self.cycle

    def tick(self, accepted: bool, taken: bool) -> None:
        frame = self.read // self.k
        reads = self.accepted >= (frame + 1) * self.channels and len(self.offered_from) < READ_SLOTS
        if taken:
            self.offered_from.popleft()
        if reads:
            self.offered_from.append(self.cycle + READ_LATENCY)
            self.read += 1
        self.accepted += accepted
        self.cycle += 1
