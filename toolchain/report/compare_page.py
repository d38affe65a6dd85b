# SPDX-License-Identifier: Apache-2.0
"""Several builds side by side as one HTML page that needs no network and runs no script.

Names come from files that nobody has checked: Jinja escapes all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import InputError
from toolchain.measure.record import KIND_MEANING, Kind, Measurement
from toolchain.report.compare import Comparison, Row
from toolchain.report.figures import value_text
from toolchain.report.report import write_atomically

_FOLDER = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Bar:
    """One build's figure. width: percent of the chart's widest; kind: how the figure was obtained."""

    build: str
    text: str
    width: float
    kind: str


@dataclass(frozen=True)
class Chart:
    """One figure of every build that has it, on a scale from zero that they share."""

    label: str
    bars: tuple[Bar, ...]


def write_page(comparison: Comparison, path: Path) -> Path:
    """Write the page to `path`, whole or not at all. Raises InputError where that cannot be written."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = comparison.rows()
    text = environment.get_template("compare.html.j2").render(
        builds=_names(comparison),
        rows=rows,
        charts=list(_charts(comparison, rows)),
        warnings=comparison.warnings,
        kinds=[(kind.value, KIND_MEANING[kind]) for kind in Kind if any(_has(row, kind) for row in rows)],
        style=jinja2.utils.markupsafe.Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def _names(comparison: Comparison) -> list[str]:
    """What tells the builds apart: the backend where all differ in it, else the folder."""
    backends = [report.backend for report in comparison.reports]
    return backends if all(backends) and len(set(backends)) == len(backends) else list(comparison.folders)


def _charts(comparison: Comparison, rows: list[Row]) -> Iterator[Chart]:
    for row in rows:
        found = [
            (name, record) for name, record in zip(_names(comparison), row.records, strict=False) if record is not None
        ]
        units = {record.unit for _, record in found}
        # One bar tells nothing, and two units have no common scale.
        if len(found) > 1 and len(units) == 1:
            widest = max(record.value for _, record in found)
            yield Chart(row.label, tuple(_bar(name, record, widest) for name, record in found))


def _bar(name: str, record: Measurement, widest: float) -> Bar:
    return Bar(name, value_text(record), 100 * record.value / widest if widest > 0 else 0.0, record.kind.value)


def _has(row: Row, kind: Kind) -> bool:
    return any(record is not None and record.kind is kind for record in row.records)
