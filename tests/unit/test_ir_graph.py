# SPDX-License-Identifier: Apache-2.0
"""Graphs: the checker, the interpreter's inputs, the file format against damage."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import InputError, SpecViolation
from toolchain.ir import (
    AddBias,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Node,
    OutOfRange,
    Output,
    Overflow,
    Relu,
    Requantise,
    Rounding,
    check,
    interpret,
    load_graph,
    quantise_input,
    real_values,
    save_graph,
)  # fmt: skip
from toolchain.ir.document import fill


def small_graph(**input_options: object) -> Graph:
    builder = GraphBuilder("small", {"framework": "none"})
    x = builder.add(Input((3,), IntegerType(True, 4, 2), **input_options), name="x", source="in;$(put)")  # type: ignore[arg-type]
    h = builder.add(Dense(np.array([[1, -2], [3, 0], [-1, 5]]), 1), x, name="dense")
    h = builder.add(AddBias(np.array([4, -3]), 4), h, name="bias")
    h = builder.add(Requantise(IntegerType(False, 3, 1), Rounding.HALF_EVEN, Overflow.SATURATE), h, name="quantise")
    builder.output(h, scale=0.5, offset=(1.0, 2.0))
    return builder.build()


def test_interpreter_by_hand() -> None:
    graph = small_graph()
    results = interpret(graph, np.array([[1, 2, 3], [-8, 7, 0]]), record=graph.by_name)
    assert results["dense"].tolist() == [[4, 13], [13, 16]]
    assert results["bias"].tolist() == [[12, 23], [30, 29]]
    # 12/8 = 1.5 -> 2, 23/8 = 2.875 -> 3; 30/8 = 3.75 -> 4, 29/8 = 3.625 -> 4
    assert results["quantise"].tolist() == [[2, 3], [4, 4]]
    real = real_values(graph.outputs[0], graph.types["quantise"].element, results["quantise"])
    assert real.tolist() == [[1.5, 2.75], [2.0, 3.0]]


def test_batches_larger_than_a_chunk(monkeypatch: pytest.MonkeyPatch, random: np.random.Generator) -> None:
    graph = small_graph()
    x = random.integers(-8, 8, (100, 3))
    whole = interpret(graph, x)["quantise"]
    monkeypatch.setattr(sys.modules["toolchain.ir.interpret"], "_CHUNK_ELEMENTS", 21)
    assert (interpret(graph, x)["quantise"] == whole).all()
    assert interpret(graph, x[:0])["quantise"].shape == (0, 2)


def test_branches_use_a_result_twice() -> None:
    builder = GraphBuilder("branch")
    x = builder.add(Input((2,), IntegerType(True, 4)), name="x")
    left = builder.add(Relu(), x, name="left")
    right = builder.add(Dense(np.array([[1], [1]])), x, name="right")
    builder.output(left, name="a")
    builder.output(right, name="b")
    results = interpret(builder.build(), np.array([[-1, 3]]))
    assert (results["left"].tolist(), results["right"].tolist()) == ([[0, 3]], [[2]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 4), int), "input 'x': expected an array of shape (samples, 3), found (5, 4)"),
        (np.zeros(3, int), "input 'x': expected an array of shape (samples, 3), found (3,)"),
        (np.zeros((5, 3)), "input 'x': the interpreter takes integers, found float64"),
        (np.array([[0, 8, 0]]), "input 'x': integers lie in [0, 8], allowed are [-8, 7] (fixed<4,2>)"),
    ],
)
def test_interpreter_refuses(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError) as caught:
        interpret(small_graph(), array)
    assert str(caught.value) == message


def test_real_inputs() -> None:
    graph = small_graph()
    # Ties go to even: 0.125 is half a step of 0.25.
    quantised = quantise_input(graph.inputs[0], np.array([[0.125, 0.375, -0.3]], np.float32))
    assert (quantised.integers.tolist(), quantised.saturated) == ([[0, 2, -1]], 0)
    with pytest.raises(InputError) as caught:
        quantise_input(graph.inputs[0], np.array([[0.0, 0.0, 0.0], [0.0, 9.0, -3.0]]))
    assert str(caught.value) == (
        "input 'x': 2 of 6 values lie outside [-2, 1.75] (fixed<4,2>); first: sample 1, index [1], value 9"
    )
    with pytest.raises(InputError, match=r"input 'x': sample 0 holds nan at index \[2\]"):
        quantise_input(graph.inputs[0], np.array([[0.0, 0.0, np.nan]]))
    saturating = small_graph(out_of_range=OutOfRange.SATURATE, scale=0.1, offset=0.05)
    quantised = quantise_input(saturating.inputs[0], np.array([[9.0, -9.0, 0.05]]))
    assert (quantised.integers.tolist(), quantised.saturated) == ([[7, -8, 0]], 2)


@pytest.mark.parametrize("rounding", Rounding)
def test_real_rounding_equals_integer_rounding(rounding: Rounding) -> None:
    """The host's conversion of k/8 and the graph's own requantisation of k at three fraction bits are the same function."""
    from toolchain.ir.rounding import round_shift

    element = IntegerType(True, 12)
    node = Node("x", Input((1,), element, rounding=rounding))
    eighths = np.arange(-100, 101)
    assert (
        quantise_input(node, eighths[:, None] / 8).integers[:, 0].tolist() == round_shift(eighths, 3, rounding).tolist()
    )


def node(name: str, *inputs: str) -> Node:
    operation = Relu() if inputs else Input((2,), IntegerType(True, 4))
    return Node(name, operation, inputs)


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        ((node("x"), node("x")), ("x",), "x (input): the name is used twice; node names must be unique"),
        ((node("x"), node("y", "z")), ("y",), "y (relu): input 'z' is not the result of an earlier node"),
        ((node("x"), node("y", "x", "x")), ("y",), "y (relu): takes 1 inputs, found 2"),
        ((node("x"),), ("q",), "output 'o0': tensor 'q' is not the result of a node"),
        ((node("x"),), (), "graph 'g' has no output"),
        ((node(""),), ("",), "a node of operation 'input' has an empty name"),
    ],
)
def test_checker(nodes: tuple[Node, ...], outputs: tuple[str, ...], message: str) -> None:
    graph = Graph("g", nodes, tuple(Output(f"o{i}", name) for i, name in enumerate(outputs)))
    with pytest.raises(SpecViolation) as caught:
        check(graph)
    assert str(caught.value) == message


def test_builder_keeps_names_unique() -> None:
    builder = GraphBuilder("g")
    x = builder.add(Input((2,), IntegerType(True, 4)), name="a")
    y = builder.add(Relu(), x, name="a")
    assert (x, y) == ("a", "a_2")


def test_digest_follows_meaning_only(tmp_path: Path) -> None:
    graph = small_graph()
    assert graph.digest == small_graph().digest
    assert graph.digest == Graph(graph.name, graph.nodes, graph.outputs, {"note": "other"}).digest
    changed = [
        *graph.nodes[:1],
        Node("dense", Dense(np.array([[1, -2], [3, 0], [-1, 4]]), 1), ("x",)),
        *graph.nodes[2:],
    ]
    assert graph.digest != graph.replace_nodes(tuple(changed)).digest


def test_damaged_files(tmp_path: Path) -> None:
    path = save_graph(small_graph(), tmp_path / "graph.bitwright")
    content = path.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="not a readable graph file"):
            load_graph(path)
    with pytest.raises(InputError, match="no such file"):
        load_graph(tmp_path / "absent.bitwright")


def rewrite(path: Path, change: object) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(members["graph.json"])
    change(description)  # type: ignore[operator]
    members["graph.json"] = json.dumps(description).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.update(version=2), InputError, "format 'bitwright-graph' version 2; this release reads"),
        (lambda d: d["nodes"][1].update(operation="system"), SpecViolation, "node 'dense': unknown operation 'system'"),
        (lambda d: d["nodes"][3]["fields"].update(rounding="up"), InputError, "'up' is not a valid Rounding"),
        (lambda d: d["nodes"][3]["fields"].update(extra=1), InputError, "expected fields"),
        (lambda d: d["nodes"][3]["fields"]["target"].update(width="9" * 30), SpecViolation, "width must be 1 to 4096"),
        (
            lambda d: d["nodes"][1].update(inputs=["bias"]),
            SpecViolation,
            "input 'bias' is not the result of an earlier",
        ),
        (lambda d: d["nodes"][1].update(name=["a"]), InputError, "expected text"),
    ],
)
def test_hostile_files(change: object, error: type[Exception], message: str, tmp_path: Path) -> None:
    path = save_graph(small_graph(), tmp_path / "graph.bitwright")
    rewrite(path, change)
    with pytest.raises(error, match=message):
        load_graph(path)


def test_arrays_with_pickled_objects_are_refused(tmp_path: Path) -> None:
    import io

    path = save_graph(small_graph(), tmp_path / "graph.bitwright")
    buffer = io.BytesIO()
    np.save(buffer, np.array([[object()]], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["array_0.npy"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    with pytest.raises(InputError, match="not a readable graph file"):
        load_graph(path)


def test_semantics_page_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "semantics.md"
    assert page.read_text() == fill(page.read_text()), "run `make docs`"
