# SPDX-License-Identifier: Apache-2.0
"""Descriptions of Keras models from files, rebuilt from what the frontend knows.

A Keras file describes its layers by class names and arguments, and Keras turns those into objects: a Lambda layer holds
byte code, a `module` entry names a Python module to import, a quantiser given as text is looked up and called. So nothing
of a file's description is handed to Keras as it is. It is read as JSON, checked against the classes and quantisers that the
frontend knows, and a new description is made of nothing but the entries that decide what is computed at inference.
Everything else (initialisers, regularisers, constraints) only matters for training and is dropped unread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from toolchain.errors import InputError, UnsupportedModel
from toolchain.frontends.qkeras_layers.functions import FUNCTIONS
from toolchain.frontends.qkeras_layers.registry import layers, unsupported_layer
from toolchain.frontends.qkeras_quantisers import QUANTISERS, unsupported_quantiser

MODEL_CLASSES = ("Functional", "Model", "Sequential")

#: NAME or NAME(arguments), where arguments are numbers, words and quoted words: no second parenthesis, no attribute.
_CALL = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)(\([A-Za-z0-9_=., '"+-]*\))?""")
_LONG_NUMBER = re.compile(r"(?<![.\d])\d{5,}")
#: Settings of quantisers beyond this make Keras compute huge powers of two (max_value of powers of two may be 2048).
_MAXIMUM_ARGUMENT = 9999
#: Counts (units, filters), sizes along an axis, and elements of one sample.
_MAXIMUM_COUNT = 1 << 20
_MAXIMUM_ELEMENTS = 1 << 28
_MAXIMUM_DEPTH = 16
_COUNTS = ("units", "filters", "depth_multiplier", "groups")
#: Entries that hold the description of a layer inside the layer.
WRAPPED = ("layer", "backward_layer")


#: Layer class -> the entries of its configuration that a file may set.
Known = Mapping[str, Sequence[str]]


def safe_model_config(config: dict[str, Any], where: str, known: Known | None = None) -> dict[str, Any]:
    """The description rebuilt from checked entries only, in the form that tf_keras's from_config takes.

    known: the layers that may be in it; those that the frontend reads where left out.
    """
    class_name = config.get("class_name")
    if class_name not in MODEL_CLASSES:
        raise UnsupportedModel(
            f"{where}: the model is of class {class_name!r}; supported are Sequential and functional models"
        )
    try:
        return _safe_model({**config, "config": _plain(config["config"])}, where, "", _MAXIMUM_DEPTH, known)
    except RecursionError:
        raise InputError(f"{where}: not a Keras model file (its description is nested too deeply)") from None


def _safe_model(config: dict[str, Any], where: str, prefix: str, depth: int, known: Known | None) -> dict[str, Any]:
    """prefix: the path of the layers of this model, '' for the outermost, else ending in '/'."""
    if depth == 0:
        raise UnsupportedModel(f"{where}: has models in models, more than {_MAXIMUM_DEPTH} deep")
    inner = config["config"]
    entries = inner if isinstance(inner, list) else inner.get("layers")
    if not isinstance(entries, list):
        raise InputError(f"{where}: not a Keras model file (its description lists no layers)")
    sequential = config["class_name"] == "Sequential"
    safe = [_safe_layer(entry, where, prefix, depth, known, functional=not sequential) for entry in entries]
    name = inner.get("name") if isinstance(inner, dict) else None
    result: dict[str, Any] = {"name": name if isinstance(name, str) else "model", "layers": safe}
    if not sequential:
        for key in ("input_layers", "output_layers"):
            result[key] = _safe_ends(inner.get(key), f"{where}: {prefix[:-1] + ': ' if prefix else ''}{key}")
        _require_order(safe, where, prefix)
    return {"class_name": "Sequential" if sequential else "Functional", "config": result}


def _require_order(safe: list[dict[str, Any]], where: str, prefix: str) -> None:
    """Raise InputError unless every call of a layer takes results of calls that can be made before it.

    Keras itself goes on waiting for others without end. It ignores the number of an input's call, and a model that begins with
    its input has one call, number 0, that nothing takes.
    """
    first = {layer["name"]: int(_begins_with_input(layer)) for layer in safe}
    inputs = {layer["name"] for layer in safe if layer["class_name"] == "InputLayer"}
    made = dict(first)
    waiting = [
        (layer["name"], [call] if _is_end(call[:3]) else call) for layer in safe for call in layer["inbound_nodes"]
    ]
    while waiting:
        left = []
        for name, edges in waiting:
            if all(edge[0] in inputs or first.get(edge[0], 0) <= edge[1] < made.get(edge[0], 0) for edge in edges):
                made[name] += 1
            else:
                left.append((name, edges))
        if len(left) == len(waiting):
            name, edges = left[0]
            needed = ", ".join(f"call {edge[1]} of {prefix + edge[0]!r}" for edge in edges if edge[0] not in inputs)
            raise InputError(f"{where}: layer {prefix + name!r} needs what is never computed: {needed}")
        waiting = left


def _begins_with_input(layer: dict[str, Any]) -> bool:
    """Whether a layer is a model whose first layer says the shape of its input."""
    inner = layer["config"].get("layers")
    return bool(inner) and (inner[0]["class_name"] == "InputLayer" or "batch_input_shape" in inner[0]["config"])


def _safe_layer(
    entry: Any, where: str, prefix: str, depth: int, known: Known | None, *, functional: bool
) -> dict[str, Any]:
    class_name = entry.get("class_name") if isinstance(entry, dict) else None
    config = entry.get("config") if isinstance(entry, dict) else None
    if class_name == "Sequential" and isinstance(config, list):
        config = {"name": entry.get("name"), "layers": config}
    if not isinstance(config, dict):
        raise InputError(f"{where}: not a Keras model file (a layer has no configuration)")
    name = config.get("name") or entry.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: a layer of class {class_name!r} has no name")
    label = f"{where}: layer {prefix + name!r} ({class_name})"
    registered = entry.get("registered_name")
    if not _is_named(registered, class_name):
        raise UnsupportedModel(
            f"{label}: the file says that its class is registered as {registered!r}; expected its name"
        )
    if class_name in MODEL_CLASSES:
        safe = _safe_model({"class_name": class_name, "config": config}, where, f"{prefix}{name}/", depth - 1, known)
        safe["config"]["name"] = name
    else:
        safe = {"class_name": class_name, "config": _safe_entries(str(class_name), name, config, label, known)}
    if functional:
        safe["name"] = name
        safe["inbound_nodes"] = _safe_inbound(entry.get("inbound_nodes", []), label)
    return safe


def _safe_entries(
    class_name: str, name: str, config: dict[str, Any], label: str, known: Known | None
) -> dict[str, Any]:
    if class_name != "InputLayer" and class_name not in (layers() if known is None else known):
        if known is not None and class_name.startswith("Q") and class_name in layers():
            raise UnsupportedModel(
                f"{label}: is a layer of QKeras, so the model is quantised already; build it as it is"
            )
        message = unsupported_layer(label, class_name)
        listed = ", ".join(sorted(known or ()))
        raise UnsupportedModel(message if known is None else f"{label}: is not supported; supported are {listed}")
    if config.get("dtype") not in (None, "float32") and _policy(config["dtype"]) != "float32":
        raise UnsupportedModel(f"{label}: computes in {_policy(config['dtype'])!r}; supported is float32")
    kept: dict[str, Any] = {"name": name}
    shape = config.get("batch_input_shape", config.get("batch_shape"))
    if shape is not None:
        if not isinstance(shape, (list, tuple)) or not all(size is None or type(size) is int for size in shape):
            raise InputError(f"{label}: its input shape must be a list of sizes, found {shape!r}")
        if prod(max(size or 1, 1) for size in shape) > _MAXIMUM_ELEMENTS:
            raise InputError(f"{label}: its input shape {tuple(shape)} has more than {_MAXIMUM_ELEMENTS} elements")
        kept["batch_input_shape"] = tuple(shape)
    if class_name == "InputLayer":
        if config.get("sparse") or config.get("ragged"):
            raise UnsupportedModel(f"{label}: is sparse or ragged; supported are dense inputs")
        return kept
    for key in layers()[class_name].entries if known is None else known[class_name]:
        if key in config:
            value = config[key]
            kept[key] = _safe_wrapped(key, value, label, known) if key in WRAPPED else _safe_value(key, value, label)
    return kept


def _policy(dtype: Any) -> str:
    if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
        return str(dtype["config"].get("name"))
    return str(dtype)


def _plain(value: Any) -> Any:
    """JSON values with the tuples and shapes that SavedModel metadata writes as objects turned into lists, and arrays."""
    if isinstance(value, dict):
        if value.get("class_name") in ("__tuple__", "TensorShape") and isinstance(value.get("items"), list):
            return [_plain(item) for item in value["items"]]
        inner = value.get("config")
        if value.get("class_name") == "__numpy__" and isinstance(inner, dict) and inner.get("dtype") == "float32":
            return _plain(inner.get("value"))
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _is_end(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(type(number) is int and number >= 0 for number in value[1:])
    )


def _safe_ends(value: Any, label: str) -> Any:
    """The layers that are a model's inputs or outputs: one, a list of them, or a mapping."""
    if _is_end(value):
        return [value]
    ends = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(ends, list) or not ends or not all(_is_end(end) for end in ends):
        raise UnsupportedModel(f"{label} must name layers of the model, found {value!r}")
    return value


def _safe_inbound(value: Any, label: str) -> list[Any]:
    """The calls of a layer, each with one tensor or a list of them."""

    def edge(found: Any) -> list[Any] | None:
        if not isinstance(found, list) or len(found) not in (3, 4) or not _is_end(found[:3]):
            return None
        settings = found[3] if len(found) == 4 else {}
        harmless = isinstance(settings, dict) and all(
            key in ("training", "mask") and (item is None or item is False) for key, item in settings.items()
        )
        return [*found[:3], {}] if harmless else None

    safe: list[Any] = []
    for node in value if isinstance(value, list) else [None]:
        single = edge(node)
        edges = [edge(item) for item in node] if isinstance(node, list) and single is None else []
        if single is None and (not edges or None in edges):
            raise UnsupportedModel(
                f"{label}: is called in a way that is not supported: {node!r}; give it one tensor, or one list of tensors"
            )
        safe.append(single if single is not None else edges)
    return safe


def _safe_wrapped(key: str, value: Any, label: str, known: Known | None) -> dict[str, Any] | None:
    """The layer inside a layer such as Bidirectional."""
    if value is None:
        return None
    class_name, config = (value.get("class_name"), value.get("config")) if isinstance(value, dict) else (None, None)
    if not isinstance(class_name, str) or not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise InputError(f"{label}: {key} must describe a layer, found {value!r}")
    inner = f"{label}: {key} {config['name']!r} ({class_name})"
    if not _is_named(value.get("registered_name"), class_name):
        raise UnsupportedModel(
            f"{inner}: the file says that its class is registered as {value['registered_name']!r}; expected its name"
        )
    return {"class_name": class_name, "config": _safe_entries(class_name, config["name"], config, inner, known)}


def _is_named(registered: Any, class_name: Any) -> bool:
    """Whether what Keras would use instead of the class name is that name. QKeras's has its package before it."""
    return registered in (None, class_name) or str(registered).endswith(f">{class_name}")


def _safe_value(key: str, value: Any, label: str) -> Any:
    if key.endswith(("activation", "_quantizer")):
        return _safe_quantiser(key, value, label)
    if key in _COUNTS and (type(value) is not int or not 1 <= value <= _MAXIMUM_COUNT):
        raise InputError(f"{label}: {key} must be 1 to {_MAXIMUM_COUNT}, found {value!r}")
    plain = _plain_items(value, depth=2)
    if plain is None:
        raise UnsupportedModel(f"{label}: {key} must be a plain value, found {value!r}")
    if any(type(item) is int and abs(item) > _MAXIMUM_COUNT for item in plain) and key not in (
        "current_step", "quantization_delay", "ema_freeze_delay", "target_shape"
    ):  # fmt: skip
        raise InputError(f"{label}: {key} must hold numbers up to {_MAXIMUM_COUNT}, found {value!r}")
    return _tuples(value)


def _plain_items(value: Any, depth: int) -> list[Any] | None:
    """All single values of nested lists; None where something else is in them."""
    if isinstance(value, list | tuple):
        if depth == 0:
            return None
        parts = [_plain_items(item, depth - 1) for item in value]
        return None if None in parts else [item for part in parts for item in part or []]
    return [value] if value is None or isinstance(value, (bool, int, float, str)) else None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _safe_quantiser(key: str, value: Any, label: str) -> Any:
    """A quantiser or activation function: None, a checked text, or a checked {'class_name', 'config'}."""
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    if value is None:
        return None
    if isinstance(value, str):
        return safe_quantiser_text(value, f"{label}: {key}", functions=key.endswith("activation"))
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        raise UnsupportedModel(f"{label}: {key} must be a quantiser, found {value!r}")
    class_name, config = value.get("class_name"), value["config"]
    registered = value.get("registered_name")
    if class_name not in QUANTISERS or not _is_named(registered, class_name):
        raise UnsupportedModel(unsupported_quantiser(f"{label}: {key}", str(class_name)))
    for argument, content in config.items():
        plain = _plain_items(content, depth=5 if argument == "alpha" else 0)
        if plain is None or any(type(item) is int and abs(item) > _MAXIMUM_ARGUMENT for item in plain):
            raise UnsupportedModel(
                f"{label}: {key} {class_name} has {argument} = {content!r}; "
                f"expected a plain value with numbers up to {_MAXIMUM_ARGUMENT}"
            )
    return {"class_name": class_name, "config": dict(config)}


def safe_quantiser_text(text: str, label: str, *, functions: bool) -> str:
    """`text` if it is NAME or NAME(plain arguments) with a known name, else UnsupportedModel.

    functions: whether plain activation functions are allowed too. QKeras looks the name up among all that its module
    holds and calls it, so nothing unknown may pass.
    """
    match = _CALL.fullmatch(text.strip()) if len(text) <= 200 else None
    if match is None or _LONG_NUMBER.search(text):
        shown = text if len(text) <= 80 else text[:77] + "..."
        raise UnsupportedModel(
            f"{label} is the text {shown!r}; a quantiser is written as NAME or NAME(arguments), with numbers of up to four "
            "digits and words as arguments, for example 'quantized_relu(6,2)'"
        )
    allowed = QUANTISERS + (FUNCTIONS if functions else ())
    if match[1] not in allowed or (match[1] in FUNCTIONS and match[2]):
        raise UnsupportedModel(unsupported_quantiser(label, match[0]))
    return text.strip()
