# SPDX-License-Identifier: Apache-2.0
"""Instances and what feeds them, before they have names: from this the schedule, and the depth of every memory, follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.schedule import Schedule
from toolchain.backends.rtl.streaming.timing import Circuit, Link, Timing
from toolchain.ir import IntegerType
from toolchain.passes.group_stages import Stage

#: An output of a draft: (its place, port).
Endpoint = tuple[int, int]
#: The network's own input.
SOURCE: Endpoint = (-1, 0)


@dataclass(frozen=True)
class Draft:
    """A part before it has names: `key` is the identifier of a stage, or the one wished for what stands between two."""

    instance: Instance
    inputs: tuple[Endpoint, ...]
    key: str
    stage: Stage | None = None
    purpose: str = ""


@dataclass
class Plumbing:
    """Drafts in the order of the data. Every endpoint is read once, `output` by the network's sink."""

    source_element: IntegerType
    source_lanes: int
    source_beats: int
    drafts: list[Draft] = field(default_factory=list)
    output: Endpoint = SOURCE

    def add(
        self,
        instance: Instance,
        inputs: tuple[Endpoint, ...],
        key: str,
        stage: Stage | None = None,
        purpose: str = "",
    ) -> Endpoint:
        """Place an instance; returns its first output."""
        assert len(inputs) == len(instance.input_ports)
        self.drafts.append(Draft(instance, inputs, key, stage, purpose))
        return len(self.drafts) - 1, 0

    def stream(self, end: Endpoint) -> tuple[IntegerType, int, int]:
        """(element, lanes, beats a frame) of what leaves an endpoint."""
        if end == SOURCE:
            return self.source_element, self.source_lanes, self.source_beats
        instance = self.drafts[end[0]].instance
        return instance.output_element, instance.output_lanes, instance.output_beats

    def finished(self, output: Endpoint) -> Plumbing:
        return replace(self, output=output)

    def resizable(self) -> list[int]:
        """Places of the drafts whose memory's depth the schedule decides."""
        return [place for place, draft in enumerate(self.drafts) if draft.instance.resize is not None]

    def with_depths(self, depths: Mapping[int, int]) -> Plumbing:
        """The same with memories of these depths; a FIFO of depth 0 or 1 is taken out."""
        moved: dict[Endpoint, Endpoint] = {SOURCE: SOURCE}
        drafts: list[Draft] = []
        for place, draft in enumerate(self.drafts):
            inputs = tuple(moved[end] for end in draft.inputs)
            instance = draft.instance
            if place in depths:
                assert instance.resize is not None
                if instance.least_depth == 0 and depths[place] <= 1:
                    moved[place, 0] = inputs[0]
                    continue
                instance = instance.resize(depths[place])
            for port in range(len(instance.output_ports)):
                moved[place, port] = (len(drafts), port)
            drafts.append(replace(draft, instance=instance, inputs=inputs))
        return replace(self, drafts=drafts, output=moved[self.output])

    def held(self) -> Plumbing:
        """The same with kernels that begin no frame before its first beat is there."""
        drafts = [
            replace(draft, instance=draft.instance.hold() if draft.instance.hold else draft.instance)
            for draft in self.drafts
        ]
        return replace(self, drafts=drafts)

    def circuit(self) -> tuple[Circuit, tuple[str, ...], dict[int, int]]:
        """The kernels and links of the schedule, the links' names, and the first kernel of each draft."""
        timings: list[Timing] = []
        beats: dict[Endpoint, int] = {SOURCE: self.source_beats}
        writers: dict[Endpoint, tuple[int, int] | None] = {SOURCE: None}
        names = {SOURCE: "the input"}
        links: list[tuple[str, Link]] = []
        kernels: dict[int, int] = {}
        for place, draft in enumerate(self.drafts):
            instance = draft.instance
            kernels[place] = len(timings)
            for port, end in enumerate(draft.inputs):
                links.append((names[end], Link(beats[end], writers[end], (len(timings), port))))
            elements = instance.output_beats * instance.output_lanes
            between = instance.inner_beats or tuple(elements // lanes for lanes in instance.inner_lanes)
            for inner, timing in zip(between, instance.timing[:-1], strict=True):
                timings.append(timing)
                links.append((draft.key, Link(inner, (len(timings) - 1, 0), (len(timings), 0))))
            timings.append(instance.timing[-1])
            for port in range(len(instance.output_ports)):
                beats[place, port] = instance.output_beats
                writers[place, port] = (len(timings) - 1, port)
                names[place, port] = f"the output of {draft.key}"
        links.append(("the output", Link(beats[self.output], writers[self.output], None)))
        # The source's link comes first; drafts are in the order of the data, but a branch may read the input later.
        links.sort(key=lambda entry: entry[1].writer is not None)
        return Circuit(tuple(timings), tuple(link for _, link in links)), tuple(name for name, _ in links), kernels

    def beats_ahead(self) -> dict[Endpoint, int]:
        """For each endpoint the beats that leave it before any input beat is there."""
        circuit, _, kernels = self.circuit()
        last = {kernels[place] + len(draft.instance.timing) - 1: place for place, draft in enumerate(self.drafts)}
        return {
            SOURCE if link.writer is None else (last[link.writer[0]], link.writer[1]): beats
            for link, beats in zip(circuit.links, Schedule(circuit).beats_ahead(), strict=True)
            if link.writer is None or link.writer[0] in last
        }

    def schedule(self, interval_cycles: int = 0, *, even: bool = False) -> Schedule:
        """Frames as fast as the network accepts, or every `interval_cycles`, their beats spread `even`ly or at once."""
        circuit, names, _ = self.circuit()
        return Schedule(circuit, interval_cycles, even, names)
