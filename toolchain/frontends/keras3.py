# SPDX-License-Identifier: Apache-2.0
"""Files of Keras 3, told in the terms of Keras 2 (tf_keras): descriptions of layers, and weights.

Only what both compute alike is taken over; what they name alike and compute differently is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.errors import InputError, UnsupportedModel

#: Entries that have other names in Keras 2.
_RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
_RENAMED_FUNCTIONS = {"silu": "swish"}
#: Functions that compute something else in Keras 2.
_DIFFERENT = ("hard_sigmoid", "hard_silu", "hard_swish")
_MAXIMUM_DEPTH = 64


def in_terms_of_keras2(config: dict[str, Any], where: str) -> dict[str, Any]:
    """The description of a Keras 3 model as Keras 2 would have written it. Nothing in it is trusted; see `qkeras_config`."""
    return _model(config, where, _MAXIMUM_DEPTH)


def _model(config: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
    inner = config.get("config")
    if depth == 0 or not isinstance(inner, dict) or not isinstance(inner.get("layers"), list):
        return config
    layers = [_layer(layer, where, depth) if isinstance(layer, dict) else layer for layer in inner["layers"]]
    return {**config, "config": _counted_as_keras2({**inner, "layers": layers})}


def _counted_as_keras2(inner: dict[str, Any]) -> dict[str, Any]:
    """A model's configuration in which the calls of a model inside it count from 1: in Keras 2 its own making is call 0."""
    own = {layer["config"].get("name") for layer in inner["layers"] if isinstance(layer, dict) and _has_input(layer)}
    ends = {key: _listed(inner.get(key)) for key in ("input_layers", "output_layers")}
    edges = [edge for layer in inner["layers"] if isinstance(layer, dict) for edge in _edges(layer)]
    for edge in (*edges, *(end for found in ends.values() for end in found)):
        edge[1] += edge[0] in own
    return {**inner, **{key: found for key, found in ends.items() if found}}


def _has_input(layer: dict[str, Any]) -> bool:
    """Whether a layer is a model that begins with its input."""
    inner = layer.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    return (
        isinstance(layers, list)
        and bool(layers)
        and isinstance(layers[0], dict)
        and (layers[0].get("class_name") == "InputLayer")
    )


def _edges(layer: dict[str, Any]) -> list[list[Any]]:
    calls = layer.get("inbound_nodes")
    nodes = calls if isinstance(calls, list) else []
    return [edge for node in nodes if isinstance(node, list) for edge in node if _is_edge(edge)]


def _is_edge(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and type(value[1]) is int


def _listed(ends: Any) -> list[list[Any]]:
    """Copies of a model's ends, where they are one or a list of them."""
    found = [ends] if _is_edge(ends) else ends
    return [list(end) for end in found] if isinstance(found, list) and all(map(_is_edge, found)) else []


def _layer(layer: dict[str, Any], where: str, depth: int) -> dict[str, Any]:
    name, settings = layer.get("class_name"), layer.get("config")
    if isinstance(settings, dict) and isinstance(settings.get("layers"), list):
        layer = _model(layer, where, depth - 1)
    elif isinstance(settings, dict):
        renamed = _RENAMED.get(str(name), {})
        settings = {renamed.get(key, key): value for key, value in settings.items()}
        function = settings.get("activation")
        if function in _DIFFERENT:
            raise UnsupportedModel(
                f"{where}: layer {settings.get('name')!r} ({name}): activation {function!r} of Keras 3 is another function than "
                "that of Keras 2, with which the model is read; export the model to ONNX and quantise that"
            )
        if isinstance(function, str):
            settings["activation"] = _RENAMED_FUNCTIONS.get(function, function)
        layer = {**layer, "config": settings}
    calls = layer.get("inbound_nodes")
    if isinstance(calls, list):
        layer = {**layer, "inbound_nodes": [_call(call) for call in calls]}
    return layer


def _call(call: Any) -> Any:
    """{'args': [tensor or tensors], 'kwargs': {}} as [[layer, node, tensor, {}], ...]."""
    if not isinstance(call, dict) or not isinstance(call.get("args"), list) or len(call["args"]) != 1:
        return call
    (given,) = call["args"]
    settings = call.get("kwargs") or {}
    tensors = [_tensor(item, settings) for item in (given if isinstance(given, list) else [given])]
    return call if None in tensors else tensors


def _tensor(value: Any, settings: Any) -> list[Any] | None:
    if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
        return None
    inner = value.get("config")
    history = inner.get("keras_history") if isinstance(inner, dict) else None
    return [*history, settings] if isinstance(history, list) and len(history) == 3 else None


def is_keras3(file: Any) -> bool:
    """Whether an open HDF5 file holds weights as Keras 3 lays them out in .keras and .weights.h5 files: it names the layers."""
    layers = file.get("layers")
    entries = layers.values() if hasattr(layers, "values") else ()
    return any("name" in entry["vars"].attrs for entry in entries if hasattr(entry, "keys") and "vars" in entry)


def set_weights(model: Any, file: Any) -> None:
    """Put the weights of a Keras 3 file into a tf_keras model, by the layers' names. Raises InputError where they do not fit."""
    found: dict[str, list[np.ndarray]] = {}
    _collect(file["layers"], found, _MAXIMUM_DEPTH)
    for layer in _flat(model):
        wanted = [tuple(weight.shape) for weight in layer.weights]
        given = found.get(layer.name, [])
        if [array.shape for array in given] != wanted:
            raise InputError(
                f"layer {layer.name!r} has weights of shapes {wanted}, the file holds {[array.shape for array in given]}"
            )
        layer.set_weights(given)


def _flat(model: Any) -> list[Any]:
    return [part for layer in model.layers for part in (_flat(layer) if hasattr(layer, "layers") else [layer])]


def _collect(group: Any, found: dict[str, list[np.ndarray]], depth: int) -> None:
    for entry in group.values():
        if depth == 0 or not hasattr(entry, "keys"):
            continue
        arrays = entry.get("vars")
        if arrays is not None:
            name = arrays.attrs.get("name")
            name = name.decode("utf8", "replace") if isinstance(name, bytes) else str(name)
            values = [np.asarray(arrays[str(number)]) for number in range(len(arrays))]
            if values and name in found:
                raise InputError(f"two layers are named {name!r}; names are what weights are found by")
            if values:
                found[name] = values
        _collect({key: item for key, item in entry.items() if key != "vars"}, found, depth - 1)
