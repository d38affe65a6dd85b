# SPDX-License-Identifier: Apache-2.0
"""When the kernels of convolutional networks take and give beats: the windows, window_reduce and pad.

The conventions are those of `timing`; the rules are those in the modules' headers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from toolchain.backends.rtl.streaming.timing import BufferTiming, Queue, StepTiming, pattern_timing

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


def parallel_window_timing(windows: Windows, slots: int) -> StepTiming:
    """parallel_window: a pixel a step; a window leaves behind its last pixel, which waits for one of `slots`."""
    assert windows.pixel_beats == 1
    ends = np.array([windows.first(window) for window in range(windows.positions[0] * windows.positions[1])])
    gives = np.zeros(windows.frame_beats, np.int32)
    gives[ends + windows.offsets[-1]] = 1
    return pattern_timing(np.ones_like(gives), gives, Queue(slots, parallel_window_latency_cycles(slots)))


def parallel_window_latency_cycles(slots: int) -> int:
    """From a window's last pixel to the window's offer."""
    return 4 if slots <= 2 else 5


def sliding_window_timing(windows: Windows, buffer_beats: int) -> BufferTiming:
    """sliding_window: output beats are read one a cycle, each behind its input beat and while fewer than 5 wait.

    An input beat has room when it lies fewer than `buffer_beats` behind the first of the window that is read. It needs
    `buffer_beats` >= windows.least_buffer_beats.
    """
    rows, columns = windows.positions
    firsts = np.array([windows.first(window) for window in range(rows * columns)], np.int32)
    sources = firsts[:, None] + np.array(windows.offsets, np.int32)
    return BufferTiming(
        sources.ravel(),
        np.repeat(firsts, windows.window_beats),
        windows.frame_beats,
        buffer_beats,
        Queue(_WINDOW_SLOTS, _WINDOW_LATENCY_CYCLES),
    )


def window_reduce_timing(taps: int, beats: int) -> StepTiming:
    """The timing of window_reduce for TAPS = `taps` and CHANNELS / PE = `beats`.

    `taps` * `beats` input beats become `beats`, each of them when its beat of the last tap is accepted.
    """
    result = 2 if beats <= 4 else 3
    queue = Queue(slots=result + 3, latency_cycles=result + 2)
    if beats == 1 and taps > 1:
        queue = Queue(slots=1 if taps > result + 1 else 2, latency_cycles=result + 1)
    gives = np.zeros((taps, beats), bool)
    gives[-1] = True
    return pattern_timing(np.ones(taps * beats), gives.ravel(), queue)


def pad_timing(rows: tuple[int, int, int], row_beats: tuple[int, int, int], *, hold: bool = False) -> StepTiming:
    """pad: each output beat is made by itself in the border, else from an input beat, one a cycle.

    rows: of the border above, of the frame, of the border below; row_beats: beats of a row on the left, inside and on the
    right. hold: the border that begins a frame waits until the frame's first beat is there.
    """
    takes = np.zeros((sum(rows), sum(row_beats)), np.int32)
    takes[rows[0] : rows[0] + rows[1], row_beats[0] : row_beats[0] + row_beats[1]] = 1
    if not hold:
        return pattern_timing(takes.ravel(), np.ones(takes.size), Queue(2, 1))
    takes[0, 0] |= 1 << 8
    return StepTiming(takes.ravel(), np.ones(takes.size), (Queue(2, 1),), inputs=(2,))
