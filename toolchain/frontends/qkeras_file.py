# SPDX-License-Identifier: Apache-2.0
"""Keras model files, opened without letting them run anything.

A Keras file describes its layers by class names and arguments, and Keras turns those into objects: a Lambda layer holds
byte code, a `module` entry names a Python module to import, a quantiser given as text is looked up and called. So this
module never hands a file's description to Keras. It reads the description as JSON, checks it against the classes and
quantisers that the frontend knows, builds a new description of nothing but the entries that matter for inference, has
Keras build a model from that, and only then loads the weights, which are plain arrays.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from toolchain.errors import InputError, ToolNotFound, UnsupportedModel
from toolchain.frontends.qkeras_runtime import custom_objects, import_tf_keras

#: Layer class -> the entries of its configuration that decide what it computes. Everything else (initialisers,
#: regularisers, constraints) only matters for training and is dropped unread.
LAYER_ENTRIES: dict[str, tuple[str, ...]] = {
    "InputLayer": (),
    "QDense": ("units", "activation", "use_bias", "kernel_quantizer", "bias_quantizer"),
    "QActivation": ("activation",),
    "Activation": ("activation",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Flatten": ("data_format",),
    "Reshape": ("target_shape",),
    "Dropout": ("rate",),
    "Softmax": ("axis",),
}
#: Quantisers that a file may name. Whether a setting of one is supported is decided by qkeras_quantisers.
QUANTISERS = ("binary", "quantized_bits", "quantized_relu", "ternary")
ACTIVATIONS = ("linear", "relu", "sigmoid", "softmax")
_MODEL_CLASSES = ("Functional", "Model", "Sequential")

#: NAME or NAME(arguments), where arguments are numbers, words and quoted words: no second parenthesis, no attribute.
_CALL = re.compile(r"""([A-Za-z_][A-Za-z0-9_]*)(\([A-Za-z0-9_=., '"+-]*\))?""")
_LONG_NUMBER = re.compile(r"(?<![.\d])\d{4,}")
#: Bits or integer bits beyond this make Keras compute huge powers of two.
_MAXIMUM_ARGUMENT = 999
_MAXIMUM_JSON_BYTES = 64 << 20
_MAXIMUM_WEIGHT_BYTES = 4 << 30
_MAXIMUM_UNITS = 1 << 20


def load_file(path: Path) -> Any:
    """The tf_keras model in an .h5 or .keras file or a SavedModel folder.

    Raises InputError for what is not such a model, UnsupportedModel for a class, quantiser or topology entry that is not
    known to be harmless and exact; nothing of the file has been executed then.
    """
    config = safe_model_config(read_config(path), str(path))
    tf_keras = import_tf_keras()
    objects = custom_objects()
    builder = tf_keras.Sequential if config["class_name"] == "Sequential" else tf_keras.Model
    try:
        for layer in config["config"]["layers"]:
            layer["config"] = {key: _quantiser_object(value, objects) for key, value in layer["config"].items()}
        model = builder.from_config(config["config"], custom_objects=objects)
    except Exception as error:  # any layer's constructor may refuse its arguments in its own way
        raise InputError(
            f"{path}: Keras cannot build the model that the file describes: {_first_line(error)}"
        ) from None
    try:
        _load_weights(model, path)
    except Exception as error:
        raise InputError(f"{path}: the weights do not fit the layers of the file: {_first_line(error)}") from None
    return model


def _quantiser_object(value: Any, objects: dict[str, Any]) -> Any:
    """A checked quantiser description as the object itself: QActivation cannot be made from a description."""
    return objects[value["class_name"]](**value["config"]) if isinstance(value, dict) else value


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def read_config(path: Path) -> dict[str, Any]:
    """The description {'class_name', 'config'} of the model in a file, as plain JSON values."""
    try:
        if path.is_dir():
            text: str | bytes = _saved_model_config(path)
        elif path.suffix.lower() == ".keras":
            text = _archive_config(path)
        else:
            text = _h5_config(path)
        config = json.loads(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, RecursionError) as error:
        raise InputError(f"{path}: not a Keras model file ({_first_line(error)})") from None
    if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
        raise InputError(f"{path}: not a Keras model file (its description is not that of a model)")
    return config


def _h5_config(path: Path) -> str | bytes:
    try:
        import h5py
    except ImportError as error:
        raise ToolNotFound(
            f"{path}: reading it needs h5py ({error}); install it with: pip install 'bitwright[qkeras]'"
        ) from None
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
        if text is None:
            raise ValueError(
                "it holds no model_config: it may hold weights alone; save the whole model with model.save('model.h5')"
            )
        if not isinstance(text, (str, bytes)):
            raise ValueError("model_config is not a text")
        return text


def _archive_config(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if "config.json" not in sizes or "model.weights.h5" not in sizes:
            raise ValueError("the archive must hold config.json and model.weights.h5")
        if sizes["config.json"] > _MAXIMUM_JSON_BYTES or sizes["model.weights.h5"] > _MAXIMUM_WEIGHT_BYTES:
            raise ValueError("the archive expands to more than is allowed")
        return archive.read("config.json")


def _saved_model_config(path: Path) -> str:
    import_tf_keras()
    from google.protobuf.message import DecodeError
    from tf_keras.protobuf import saved_metadata_pb2

    metadata = saved_metadata_pb2.SavedMetadata()
    try:
        metadata.ParseFromString((path / "keras_metadata.pb").read_bytes())
    except DecodeError as error:
        raise ValueError(str(error)) from None
    roots = [node.metadata for node in metadata.nodes if node.node_id == 0]
    if len(roots) != 1:
        raise ValueError("keras_metadata.pb describes no model")
    return roots[0]


def _load_weights(model: Any, path: Path) -> None:
    if path.is_dir():
        model.load_weights(str(path / "variables" / "variables")).assert_existing_objects_matched().expect_partial()
    elif path.suffix.lower() == ".keras":
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "model.weights.h5"
            with archive.open("model.weights.h5") as source, target.open("wb") as stream:
                shutil.copyfileobj(source, stream)
            model.load_weights(str(target))
    else:
        import h5py
        from tf_keras.src.saving.legacy.hdf5_format import load_weights_from_hdf5_group

        with h5py.File(path, "r") as file:
            load_weights_from_hdf5_group(file["model_weights"], model)


def safe_model_config(config: dict[str, Any], where: str) -> dict[str, Any]:
    """The description rebuilt from checked entries only, in the form that tf_keras's from_config takes."""
    class_name = config.get("class_name")
    if class_name not in _MODEL_CLASSES:
        raise UnsupportedModel(
            f"{where}: the model is of class {class_name!r}; supported are Sequential and functional models"
        )
    try:
        inner = _plain(config["config"], where)
    except RecursionError:
        raise InputError(f"{where}: not a Keras model file (its description is nested too deeply)") from None
    entries = inner if isinstance(inner, list) else inner.get("layers")
    if not isinstance(entries, list):
        raise InputError(f"{where}: not a Keras model file (its description lists no layers)")
    sequential = class_name == "Sequential"
    layers = [_safe_layer(entry, where, functional=not sequential) for entry in entries]
    name = inner.get("name") if isinstance(inner, dict) else None
    result: dict[str, Any] = {"name": name if isinstance(name, str) else "model", "layers": layers}
    if not sequential:
        for key in ("input_layers", "output_layers"):
            result[key] = _safe_ends(inner.get(key), where, key)
    return {"class_name": "Sequential" if sequential else "Functional", "config": result}


def _safe_layer(entry: Any, where: str, *, functional: bool) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise InputError(f"{where}: not a Keras model file (a layer has no configuration)")
    class_name, config = entry.get("class_name"), entry["config"]
    name = config.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: a layer of class {class_name!r} has no name")
    label = f"{where}: layer {name!r} ({class_name})"
    # What Keras would use instead of the class name. QKeras's own name is registered with its package before it.
    registered = entry.get("registered_name")
    if registered not in (None, class_name) and not str(registered).endswith(f">{class_name}"):
        raise UnsupportedModel(
            f"{label}: the file says that its class is registered as {registered!r}; expected its name"
        )
    if class_name not in LAYER_ENTRIES:
        raise UnsupportedModel(unsupported_layer(label, str(class_name)))
    if config.get("dtype") not in (None, "float32") and _policy(config["dtype"]) != "float32":
        raise UnsupportedModel(f"{label}: computes in {_policy(config['dtype'])!r}; supported is float32")
    kept: dict[str, Any] = {"name": name}
    shape = config.get("batch_input_shape", config.get("batch_shape"))
    if shape is not None:
        if not isinstance(shape, (list, tuple)) or not all(size is None or type(size) is int for size in shape):
            raise InputError(f"{label}: its input shape must be a list of sizes, found {shape!r}")
        kept["batch_input_shape"] = tuple(shape)
    for key in LAYER_ENTRIES[class_name]:
        if key in config:
            kept[key] = _safe_value(key, config[key], label)
    safe: dict[str, Any] = {"class_name": class_name, "config": kept}
    if functional:
        safe["name"] = name
        safe["inbound_nodes"] = _safe_inbound(entry.get("inbound_nodes", []), label)
    return safe


def unsupported_layer(label: str, class_name: str) -> str:
    """The message for a layer class that the frontend does not read."""
    supported = ", ".join(sorted(LAYER_ENTRIES))
    if f"Q{class_name}" in LAYER_ENTRIES:
        return f"{label}: its weights are not quantised; use Q{class_name} with a quantiser for each of its weights"
    if class_name in _MODEL_CLASSES:
        return f"{label}: models inside a model are not supported; put their layers into the outer model"
    reason = " and would run code from the file" if class_name in ("Lambda", "TFOpLambda", "SlicingOpLambda") else ""
    return f"{label}: layers of this class are not supported{reason}; supported are {supported}"


def _policy(dtype: Any) -> str:
    if isinstance(dtype, dict) and isinstance(dtype.get("config"), dict):
        return str(dtype["config"].get("name"))
    return str(dtype)


def _plain(value: Any, where: str) -> Any:
    """JSON values with the tuples and shapes that SavedModel metadata writes as objects turned into lists."""
    if isinstance(value, dict):
        if value.get("class_name") in ("__tuple__", "TensorShape") and isinstance(value.get("items"), list):
            return [_plain(item, where) for item in value["items"]]
        return {key: _plain(item, where) for key, item in value.items()}
    return [_plain(item, where) for item in value] if isinstance(value, list) else value


def _safe_ends(value: Any, where: str, key: str) -> list[list[Any]]:
    ends = value if isinstance(value, list) else []
    if ends and isinstance(ends[0], str):
        ends = [ends]
    for end in ends:
        if not isinstance(end, list) or len(end) != 3 or not isinstance(end[0], str) or end[1:] != [0, 0]:
            ends = []
    if len(ends) != 1:
        raise UnsupportedModel(f"{where}: {key} must name exactly one layer, found {value!r}")
    return ends


def _safe_inbound(value: Any, label: str) -> list[list[list[Any]]]:
    nodes: list[Any] = value if isinstance(value, list) else [None]
    safe = []
    for node in nodes:
        ok = isinstance(node, list) and all(
            isinstance(edge, list)
            and len(edge) in (3, 4)
            and isinstance(edge[0], str)
            and all(type(number) is int for number in edge[1:3])
            and (len(edge) == 3 or edge[3] == {})
            for edge in node
        )
        if not ok:
            raise UnsupportedModel(
                f"{label}: is called in a way that is not supported: {node!r}; give it one tensor only"
            )
        safe.append([[edge[0], edge[1], edge[2], {}] for edge in node])
    return safe


def _safe_value(key: str, value: Any, label: str) -> Any:
    if key == "activation" or key.endswith("_quantizer"):
        return _safe_quantiser(key, value, label)
    if key == "units" and (type(value) is not int or not 1 <= value <= _MAXIMUM_UNITS):
        raise InputError(f"{label}: units must be 1 to {_MAXIMUM_UNITS}, found {value!r}")
    items: list[Any] = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list)) for item in items):
        raise UnsupportedModel(f"{label}: {key} must be a plain value, found {value!r}")
    return tuple(items) if isinstance(value, list) else value


def _safe_quantiser(key: str, value: Any, label: str) -> Any:
    """A quantiser or activation function: None, a checked text, or a checked {'class_name', 'config'}."""
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    if value is None:
        return None
    if isinstance(value, str):
        return safe_quantiser_text(value, f"{label}: {key}", functions=key == "activation")
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        raise UnsupportedModel(f"{label}: {key} must be a quantiser, found {value!r}")
    class_name, config = value.get("class_name"), value["config"]
    registered = value.get("registered_name")
    if class_name not in QUANTISERS or (
        registered not in (None, class_name) and not str(registered).endswith(f">{class_name}")
    ):
        raise UnsupportedModel(unsupported_quantiser(f"{label}: {key}", str(class_name)))
    for argument, content in config.items():
        plain = content is None or isinstance(content, (bool, int, float, str))
        if not plain or (type(content) is int and abs(content) > _MAXIMUM_ARGUMENT):
            raise UnsupportedModel(
                f"{label}: {key} {class_name} has {argument} = {content!r}; "
                f"expected a plain value with numbers up to {_MAXIMUM_ARGUMENT}"
            )
    return {"class_name": class_name, "config": dict(config)}


def unsupported_quantiser(label: str, name: str) -> str:
    """The message for a quantiser or activation function that the frontend does not read."""
    return f"{label} is {name!r}; supported are the quantisers {', '.join(QUANTISERS)} and, as an activation, {', '.join(ACTIVATIONS)}"


def safe_quantiser_text(text: str, label: str, *, functions: bool) -> str:
    """`text` if it is NAME or NAME(plain arguments) with a known name, else UnsupportedModel.

    functions: whether plain activation functions are allowed too. QKeras looks the name up among all that its module
    holds and calls it, so nothing unknown may pass.
    """
    match = _CALL.fullmatch(text.strip()) if len(text) <= 200 else None
    if match is None or _LONG_NUMBER.search(text):
        shown = text if len(text) <= 80 else text[:77] + "..."
        raise UnsupportedModel(
            f"{label} is the text {shown!r}; a quantiser is written as NAME or NAME(arguments), with numbers of up to three "
            "digits and words as arguments, for example 'quantized_relu(6,2)'"
        )
    allowed = QUANTISERS + (ACTIVATIONS if functions else ())
    if match[1] not in allowed or (match[1] in ACTIVATIONS and match[2]):
        raise UnsupportedModel(unsupported_quantiser(label, match[0]))
    return text.strip()
