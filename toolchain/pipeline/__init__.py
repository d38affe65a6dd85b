# SPDX-License-Identifier: Apache-2.0
"""From a model to a verified build: the order of the stages, and what they hand to each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from toolchain.build.folder import BuildFolder, StageResult
from toolchain.build.schedule import Progress, Silent, Task, run_tasks
from toolchain.errors import ToolNotFound
from toolchain.pipeline.context import Context
from toolchain.pipeline.evaluation import evaluate
from toolchain.pipeline.graph_stage import run_graph_stage
from toolchain.pipeline.request import Stage, make_request

__all__ = ["BuildResult", "build_hardware", "evaluate"]


@dataclass(frozen=True)
class BuildResult:
    """folder: the build's. report: the contents of report.json. cached: stage -> whether an earlier run had done it."""

    folder: Path
    report: dict[str, Any]
    cached: dict[str, bool]


def build_hardware(
    model: Any, *, out: str | os.PathLike[str], progress: Progress | None = None, **options: Any
) -> BuildResult:
    """Build hardware for a model and verify it at every step; returns when the report is written.

    model: a model file, a folder with a model.toml, the name of a bundled model, or what `toolchain.load_model` returned.
    out: the build's folder; finished stages in it are reused.
    options: board, part, backend ('rtl', 'hls4ml', 'finn'), until ('graph', 'hls', 'rtl', 'netlist', 'bitstream'), vectors (.npz), weights,
        input_type, input_samples, input_bits, output ('auto', 'class', 'logits'), cycles_per_frame,
        frames_per_second, latency_us, budget ('LUT=20000,DSP=50', a mapping such as {'LUT': 20000}, or 'device'), folding (a
        file as a build's rtl/folding.json, or its content: {'conv1': {'pe': 4, 'simd': 9}}), clock_mhz, loadable_weights,
        dsp_from_bits, bulk_vectors, skip_rungs, measure, io_type, strategy, hls_flows and hls_cosim of the HLS projects; as in
        `bitwright build --help`. bulk_vectors: of rung 3; without it as many as fit about 8 million cycles, 1,000 to 100,000.
    Raises ToolchainError (see toolchain.errors); Mismatch if anything differs from the interpreter.
    """
    loaded = model if hasattr(model, "graph") else None
    request = make_request(model if loaded is None else _source_of(loaded), out=out, **options)
    identity = str(request.source.resolve())
    with BuildFolder(request.out, identity).open() as folder:
        context = Context(request, folder, progress or Silent())
        tasks = _tasks(context, loaded)
        _require_tools(task.name for task in tasks)
        results = run_tasks(tasks, _workers(), context.progress)
        report = _write_report(context, {name: result for name, result in results.items() if result is not None})
    return BuildResult(request.out, report, dict(context.cached))


def _source_of(loaded: Any) -> Any:
    """The path that a loaded model came from. Raises UsageError for one that was made from an object."""
    from toolchain.errors import UsageError

    if not loaded.files:
        raise UsageError(
            f"model {loaded.name!r} was made from an object and has no file; save its graph first "
            "(toolchain.save_graph) and build that, or save the model"
        )
    return loaded.folder.path if loaded.folder else loaded.files[0]


#: Stage -> modules of toolchain.build.tools whose tool it needs, and the option that leaves the stage out.
_TOOLS: dict[str, tuple[tuple[str, ...], str]] = {
    "hls": (("hls4ml", "cxx"), "--skip-rung 2"),
    "hls_rtl": (("verilator", "cocotb"), "--skip-rung 3"),
    "finn": (("finn", "verilator"), "--backend rtl"),
    "simulation": (("verilator",), "--skip-rung 3"),
    "bench": (("verilator", "cocotb"), "--skip-rung 4"),
    "synthesis": (("yosys",), "--until rtl"),
    "netlist": (("verilator",), "--skip-rung 5"),
    "bitstream": (("nextpnr", "ecppack"), "--until netlist"),
    "board": (("verilator",), "--until netlist"),
}


def _require_tools(stages: Iterable[str]) -> None:
    """Raise ToolNotFound before any work if a stage's tool is missing, saying how to go on without that stage."""
    for stage in stages:
        modules, without = _TOOLS.get(stage, ((), ""))
        for module in modules:
            try:
                import_module(f"toolchain.build.tools.{module}").TOOL.require()
            except ToolNotFound as error:
                raise ToolNotFound(f"stage {stage}: {error}. To build without it: {without}") from None


def _workers() -> int:
    """Stages that run side by side: one a core, and one for each 4 GiB of memory that is free."""
    import psutil

    return max(1, min(os.cpu_count() or 1, int(psutil.virtual_memory().available >> 32), 4))


def _tasks(context: Context, loaded: Any) -> list[Task]:
    from toolchain.pipeline import finn, hardware, hls

    request = context.request

    def graph(_: Mapping[str, Any]) -> StageResult:
        stage = run_graph_stage(context.folder, request, loaded, context.say("graph"))
        context.graph_stage = stage
        context.cached["graph"] = stage.result.cached
        return stage.result

    tasks = [Task("graph", graph, title="the model as an integer graph")]

    def add(name: str, work: Callable[..., StageResult], *needs: str, alone: bool = False) -> None:
        arguments = [need for need in needs if need != "graph" and not alone]

        def run(results: Mapping[str, Any]) -> StageResult:
            return work(context, *(results[need] for need in arguments))

        tasks.append(Task(name, run, needs, alone=alone))

    skip, until = request.skip_rungs, request.until
    rtl = request.backend in ("rtl", "finn") and until >= Stage.RTL
    if rtl and request.backend == "finn":
        add("finn", finn.run_finn, "graph")
        add("rtl", finn.run_finn_rtl, "finn")
    elif rtl:
        add("rtl", hardware.run_rtl, "graph")
    amd = rtl and request.target.device is not None and request.target.device.family != "ecp5"
    if rtl and until >= Stage.NETLIST and not amd:
        add("synthesis", hardware.run_synthesis, "rtl")
        if until >= Stage.BITSTREAM:
            add("bitstream", hardware.run_bitstream, "rtl", "synthesis")
    if until >= Stage.HLS and (request.backend == "hls4ml" or 2 not in skip):
        hls.require_compiler(context)
        add("hls", hardware.run_hls, "graph")
        if request.backend == "hls4ml" and hls.compiled_flow(context) is not None and not skip & {2, 3, 4}:
            add("hls_rtl", hls.run_hls_rtl, "hls")
    if rtl and 3 not in skip:
        add("simulation", hardware.run_simulation, "rtl")
    if rtl and 4 not in skip:
        add("bench", hardware.run_bench, "rtl")
    if rtl and until >= Stage.NETLIST and 5 not in skip:
        if amd:
            add("netlist", finn.run_amd_netlist, "rtl")
        else:
            add("netlist", hardware.run_netlist, "rtl", "synthesis")
    if rtl and until >= Stage.BITSTREAM:
        add("board", hardware.run_board, "rtl", "bitstream")
    if request.measure and until > Stage.GRAPH:
        add("measure", hardware.run_measure, *[task.name for task in tasks], alone=True)
    return tasks


def _write_report(context: Context, results: Mapping[str, StageResult]) -> dict[str, Any]:
    """Write report.json and report.html, unless the same report is there already."""
    from toolchain.errors import InputError
    from toolchain.pipeline.assemble import assemble
    from toolchain.report.report import HTML_NAME, read_report, write_report

    report = assemble(context, results)
    data = report.to_json()
    try:
        unchanged = (context.folder.path / HTML_NAME).exists() and read_report(context.folder.path).to_json() == data
    except InputError:
        unchanged = False
    if not unchanged:
        context.progress.started("report", "report.html")
        write_report(report, context.folder.path)
        context.progress.finished("report")
    return data
