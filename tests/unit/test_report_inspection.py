# SPDX-License-Identifier: Apache-2.0
"""The figures of a graph against numbers computed by hand, its table, and its picture."""

from __future__ import annotations

import io
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from toolchain.errors import BuildFailed
from toolchain.ir import (
    Add,
    AddBias,
    Constant,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Lookup,
    Multiply,
    OutOfRange,
    Relu,
    Requantise,
    Scale,
    Slice,
    SumPool,
    TensorType,
    Threshold,
    operations,
)
from toolchain.ir.rounding import Overflow, Rounding
from toolchain.report.graph_layout import LINES, Edge, cut_long_edges, place
from toolchain.report.inspection import NodeFigures, bit_operations, inspect_graph
from toolchain.report.inspection_boxes import MOST_BOXES, boxes_and_lines
from toolchain.report.inspection_picture import draw
from toolchain.report.inspection_table import graph_table, print_inspection
from toolchain.report.terminal import console_for

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('x')</script>&amp; ]]> \"' --> \x00\x1b[31m\n\u202e\ud800\ufffe [bold]名前"


def branched() -> Graph:
    """x feeds two equal matrix products; their sum is multiplied with one of them, scaled, biased and counted."""
    weights = np.arange(8).reshape(4, 2) - 3
    builder = GraphBuilder("branched", {"framework": "qkeras 0.9.0", "framework_sums_exact": "no", "remark": "a\nb"})
    x = builder.add(Input((4,), IntegerType(False, 4, 2), 0.5, 1.0), name="x", source="'x' (InputLayer)")
    left = builder.add(Dense(weights, 1), x, name="left", source="'left' (QDense)")
    right = builder.add(Dense(weights, 1), x, name="right", source="'right' (QDense)")
    total = builder.add(Add(), left, right, name="sum")
    product = builder.add(Multiply(), total, right, name="product")
    scaled = builder.add(Scale(np.array([3, 0]), 2), product, name="scaled")
    biased = builder.add(AddBias(np.array([5, -8]), 5), scaled, name="biased")
    steps = builder.add(Threshold(np.array([[-40, 0, 7]])), biased, name="steps")
    builder.output(steps, name="y", scale=(0.5, 2.0), host_function="softmax")
    builder.output(left, name="early")
    return builder.build()


def rows(graph: Graph) -> dict[str, NodeFigures]:
    return {node.name: node for node in inspect_graph(graph).nodes}


def test_figures_of_a_branched_graph() -> None:
    nodes = rows(branched())
    left = nodes["left"]
    # Column sums of positive and negative weights: [4, -4] and [6, -2]; inputs 0 to 15: [-60, 60] and [-30, 90], 8 bits signed.
    assert (left.type, left.accumulator_bits) == (TensorType((2,), IntegerType(True, 8, 3, -60, 90)), 8)
    assert (left.weights, left.zero_weights, left.other_constants) == (8, 1, 0)
    # Weights -3 to 4 need 4 bits; 8 products, 4 a sum.
    assert (left.products, left.bit_operations, left.memory_bits) == (8, 8 * (4 * 4 + 4 + 4 + 2), 32)
    assert (nodes["sum"].accumulator_bits, nodes["sum"].products, nodes["sum"].bit_operations) == (9, 0, 0)
    # The sum lies in [-120, 180], 9 bits signed; nothing is added to these two products.
    assert (nodes["product"].products, nodes["product"].bit_operations) == (2, 2 * 9 * 8)
    assert (nodes["product"].accumulator_bits, nodes["product"].weights) == (None, 0)
    # The product lies in [-10800, 16200], 15 bits signed; factors 0 and 3 need 2 bits.
    scaled = nodes["scaled"]
    assert (scaled.weights, scaled.zero_weights, scaled.products, scaled.memory_bits) == (2, 1, 2, 4)
    assert (scaled.bit_operations, scaled.accumulator_bits) == (2 * 2 * 15, None)
    # A bias is added, not multiplied; -8 to 5 need 4 bits.
    assert (nodes["biased"].weights, nodes["biased"].other_constants, nodes["biased"].memory_bits) == (0, 2, 8)
    assert nodes["biased"].accumulator_bits == nodes["biased"].type.element.width
    # -40 to 7 need 7 bits.
    assert (nodes["steps"].weights, nodes["steps"].other_constants, nodes["steps"].memory_bits) == (0, 3, 21)
    assert nodes["steps"].accumulator_bits is None


def test_totals_count_equal_constants_once_beside_all() -> None:
    total = inspect_graph(branched()).totals
    assert (total.nodes, total.weights, total.zero_weights, total.other_constants) == (8, 18, 3, 5)
    assert (total.macs, total.bit_operations) == (8 + 8 + 2 + 2, 208 + 208 + 144 + 60)
    assert (total.memory_bits, total.distinct_memory_bits) == (32 + 32 + 4 + 8 + 21, 32 + 4 + 8 + 21)
    assert total.distinct_weights == 10
    assert total.to_json()["zero_share"] == 3 / 18


def test_figures_of_convolutions_tables_and_pools() -> None:
    builder = GraphBuilder("spatial")
    x = builder.add(Input((4, 5, 2), IntegerType(False, 3)), name="x")
    weights = np.zeros((2, 2, 2, 3), np.int64)
    weights[0, 0] = [[1, -1, 1], [0, 0, 1]]
    conv = builder.add(Conv(weights, (1, 1), (1, 1)), x, name="conv")
    depthwise = builder.add(Conv(weights[:, :, :1, :2], (1, 1), (1, 1), 2), x, name="depthwise")
    pool = builder.add(SumPool((2, 2), (1, 1)), x, name="pool")
    table = builder.add(Lookup(np.arange(8)[None] * 3, 0), x, name="table")
    bias = builder.add(Constant(np.array([[[-2, 1]]])), name="bias")
    builder.output(builder.add(Add(), pool, bias, name="sum"), name="a")
    for name in (conv, depthwise, table):
        builder.output(name, name=name)
    nodes = rows(builder.build())
    # 3 x 4 positions, 24 weights of 2 bits, 8 products a sum. One output adds two inputs of at most 7, another subtracts one.
    assert (nodes["conv"].products, nodes["conv"].weights, nodes["conv"].zero_weights) == (12 * 24, 24, 20)
    assert nodes["conv"].bit_operations == 288 * (2 * 3 + 2 + 3 + 3)
    assert (nodes["conv"].accumulator_bits, nodes["conv"].memory_bits) == (5, 48)
    # A group of one input channel each: 4 products a sum.
    assert (nodes["depthwise"].products, nodes["depthwise"].bit_operations) == (96, 96 * (2 * 3 + 2 + 3 + 2))
    assert (nodes["pool"].accumulator_bits, nodes["pool"].products) == (5, 0)
    # 0 to 21 need 5 bits.
    assert (nodes["table"].weights, nodes["table"].other_constants, nodes["table"].memory_bits) == (0, 8, 40)
    assert (nodes["bias"].weights, nodes["bias"].other_constants, nodes["bias"].memory_bits) == (0, 2, 4)
    assert (nodes["sum"].accumulator_bits, nodes["sum"].input_types[1].shape) == (6, (1, 1, 2))


def test_bit_operations() -> None:
    assert bit_operations(0, 5, 4, 4) == 0
    assert bit_operations(10, 10, 3, 5) == 150  # nothing is added
    # log2 3 = 1.585: 3 products add 4.755, rounded once
    assert bit_operations(3, 1, 1, 2) == 3 * (2 + 1 + 2) + 5
    # 3x3x64 to 64 channels on 32x32, 4 by 8 bits: log2 576 = 9.16993
    macs = 32 * 32 * 64 * 576
    assert bit_operations(macs, 32 * 32 * 64, 4, 8) == macs * 44 + round(macs * np.log2(576))


def test_integers_past_64_bits() -> None:
    builder = GraphBuilder("wide")
    x = builder.add(Input((2,), IntegerType(True, 80)), name="x")
    builder.output(builder.add(Scale(np.array([1 << 70, 0], dtype=object)), x, name="y"))
    y = rows(builder.build())["y"]
    assert (y.memory_bits, y.zero_weights, y.bit_operations) == (2 * 71, 1, 2 * 71 * 80)


def test_every_operation_has_figures() -> None:
    for kind, operation in operations().items():
        for sample, types in operation.samples():
            builder = GraphBuilder(kind)
            names = [
                builder.add(Input(t.shape, t.element), name="x")
                for t in types or [TensorType((1,), IntegerType(True, 2))]
            ]
            node = builder.add(sample, *names[: len(types)], name="node")
            builder.output(node)
            figures = inspect_graph(builder.build()).nodes[-1]
            assert figures.weights + figures.other_constants == sample.parameters
            assert (figures.products > 0) == (figures.bit_operations > 0)
            if figures.weights:
                assert figures.products, "weights are factors of products"
            assert figures.accumulator_bits in (None, figures.type.element.width)


def test_the_ends_say_what_the_integers_stand_for() -> None:
    data = inspect_graph(branched(), model="a name").to_json()
    assert (data["model"], data["framework"], data["framework_sums_exact"]) == ("a name", "qkeras 0.9.0", "no")
    (entry,) = data["inputs"]
    assert (entry["name"], entry["type"], entry["scale"], entry["offset"]) == ("x", "ufixed<4,2>", 0.5, 1.0)
    assert (entry["rounding"], entry["out_of_range"]) == ("half_even", OutOfRange.REFUSE.value)
    y, early = data["outputs"]
    assert (y["tensor"], y["scale"], y["host_function"]) == ("steps", [0.5, 2.0], "softmax")
    assert (early["tensor"], early["shape"], early["host_function"]) == ("left", [2], "")
    assert data["graph_digest"] == branched().digest
    assert json.loads(json.dumps(data)) == data


def cells(graph: Graph) -> list[list[str]]:
    columns = [[str(cell) for cell in column.cells] for column in graph_table(inspect_graph(graph)).columns]
    return [list(row) for row in zip(*columns, strict=True)]


def number(text: str) -> int:
    return int(text.replace(",", "") or 0)


def test_the_table_shows_what_json_says() -> None:
    data = inspect_graph(branched()).to_json()
    *nodes, total = cells(branched())
    assert len(nodes) == len(data["nodes"])
    for row, node in zip(nodes, data["nodes"], strict=True):
        assert row[:3] == [node["name"], node["source"], node["operation"]]
        assert row[3] == " x ".join(map(str, node["shape"]))
        assert node["type"].startswith(row[5])
        figures = [number(row[column]) for column in (6, 7, 10, 11, 12)]
        keys = ("accumulator_bits", "weights", "macs", "bit_operations", "memory_bits")
        assert figures == [node[key] or 0 for key in keys]
        assert number(row[9]) == sum(c["count"] for c in node["constants"]) - node["weights"]
    assert [number(total[column]) for column in (7, 9, 10, 11, 12)] == [
        data["totals"][key] for key in ("weights", "other_constants", "macs", "bit_operations", "memory_bits")
    ]
    assert (nodes[1][8], total[8], nodes[3][4]) == ("12 %", "17 %", "2 x fixed<8,5>")


def test_the_printed_page() -> None:
    stream = io.StringIO()
    print_inspection(inspect_graph(branched()), console=console_for(stream))
    text = stream.getvalue()
    for expected in (
        "branched: qkeras 0.9.0",
        "input x: 4, ufixed<4,2>; 0.5 * 2^-2 a step, offset 1.0, rounding half_even, a value outside is refused",
        "output y: 2, ufixed<2,2>; 0.5 to 2.0 by channel a step, offset 0.0; then softmax on the host",
        "output early: 2, fixed<8,5>[-60..90]; 2^-3 a step, offset 0.0\n",
        "The framework's own float32 sums may round for this model",
        "remark: a\nremark: b\n",
        "Equal constants counted once: 10 weights, 65 bits of memory",
        "arXiv:1804.10969",
    ):
        assert expected in text


def test_narrow_terminals_get_fewer_columns_and_are_told() -> None:
    from rich.console import Console

    for width, left_out in ((300, ""), (150, "other constants, layer"), (90, "zeros, bit operations")):
        stream = io.StringIO()
        print_inspection(inspect_graph(branched()), console=Console(file=stream, width=width, force_terminal=True))
        text = stream.getvalue()
        assert ("Columns left out" in text) == bool(left_out)
        assert left_out in text
        assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= width


def tree(graph: Graph) -> tuple[ET.Element, tuple[str, ...]]:
    text, notes = draw(inspect_graph(graph))
    return ET.fromstring(text.encode("utf-8")), notes  # noqa: S314 - the file just written, not one from elsewhere


def texts(root: ET.Element, style: str) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text") if element.get("class") == style]


def test_the_picture_has_every_node_line_and_type() -> None:
    root, notes = tree(branched())
    assert notes == ()
    graph = branched()
    assert Counter(texts(root, "title")) == Counter([node.operation.kind for node in graph] + ["output"] * 2)
    assert texts(root, "name") == [*(node.name for node in graph), "y", "early"]
    # x to both products; left to the sum and the output; right to the sum and the product; scaled and biased are of one type.
    assert Counter(texts(root, "label")) == {
        "ufixed<4,2>": 2, "fixed<8,5>": 4, "fixed<9,6>": 1, "fixed<15,9>": 1, "fixed<17,9>": 2, "ufixed<2,2>": 1,
    }  # fmt: skip
    boxes = [group for group in root.iter(f"{SVG}g") if group.get("class") == "box"]
    assert [group.get("id") for group in boxes] == [*(f"n{index}" for index in range(8)), "o0", "o1"]
    tooltip = boxes[1].find(f"{SVG}title")
    assert tooltip is not None
    for line in (
        "layer: 'left' (QDense)",
        "exact sum: 8 bits",
        "weights: 8 of 4 bits, 1 are 0; 32 bits in all",
        "8 MACs, 208",
    ):
        assert line in (tooltip.text or "")
    assert "@media (prefers-color-scheme: dark)" in (root.find(f"{SVG}style").text or "")  # type: ignore[union-attr]


def test_boxes_do_not_overlap_and_lines_run_down_from_border_to_border() -> None:
    drawing = boxes_and_lines(inspect_graph(branched()))
    placement = drawing.place()
    spots = list(zip(drawing.boxes, placement.centres, strict=True))
    for (a, (ax, ay)), (b, (bx, by)) in combinations(spots, 2):
        apart = max(abs(ax - bx) - (a.width + b.width) / 2, abs(ay - by) - (a.height + b.height) / 2)
        assert apart > 5, f"{a.name} and {b.name}"
    for box, (x, y) in spots:
        assert box.width / 2 <= x + 0.5 <= placement.width - box.width / 2 + 1
        assert box.height / 2 <= y + 0.5 <= placement.height - box.height / 2 + 1
    for line, route in zip(drawing.lines, placement.routes, strict=True):
        (start_x, start_y), (end_x, end_y) = route.points[0], route.points[-1]
        (tail, (tail_x, tail_y)), (head, (head_x, head_y)) = spots[line.tail], spots[line.head]
        assert len(route.points) % 3 == 1
        assert tail_y < head_y
        assert abs(tail_x - start_x) <= tail.width / 2 + 1
        assert abs(tail_y - start_y) <= tail.height / 2 + 1
        assert abs(head_x - end_x) <= head.width / 2 + 1
        assert abs(head_y - end_y) <= head.height / 2 + 1


def test_hostile_names_stay_text() -> None:
    builder = GraphBuilder(f"model {HOSTILE}", {"framework": HOSTILE})
    x = builder.add(Input((3,), IntegerType(False, 4)), name=f"x{HOSTILE}", source=HOSTILE)
    y = builder.add(Relu(), x, name=" ", source="y" * 3000)
    builder.output(y, name=f"out{HOSTILE}", host_function=HOSTILE)
    root, _ = tree(builder.build())
    allowed = "svg title style defs marker path clipPath rect g text".split()
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == set(allowed)
    names = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in names if name.startswith("on") or "href" in name]
    everything = "".join(root.itertext())
    assert (
        "<script>alert('x')</script>&amp; ]]> \"' --> \\x00\\x1b[31m\\n\\u202e\\ud800\\ufffe [bold]名前" in everything
    )
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ufffe]", everything)
    assert max(len(text) for style in ("name", "muted", "heading") for text in texts(root, style)) < 120
    stream = io.StringIO()
    print_inspection(inspect_graph(builder.build()), console=console_for(stream))
    assert "\x1b" not in stream.getvalue()
    assert "\\x1b[31m" in stream.getvalue()


def test_the_same_graph_gives_the_same_picture() -> None:
    assert draw(inspect_graph(branched())) == draw(inspect_graph(branched()))


def recurrent(steps: int, source: str = "'rnn' (QSimpleRNN)") -> Graph:
    """Every step reads a slice of one input and the state before it; one output takes them all."""
    kernel, again = np.arange(6).reshape(2, 3) - 2, np.eye(3, dtype=np.int64)
    quantise = Requantise(IntegerType(True, 4), Rounding.HALF_EVEN, Overflow.SATURATE)
    builder = GraphBuilder("recurrent")
    x = builder.add(Input((steps, 2), IntegerType(True, 4)), name="x", source="'x' (InputLayer)")
    state = builder.add(Constant(np.zeros((1, 3), np.int64)), name="state")
    for step in range(steps):
        part = builder.add(Slice((step, 0), (step + 1, 2), (1, 1)), x, name=f"x{step}", source=source)
        new = builder.add(Dense(kernel), part, name=f"new{step}", source=source)
        old = builder.add(Dense(again), state, name=f"old{step}", source=source)
        total = builder.add(Add(), new, old, name=f"sum{step}", source=source)
        state = builder.add(quantise, total, name=f"state{step}", source=source)
    builder.output(
        builder.add(Dense(np.ones((3, 2), np.int64)), state, name="head", source="'head' (QDense)"), name="y"
    )
    return builder.build()


def test_bundles_of_long_lines_become_tags() -> None:
    graph = recurrent(8)
    root, notes = tree(graph)
    tags = texts(root, "tagged")
    cut = tags.count("from x")
    assert notes == (f"{cut} long lines are drawn as tags at both ends",)
    assert 4 < cut <= 8
    assert [tag for tag in tags if tag != "from x"] == [f"to {cut} boxes"]
    assert {element.get("href") for element in root.iter(f"{SVG}a")} == {"#n0"}
    # What is not drawn as a line is drawn as a tag: the tags' own lines make up for it.
    inputs = sum(len(node.inputs) for node in graph)
    assert len([g for g in root.iter(f"{SVG}g") if g.get("class") == "line"]) == inputs + 1 - cut + len(tags)


def test_too_many_nodes_are_drawn_a_box_a_layer() -> None:
    graph = recurrent(100)
    assert len(graph.nodes) > MOST_BOXES
    root, notes = tree(graph)
    assert notes == ("one box a layer, 3 in all: 503 nodes are too many for one picture",)
    assert texts(root, "title") == ["'x' (InputLayer)", "'rnn' (QSimpleRNN)", "'head' (QDense)", "output"]
    # The constant of no layer joins the layer that reads it.
    assert texts(root, "corner") == ["1 node", "501 nodes", "1 node", "1 x 2"]
    assert "1,500 weights, 15 distinct" in texts(root, "muted")
    assert texts(root, "label") == ["fixed<4,4>", "fixed<4,4>", "fixed<6,6>"]


def test_nodes_of_no_layer_are_one_box() -> None:
    root, _ = tree(recurrent(100, source=""))
    assert texts(root, "title") == ["'x' (InputLayer)", "no layer", "'head' (QDense)", "output"]


def test_too_many_layers_are_refused() -> None:
    builder = GraphBuilder("deep")
    x = builder.add(Input((1,), IntegerType(True, 4)), name="x")
    for layer in range(MOST_BOXES):
        x = builder.add(Relu(0), x, name="relu", source=f"layer {layer}")
    builder.output(x)
    with pytest.raises(BuildFailed, match=r"no picture: 301 nodes of 301 layers are more than the 300 boxes"):
        draw(inspect_graph(builder.build()))


def test_layers_that_feed_each_other_in_a_circle_are_drawn() -> None:
    builder = GraphBuilder("circle")
    x = builder.add(Input((1,), IntegerType(True, 4)), name="x")
    for step in range(MOST_BOXES):
        x = builder.add(Relu(0), x, name=f"relu{step}", source=f"layer {step % 2}")
    builder.output(x)
    root, notes = tree(builder.build())
    assert len(notes) == 2
    assert texts(root, "tagged") == ["from layer 1", "to layer 0"]


def test_which_lines_are_cut() -> None:
    chain = [(index, index + 1) for index in range(20)]
    assert cut_long_edges(21, chain) == set()
    assert cut_long_edges(21, [*chain, (0, 20), (0, 18), (3, 20)]) == set(), "a few long lines can be followed"
    assert cut_long_edges(21, [*chain, *((0, head) for head in (17, 18, 19, 20))]) == {20, 21, 22, 23}
    assert cut_long_edges(21, [*chain, *((tail, 20) for tail in (0, 1, 2, 3))]) == {20, 21, 22, 23}
    assert cut_long_edges(21, [*chain, (5, 2), (4, 4)]) == {20, 21}, "against the order"
    assert cut_long_edges(21, [*chain, (0, 20), (2, 19)], rows_passed=25) == {20}, "the longest first"
    assert cut_long_edges(3, [(0, 1), (1, 2), (0, 2)], lines=2) == {2}


@pytest.mark.parametrize("shape", ["complete", "two rows", "one to all", "parallel"])
def test_no_graph_of_the_largest_size_is_beyond_the_layout(shape: str) -> None:
    count = MOST_BOXES
    edges = {
        "complete": list(combinations(range(count), 2)),
        "two rows": [(tail, head) for tail in range(count // 2) for head in range(count // 2, count)],
        "one to all": [(0, head) for head in range(1, count)],
        "parallel": [(0, 1)] * 50,
    }[shape]
    cut = cut_long_edges(count, edges)
    kept = [Edge(*edge, 60) for index, edge in enumerate(edges) if index not in cut]
    assert len(kept) <= LINES
    placement = place([(200, 60)] * count, kept)
    assert all(route.points and route.label for route in placement.routes)
    rows = Counter(round(y) for _, y in placement.centres)
    assert max(rows.values()) * 200 <= placement.width, "boxes of one row stand side by side"
