# SPDX-License-Identifier: Apache-2.0
"""Several builds side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import UsageError
from toolchain.measure.record import Measurement, resource_name
from toolchain.report.figures import preferred, value_text
from toolchain.report.report import Report, highest_rung, read_report

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Row heading -> the measurement that fills it.
_ROWS: dict[str, str] = {
    "latency": "latency",
    "latency at Fmax": "latency_at_fmax",
    "latency in cycles": "latency_cycles",
    "initiation interval": "initiation_interval_cycles",
    "throughput": "throughput",
    "throughput at Fmax": "throughput_at_fmax",
    **{unit: resource_name(unit) for unit in ("LUT", "FF", "DSP", "block RAM")},
    "clock": "clock",
    "Fmax": "fmax",
}


@dataclass(frozen=True)
class Comparison:
    """Reports in the order asked for, and what a reader must know before comparing them."""

    folders: tuple[str, ...]
    reports: tuple[Report, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """{"schema", "builds": [{folder, model, ..., figures: {row: measurement or null}}], "warnings"}."""
        builds = []
        for folder, report in zip(self.folders, self.reports, strict=True):
            reached = highest_rung(report)
            figures = {row: _figure(report, name) for row, name in _ROWS.items()}
            builds.append(
                {
                    "folder": folder,
                    "model": report.model,
                    "graph_digest": report.graph_digest,
                    "backend": report.backend,
                    "board": report.board,
                    "part": report.part,
                    "accuracy": report.accuracy,
                    "highest_rung": reached,
                    "figures": {row: record and record.to_json() for row, record in figures.items()},
                }
            )
        return {"schema": 1, "builds": builds, "warnings": list(self.warnings)}

    def table(self) -> Table:
        """One column a build, one row a property; every figure carries its kind. Rows that no build has are left out."""
        from toolchain.report.terminal import add_row, table_for

        table = table_for("Builds side by side", ("", False), *((folder, False) for folder in self.folders))
        for label, cells in self._text_rows():
            if any(cells):
                add_row(table, label, *(cell or "-" for cell in cells))
        return table

    def _text_rows(self) -> list[tuple[str, list[str]]]:
        rows = [
            ("model", [r.model for r in self.reports]),
            ("graph", [r.graph_digest[:12] for r in self.reports]),
            ("backend", [r.backend for r in self.reports]),
            ("board", [r.board or r.part for r in self.reports]),
            ("highest rung", [_rung_text(r) for r in self.reports]),
            ("accuracy", ["" if r.accuracy is None else f"{100 * r.accuracy:.2f} %" for r in self.reports]),
        ]
        for row, name in _ROWS.items():
            records = [_figure(report, name) for report in self.reports]
            rows.append((row, [f"{value_text(r)} ({r.kind.value})" if r else "" for r in records]))
        return rows


def compare_reports(directories: Sequence[Path | str]) -> Comparison:
    """Read the report of each build folder (or report.json) and put them side by side.

    Raises UsageError for fewer than two, InputError for a report that is missing or damaged.
    """
    if len(directories) < 2:
        raise UsageError(f"comparing needs at least two build folders, found {len(directories)}")
    reports = tuple(read_report(Path(directory)) for directory in directories)
    return Comparison(tuple(str(d) for d in directories), reports, tuple(_warnings(reports)))


def _warnings(reports: Sequence[Report]) -> list[str]:
    found = []
    digests = {report.graph_digest for report in reports}
    if len(digests) > 1:
        found.append(
            "The builds are of different integer graphs: their figures compare two networks, not two ways to build one."
        )
    for row, name in _ROWS.items():
        kinds = {record.kind.value for report in reports if (record := _figure(report, name))}
        if len(kinds) > 1:
            found.append(f"The row '{row}' mixes kinds: {', '.join(sorted(kinds))}.")
    return found


def _figure(report: Report, name: str) -> Measurement | None:
    return preferred(report.measurements, name)


def _rung_text(report: Report) -> str:
    reached = highest_rung(report)
    return "" if reached is None else f"{reached['rung']} {reached['name']}, {reached['vectors']:,} vectors"


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """The table, then the warnings."""
    from toolchain.report.terminal import console_for, plain

    out = console if console is not None else console_for()
    out.print(comparison.table())
    for warning in comparison.warnings:
        out.print(f"Warning: {plain(warning)}")
