# SPDX-License-Identifier: Apache-2.0
"""Keras model files, opened without letting them run anything.

The description of the model is rebuilt from checked entries (`qkeras_config`), Keras builds the model from that, and only
then the weights are loaded, which are plain arrays. Files can be of any size and content: what they expand to is checked
before it is read, and a model cannot ask for more weights than its file holds.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from toolchain.errors import InputError, ToolchainError, ToolNotFound
from toolchain.frontends.keras3 import in_terms_of_keras2, is_keras3, set_weights
from toolchain.frontends.qkeras_config import WRAPPED, Known, safe_model_config
from toolchain.frontends.qkeras_runtime import custom_objects, import_tf_keras
from toolchain.frontends.trial import crash_of

_MAXIMUM_JSON_BYTES = 64 << 20
#: Weights of one model, as they expand.
MAXIMUM_WEIGHT_BYTES = 4 << 30
_WEIGHTS = "model.weights.h5"
#: In a SavedModel folder: the description of the layers, and where the weights are.
_METADATA = "keras_metadata.pb"
_VARIABLES = "variables/variables"
#: Weights that a model may have beyond those in its file before building it stops (the message about the misfit is better).
_SPARE_WEIGHTS = 1 << 22


def load_file(path: Path, weights: Path | None = None, *, plain: Known | None = None) -> Any:
    """The tf_keras model in an .h5 or .keras file, a SavedModel folder, or a .json architecture with weights beside it.

    weights: a file of weights to use instead of those in the file or beside it. plain: the layers that a float model may have,
        which may be a file of Keras 3 too; without it the file is of QKeras.
    Raises InputError for what is not such a model, UnsupportedModel for a class, quantiser or topology entry that is not
    known to be harmless and exact; nothing of the file has been executed then.
    """
    config = safe_model_config(read_config(path, any_keras=plain is not None), str(path), plain)
    source = Path(weights) if weights is not None else path
    if weights is None and path.suffix.lower() == ".json":
        beside = weights_beside(path)
        if beside is None:
            raise InputError(
                f"{path}: describes a model without its weights; put them beside it as {path.stem}_weights.h5 or "
                f"{path.stem}.weights.h5, or name their file (--weights)"
            )
        source = beside
    held = _checked_weights(source)
    tf_keras = import_tf_keras()
    objects = custom_objects()
    builder = tf_keras.Sequential if config["class_name"] == "Sequential" else tf_keras.Model
    try:
        _make_quantisers(config, objects)
        most = held + _SPARE_WEIGHTS
        model = _built(builder, config["config"], objects, most, f"{path}: describes more weights than {source} holds")
    except ToolchainError:
        raise
    except Exception as error:  # any layer's constructor may refuse its arguments in its own way
        raise InputError(
            f"{path}: Keras cannot build the model that the file describes: {_first_line(error)}"
        ) from None
    load_weights_file(model, source, "the layers of the file", checked=True)
    return model


def _built(builder: Any, config: dict[str, Any], objects: dict[str, Any], most: int, message: str) -> Any:
    """The model, made without translating each layer's Python to graph code first, which takes seconds and nothing needs.

    A layer that decides by tensors cannot be made like that; then it is translated after all.
    most: elements of weights past which InputError(message) is raised.
    """
    from tensorflow.python.autograph.core import ag_ctx

    try:
        with _at_most(most, message), ag_ctx.ControlStatusCtx(status=ag_ctx.Status.DISABLED):
            return builder.from_config(config, custom_objects=objects)
    except ToolchainError:
        raise
    except Exception:
        with _at_most(most, message):
            return builder.from_config(config, custom_objects=objects)


def _make_quantisers(config: dict[str, Any], objects: dict[str, Any]) -> None:
    """Replace checked quantiser descriptions by the objects themselves: QActivation cannot be made from a description."""
    for layer in config["config"]["layers"]:
        if "layers" in layer["config"]:
            _make_quantisers(layer, objects)
            continue
        for key, value in layer["config"].items():
            if key in WRAPPED:
                # Keras makes this layer from its description, and recurrent layers their quantisers from theirs.
                for settings in (value or {}).get("config", {}).values():
                    if isinstance(settings, dict):
                        settings["config"] = _arrays(settings["config"])
            elif isinstance(value, dict):
                layer["config"][key] = objects[value["class_name"]](**_arrays(value["config"]))


def _arrays(settings: dict[str, Any]) -> dict[str, Any]:
    """A scale a channel, which JSON holds as lists, as the array that it was."""
    import numpy as np

    return {k: np.array(v, dtype=np.float32) if isinstance(v, list | tuple) else v for k, v in settings.items()}


@contextmanager
def _at_most(elements: int, message: str) -> Iterator[None]:
    """Stop the creation of weights past a number of elements, before they take memory."""
    import tensorflow

    total = 0

    def create(next_creator: Any, **settings: Any) -> Any:
        nonlocal total
        shape = settings.get("shape")
        total += prod(tensorflow.TensorShape(shape).as_list()) if shape is not None else 1
        if total > elements:
            raise InputError(message)
        return next_creator(**settings)

    with tensorflow.variable_creator_scope(create):
        yield


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


# ---- descriptions ------------------------------------------------------------------------------------------------------
def read_config(path: Path, *, any_keras: bool = False) -> dict[str, Any]:
    """The description {'class_name', 'config'} of the model in a file, as plain JSON values.

    any_keras: take a description by Keras 3 too, and give it as Keras 2 would.
    """
    versions: list[Any] = []
    try:
        if path.is_dir():
            text: str | bytes = _saved_model_config(path)
        elif path.suffix.lower() == ".keras":
            text = _archive_config(path, versions)
        elif path.suffix.lower() == ".json":
            text = _small(path).read_bytes()
        else:
            text = _h5_config(path, versions)
        config = json.loads(text)
        if not isinstance(config, dict) or not isinstance(config.get("config"), (dict, list)):
            raise ValueError("its description is not that of a model")
        newer = [version for version in (*versions, config.get("keras_version")) if _is_newer(version)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, RecursionError) as error:
        raise InputError(f"{path}: not a Keras model file ({_first_line(error)})") from None
    if newer and not any_keras:
        raise InputError(
            f"{path}: saved by Keras {_version_text(newer[0])[:20]}; QKeras 0.9.0 works with Keras 2 (tf_keras), and what Keras 3 "
            "ports of QKeras compute differs. Build the model with tf_keras and QKeras, load its weights and save it again"
        )
    return in_terms_of_keras2(config, str(path)) if newer else config


def _version_text(version: Any) -> str:
    return version.decode("utf8", "replace") if isinstance(version, bytes) else str(version or "2")


def _is_newer(version: Any) -> bool:
    return _version_text(version).partition(".")[0] not in ("1", "2")


def _small(path: Path) -> Path:
    if path.stat().st_size > _MAXIMUM_JSON_BYTES:
        raise ValueError(f"its description takes more than {_MAXIMUM_JSON_BYTES} bytes")
    return path


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ToolNotFound(
            f"reading Keras files needs h5py ({error}); install it with: pip install 'bitwright[qkeras]'"
        ) from None
    return h5py


def _h5_config(path: Path, versions: list[Any]) -> str | bytes:
    with _h5_file(path) as file:
        versions.append(file.attrs.get("keras_version"))
        text = file.attrs.get("model_config")
        if text is None:
            raise ValueError(
                "it holds no model_config: it may hold weights alone; save the whole model with model.save('model.h5'), or give "
                "the architecture as a .json file beside it"
            )
        if not isinstance(text, (str, bytes)):
            raise ValueError("model_config is not a text")
        return text


def _archive_config(path: Path, versions: list[Any]) -> bytes:
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        if "config.json" not in sizes or _WEIGHTS not in sizes:
            raise ValueError(f"the archive must hold config.json and {_WEIGHTS}")
        if sizes["config.json"] > _MAXIMUM_JSON_BYTES or sizes.get("metadata.json", 0) > _MAXIMUM_JSON_BYTES:
            raise ValueError(f"its description takes more than {_MAXIMUM_JSON_BYTES} bytes")
        if "metadata.json" in sizes:
            metadata = json.loads(archive.read("metadata.json"))
            versions.append(metadata.get("keras_version") if isinstance(metadata, dict) else None)
        return archive.read("config.json")


def _saved_model_config(path: Path) -> str:
    import_tf_keras()
    from google.protobuf.message import DecodeError
    from tf_keras.protobuf import saved_metadata_pb2

    file = path / _METADATA
    if not file.is_file():
        raise InputError(
            f"{path}: a TensorFlow SavedModel without {_METADATA}, so it holds what was traced and not the model's layers and "
            "quantisers (tf.saved_model.save and the export of Keras 3 write such a folder); save the model by tf_keras, "
            "model.save('model.h5') or model.save('folder', save_format='tf')"
        )
    metadata = saved_metadata_pb2.SavedMetadata()
    try:
        metadata.ParseFromString(_small(file).read_bytes())
    except DecodeError as error:
        raise ValueError(str(error)) from None
    roots = [node.metadata for node in metadata.nodes if node.node_id == 0]
    if len(roots) != 1:
        raise ValueError(f"{_METADATA} describes no model")
    return roots[0]


def weights_beside(architecture: Path) -> Path | None:
    """The weights of an architecture file NAME.json: NAME_weights.h5, NAME.weights.h5 or NAME.h5 in its folder, or None."""
    for ending in ("_weights.h5", ".weights.h5", ".h5"):
        path = architecture.with_name(architecture.stem + ending)
        if path.is_file():
            return path
    return None


# ---- weights -----------------------------------------------------------------------------------------------------------
def _checked_weights(path: Path) -> int:
    """How many weights a file holds. Raises InputError where it is not one, or holds too many."""
    try:
        if path.is_dir():
            parts = list((path / "variables").glob("variables.data-*"))
            if not parts or not (path / f"{_VARIABLES}.index").is_file():
                raise InputError(
                    f"{path}: a folder without weights: a SavedModel folder keeps them in {_VARIABLES}.index and {_VARIABLES}.data-*; "
                    "give such a folder, or an .h5 or .keras file"
                )
            size = sum(entry.stat().st_size for entry in parts)
            if size > MAXIMUM_WEIGHT_BYTES:
                raise ValueError(f"it holds {size} bytes of weights, more than the {MAXIMUM_WEIGHT_BYTES} allowed")
            return size // 4
        with _h5_weights(path) as file:
            return _count(file)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, zipfile.BadZipFile, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: its weights cannot be read ({_first_line(error)})") from None


@contextmanager
def _h5_weights(path: Path) -> Iterator[Any]:
    """The HDF5 file of weights that a path is, or holds."""
    if path.suffix.lower() != ".keras":
        with _h5_file(path) as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        size = archive.getinfo(_WEIGHTS).file_size
        if size > MAXIMUM_WEIGHT_BYTES:
            raise ValueError(f"it expands to {size} bytes of weights, more than the {MAXIMUM_WEIGHT_BYTES} allowed")
        target = Path(folder) / _WEIGHTS
        with archive.open(_WEIGHTS) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream)
        with _h5_file(target) as file:
            yield file


@contextmanager
def _h5_file(path: Path) -> Iterator[Any]:
    """An HDF5 file, opened. Raises ValueError for one that the HDF5 library crashes on."""
    status = path.stat()
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if identity not in _SOUND:
        _h5py()  # loaded here, so that a copy of this process has it
        whole = str(path.resolve())
        crash = crash_of(lambda: read_whole_file(whole), (__name__, read_whole_file.__name__, whole))
        if crash:
            raise ValueError(f"the HDF5 library crashes on it ({crash}): the file is damaged")
        _SOUND.add(identity)
    with _h5py().File(path, "r") as file:
        yield file


#: Files that have been read without a crash.
_SOUND: set[tuple[int, ...]] = set()


def read_whole_file(path: str) -> None:
    """Read everything in an HDF5 file: what may crash. Also run by itself, in a process of its own."""
    h5py = _h5py()
    with h5py.File(path, "r") as file:
        dict(file.attrs)
        _count(file)

        def read(name: str, item: Any) -> None:
            dict(item.attrs)
            if isinstance(item, h5py.Dataset):
                item[()]

        file.visititems(read)


def _count(group: Any, total: int = 0) -> int:
    """Elements of all arrays in an HDF5 group, none of which may be elsewhere or expand to too much."""
    h5py = _h5py()
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} is a link to somewhere else")
        item = group[name]
        if isinstance(item, h5py.Group):
            total = _count(item, total)
            continue
        if item.external or item.is_virtual:
            raise ValueError(f"{name!r} is stored in another file")
        total += item.size
        if total * 4 > MAXIMUM_WEIGHT_BYTES or item.nbytes > MAXIMUM_WEIGHT_BYTES:
            raise ValueError(f"it holds more than the {MAXIMUM_WEIGHT_BYTES} bytes of weights that are allowed")
    return total


def load_weights_file(model: Any, path: Path, what: str, *, checked: bool = False) -> None:
    """Load the weights in a file into a built model.

    path: an .h5 file of ``save_weights`` or ``save``, a .keras file, or a SavedModel folder. what: for messages, what the weights
    belong to. Raises InputError where they do not fit.
    """
    if not checked:
        _checked_weights(path)
    try:
        if path.is_dir():
            prefix = str(path / _VARIABLES)
            _require_sound(path, prefix)
            model.load_weights(prefix).assert_existing_objects_matched().expect_partial()
            return
        with _h5_weights(path) as file:
            _load(model, file)
    except InputError:
        raise
    except Exception as error:  # Keras raises many kinds for weights that do not fit
        raise InputError(f"{path}: the weights do not fit {what}: {_first_line(error)}") from None


def _require_sound(path: Path, prefix: str) -> None:
    """Raise InputError unless every weight of a SavedModel folder can be read; TensorFlow checks their sums."""
    import tensorflow

    try:
        reader = tensorflow.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception as error:  # TensorFlow raises many kinds for files that are cut off or damaged
        raise InputError(
            f"{path}: its weights cannot be read, {_VARIABLES}.* is damaged ({_first_line(error)}); save the model again"
        ) from None


def _load(model: Any, file: Any) -> None:
    from tf_keras.src.saving.legacy.hdf5_format import load_weights_from_hdf5_group

    group = file.get("model_weights", file)
    if "layer_names" in group.attrs or "layer_names0" in group.attrs:
        load_weights_from_hdf5_group(group, model)
    elif is_keras3(file):
        set_weights(model, file)
    else:
        with tempfile.TemporaryDirectory() as folder:
            # Keras recognises its newer format by the file's name.
            named = Path(folder) / _WEIGHTS
            named.symlink_to(Path(file.filename).absolute())
            model.load_weights(str(named))
