# SPDX-License-Identifier: Apache-2.0
"""The charts of the HTML page as plotly figures (plain dictionaries), with their legends.

Colour tells the device, the marker's shape the kind of figure. Names in them are escaped: plotly reads a subset of HTML.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import Any

from toolchain.measure.record import Kind
from toolchain.report.figures import CPU, FPGA, GPU, LatencyPoint, ThroughputSeries, rate_text
from toolchain.report.figures import time_text as plain_time_text

INK, MUTED, GRID = "#17212b", "#51606f", "#e3e8ed"
ACCENT = "#0b5394"
#: Dark enough for thin lines and text on white (contrast of 4.5 to 1 and more).
_COLOURS = {
    FPGA: ("#b8400c", "#8a2b06", "#d04a10"),
    CPU: ("#1d4ed8", "#0e7490", "#4338ca", "#0369a1"),
    GPU: ("#15803d", "#4d7c0f"),
}
_DASHES = ("solid", "dash", "dot", "dashdot")
#: Marker of each kind: plotly's name, and the same shape as SVG in a box of 12 by 12.
MARKERS: dict[Kind, str] = {
    Kind.MEASURED: "circle",
    Kind.POST_ROUTE: "diamond",
    Kind.POST_SYNTHESIS: "square",
    Kind.SIMULATED: "triangle-up",
    Kind.ESTIMATED: "circle-open",
    Kind.RECORDED: "x",
}
_ROW_HEIGHT = 58


def time_text(seconds: float) -> str:
    """A time with the micro sign; the page is UTF-8 in any case."""
    return plain_time_text(seconds).replace(" us", " \u00b5s")


@dataclass(frozen=True)
class LegendEntry:
    label: str
    colour: str
    dash: str
    kind: Kind


@dataclass(frozen=True)
class Chart:
    """A figure for plotly.js, its height in pixels, what it shows in words, and its legend."""

    figure: Mapping[str, Any]
    height: int
    summary: str
    legend: tuple[LegendEntry, ...] = ()


#: (group, label) of a device -> its (colour, dash).
Styles = Mapping[tuple[str, str], tuple[str, str]]


def device_styles(points: Sequence[LatencyPoint], series: Sequence[ThroughputSeries]) -> Styles:
    """One style a device for all charts: colours by group, dashes so that no line rests on colour alone."""
    styles: dict[tuple[str, str], tuple[str, str]] = {}
    keys = [(s.group, s.label) for s in series] + [(p.group, p.label) for p in points]
    for key in keys:
        if key not in styles:
            index = sum(1 for group, _ in styles if group == key[0])
            colours = _COLOURS[key[0]]
            styles[key] = colours[index % len(colours)], _DASHES[index % len(_DASHES)]
    return styles


def _layout(height: int, **changes: Any) -> dict[str, Any]:
    return {
        "height": height,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif", "color": INK, "size": 12},
        "showlegend": False,
        "dragmode": False,  # a finger scrolls the page
        "hoverlabel": {"bgcolor": "#ffffff", "bordercolor": MUTED, "font": {"color": INK}},
        **changes,
    }  # fmt: skip


def _log_axis(low: float, high: float, text: Any, step: int = 1) -> dict[str, Any]:
    """A logarithmic axis from the decade below `low` to the one above `high`, labelled at every `step`-th decade."""
    first, last = floor(log10(low) + 1e-9), ceil(log10(high) - 1e-9)
    last = max(last, first + 1)
    decades = range(first, last + 1)
    return {
        "type": "log",
        "range": [first - 0.06, last + 0.06],
        "tickvals": [10.0**d for d in decades],
        "ticktext": [text(10.0**d) if (d - first) % step == 0 else "" for d in decades],
        "gridcolor": GRID,
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"color": MUTED},
    }


def latency_chart(points: Sequence[LatencyPoint], styles: Styles) -> Chart | None:
    """A row a device: the marker at the latency (p50 for processors), ticks at p99 and p99.9; None without points."""
    if not points:
        return None
    traces: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    seconds = [s for p in points for s in (p.seconds, p.p99_seconds, p.p99_9_seconds) if s]
    for row, point in enumerate(points):
        y, (colour, _) = -row, styles[point.group, point.label]
        tails = [(label, s) for label, s in (("p99", point.p99_seconds), ("p99.9", point.p99_9_seconds)) if s]
        if tails:
            ends = [point.seconds, tails[-1][1]]
            line = {"color": colour, "width": 2}
            traces.append(
                {"type": "scatter", "mode": "lines", "x": ends, "y": [y, y], "line": line, "hoverinfo": "skip"}
            )
            traces.append(
                {
                    "type": "scatter", "mode": "markers", "x": [s for _, s in tails], "y": [y] * len(tails),
                    "marker": {
                        "symbol": "line-ns", "size": [14, 9][: len(tails)], "color": colour,
                        "line": {"color": colour, "width": 2},
                    },
                    "text": [f"{label} {time_text(s)}" for label, s in tails], "hoverinfo": "text",
                }
            )  # fmt: skip
        what = "p50 " if tails else ""
        hover = (
            f"{escape(point.label)}<br>{what}{time_text(point.seconds)} ({point.kind.value}), {escape(point.detail)}"
        )
        traces.append(
            {
                "type": "scatter", "mode": "markers", "x": [point.seconds], "y": [y], "text": [hover], "hoverinfo": "text",
                "marker": {"symbol": MARKERS[point.kind], "size": 13, "color": colour, "line": {"width": 2, "color": colour}},
            }
        )  # fmt: skip
        labels += _row_labels(point, y, colour)
    height = _ROW_HEIGHT * len(points) + 64
    axis = _log_axis(min(seconds), max(seconds), time_text)
    layout = _layout(
        height,
        margin={"l": 20, "r": 20, "t": 6, "b": 44, "pad": 0},
        xaxis={**axis, "title": {"text": "time of one call (logarithmic)", "font": {"color": MUTED, "size": 12}}},
        yaxis={"visible": False, "range": [-len(points) + 0.55, 0.75], "fixedrange": True},
        annotations=labels,
        hovermode="closest",
    )
    summary = "; ".join(f"{p.label}: {time_text(p.seconds)} ({p.kind.value})" for p in points)
    return Chart({"data": traces, "layout": layout}, height, f"Latency. {summary}")


def _row_labels(point: LatencyPoint, y: int, colour: str) -> list[dict[str, Any]]:
    """The device's name above its row at the left, the value at the right."""
    lines = textwrap.wrap(point.label, 42, max_lines=2, placeholder="...") or [""]
    name = "<br>".join(escape(line) for line in lines)
    common = {"xref": "paper", "yref": "y", "y": y + 0.16, "yanchor": "bottom", "showarrow": False}
    return [
        {**common, "x": 0, "xanchor": "left", "align": "left", "text": name, "font": {"size": 12, "color": INK}},
        {
            **common, "x": 1, "xanchor": "right", "align": "right", "text": f"<b>{time_text(point.seconds)}</b>",
            "font": {"size": 13, "color": colour}, "bgcolor": "#ffffff", "borderpad": 1,
        },
    ]  # fmt: skip


def throughput_chart(series: Sequence[ThroughputSeries], styles: Styles) -> Chart | None:
    """Samples a second over the batch size, both logarithmic; None without series."""
    if not series:
        return None
    largest = max((batch for s in series for batch in s.batches), default=1)
    traces = []
    for item in series:
        colour, dash = styles[item.group, item.label]
        batches = [1, largest] if item.flat and largest > 1 else item.batches
        rates = item.rates * len(batches) if item.flat else item.rates
        hover = [
            f"{escape(item.label)}<br>{'any batch' if item.flat else f'batch {b}'}: {rate_text(r)} inferences/s ({item.kind.value})"
            for b, r in zip(batches, rates, strict=True)
        ]
        size = [10] + [0] * (len(batches) - 1) if item.flat else [9] * len(batches)
        traces.append(
            {
                "type": "scatter", "mode": "lines+markers", "x": batches, "y": rates, "text": hover, "hoverinfo": "text",
                "line": {"color": colour, "width": 2.5 if item.flat else 2, "dash": dash},
                "marker": {"symbol": MARKERS[item.kind], "size": size, "color": colour, "opacity": 1, "line": {"color": colour, "width": 1}},
                "cliponaxis": False,
            }
        )  # fmt: skip
    rates = [rate for item in series for rate in item.rates]
    batches = sorted({batch for item in series for batch in item.batches})
    height = 400
    x_axis = _log_axis(1, max(largest, 2), str)
    x_axis |= {
        "range": [-0.06, log10(max(largest, 2)) + 0.06],
        "tickvals": batches,
        "ticktext": [f"{b:,}" for b in batches],
    }
    layout = _layout(
        height,
        margin={"l": 58, "r": 16, "t": 30, "b": 48, "pad": 4},
        xaxis={**x_axis, "title": {"text": "samples in a call (logarithmic)", "font": {"color": MUTED, "size": 12}}},
        yaxis=_log_axis(min(rates), max(rates), rate_text),
        annotations=[
            {
                "xref": "paper", "yref": "paper", "x": 0, "y": 1.0, "xanchor": "left", "yanchor": "bottom", "xshift": -50,
                "yshift": 8, "showarrow": False, "text": "inferences a second (logarithmic)",
                "font": {"color": MUTED, "size": 12},
            }
        ],
        hovermode="closest",
    )  # fmt: skip
    legend = tuple(LegendEntry(item.label, *styles[item.group, item.label], item.kind) for item in series)
    summary = "; ".join(
        f"{s.label}: up to {rate_text(max(s.rates))} inferences a second ({s.kind.value})" for s in series
    )
    return Chart({"data": traces, "layout": layout}, height, f"Throughput. {summary}", legend)


def confusion_chart(matrix: Mapping[str, Any] | None) -> Chart | None:
    """Counts as text, shade by the share of the true class; None without a matrix."""
    if not matrix:
        return None
    counts: list[list[int]] = matrix["counts"]
    labels = [escape(textwrap.shorten(label, 24, placeholder="...") or label[:24]) for label in matrix["labels"]]
    size = len(labels)
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    hover = [
        [
            f"true {labels[i]}, given as {labels[j]}: {count:,} ({100 * shares[i][j]:.1f} % of the class)"
            for j, count in enumerate(row)
        ]
        for i, row in enumerate(counts)
    ]
    positions = list(range(size))
    height = min(620, 150 + max(220, 34 * size))
    axis = {
        "tickvals": positions,
        "ticktext": labels,
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
    }
    layout = _layout(
        height,
        margin={"l": 50, "r": 10, "t": 8, "b": 50},
        xaxis={
            **axis, "title": {"text": "given by the network", "font": {"color": MUTED, "size": 12}, "standoff": 8},
        },
        yaxis={
            **axis, "autorange": "reversed", "title": {"text": "true class", "font": {"color": MUTED, "size": 12}, "standoff": 8},
        },
    )  # fmt: skip
    trace = {
        "type": "heatmap", "z": shares, "text": [[str(count) for count in row] for row in counts], "customdata": hover,
        "hovertemplate": "%{customdata}<extra></extra>", "zmin": 0, "zmax": 1, "showscale": False, "xgap": 2, "ygap": 2,
        "colorscale": [[0, "#f2f5f8"], [0.02, "#dbe7f2"], [0.25, "#9fc1de"], [0.6, "#3f7fb8"], [1, ACCENT]],
        "x": positions, "y": positions,
    }  # fmt: skip
    if size <= 16:
        trace |= {"texttemplate": "%{text}", "textfont": {"size": 12 if size <= 10 else 10}}
    right = sum(counts[i][i] for i in positions)
    total = sum(map(sum, counts))
    summary = f"Confusion matrix of {size} classes: {right:,} of {total:,} vectors on the diagonal"
    return Chart({"data": [trace], "layout": layout}, height, summary)
