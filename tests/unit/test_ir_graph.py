# SPDX-License-Identifier: Apache-2.0
"""Graphs: the checker, the interpreter's inputs, the file format against damage."""

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import InputError, SpecViolation
from toolchain.frontends import LoadedModel
from toolchain.ir import (
    Add,
    AddBias,
    Concatenate,
    Constant,
    Conv,
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
    graph_order,
    host_order,
    interpret,
    load_graph,
    quantise_input,
    real_inputs,
    real_values,
    save_graph,
)  # fmt: skip
from toolchain.ir.document import fill
from toolchain.pipeline.evaluation import evaluate
from toolchain.verify.framework import compare_framework


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


def test_constants_serve_every_sample_of_every_chunk(
    monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    builder = GraphBuilder("constants")
    x = builder.add(Input((2, 3), IntegerType(True, 4)), name="x")
    c = builder.add(Constant(np.array([[1, -2, 3]])), name="c")
    y = builder.add(Add(), x, c, name="y")
    twice = builder.add(Add(), y, y, name="twice")
    rows = builder.add(Constant(np.array([[7, 8, 9]])), name="rows")
    builder.output(builder.add(Concatenate(0), rows, twice, name="joined"))
    builder.output(rows, name="constant")
    graph = builder.build()
    assert graph.inputs == (graph.by_name["x"],)
    values, row = random.integers(-8, 8, (50, 2, 3)), np.array([1, -2, 3])
    expected = np.concatenate([np.tile([[[7, 8, 9]]], (50, 1, 1)), 2 * (values + row)], axis=1)
    for elements in (1 << 20, 40):
        monkeypatch.setattr(sys.modules["toolchain.ir.interpret"], "_CHUNK_ELEMENTS", elements)
        results = interpret(graph, values, record=["joined", "rows", "y"])
        assert (results["joined"] == expected).all()
        assert (results["rows"] == [[7, 8, 9]]).all()
        assert results["rows"].shape == (50, 1, 3)
        assert (results["y"] == values + row).all()
    assert interpret(graph, values[:0])["joined"].shape == (0, 3, 3)


def channels_first_graph() -> Graph:
    """A convolution whose user has channels first: samples (2, 4, 5) in, (3, 3, 4) out; inside, channels are last."""
    builder = GraphBuilder("channels first")
    element = IntegerType(True, 4, 1)
    x = builder.add(Input((4, 5, 2), element, scale=0.5, offset=1.0, axes=(1, 2, 0)), name="x")
    weights = np.arange(2 * 2 * 2 * 3).reshape(2, 2, 2, 3) - 11
    y = builder.add(Conv(weights, (1, 1), (1, 1)), x, name="y")
    builder.output(y, scale=(0.5, 1.0, 2.0), offset=(0.0, 0.25, -0.5), axes=(2, 0, 1))
    return builder.build()


def channels_first_forward(x: np.ndarray) -> np.ndarray:
    """The same in real numbers and in the user's order, by loops."""
    weights = np.arange(2 * 2 * 2 * 3).reshape(2, 2, 2, 3) - 11
    y = np.zeros((len(x), 3, 3, 4))
    for row, column, i, j, c in np.ndindex(3, 4, 2, 2, 2):
        y[:, :, row, column] += ((x[:, c, row + i, column + j] - 1.0) / 0.5)[:, None] * weights[i, j, c]
    return y * np.array([0.5, 1.0, 2.0])[:, None, None] + np.array([0.0, 0.25, -0.5])[:, None, None]


def test_axes_are_the_users_outside_and_the_graphs_inside(random: np.random.Generator) -> None:
    graph = channels_first_graph()
    source, output = graph.inputs[0], graph.outputs[0]
    assert isinstance(source.operation, Input)
    assert (source.operation.sample_shape, graph.types["x"].shape) == ((2, 4, 5), (4, 5, 2))
    assert (output.shape(graph), graph.types["y"].shape) == ((3, 3, 4), (3, 4, 3))
    user = random.integers(-8, 8, (6, 2, 4, 5))
    real = 0.5 * (user / 2) + 1.0
    integers = quantise_input(source, real).integers
    assert (integers == user.transpose(0, 2, 3, 1)).all()
    assert (integers == graph_order(source.operation, user)).all()
    assert (host_order(source.operation, integers) == user).all()
    assert (real_inputs(source, integers) == real).all()
    results = interpret(graph, integers)["y"]
    assert (host_order(output, results) == results.transpose(0, 3, 1, 2)).all()
    assert (real_values(output, graph.types["y"].element, results) == channels_first_forward(real)).all()


def test_axes_in_messages() -> None:
    source = channels_first_graph().inputs[0]
    with pytest.raises(InputError) as caught:
        quantise_input(source, np.zeros((1, 4, 5, 2)))
    assert str(caught.value) == "input 'x': expected an array of shape (samples, 2, 4, 5), found (1, 4, 5, 2)"
    x = np.ones((1, 2, 4, 5))
    x[0, 1, 2, 3] = 9.0
    with pytest.raises(InputError, match=r"first: sample 0, index \[1, 2, 3\], value 9$"):
        quantise_input(source, x)
    x[0, 0, 3, 4] = np.nan
    with pytest.raises(InputError, match=r"sample 0 holds nan at index \[0, 3, 4\]$"):
        quantise_input(source, x)


@pytest.mark.parametrize("axes", [(), (0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_every_order_of_axes(axes: tuple[int, ...]) -> None:
    user = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    graph = user.transpose(axes) if axes else user
    operation = Input(graph.shape, IntegerType(False, 5), axes=axes)
    node = Node("x", operation)
    assert operation.sample_shape == user.shape
    assert (quantise_input(node, user[None]).integers[0] == graph).all()
    assert (host_order(operation, graph[None])[0] == user).all()
    output = Output("y", "x", axes=axes)
    assert (host_order(output, user[None])[0] == graph).all()
    assert (real_values(output, operation.element, user[None])[0] == graph).all()


def test_the_host_works_in_the_users_order(tmp_path: Path, random: np.random.Generator) -> None:
    """`evaluate` and the comparison with the framework take and give the user's axes."""
    graph = channels_first_graph()
    x = 0.5 * (random.integers(-8, 8, (6, 2, 4, 5)) / 2) + 1.0
    model = LoadedModel("m", graph, "loops", (), channels_first_forward)
    np.savez(tmp_path / "v.npz", x=x)
    arrays = evaluate(model, vectors=tmp_path / "v.npz")["arrays"]
    expected = channels_first_forward(x)
    assert (arrays["y"] == expected).all()
    steps = np.ldexp(arrays["y_integer"].astype(float), -1)
    assert (arrays["y_scale"] * steps + arrays["y_offset"] == expected).all()
    comparison = compare_framework(model, x)
    assert (comparison.vectors, comparison.mismatches) == (6, 0)

    def wrong(values: np.ndarray) -> np.ndarray:
        y = channels_first_forward(values)
        y[4, 2, 0, 3] += 2.0 * 0.5
        return y

    comparison = compare_framework(LoadedModel("m", graph, "loops", (), wrong), x)
    assert comparison.first_mismatch is not None
    assert (comparison.mismatches, comparison.first_mismatch.vector, comparison.first_mismatch.index) == (
        1,
        4,
        (2, 0, 3),
    )


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
        (
            (node("x"), Node("y", Add(), ("x",))),
            ("y",),
            "y (add): takes 2 inputs, found 1",
        ),
        ((node("x"), Node("y", Concatenate(0))), ("y",), "y (concatenate): takes one or more inputs, found none"),
        ((Node("c", Constant(np.ones(2, int))),), ("c",), "graph 'g' has no input"),
        (
            (Node("x", Input((2, 3), IntegerType(True, 4), axes=(1, 2))),),
            ("x",),
            "x (input): axes (1, 2) must be a permutation of the 2 axes of shape (2, 3)",
        ),
        ((node(""),), ("",), "a node of operation 'input' has an empty name"),
    ],
)
def test_checker(nodes: tuple[Node, ...], outputs: tuple[str, ...], message: str) -> None:
    graph = Graph("g", nodes, tuple(Output(f"o{i}", name) for i, name in enumerate(outputs)))
    with pytest.raises(SpecViolation) as caught:
        check(graph)
    assert str(caught.value) == message


def test_checker_of_output_axes() -> None:
    graph = Graph("g", (node("x"),), (Output("o", "x", axes=(1, 0)),))
    with pytest.raises(SpecViolation) as caught:
        check(graph)
    assert str(caught.value) == "output 'o': axes (1, 0) must be a permutation of the 1 axes of (2,)"


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


def test_the_digest_of_a_graph_stays() -> None:
    """As the first release computed it: fields that came later are left out where they hold their default."""
    assert small_graph().digest == "8fef0fab4ad40f7efbd668a1da62f3f1c653b597b429c38ccdc8ee7efec28028"
    assert channels_first_graph().digest != replace_axes(channels_first_graph(), ()).digest


def replace_axes(graph: Graph, axes: tuple[int, ...]) -> Graph:
    return replace(graph, outputs=(replace(graph.outputs[0], axes=axes),))


def test_files_without_axes_are_read(tmp_path: Path) -> None:
    path = save_graph(small_graph(), tmp_path / "graph.bitwright")
    with zipfile.ZipFile(path) as archive:
        description = json.loads(archive.read("graph.json"))
    assert "axes" not in description["nodes"][0]["fields"]
    assert "axes" not in description["outputs"][0]
    assert load_graph(path).inputs[0].operation.axes == ()  # type: ignore[attr-defined]
    path = save_graph(channels_first_graph(), tmp_path / "axes.bitwright")
    loaded = load_graph(path)
    assert loaded.inputs[0].operation.axes == (1, 2, 0)  # type: ignore[attr-defined]
    assert loaded.outputs[0].axes == (2, 0, 1)


def test_flipped_bits(tmp_path: Path, random: np.random.Generator) -> None:
    """Whatever a damaged file holds, it is read as a graph or refused, never with another error."""
    path = save_graph(channels_first_graph(), tmp_path / "graph.bitwright")
    content = path.read_bytes()
    refused = 0
    for position in random.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            load_graph(path)
        except (InputError, SpecViolation):
            refused += 1
    assert refused > 100


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
        (lambda d: d["nodes"][2]["fields"].update(bias={"array": 0}), InputError, "array 0 is used twice"),
        (
            lambda d: d["nodes"][2]["fields"].update(bias={"array": 7}),
            InputError,
            "There is no item named 'array_7.npy'",
        ),
        (
            lambda d: d["nodes"][2]["fields"].update(bias_fraction=10**30),
            SpecViolation,
            r"node 'bias' \(add_bias\): bias_fraction must lie in \+-4096, found 10{30}$",
        ),
        (lambda d: d["nodes"][0]["fields"].update(scale="0x1p99999"), InputError, "OverflowError"),
        (
            lambda d: d["nodes"][0]["fields"].update(shape=[1 << 40]),
            SpecViolation,
            "a tensor has up to 2147483648 elem",
        ),
        (
            lambda d: d["nodes"][0]["fields"].update(shape=[1] * 17),
            SpecViolation,
            "a tensor has up to 16 axes, found 17",
        ),
        (lambda d: d["nodes"][0]["fields"].update(axes=[0, 0]), SpecViolation, r"axes \(0, 0\) must be a permutation"),
        (lambda d: d["outputs"][0].update(axes=["1"]), SpecViolation, r"axes \(1,\) must be a permutation"),
    ],
)
def test_hostile_files(change: object, error: type[Exception], message: str, tmp_path: Path) -> None:
    path = save_graph(small_graph(), tmp_path / "graph.bitwright")
    rewrite(path, change)
    with pytest.raises(error, match=message):
        load_graph(path)


def test_deeply_nested_files(tmp_path: Path) -> None:
    path = save_graph(small_graph(), tmp_path / "graph.bitwright")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("graph.json", "[" * 100_000 + "]" * 100_000)
    with pytest.raises(InputError, match="not a readable graph file"):
        load_graph(path)


def test_arrays_that_claim_more_than_they_hold(tmp_path: Path) -> None:
    path = save_graph(small_graph(), tmp_path / "graph.bitwright")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["array_0.npy"] = (
        members["array_0.npy"].replace(b"(3, 2)", b"(9999999999999, 2)").replace(b" " * 12 + b"\n", b"\n", 1)
    )
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    with pytest.raises(InputError, match=r"an array of int64 and shape \(9999999999999, 2\) in"):
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
