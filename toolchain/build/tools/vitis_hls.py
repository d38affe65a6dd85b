# SPDX-License-Identifier: Apache-2.0
"""AMD's HLS compilers, where there is one: RTL from an hls4ml project, cosimulation, and what their report estimates.

The commands are those of AMD's documentation: `vitis-run --mode hls --tcl FILE`, before 2024 `vitis_hls -f FILE`, and
`vivado_hls -f FILE` until 2020.
"""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from toolchain.build.runner import Completed, run
from toolchain.build.tool import FoundTool, Tool
from toolchain.errors import BuildFailed, ToolNotFound

#: Program on PATH -> what comes between it and the script; by the flow whose projects it compiles, the newest first.
PROGRAMS: dict[str, dict[str, tuple[str, ...]]] = {
    "vitis": {"vitis-run": ("--mode", "hls", "--tcl"), "vitis_hls": ("-f",)},
    "vivado": {"vivado_hls": ("-f",)},
    "vivado_accelerator": {"vivado_hls": ("-f",)},
}
_SCRIPT, _OPTIONS = "build_prj.tcl", "build_opt.tcl"
_LARGEST_REPORT_BYTES = 16 << 20
_LARGEST_COUNT = 1 << 40


def find_compiler(flow: str) -> FoundTool | None:
    """The compiler for projects of the flow; the command lacks only the script. Its version is in its reports."""
    for name, options in PROGRAMS.get(flow, {}).items():
        path = shutil.which(name)
        if path is not None:
            return FoundTool((path, *options), "unknown", path)
    return None


def _find() -> FoundTool | None:
    return next((found for flow in PROGRAMS if (found := find_compiler(flow)) is not None), None)


TOOL = Tool(
    name="AMD HLS compiler (vitis-run, vitis_hls or vivado_hls)",
    lost="HLS projects are written and run on the CPU, but not compiled into RTL",
    install="installing AMD Vitis, and putting its bin folder on PATH",
    find=_find,
    optional=True,
)


def compiled_top(flow: str, top: str) -> str:
    """The function that the flow's script compiles for the network's function `top`."""
    return f"{top}_axi" if flow == "vivado_accelerator" else top


def synthesise(project: Path, flow: str, *, cosimulate: bool, log: Path, timeout_s: float = 6 * 3600) -> Completed:
    """Compile the project of `flow` (a key of PROGRAMS) into RTL, and with `cosimulate` run its own test bench on C++ and RTL.

    Changes the project's build options, and leaves what hls4ml's script leaves. That script ends in an error where C++ and RTL do
    not print the same. Raises ToolNotFound with the names that were looked for, BuildFailed.
    """
    found = find_compiler(flow)
    if found is None:
        names = ", ".join(PROGRAMS.get(flow, {})) or "no program that this project knows"
        raise ToolNotFound(f"HLS compiler for flow {flow!r}: {names} was not found on PATH. {TOOL.lost}")
    chosen = {"reset": 1, "csim": int(cosimulate), "synth": 1, "cosim": int(cosimulate), "validation": int(cosimulate)}
    chosen |= {"export": 0, "vsynth": 0, "fifo_opt": 0}
    command = [*found.command, _SCRIPT]
    if flow == "vitis":
        lines = ["array set opt {\n", *(f"    {name} {value}\n" for name, value in chosen.items()), "}\n"]
        (project / _OPTIONS).write_text("".join(lines))
    else:
        # The script of these flows reads no file. It looks for 'synth=' and so on in each argument, and takes 'vsynth=' for one
        # where nothing comes before it: all have to be one argument, in this order.
        command.append(" ".join(f"{name}={value}" for name, value in chosen.items()))
    return run(command, cwd=project, log=log, what=f"HLS compiler on the {flow} project", timeout_s=timeout_s)


@dataclass(frozen=True)
class HlsReport:
    """What the compiler expects of its RTL, from csynth.xml. Nothing of it is measured.

    latency_cycles, interval_cycles: the worst case, None where the compiler cannot say. resources, available: LUT, FF, DSP, block
    RAM in blocks of 36 Kibit, of which halves can be used.
    """

    tool_version: str
    top: str
    part: str
    target_clock_ns: float
    estimated_clock_ns: float
    latency_cycles: int | None
    interval_cycles: int | None
    resources: dict[str, float]
    available: dict[str, float]


def report_path(project: Path, top: str, flow: str = "vitis") -> Path:
    """Where the compilers leave their report of the function that the script compiles. top: the network's function."""
    return project / f"{top}_prj" / "solution1" / "syn" / "report" / f"{compiled_top(flow, top)}_csynth.xml"


def read_report(path: Path) -> HlsReport:
    """Read csynth.xml. Raises BuildFailed naming the file and what is missing, malformed or out of range."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BuildFailed(f"{path}: the HLS compiler's report cannot be read: {error.strerror or error}") from None
    if len(content) > _LARGEST_REPORT_BYTES:
        raise BuildFailed(f"{path}: the HLS compiler's report has {len(content):,} bytes, more than any has")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"\0" in content:
        # No report declares entities; a file that does, or hides it in another encoding, is none.
        raise BuildFailed(f"{path}: not a report of an HLS compiler: it declares entities or is no UTF-8 text")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314  # entities are refused above
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise BuildFailed(f"{path}: not a report of an HLS compiler: {error}") from None
    return _Reader(path, root).report()


class _Reader:
    """Fields of a report, by their path."""

    def __init__(self, path: Path, root: ElementTree.Element) -> None:
        self._path, self._root = path, root

    def report(self) -> HlsReport:
        user, performance = "UserAssignments", "PerformanceEstimates"
        overall = f"{performance}/SummaryOfOverallLatency"
        return HlsReport(
            tool_version=self._text("ReportVersion/Version"),
            top=self._text(f"{user}/TopModelName"),
            part=self._text(f"{user}/Part"),
            target_clock_ns=self._period(f"{user}/TargetClockPeriod"),
            estimated_clock_ns=self._period(f"{performance}/SummaryOfTimingAnalysis/EstimatedClockPeriod"),
            latency_cycles=self._cycles(f"{overall}/Worst-caseLatency"),
            interval_cycles=self._cycles(f"{overall}/Interval-max"),
            resources=self._resources("AreaEstimates/Resources"),
            available=self._resources("AreaEstimates/AvailableResources"),
        )

    def _text(self, where: str) -> str:
        element = self._root.find(where)
        text = (element.text or "").strip() if element is not None else ""
        if not text:
            raise BuildFailed(f"{self._path}: the report has no {where}")
        return text

    def _refuse(self, where: str, text: str, expected: str) -> BuildFailed:
        return BuildFailed(f"{self._path}: {where} is {text[:40]!r}, expected {expected}")

    def _period(self, where: str) -> float:
        text = self._text(where)
        if not re.fullmatch(r"\d{1,6}(\.\d{1,12})?", text) or not float(text):
            raise self._refuse(where, text, "a clock period in ns above 0")
        return float(text)

    def _cycles(self, where: str) -> int | None:
        text = self._text(where)
        return None if text in ("undef", "?", "-") else self._count(where, text)

    def _count(self, where: str, text: str) -> int:
        if not re.fullmatch(r"\d{1,13}", text) or int(text) > _LARGEST_COUNT:
            raise self._refuse(where, text, "a whole number")
        return int(text)

    def _resources(self, where: str) -> dict[str, float]:
        node = self._root.find(where)
        if node is None:
            raise BuildFailed(f"{self._path}: the report has no {where}")
        # Vivado HLS calls its multipliers DSP48E.
        tags = {"LUT": ("LUT",), "FF": ("FF",), "DSP": ("DSP", "DSP48E"), "BRAM_18K": ("BRAM_18K",)}
        found = {}
        for name, spellings in tags.items():
            tag = next((tag for tag in spellings if node.find(tag) is not None), spellings[0])
            found[name] = self._count(f"{where}/{tag}", self._text(f"{where}/{tag}"))
        halves = found.pop("BRAM_18K")
        return {**found, "block RAM": halves / 2}
