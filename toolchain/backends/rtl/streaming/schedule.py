# SPDX-License-Identifier: Apache-2.0
"""The exact schedule of connected streaming kernels: latency, initiation interval, and what their FIFOs hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.backends.rtl.streaming.circuit_state import CircuitState
from toolchain.backends.rtl.streaming.timing import BufferTiming, Circuit
from toolchain.errors import UnsupportedModel

#: Beats of all streams together after which the search for the steady state gives up.
_MAXIMUM_BEATS = 400_000_000
#: Longest repetition, in frames, that the search for the steady state knows.
_MAXIMUM_PERIOD_FRAMES = 16


class Deadlock(AssertionError):
    """No beat can pass any more: a memory is too small for what has to wait in it."""


@dataclass(frozen=True)
class SteadyState:
    """From frame `from_frame` on, everything happens again `cycles` later every `frames` frames, for ever."""

    frames: int
    cycles: int
    from_frame: int


class Schedule:
    """The cycles in which beats pass every stream of a circuit, with a sink that always takes.

    source_interval_cycles: the source offers frame f from cycle f times this on, its beats at once or spread `even`ly over the
    interval; 0: as fast as the network accepts.
    stream_names: what a message about a deadlock calls the links.
    """

    def __init__(
        self,
        circuit: Circuit,
        source_interval_cycles: int = 0,
        even: bool = False,
        stream_names: Sequence[str] | None = None,
    ) -> None:
        self._circuit = circuit
        self._state = CircuitState(circuit, source_interval_cycles, even)
        self._names = stream_names
        self._frames = 0
        # Rules look back over what a kernel can hold, and a matrix-vector unit into the frame before.
        self._look_back = 1 + max(
            (
                -(-circuit.kernels[link.writer[0]].reach_beats(link.writer[1]) // link.beats)
                for link in circuit.links
                if link.writer is not None
            ),
            default=0,
        )

    def times(self, stream: int) -> np.ndarray:
        """The cycles in which the beats computed so far pass a stream."""
        return self._state.passed(stream)

    def extend(self, frames: int) -> None:
        """Compute the first `frames` frames."""
        if frames <= self._frames:
            return
        self._frames = frames
        self._state.run(frames)
        stuck = [
            number
            for number, link in enumerate(self._circuit.links)
            if len(self._state.passed(number)) < link.beats * frames
        ]
        if stuck:
            names = [self._names[number] if self._names else str(number) for number in stuck]
            raise Deadlock(f"the network deadlocks: no beat passes {', '.join(names)} any more")

    def beats_ahead(self) -> list[int]:
        """Beats that pass each link before any input beat is there: borders that begin a frame by themselves."""
        state = CircuitState(self._circuit)
        state.run(1, source_frames=0)
        return [len(state.passed(number)) for number in range(len(self._circuit.links))]

    def latency_cycles(self) -> int:
        """From the cycle that accepts the first beat of the first frame to the one that gives its last output beat."""
        self.extend(1)
        return int(self.times(-1)[self._circuit.links[-1].beats - 1] - self.times(0)[0])

    def first_output_latency_cycles(self) -> int:
        """The same to its first output beat."""
        self.extend(1)
        return int(self.times(-1)[0] - self.times(0)[0])

    def steady_state(self) -> SteadyState:
        """The repetition that the network comes to.

        Times are maxima of earlier times plus constants and look at most `_look_back` frames back: when that many frames
        in a row lie the same distance behind the ones a period before, on every stream, all later ones do, too.
        """
        frames = self._look_back + 2
        total = sum(link.beats for link in self._circuit.links)
        while True:
            self.extend(frames)
            for period in range(1, _MAXIMUM_PERIOD_FRAMES + 1):
                cycles = self._repeats(frames, period)
                if cycles is not None:
                    return SteadyState(period, cycles, frames - self._look_back - period)
            if frames * total > _MAXIMUM_BEATS:
                raise UnsupportedModel(
                    f"the schedule of this network does not repeat within {frames} frames; choose another cycles_per_frame"
                )
            frames += max(2, frames // 2)

    def _repeats(self, frames: int, period: int) -> int | None:
        """Cycles by which the last `_look_back` frames follow those `period` frames before, if it is one number."""
        first = frames - self._look_back
        if first < period:
            return None
        beats = self._circuit.links[0].beats
        start = self.times(0)
        shift = int(start[(frames - 1) * beats] - start[(frames - 1 - period) * beats])
        for stream, link in enumerate(self._circuit.links):
            passed = self.times(stream)
            late = passed[first * link.beats : frames * link.beats]
            early = passed[(first - period) * link.beats : (frames - period) * link.beats]
            if (late - early != shift).any():
                return None
        return shift

    def sustains(self, interval_cycles: int) -> bool:
        """Whether frames keep coming every `interval_cycles`, for a source that offers them so."""
        try:
            state = self.steady_state()
        except Deadlock:
            return False
        return state.cycles == interval_cycles * state.frames

    def seems_to_sustain(self, interval_cycles: int, frames: int) -> bool:
        """Whether the last of so many frames follows the one before at that interval on every stream: quick, and no proof."""
        try:
            self.extend(frames)
        except Deadlock:
            return False
        return all(
            (np.diff(self.times(stream)[(frames - 2) * link.beats :].reshape(2, -1), axis=0) == interval_cycles).all()
            for stream, link in enumerate(self._circuit.links)
        )

    def occupancy(self, kernel: int) -> int:
        """The most beats that a kernel of one input and one output had made and not given away, when it made another.

        Of a kernel with a buffer: the most beats between one that arrived and the oldest still kept, both included.
        """
        links = list(enumerate(self._circuit.links))
        (accepts,) = (self.times(number) for number, link in links if link.reader == (kernel, 0))
        (written,) = (number for number, link in links if link.writer == (kernel, 0))
        timing = self._circuit.kernels[kernel]
        if isinstance(timing, BufferTiming):
            reads = self._state.made(written)
            done = np.searchsorted(reads, accepts, side="left")  # output beats read in earlier cycles
            frame, place = np.divmod(done, len(timing.sources))
            kept = frame * timing.input_beats + timing.keeps[place]
            return int((np.arange(len(accepts)) - kept).max()) + 1
        takes, made = self.times(written), self._state.made(written)
        return int((np.arange(len(made)) + 1 - np.searchsorted(takes, made, side="left")).max())
