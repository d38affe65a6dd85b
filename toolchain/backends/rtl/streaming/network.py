# SPDX-License-Identifier: Apache-2.0
"""A network laid out as a line of instances and the streams between them, with its exact schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from toolchain.backends.rtl.streaming.buffers import fifo, register_slice, width_converter
from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.kernels import kernels
from toolchain.backends.rtl.streaming.schedule import Schedule, SteadyState
from toolchain.backends.rtl.streaming.timing import Timing
from toolchain.identifiers import identifiers
from toolchain.ir import Dense, Graph, IntegerType
from toolchain.passes.choose_folding import Folding, cycles
from toolchain.passes.group_stages import Stage, group_stages

#: Names that the generated top module uses itself, and those of its ports.
_RESERVED = ("clk", "rst", "s_axis", "m_axis", "output_beat", "unused")


@dataclass(frozen=True)
class Stream:
    """Wires <identifier>_tdata, _tvalid, _tready: `beats` beats a frame, each of `lanes` elements."""

    identifier: str
    lanes: int
    element: IntegerType
    beats: int

    @property
    def width(self) -> int:
        return self.lanes * self.element.width


@dataclass(frozen=True)
class Part:
    """An instance in its place. `stage` is None for what stands between stages; `purpose` says why it is there."""

    identifier: str
    instance: Instance
    input: Stream
    output: Stream
    stage: Stage | None = None
    purpose: str = ""


@dataclass(frozen=True)
class Network:
    """A line of parts. The first part's input is the network's input, the last one's output its output."""

    top: str
    folding: Folding
    parts: tuple[Part, ...]
    latency_cycles: int
    first_output_latency_cycles: int
    steady_state: SteadyState

    @property
    def input(self) -> Stream:
        return self.parts[0].input

    @property
    def output(self) -> Stream:
        return self.parts[-1].output


@dataclass(frozen=True)
class _Draft:
    """A part before it has names: `key` is the identifier of a stage, or the one wished for what stands between two."""

    key: str
    instance: Instance
    element: IntegerType
    frame_elements: int
    stage: Stage | None = None
    purpose: str = ""


def lay_out(graph: Graph, folding: Folding, library_modules: Sequence[str]) -> Network:
    """The network's parts, named, with every converter and FIFO that it needs.

    A FIFO stands before a matrix-vector unit where, without it, the units could not work on different frames at the
    same time: such a unit takes its input only while it computes its first rows. Its depth is the smallest with which the
    network reaches the initiation interval of its slowest stage.
    """
    stages = group_stages(graph)
    stage_names = _stage_identifiers(stages)
    source = graph.types[graph.inputs[0].name]
    drafts: list[_Draft] = []
    places: list[int] = []  # positions of FIFOs, of depth 2 until they are sized
    lanes = folding.stages[stages[0].name].simd if stages else 1
    input_lanes = lanes
    for stage in stages:
        element, size = stage.input_type.element, stage.input_type.size
        option, name = folding.stages[stage.name], stage_names[stage.name]
        if option.simd != lanes:
            converter = width_converter(element.width, lanes, option.simd)
            purpose = f"{lanes} to {option.simd} elements a beat"
            drafts.append(_Draft(f"{name}_converter", converter, element, size, purpose=purpose))
        if drafts and isinstance(stage.operation, Dense) and option.pe < stage.output_type.channels:
            places.append(len(drafts))
            buffer = fifo(element.width, option.simd, 2)
            drafts.append(
                _Draft(f"{name}_fifo", buffer, element, size, purpose="lets the stages before work on the next frame")
            )
        instance = kernels()[type(stage.operation)].instance(stage, option, name)
        drafts.append(_Draft(name, instance, stage.output_type.element, stage.output_type.size, stage))
        lanes = option.pe
    if not drafts:
        slice_ = register_slice(source.element.width, lanes)
        drafts.append(_Draft("output_register", slice_, source.element, source.size, purpose="nothing to compute"))
    target = max([cycles(stage, folding.stages[stage.name]) for stage in stages], default=source.size)
    target = max(target, source.size // input_lanes)
    input_beats = source.size // input_lanes
    drafts = _size_fifos(drafts, places, input_beats, target)
    schedule = _schedule(drafts, input_beats)
    return Network(
        top=next(iter(identifiers([graph.name], reserved=[*library_modules, "rtl"]).values())),
        folding=folding,
        parts=_name(drafts, Stream("s_axis", input_lanes, source.element, input_beats)),
        latency_cycles=schedule.latency_cycles(),
        first_output_latency_cycles=schedule.first_output_latency_cycles(),
        steady_state=schedule.steady_state(),
    )


def _stage_identifiers(stages: Sequence[Stage]) -> dict[str, str]:
    """One identifier a stage. None starts with u_, so that instances (u_<name>) and wires (<name>_tdata) cannot meet."""
    found = identifiers((stage.name for stage in stages), _RESERVED)
    clear = {name: f"n_{word}" if f"{word}_".lower().startswith("u_") else word for name, word in found.items()}
    again = identifiers(clear.values(), _RESERVED)
    return {name: again[word] for name, word in clear.items()}


def _name(drafts: Sequence[_Draft], source: Stream) -> tuple[Part, ...]:
    # Stages keep their names, and what stands between them takes what is left.
    taken = [*_RESERVED, *(draft.key for draft in drafts if draft.stage)]
    parts: list[Part] = []
    stream = source
    for draft in drafts:
        name = draft.key
        if draft.stage is None:
            (name,) = identifiers([draft.key], taken).values()
            taken.append(name)
        stream_behind = Stream(
            name, draft.instance.output_lanes, draft.element, draft.frame_elements // draft.instance.output_lanes
        )
        parts.append(Part(name, draft.instance, stream, stream_behind, draft.stage, draft.purpose))
        stream = stream_behind
    return tuple(parts)


def _chain(drafts: Sequence[_Draft], input_beats: int) -> tuple[list[Timing], list[int]]:
    """The timing rules of all modules in a line, and the beats a frame of the streams around them."""
    timings: list[Timing] = []
    beats = [input_beats]
    for draft in drafts:
        instance = draft.instance
        timings += instance.timing
        beats += [draft.frame_elements // lanes for lanes in (*instance.inner_lanes, instance.output_lanes)]
    return timings, beats


def _schedule(drafts: Sequence[_Draft], input_beats: int, source_interval_cycles: int = 0) -> Schedule:
    return Schedule(*_chain(drafts, input_beats), source_interval_cycles)


def _size_fifos(drafts: list[_Draft], places: Sequence[int], input_beats: int, target: int) -> list[_Draft]:
    """Give each FIFO the smallest depth, or none, with which a frame is done every `target` cycles.

    target: the interval of the slowest stage alone, which no buffer can better. Sizes are found one FIFO after the other,
    from the input on, the later ones being as deep as they can ever be needed.
    """
    if not places:
        return drafts
    # What a FIFO holds when frames come at the target's pace is all that it can be needed for.
    unbounded = {
        place: 4 * (drafts[place].frame_elements // drafts[place].instance.output_lanes + 1) for place in places
    }
    paced = _schedule(_with_depths(drafts, unbounded), input_beats, target)
    if paced.steady_state().cycles != target * paced.steady_state().frames:
        return _with_depths(drafts, unbounded)
    depths = {}
    for place in places:
        kernel = sum(len(draft.instance.timing) for draft in drafts[:place])
        depths[place] = max(2, paced.occupancy(kernel))

    def sustained(place: int, depth: int) -> bool:
        state = _schedule(_with_depths(drafts, {**depths, place: depth}), input_beats, target).steady_state()
        return state.cycles == target * state.frames

    for place in places:
        low, high = 0, depths[place]  # a depth of 0 or 1 stands for no FIFO
        while low < high:
            middle = (low + high) // 2
            if sustained(place, middle):
                high = middle
            else:
                low = middle + 1
        depths[place] = 0 if high <= 1 else high
    return _with_depths(drafts, depths)


def _with_depths(drafts: Sequence[_Draft], depths: dict[int, int]) -> list[_Draft]:
    """The drafts with FIFOs of these depths at these positions; without those of depth 0 or 1."""
    result = []
    for position, draft in enumerate(drafts):
        if position not in depths:
            result.append(draft)
        elif depths[position] >= 2:
            instance = fifo(draft.element.width, draft.instance.output_lanes, depths[position])
            result.append(replace(draft, instance=instance))
    return result
