# SPDX-License-Identifier: Apache-2.0
"""The exact schedule of a line of streaming kernels: latency, initiation interval, and what its FIFOs hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.backends.rtl.streaming.timing import Timing
from toolchain.errors import UnsupportedModel

#: Beats of all streams together after which the search for the steady state gives up.
_MAXIMUM_BEATS = 20_000_000
#: Longest repetition, in frames, that the search for the steady state knows.
_MAXIMUM_PERIOD_FRAMES = 4


@dataclass(frozen=True)
class SteadyState:
    """From frame `from_frame` on, everything happens again `cycles` later every `frames` frames, for ever."""

    frames: int
    cycles: int
    from_frame: int


class Schedule:
    """The cycles in which beats pass every stream of a line of kernels, with a sink that always takes.

    kernels: from the input to the output. beats: beats a frame on each of the len(kernels) + 1 streams.
    source_interval_cycles: the source offers frame f from cycle f times this on; 0: as fast as the network accepts.
    """

    def __init__(self, kernels: Sequence[Timing], beats: Sequence[int], source_interval_cycles: int = 0) -> None:
        assert len(beats) == len(kernels) + 1
        self._kernels = [timing.start() for timing in kernels]
        self._beats = list(beats)
        self._source_interval = source_interval_cycles
        self._frames = 0
        #: times[s][j]: the cycle in which beat j passes stream s; stream 0 is the network's input.
        self.times: list[list[int]] = [[] for _ in beats]
        # Rules look back over what a kernel can hold, and a matrix-vector unit into the frame before.
        self._look_back = 1 + max(
            (
                -(-timing.capacity_beats // output_beats)
                for timing, output_beats in zip(kernels, beats[1:], strict=True)
            ),
            default=0,
        )

    def extend(self, frames: int) -> None:
        """Compute the first `frames` frames."""
        self._frames = max(self._frames, frames)
        wanted = [beats * self._frames for beats in self._beats]
        last = len(self._kernels)
        progress = True
        while progress:
            progress = False
            for stream in range(last + 1):
                passed = self.times[stream]
                while len(passed) < wanted[stream]:
                    cycle = self._next(stream, len(passed))
                    if cycle is None:
                        break
                    passed.append(cycle)
                    progress = True
        assert all(len(passed) == count for passed, count in zip(self.times, wanted, strict=True)), (
            "the network deadlocks"
        )

    def _next(self, stream: int, beat: int) -> int | None:
        times = self.times
        offered: int | None
        if stream == 0:
            offered = max(times[0][-1] + 1 if beat else 0, beat // self._beats[0] * self._source_interval)
        else:
            offered = self._kernels[stream - 1].offer(beat, times[stream - 1], times[stream])
        if offered is None or stream == len(self._kernels):
            return offered
        ready = self._kernels[stream].ready(beat, times[stream], times[stream + 1])
        return None if ready is None else max(offered, ready)

    def latency_cycles(self) -> int:
        """From the cycle that accepts the first beat of the first frame to the one that gives its last output beat."""
        self.extend(1)
        return self.times[-1][self._beats[-1] - 1] - self.times[0][0]

    def first_output_latency_cycles(self) -> int:
        """The same to its first output beat."""
        self.extend(1)
        return self.times[-1][0] - self.times[0][0]

    def steady_state(self) -> SteadyState:
        """The repetition that the network comes to.

        Times are maxima of earlier times plus constants and look at most `_look_back` frames back: when that many frames
        in a row lie the same distance behind the ones a period before, on every stream, all later ones do, too.
        """
        frames = 2 * (self._look_back + _MAXIMUM_PERIOD_FRAMES)
        while True:
            self.extend(frames)
            for period in range(1, _MAXIMUM_PERIOD_FRAMES + 1):
                cycles = self._repeats(frames, period)
                if cycles is not None:
                    return SteadyState(period, cycles, frames - self._look_back - period)
            if frames * sum(self._beats) > _MAXIMUM_BEATS:
                raise UnsupportedModel(
                    f"the schedule of this network does not repeat within {frames} frames; choose another cycles_per_frame"
                )
            frames += frames // 2

    def _repeats(self, frames: int, period: int) -> int | None:
        """Cycles by which the last `_look_back` frames follow those `period` frames before, if it is one number."""
        shift = self.times[0][(frames - 1) * self._beats[0]] - self.times[0][(frames - 1 - period) * self._beats[0]]
        for passed, beats in zip(self.times, self._beats, strict=True):
            late = passed[(frames - self._look_back) * beats : frames * beats]
            early = passed[(frames - self._look_back - period) * beats : (frames - period) * beats]
            if any(after - before != shift for after, before in zip(late, early, strict=True)):
                return None
        return shift

    def occupancy(self, kernel: int) -> int:
        """The most beats that were inside a one-to-one kernel when another arrived, that one included."""
        accepts, takes = self.times[kernel], self.times[kernel + 1]
        most, left = 0, 0
        for beat, cycle in enumerate(accepts):
            while left < len(takes) and takes[left] < cycle:
                left += 1
            most = max(most, beat + 1 - left)
        return most
