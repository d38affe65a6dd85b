# SPDX-License-Identifier: Apache-2.0
"""Several builds side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.errors import UsageError
from toolchain.measure.record import Measurement, resource_name
from toolchain.report.figures import preferred, time_text, value_text
from toolchain.report.report import RUNG_NAMES, Report, highest_rung, read_report, status_of

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


#: What a cell says of a rung that was run.
_VERDICTS = {
    "equal": "equal",
    "explained": "equal but for float32 ties",
    "different": "DIFFERENT",
    "empty": "nothing compared",
}


@dataclass(frozen=True)
class Row:
    """A property of every build. cells: its text, '' where a build has none. records: the figures behind it, or none."""

    label: str
    cells: tuple[str, ...]
    records: tuple[Measurement | None, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Reports in the order asked for, and what a reader must know before comparing them."""

    folders: tuple[str, ...]
    reports: tuple[Report, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """{"schema", "builds": [{folder, model, ..., ladder, figures: {row: measurement or null}, build_seconds}], "warnings"}."""
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
                    "ladder": report.ladder,
                    "build_seconds": _build_seconds(report) if report.timings else None,
                    "figures": {row: record and record.to_json() for row, record in figures.items()},
                }
            )
        return {"schema": 1, "builds": builds, "warnings": list(self.warnings)}

    def table(self) -> Table:
        """One column a build, one row a property; every figure carries its kind. Rows that no build has are left out."""
        from toolchain.report.terminal import add_row, table_for

        table = table_for("Builds side by side", ("", False), *((folder, False) for folder in self.folders))
        for row in self.rows():
            add_row(table, row.label, *(cell or "-" for cell in row.cells))
        return table

    def rows(self) -> list[Row]:
        """The properties that at least one build has: what was built, what was verified, every figure with its kind, time of all stages."""
        found = [
            self._texts("model", lambda report: report.model),
            self._texts("graph", lambda report: report.graph_digest[:12]),
            self._texts("backend", lambda report: report.backend),
            self._texts("board", lambda report: report.board or report.part),
            self._texts("highest rung", _rung_text),
            *(self._texts(f"rung {rung}: {name}", partial(_checked_text, rung)) for rung, name in RUNG_NAMES.items()),
            self._texts("accuracy", lambda r: "" if r.accuracy is None else f"{100 * r.accuracy:.2f} %"),
        ]
        for label, name in _ROWS.items():
            records = tuple(_figure(report, name) for report in self.reports)
            texts = tuple(f"{value_text(r)} ({r.kind.value})" if r else "" for r in records)
            found.append(Row(label, texts, records))
        found.append(self._texts("time of all stages", lambda r: time_text(_build_seconds(r)) if r.timings else ""))
        return [row for row in found if any(row.cells)]

    def _texts(self, label: str, text: Callable[[Report], str]) -> Row:
        return Row(label, tuple(text(report) for report in self.reports))


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


def _checked_text(rung: int, report: Report) -> str:
    """The rung's comparisons of a build: how many vectors, and whether every integer was equal."""
    texts = []
    for entry in report.ladder:
        if entry["rung"] == rung:
            found = f"{entry['mismatches']:,} of " if entry["mismatches"] else ""
            texts.append(f"{_VERDICTS[status_of(entry)]}, {found}{entry['vectors']:,} vectors")
    return "; ".join(texts)


def _build_seconds(report: Report) -> float:
    """The stages' times, added; stages run side by side. Those that an earlier call finished count with the time they took then."""
    return sum(report.timings.values())


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
