# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML page that needs no network: styles, data and plotly.js are inside.

Names of models, layers, classes and files come from files that nobody has checked. Jinja escapes all of them; data for
the charts travels as JSON without '<', '>' and '&'; and the page's content security policy runs no script but its own
three (by digest) and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from toolchain.measure.record import KIND_MEANING, Kind, Measurement
from toolchain.report.charts import MARKERS, confusion_chart, device_styles, latency_chart, throughput_chart
from toolchain.report.figures import (
    FPGA,
    ProcessorRow,
    group_of,
    latency_points,
    name_text,
    number_text,
    preferred,
    processor_rows,
    rate_text,
    resource_uses,
    throughput_series,
    time_text,
    value_text,
)
from toolchain.report.report import RUNG_NAMES, Report, artefact_paths, highest_rung, status_of, ties_sentence

_FOLDER = Path(__file__).parent / "page"


def render_html(report: Report) -> str:
    """The whole page. Sections without data are left out."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "time": time_text,
        "count": lambda value: f"{value:,}",
        "vectors": lambda value: f"{value:,} vector{'' if value == 1 else 's'}",
        "percent": lambda value: number_text(value, 3),
        "micro": lambda text: str(text).replace(" us", " \u00b5s"),
    }
    points, series = latency_points(report.measurements), throughput_series(report.measurements)
    styles = device_styles(points, series)
    charts = {
        "latency": latency_chart(points, styles),
        "throughput": throughput_chart(series, styles),
        "confusion": confusion_chart(report.confusion_matrix),
    }
    drawn = {name: chart for name, chart in charts.items() if chart is not None}
    script = (_FOLDER / "page.js").read_text(encoding="utf-8").strip()
    plotly = _plotly_javascript() if drawn else ""
    return environment.get_template("page.html.j2").render(
        report=report,
        reached=highest_rung(report),
        rungs=list(_rungs(report)),
        checks=[{**entry, "status": status_of(entry)} for entry in report.checks],
        tiles=_tiles(report),
        charts=charts,
        chart_data=_script_json({name: chart.figure for name, chart in drawn.items()}),
        resources=list(_resources(report)),
        measurements=_measurement_groups(report),
        kinds=[kind for kind in Kind if any(record.kind is kind for record in report.measurements)],
        kind_meaning=KIND_MEANING,
        markers=_MARKER_SVG,
        limits=list(_limits(report)),
        artefacts=[
            (name, path, "./" + quote(path.replace("\\", "/")), digest) for name, path, digest in artefact_paths(report)
        ],
        folding_columns=list(dict.fromkeys(key for row in report.folding for key in row if key != "name")),
        number_columns={k for row in report.folding for k, v in row.items() if type(v) in (int, float)},
        name_text=name_text,
        value_text=value_text,
        number_text=number_text,
        rate_text=rate_text,
        style=jinja2.utils.markupsafe.Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=jinja2.utils.markupsafe.Markup(script),
        plotly=jinja2.utils.markupsafe.Markup(plotly),
        script_digests=" ".join(f"'{_digest(text)}'" for text in (script, plotly) if text),
    )


@cache
def _plotly_javascript() -> str:
    from plotly.offline import get_plotlyjs

    text = str(get_plotlyjs())
    assert "</script" not in text.lower()
    return text


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _script_json(value: Any) -> Any:
    """JSON that cannot end the script element that holds it."""
    from jinja2.utils import markupsafe

    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


#: The shapes of `charts.MARKERS` in a box of 12 by 12.
_MARKER_PATHS = {
    "circle": '<circle cx="6" cy="6" r="4.5"/>',
    "diamond": '<path d="M6 .8 11.2 6 6 11.2.8 6z"/>',
    "square": '<path d="M1.8 1.8h8.4v8.4H1.8z"/>',
    "triangle-up": '<path d="M6 1.2 11 10.4H1z"/>',
    "circle-open": '<circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="2"/>',
    "x": '<path d="M2 2l8 8M10 2l-8 8" stroke="currentColor" stroke-width="2.6"/>',
}
_MARKER_SVG = {kind: _MARKER_PATHS[name] for kind, name in MARKERS.items()}


def _rungs(report: Report) -> Iterator[dict[str, Any]]:
    """All seven rungs; status is that of `status_of`, or 'absent' (not run)."""
    for rung, name in RUNG_NAMES.items():
        entries = [entry for entry in report.ladder if entry["rung"] == rung]
        for entry in entries:
            yield {**entry, "status": status_of(entry)}
        if not entries:
            yield {"rung": rung, "name": name, "status": "absent"}


def _tiles(report: Report) -> list[dict[str, str]]:
    """The figures at the top: what, how much, and of which kind."""
    tiles = []
    if report.accuracy is not None:
        accuracy = f"{100 * report.accuracy:.2f}"
        tiles.append({"label": "Accuracy", "value": accuracy, "unit": "%", "detail": "held-out vectors, integer graph"})
    chosen = (
        ("Latency", preferred(report.measurements, "latency", "latency_at_fmax", "latency_cycles")),
        ("Throughput", preferred(report.measurements, "throughput", "throughput_at_fmax")),
        ("Initiation interval", preferred(report.measurements, "initiation_interval_cycles")),
        ("Fmax", preferred(report.measurements, "fmax")),
        ("LUT", preferred(report.measurements, "used_lut")),
    )
    for label, record in chosen:
        if record is None:
            continue
        clock = record.clock_mhz if label in ("Latency", "Throughput") else None
        detail = record.kind.value.replace("_", "-") + (f", at {number_text(clock)} MHz" if clock else "")
        value = value_text(record)
        value, unit = value.rsplit(" ", 1)
        if label == "Throughput":  # too long for the place beside the number
            detail, unit = f"{unit}, {detail}", ""
        unit = {"LUT": "", "us": "\u00b5s"}.get(unit, unit)
        tiles.append({"label": label, "value": value, "unit": unit, "detail": detail})
    return tiles


def _resources(report: Report) -> Iterator[dict[str, Any]]:
    for use in resource_uses(report.measurements):
        yield {
            "device": use.device,
            "unit": use.unit,
            "used": number_text(use.used),
            "available": f"{use.available:,}" if use.available else "",
            "share": use.share,
            "width": min(100.0, use.share) if use.share is not None else None,
            "kind": use.kind,
        }


def _measurement_groups(report: Report) -> list[tuple[str, list[ProcessorRow], list[Measurement]]]:
    """(device, its rows by batch size, its other figures) in the order of the report."""
    devices = dict.fromkeys(record.device for record in report.measurements)
    return [
        (device, *processor_rows([record for record in report.measurements if record.device == device]))
        for device in devices
    ]


def _limits(report: Report) -> Iterator[str]:
    """What a reader must know before quoting a figure from this page."""
    yield from filter(None, map(ties_sentence, (*report.ladder, *report.checks)))
    groups = {group_of(record) for record in report.measurements}
    reached = highest_rung(report)
    kinds = {record.kind for record in report.measurements if group_of(record) == FPGA}
    if reached is None or reached["rung"] < 7:
        yield (
            "No board ran this design. Hardware results are those of simulation; hardware times are simulated cycles "
            "divided by a clock from static timing, not read from an instrument."
            if kinds
            else "No board ran this design."
        )
    if Kind.ESTIMATED in kinds:
        yield "Figures of kind estimated come from a model of the hardware; nothing was built to confirm them."
    if any(r.name in ("latency", "latency_at_fmax") for r in report.measurements):
        yield (
            "An FPGA's latency runs from the first word of a sample into the core to the last word of its result out of it, "
            "without the transfer between host and board."
        )
    if groups - {FPGA}:
        yield (
            "A processor's latency is the wall-clock time of one call, from integers in host memory to integers in host "
            "memory; for a GPU it holds both copies. p99 needs 100 timed calls, p99.9 needs 1,000; with fewer it is left out."
        )
        yield "Each processor computed the same integers as the interpreter on the same vectors before it was timed."
