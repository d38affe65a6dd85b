# SPDX-License-Identifier: Apache-2.0
"""When the kernels of convolutional networks take and give beats: sliding_window, window_reduce and pad.

The conventions are those of `timing`; the rules are those in the modules' headers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from toolchain.backends.rtl.streaming.timing import Behaviour

#: Output beats of sliding_window that may be read and not taken, and cycles from the reading of one to its offer.
_WINDOW_SLOTS = 5
_WINDOW_LATENCY_CYCLES = 4


@dataclass(frozen=True)
class Windows:
    """The windows of a kernel on a frame of height x width pixels of `pixel_beats` beats each; pairs are (rows, columns).

    Beats and windows are counted over all frames. The kernel has to fit on the frame.
    """

    height: int
    width: int
    pixel_beats: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    @property
    def frame_beats(self) -> int:
        """Input beats a frame."""
        return self.height * self.width * self.pixel_beats

    @property
    def positions(self) -> tuple[int, int]:
        """Windows in a column and in a row."""
        rows, columns = (
            (size - (taps - 1) * dilation - 1) // stride + 1
            for size, taps, stride, dilation in zip(
                (self.height, self.width), self.kernel, self.stride, self.dilation, strict=True
            )
        )
        return rows, columns

    @property
    def window_beats(self) -> int:
        return self.kernel[0] * self.kernel[1] * self.pixel_beats

    @property
    def output_beats(self) -> int:
        """Output beats a frame."""
        return self.positions[0] * self.positions[1] * self.window_beats

    @property
    def least_buffer_beats(self) -> int:
        """The least that sliding_window's buffer may hold: the beats from the first to the last of a window."""
        return self.offsets[-1] + 1

    @cached_property
    def offsets(self) -> list[int]:
        """Distances of a window's beats, in their order, from its first."""
        down, right = self.dilation
        return [
            (row * down * self.width + column * right) * self.pixel_beats + beat
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
            for beat in range(self.pixel_beats)
        ]

    def first(self, window: int) -> int:
        """The first input beat of a window."""
        rows, columns = self.positions
        line, x = divmod(window, columns)
        frame, y = divmod(line, rows)
        return frame * self.frame_beats + (y * self.stride[0] * self.width + x * self.stride[1]) * self.pixel_beats

    def source(self, output_beat: int) -> int:
        """The input beat that an output beat is."""
        window, beat = divmod(output_beat, self.window_beats)
        return self.first(window) + self.offsets[beat]


def sliding_window_beats(windows: Windows) -> int:
    """The smallest BUFFER_BEATS with which sliding_window never slows a stream down: max(input, output beats) a frame.

    Where the output has more beats, each is read in the cycle after the one before, for ever; then every input beat has a
    last cycle in which it may come (one before its reading, and one before the input beat behind it), and the buffer has
    to have room for it by then. Where the input has more beats, one is accepted in every cycle, each output beat is read
    as early as it can, and the buffer has to have room for every beat when it comes.
    """
    # What a beat waits for, or has to be early for, lies in its own frame or in one beside it: of four frames the third
    # is like every later one. The beats of a pixel follow each other on both sides, so its first stands for all.
    frame, pixel, frames = windows.frame_beats, windows.pixel_beats, 4
    firsts = np.array([windows.first(window) for window in range(frames * windows.positions[0] * windows.positions[1])])
    sources = (firsts[:, None] + np.array(windows.offsets[::pixel])).ravel()
    lead = np.arange(len(sources)) * pixel - 1 - sources  # cycles that a source comes early if both sides never wait
    beats = np.arange(2 * frame, 3 * frame)
    if windows.output_beats >= frame:
        slack = np.full(frames * frame // pixel, windows.output_beats * frames)
        np.minimum.at(slack, sources // pixel, lead)
        latest = np.minimum.accumulate(slack[::-1])[::-1]
        current = (beats + latest[beats // pixel]) // windows.window_beats
    else:
        taps = windows.kernel[0] * windows.kernel[1]
        late = np.maximum.accumulate(-lead)[taps - 1 :: taps]
        ends = (np.arange(len(firsts)) + 1) * windows.window_beats - 1 + late
        current = np.searchsorted(ends, beats, side="left")
    needed = int((beats - firsts[current]).max()) + 1
    return max(windows.least_buffer_beats, needed)


@dataclass(frozen=True)
class SlidingWindowTiming:
    """sliding_window: output beats are read one a cycle, each behind its input beat and while 5 or fewer wait.

    An input beat has room when it lies fewer than `buffer_beats` behind the first of the window that is read. It needs
    `buffer_beats` >= windows.least_buffer_beats.
    """

    windows: Windows
    buffer_beats: int

    @property
    def capacity_beats(self) -> int:
        # An input beat looks back to the window whose end made room for it.
        return (self.buffer_beats // self.windows.frame_beats + 2) * self.windows.output_beats + _WINDOW_SLOTS

    def start(self) -> Behaviour:
        return _SlidingWindow(self)


class _SlidingWindow:
    def __init__(self, timing: SlidingWindowTiming) -> None:
        self._windows = timing.windows
        self._buffer_beats = timing.buffer_beats
        self._reads: list[int] = []  # cycle in which each output beat is read
        self._window = 0  # the first window that leaves room for the input beat asked for last

    def _read(self, output_beat: int, accepts: list[int], takes: list[int]) -> int | None:
        known = self._reads
        while len(known) <= output_beat:
            number = len(known)
            source = self._windows.source(number)
            if source >= len(accepts) or number - _WINDOW_SLOTS >= len(takes):
                return None
            cycle = accepts[source] + 1
            if number:
                cycle = max(cycle, known[-1] + 1)
            if number >= _WINDOW_SLOTS:
                cycle = max(cycle, takes[number - _WINDOW_SLOTS] + 1)
            known.append(cycle)
        return known[output_beat]

    def ready(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        earliest = accepts[beat - 1] + 1 if beat else 0
        while beat >= self._windows.first(self._window) + self._buffer_beats:
            self._window += 1
        if self._window == 0:
            return earliest
        end = self._read(self._window * self._windows.window_beats - 1, accepts, takes)
        return None if end is None else max(earliest, end + 1)

    def offer(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        read = self._read(beat, accepts, takes)
        if read is None:
            return None
        earliest = read + _WINDOW_LATENCY_CYCLES
        return max(earliest, takes[beat - 1] + 1) if beat else earliest


@dataclass(frozen=True)
class WindowReduceTiming:
    """window_reduce: `taps` * `beats` input beats become `beats`, each of them when its beat of the last tap is accepted.

    Such a beat waits until fewer than `slots` before it are still to be taken; its result is offered `latency_cycles`
    later, or in the cycle after the one before was taken if that is later.
    """

    taps: int
    beats: int
    slots: int
    latency_cycles: int

    @property
    def capacity_beats(self) -> int:
        return self.slots

    def start(self) -> Behaviour:
        return self

    def ready(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        earliest = accepts[beat - 1] + 1 if beat else 0
        group, position = divmod(beat, self.taps * self.beats)
        output = group * self.beats + position - (self.taps - 1) * self.beats
        if position < (self.taps - 1) * self.beats or output < self.slots:
            return earliest
        leaving = output - self.slots
        return max(earliest, takes[leaving] + 1) if leaving < len(takes) else None

    def offer(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        group, position = divmod(beat, self.beats)
        closing = (group * self.taps + self.taps - 1) * self.beats + position
        if closing >= len(accepts):
            return None
        earliest = accepts[closing] + self.latency_cycles
        return max(earliest, takes[beat - 1] + 1) if beat else earliest


def window_reduce_timing(taps: int, beats: int) -> WindowReduceTiming:
    """The timing of window_reduce for TAPS = `taps` and CHANNELS / PE = `beats`."""
    result = 2 if beats <= 4 else 3
    if beats > 1 or taps == 1:
        return WindowReduceTiming(taps, beats, slots=result + 3, latency_cycles=result + 2)
    return WindowReduceTiming(taps, beats, slots=1 if taps > result + 1 else 2, latency_cycles=result + 1)


@dataclass(frozen=True)
class PadTiming:
    """pad: each output beat is made by itself in the border, else from an input beat, one a cycle.

    It waits until fewer than 2 beats made before are still to be taken, and is offered in the cycle after, or in the cycle
    after the one before was taken if that is later. rows: of the border above, of the frame, of the border below; row_beats:
    beats of a row on the left, inside and on the right.
    """

    rows: tuple[int, int, int]
    row_beats: tuple[int, int, int]

    @property
    def capacity_beats(self) -> int:
        # An input beat looks back over the border before it.
        return sum(self.rows) * sum(self.row_beats) + 2

    def start(self) -> Behaviour:
        return _Pad(self)


class _Pad:
    def __init__(self, timing: PadTiming) -> None:
        self._rows, self._row_beats = timing.rows, timing.row_beats
        self._steps: list[int] = []  # cycle in which each output beat is made

    def _output(self, beat: int) -> int:
        """The output beat that an input beat becomes."""
        row, position = divmod(beat, self._row_beats[1])
        frame, y = divmod(row, self._rows[1])
        line = frame * sum(self._rows) + self._rows[0] + y
        return line * sum(self._row_beats) + self._row_beats[0] + position

    def _input(self, output: int) -> int | None:
        """The input beat that an output beat is made from, None in the border."""
        line, position = divmod(output, sum(self._row_beats))
        frame, y = divmod(line, sum(self._rows))
        y, position = y - self._rows[0], position - self._row_beats[0]
        if 0 <= y < self._rows[1] and 0 <= position < self._row_beats[1]:
            return (frame * self._rows[1] + y) * self._row_beats[1] + position
        return None

    def _earliest(self, output: int, takes: list[int]) -> int | None:
        """The first cycle in which an output beat can be made if its input beat is there; the one before it is made."""
        cycle = self._steps[output - 1] + 1 if output else 0
        if output < 2:
            return cycle
        return max(cycle, takes[output - 2] + 1) if output - 2 < len(takes) else None

    def _made(self, output: int, accepts: list[int], takes: list[int]) -> bool:
        """Work out when all output beats up to this one are made, as far as that is decided."""
        while len(self._steps) <= output:
            number = len(self._steps)
            source = self._input(number)
            if source is not None:
                if source >= len(accepts):
                    return False
                self._steps.append(accepts[source])
                continue
            cycle = self._earliest(number, takes)
            if cycle is None:
                return False
            self._steps.append(cycle)
        return True

    def ready(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        output = self._output(beat)
        if output and not self._made(output - 1, accepts, takes):
            return None
        return self._earliest(output, takes)

    def offer(self, beat: int, accepts: list[int], takes: list[int]) -> int | None:
        if not self._made(beat, accepts, takes):
            return None
        earliest = self._steps[beat] + 1
        return max(earliest, takes[beat - 1] + 1) if beat else earliest
