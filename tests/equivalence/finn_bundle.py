# SPDX-License-Identifier: Apache-2.0
"""Many networks as FINN RTL in one worker run and one Verilator build, with FINN's own assertions on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.equivalence.rtl_bundle import Bundle, Member
from tests.equivalence.rtl_cases import refused
from toolchain.backends.finn import Design, design, stitch, why_unsupported, write_request
from toolchain.backends.finn.layers import why_own_kernel
from toolchain.backends.finn.lower import lower
from toolchain.build.tools.finn import run_worker
from toolchain.ir import Dense, GraphBuilder
from toolchain.passes.choose_folding import Folding, StageFolding
from toolchain.passes.folding_model import has_parallel_window
from toolchain.passes.group_stages import group_stages
from toolchain.plan import BuildPlan

#: One part of each of FINN's DSP blocks: DSP48E1, DSP48E2 and DSP58.
PARTS = {"xc7": "xc7z020clg400-1", "usplus": "xczu7ev-ffvc1156-2-e", "versal": "xcvc1902-vsva2197-2mp-e-s"}


def decide(member: Member) -> Design:
    return design(member.graph, member.target, member.folding)


def _has_finn_nodes(member: Member) -> bool:
    """Whether the backend takes the member, and FINN computes something of it."""
    graph, goal = member.graph, member.target
    if refused(graph) or any(why_unsupported(node, graph, goal) for node in graph):
        return False
    stages = group_stages(lower(graph))
    given = member.folding.stages if member.folding else {}
    return any(
        why_own_kernel(stage, member.part) is None
        and not (stage.name in given and has_parallel_window(stage, given[stage.name]))
        # A border at the output is not FINN's.
        and not (stage.operation.kind == "pad" and stage is stages[-1])
        for stage in stages
    )


class FinnBundle(Bundle):
    """The members with FINN's nodes. `designs`: what was decided of each."""

    def __init__(
        self, members: Sequence[Member], folder: Path, without: tuple[str, ...] = (), assertions: bool = True
    ) -> None:
        self._without, self._assertions = without, assertions
        self.designs: dict[str, Design] = {}
        super().__init__(members, folder)

    def _plans(self, members: Sequence[Member], folder: Path) -> list[BuildPlan]:
        for member in members:
            self.designs[member.name] = decide(member)
        made = folder / "finn"
        made.mkdir(parents=True)
        _write_common_request(list(self.designs.values()), made, self._without)
        run_worker(made, log=made / "finn.log")
        plans = [stitch(decided, made) for decided in self.designs.values()]
        if self._assertions:
            return plans
        return [replace(plan, facts={**plan.facts, "simulation_options": []}) for plan in plans]


def _write_common_request(designs: Sequence[Design], folder: Path, without: tuple[str, ...]) -> None:
    """One request for the layers of all designs, whose names are their own."""
    layers: list[object] = []
    tables: dict[str, np.ndarray] = {}
    request: dict[str, object] = {}
    for number, decided in enumerate(designs):
        own = folder / f"request_{number}"
        own.mkdir()
        write_request(decided, own, without)
        request = json.loads((own / "request.json").read_text())
        layers += request["layers"]  # type: ignore[arg-type, operator]
        with np.load(own / "tables.npz") as stored:
            tables |= {name: stored[name] for name in stored.files}
    (folder / "request.json").write_text(json.dumps({**request, "layers": layers}))
    np.savez(folder / "tables.npz", **tables)  # type: ignore[arg-type]


def behind_finn(member: Member) -> Member:
    """The member behind a matrix of FINN's that gives every vector of its input as it is."""
    name, graph = f"{member.name}_behind_finn", member.graph
    (source,) = graph.inputs
    tensor = graph.types[source.name]
    builder = GraphBuilder(name)
    key = f"{source.name}_identity"
    renamed = {source.name: builder.add(source.operation, name=source.name)}
    renamed[source.name] = builder.add(Dense(np.eye(tensor.channels, dtype=np.int64)), source.name, name=key)
    for node in graph:
        if node.operation.kind != "input":
            inputs = [renamed.get(read, read) for read in node.inputs]
            builder.add(node.operation, *inputs, name=node.name, source=node.source)
    result = graph.outputs[0].tensor
    builder.output(renamed.get(result, result))
    behind = builder.build()
    given = member.folding or Folding(0, {})
    # A bias becomes part of the matrix's stage.
    absorbed = set(given.stages) - {stage.name for stage in group_stages(behind)}
    results = next((given.stages[bias].pe for bias in absorbed), 1)
    stages = {stage: folding for stage, folding in given.stages.items() if stage not in absorbed}
    stages[key] = StageFolding(tensor.channels, results)
    return replace(member, name=name, graph=behind, folding=Folding(given.cycles_per_frame, stages))


def with_finn_nodes(members: Iterator[Member], part: str = PARTS["xc7"]) -> Iterator[Member]:
    """The members in which FINN computes something."""
    for member in members:
        built = replace(member, part=part)
        if _has_finn_nodes(built):
            yield built
