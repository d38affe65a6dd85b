# SPDX-License-Identifier: Apache-2.0
"""Rung 3: a network's RTL in Verilator, bulk vectors through a shared object, equal to the interpreter bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.build.tools import verilator
from toolchain.errors import BuildFailed, InputError
from toolchain.ir import ArgMax, Graph, interpret
from toolchain.verify.packing import pack_beats, unpack_beats
from toolchain.verify.simulation_library import Pattern, Run, Simulation, SimulationLibrary, waveform_line

_HARNESS = Path(__file__).parent / "harness" / "stream_harness.cpp"
_LIBRARY = "simulation.so"
_RECORD = "simulation.json"
_OBJECTS = "objects"

#: Vectors of the first chunk, in which every stage is compared.
_FIRST_VECTORS = 256
#: Bytes that a chunk of one thread may take, counting every tensor of every vector as 16 bytes an element.
_CHUNK_BYTES = 256 << 20
_MOST_CHUNK_VECTORS = 8192
#: Vectors that are run again with pauses: as many as the network takes in so many cycles at full rate.
_PAUSED_CYCLES = 10_000
#: Of what the network holds, in frames, and of all vectors.
_PAUSED_FILLINGS, _PAUSED_SHARE = 2, 8


def compared_streams(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The streams of a design that carry a node of the graph: one a stage, and of some designs streams inside a stage."""
    return [*facts["nodes"], *facts.get("inner_streams", ())]


def _watched_streams(facts: Mapping[str, Any], capture: Collection[str] | None) -> list[str]:
    """Identifiers of the streams inside the top module that a simulation gives access to, in network order.

    Without `capture` all between two parts, those of FIFOs and forks with them: a stall has to be told where it is.
    """
    compared = [node["stream"] for node in compared_streams(facts)]
    if capture is not None:
        return [stream for stream in compared if stream in capture]
    ports = {"s_axis", "m_axis"}
    between = [stream for part in facts.get("parts", ()) for stream in part["outputs"] if stream not in ports]
    return list(dict.fromkeys([*between, *compared]))


def build_simulation(
    plan_folder: Path,
    facts: Mapping[str, Any],
    folder: Path,
    *,
    sources: Sequence[str] | None = None,
    capture: Collection[str] | None = None,
    jobs: int = 2,
    optimisation: str = "-O1",
    timeout_s: float = 1800,
) -> SimulationLibrary:
    """Compile a design with the stream harness into `folder`, and load it.

    plan_folder: holds the sources and the memory files. facts: of the plan. sources: relative to plan_folder (default:
    those of its files.f); a netlist with the same ports does as well; `simulation_options` of the facts go to Verilator. capture: of the
    streams that carry a node of the graph, those that can be recorded (default: these and all other streams between two parts, which
    the report and the waveform of a stall show); () for a design that has none of them.
    timeout_s: after which the compilation is stopped. The folder may be renamed afterwards; `load_simulation` opens it again. Raises BuildFailed, ToolNotFound.
    """
    if sources is None:
        sources = (plan_folder / "files.f").read_text().split()
    streams = _watched_streams(facts, capture)
    folder.mkdir(parents=True, exist_ok=True)
    top = facts["top"]
    probes = "".join(f"PROBE({top}__DOT__{stream})\n" for stream in streams)
    (folder / "probes.inc").write_text(probes)
    (folder / "load_port.inc").write_text(f"#define LOAD_PORT {int('loadable' in facts)}\n")
    signals = [f"{stream}_{signal}" for stream in streams for signal in ("tdata", "tvalid", "tready")]
    control = "".join(f'public_flat_rd -module "{top}" -var "{signal}"\n' for signal in signals)
    (folder / "probes.vlt").write_text("`verilator_config\n" + control)
    relative = Path(os.path.relpath(plan_folder.resolve(), folder.resolve()))
    verilator.build_shared_object(
        ["probes.vlt", *(str(relative / source) for source in sources)],
        top,
        cwd=folder,
        log=folder / "simulation_build.log",
        objects=_OBJECTS,
        harness=[str(_HARNESS)],
        output=f"../{_LIBRARY}",
        include=[".."],
        compiler_flags=[
            "-fvisibility=hidden", "-fno-gnu-unique", "-DVL_USER_FATAL", "-DVL_USER_STOP", "-DVL_USER_FINISH", "-DVL_USER_WARN",
        ],
        linker_flags=["-Wl,--wrap=fopen", "-Wl,-Bsymbolic"],
        options=facts.get("simulation_options", ()),
        optimisation=optimisation,
        jobs=jobs,
        timeout_s=timeout_s,
    )  # fmt: skip
    if not (folder / _LIBRARY).is_file():
        raise BuildFailed("Verilator build ended without a shared object", log=folder / "simulation_build.log")
    shutil.rmtree(folder / _OBJECTS)
    (folder / _RECORD).write_text(json.dumps({"streams": streams}, indent=1))
    return load_simulation(plan_folder, facts, folder)


def load_simulation(plan_folder: Path, facts: Mapping[str, Any], folder: Path) -> SimulationLibrary:
    """Open what `build_simulation` left in `folder`."""
    try:
        streams = json.loads((folder / _RECORD).read_text())["streams"]
    except (OSError, ValueError, KeyError) as error:
        raise BuildFailed(f"{folder} holds no simulation ({error}); build it again") from None
    return SimulationLibrary(folder / _LIBRARY, facts, streams, plan_folder)


@dataclass(frozen=True)
class FirstMismatch:
    """Where the numbers differ first: the earliest node in the network, then the lowest vector and index.

    pauses: of source and sink, where the same vectors are right without them. waveform: of that frame, then.
    """

    node: str
    vector: int
    index: tuple[int, ...]
    expected: int
    found: int
    pauses: Pattern | None = None
    waveform: Path | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for a message."""
        found = [f"Not so at full rate; {self.pauses.text}"] if self.pauses else []
        return (*found, *([waveform_line(self.waveform)] if self.waveform else []))


@dataclass(frozen=True)
class BulkResult:
    """vectors: how many were compared. mismatches: how many of them differ anywhere that was compared; where none does at full
    rate, how many do with pauses.

    seconds: for packing, simulating, interpreting and comparing. cycles: simulated, over all threads.
    compared: nodes compared for every vector; all stages are compared for the first `first_vectors` vectors, and for the first
    `paused_vectors` of them once more for each mix of pauses (0 where something differs without).
    """

    vectors: int
    mismatches: int
    seconds: float
    inferences_per_second: float
    cycles: int
    first_mismatch: FirstMismatch | None
    compared: tuple[str, ...]
    first_vectors: int
    paused_vectors: int


@dataclass(frozen=True)
class MeasuredTiming:
    """Cycles counted in simulation, with the meaning that the plan's facts give them.

    initiation_interval_cycles: of all frames in steady state; None where they do not agree, or too few were run.
    """

    latency_cycles: int
    first_output_latency_cycles: int
    initiation_interval_cycles: int | None


def simulate(
    graph: Graph, simulation: Simulation, library: SimulationLibrary, x_integers: np.ndarray, *,
    pattern: Pattern | None = None, capture: Collection[str] = (), drain_cycles: int = 0,
) -> tuple[np.ndarray, dict[str, np.ndarray], Run]:  # fmt: skip
    """Run integer vectors of shape (vectors, *input shape) through a design.

    Returns the output integers of shape (vectors, *output shape), those of the captured streams by the name of the node
    whose result they carry, and the run itself.
    """
    facts = library.facts
    beats = input_beats(library, x_integers)
    run = simulation.run(beats, len(x_integers), pattern=pattern, capture=capture, drain_cycles=drain_cycles)

    def unpack(array: np.ndarray, port: Mapping[str, Any], node: str) -> np.ndarray:
        tensor = graph.types[node]
        values = unpack_beats(array, port["lanes"], port["element_width"], port["signed"], tensor.size)
        if "scale" in port:
            values = port["offset"] + port["scale"] * values
        return values.reshape(-1, *tensor.shape)

    output = unpack(run.output, facts["output"], facts["output"]["node"])
    nodes = [node for node in compared_streams(facts) if node["stream"] in run.captured]
    return output, {node["name"]: unpack(run.captured[node["stream"]], node, node["name"]) for node in nodes}, run


def input_beats(library: SimulationLibrary, x_integers: np.ndarray) -> np.ndarray:
    """Integer vectors of shape (vectors, *input shape) as the beats of a design's input."""
    source = library.facts["input"]
    flat = x_integers.reshape(len(x_integers), -1)
    return pack_beats(flat, source["lanes"], source["element_width"], library.input_bytes)


def measure_timing(graph: Graph, library: SimulationLibrary, x_integers: np.ndarray) -> MeasuredTiming:
    """Count latency and initiation interval with a source that always offers and a sink that always takes.

    Runs as many frames as the network takes to come to its steady state, and some more; vectors are repeated as needed.
    """
    facts = library.facts
    steady = facts["steady_state"]
    frames = steady["from_frame"] + 4 * steady["frames"] + 1
    with library.start() as simulation:
        _, _, run = simulate(graph, simulation, library, np.resize(x_integers, (frames, *x_integers.shape[1:])))
    starts = run.input_cycles[:: facts["input"]["beats"]]
    gaps = (starts[steady["frames"] :] - starts[: -steady["frames"]])[steady["from_frame"] :]
    same = len(gaps) > 0 and bool((gaps == gaps[0]).all())
    return MeasuredTiming(
        latency_cycles=int(run.output_cycles[facts["output"]["beats"] - 1] - run.input_cycles[0]),
        first_output_latency_cycles=int(run.output_cycles[0] - run.input_cycles[0]),
        initiation_interval_cycles=-(-int(gaps[0]) // steady["frames"]) if same else None,
    )


def verify_bulk(graph: Graph, library: SimulationLibrary, x_integers: np.ndarray, threads: int = 2) -> BulkResult:
    """Compare the design with the interpreter on integer vectors of shape (vectors, *input shape), bit for bit.

    Every vector: the output, and the scores before an argmax. The first vectors, and those of a chunk in which something
    differs: every stage, so that a mismatch names the first one that differs. Vectors are split over `threads` instances
    of the design; memory does not grow with their number.

    Source and sink never pause, but for some of the first vectors, which run once more with each of `mixes_of_pauses`: as many
    as fit 10,000 cycles at full rate, or fill the network twice if that is more, and an eighth of all at most. That is about
    40,000 cycles in all for most networks. What goes wrong there alone keeps a waveform in the library's folder for them.
    Raises BuildFailed for a design that stalls or breaks the stream protocol, before the long part begins if it does so with pauses.
    """
    if len(x_integers) == 0:
        raise InputError("no vectors to compare: give at least one")
    started = time.monotonic()
    checker = _Checker(graph, library)
    total = len(x_integers)
    elements = sum(tensor.size for tensor in graph.types.values())
    size = max(16, min(_MOST_CHUNK_VECTORS, _CHUNK_BYTES // (16 * elements)))
    first = min(total, _FIRST_VECTORS, size)
    rest = total - first
    # Equal chunks, a multiple of the threads, so that all threads end together.
    chunks = max(1, -(-rest // size))
    chunks = min(-(-chunks // threads) * threads, max(1, rest))
    bounds = [0, first, *(first + rest * (number + 1) // chunks for number in range(chunks))] if rest else [0, first]
    spans = list(pairwise(bounds))
    # One after the other, so that the waveform a message names is that of the run it tells of.
    outcomes, pausing = [checker.check(x_integers[:first], 0, every_stage=True)], []
    paused = 0 if outcomes[0].mismatches else paused_vectors(library.facts, first, total)
    for mix in mixes_of_pauses(library.facts) if paused else ():
        pausing.append(checker.check_paused(x_integers[:paused], mix))
        if pausing[-1].mismatches:
            break
    with ThreadPoolExecutor(max_workers=threads) as pool:
        try:
            tasks = [
                pool.submit(checker.check, x_integers[start:end], start, every_stage=False) for start, end in spans[1:]
            ]
            outcomes += [task.result() for task in tasks]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    checker.close()
    seconds = time.monotonic() - started
    cycles = sum(outcome.cycles for outcome in (*outcomes, *pausing))
    if not any(outcome.mismatches for outcome in outcomes):
        outcomes = pausing
    found = [outcome.first for outcome in outcomes if outcome.first]
    return BulkResult(
        vectors=total,
        mismatches=sum(outcome.mismatches for outcome in outcomes),
        seconds=seconds,
        inferences_per_second=total / seconds,
        cycles=cycles,
        first_mismatch=min(found, key=lambda mismatch: (checker.order[mismatch.node], mismatch.vector))
        if found
        else None,
        compared=tuple(checker.always),
        first_vectors=first,
        paused_vectors=paused,
    )


def mixes_of_pauses(facts: Mapping[str, Any]) -> tuple[Pattern, ...]:
    """How source and sink pause so that all of a network sees it, whatever its pace.

    A sink that takes beats half as fast as the network gives them at full rate: all that can hold beats fills up and stays full.
    And a source and a sink that are both about as fast as the network, at random: it runs empty and full in turn.
    """
    interval = facts["initiation_interval_cycles"]
    source, sink = (max(1.0, interval / facts[port]["beats"]) for port in ("input", "output"))
    return (
        Pattern(stall=1 - 1 / (2 * sink), seed=1),
        Pattern(idle=1 - 1 / (source + 1), stall=1 - 1 / (sink + 1), seed=2),
    )


def paused_vectors(facts: Mapping[str, Any], first: int, total: int) -> int:
    """How many of the `first` vectors, of `total`, are run with pauses."""
    latency, interval = facts["latency_cycles"], facts["initiation_interval_cycles"]
    # In so many frames a sink of half the pace falls behind by as many as are under way, and two more.
    fill = _PAUSED_FILLINGS * (-(-latency // interval) + 2)
    return max(1, min(first, total // _PAUSED_SHARE, max(_PAUSED_CYCLES // interval, fill)))


@dataclass(frozen=True)
class _Outcome:
    mismatches: int
    cycles: int
    first: FirstMismatch | None


class _Checker:
    """Compares chunks; keeps the instances of the design that threads have finished with for the next chunk."""

    def __init__(self, graph: Graph, library: SimulationLibrary) -> None:
        self._graph, self._library = graph, library
        self._idle: list[Simulation] = []
        nodes = library.facts["nodes"]
        known = compared_streams(library.facts)
        self._streams = {node["name"]: node["stream"] for node in known if node["stream"] in library.streams}
        self.order = {name: position for position, name in enumerate(graph.by_name)}
        self.output = library.facts["output"]["node"]
        #: Nodes compared for every vector: the output, and the scores before an argmax.
        self.always = [self.output]
        last = nodes[-1]["name"] if nodes else self.output
        if len(nodes) > 1 and isinstance(graph.by_name[last].operation, ArgMax) and nodes[-2]["name"] in self._streams:
            self.always.insert(0, nodes[-2]["name"])

    def close(self) -> None:
        for simulation in self._idle:
            simulation.close()

    def check(self, x_integers: np.ndarray, start: int, *, every_stage: bool) -> _Outcome:
        outcome = self._compare(x_integers, start, [*self._streams] if every_stage else self.always)
        if outcome.mismatches and not every_stage:
            # The same chunk again, with all that can be seen: which stage is the first?
            detailed = self._compare(x_integers, start, [*self._streams])
            return _Outcome(outcome.mismatches, outcome.cycles, detailed.first or outcome.first)
        return outcome

    def check_paused(self, x_integers: np.ndarray, pauses: Pattern) -> _Outcome:
        """The first vectors with pauses, every stage; a waveform of the first frame in which something differs."""
        try:
            outcome = self._compare(x_integers, 0, [*self._streams], pauses)
        except BuildFailed as error:
            raise BuildFailed(f"{error}\n  Not so at full rate; {pauses.text}") from error
        if outcome.first is None:
            return outcome
        vector = outcome.first.vector
        with self._library.start() as simulation:
            beats = input_beats(self._library, x_integers)
            waveform = simulation.write_waveform(beats, len(x_integers), pauses, vector, vector, "mismatch.vcd")
        return replace(outcome, first=replace(outcome.first, pauses=pauses, waveform=waveform))

    def _compare(
        self, x_integers: np.ndarray, start: int, names: Sequence[str], pauses: Pattern | None = None
    ) -> _Outcome:
        simulation = self._idle.pop() if self._idle else self._library.start(seed=start + 1)
        try:
            capture = [self._streams[name] for name in names if name in self._streams]
            output, results, run = simulate(
                self._graph, simulation, self._library, x_integers, pattern=pauses, capture=capture
            )
        except BaseException:
            simulation.close()
            raise
        self._idle.append(simulation)
        results[self.output] = output
        expected = interpret(self._graph, x_integers, record=set(results))
        wrong = np.zeros(len(x_integers), dtype=bool)
        first: FirstMismatch | None = None
        for name in sorted(results, key=self.order.__getitem__):
            different = results[name] != expected[name]
            if not different.any():
                continue
            wrong |= different.reshape(len(different), -1).any(axis=1)
            if first is None:
                vector, *index = (int(i) for i in np.argwhere(different)[0])
                place = (vector, *index)
                first = FirstMismatch(
                    name, start + vector, tuple(index), int(expected[name][place]), int(results[name][place])
                )
        return _Outcome(int(wrong.sum()), run.cycles, first)
