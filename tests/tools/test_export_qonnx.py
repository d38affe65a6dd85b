# SPDX-License-Identifier: Apache-2.0
"""QONNX export: qonnx executes the file to exactly the interpreter's integers, or the export says why it cannot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sample_graphs import sample_graph, samples
from tests.sample_networks import feeds_for, random_network, residual_classifier
from toolchain.errors import UnsupportedModel
from toolchain.frontends import load_model, load_vectors
from toolchain.ir import (
    Add,
    AddBias,
    ArgMax,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    MaxPool,
    Operation,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Rounding,
    Scale,
    SumPool,
    TensorType,
    Threshold,
    Upsample,
    interpret,
    operations,
    quantise_input,
)
from toolchain.ir.export_qonnx import LOWERED, METADATA_KEY, export_qonnx
from toolchain.ir.export_qonnx.registry import LOWERINGS
from toolchain.ir.products import WeightedSums

onnx = pytest.importorskip("onnx")
pytest.importorskip("qonnx")

BATCH = 64


def execute(path: Path, graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The file's outputs by graph node, as integers of the nodes' types; fails if a value is not on its steps."""
    from qonnx.core.modelwrapper import ModelWrapper

    return execute_model(ModelWrapper(str(path)), graph, feeds)


def execute_model(model: Any, graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    from qonnx.core.onnx_exec import execute_onnx

    real = {
        value.name: np.ldexp(feeds[node.name].astype(np.float64), -graph.types[node.name].element.fraction).astype("f4")
        for value, node in zip(model.graph.input, graph.inputs, strict=True)
    }
    given = execute_onnx(model, real)
    results = {}
    for value, name in zip(model.graph.output, dict.fromkeys(o.tensor for o in graph.outputs), strict=True):
        steps = np.ldexp(given[value.name].astype(np.float64), graph.types[name].element.fraction)
        assert (steps == np.rint(steps)).all()
        results[name] = steps.astype(np.int64)
    return results


def assert_equal_to_the_interpreter(path: Path, graph: Graph, feeds: Mapping[str, np.ndarray]) -> None:
    expected = interpret(graph, feeds)
    found = execute(path, graph, feeds)
    assert set(found) == set(expected)
    for name, integers in found.items():
        assert integers.shape == expected[name].shape
        np.testing.assert_array_equal(integers, expected[name], err_msg=name)


def with_every_value(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Feeds that start with every value of a short type, so that no tie or wrap is left out."""
    for name, integers in feeds.items():
        element = graph.types[name].element
        if element.magnitude <= 1 << 10:
            every = np.arange(element.minimum, element.maximum + 1)
            flat = integers.reshape(-1)
            flat[: len(every)] = every[: len(flat)]
    return feeds


@pytest.mark.parametrize(("operation", "types"), list(samples(LOWERED)))
def test_every_operation(
    operation: Operation, types: tuple[TensorType, ...], random: np.random.Generator, tmp_path: Path
) -> None:
    graph = sample_graph(operation, types)
    try:
        path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    except UnsupportedModel as error:
        if not needs_more_than_float32(operation, types, graph):
            raise AssertionError("refused although float32 can hold it") from error
        return
    assert_equal_to_the_interpreter(path, graph, with_every_value(graph, feeds_for(graph, BATCH, random)))


def needs_more_than_float32(operation: Operation, types: tuple[TensorType, ...], graph: Graph) -> bool:
    magnitudes = [tensor.element.magnitude for tensor in graph.types.values()]
    if isinstance(operation, WeightedSums):
        magnitudes += [operation.largest_sum * types[0].element.magnitude, operation.weight_type.magnitude]
    if isinstance(operation, Scale):
        magnitudes += [abs(int(factor)) for factor in operation.factors]
    if isinstance(operation, Requantise):
        shift = operation.shift(types[0].element)
        magnitudes += [1 << max(0, shift), types[0].element.magnitude << max(0, -shift)]
    return max(magnitudes) > 1 << 24


def test_every_operation_has_a_form() -> None:
    assert set(LOWERED) == set(operations().values())


def test_what_has_no_form_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(LOWERINGS, Upsample)
    with pytest.raises(UnsupportedModel) as caught:
        export_qonnx(sample_graph(*next(Upsample.samples())), tmp_path / "graph.onnx")
    known = ", ".join(sorted({lowered.kind for lowered in LOWERED} - {"upsample"}))
    assert (
        str(caught.value)
        == f"y (upsample from the layer): operation 'upsample' has no form in QONNX here; {known} have"
    )
    assert not (tmp_path / "graph.onnx").exists()


def test_more_axes_than_qonnx_has_are_refused(tmp_path: Path) -> None:
    x = TensorType((2, 2, 2, 3), IntegerType(True, 4))
    graph = sample_graph(Threshold(np.array([[0, 3]])), (x,))
    with pytest.raises(UnsupportedModel, match=r"thresholds on up to 3 axes, the input has shape \(2, 2, 2, 3\)"):
        export_qonnx(graph, tmp_path / "graph.onnx")
    x = TensorType((2, 1, 2, 2, 3), IntegerType(True, 4))
    for pool in (MaxPool, SumPool):
        with pytest.raises(UnsupportedModel, match=r"windows in ONNX have up to 3 axes, found \(2, 1, 1, 1\); reshape"):
            export_qonnx(sample_graph(pool((2, 1, 1, 1), (1, 1, 1, 1)), (x,)), tmp_path / "graph.onnx")


def test_axes_too_long_for_indices_in_float32_are_refused(tmp_path: Path) -> None:
    graph = sample_graph(Upsample((1 << 10,)), (TensorType((1 << 11,), IntegerType(True, 4)),))
    with pytest.raises(UnsupportedModel, match=r"here up to axes of 1048576; found \(2097152,\)"):
        export_qonnx(graph, tmp_path / "graph.onnx")


@pytest.mark.parametrize("overflow", list(Overflow), ids=lambda overflow: overflow.value)
@pytest.mark.parametrize("rounding", list(Rounding), ids=lambda rounding: rounding.value)
@pytest.mark.parametrize(
    "target",
    [IntegerType(True, 4, 1), IntegerType(False, 3, 2), IntegerType(True, 3, -1), IntegerType(True, 1, 1)],
    ids=str,
)
def test_every_rounding_with_every_overflow(
    target: IntegerType, rounding: Rounding, overflow: Overflow, tmp_path: Path
) -> None:
    """All 256 values of the input type, which hold every tie of both signs and several turns of every word."""
    if overflow is Overflow.WRAP_SIGN_MAGNITUDE and not target.signed:
        return  # that mode needs a signed target
    types = (TensorType((4,), IntegerType(True, 8, 3)),)
    graph = sample_graph(Requantise(target, rounding, overflow), types)
    path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    integers = np.arange(-128, 128).reshape(BATCH, 4)
    assert_equal_to_the_interpreter(path, graph, {"x": integers})


@pytest.mark.parametrize("name", ["digits", "digits_brevitas"])
def test_bundled_models(name: str, tmp_path: Path) -> None:
    model = load_model(name)
    assert model.folder is not None
    assert model.folder.vectors is not None
    x = load_vectors(model.folder.vectors).x
    integers = quantise_input(model.graph.inputs[0], x).integers
    path = export_qonnx(model.graph, tmp_path / "graph.onnx", batch=len(x))
    assert_equal_to_the_interpreter(path, model.graph, {model.graph.inputs[0].name: integers})


def test_names_sources_and_ends_are_in_the_file(tmp_path: Path) -> None:
    hostile = "a b'\";$(rm)/../é\ud800"
    builder = GraphBuilder("graph")
    element = IntegerType(True, 4, 2)
    x = builder.add(Input((3, 2), element, scale=0.3, offset=0.5, axes=(1, 0)), name=hostile, source="pixels")
    y = builder.add(Threshold(np.array([[0, 3]]), offset=-1), x, name="steps", source="layer 'act'")
    builder.output(y, name="result", scale=0.7, host_function="softmax", axes=(1, 0))
    graph = builder.build()
    model = onnx.load(export_qonnx(graph, tmp_path / "graph.onnx"))
    assert model.graph.input[0].name == "a b'\";$(rm)/../é?"
    (node,) = [node for node in model.graph.node if node.op_type == "MultiThreshold"]
    assert (node.name, node.doc_string) == ("steps", "layer 'act'")
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    ends = json.loads(entry.value)
    assert ends["graph_digest"] == graph.digest
    assert ends["inputs"] == [{"name": hostile, "fraction": 2, "scale": 0.3, "offset": 0.5, "axes": [1, 0]}]
    assert ends["outputs"] == [
        {
            "name": "result",
            "tensor": "steps",
            "fraction": 0,
            "scale": [0.7],
            "offset": [0.0],
            "host_function": "softmax",
            "axes": [1, 0],
        }
    ]


def test_names_that_protobuf_cannot_tell_apart(random: np.random.Generator, tmp_path: Path) -> None:
    """Lone surrogates all become '?'."""
    builder = GraphBuilder("graph")
    x = builder.add(Input((3,), IntegerType(True, 4)), name="x")
    y = builder.add(Relu(), x, name="\ud800")
    builder.output(builder.add(Add(), builder.add(Relu(0), x, name="\ud801"), y, name="?"))
    graph = builder.build()
    path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    assert_equal_to_the_interpreter(path, graph, feeds_for(graph, BATCH, random))


def test_too_wide_is_refused_by_name(tmp_path: Path) -> None:
    builder = GraphBuilder("graph")
    x = builder.add(Input((2,), IntegerType(True, 16)), name="x")
    builder.output(builder.add(Dense(np.full((2, 1), 1 << 12)), x, name="dense", source="'d' (QDense)"))
    with pytest.raises(UnsupportedModel) as caught:
        export_qonnx(builder.build(), tmp_path / "graph.onnx")
    assert str(caught.value) == (
        "dense (dense from 'd' (QDense)): its results reach 268435456 steps, and float32, in which QONNX computes, is exact "
        "up to 16777216 only; use fewer bits, or the graph file itself"
    )
    assert not (tmp_path / "graph.onnx").exists()


@pytest.mark.parametrize("convolves", [False, True], ids=["dense", "conv"])
def test_partial_sums_count_too(convolves: bool, tmp_path: Path) -> None:
    """A sum that ends small may still pass through values that float32 rounds."""
    weights = np.array([[1 << 12], [-(1 << 12)]])
    builder = GraphBuilder("graph")
    operation = Conv(weights[None], (1,), (1,)) if convolves else Dense(weights)
    element = IntegerType(False, 13, 0, (1 << 12) - 1, 1 << 12)
    x = builder.add(Input((1, 2), element), name="x")
    builder.output(builder.add(operation, x, name="sums"))
    graph = builder.build()
    assert graph.types["sums"].element.magnitude <= 1 << 12
    with pytest.raises(UnsupportedModel, match="its partial sums reach 33554432 steps"):
        export_qonnx(graph, tmp_path / "graph.onnx")


def test_a_classifier_with_branches(random: np.random.Generator, tmp_path: Path) -> None:
    graph = residual_classifier(random)
    path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    feeds = feeds_for(graph, BATCH, random)
    assert len(np.unique(interpret(graph, feeds)["class"])) > 1
    assert_equal_to_the_interpreter(path, graph, feeds)
    # One sample at a time, as FINN wants it.
    path = export_qonnx(graph, path)
    assert_equal_to_the_interpreter(path, graph, {name: x[5:6] for name, x in feeds.items()})


def test_images_stay_channels_first_between_convolutions(random: np.random.Generator, tmp_path: Path) -> None:
    """As FINN and people who look at the file expect them: transposed where they enter and where the flat part begins."""
    graph = residual_classifier(random)
    model = onnx.load(export_qonnx(graph, tmp_path / "graph.onnx"))
    kinds = [node.op_type for node in model.graph.node]
    assert (kinds.count("Conv"), kinds.count("Pad")) == (5, 0)
    transposes = [node.name for node in model.graph.node if node.op_type == "Transpose"]
    # The last one is for the output that users see; the dense layer takes the one position as it is.
    assert transposes == ["image/channels_first", "average"]
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.value_info}
    assert (shapes["conv1"], shapes["joined"], shapes["flat"]) == ([1, 8, 12, 10], [1, 12, 6, 5], [1, 12])


def test_qonnx_lowers_the_convolutions(random: np.random.Generator, tmp_path: Path) -> None:
    """The first steps of FINN's flow: tidied up, and with matrix products for convolutions, the file computes the same.

    They do not know groups other than all channels or each of them.
    """
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.lower_convs_to_matmul import LowerConvsToMatMul
    from qonnx.util.cleanup import cleanup_model

    graph = residual_classifier(random, groups=1)
    model = cleanup_model(ModelWrapper(str(export_qonnx(graph, tmp_path / "graph.onnx"))))
    model = cleanup_model(model.transform(LowerConvsToMatMul()))
    assert {"Im2Col", "MatMul"} <= {node.op_type for node in model.graph.node}
    assert "Conv" not in {node.op_type for node in model.graph.node}
    feeds = {name: x[3:4] for name, x in feeds_for(graph, 8, random).items()}
    expected = interpret(graph, feeds)
    for name, integers in execute_model(model, graph, feeds).items():
        np.testing.assert_array_equal(integers, expected[name])


@pytest.mark.parametrize("number", range(20))
def test_random_networks(number: int, random: np.random.Generator, tmp_path: Path) -> None:
    graph = random_network(random)
    path = export_qonnx(graph, tmp_path / "graph.onnx", batch=4)
    assert_equal_to_the_interpreter(path, graph, feeds_for(graph, 4, random))


@pytest.mark.parametrize("value", [0, -8, -9, 3])
def test_padding_before_a_window(value: int, random: np.random.Generator, tmp_path: Path) -> None:
    """Whatever can be said inside the window's node is, and everything is exact: also windows all of padding."""
    builder = GraphBuilder("graph")
    x = builder.add(Input((5, 4, 2), IntegerType(True, 4)), name="x")
    for number, widths in enumerate((((1, 1), (0, 2), (0, 0)), ((3, 0), (1, 1), (0, 0)), ((0, 0), (1, 0), (1, 0)))):
        y = builder.add(Pad(widths, value), x, name=f"pad{number}")
        channels = builder.type(y).channels
        weights = random.integers(-3, 4, (2, 3, channels, 2))
        for name, operation in {
            "conv": Conv(weights, (1, 1), (1, 1)),
            "largest": MaxPool((3, 3), (2, 1)),
            "sparse": MaxPool((2, 2), (1, 1), (2, 2)),
            "sum": SumPool((2, 3), (2, 1)),
        }.items():
            y = builder.add(Pad(widths, value), x, name=f"pad_{name}")
            builder.output(builder.add(operation, y, name=f"{name}{number}"), name=f"{name}{number}")
    graph = builder.build()
    path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    assert_equal_to_the_interpreter(path, graph, feeds_for(graph, BATCH, random))
    pads = {node.name for node in onnx.load(path).graph.node if node.op_type == "Pad"}
    inside = {f"pad_{name}{n}" for name in ("conv", "sum") for n in ("", "_2")} if value == 0 else set()
    inside |= {"pad_largest"} if value <= -8 else set()
    readers = {f"pad_{name}{n}" for name in ("conv", "largest", "sparse", "sum") for n in ("", "_2", "_3")}
    assert readers & pads == readers - inside


def test_padding_that_something_else_sees(random: np.random.Generator, tmp_path: Path) -> None:
    """An output, an operand of another operation, and windows whose every element lies in the border."""
    builder = GraphBuilder("graph")
    x = builder.add(Input((1, 4, 2), IntegerType(True, 4)), name="x")
    outer = builder.add(Pad(((1, 1), (0, 0), (0, 0))), x, name="outer")
    builder.output(outer, name="outer")
    builder.output(
        builder.add(Conv(random.integers(-3, 4, (2, 2, 2, 2)), (1, 1), (1, 1)), outer, name="conv"), name="conv"
    )
    read = builder.add(Pad(((1, 1), (0, 0), (0, 0))), x, name="read")
    y = builder.add(Conv(random.integers(-3, 4, (2, 2, 2, 2)), (1, 1), (1, 1)), read, name="other")
    builder.output(y, name="other")
    builder.output(builder.add(Relu(), read, name="relu"), name="relu")
    lowest = builder.add(Pad(((1, 1), (0, 0), (0, 0)), -8), x, name="lowest")
    builder.output(builder.add(MaxPool((2, 1), (1, 1), (2, 1)), lowest, name="sparse"), name="sparse")
    graph = builder.build()
    path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    feeds = feeds_for(graph, BATCH, random)
    assert (interpret(graph, feeds)["sparse"] == -8).any()
    assert_equal_to_the_interpreter(path, graph, feeds)


def test_a_bias_on_a_finer_step_and_argmax(random: np.random.Generator, tmp_path: Path) -> None:
    builder = GraphBuilder("graph")
    x = builder.add(Input((3,), IntegerType(True, 5, 1)), name="x")
    y = builder.add(Dense(random.integers(-3, 4, (3, 4)), 2), x, name="dense")
    y = builder.add(AddBias(random.integers(-9, 9, 4), 6), y, name="bias")
    builder.output(builder.add(ArgMax(), y, name="class"))
    graph = builder.build()
    path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    assert_equal_to_the_interpreter(path, graph, feeds_for(graph, BATCH, random))
