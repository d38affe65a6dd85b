# SPDX-License-Identifier: Apache-2.0
"""What a backend, a pass or a measurement cannot express is refused by name, whatever stands around it; nothing crashes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.sample_graphs import sample_graph, samples
from toolchain.backends import hls4ml
from toolchain.backends.base import find_backend, make_plan
from toolchain.backends.hls4ml.lower import LOWERED as IN_HLS4ML
from toolchain.backends.rtl import streaming
from toolchain.backends.rtl.streaming.kernels import kernels
from toolchain.errors import UnsupportedModel
from toolchain.ir import (
    Add,
    Concatenate,
    Constant,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Operation,
    Relu,
    Reshape,
    TensorType,
    operations,
)  # fmt: skip
from toolchain.measure import float_exactness
from toolchain.measure.float_exactness import float_precision
from toolchain.passes.choose_folding import FOLDABLE, Folding, check_folding, choose_folding, default_cycles_per_frame
from toolchain.target import Target

IN_RTL = (Input, Reshape, *kernels())
SUPPORTED = {"rtl": IN_RTL, "hls4ml": IN_HLS4ML}
ELEMENT = IntegerType(True, 4)


def surrounded(operation: Operation, types: tuple[TensorType, ...]) -> Graph:
    """The operation after a rectifier and before one, called y."""
    builder = GraphBuilder("surrounded")
    inputs = [builder.add(Input(t.shape, t.element), name="x") for t in types]
    # A rectifier would change the type that the sample is made for: it stands beside the operation, not before it.
    first = builder.add(Relu(), inputs[0] if inputs else builder.add(Input((1,), ELEMENT), name="x"), name="before")
    result = builder.add(operation, *inputs, name="y", source="block/1")
    builder.output(builder.add(Relu(), result, name="after"))
    builder.output(first, name="other")
    return builder.build()


def first_samples() -> list[object]:
    return [case for case in samples(set(operations().values()) - {Input}) if str(case.id).endswith("-0")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", SUPPORTED)
@pytest.mark.parametrize(("operation", "types"), list(samples()))
def test_backends_answer_for_every_sample(operation: Operation, types: tuple[TensorType, ...], backend: str) -> None:
    graph = sample_graph(operation, types)
    node = graph.nodes[-1]
    reason = find_backend(backend).why_unsupported(node, graph, Target())
    if isinstance(operation, SUPPORTED[backend]):
        assert reason is None or f"operation {operation.kind!r}" not in reason
    else:
        assert reason is not None
        assert f"operation {operation.kind!r}" in reason
        assert all(cls.kind in reason for cls in SUPPORTED[backend])


@pytest.mark.parametrize("backend", SUPPORTED)
@pytest.mark.parametrize(("operation", "types"), first_samples())
def test_plans_name_what_they_cannot_hold(operation: Operation, types: tuple[TensorType, ...], backend: str) -> None:
    """The refusal names the node, its operation and its layer, also where its neighbours are fine."""
    if isinstance(operation, SUPPORTED[backend]):
        return
    for graph in (sample_graph(operation, types), surrounded(operation, types)):
        with pytest.raises(UnsupportedModel) as caught:
            make_plan(backend, graph, Target())
        source = graph.by_name["y"].source
        assert f"\n  y ({operation.kind} from {source}): " in str(caught.value)
        assert f"operation {operation.kind!r}" in str(caught.value)


@pytest.mark.parametrize(("operation", "types"), first_samples())
def test_passes_refuse(operation: Operation, types: tuple[TensorType, ...]) -> None:
    graph = sample_graph(operation, types)
    passes: list[Callable[[], object]] = [
        lambda: choose_folding(graph, 1 << 20),
        lambda: check_folding(graph, Folding(64, {})),
    ]
    if isinstance(operation, (*FOLDABLE, Reshape)) and len(types) == 1:
        assert passes[0]() is not None
        return
    for run in [*passes, lambda: default_cycles_per_frame(graph)]:
        with pytest.raises(UnsupportedModel) as caught:
            run()
        if len(types) == 1:
            assert f"y ({operation.kind} from the layer): " in str(caught.value)


@pytest.mark.parametrize(("operation", "types"), list(samples()))
def test_floating_point_is_refused_only_for_too_many_bits(operation: Operation, types: tuple[TensorType, ...]) -> None:
    graph = sample_graph(operation, types)
    precision = float_precision(graph)
    widest = max(tensor.element.magnitude for tensor in graph.types.values())
    assert precision.largest >= min(widest, 1 << 53)
    if precision.dtype:
        assert precision.largest < {"float32": 1 << 24, "float64": 1 << 53}[precision.dtype]
    else:
        assert precision.largest >= 1 << 53
        assert "bits occur, float64 is exact below 54 bits; it would only be approximated" in precision.why_not


def test_floating_point_without_a_lowering_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(float_exactness._BOUNDS, Relu)
    assert float_precision(sample_graph(*next(Relu.samples()))).why_not == (
        "y (relu from the layer): operation 'relu' has no floating-point lowering"
    )


def several_inputs() -> Graph:
    builder = GraphBuilder("inputs")
    a = builder.add(Input((3,), ELEMENT), name="a")
    b = builder.add(Input((3,), ELEMENT), name="b")
    builder.output(builder.add(Add(), a, b, name="sum"))
    return builder.build()


def several_outputs() -> Graph:
    builder = GraphBuilder("outputs")
    x = builder.add(Input((3,), ELEMENT), name="x")
    left = builder.add(Dense(np.ones((3, 2), int)), x, name="left")
    builder.output(left, name="one")
    builder.output(builder.add(Relu(), left, name="right"), name="two")
    return builder.build()


def branched() -> Graph:
    builder = GraphBuilder("branched")
    x = builder.add(Input((3,), ELEMENT), name="x")
    builder.add(Constant(np.array([1])), name="unused")
    y = builder.add(Relu(), x, name="y")
    builder.output(builder.add(Concatenate(0), x, y, builder.add(Constant(np.array([1])), name="c"), name="joined"))
    return builder.build()


@pytest.mark.parametrize(
    ("graph", "nodes"),
    [
        (several_inputs(), ["b (input)"]),
        (several_outputs(), ["left (dense)", "right (relu)"]),
        (branched(), ["unused (constant)"]),
    ],
    ids=["inputs", "outputs", "unused"],
)
def test_networks_whose_ends_cannot_be_built(graph: Graph, nodes: list[str]) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        make_plan("rtl", graph, Target())
    assert set(nodes) <= {line.strip().split(": ")[0] for line in str(caught.value).splitlines()[1:]}
    with pytest.raises(UnsupportedModel) as caught:
        default_cycles_per_frame(graph)
    assert [line.strip().split(": ")[0] for line in str(caught.value).splitlines()[1:]] == nodes


def test_reasons_in_words() -> None:
    builder = GraphBuilder("words")
    x = builder.add(Input((4, 4, 1), ELEMENT), name="x")
    builder.output(builder.add(Conv(np.ones((2, 2, 1, 1), int), (1, 1), (1, 1)), x, name="y"))
    graph, target = builder.build(), Target()
    node = graph.by_name["y"]
    if Conv not in IN_RTL:
        assert streaming.why_unsupported(node, graph, target) == (
            f"there is no streaming kernel for operation 'conv'; there are: {', '.join(sorted(c.kind for c in IN_RTL))}"
        )
    if Conv not in IN_HLS4ML:
        assert hls4ml.why_unsupported(node, graph, target) == (
            f"operation 'conv' has no lowering to hls4ml; it has {', '.join(sorted(c.kind for c in IN_HLS4ML))}"
        )
