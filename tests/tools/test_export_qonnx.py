# SPDX-License-Identifier: Apache-2.0
"""QONNX export: qonnx executes the file to exactly the interpreter's integers, or the export says why it cannot."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.sample_graphs import sample_graph, samples
from toolchain.errors import UnsupportedModel
from toolchain.frontends import load_model, load_vectors
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Operation,
    Overflow,
    Requantise,
    Rounding,
    TensorType,
    Threshold,
    interpret,
    operations,
    quantise_input,
)
from toolchain.ir.export_qonnx import LOWERED, METADATA_KEY, export_qonnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("qonnx")

BATCH = 64


def execute(path: Path, graph: Graph, integers: np.ndarray) -> np.ndarray:
    """The first output of the file, as integers of the output type; fails if a value is not on its steps."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx

    model = ModelWrapper(str(path))
    source, tensor = graph.inputs[0], graph.outputs[0].tensor
    real = np.ldexp(integers.astype(np.float64), -graph.types[source.name].element.fraction).astype(np.float32)
    (result,) = execute_onnx(model, {model.graph.input[0].name: real}).values()
    steps = np.ldexp(result.astype(np.float64), graph.types[tensor].element.fraction)
    assert (steps == np.rint(steps)).all()
    return steps.astype(np.int64)


def extremes_and_random(element: IntegerType, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    integers = random.integers(element.minimum, element.maximum, (BATCH, *shape), endpoint=True)
    integers[0], integers[1] = element.minimum, element.maximum
    return integers


@pytest.mark.parametrize(("operation", "types"), list(samples(LOWERED)))
def test_every_operation(
    operation: Operation, types: tuple[TensorType, ...], random: np.random.Generator, tmp_path: Path
) -> None:
    graph = sample_graph(operation, types)
    try:
        path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    except UnsupportedModel as error:
        if not needs_more_than_float32(operation, graph):
            raise AssertionError("refused although float32 can hold it") from error
        return
    element = graph.types["x"].element
    integers = extremes_and_random(element, graph.types["x"].shape, random)
    if element.magnitude <= 1 << 10:  # every value of the type, so that no tie or wrap is left out
        every = np.arange(element.minimum, element.maximum + 1)
        flat = integers.reshape(BATCH, -1)
        count = min(len(every), flat.size)
        flat.reshape(-1)[:count] = every[:count]
    expected = interpret(graph, integers)[graph.outputs[0].tensor]
    assert (execute(path, graph, integers) == expected).all()


UNSUPPORTED = set(operations().values()) - set(LOWERED)


@pytest.mark.parametrize("cls", sorted(UNSUPPORTED, key=lambda cls: cls.kind), ids=lambda cls: cls.kind)
def test_what_has_no_form_is_refused_by_name(cls: type[Operation], tmp_path: Path) -> None:
    operation, types = next(iter(cls.samples()))
    with pytest.raises(UnsupportedModel) as caught:
        export_qonnx(sample_graph(operation, types), tmp_path / "graph.onnx")
    known = ", ".join(sorted(lowered.kind for lowered in LOWERED))
    assert str(caught.value) == (
        f"y ({cls.kind} from the layer): operation {cls.kind!r} has no form in QONNX here; {known} have"
    )
    assert not (tmp_path / "graph.onnx").exists()


def test_thresholds_on_four_axes_are_refused(tmp_path: Path) -> None:
    x = TensorType((2, 2, 2, 3), IntegerType(True, 4))
    graph = sample_graph(Threshold(np.array([[0, 3]])), (x,))
    with pytest.raises(UnsupportedModel, match=r"thresholds on up to 3 axes, the input has shape \(2, 2, 2, 3\)"):
        export_qonnx(graph, tmp_path / "graph.onnx")


def needs_more_than_float32(operation: Operation, graph: Graph) -> bool:
    widest = max(tensor.element.magnitude for tensor in graph.types.values())
    if isinstance(operation, Dense):
        widest = max(widest, int(np.abs(operation.weights).sum(axis=0).max()) * graph.types["x"].element.magnitude)
    if isinstance(operation, Requantise):
        shift = operation.shift(graph.types["x"].element)
        widest = max(widest, 1 << max(0, shift), graph.types["x"].element.magnitude << max(0, -shift))
    return widest > 1 << 24


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
    assert (execute(path, graph, integers) == interpret(graph, integers)["y"]).all()


@pytest.mark.parametrize("name", ["digits", "digits_brevitas"])
def test_bundled_models(name: str, tmp_path: Path) -> None:
    model = load_model(name)
    assert model.folder is not None
    assert model.folder.vectors is not None
    x = load_vectors(model.folder.vectors).x
    integers = quantise_input(model.graph.inputs[0], x).integers
    path = export_qonnx(model.graph, tmp_path / "graph.onnx", batch=len(x))
    expected = interpret(model.graph, integers)[model.graph.outputs[0].tensor]
    assert (execute(path, model.graph, integers) == expected).all()


def test_names_sources_and_ends_are_in_the_file(tmp_path: Path) -> None:
    hostile = "a b'\";$(rm)/../é\ud800"
    builder = GraphBuilder("graph")
    x = builder.add(Input((2,), IntegerType(True, 4, 2), scale=0.3, offset=0.5), name=hostile, source="pixels")
    y = builder.add(Threshold(np.array([[0, 3]]), offset=-1), x, name="steps", source="layer 'act'")
    builder.output(y, name="result", scale=0.7, host_function="softmax")
    graph = builder.build()
    model = onnx.load(export_qonnx(graph, tmp_path / "graph.onnx"))
    assert model.graph.input[0].name == "a b'\";$(rm)/../é?"
    (node,) = [node for node in model.graph.node if node.op_type == "MultiThreshold"]
    assert (node.name, node.doc_string) == ("steps", "layer 'act'")
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    ends = json.loads(entry.value)
    assert ends["graph_digest"] == graph.digest
    assert ends["inputs"] == [{"name": hostile, "fraction": 2, "scale": 0.3, "offset": 0.5}]
    assert ends["outputs"] == [
        {
            "name": "result",
            "tensor": "steps",
            "fraction": 0,
            "scale": [0.7],
            "offset": [0.0],
            "host_function": "softmax",
        }
    ]


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


def test_partial_sums_count_too(tmp_path: Path) -> None:
    """A sum that ends small may still pass through values that float32 rounds."""
    weights = np.array([[1 << 12], [-(1 << 12)]])
    builder = GraphBuilder("graph")
    x = builder.add(Input((2,), IntegerType(False, 13, 0, (1 << 12) - 1, 1 << 12)), name="x")
    builder.output(builder.add(Dense(weights), x, name="dense"))
    graph = builder.build()
    assert graph.types["dense"].element.magnitude <= 1 << 12
    with pytest.raises(UnsupportedModel, match="its partial sums reach 33554432 steps"):
        export_qonnx(graph, tmp_path / "graph.onnx")


def test_a_bias_on_a_finer_step_and_argmax(random: np.random.Generator, tmp_path: Path) -> None:
    builder = GraphBuilder("graph")
    x = builder.add(Input((3,), IntegerType(True, 5, 1)), name="x")
    y = builder.add(Dense(random.integers(-3, 4, (3, 4)), 2), x, name="dense")
    y = builder.add(AddBias(random.integers(-9, 9, 4), 6), y, name="bias")
    builder.output(builder.add(ArgMax(), y, name="class"))
    graph = builder.build()
    integers = extremes_and_random(graph.types["x"].element, (3,), random)
    path = export_qonnx(graph, tmp_path / "graph.onnx", batch=BATCH)
    assert (execute(path, graph, integers) == interpret(graph, integers)["class"]).all()
