# SPDX-License-Identifier: Apache-2.0
"""A report as tables in the terminal; plain text where the output is no terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from toolchain.report.figures import (
    ProcessorRow,
    name_text,
    number_text,
    processor_rows,
    rate_text,
    time_text,
    value_text,
)
from toolchain.report.report import (
    RUNG_NAMES,
    Report,
    artefact_paths,
    highest_rung,
    read_report,
    status_of,
    ties_sentence,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: What the table says of a comparison, and in which style.
_RESULTS = {
    "equal": ("equal", "green"),
    "explained": ("equal but for float32 ties", "green"),
    "different": ("DIFFERENT", "bold red"),
    "empty": ("nothing compared", "yellow"),
}
#: Columns where the output has no width of its own: tables in log files are cut at this width, not at 80.
_WIDTH_WITHOUT_TERMINAL = 140


def console_for(stream: IO[str] | None = None) -> Console:
    """A console that colours and wraps for a terminal, and writes plain text into anything else."""
    from rich.console import Console

    target = stream if stream is not None else sys.stdout
    terminal = bool(getattr(target, "isatty", lambda: False)())
    return Console(
        file=target,
        width=None if terminal else _WIDTH_WITHOUT_TERMINAL,
        no_color=None if terminal else True,
        force_terminal=terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )


def plain(text: object) -> str:
    """Text that a terminal shows as it stands: control characters (escape sequences among them) are written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def table_for(title: str, *columns: tuple[str, bool]) -> Table:
    """An empty table; columns are (heading, whether it holds numbers)."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(plain(title)), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for heading, numeric in columns:
        table.add_column(
            Text(plain(heading)), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold"
        )  # fmt: skip
    return table


def add_row(table: Table, *cells: object, style: str = "") -> None:
    from rich.text import Text

    table.add_row(*(Text(plain(cell)) for cell in cells), style=style or None)


def ladder_table(report: Report) -> Table:
    """Every rung, those that were not run too."""
    table = table_for(
        "Verified against the interpreter, integer by integer",
        ("rung", True), ("compared", False), ("vectors", True), ("mismatches", True), ("time", True), ("result", False),
    )  # fmt: skip
    for rung, name in RUNG_NAMES.items():
        entries = [entry for entry in report.ladder if entry["rung"] == rung]
        for entry in entries:
            _add_comparison(table, str(rung), entry)
        if not entries:
            add_row(table, rung, name, "", "", "", "not run", style="dim")
    for entry in report.checks:
        _add_comparison(table, "", entry)
    return table


def _add_comparison(table: Table, rung: str, entry: dict) -> None:
    result, style = _RESULTS[status_of(entry)]
    counts = f"{entry['vectors']:,}", f"{entry['mismatches']:,}"
    add_row(table, rung, entry["name"], *counts, time_text(entry["seconds"]), result, style=style)


def measurement_tables(report: Report) -> list[Table]:
    """Tables by device, with the kind of every figure; a processor's batch sizes are rows of one table."""
    tables = []
    for device in dict.fromkeys(record.device for record in report.measurements):
        rows, others = processor_rows([record for record in report.measurements if record.device == device])
        title = device or "No device"
        if rows:
            tables.append(_processor_table(title, rows))
        if others:
            table = table_for(title, ("figure", False), ("value", True), ("kind", False), ("tool", False))
            for record in others:
                tool = f"{record.tool} {record.tool_version}".strip()
                add_row(table, name_text(record.name), value_text(record), record.kind.value, tool)
            tables.append(table)
    return tables


def _processor_table(title: str, rows: list[ProcessorRow]) -> Table:
    table = table_for(
        title,
        ("tool", False), ("batch", True), ("p50", True), ("p99", True), ("p99.9", True), ("inferences/s", True),
        ("timed calls", True), ("vectors compared", True), ("kind", False),
    )  # fmt: skip
    for row in rows:
        times = ["" if s is None else time_text(s) for s in (row.p50_seconds, row.p99_seconds, row.p99_9_seconds)]
        rate = "" if row.throughput is None else rate_text(row.throughput)
        counts = ["" if n is None else number_text(n) for n in (row.calls, row.vectors)]
        add_row(table, row.tool, f"{row.batch:,}", *times, rate, *counts, row.kind.value)
    return table


def artefact_table(report: Report) -> Table:
    table = table_for("Files", ("artefact", False), ("path", False))
    for name, path, _ in artefact_paths(report):
        add_row(table, name, path)
    return table


def summary_line(report: Report) -> str:
    """Model, accuracy, and the highest rung that holds, in one line."""
    parts = [plain(report.model)]
    if report.board or report.part:
        parts.append(plain(report.board or report.part))
    if report.accuracy is not None:
        parts.append(f"accuracy {100 * report.accuracy:.2f} %")
    reached = highest_rung(report)
    if reached is None:
        parts.append("no rung holds")
    else:
        parts.append(f"verified to rung {reached['rung']} ({plain(reached['name'])}) on {reached['vectors']:,} vectors")
    return ": ".join([parts[0], ", ".join(parts[1:])])


def print_report(source: Report | Path, console: Console | None = None) -> None:
    """Summary, ladder, figures by device, files and notes of a report, a report.json or a build folder."""
    report = read_report(source) if isinstance(source, Path) else source
    out = console if console is not None else console_for()
    out.print(summary_line(report))
    out.print()
    out.print(ladder_table(report))
    for entry in (*report.ladder, *report.checks):
        if ties_sentence(entry):
            out.print(plain(ties_sentence(entry)))
    for table in measurement_tables(report):
        out.print(table)
    if report.artefacts:
        out.print(artefact_table(report))
    for note in report.notes:
        out.print(f"Note: {plain(note)}")
