# SPDX-License-Identifier: Apache-2.0
"""What the picture of a graph shows: boxes of nodes, or of layers where the nodes are too many to read, and their lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from toolchain.errors import BuildFailed
from toolchain.report.figures import number_text
from toolchain.report.graph_layout import Edge, Placement, cut_long_edges, place
from toolchain.report.inspection import Inspection, NodeFigures, ends_text, shape_text, short_type, totals

#: More boxes than this in one picture are not read by anyone, and take more than a few seconds to place.
MOST_BOXES = 300
_WIDTH, _TAG_WIDTH, _TAG_HEIGHT = 268.0, 160.0, 22.0
_LABEL_CHARACTER = 6.4
#: Between a line and its label.
LABEL_INSET = 5.0
#: Names that a tooltip lists.
_NAMES = 12


@dataclass(frozen=True)
class Box:
    """role: 'product', 'constant', 'plain', 'end' (input, output) or 'tag' (the end of a line that is not drawn).

    name: what tags call it. title, corner (at the right), lines: text. tooltip: lines of text. identifier: of the element;
    link: another box's identifier, where a click leads; '' for none.
    """

    role: str
    name: str
    title: str
    corner: str = ""
    lines: tuple[str, ...] = ()
    tooltip: tuple[str, ...] = ()
    identifier: str = ""
    link: str = ""

    @property
    def width(self) -> float:
        return _TAG_WIDTH if self.role == "tag" else _WIDTH

    @property
    def height(self) -> float:
        return _TAG_HEIGHT if self.role == "tag" else 30.0 + 16 * len(self.lines)


@dataclass(frozen=True)
class Line:
    """From box `tail` to box `head`, by index."""

    tail: int
    head: int
    label: str
    tooltip: tuple[str, ...]

    @property
    def label_width(self) -> float:
        return len(self.label) * _LABEL_CHARACTER + 2 * LABEL_INSET if self.label else 0


@dataclass(frozen=True)
class Drawing:
    """Boxes and lines, the longest lines replaced by tags at both ends; notes: what a reader has to know."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    def place(self) -> Placement:
        sizes = [(box.width, box.height) for box in self.boxes]
        return place(sizes, [Edge(line.tail, line.head, line.label_width) for line in self.lines])


def boxes_and_lines(inspection: Inspection) -> Drawing:
    """One box a node, or one a layer of the user's model where there are more than MOST_BOXES nodes.

    Raises BuildFailed if there are more than that many layers too.
    """
    notes: tuple[str, ...] = ()
    outputs = [_output_box(index, row) for index, row in enumerate(inspection.outputs)]
    if len(inspection.nodes) + len(outputs) <= MOST_BOXES:
        groups: list[tuple[NodeFigures, ...]] = [(node,) for node in inspection.nodes]
        boxes = [_node_box(index, node, inspection) for index, node in enumerate(inspection.nodes)]
    else:
        groups = _layers(inspection.nodes)
        if len(groups) + len(outputs) > MOST_BOXES:
            raise BuildFailed(
                f"no picture: {len(inspection.nodes):,} nodes of {len(groups):,} layers are more than the {MOST_BOXES} boxes "
                "that one picture can show"
            )
        boxes = [_layer_box(index, group) for index, group in enumerate(groups)]
        notes = (
            f"one box a layer, {len(groups):,} in all: {len(inspection.nodes):,} nodes are too many for one picture",
        )
    lines = [*_lines(groups), *_output_lines(groups, inspection)]
    return _with_tags([*boxes, *outputs], lines, notes)


def _node_box(index: int, node: NodeFigures, inspection: Inspection) -> Box:
    lines = [node.name]
    if node.source:
        lines.append(node.source)
    lines += _constant_lines(node)
    role = "product" if node.products else "constant" if node.constants else "plain"
    tooltip = [f"{node.name}: {node.operation}"]
    if node.source:
        tooltip.append(f"layer: {node.source}")
    tooltip += [f"in: {name}, {kind}" for name, kind in zip(node.inputs[:_NAMES], node.input_types, strict=False)]
    tooltip += _more(len(node.inputs))
    tooltip.append(f"result: {node.type}")
    if node.accumulator_bits is not None:
        tooltip.append(f"exact sum: {node.accumulator_bits} bits")
    for constant in node.constants:
        what = f"{constant.field}: {constant.count:,} of {constant.bits} bits, {constant.zeros:,} are 0"
        tooltip.append(f"{what}; {constant.memory_bits:,} bits in all")
    if node.products:
        tooltip.append(f"{node.products:,} MACs, {node.bit_operations:,} bit operations")
    if node.operation == "input":
        role = "end"
        row = next(row for row in inspection.inputs if row["name"] == node.name)
        tooltip.append(f"integer = round((x - {row['offset']!r}) / {row['scale']!r} * 2^{row['fraction']})")
        tooltip.append(f"rounding {row['rounding']}; outside the interval: {row['out_of_range']}")
    return Box(role, node.name, node.operation, shape_text(node.type.shape), tuple(lines), tuple(tooltip), f"n{index}")


def _constant_lines(node: NodeFigures) -> Iterator[str]:
    for constant in node.constants:
        zeros = f", {number_text(100 * constant.zeros / constant.count, 2)} % zero" if constant.multiplied else ""
        yield f"{constant.field}: {constant.count:,} of {constant.bits} bit{'' if constant.bits == 1 else 's'}{zeros}"


def _output_box(index: int, row: dict[str, Any]) -> Box:
    scale, offset = ends_text(row["scale"]), ends_text(row["offset"])
    lines = [row["name"]]
    if row["host_function"]:
        lines.append(f"then {row['host_function']} on the host")
    tooltip = [
        f"output {row['name']}: {shape_text(row['shape'])} {row['type']}",
        f"real value = {scale} * (integer * 2^{-row['fraction']}) + {offset}",
    ]
    corner = shape_text(row["sample_shape"])
    return Box("end", row["name"], "output", corner, tuple(lines), tuple(tooltip), f"o{index}")


def _layers(nodes: Sequence[NodeFigures]) -> list[tuple[NodeFigures, ...]]:
    """The nodes by source layer, in an order in which lines run downwards where there is one.

    A node of no layer joins the one that its first input came from; where that is the graph's input or a node of no layer, all
    such nodes are one. A constant of no layer joins the layer that reads it first.
    """
    first_reader: dict[str, NodeFigures] = {}
    for node in nodes:
        for name in node.inputs:
            first_reader.setdefault(name, node)
    layer: dict[str, str] = {}
    ends = {node.name for node in nodes if node.operation == "input"}
    for node in nodes:
        neighbour = ""
        if node.inputs:
            neighbour = "" if node.inputs[0] in ends else layer[node.inputs[0]]
        elif node.name in first_reader:
            neighbour = first_reader[node.name].source
        layer[node.name] = node.source or (f"input {node.name}" if node.name in ends else neighbour)
    members: dict[str, list[NodeFigures]] = {}
    before: dict[str, set[str]] = {}
    for node in nodes:
        mine = layer[node.name]
        members.setdefault(mine, []).append(node)
        before.setdefault(mine, set()).update(layer[name] for name in node.inputs if layer[name] != mine)
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError:
        order = list(members)
    return [tuple(members[name]) for name in order]


def _layer_box(index: int, nodes: tuple[NodeFigures, ...]) -> Box:
    total = totals(nodes)
    title = next((node.source for node in nodes if node.source), "") or (
        nodes[0].name if len(nodes) == 1 else "no layer"
    )
    kinds = Counter(node.operation for node in nodes)
    counted = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    lines = [counted]
    if total.weights:
        repeated = f", {total.distinct_weights:,} distinct" if total.weights > total.distinct_weights else ""
        lines.append(f"{total.weights:,} weights{repeated}")
    if total.macs:
        lines.append(f"{total.macs:,} MACs")
    role = "product" if total.macs else "constant" if total.memory_bits else "plain"
    role = "end" if nodes[0].operation == "input" else role
    tooltip = [
        title,
        counted,
        f"{total.bit_operations:,} bit operations",
        f"{total.distinct_memory_bits:,} bits of constants",
    ]
    tooltip += [node.name for node in nodes[:_NAMES]] + _more(len(nodes))
    corner = f"{len(nodes):,} node{'' if len(nodes) == 1 else 's'}"
    return Box(role, title, title, corner, tuple(lines), tuple(tooltip), f"n{index}")


def _more(count: int) -> list[str]:
    return [f"and {count - _NAMES:,} more"] if count > _NAMES else []


def _lines(groups: Sequence[tuple[NodeFigures, ...]]) -> Iterator[Line]:
    """A line a use of a node's result in another box; between layers one line for all."""
    home = {node.name: index for index, group in enumerate(groups) for node in group}
    if all(len(group) == 1 for group in groups):
        for head, (node,) in enumerate(groups):
            for position, (name, kind) in enumerate(zip(node.inputs, node.input_types, strict=True), start=1):
                place_text = f", operand {position} of {len(node.inputs)}" if len(node.inputs) > 1 else ""
                tooltip = (f"{name} to {node.name}{place_text}", str(kind))
                yield Line(home[name], head, short_type(kind.element), tooltip)
        return
    between: dict[tuple[int, int], dict[str, str]] = {}
    for head, group in enumerate(groups):
        for node in group:
            for name, kind in zip(node.inputs, node.input_types, strict=True):
                if home[name] != head:
                    between.setdefault((home[name], head), {})[name] = short_type(kind.element)
    for (tail, head), tensors in between.items():
        kinds = set(tensors.values())
        count = f"{len(tensors):,} x " if len(tensors) > 1 else ""
        label = f"{count}{next(iter(kinds))}" if len(kinds) == 1 else f"{len(tensors):,} tensors"
        listed = [f"{name}: {kind}" for name, kind in list(tensors.items())[:_NAMES]]
        yield Line(tail, head, label, (*listed, *_more(len(tensors))))


def _output_lines(groups: Sequence[tuple[NodeFigures, ...]], inspection: Inspection) -> Iterator[Line]:
    home = {node.name: index for index, group in enumerate(groups) for node in group}
    kinds = {node.name: node.type for node in inspection.nodes}
    for index, row in enumerate(inspection.outputs):
        kind = kinds[row["tensor"]]
        tooltip = (f"{row['tensor']} to output {row['name']}", str(kind))
        yield Line(home[row["tensor"]], len(groups) + index, short_type(kind.element), tooltip)


def _with_tags(boxes: list[Box], lines: list[Line], notes: tuple[str, ...]) -> Drawing:
    """The longest lines replaced by a tag above their head and one below their tail, each naming the other end."""
    cut = cut_long_edges(len(boxes), [(line.tail, line.head) for line in lines])
    kept = [line for index, line in enumerate(lines) if index not in cut]
    into: dict[int, list[Line]] = {}
    out_of: dict[int, list[Line]] = {}
    for index in sorted(cut):
        into.setdefault(lines[index].head, []).append(lines[index])
        out_of.setdefault(lines[index].tail, []).append(lines[index])
    placed = list(boxes)
    for head, ends in into.items():
        box = _tag("from", [boxes[line.tail] for line in ends])
        labels = {line.label for line in ends}
        kept.append(Line(len(placed), head, labels.pop() if len(labels) == 1 else "", box.tooltip))
        placed.append(box)
    for tail, ends in out_of.items():
        box = _tag("to", [boxes[line.head] for line in ends])
        kept.append(Line(tail, len(placed), ends[0].label, box.tooltip))
        placed.append(box)
    if cut:
        notes = (*notes, f"{len(cut):,} long lines are drawn as tags at both ends")
    return Drawing(tuple(placed), tuple(kept), notes)


def _tag(word: str, others: Sequence[Box]) -> Box:
    distinct = list(dict.fromkeys(others))
    name = distinct[0].name if len(distinct) == 1 else f"{len(distinct):,} boxes"
    tooltip = (f"{word}:", *(box.name for box in distinct[:_NAMES]), *_more(len(distinct)))
    link = distinct[0].identifier if len(distinct) == 1 else ""
    return Box("tag", name, f"{word} {name}", tooltip=tooltip, link=link)
