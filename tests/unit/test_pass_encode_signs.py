# SPDX-License-Identifier: Apache-2.0
"""encode_signs: the same integers from streams of bits, and untouched graphs where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.ir import (
    Add,
    AddBias,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    MaxPool,
    Pad,
    Reshape,
    Threshold,
    interpret,
)
from toolchain.passes.encode_signs import encode_signs

RANDOM = np.random.default_rng(11)


def signs(count: int = 2, offset: int = -1, channels: int = 1, fraction: int = 0) -> Threshold:
    return Threshold(np.repeat(RANDOM.integers(-20, 20, (channels, 1)), count, axis=1), offset, fraction)


def dense(inputs: int, outputs: int, fraction: int = 0) -> Dense:
    return Dense(RANDOM.choice([-1, 1], (inputs, outputs)), fraction)


def input_of(*shape: int) -> Input:
    return Input(shape, IntegerType(True, 6))


def closed(builder: GraphBuilder, name: str) -> Graph:
    """With steps behind, as between layers: the output's type does not depend on the sums' interval."""
    builder.output(builder.add(Threshold(np.array([[-2, 1, 3]])), name, name="steps"))
    return builder.build()


def check_same(graph: Graph, changed: bool = True) -> Graph:
    encoded = encode_signs(graph)
    assert (encoded is not graph) == changed
    x = RANDOM.integers(-32, 32, (50, *graph.types[graph.inputs[0].name].shape))
    (expected,), (found,) = interpret(graph, x).values(), interpret(encoded, x).values()
    np.testing.assert_array_equal(found, expected)
    before, after = (g.types[g.outputs[0].tensor].element for g in (graph, encoded))
    assert (before.signed, before.width, before.fraction) == (after.signed, after.width, after.fraction)
    return encoded


def test_dense_layers() -> None:
    builder = GraphBuilder("g")
    x = builder.add(input_of(9), name="x")
    a = builder.add(signs(channels=9), x, name="a")
    b = builder.add(dense(9, 6), a, name="b")
    c = builder.add(signs(4, -3, fraction=2), b, name="c")
    encoded = check_same(closed(builder, builder.add(dense(6, 3, 1), c, name="d")))
    assert [encoded.types[name].element.width for name in ("a", "c")] == [1, 1]
    assert [node.name for node in encoded.nodes] == ["x", "a", "b", "b_signs", "c", "d", "d_signs", "steps"]


@pytest.mark.parametrize("bias_fraction", [-1, 0, 3])
def test_own_bias_takes_it_up(bias_fraction: int) -> None:
    builder = GraphBuilder("g")
    a = builder.add(signs(offset=5), builder.add(input_of(7), name="x"), name="a")
    b = builder.add(Dense(RANDOM.integers(-3, 4, (7, 4)), 1), a, name="b")
    bias = builder.add(AddBias(RANDOM.integers(-9, 9, 4), bias_fraction), b, name="bias")
    encoded = check_same(closed(builder, bias))
    assert [node.name for node in encoded.nodes] == ["x", "a", "b", "bias", "steps"]


def test_convolutions_behind_a_pool_and_two_readers() -> None:
    builder = GraphBuilder("g")
    a = builder.add(signs(channels=2), builder.add(input_of(6, 6, 2), name="x"), name="a")
    pool = builder.add(MaxPool((2, 2), (2, 2)), a, name="pool")
    sums = [
        builder.add(
            Conv(RANDOM.choice([-1, 1], (2, 2, 2 // groups, 4)), (1, 1), (1, 1), groups), pool, name=f"c{groups}"
        )
        for groups in (1, 2)
    ]
    flat = [builder.add(Reshape((16,)), name, name=f"flat_{name}") for name in sums]
    encoded = check_same(closed(builder, builder.add(Add(), *flat, name="sum")))
    assert encoded.types["pool"].element.width == 1


def test_left_alone() -> None:
    def build(kind: str) -> Graph:
        builder = GraphBuilder("g")
        x = builder.add(input_of(4, 4, 2), name="x")
        steps = {"three apart": signs(3), "one step": signs(1, 0), "two steps": Threshold(np.array([[-4, 4]]), -1)}
        a = builder.add(steps.get(kind, signs()), x, name="a")
        if kind == "a border of zeros":
            a = builder.add(Pad(((1, 1), (1, 1), (0, 0))), a, name="pad")
        window = Conv(RANDOM.choice([-1, 1], (2, 2, 2, 3)), (1, 1), (1, 1))
        b = builder.add(window, a, name="b")
        if kind == "another reader":
            builder.output(a, name="signs")
        return closed(builder, b)

    check_same(build("none of them"))
    for kind in ("three apart", "one step", "two steps", "a border of zeros"):
        check_same(build(kind), changed=False)
    graph = build("another reader")
    assert encode_signs(graph) is graph


def test_sums_that_leave_keep_their_type() -> None:
    """The bias' interval is that of the widest channel: where the output's type would grow, the signs stay."""
    for weights, changed in (([[1, 1], [1, 1]], True), ([[1, 1], [-1, 1]], False)):
        builder = GraphBuilder("g")
        a = builder.add(signs(), builder.add(input_of(2), name="x"), name="a")
        builder.output(builder.add(Dense(np.array(weights)), a, name="b"))
        check_same(builder.build(), changed)
