# SPDX-License-Identifier: Apache-2.0
"""The integer graph as one SVG file: a box a node, lines with types, tooltips with the rest; readable on light and dark.

Names come from files that nobody has checked. The file is built as an XML tree, so all text is escaped; control characters,
which XML cannot hold, are written out. It contains no script and loads nothing.
"""

from __future__ import annotations

import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from toolchain.report.graph_layout import Placement, Route
from toolchain.report.inspection import Inspection
from toolchain.report.inspection_boxes import LABEL_INSET, Box, Drawing, Line, boxes_and_lines
from toolchain.report.terminal import plain

_STYLE = Path(__file__).parent / "page" / "graph.css"

_MARGIN = 24
_HEADING_HEIGHT, _NOTE_HEIGHT = 96, 17
_LEGEND = (("product", "multiplies"), ("constant", "holds constants"), ("plain", "neither"), ("end", "input or output"))
_LEGEND_STEP = 132
_INSET = 12
#: Text sizes in pixels by class, as in graph.css, and the mean width of a character in parts of the size.
_TITLE, _TEXT, _LABEL, _TAG = 14, 12, 11, 11
_CHARACTER = 0.56


def draw(inspection: Inspection) -> tuple[str, tuple[str, ...]]:
    """(the SVG file's text, what a reader has to know about it).

    Raises BuildFailed where the graph is too large for a picture, even with one box a layer.
    """
    drawing = boxes_and_lines(inspection)
    placement = drawing.place()
    width = max(placement.width, len(_LEGEND) * _LEGEND_STEP) + 2 * _MARGIN
    top = _MARGIN + _HEADING_HEIGHT + _NOTE_HEIGHT * len(drawing.notes)
    height = top + placement.height + _MARGIN
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}", "viewBox": f"0 0 {width:.0f} {height:.0f}"}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "role": "img"})
    ET.SubElement(root, "title").text = plain(f"Integer graph of {inspection.model}")
    ET.SubElement(root, "style").text = _STYLE.read_text(encoding="utf-8")
    _definitions(root, drawing)
    ET.SubElement(root, "rect", {"class": "page", "width": "100%", "height": "100%"})
    _heading(root, inspection, drawing, width - 2 * _MARGIN)
    left = (width - placement.width) / 2
    content = ET.SubElement(root, "g", {"transform": f"translate({left:.1f} {top})"})
    _lines(content, drawing.lines, placement)
    for box, (x, y) in zip(drawing.boxes, placement.centres, strict=True):
        _box(content, box, x - box.width / 2, y - box.height / 2)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n', drawing.notes


def _definitions(root: ET.Element, drawing: Drawing) -> None:
    """The arrow head, and one clipping frame a box size, inside which its text stays."""
    definitions = ET.SubElement(root, "defs")
    arrow = {
        "viewBox": "0 0 8 8",
        "refX": "7.5",
        "refY": "4",
        "markerWidth": "8",
        "markerHeight": "8",
        "orient": "auto",
    }
    marker = ET.SubElement(definitions, "marker", {"id": "arrow", "markerUnits": "userSpaceOnUse", **arrow})
    ET.SubElement(marker, "path", {"class": "head", "d": "M0 .5 8 4 0 7.5z"})
    for width, height in sorted({(box.width, box.height) for box in drawing.boxes}):
        clip = ET.SubElement(definitions, "clipPath", {"id": _clip(width, height)})
        frame = {"x": "6", "width": f"{width - 12:g}", "height": f"{height:g}"}
        ET.SubElement(clip, "rect", frame)


def _clip(width: float, height: float) -> str:
    return f"inside-{width:g}-{height:g}"


def _heading(root: ET.Element, inspection: Inspection, drawing: Drawing, width: float) -> None:
    group = ET.SubElement(root, "g", {"transform": f"translate({_MARGIN} {_MARGIN})"})
    _text(group, inspection.model, 0, 14, "heading", width, 18)
    total = inspection.totals
    facts = f"{total.nodes:,} nodes, {total.weights:,} weights, {total.macs:,} MACs, {total.memory_bits:,} bits of constants"
    _text(group, f"integer graph {inspection.digest[:16]}", 0, 36, "muted", width, _TEXT)
    _text(group, facts, 0, 53, "muted", width, _TEXT)
    for index, note in enumerate(drawing.notes):
        _text(group, note, 0, 70 + _NOTE_HEIGHT * index, "muted", width, _TEXT)
    bottom = 66 + _NOTE_HEIGHT * len(drawing.notes)
    for index, (role, meaning) in enumerate(_LEGEND):
        at = index * _LEGEND_STEP
        box = {"class": role, "x": str(at), "y": str(bottom), "width": "14", "height": "14", "rx": "3"}
        ET.SubElement(group, "rect", box)
        _text(group, meaning, at + 20, bottom + 11, "muted", _LEGEND_STEP, _TEXT)


def _lines(parent: ET.Element, lines: Sequence[Line], placement: Placement) -> None:
    for line, route in zip(lines, placement.routes, strict=True):
        group = ET.SubElement(parent, "g", {"class": "line"})
        ET.SubElement(group, "title").text = _joined(line.tooltip)
        path = _path(route)
        # The second path is wide and not seen: it is what the mouse finds.
        ET.SubElement(group, "path", {"class": "wire", "d": path, "marker-end": "url(#arrow)"})
        ET.SubElement(group, "path", {"class": "reach", "d": path})
        if route.label and line.label:
            x, y = route.label
            _text(group, line.label, x + LABEL_INSET, y + _LABEL * 0.35, "label", line.label_width, _LABEL)


def _path(route: Route) -> str:
    (x, y), *rest = route.points
    controls = " ".join(f"{a:.1f} {b:.1f}" for a, b in rest)
    return f"M{x:.1f} {y:.1f}C{controls}"


def _box(parent: ET.Element, box: Box, x: float, y: float) -> None:
    holder = parent
    if box.link:
        holder = ET.SubElement(parent, "a", {"href": f"#{box.link}"})
    group = ET.SubElement(holder, "g", {"class": "box", "transform": f"translate({x:.1f} {y:.1f})"})
    if box.identifier:
        group.set("id", box.identifier)
    ET.SubElement(group, "title").text = _joined(box.tooltip)
    radius = f"{box.height / 2 if box.role == 'tag' else 12 if box.role == 'end' else 5:g}"
    ET.SubElement(
        group, "rect", {"class": box.role, "width": f"{box.width:g}", "height": f"{box.height:g}", "rx": radius}
    )
    inside = ET.SubElement(group, "g", {"clip-path": f"url(#{_clip(box.width, box.height)})"})
    room = box.width - 2 * _INSET
    if box.role == "tag":
        _text(inside, box.title, box.width / 2, box.height / 2 + _TAG * 0.35, "tagged", room, _TAG)
        return
    corner_room = _width(box.corner, _TEXT) + 10 if box.corner else 0
    _text(inside, box.title, _INSET, 20, "title", room - corner_room, _TITLE)
    if box.corner:
        _text(inside, box.corner, box.width - _INSET, 20, "corner", room, _TEXT)
    for index, line in enumerate(box.lines):
        style = "name" if index == 0 else "muted"
        _text(inside, line, _INSET, 38 + 16 * index, style, room, _TEXT)


def _text(parent: ET.Element, text: str, x: float, y: float, style: str, room: float, size: int) -> None:
    element = ET.SubElement(parent, "text", {"class": style, "x": f"{x:.1f}", "y": f"{y:.1f}"})
    element.text = _fitted(plain(text), room, size)


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(plain(line) for line in lines)


def _width(text: str, size: int) -> float:
    """About how wide the text is in pixels; the fonts of the viewer are not known."""
    return sum(size * (1.0 if unicodedata.east_asian_width(c) in "WF" else _CHARACTER) for c in text)


def _fitted(text: str, room: float, size: int) -> str:
    """The text, without its middle where it is too wide: names differ at their ends."""
    if _width(text, size) <= room:
        return text
    characters = max(3, int(room / (size * _CHARACTER)) - 1)
    while characters > 3 and _width(text[: characters // 2] + text[-(characters - characters // 2) :], size) > room:
        characters -= 1
    front = (characters + 1) // 2
    return f"{text[:front]}\N{HORIZONTAL ELLIPSIS}{text[-(characters - front) :]}"
