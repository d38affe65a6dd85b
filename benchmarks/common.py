# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share: timing a command with its memory, the machine's description, and the results' files."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Row:
    """One figure. target: what it should be at most ('<') or at least ('>'), or '' for a peer or a baseline.

    kind: how it was obtained, a value of `toolchain.measure.record.Kind`.
    """

    name: str
    value: float
    unit: str
    tool: str
    tool_version: str
    target: str = ""
    note: str = ""
    kind: str = "measured"


@dataclass(frozen=True)
class Timed:
    """A command's wall time in seconds and the peak of its process tree's resident memory in MiB."""

    seconds: float
    peak_mib: float
    output: str


def version(distribution: str) -> str:
    from importlib import metadata

    return metadata.version(distribution)


def timed(command: Sequence[str], *, sample_s: float = 0.05, timeout_s: float = 1800) -> Timed:
    """Run a command to its end; raises if it fails. Memory is sampled, so a very short peak can be missed."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0

    def watch() -> None:
        nonlocal peak
        try:
            parent = psutil.Process(process.pid)
        except psutil.NoSuchProcess:
            return
        while process.poll() is None:
            total = 0
            try:
                family = [parent, *parent.children(recursive=True)]
            except psutil.NoSuchProcess:  # one of them ended while it was being listed
                continue
            for member in family:
                try:
                    total += member.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, total)
            time.sleep(sample_s)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, errors = process.communicate(timeout=timeout_s)
    seconds = time.perf_counter() - started
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}:\n{errors[-3000:]}")
    return Timed(seconds, peak / 2**20, output)


def median_seconds(command: Sequence[str], repeats: int) -> float:
    """Median wall time of a command in seconds, after one run to warm the file cache."""
    timed(command)
    return statistics.median(timed(command, sample_s=1.0).seconds for _ in range(repeats))


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def beside_python(name: str) -> str:
    """Path of a command of this environment."""
    return str(Path(sys.executable).parent / name)


def bitwright(*arguments: str) -> list[str]:
    return [beside_python("bitwright"), *arguments]


def machine() -> dict[str, Any]:
    """The machine in words: processor, cores, memory, system; no names, no paths."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def write_results(name: str, title: str, rows: Sequence[Row]) -> str:
    """Write results/NAME.json (measurement records) and results/NAME.md (the table rendered from them)."""
    from toolchain.measure.record import Kind, Measurement

    RESULTS.mkdir(exist_ok=True)
    described = machine()
    device = f"{described['processor']}, {described['cores']} cores"
    records = [
        Measurement(
            name=row.name, value=row.value, unit=row.unit, kind=Kind(row.kind),
            tool=row.tool, tool_version=row.tool_version, device=device,
        ).to_json()
        for row in rows
    ]  # fmt: skip
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": described,
        "measurements": records,
        "targets": {row.name: row.target for row in rows if row.target},
        "notes": {row.name: row.note for row in rows if row.note},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    table = render(content, title)
    (RESULTS / f"{name}.md").write_text(table)
    return table


def render(content: dict[str, Any], title: str) -> str:
    """The table of a results file, in Markdown."""
    lines = [f"# {content['benchmark']}", "", " ".join(title.split()), ""]
    lines.append(
        "Measured {date} on {processor}, {cores} cores, {memory_gib} GiB, {system}, Python {python}.".format(
            date=content["date"], **content["machine"]
        )
    )
    lines += [
        "",
        "| figure | value | unit | kind | target | tool | note |",
        "| --- | ---: | --- | --- | --- | --- | --- |",
    ]
    for record in content["measurements"]:
        name = record["name"]
        cells = [
            name,
            f"{record['value']:,.4g}" if abs(record["value"]) < 1e4 else f"{record['value']:,.0f}",
            record["unit"],
            record["kind"].replace("_", " "),
            content["targets"].get(name, ""),
            f"{record['tool']} {record['tool_version']}",
            content["notes"].get(name, ""),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


#: Name in a report -> name in a table, factor, unit.
_BUILD_FIGURES = {
    "latency_cycles": ("latency", 1.0, "cycles"),
    "initiation_interval_cycles": ("interval", 1.0, "cycles"),
    "fmax": ("Fmax", 1.0, "MHz"),
    "clock": ("board's clock", 1.0, "MHz"),
    "latency_at_fmax": ("latency at Fmax", 1e-3, "us"),
    "latency": ("latency at the board's clock", 1e-3, "us"),
    "throughput": ("throughput at the board's clock", 1.0, "inferences/s"),
    "used_lut": ("LUT", 1.0, "LUT"),
    "used_ff": ("FF", 1.0, "FF"),
    "used_dsp": ("DSP", 1.0, "DSP"),
    "used_block_ram": ("block RAM", 1.0, "block RAM"),
}
#: Earliest first.
_STAGES = ("estimated", "simulated", "post_synthesis", "post_route")


def read_build(folder: Path) -> dict[str, Any]:
    """The report of a build. Raises if an integer of any rung differed."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    wrong = [entry for entry in report["ladder"] if entry["mismatches"]]
    if wrong:
        raise RuntimeError(f"{folder.name}: {wrong}")
    return report


def build_rows(
    label: str, report: dict[str, Any], targets: Mapping[str, str] | None = None, *, estimates: bool = True
) -> list[Row]:
    """A build's figures, each of the latest stage that has it, and the vectors of every rung.

    label: put before each name. targets: by the name in the report. estimates: whether those made before synthesis count.
    """
    found = {
        record["name"]: record
        for stage in _STAGES
        for record in report["measurements"]
        if record["kind"] == stage and (estimates or stage != "estimated")
    }
    rows = [
        Row(
            f"{label}{name}", factor * found[key]["value"], unit, found[key]["tool"], found[key]["tool_version"],
            (targets or {}).get(key, ""), kind=found[key]["kind"],
        )
        for key, (name, factor, unit) in _BUILD_FIGURES.items()
        if key in found
    ]  # fmt: skip
    own = version("bitwright")
    rungs = [entry["rung"] for entry in report["ladder"]]
    for entry in report["ladder"]:
        which = f" ({entry['name']})" if rungs.count(entry["rung"]) > 1 else ""
        name = f"{label}rung {entry['rung']}{which}, vectors equal"
        rows.append(Row(name, entry["vectors"], "vectors", "bitwright", own, note=entry["name"]))
    return rows
