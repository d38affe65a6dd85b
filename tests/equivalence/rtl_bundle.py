# SPDX-License-Identifier: Apache-2.0
"""Many generated networks in one Verilator build: a top module that sends beats to the one that their upper bits name.

Selecting is combinational in both directions, so that every network shows the cycles it has alone. Only the selected
network has a clock, which is what makes the bundle fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.backends.rtl.streaming import plan
from toolchain.ir import Graph, interpret
from toolchain.passes.choose_folding import Folding
from toolchain.plan import BuildPlan
from toolchain.target import Target, find_device
from toolchain.verify.packing import pack_beats, unpack_beats
from toolchain.verify.simulate import build_simulation
from toolchain.verify.simulation_library import Pattern, Run, SimulationLibrary

TOP = "bundle"
_SELECT_BITS = 16


@dataclass(frozen=True)
class Member:
    """A network of the bundle. Its graph's name and its nodes' names must be its own: files and modules carry them.

    part: ordering code of the device that it is built for; '' for none.
    """

    name: str
    graph: Graph
    folding: Folding | None = None
    cycles_per_frame: int | None = None
    part: str = ""

    @property
    def target(self) -> Target:
        return Target(find_device(self.part) if self.part else None, cycles_per_frame=self.cycles_per_frame)


class Bundle:
    """The members, built into one shared object in `folder`."""

    def __init__(self, members: Sequence[Member], folder: Path) -> None:
        self.members = {member.name: member for member in members}
        assert len(self.members) == len(members)
        plan_folder = folder / "plan"
        plans = self._plans(members, folder)
        assert len({p.top for p in plans}) == len(plans)
        sources: dict[str, None] = {}
        memories: set[str] = set()
        for made in plans:
            made.write(plan_folder)
            sources |= dict.fromkeys(made.sources(".sv", ".v"))
            own = made.sources(".hex", ".dat")
            assert not memories & set(own), "two members write the same memory file"
            memories |= set(own)
        self.facts: dict[str, dict[str, Any]] = {
            m.name: dict(made.facts) for m, made in zip(members, plans, strict=True)
        }
        self._index = {member.name: number for number, member in enumerate(members)}
        self._data_bytes = max(facts["input"]["data_width"] for facts in self.facts.values()) // 8
        (plan_folder / "bundle.sv").write_text(self._top([p.top for p in plans]))
        facts = {"top": TOP, "nodes": [], "simulation_options": plans[0].facts.get("simulation_options", ())}
        library = build_simulation(
            plan_folder, facts, folder / "simulation", sources=[*sources, "bundle.sv"], capture=(), optimisation="-O0"
        )
        self._path, self._plan_folder = library.path, plan_folder

    def _plans(self, members: Sequence[Member], folder: Path) -> list[BuildPlan]:
        return [plan(m.graph, m.target, m.folding) for m in members]

    def _top(self, tops: Sequence[str]) -> str:
        width = self._data_bytes * 8
        output = max(facts["output"]["data_width"] for facts in self.facts.values())
        lines = [
            f"module {TOP} (input wire logic clk, input wire logic rst,",
            f"  input wire logic [{width + _SELECT_BITS - 1}:0] s_axis_tdata, input wire logic s_axis_tvalid, output logic s_axis_tready,",
            f"  output logic [{output - 1}:0] m_axis_tdata, output logic m_axis_tvalid, input wire logic m_axis_tready,",
            "  output logic m_axis_tlast);",
            f"  logic [{_SELECT_BITS - 1}:0] chosen, selected;",
            f"  assign selected = s_axis_tvalid ? s_axis_tdata[{width} +: {_SELECT_BITS}] : chosen;",
            "  always_ff @(posedge clk) if (s_axis_tvalid) chosen <= selected;",
            f"  logic [{len(tops) - 1}:0] ready, valid, last;",
            f"  logic [{output - 1}:0] data [{len(tops)}];",
            "  assign s_axis_tready = ready[selected];",
            "  assign m_axis_tvalid = valid[selected] && !rst;",
            "  assign m_axis_tdata = data[selected];",
            "  assign m_axis_tlast = last[selected];",
        ]
        for number, (top, facts) in enumerate(zip(tops, self.facts.values(), strict=True)):
            out = facts["output"]["data_width"]
            lines += [
                f"  logic [{out - 1}:0] data_{number};",
                f"  assign data[{number}] = {output}'(data_{number});",
                f"  {top} u_{number} (.clk(clk && (rst || selected == {number})), .rst(rst),",
                f"    .s_axis_tdata(s_axis_tdata[{facts['input']['data_width'] - 1}:0]),",
                f"    .s_axis_tvalid(s_axis_tvalid && selected == {number}), .s_axis_tready(ready[{number}]),",
                f"    .m_axis_tdata(data_{number}), .m_axis_tvalid(valid[{number}]),",
                f"    .m_axis_tready(m_axis_tready && selected == {number}), .m_axis_tlast(last[{number}]));",
            ]
        return "\n".join([*lines, "endmodule", ""])

    def run(self, name: str, x_integers: np.ndarray, pattern: Pattern | None = None) -> tuple[np.ndarray, Run]:
        """The member's output integers, and the run, of integer vectors."""
        facts, graph = self.facts[name], self.members[name].graph
        library = SimulationLibrary(self._path, facts, (), self._plan_folder)
        source, sink = facts["input"], facts["output"]
        flat = x_integers.reshape(len(x_integers), -1)
        beats = pack_beats(flat, source["lanes"], source["element_width"], library.input_bytes)
        beats[:, self._data_bytes] = self._index[name] & 255
        beats[:, self._data_bytes + 1] = self._index[name] >> 8
        # Bits above the elements are ignored: show it.
        used = source["lanes"] * source["element_width"]
        if used % 8:
            beats[:, used // 8] |= np.uint8(255 << used % 8 & 255)
        drain = facts["latency_cycles"] + facts["initiation_interval_cycles"] + 16
        with library.start() as simulation:
            run = simulation.run(beats, len(x_integers), pattern=pattern, drain_cycles=drain)
        # Bits above the elements are 0.
        width = sink["lanes"] * sink["element_width"]
        surplus = np.unpackbits(run.output, axis=1, bitorder="little")[:, width:]
        assert not surplus.any(), "bits of m_axis_tdata above the elements are not 0"
        tensor = graph.types[sink["node"]]
        values = unpack_beats(run.output, sink["lanes"], sink["element_width"], sink["signed"], tensor.size)
        return values.reshape(-1, *tensor.shape), run

    def check(self, name: str, x_integers: np.ndarray, patterns: Sequence[Pattern]) -> None:
        """Exact against the interpreter, flowing and under every pattern."""
        (expected,) = interpret(self.members[name].graph, x_integers).values()
        for pattern in (Pattern(), *patterns):
            found, _ = self.run(name, x_integers, pattern)
            wrong = np.argwhere(found != expected)
            assert len(wrong) == 0, f"{name}, {pattern}: {len(wrong)} values differ, first at {wrong[0]}"

    def check_timing(self, name: str, x_integers: np.ndarray) -> None:
        """Latency, first output and every interval of the steady state are those declared."""
        facts = self.facts[name]
        steady = facts["steady_state"]
        frames = steady["from_frame"] + 3 * steady["frames"] + 1
        _, run = self.run(name, np.resize(x_integers, (frames, *x_integers.shape[1:])))
        start = int(run.input_cycles[0])
        assert int(run.output_cycles[0]) - start == facts["first_output_latency_cycles"]
        assert int(run.output_cycles[facts["output"]["beats"] - 1]) - start == facts["latency_cycles"]
        for cycles, beats in (
            (run.input_cycles, facts["input"]["beats"]),
            (run.output_cycles, facts["output"]["beats"]),
        ):
            starts = cycles[::beats]
            gaps = (starts[steady["frames"] :] - starts[: -steady["frames"]])[steady["from_frame"] :]
            assert set(gaps.tolist()) == {steady["cycles"]}
