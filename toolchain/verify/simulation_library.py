# SPDX-License-Identifier: Apache-2.0
"""A verilated design in a shared object, driven with arrays of beats through ctypes (which releases the GIL)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.build.shared_library import load_shared_library
from toolchain.errors import BuildFailed
from toolchain.verify.waveform import write_waveform

_ERROR_BYTES = 1024
#: Cycles before the last transfer that the waveform of a stall begins with, and the most behind it: nothing moves there any more.
_CYCLES_BEFORE_STALL, _CYCLES_IN_STALL = 512, 4096
#: The same around a broken rule.
_CYCLES_BEFORE_VIOLATION, _CYCLES_AFTER_VIOLATION = 512, 16
#: The most cycles of a waveform of chosen frames, its last ones.
_FRAME_CYCLES = 8192
#: A pause ends after so many times the cycles that it takes on average, or after so many cycles if that is more.
_LONGEST_PAUSE, _LONGEST_SHORT_PAUSE_CYCLES = 4, 64
_VIOLATIONS = {
    1: "m_axis_tvalid fell before the beat was taken",
    2: "m_axis_tdata or m_axis_tlast changed while the beat waited",
    3: "m_axis_tlast does not mark the last beat of a frame, or marks another",
    4: "the design gave more output beats than the frames have",
}


class _Request(ctypes.Structure):
    """The harness's struct Request; see harness/stream_harness.cpp."""

    #: What the pointers point to.
    arrays: tuple[Any, ...]

    _fields_ = (
        ("input", ctypes.c_void_p),
        ("input_beats", ctypes.c_int64),
        ("output", ctypes.c_void_p),
        ("output_beats", ctypes.c_int64),
        ("input_cycles", ctypes.c_void_p),
        ("output_cycles", ctypes.c_void_p),
        ("probe_data", ctypes.c_void_p),
        ("probe_capacity", ctypes.c_void_p),
        ("probe_beats", ctypes.c_void_p),
        ("states", ctypes.c_void_p),
        ("trace", ctypes.c_void_p),
        ("trace_from", ctypes.c_int64),
        ("trace_rows", ctypes.c_int64),
        ("output_beats_a_frame", ctypes.c_int64),
        ("seed", ctypes.c_uint64),
        ("idle", ctypes.c_uint32),
        ("stall", ctypes.c_uint32),
        ("longest_idle", ctypes.c_int64),
        ("longest_stall", ctypes.c_int64),
        ("stall_limit", ctypes.c_int64),
        ("drain_cycles", ctypes.c_int64),
        ("cycles", ctypes.c_int64),
        ("accepted", ctypes.c_int64),
        ("taken", ctypes.c_int64),
        ("violation_cycle", ctypes.c_int64),
        ("violation", ctypes.c_int32),
        ("stalled", ctypes.c_int32),
        ("traced", ctypes.c_int64),
    )


@dataclass(frozen=True)
class Pattern:
    """How the source and the sink behave: chance in a cycle that a pause before an input beat goes on, that the sink is not ready; seed.

    A pause of 1 / (1 - chance) cycles is the average; it ends after four times as many, or 64 if that is more.
    """

    idle: float = 0.0
    stall: float = 0.0
    seed: int = 1

    @property
    def text(self) -> str:
        """What both sides do, for messages."""
        source, sink = (f"1 of {1 / max(1e-6, 1 - chance):.3g} cycles" for chance in (self.idle, self.stall))
        return f"here the source offers a beat in {source} and the sink takes one in {sink}, on average"

    @property
    def longest_idle_cycles(self) -> int:
        return _longest_pause(self.idle)

    @property
    def longest_stall_cycles(self) -> int:
        return _longest_pause(self.stall)


def _longest_pause(chance: float) -> int:
    return max(_LONGEST_SHORT_PAUSE_CYCLES, round(_LONGEST_PAUSE / max(1e-6, 1.0 - chance)))


@dataclass(frozen=True)
class Run:
    """What came out of a run. `cycles`: from the first after reset to the one that took the last output beat.

    output: beats as uint8 (beats, bytes). captured: the same for each stream that was asked for. input_cycles,
    output_cycles: the cycle of each beat.
    """

    output: np.ndarray
    cycles: int
    captured: Mapping[str, np.ndarray]
    input_cycles: np.ndarray
    output_cycles: np.ndarray


class SimulationLibrary:
    """A design that `toolchain.verify.simulate.build_simulation` has built.

    facts: of the plan. streams: those inside the design that can be captured, by identifier, in network order.
    memory_folder: where the design's memory files are read from (paths in it are relative to it).
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], streams: Sequence[str], memory_folder: Path) -> None:
        self.path = path
        self.facts = facts
        self.streams = tuple(streams)
        #: (byte address, word) to write over AXI4-Lite into each instance before it is used.
        self.writes: Sequence[tuple[int, int]] = ()
        #: Where the waveform of a stall, of a broken protocol or of a wrong result is written.
        self.waveform_folder = path.parent
        self._memory_folder = memory_folder
        try:
            self._library = load_shared_library(path)
        except OSError as error:
            raise BuildFailed(f"the simulation library {path} cannot be loaded: {error}") from None
        for name in ("request_bytes", "input_bytes", "output_bytes", "probes"):
            getattr(self._library, f"simulation_{name}").restype = ctypes.c_int64
        self._library.simulation_new.restype = ctypes.c_void_p
        self._library.simulation_new.argtypes = (ctypes.c_char_p, ctypes.c_int64, ctypes.c_char_p, ctypes.c_int64)
        self._library.simulation_delete.argtypes = (ctypes.c_void_p,)
        self._library.simulation_probe_bytes.argtypes = (ctypes.c_void_p, ctypes.c_int64)
        self._library.simulation_probe_bytes.restype = ctypes.c_int64
        self._library.simulation_run.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64)
        self._library.simulation_run.restype = ctypes.c_int32
        self._library.simulation_load.argtypes = (
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.POINTER(ctypes.c_uint32),
            ctypes.c_char_p,
            ctypes.c_int64,
        )
        self._library.simulation_load.restype = ctypes.c_int32
        assert self._library.simulation_request_bytes() == ctypes.sizeof(_Request)
        if self._library.simulation_probes() != len(self.streams):
            raise BuildFailed(
                f"the simulation library {path} was built for other streams; remove its folder and build again"
            )
        #: Bytes of a beat in the arrays given to and taken from `Simulation.run`.
        self.input_bytes: int = self._library.simulation_input_bytes()
        self.output_bytes: int = self._library.simulation_output_bytes()

    def start(self, seed: int = 1) -> Simulation:
        """A new instance of the design, with registers at random values until its reset."""
        return Simulation(self, seed)


class Simulation:
    """One instance of a design, for one thread. Close it, or use it as a context manager."""

    def __init__(self, library: SimulationLibrary, seed: int) -> None:
        self._design = library
        self._error = ctypes.create_string_buffer(_ERROR_BYTES)
        self._handle = library._library.simulation_new(
            os.fsencode(library._memory_folder.resolve()), seed, self._error, _ERROR_BYTES
        )
        if not self._handle:
            raise BuildFailed(f"the simulation of {library.facts['top']} cannot start: {self._text()}")
        if library.writes:
            self.load(library.writes)

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        if self._handle:
            self._design._library.simulation_delete(self._handle)
            self._handle = None

    def load(self, writes: Sequence[tuple[int, int]]) -> int:
        """Write (byte address, word) one by one over AXI4-Lite; they outlast resets. Returns the design's identification.

        There is a reset before the writes; the next run begins right behind them, without one.

        Raises BuildFailed where the design refuses one, or has no such port.
        """
        addresses, words = (np.array(column, dtype=np.uint32) for column in zip(*writes, strict=True))
        identification = ctypes.c_uint32()
        if self._design._library.simulation_load(
            self._handle,
            addresses.ctypes.data,
            words.ctypes.data,
            len(words),
            ctypes.byref(identification),
            self._error,
            _ERROR_BYTES,
        ):
            raise BuildFailed(f"the simulation of {self._design.facts['top']} cannot be loaded: {self._text()}")
        return identification.value

    def _text(self) -> str:
        return self._error.value.decode(errors="replace")

    def run(
        self,
        beats: np.ndarray,
        frames: int,
        *,
        pattern: Pattern | None = None,
        capture: Collection[str] = (),
        drain_cycles: int = 0,
    ) -> Run:
        """Reset the design and run `frames` frames through it.

        beats: uint8 of shape (frames * beats a frame, input_bytes). capture: identifiers of streams to record.
        drain_cycles: how long to watch for surplus output behind the last beat.
        Raises BuildFailed when the design stalls (naming the stream and the side), breaks the stream protocol (both with a file
        that holds the waveform), or stops.
        """
        return self._run(beats, frames, pattern, capture, drain_cycles)[0]

    def write_waveform(
        self, beats: np.ndarray, frames: int, pattern: Pattern, first_frame: int, last_frame: int, name: str
    ) -> Path:
        """Run the frames once more, and write down all streams from the first beat of a frame to the last of another.

        A waveform of more than 8,192 cycles begins that many before its end. Returns the file, `name` in the design's folder for
        waveforms.
        """
        run, request = self._run(beats, frames, pattern, (), 0)
        facts = self._design.facts
        end = int(run.output_cycles[(last_frame + 1) * facts["output"]["beats"] - 1]) + 1
        first = max(int(run.input_cycles[first_frame * facts["input"]["beats"]]), end - _FRAME_CYCLES)
        return self._waveform(request, name, first, end)

    def _run(
        self, beats: np.ndarray, frames: int, pattern: Pattern | None, capture: Collection[str], drain_cycles: int
    ) -> tuple[Run, _Request]:
        """What `run` does, and the request to do it again."""
        design, facts, pattern = self._design, self._design.facts, pattern or Pattern()
        assert beats.dtype == np.uint8
        assert beats.flags.c_contiguous
        assert beats.shape == (frames * facts["input"]["beats"], design.input_bytes)
        unknown = set(capture) - set(design.streams)
        assert not unknown, f"streams {sorted(unknown)} are not in the library"
        output_beats = frames * facts["output"]["beats"]
        output = np.zeros((output_beats, design.output_bytes), dtype=np.uint8)
        input_cycles = np.zeros(len(beats), dtype=np.int64)
        output_cycles = np.zeros(output_beats, dtype=np.int64)
        captured = {}
        for index, stream in enumerate(design.streams):
            if stream in capture:
                stream_bytes = design._library.simulation_probe_bytes(self._handle, index)
                captured[stream] = np.zeros(
                    (frames * _part_before(facts, stream)["beats"], stream_bytes), dtype=np.uint8
                )
        count = len(design.streams)
        buffers = (ctypes.c_void_p * max(1, count))(
            *[captured[s].ctypes.data if s in captured else None for s in design.streams]
        )
        room = np.array([len(captured[s]) if s in captured else 0 for s in design.streams] or [0], dtype=np.int64)
        recorded = np.zeros(max(1, count), dtype=np.int64)
        states = np.zeros(count + 2, dtype=np.uint8)
        request = _Request(
            input=beats.ctypes.data,
            input_beats=len(beats),
            output=output.ctypes.data,
            output_beats=output_beats,
            input_cycles=input_cycles.ctypes.data,
            output_cycles=output_cycles.ctypes.data,
            probe_data=ctypes.addressof(buffers),
            probe_capacity=room.ctypes.data,
            probe_beats=recorded.ctypes.data,
            states=states.ctypes.data,
            output_beats_a_frame=facts["output"]["beats"],
            seed=pattern.seed * 0x9E3779B97F4A7C15 % (1 << 64) or 1,
            idle=int(pattern.idle * (1 << 32)),
            stall=int(pattern.stall * (1 << 32)),
            longest_idle=pattern.longest_idle_cycles,
            longest_stall=pattern.longest_stall_cycles,
            stall_limit=_stall_limit(facts, pattern),
            drain_cycles=drain_cycles,
        )
        if design._library.simulation_run(self._handle, ctypes.byref(request), self._error, _ERROR_BYTES):
            raise BuildFailed(f"the simulation of {facts['top']} stopped: {self._text()}")
        if request.violation:  # it comes before a stall, which it may have caused
            cycle, broken = request.violation_cycle, _VIOLATIONS[request.violation]
            first, end = max(0, cycle - _CYCLES_BEFORE_VIOLATION), cycle + _CYCLES_AFTER_VIOLATION
            waveform = self._waveform(request, "violation.vcd", first, end)
            raise BuildFailed(
                f"{facts['top']} breaks the stream protocol in cycle {cycle}: {broken}\n  {waveform_line(waveform)}"
            )
        if request.stalled:
            report, last = _stall_report(design, request, states), request.cycles - request.stall_limit
            first, end = max(0, last - _CYCLES_BEFORE_STALL), min(request.cycles, last + _CYCLES_IN_STALL)
            waveform = self._waveform(request, "stalled.vcd", first, end)
            raise BuildFailed(f"{report}\n  {waveform_line(waveform)}")
        for stream, array in captured.items():
            found = int(recorded[design.streams.index(stream)])
            # A border begins the frame after the last one by itself; how far it comes is known.
            if not len(array) <= found <= len(array) + _part_before(facts, stream)["beats_ahead"]:
                raise BuildFailed(
                    f"{facts['top']}: stream {stream} carried {found} beats in {frames} frames, expected {len(array)}"
                )
        # What the request points to has to live as long as it does.
        request.arrays = (beats, output, captured, buffers, room, recorded, states, input_cycles, output_cycles)
        return Run(output, request.cycles, captured, input_cycles, output_cycles), request

    def _waveform(self, request: _Request, name: str, first: int, end: int) -> Path:
        """Run a request once more, and write down all streams from cycle `first` to before cycle `end`, or to where the run ends."""
        design = self._design
        stream_bytes = [
            design.input_bytes,
            *(design._library.simulation_probe_bytes(self._handle, index) for index in range(len(design.streams))),
            design.output_bytes,
        ]
        rows = np.zeros((end - first, sum(stream_bytes) + len(stream_bytes)), dtype=np.uint8)
        request.trace, request.trace_from, request.trace_rows = rows.ctypes.data, first, len(rows)
        if design._library.simulation_run(self._handle, ctypes.byref(request), self._error, _ERROR_BYTES):
            raise BuildFailed(f"the simulation of {design.facts['top']} stopped: {self._text()}")
        path = design.waveform_folder / name
        write_waveform(
            path, design.facts, ["s_axis", *design.streams, "m_axis"], stream_bytes, rows[: request.traced], first
        )
        return path


def waveform_line(path: Path) -> str:
    """How a message names a waveform."""
    return f"Waveform of all streams: {path}"


def _part_before(facts: Mapping[str, Any], stream: str) -> Mapping[str, Any]:
    return next(part for part in facts["parts"] if stream in part["outputs"])


def _stall_limit(facts: Mapping[str, Any], pattern: Pattern) -> int:
    """Far more cycles than the network ever needs between two transfers at its ports, and the longest pauses of both sides."""
    network = 4 * (facts["latency_cycles"] + facts["initiation_interval_cycles"]) + 64
    return int(network + pattern.longest_idle_cycles + pattern.longest_stall_cycles)


def _stall_report(design: SimulationLibrary, request: _Request, states: np.ndarray) -> str:
    """Which stream no longer moves, and which side of it does not act."""
    facts = design.facts
    writers = {stream: part["identifier"] for part in facts["parts"] for stream in part["outputs"]}
    readers = {stream: part["identifier"] for part in facts["parts"] for stream in part["inputs"]}
    names = ["s_axis", *design.streams, "m_axis"]
    lines = [
        f"{facts['top']} stalled: no beat moved any more after {request.accepted} of {request.input_beats} input beats and "
        f"{request.taken} of {request.output_beats} output beats ({request.cycles} cycles)"
    ]
    for name, state in zip(names, states, strict=True):
        valid, ready = bool(state & 1), bool(state & 2)
        writer = "the source" if name == "s_axis" else f"u_{writers.get(name, facts['parts'][-1]['identifier'])}"
        reader = f"u_{readers[name]}" if name in readers else "the sink"
        if valid and not ready:
            lines.append(f"  {name}: {writer} offers a beat, {reader} does not take it")
        elif ready and not valid:
            lines.append(f"  {name}: {reader} waits, {writer} offers nothing")
        else:
            lines.append(f"  {name}: {'both sides act' if valid else 'neither side acts'}")
    return "\n".join(lines)
