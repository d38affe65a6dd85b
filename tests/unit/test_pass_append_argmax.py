# SPDX-License-Identifier: Apache-2.0
"""append_argmax: exact where it applies, refused with the reason where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolchain.errors import UnsupportedModel
from toolchain.ir import ArgMax, Dense, Graph, GraphBuilder, Input, IntegerType, interpret
from toolchain.passes.append_argmax import append_argmax


def classifier(channels: int = 5, *, name: str = "scores", **output: Any) -> Graph:
    builder = GraphBuilder("classifier", {"framework": "test"})
    x = builder.add(Input((4,), IntegerType(True, 4)), name="x")
    weights = np.random.default_rng(1).integers(-4, 5, (4, channels))
    builder.output(builder.add(Dense(weights), x, name=name, source="head"), name="logits", **output)
    return builder.build()


@pytest.mark.parametrize(
    "output", [{}, {"scale": 0.3, "offset": -2.0}, {"host_function": "softmax"}, {"scale": (2.0,) * 5}]
)
def test_index_of_the_largest_score(output: dict[str, Any], random: np.random.Generator) -> None:
    graph = classifier(**output)
    result = append_argmax(graph)
    x = random.integers(-8, 8, (500, 4))
    scores = interpret(graph, x)["scores"]
    assert np.array_equal(interpret(result, x)["argmax"][:, 0], scores.argmax(axis=1))
    (found,) = result.outputs
    assert (found.name, found.tensor, found.scale, found.offset, found.host_function) == (
        "logits",
        "argmax",
        (1.0,),
        (0.0,),
        "",
    )
    assert result.by_name["argmax"].source == "head"
    assert result.metadata == {"framework": "test"}
    assert len(graph.nodes) == 2, "the graph itself is not changed"


def test_taken_name() -> None:
    assert append_argmax(classifier(name="argmax")).outputs[0].tensor == "argmax_2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"scale": (1.0, 1.0, 1.0, 1.0, 2.0)},
            "output 'logits' (scores (dense from head)): its channels have 2 different values of scale, so the largest integer "
            "need not be the largest score; build it without argmax, or train with one output scale for all channels",
        ),
        (
            {"offset": (0.0, 1.0, 2.0, 0.0, 0.0)},
            "output 'logits' (scores (dense from head)): its channels have 3 different values of offset, so the largest integer "
            "need not be the largest score; build it without argmax, or train with one output offset for all channels",
        ),
        (
            {"host_function": "relu6"},
            "output 'logits' (scores (dense from head)): the host's function 'relu6' is not known to keep the order of the "
            "channels; known are '', 'linear', 'sigmoid', 'softmax', 'tanh'; build it without argmax",
        ),
        ({"channels": 1}, "output 'logits' (scores (dense from head)): argmax needs at least 2 channels; found 1"),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModel) as error:
        append_argmax(classifier(**arguments))
    assert str(error.value) == message


def test_refused_twice() -> None:
    once = append_argmax(classifier())
    assert isinstance(once.by_name["argmax"].operation, ArgMax)
    with pytest.raises(UnsupportedModel, match="it is an argmax already; build it without argmax"):
        append_argmax(once)
