# SPDX-License-Identifier: Apache-2.0
"""A circuit of kernels in motion: the cycle in which each beat passes each stream, beat by beat, compiled.

Nothing here knows cycles that go by: every time follows from earlier ones, so streams advance as far as they are decided, in
turns, until all have the frames that are wanted. Compiled by Numba where it is installed; the same program runs without.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.backends.rtl.streaming.timing import MOST_PORTS, Circuit, NarrowTiming, StepTiming

try:
    from numba import njit
except ImportError:  # the extra 'rtl' brings it

    def njit(**_: Any) -> Any:  # type: ignore[no-redef]
        return lambda function: function


#: How the program is compiled. Numba would count references to every array around every beat (numba/numba#2350), many times the
#: work itself; without (`_nrt`) nothing compiled may make an array.
_COMPILED: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}

_STEP, _BUFFER, _NARROW = 0, 1, 2
#: Columns of a kernel's constants. _DIRECT: the inputs that hold no beats, as bits.
_KIND, _PERIOD, _FIRST, _SECOND, _INPUT_BEATS, _BUFFER_BEATS, _INPUTS, _OUTPUTS, _GAPS, _DIRECT = range(10)
#: Columns of a kernel's state. _PLACE: in its pattern; _LAST: the cycle of its last step, read or move; _COUNT: beats moved on by
#: a converter; _BASE: the first input beat of the frame that is read from a buffer; _ROOM...: see `_ready`.
_PLACE, _LAST, _COUNT, _BASE, _ROOM, _ROOM_PLACE, _ROOM_BASE = range(7)
_NEVER = -1  # not decided yet


@njit(inline="always", **_COMPILED)
def _slot(made: int, slots: int, stream: int, offset: Any, passed: Any, times: Any) -> int:
    """The first cycle in which a queue has room for beat number `made`, or _NEVER while that is not decided."""
    if made < slots:
        return 0
    if made - slots >= passed[stream]:
        return _NEVER
    return times[offset[stream] + made - slots] + 1


@njit(inline="always", **_COMPILED)
def _step_from(
    k: int,
    kernel: Any,
    ports: Any,
    queues: Any,
    state: Any,
    counts: Any,
    pattern: Any,
    offset: Any,
    passed: Any,
    times: Any,
) -> tuple[int, int]:
    """(first cycle for the next step as far as queues and held beats go or _NEVER, the input that has to offer a beat or -1)."""
    place = state[k, _PLACE]
    consumes = pattern[kernel[k, _FIRST] + place]
    produces = pattern[kernel[k, _SECOND] + place]
    cycle = state[k, _LAST] + 1 + pattern[kernel[k, _GAPS] + place]
    for port in range(kernel[k, _OUTPUTS]):
        if produces >> port & 1:
            free = _slot(counts[k, 1, port], queues[k, 1, port], ports[k, 1, port], offset, passed, times)
            if free == _NEVER:
                return _NEVER, -1
            cycle = max(cycle, free)
    direct = -1
    for port in range(kernel[k, _INPUTS]):
        if (consumes | consumes >> 8) >> port & 1:
            stream = ports[k, 0, port]
            if queues[k, 0, port] == 0:
                direct = port
            elif counts[k, 0, port] >= passed[stream]:
                return _NEVER, -1
            else:
                cycle = max(cycle, times[offset[stream] + counts[k, 0, port]] + 1)
    return cycle, direct


@njit(inline="always", **_COMPILED)
def _do_step(
    k: int,
    cycle: int,
    kernel: Any,
    ports: Any,
    state: Any,
    counts: Any,
    used: Any,
    pattern: Any,
    offset: Any,
    made: Any,
) -> None:
    place = state[k, _PLACE]
    consumes = pattern[kernel[k, _FIRST] + place]
    produces = pattern[kernel[k, _SECOND] + place]
    for port in range(kernel[k, _INPUTS]):
        if consumes >> port & 1:
            used[offset[ports[k, 0, port]] + counts[k, 0, port]] = cycle
            counts[k, 0, port] += 1
    for port in range(kernel[k, _OUTPUTS]):
        if produces >> port & 1:
            made[offset[ports[k, 1, port]] + counts[k, 1, port]] = cycle
            counts[k, 1, port] += 1
    state[k, _LAST] = cycle
    state[k, _PLACE] = place + 1 if place + 1 < kernel[k, _PERIOD] else 0


@njit(inline="always", **_COMPILED)
def _advance(
    k: int,
    limit: Any,
    kernel: Any,
    ports: Any,
    queues: Any,
    state: Any,
    counts: Any,
    used: Any,
    pattern: Any,
    offset: Any,
    passed: Any,
    times: Any,
    made: Any,
) -> None:
    """Everything that the kernel does by itself, as far as it is decided and arrays have room."""
    kind = kernel[k, _KIND]
    output = ports[k, 1, 0]
    source_stream = ports[k, 0, 0]
    if kind == _STEP:
        while True:
            place = state[k, _PLACE]
            if pattern[kernel[k, _FIRST] + place] & kernel[k, _DIRECT]:
                return
            produces = pattern[kernel[k, _SECOND] + place]
            for port in range(kernel[k, _OUTPUTS]):
                if produces >> port & 1 and counts[k, 1, port] >= limit[ports[k, 1, port]]:
                    return
            cycle, direct = _step_from(k, kernel, ports, queues, state, counts, pattern, offset, passed, times)
            if cycle == _NEVER or direct >= 0:
                return
            _do_step(k, cycle, kernel, ports, state, counts, used, pattern, offset, made)
    elif kind == _BUFFER:
        period = kernel[k, _PERIOD]
        while counts[k, 1, 0] < limit[output]:
            number, place = counts[k, 1, 0], state[k, _PLACE]
            source = state[k, _BASE] + pattern[kernel[k, _FIRST] + place]
            if source >= passed[source_stream]:
                return
            free = _slot(number, queues[k, 1, 0], output, offset, passed, times)
            if free == _NEVER:
                return
            cycle = max(state[k, _LAST] + 1, times[offset[source_stream] + source] + 1, free)
            made[offset[output] + number] = cycle
            counts[k, 1, 0] = number + 1
            state[k, _LAST] = cycle
            if place + 1 == period:
                state[k, _PLACE] = 0
                state[k, _BASE] += kernel[k, _INPUT_BEATS]
            else:
                state[k, _PLACE] = place + 1
    else:
        factor = kernel[k, _PERIOD]
        moved = state[k, _COUNT]
        while moved < passed[source_stream]:
            if moved == 0:
                cycle = times[offset[source_stream]] + 1
            elif passed[output] >= moved * factor:
                cycle = max(times[offset[source_stream] + moved] + 1, times[offset[output] + moved * factor - 1])
            else:
                return
            state[k, _LAST] = cycle
            moved += 1
            state[k, _COUNT] = moved


@njit(inline="always", **_COMPILED)
def _ready(
    k: int,
    port: int,
    kernel: Any,
    ports: Any,
    queues: Any,
    state: Any,
    counts: Any,
    used: Any,
    pattern: Any,
    offset: Any,
    passed: Any,
    times: Any,
    made: Any,
) -> int:
    """The first cycle in which an advanced kernel can accept its next beat on an input, or _NEVER."""
    stream = ports[k, 0, port]
    beat = passed[stream]
    earliest = times[offset[stream] + beat - 1] + 1 if beat else 0
    kind = kernel[k, _KIND]
    if kind == _STEP:
        depth = queues[k, 0, port]
        if depth == 0:
            cycle, direct = _step_from(k, kernel, ports, queues, state, counts, pattern, offset, passed, times)
            return cycle if direct == port else _NEVER
        if beat < depth:
            return earliest
        if beat - depth >= counts[k, 0, port]:
            return _NEVER
        return max(earliest, used[offset[stream] + beat - depth] + 1)
    if kind == _BUFFER:
        # _ROOM: the first output beat that keeps so little that the input beat has room; its place and its frame's first beat.
        room = state[k, _ROOM]
        place, base = state[k, _ROOM_PLACE], state[k, _ROOM_BASE]
        while beat >= kernel[k, _BUFFER_BEATS] + base + pattern[kernel[k, _SECOND] + place]:
            room += 1
            place += 1
            if place == kernel[k, _PERIOD]:
                place = 0
                base += kernel[k, _INPUT_BEATS]
        state[k, _ROOM], state[k, _ROOM_PLACE], state[k, _ROOM_BASE] = room, place, base
        if room == 0:
            return earliest
        if room > counts[k, 1, 0]:
            return _NEVER
        return max(earliest, made[offset[ports[k, 1, 0]] + room - 1] + 1)
    if beat == 0:
        return 0
    return max(earliest, state[k, _LAST] + 1) if state[k, _COUNT] == beat else _NEVER


@njit(inline="always", **_COMPILED)
def _offer(
    k: int,
    port: int,
    kernel: Any,
    ports: Any,
    queues: Any,
    state: Any,
    counts: Any,
    offset: Any,
    passed: Any,
    times: Any,
    made: Any,
) -> int:
    """The first cycle in which an advanced kernel offers its next beat on an output, or _NEVER."""
    stream = ports[k, 1, port]
    beat = passed[stream]
    earliest = times[offset[stream] + beat - 1] + 1 if beat else 0
    if kernel[k, _KIND] == _NARROW:
        source = beat // kernel[k, _PERIOD]
        if beat > source * kernel[k, _PERIOD]:
            return earliest
        return state[k, _LAST] + 1 if state[k, _COUNT] > source else _NEVER
    if beat >= counts[k, 1, port]:
        return _NEVER
    return max(earliest, made[offset[stream] + beat] + queues[k, 2, port])


@njit(**_COMPILED)
def _run(
    ring: Any,
    stands: Any,
    limit: Any,
    interval: int,
    even: bool,
    source_beats: int,
    writers: Any,
    readers: Any,
    kernel: Any,
    ports: Any,
    queues: Any,
    state: Any,
    counts: Any,
    used: Any,
    pattern: Any,
    offset: Any,
    passed: Any,
    times: Any,
    made: Any,
) -> None:
    """Move beats until no stream moves any more; each stops at its limit.

    ring, stands: room for a number and for a flag for each stream, whatever they hold.
    """
    streams = len(limit)
    # A stream can move again only when a beat has passed another one of its writer's or of its reader's. Those that may move stand
    # in a ring, each once at most.
    for stream in range(streams):
        ring[stream] = stream
        stands[stream] = True
    head, standing = 0, streams
    while standing > 0:
        stream = ring[head]
        head = head + 1 if head + 1 < streams else 0
        standing -= 1
        stands[stream] = False
        writer, reader = writers[stream, 0], readers[stream, 0]
        before = passed[stream]
        while True:
            for side in range(2):
                k = reader if side else writer
                if k >= 0:
                    _advance(k, limit, kernel, ports, queues, state, counts, used, pattern, offset, passed, times, made)
            beat = passed[stream]
            if beat >= limit[stream]:
                break
            if writer >= 0:
                cycle = _offer(
                    writer, writers[stream, 1], kernel, ports, queues, state, counts, offset, passed, times, made
                )
            else:
                frame = beat // source_beats
                offered = frame * interval
                if even:
                    offered += (beat - frame * source_beats) * interval // source_beats
                cycle = max(times[offset[stream] + beat - 1] + 1 if beat else 0, offered)
            if cycle == _NEVER:
                break
            direct = False
            if reader >= 0:
                port = readers[stream, 1]
                ready = _ready(
                    reader,
                    port,
                    kernel,
                    ports,
                    queues,
                    state,
                    counts,
                    used,
                    pattern,
                    offset,
                    passed,
                    times,
                    made,
                )
                if ready == _NEVER:
                    break
                cycle = max(cycle, ready)
                direct = kernel[reader, _DIRECT] >> port & 1 != 0
            times[offset[stream] + beat] = cycle
            passed[stream] = beat + 1
            if direct:
                _do_step(reader, cycle, kernel, ports, state, counts, used, pattern, offset, made)
        if passed[stream] > before:
            for side in range(2):
                k = reader if side else writer
                if k < 0:
                    continue
                for direction in range(2):
                    for port in range(kernel[k, _INPUTS + direction]):
                        other = ports[k, direction, port]
                        if other != stream and not stands[other]:
                            stands[other] = True
                            place = head + standing
                            ring[place if place < streams else place - streams] = other
                            standing += 1


def _without_empty_steps(timing: StepTiming) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(consumes, produces, how many steps that do neither stand before) of the steps that do something, and of the last."""
    busy = (timing.consumes | timing.produces) != 0
    busy[-1] = True
    kept = np.flatnonzero(busy)
    gaps = np.diff(kept, prepend=-1) - 1
    return timing.consumes[kept], timing.produces[kept], gaps.astype(np.int32)


class CircuitState:
    """Arrays of a circuit's times; they grow with the frames that are asked for."""

    def __init__(self, circuit: Circuit, source_interval_cycles: int = 0, even: bool = False) -> None:
        count, streams = len(circuit.kernels), len(circuit.links)
        self._beats = np.array([link.beats for link in circuit.links], np.int64)
        self._interval, self._even = source_interval_cycles, even
        self._kernel = np.zeros((count, 10), np.int64)
        self._ports = np.full((count, 2, MOST_PORTS), -1, np.int64)
        self._queues = np.zeros((count, 3, MOST_PORTS), np.int64)  # input depths, output slots, output latencies
        self._state = np.zeros((count, 7), np.int64)
        self._state[:, _LAST] = -1
        self._counts = np.zeros((count, 2, MOST_PORTS), np.int64)  # beats used from inputs, made for outputs
        self._writers = np.full((streams, 2), -1, np.int64)
        self._readers = np.full((streams, 2), -1, np.int64)
        for number, link in enumerate(circuit.links):
            if link.writer is not None:
                self._writers[number] = link.writer
                self._ports[link.writer[0], 1, link.writer[1]] = number
            if link.reader is not None:
                self._readers[number] = link.reader
                self._ports[link.reader[0], 0, link.reader[1]] = number
        patterns: list[np.ndarray] = []
        at = 0
        for number, timing in enumerate(circuit.kernels):
            row = self._kernel[number]
            inputs, outputs = timing.rates
            row[_INPUTS], row[_OUTPUTS] = len(inputs), len(outputs)
            if isinstance(timing, NarrowTiming):
                row[_KIND], row[_PERIOD] = _NARROW, timing.factor
                continue
            if isinstance(timing, StepTiming):
                row[_KIND] = _STEP
                patterns_here: tuple[np.ndarray, ...] = _without_empty_steps(timing)
                self._queues[number, 0, : len(inputs)] = timing.inputs
                row[_DIRECT] = sum(1 << port for port, depth in enumerate(timing.inputs) if depth == 0)
                queues = timing.outputs
            else:
                row[_KIND] = _BUFFER
                row[_INPUT_BEATS], row[_BUFFER_BEATS] = timing.input_beats, timing.buffer_beats
                patterns_here, queues = (timing.sources, timing.keeps), (timing.queue,)
            self._queues[number, 1, : len(outputs)] = [queue.slots for queue in queues]
            self._queues[number, 2, : len(outputs)] = [queue.latency_cycles for queue in queues]
            row[_PERIOD] = len(patterns_here[0])
            row[_FIRST], row[_SECOND], row[_GAPS] = at, at + len(patterns_here[0]), at + 2 * len(patterns_here[0])
            at += len(patterns_here) * len(patterns_here[0])
            patterns += patterns_here
        self._pattern = np.concatenate(patterns) if patterns else np.zeros(1, np.int32)
        self._passed = np.zeros(streams, np.int64)
        self._frames = 0
        self._offset = np.zeros(streams, np.int64)
        self._times = self._made = self._used = np.zeros(0, np.int32)

    def _grow(self, frames: int) -> None:
        """Give the arrays room for so many frames."""
        sizes = self._beats * frames
        offset = np.concatenate([[0], np.cumsum(sizes)])
        for label in ("_times", "_made", "_used"):
            old, new = getattr(self, label), np.zeros(int(offset[-1]), np.int32)
            kept = self._beats * self._frames
            for stream, start in enumerate(self._offset):
                new[offset[stream] : offset[stream] + kept[stream]] = old[start : start + kept[stream]]
            setattr(self, label, new)
        self._offset, self._frames = offset[:-1].copy(), frames

    def run(self, frames: int, source_frames: int | None = None) -> None:
        """Let the first `frames` frames pass every stream, or as much of them as can; the source ends after `source_frames`."""
        if frames > self._frames:
            self._grow(frames)
        limit = self._beats * frames
        if source_frames is not None:
            limit[0] = self._beats[0] * source_frames
        ring, stands = np.zeros(len(limit), np.int64), np.zeros(len(limit), np.bool_)
        source = self._interval, self._even, int(self._beats[0])
        _run(ring, stands, limit, *source, self._writers, self._readers, *self._arrays())

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return (
            self._kernel,
            self._ports,
            self._queues,
            self._state,
            self._counts,
            self._used,
            self._pattern,
            self._offset,
            self._passed,
            self._times,
            self._made,
        )

    def passed(self, stream: int) -> np.ndarray:
        """The cycles in which the stream's beats passed."""
        start = self._offset[stream]
        return self._times[start : start + self._passed[stream]]

    def made(self, stream: int) -> np.ndarray:
        """The cycles in which the beats of the stream were made by their kernel (narrowing converters aside)."""
        kernel, port = self._writers[stream]
        start = self._offset[stream]
        return self._made[start : start + self._counts[kernel, 1, port]]


class KernelProbe:
    """One kernel alone, asked beat by beat when it is ready and when it offers: for tests of its timing."""

    def __init__(self, circuit: Circuit, frames: int) -> None:
        (timing,) = circuit.kernels
        self._state = CircuitState(circuit)
        self._state._grow(frames)
        self._limit = self._state._beats * frames
        self._timing = timing

    def _advance(self) -> None:
        _advance(0, self._limit, *self._state._arrays())

    def ready(self, port: int = 0) -> int | None:
        """The first cycle in which the next beat on an input can be accepted, if that is decided."""
        self._advance()
        cycle = _ready(0, port, *self._state._arrays())
        return None if cycle == _NEVER else int(cycle)

    def offer(self, port: int = 0) -> int | None:
        """The first cycle in which the next beat on an output is offered, if that is decided."""
        self._advance()
        s = self._state
        cycle = _offer(
            0, port, s._kernel, s._ports, s._queues, s._state, s._counts, s._offset, s._passed, s._times, s._made
        )
        return None if cycle == _NEVER else int(cycle)

    def accept(self, cycle: int, port: int = 0) -> None:
        """The next beat on an input was accepted in a cycle that is at least `ready`."""
        s = self._state
        self._pass(int(s._ports[0, 0, port]), cycle)
        if s._kernel[0, _KIND] == _STEP and s._queues[0, 0, port] == 0:
            _do_step(0, cycle, s._kernel, s._ports, s._state, s._counts, s._used, s._pattern, s._offset, s._made)

    def take(self, cycle: int, port: int = 0) -> None:
        """The next beat on an output was taken in a cycle that is at least `offer`."""
        self._pass(int(self._state._ports[0, 1, port]), cycle)

    def _pass(self, stream: int, cycle: int) -> None:
        s = self._state
        s._times[s._offset[stream] + s._passed[stream]] = cycle
        s._passed[stream] += 1
