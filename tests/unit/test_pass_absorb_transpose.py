# SPDX-License-Identifier: Apache-2.0
"""absorb_transpose: the same integers without the transposition, and everything else as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.sample_networks import feeds_for, random_network, residual_classifier, steps
from toolchain.ir import (
    Add,
    AddBias,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Lookup,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    Scale,
    Threshold,
    Transpose,
    graph_order,
    interpret,
    load_graph,
    real_inputs,
    save_graph,
)
from toolchain.passes.absorb_transpose import absorb_transpose
from toolchain.pipeline import build_hardware, evaluate
from toolchain.pipeline.inspection import inspect_model

Insert = Callable[[GraphBuilder, str], str]


def per_tensor(builder: GraphBuilder, x: str, random: np.random.Generator) -> Operation:
    """Some operation that does the same to each element of x."""
    element = builder.type(x).element
    span = element.maximum - element.minimum + 1
    choices: list[Operation] = [
        Relu(int(random.integers(3))),
        Requantise(IntegerType(True, 5, element.fraction - 1), Rounding.HALF_EVEN, Overflow.SATURATE),
        Scale(random.integers(-3, 4, 1), 1),
        Threshold(steps(element, 5, 1, random), -2, 1),
    ]
    if span <= 4096:
        choices.append(Lookup(random.integers(-9, 10, (1, span)), element.minimum, 2))
    return choices[int(random.integers(len(choices)))]


def flattened(
    random: np.random.Generator,
    before: Insert = lambda builder, x: x,
    between: Insert = lambda builder, x: x,
    after: Insert = lambda builder, x: x,
    permutation: tuple[int, ...] | None = None,
) -> GraphBuilder:
    """Image -> conv -> [before] -> transpose -> [between] -> reshape -> [after] -> dense, with an output."""
    builder = GraphBuilder("flattened", {"framework": "test"})
    height, width = (int(n) for n in random.integers(2, 6, 2))
    x = builder.add(Input((height, width, 3), IntegerType(True, 4), axes=(1, 2, 0)), name="image", source="in")
    x = builder.add(Conv(random.integers(-3, 4, (2, 2, 3, 4)), (1, 1), (1, 1)), x, name="conv", source="block/conv")
    x = before(builder, x)
    order = permutation or tuple(int(a) for a in random.permutation(3))
    x = between(builder, builder.add(Transpose(order), x, name="transposed", source="flatten"))
    x = after(builder, builder.add(Reshape((builder.type(x).size,)), x, name="flat", source="flatten"))
    weights = random.integers(-9, 10, (builder.type(x).channels, 5))
    builder.output(builder.add(Dense(weights, 2), x, name="scores", source="head"), name="logits", scale=0.5)
    return builder


def assert_only_transposes_went(graph: Graph, result: Graph, random: np.random.Generator) -> set[str]:
    """Everything but transpositions and the order of weight rows is as it was. Returns the names of what is gone."""
    gone = set(graph.by_name) - set(result.by_name)
    assert all(isinstance(graph.by_name[name].operation, Transpose) for name in gone)
    assert [node.name for node in graph.nodes if node.name not in gone] == [node.name for node in result.nodes]
    assert (result.name, result.outputs, result.metadata) == (graph.name, graph.outputs, graph.metadata)
    for node in result.nodes:
        old = graph.by_name[node.name]
        assert node.source == old.source
        assert result.types[node.name].element == graph.types[node.name].element
        assert result.types[node.name].size == graph.types[node.name].size
        inputs = [graph.by_name[name] for name in old.inputs]
        while any(i.name in gone for i in inputs):
            inputs = [graph.by_name[i.inputs[0]] if i.name in gone else i for i in inputs]
        assert node.inputs == tuple(i.name for i in inputs)
        if isinstance(node.operation, Dense) and node.operation is not old.operation:
            assert isinstance(old.operation, Dense)
            assert node.operation.weight_fraction == old.operation.weight_fraction
            rows = (sorted(map(tuple, op.weights.tolist())) for op in (node.operation, old.operation))
            assert next(rows) == next(rows)
        else:
            assert node.operation is old.operation
    feeds = feeds_for(graph, 30, random)
    expected, found = interpret(graph, feeds), interpret(result, feeds)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    return gone


@pytest.mark.parametrize("number", range(20))
def test_transpositions_before_dense_layers_go(number: int, random: np.random.Generator) -> None:
    def some(builder: GraphBuilder, x: str) -> str:
        for _ in range(random.integers(3)):
            x = builder.add(per_tensor(builder, x, random), x, name="step", source="act")
        return x

    graph = flattened(random, some, some, some).build()
    result = absorb_transpose(graph)
    assert assert_only_transposes_went(graph, result, random) == {"transposed"}
    assert absorb_transpose(result) is result
    assert result.digest != graph.digest


def test_the_rows_are_where_their_elements_arrive(random: np.random.Generator) -> None:
    """By the definition: row (y, x, c) of the new weights is row (c, y, x) of the old ones."""
    graph = flattened(random, permutation=(2, 0, 1)).build()
    height, width, channels = graph.types["conv"].shape
    old, new = (g.by_name["scores"].operation for g in (graph, absorb_transpose(graph)))
    assert isinstance(old, Dense)
    assert isinstance(new, Dense)
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                there = (row * width + column) * channels + channel
                assert new.weights[there].tolist() == old.weights[(channel * height + row) * width + column].tolist()


def test_several_transpositions_and_wide_weights(random: np.random.Generator) -> None:
    builder = flattened(random, before=lambda b, x: b.add(Transpose((1, 2, 0)), x, name="first"))
    x = builder.add(Input((2, 3), IntegerType(True, 4)), name="second_input")
    x = builder.add(Transpose((1, 0)), x, name="turned")
    x = builder.add(Reshape((6,)), x, name="also_flat")
    wide = random.integers(-9, 10, (6, 2)).astype(object) << 70
    builder.output(builder.add(Dense(wide), x, name="wide"), name="wide")
    graph = builder.build()
    assert assert_only_transposes_went(graph, absorb_transpose(graph), random) == {"first", "transposed", "turned"}


def test_builds_evaluations_and_inspections_take_the_same_graph(random: np.random.Generator, tmp_path: Path) -> None:
    graph = flattened(random, permutation=(2, 0, 1)).build()
    file = save_graph(graph, tmp_path / "model.bitwright")
    expected = absorb_transpose(graph)
    x = real_inputs(graph.inputs[0], feeds_for(graph, 9, random)["image"])
    np.savez(tmp_path / "v.npz", x=x)
    report = build_hardware(file, out=tmp_path / "build", until="graph", vectors=tmp_path / "v.npz").report
    summary = evaluate(file, vectors=tmp_path / "v.npz")
    inspect_model(file, out=tmp_path / "look")
    assert report["graph_digest"] == summary["graph_digest"] == expected.digest
    assert load_graph(tmp_path / "look" / "graph.bitwright").digest == expected.digest
    assert load_graph(tmp_path / "build" / "graph" / "graph.bitwright").digest == expected.digest
    integers = interpret(graph, graph_order(graph.inputs[0].operation, x).astype(np.int64))["scores"]  # type: ignore[arg-type]
    np.testing.assert_array_equal(summary["arrays"]["y_integer"], integers)


def also_output(builder: GraphBuilder, x: str) -> str:
    builder.output(x, name="also")
    return x


def also_read(builder: GraphBuilder, x: str) -> str:
    builder.output(builder.add(Relu(), x, name="other"), name="also")
    return x


def per_channel(*kinds: str) -> Insert:
    def insert(builder: GraphBuilder, x: str) -> str:
        channels = builder.type(x).channels
        rows = np.arange(channels).reshape(-1, 1)
        operation = {
            "threshold": lambda: Threshold(rows),
            "scale": lambda: Scale(rows[:, 0]),
            "bias": lambda: AddBias(rows[:, 0]),
        }[kinds[0]]()
        return builder.add(operation, x, name="per_channel")

    return insert


@pytest.mark.parametrize(
    ("place", "insert"),
    [
        ("between", also_output),
        ("between", also_read),
        ("after", also_output),
        ("after", also_read),
        ("between", per_channel("threshold")),
        ("after", per_channel("threshold")),
        ("after", per_channel("scale")),
        ("after", per_channel("bias")),
        ("between", lambda b, x: b.add(Add(), x, x, name="doubled")),
        ("between", lambda b, x: b.add(Reshape((1, *b.type(x).shape)), x, name="deeper")),
        ("after", lambda b, x: b.add(Reshape((2, b.type(x).size // 2)), x, name="rows")),
    ],
)
def test_others_stay(place: str, insert: Insert, random: np.random.Generator) -> None:
    """Whatever else sees the order of the elements, nothing is changed: not even the object."""
    graph = flattened(random, permutation=(2, 0, 1), **{place: insert}).build()
    assert absorb_transpose(graph) is graph


def test_a_dense_layer_on_each_row_stays() -> None:
    builder = GraphBuilder("rows")
    x = builder.add(Input((2, 3, 4), IntegerType(True, 4)), name="x")
    x = builder.add(Reshape((6, 4)), builder.add(Transpose((2, 0, 1)), x, name="transposed"), name="rows")
    builder.output(builder.add(Dense(np.arange(8).reshape(4, 2)), x, name="scores"))
    graph = builder.build()
    assert absorb_transpose(graph) is graph


@pytest.mark.parametrize("number", range(30))
def test_random_networks(number: int, random: np.random.Generator) -> None:
    graph = random_network(random, 25)
    assert_only_transposes_went(graph, absorb_transpose(graph), random)


def test_a_classifier_without_transpositions(random: np.random.Generator) -> None:
    graph = residual_classifier(random)
    assert absorb_transpose(graph) is graph
