# SPDX-License-Identifier: Apache-2.0
"""Descriptions of Keras 3 in the terms of Keras 2, and networks that could never be put together."""

from typing import Any

import pytest

from toolchain.errors import InputError
from toolchain.frontends.keras3 import in_terms_of_keras2
from toolchain.frontends.qkeras_config import safe_model_config

KNOWN = {"Dense": ("units",), "Add": (), "LeakyReLU": ("alpha",)}


def tensor(name: str, call: int = 0) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "keras_history": [name, call, 0]}}


def layer(kind: str, name: str, *calls: list[Any], **config: Any) -> dict[str, Any]:
    nodes = [{"args": [given if len(given) > 1 else given[0]], "kwargs": {"training": False}} for given in calls]
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def model(*layers: dict[str, Any], output: list[Any]) -> dict[str, Any]:
    start = {
        "class_name": "InputLayer",
        "name": "x",
        "config": {"name": "x", "batch_shape": [None, 4]},
        "inbound_nodes": [],
    }
    config = {"name": "m", "layers": [start, *layers], "input_layers": ["x", 0, 0], "output_layers": output}
    return {"class_name": "Functional", "name": "m", "config": config}


def test_tensors_names_and_calls_of_keras_3() -> None:
    inner = model(layer("Dense", "d", [tensor("x")], units=4), output=["d", 0, 0])
    block = {**inner, "name": "block", "config": {**inner["config"], "name": "block"}}
    block["inbound_nodes"] = [{"args": [tensor("act")], "kwargs": {}}, {"args": [tensor("block", 0)], "kwargs": {}}]
    given = model(
        layer("LeakyReLU", "act", [tensor("x")], negative_slope=0.5),
        block,
        layer("Add", "sum", [tensor("block", 0), tensor("block", 1)]),
        output=["sum", 0, 0],
    )
    safe = safe_model_config(in_terms_of_keras2(given, "m.keras"), "m.keras", KNOWN)["config"]
    calls = {entry["name"]: entry["inbound_nodes"] for entry in safe["layers"]}
    assert safe["layers"][1]["config"] == {"name": "act", "alpha": 0.5}
    assert calls["act"] == [[["x", 0, 0, {}]]]
    # In Keras 2 call 0 of a model inside is its own making.
    assert calls["block"] == [[["act", 0, 0, {}]], [["block", 1, 0, {}]]]
    assert calls["sum"] == [[["block", 1, 0, {}], ["block", 2, 0, {}]]]
    assert (safe["input_layers"], safe["output_layers"]) == ([["x", 0, 0]], [["sum", 0, 0]])
    assert given["config"]["layers"][1]["config"]["negative_slope"] == 0.5, "what was given is left alone"


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([tensor("absent")], "needs what is never computed: call 0 of 'absent'"),
        ([tensor("d", 1)], "needs what is never computed: call 1 of 'd'"),
        ([tensor("d")], "needs what is never computed: call 0 of 'd'"),
    ],
)
def test_networks_that_keras_would_wait_for_without_end(calls: list[Any], message: str) -> None:
    given = model(layer("Dense", "d", calls, units=4), output=["d", 0, 0])
    with pytest.raises(InputError) as caught:
        safe_model_config(in_terms_of_keras2(given, "m.keras"), "m.keras", KNOWN)
    assert str(caught.value) == f"m.keras: layer 'd' {message}"
