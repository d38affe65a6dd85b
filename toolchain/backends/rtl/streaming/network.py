# SPDX-License-Identifier: Apache-2.0
"""A network laid out as instances and the streams between them, with its exact schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolchain.backends.rtl.streaming.buffers import fifo, fork, register_slice, width_converter
from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels import kernels
from toolchain.backends.rtl.streaming.plumbing import SOURCE, Endpoint, Plumbing
from toolchain.backends.rtl.streaming.schedule import SteadyState
from toolchain.backends.rtl.streaming.size_memories import size_memories
from toolchain.identifiers import identifiers
from toolchain.ir import Graph, InsertZeros, IntegerType, Pad
from toolchain.passes.choose_folding import Folding, StageFolding, cycles
from toolchain.passes.folding_model import input_lanes as input_lanes_of
from toolchain.passes.folding_model import is_matrix, slides
from toolchain.passes.group_stages import Stage, group_stages, result_stage
from toolchain.target import DspBlocks

#: Names that the generated top module uses itself, and those of its ports.
_RESERVED = ("clk", "rst", "s_axis", "m_axis", "output_beat", "unused", "axi_lite_load")


@dataclass(frozen=True)
class Stream:
    """Wires <identifier>_tdata, _tvalid, _tready: `beats` beats a frame, each of `lanes` elements.

    beats_ahead: of them, those that come before any beat of their frame is there at the network's input.
    """

    identifier: str
    lanes: int
    element: IntegerType
    beats: int
    beats_ahead: int = 0

    @property
    def width(self) -> int:
        return self.lanes * self.element.width


@dataclass(frozen=True)
class Part:
    """An instance in its place. `stage` is None for what stands between stages; `purpose` says why it is there.

    Of a stage that consists of several instances, the last one, which gives the stage's result, has it.
    """

    identifier: str
    instance: Instance
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]
    stage: Stage | None = None
    purpose: str = ""

    @property
    def input(self) -> Stream:
        return self.inputs[0]

    @property
    def output(self) -> Stream:
        return self.outputs[0]


@dataclass(frozen=True)
class Network:
    """Parts in the order of the data, the streams `input` and `output` at its ends."""

    top: str
    folding: Folding
    parts: tuple[Part, ...]
    input: Stream
    output: Stream
    latency_cycles: int
    first_output_latency_cycles: int
    steady_state: SteadyState


class Library:
    """Where the instances of a network come from: this project's own modules; another backend brings some of its own.

    blocks: how products use DSP blocks; without it as each module has it, and none share one.
    """

    #: Whether FIFOs stand at the network's input and output too.
    fifo_at_ends = False

    def __init__(self, blocks: DspBlocks | None = None) -> None:
        self._blocks = blocks or DspBlocks()

    def instances(self, stage: Stage, folding: StageFolding, key: str) -> tuple[Instance, ...]:
        """The instances of a stage, in the order of the data."""
        found = kernels()[type(stage.operation)].instances(stage, folding, key)
        return tuple(instance.with_dsp_blocks(self._blocks) for instance in found)

    def fifo(self, element: IntegerType, lanes: int, beats: int, depth: int) -> Instance:
        return fifo(element, lanes, beats, depth)

    def width_converter(
        self, element: IntegerType, input_lanes: int, output_lanes: int, frame_elements: int
    ) -> Instance:
        return width_converter(element, input_lanes, output_lanes, frame_elements)

    def cycles(self, stage: Stage, folding: StageFolding) -> int:
        """Cycles a frame that a stage takes at least."""
        return cycles(stage, folding)

    def settle(self, plumbing: Plumbing) -> Plumbing:
        """The network once its FIFOs are sized; a library whose rules are approximations makes sure here that it cannot deadlock."""
        return plumbing

    def why_fifo(self, stage: Stage, option: StageFolding) -> str:
        """Why a FIFO stands before a stage; empty if none does."""
        if is_matrix(stage):
            waits = not slides(stage) and option.pe < stage.output_type.channels
            return "lets the stages before work on the next frame" if waits else ""
        if isinstance(stage.operation, Pad | InsertZeros):
            return "lets the stage before go on during the border"
        return "lets one operand come before the other" if len(stage.sources) > 1 else ""


def lay_out(graph: Graph, folding: Folding, library_modules: Sequence[str], library: Library | None = None) -> Network:
    """The network's parts, named, with every converter, fork and FIFO that it needs.

    A FIFO stands before a matrix-vector unit where, without it, the units could not work on different frames at the
    same time: such a unit takes its input only while it computes its first rows. FIFOs stand behind forks, where the branches
    take different times. Their depths, and those of the windows' line buffers, are the smallest with which the network
    reaches the initiation interval of its slowest stage.
    """
    library = library or Library()
    plumbing = draw(graph, folding, library)
    target = max([library.cycles(stage, folding.stages[stage.name]) for stage in group_stages(graph)], default=1)
    plumbing = library.settle(size_memories(plumbing, max(target, plumbing.source_beats)))
    schedule = plumbing.schedule()
    streams, parts = _name(plumbing)
    return Network(
        top=next(iter(identifiers([graph.name], reserved=[*library_modules, "rtl"]).values())),
        folding=folding,
        parts=parts,
        input=streams[SOURCE],
        output=streams[plumbing.output],
        latency_cycles=schedule.latency_cycles(),
        first_output_latency_cycles=schedule.first_output_latency_cycles(),
        steady_state=schedule.steady_state(),
    )


def draw(graph: Graph, folding: Folding, library: Library) -> Plumbing:
    """The network's instances and their connections, before names and before the depths of its memories are found."""
    stages = group_stages(graph)
    names = _stage_identifiers(stages)
    source = graph.types[graph.inputs[0].name]
    readers: dict[str, int] = {}
    for stage in stages:
        for name in stage.sources:
            readers[name] = readers.get(name, 0) + 1
    result = result_stage(stages, graph)
    readers[result] = readers.get(result, 0) + 1
    first = next((stage for stage in stages if graph.inputs[0].name in stage.sources), None)
    input_lanes = input_lanes_of(first, folding.stages[first.name]) if first else 1
    drawing = _Drawing(Plumbing(source.element, input_lanes, source.size // input_lanes), readers, library)
    drawing.offer(graph.inputs[0].name, SOURCE, "input")
    for stage in stages:
        drawing.add_stage(stage, folding, names[stage.name])
    output = drawing.take(result)
    if output == SOURCE:
        slice_ = register_slice(source.element, input_lanes, source.size // input_lanes)
        output = drawing.plumbing.add(slice_, (output,), "output_register", purpose="nothing to compute")
    if library.fifo_at_ends:
        output = drawing.with_fifo(output, "output_fifo", "stands at the output")
    plumbing = drawing.plumbing.finished(output)
    ahead = plumbing.beats_ahead()
    # What computes with constants before a frame's first beat would use those from before they were loaded.
    waits = any(ahead.values()) if any(draft.instance.is_loadable for draft in plumbing.drafts) else ahead[output]
    return plumbing.held() if waits else plumbing


class _Drawing:
    """Places the stages one after the other, and hands each result on to those that read it."""

    def __init__(self, plumbing: Plumbing, readers: Mapping[str, int], library: Library) -> None:
        self.plumbing = plumbing
        self._library = library
        self._readers = readers
        self._ends: dict[str, list[Endpoint]] = {}  # result -> an end of its stream for each reader to come

    def offer(self, result: str, end: Endpoint, key: str) -> None:
        """Fork the stream of a result so that each of its readers gets one, each behind a FIFO of its own."""
        ends = [end]
        for _ in range(self._readers[result] - 1):
            place, _ = self.plumbing.add(
                fork(*self.plumbing.stream(ends[-1])), (ends[-1],), f"{key}_fork", purpose="used more than once"
            )
            ends[-1:] = [(place, 0), (place, 1)]
        if len(ends) > 1:
            purpose = "lets one branch go ahead of the other"
            ends = [self.with_fifo(branch, f"{key}_branch", purpose) for branch in ends]
        self._ends[result] = ends

    def with_fifo(self, end: Endpoint, key: str, purpose: str) -> Endpoint:
        return self.plumbing.add(self._library.fifo(*self.plumbing.stream(end), 2), (end,), key, purpose=purpose)

    def take(self, result: str) -> Endpoint:
        return self._ends[result].pop(0)

    def add_stage(self, stage: Stage, folding: Folding, key: str) -> None:
        """Place a stage's instances; each takes the one before, and as many of the stage's operands as it has ports left."""
        option = folding.stages[stage.name]
        instances = self._library.instances(stage, option, key)
        purpose = self._library.why_fifo(stage, option)
        operands = [self.take(source) for source in stage.sources]
        if purpose:
            operands = [self._buffered(end, instances[0].input_lanes, key, purpose) for end in operands]
        ends: list[Endpoint] = []
        for instance in instances:
            while len(ends) < len(instance.input_ports):
                ends.append(operands.pop(0))
            inputs = tuple(self._widened(end, instance.input_lanes, key) for end in ends)
            if instance is instances[-1]:
                ends = [self.plumbing.add(instance, inputs, key, stage)]
            else:
                ends = [self.plumbing.add(instance, inputs, f"{key}_{instance.label}", purpose=f"for {key}")]
        assert not operands
        self.offer(stage.name, ends[0], key)

    def _buffered(self, end: Endpoint, lanes: int, key: str, purpose: str) -> Endpoint:
        """The stream with beats of `lanes` elements, behind a FIFO unless the stream's writer is one, or the source."""
        if end == SOURCE and self._library.fifo_at_ends:
            end = self.with_fifo(end, "input_fifo", "stands at the input")
        end = self._widened(end, lanes, key)
        if end == SOURCE or self.plumbing.drafts[end[0]].instance.is_fifo:
            return end
        return self.with_fifo(end, f"{key}_fifo", purpose)

    def _widened(self, end: Endpoint, lanes: int, key: str) -> Endpoint:
        """The stream with beats of `lanes` elements."""
        element, found, beats = self.plumbing.stream(end)
        if found == lanes:
            return end
        converter = self._library.width_converter(element, found, lanes, beats * found)
        return self.plumbing.add(converter, (end,), f"{key}_converter", purpose=f"{found} to {lanes} elements a beat")


def _stage_identifiers(stages: Sequence[Stage]) -> dict[str, str]:
    """One identifier a stage. None starts with u_, so that instances (u_<name>) and wires (<name>_tdata) cannot meet."""
    found = identifiers((stage.name for stage in stages), _RESERVED)
    clear = {name: f"n_{word}" if f"{word}_".lower().startswith("u_") else word for name, word in found.items()}
    again = identifiers(clear.values(), _RESERVED)
    return {name: again[word] for name, word in clear.items()}


def _name(plumbing: Plumbing) -> tuple[dict[Endpoint, Stream], tuple[Part, ...]]:
    """Streams by their ends, and the parts between them."""
    # Stages keep their names, and what stands between them takes what is left.
    taken = [*_RESERVED, *(draft.key for draft in plumbing.drafts if draft.stage)]
    streams = {SOURCE: Stream("s_axis", plumbing.source_lanes, plumbing.source_element, plumbing.source_beats)}
    parts: list[Part] = []
    ahead = plumbing.beats_ahead()
    for number, draft in enumerate(plumbing.drafts):
        name = draft.key
        if draft.stage is None:
            (name,) = identifiers([draft.key], taken).values()
            taken.append(name)
        outputs = []
        for port, _ in enumerate(draft.instance.output_ports):
            wire = name
            if len(draft.instance.output_ports) > 1:
                (wire,) = identifiers([f"{name}_{'abcd'[port]}"], taken).values()
                taken.append(wire)
            element, lanes, beats = plumbing.stream((number, port))
            streams[number, port] = Stream(wire, lanes, element, beats, ahead[number, port])
            outputs.append(streams[number, port])
        inputs = tuple(streams[end] for end in draft.inputs)
        parts.append(Part(name, draft.instance, inputs, tuple(outputs), draft.stage, draft.purpose))
    return streams, tuple(parts)
