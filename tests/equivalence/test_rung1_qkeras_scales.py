# SPDX-License-Identifier: Apache-2.0
"""Rung 1 for QKeras networks whose weights have float scales: what float32 makes of a tie depends on the order of its sums.

A weight is an integer times a float32 scale, and the framework computes with that product rounded, once more by its
straight-through estimator. Sums that are exactly zero come out as some 1e-8 then, and where the bias lies on a tie of the quantiser
behind it, that decides. The graph decides by the exact value. Every difference has to be such a decision: the graph with the
framework's decisions gives the framework's outputs, bit for bit, and nothing else does.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from qkeras_bench import bits, dense, half_steps, layers, qkeras, quantised, relu, sequential, weighted

from toolchain.frontends import LoadedModel, load_model
from toolchain.frontends.thresholds import MAXIMUM_STEPS
from toolchain.ir import Dense, Requantise, Rounding, Threshold, interpret, quantise_input
from toolchain.verify import framework
from toolchain.verify.framework import EXPLAINED_REMARK, SUMS_REMARK, UNEXAMINED_REMARK, compare_framework
from toolchain.verify.near_ties import NearTies

Make = Callable[[], Any]

#: Quantisers of weights, and whether their scales are powers of two.
KERNELS: dict[str, tuple[Make, bool]] = {
    "bits": (lambda: qkeras.quantized_bits(4, 0, alpha="auto"), False),
    "bits_po2": (lambda: qkeras.quantized_bits(4, 0, alpha="auto_po2"), True),
    "binary": (lambda: qkeras.binary(alpha="auto"), False),
    "binary_po2": (lambda: qkeras.binary(alpha="auto_po2"), True),
    "ternary": (lambda: qkeras.ternary(alpha="auto"), False),
    "ternary_po2": (lambda: qkeras.ternary(alpha="auto_po2"), True),
}
#: Shapes of inputs, and the layer with weights that takes them.
LAYERS: dict[str, tuple[tuple[int, ...], Callable[[Make], Any]]] = {
    "dense": ((12,), lambda kernel: weighted("Dense", 24, kernel=kernel, name="c")),
    "conv1d": ((9, 4), lambda kernel: weighted("Conv1D", 6, 3, kernel=kernel, name="c")),
    "conv2d": ((5, 5, 4), lambda kernel: weighted("Conv2D", 6, 3, kernel=kernel, name="c")),
    "depthwise": ((5, 5, 4), lambda kernel: weighted("DepthwiseConv2D", 3, kernel=kernel, name="c")),
    "separable": ((5, 5, 4), lambda kernel: weighted("SeparableConv2D", 6, 3, kernel=kernel, name="c")),
    "transpose": ((4, 4, 3), lambda kernel: weighted("Conv2DTranspose", 4, 3, kernel=kernel, name="c")),
    "folded": ((5, 5, 4), lambda kernel: weighted("Conv2DBatchnorm", 6, 3, kernel=kernel, name="c")),
    "depthwise_folded": ((5, 5, 4), lambda kernel: weighted("DepthwiseConv2DBatchnorm", 3, kernel=kernel, name="c")),
}


def network(kernel: Make, *, samples: int = 300, seed: int = 0, bias: Any = None) -> tuple[LoadedModel, np.ndarray]:
    """Three dense layers with quantised biases, on values most of whose sums are zero now and then."""
    model = sequential(
        (16,),
        quantised(bits(6, 2)),
        dense(32, kernel=kernel, bias=bias, name="d1"),
        quantised(relu(4, 2), "r1"),
        dense(32, kernel=kernel, bias=bias, name="d2"),
        quantised(relu(4, 2), "r2"),
        dense(5, kernel=kernel, bias=bias, name="d3"),
        quantised(bits(8, 5), "o"),
        seed=seed,
    )
    x = np.random.default_rng(seed).normal(0, 1.5, (samples, 16)).astype(np.float32)
    return load_model(model), x


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_layer_with_every_scale(layer: str, kernel: str) -> None:
    (shape, make), (quantiser, is_exact) = LAYERS[layer], KERNELS[kernel]
    model = sequential(shape, quantised(), make(quantiser), quantised(bits(5, 2), "after"))
    loaded = load_model(model)
    result = compare_framework(loaded, half_steps((60, *shape), 0.25, 6.0))
    assert (result.vectors, result.mismatches, result.first_mismatch) == (60, 0, None)
    # Values of a folded layer's bias are what float32 makes of its statistics, and may have too many bits.
    assert is_exact or loaded.graph.metadata["framework_sums_exact"] == "no"
    if loaded.graph.metadata["framework_sums_exact"] == "yes":
        assert result.differing_values == 0


@pytest.mark.parametrize("kernel", ["bits", "binary", "ternary"])
@pytest.mark.parametrize("seed", [0, 1])
def test_three_layers(kernel: str, seed: int) -> None:
    loaded, x = network(KERNELS[kernel][0], seed=seed)
    result = compare_framework(loaded, x)
    assert (result.mismatches, result.first_mismatch, result.unexamined_vectors) == (0, None, 0)
    assert 0 < result.explained_ties < x.shape[0] * 5 // 10
    assert result.remark == "; ".join([SUMS_REMARK, EXPLAINED_REMARK.format(*[result.explained_ties] * 2)])


def test_every_decision_that_differs_is_a_zero_sum_with_a_bias_on_a_tie() -> None:
    """What is behind it: sums of zero, to which a bias on a tie of the quantiser is added."""
    loaded, x = network(KERNELS["ternary"][0])
    graph = loaded.graph
    integers = {node.name: quantise_input(node, x).integers for node in graph.inputs}
    assert loaded.inner is not None
    inner = loaded.inner(x)
    values = NearTies(graph, loaded.ties, loaded.deviations).follow(integers, {"x": x}, inner)
    first = interpret(graph, integers, record=["d1", "r1"])
    different = inner["r1"] != first["r1"]
    assert different.any()
    assert (first["d1"][different] == 0).all()
    for name, theirs in inner.items():
        assert (values[name] == theirs).all(), name
    is_zero = (first["d1"] == 0) & (np.abs(integers["x"]) @ np.abs(weights_of(loaded, "d1")) == 0)
    assert not different[is_zero].any()  # nothing but zeros is summed: float32 has that exactly


def weights_of(loaded: LoadedModel, name: str) -> np.ndarray:
    operation = loaded.graph.by_name[name].operation
    assert isinstance(operation, Dense)
    return operation.weights


def test_without_a_bias_on_a_tie_nothing_differs() -> None:
    """A batch norm's offsets are no binary fractions of few bits."""
    model = sequential(
        (16,),
        quantised(bits(8, 2)),
        dense(24, kernel=KERNELS["bits"][0], use_bias=False, name="d1"),
        layers.BatchNormalization(name="n1"),
        quantised(relu(6, 2), "r1"),
        dense(5, kernel=KERNELS["bits"][0], use_bias=False, name="d2"),
    )
    random = np.random.default_rng(1)
    for weight in model.weights:
        values = random.normal(1 if "gamma" in weight.name or "variance" in weight.name else 0, 0.3, weight.shape)
        weight.assign((np.abs(values) if "variance" in weight.name else values).astype(np.float32))
    result = compare_framework(load_model(model), random.normal(0, 1, (1000, 16)).astype(np.float32))
    assert result.differing_values == 0


def test_16_bits_with_a_scale_of_one() -> None:
    """Sums of 37 bits. No step is free, so the activations are shifts."""
    model = sequential(
        (64,),
        quantised(bits(16, 4)),
        dense(64, kernel=lambda: bits(16, 2), name="d1"),
        quantised(relu(16, 6), "r"),
        dense(8, kernel=lambda: bits(16, 2), name="d2"),
        quantised(bits(16, 9), "o"),
    )
    loaded = load_model(model)
    assert MAXIMUM_STEPS < (1 << 16) - 1
    assert [node.operation.kind for node in loaded.graph.nodes] == [
        "input", "dense", "add_bias", "requantise", "dense", "add_bias", "requantise",
    ]  # fmt: skip
    x = np.random.default_rng(5).normal(0, 1.2, (200, 64)).astype(np.float32)
    result = compare_framework(loaded, x)
    assert (result.mismatches, result.first_mismatch) == (0, None)
    assert 0 < result.explained_ties < 50


@pytest.mark.parametrize("activation", ["quantized_bits(16,6,alpha=1)", "quantized_relu(14,5)"])
@pytest.mark.parametrize("alpha", [1, "auto"])
@pytest.mark.parametrize("norm", [False, True])
def test_a_leaky_rectifier_of_any_slope_before_many_steps(activation: str, alpha: Any, norm: bool) -> None:
    model = sequential(
        (16,),
        quantised(bits(8, 2)),
        dense(8, kernel=lambda: qkeras.quantized_bits(6, 1, alpha=alpha), name="d"),
        *([layers.BatchNormalization(name="n")] if norm else []),
        layers.LeakyReLU(0.3, name="l"),
        qkeras.QActivation(activation, name="a"),
        dense(3, name="e"),
    )
    loaded = load_model(model)
    assert "approximations" not in loaded.graph.metadata
    x = np.random.default_rng(2).normal(0, 1.5, (400, 16)).astype(np.float32)
    result = compare_framework(loaded, x)
    assert (result.mismatches, result.first_mismatch) == (0, None)
    # 15 * 0.3 is a tie as a float32 product, and 2e-7 above it with the slope that the float32 is.
    assert result.explained_ties < 150


def test_a_leaky_rectifier_without_a_quantiser() -> None:
    """The slope is a float32, so its products are integers of more bits."""
    model = sequential((8,), quantised(), dense(4, name="d"), layers.LeakyReLU(0.3, name="l"), dense(3, name="e"))
    result = compare_framework(load_model(model), half_steps((200, 8), 0.25, 6.0))
    assert (result.mismatches, result.first_mismatch) == (0, None)


# ---- what must not be explained ----------------------------------------------------------------------------------------
def changed(loaded: LoadedModel, name: str, **fields: Any) -> LoadedModel:
    """The same model with one operation changed."""
    nodes = [
        dataclasses.replace(node, operation=dataclasses.replace(node.operation, **fields))
        if node.name == name
        else node  # type: ignore[type-var]
        for node in loaded.graph.nodes
    ]
    return dataclasses.replace(loaded, graph=loaded.graph.replace_nodes(tuple(nodes)))


@pytest.mark.parametrize("kernel", ["bits", "binary", "ternary"])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("where", ["r1", "r2", "o"])
def test_a_threshold_that_is_off_by_one_stays_a_mismatch(kernel: str, side: int, where: str) -> None:
    """In one channel, away from ties: the step that most values are beside."""
    loaded, x = network(KERNELS[kernel][0])
    operation, ties = loaded.graph.by_name[where].operation, loaded.ties[where]
    assert isinstance(operation, Threshold)
    assert ties.begins is not None
    names = [loaded.graph.by_name[where].inputs[0]]
    sums = interpret(loaded.graph, quantise_input(loaded.graph.inputs[0], x).integers, record=names)[names[0]]
    table = operation.thresholds
    # Values that the change decides otherwise: the threshold itself if it goes up, the one below it if it goes down.
    moved = table if side == 1 else table - 1
    hits = np.stack([(sums[:, [c]] == moved[c]).sum(axis=0) for c in range(len(table))])
    away = np.abs(moved - ties.begins) > 0.01
    channel, step = np.unravel_index(np.argmax(hits * away), hits.shape)
    assert hits[channel, step] > 0
    wrong = table.copy()
    wrong[channel, step] += side
    wrong[channel] = (
        np.maximum.accumulate(wrong[channel]) if side == 1 else np.minimum.accumulate(wrong[channel][::-1])[::-1]
    )
    assert compare_framework(loaded, x).mismatches == 0
    result = compare_framework(changed(loaded, where, thresholds=wrong), x)
    assert result.mismatches > 0
    assert result.first_mismatch is not None


def test_a_weight_that_is_off_by_one_stays_a_mismatch() -> None:
    loaded, x = network(KERNELS["ternary"][0])
    weights = weights_of(loaded, "d1").copy()
    weights[0, 0] += 1
    result = compare_framework(changed(loaded, "d1", weights=weights), x)
    assert result.mismatches > 0


def test_a_tie_that_float32_has_exactly_stays_a_mismatch() -> None:
    """Weights of a float scale before, a scale of a power of two behind: there, the framework's ties are exact."""
    model = sequential(
        (12,),
        quantised(bits(6, 2)),
        dense(16, kernel=KERNELS["bits"][0], name="d1"),
        quantised(relu(4, 2), "r1"),
        dense(6, kernel=lambda: bits(4, 1), bias=bits(6, 2), name="d2"),
        quantised(bits(6, 4), "o"),
    )
    loaded = load_model(model)
    x = np.random.default_rng(4).normal(0, 1.5, (400, 12)).astype(np.float32)
    assert compare_framework(loaded, x).mismatches == 0
    operation = loaded.graph.by_name["o"].operation
    assert isinstance(operation, Requantise)
    assert operation.rounding is Rounding.HALF_EVEN
    assert compare_framework(changed(loaded, "o", rounding=Rounding.HALF_UP), x).mismatches > 0


def test_decisions_are_searched_for_where_the_framework_shows_only_its_outputs() -> None:
    loaded, x = network(KERNELS["bits"][0], samples=100)
    blind = dataclasses.replace(loaded, inner=None)
    result = compare_framework(blind, x)
    assert result.explained_ties == compare_framework(loaded, x).explained_ties > 0
    assert (result.mismatches, result.unexamined_vectors) == (0, 0)


def test_what_there_was_no_time_for_counts_as_a_mismatch(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, x = network(KERNELS["ternary"][0], samples=100)
    blind = dataclasses.replace(loaded, inner=None)
    found = compare_framework(loaded, x).explained_ties
    assert found > 0
    monkeypatch.setattr(framework, "SEARCH_SECONDS", -1.0)
    result = compare_framework(blind, x)
    assert (result.mismatches, result.explained_ties) == (found, 0)
    assert result.unexamined_vectors > 0
    assert result.remark == "; ".join([SUMS_REMARK, UNEXAMINED_REMARK.format(result.unexamined_vectors)])


def test_a_search_ends_after_a_few_vectors_without_an_explanation() -> None:
    loaded, x = network(KERNELS["ternary"][0], samples=60)
    run = loaded.run
    assert run is not None
    other = dataclasses.replace(loaded, inner=None, run=lambda x: run(x) + 0.25)
    result = compare_framework(other, x)
    assert result.mismatches > 250
    assert result.explained_ties == 0
    assert result.unexamined_vectors == 60 - framework.MAXIMUM_UNEXPLAINED
