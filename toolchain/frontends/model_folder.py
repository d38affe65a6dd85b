# SPDX-License-Identifier: Apache-2.0
"""Models as files and folders: `model.toml`, held-out vectors, and which files define a model. No framework is imported.

A model folder holds `model.toml`:

    [model]
    name = "digits"                     # how reports call it
    framework = "qkeras"                # for people; the file's form decides which frontend reads it
    file = "model.h5"                   # relative to the folder, inside it
    vectors = "vectors.npz"             # optional: held-out inputs x, labels y_true
    description = "..."                 # optional
    class_names = ["0", "1"]            # optional, one a network output

    [input]                             # optional
    minimum = 0.0                       # the range that real inputs lie in; values outside are refused
    maximum = 1.0
    type = "uint8*1/255"                # the inputs' type in hardware, for a model that does not quantise its own

    [data]                              # optional: where the training data came from
    source = "..."
    licence = "..."

    [quantisation]                      # what `bitwright quantise` did and what it cost; it writes this table itself
    method = "mse"
"""

from __future__ import annotations

import os
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.data_folders import MODELS
from toolchain.errors import InputError, UsageError
from toolchain.frontends.real_input import InputType

MODEL_TOML = "model.toml"
#: Files of PyTorch, which hold weights, or code that would run when they are opened, and no graph.
TORCH_SUFFIXES = (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors")
#: Refuse vector files whose arrays expand to more than this many bytes.
MAXIMUM_VECTOR_BYTES = 4 << 30

_MODEL_KEYS = {"name", "framework", "file", "vectors", "description", "class_names"}
_TABLES = {"model": _MODEL_KEYS, "input": {"minimum", "maximum", "type"}, "data": {"source", "licence"}}
#: What post-training quantisation says about itself, with the types of the entries.
_QUANTISATION: dict[str, type | tuple[type, ...]] = {
    "source": str, "method": str, "weight_bits": int, "activation_bits": int, "input": str, "weights": str, "steps": str,
    "bias_correction": bool, "calibration_samples": int, "vectors": int, "vectors_are": str, "accuracy_before": (int, float),
    "accuracy_after": (int, float), "agreement": (int, float), "signal_to_noise_db": (int, float),
}  # fmt: skip
_TABLES["quantisation"] = set(_QUANTISATION)


@dataclass(frozen=True)
class ModelFolder:
    """What a folder's model.toml says. Paths are absolute or relative as the folder's path was.

    input_minimum, input_maximum: real values, both None or both set. input_type: as for `toolchain.load_model`, '' for none.
    class_names: () where the file names none. quantisation: the table of that name, {} without one.
    """

    path: Path
    name: str
    framework: str
    file: Path
    vectors: Path | None = None
    description: str = ""
    class_names: tuple[str, ...] = ()
    input_minimum: float | None = None
    input_maximum: float | None = None
    input_type: str = ""
    data_source: str = ""
    data_licence: str = ""
    quantisation: dict[str, Any] = field(default_factory=dict)

    @property
    def toml(self) -> Path:
        return self.path / MODEL_TOML


def read_model_folder(path: str | os.PathLike[str]) -> ModelFolder:
    """Read and check `path`/model.toml. Raises InputError saying which entry is wrong, what was found and what may be."""
    folder = Path(path)
    toml = folder / MODEL_TOML
    try:
        content = tomllib.loads(toml.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: holds no {MODEL_TOML}; give a model file or a folder with a {MODEL_TOML}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{toml}: cannot be read as TOML: {error}") from None
    _reject_unknown(toml, content)
    model = content.get("model", {})
    minimum, maximum = _input_range(toml, content.get("input", {}))
    vectors = _text(toml, model, "model", "vectors")
    class_names = model.get("class_names", [])
    if not isinstance(class_names, list) or any(not isinstance(name, str) for name in class_names):
        raise InputError(f"{toml}: [model] class_names must be a list of texts, found {class_names!r}")
    return ModelFolder(
        path=folder,
        name=_text(toml, model, "model", "name", required=True),
        framework=_text(toml, model, "model", "framework", required=True),
        file=_inside(toml, "file", _text(toml, model, "model", "file", required=True)),
        vectors=_inside(toml, "vectors", vectors) if vectors else None,
        description=_text(toml, model, "model", "description"),
        class_names=tuple(class_names),
        input_minimum=minimum,
        input_maximum=maximum,
        input_type=_input_type(toml, content.get("input", {})),
        data_source=_text(toml, content.get("data", {}), "data", "source"),
        data_licence=_text(toml, content.get("data", {}), "data", "licence"),
        quantisation=_quantisation(toml, content.get("quantisation", {})),
    )


def _reject_unknown(toml: Path, content: dict[str, Any]) -> None:
    for table, entries in content.items():
        if table not in _TABLES:
            raise InputError(f"{toml}: unknown table [{table}]; allowed: {', '.join(f'[{name}]' for name in _TABLES)}")
        if not isinstance(entries, dict):
            raise InputError(f"{toml}: [{table}] must be a table, found {entries!r}")
        unknown = sorted(set(entries) - _TABLES[table])
        if unknown:
            allowed = ", ".join(sorted(_TABLES[table]))
            raise InputError(f"{toml}: unknown entry {unknown[0]!r} in [{table}]; allowed: {allowed}")


def _text(toml: Path, table: dict[str, Any], label: str, key: str, *, required: bool = False) -> str:
    if key not in table:
        if required:
            raise InputError(f"{toml}: [{label}] {key} is missing; it must be a text")
        return ""
    value = table[key]
    if not isinstance(value, str) or (required and not value):
        raise InputError(f"{toml}: [{label}] {key} must be a{' non-empty' * required} text, found {value!r}")
    return value


def _quantisation(toml: Path, table: dict[str, Any]) -> dict[str, Any]:
    for key, value in table.items():
        kind = _QUANTISATION[key]
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        in_share = not key.startswith("accuracy") and key != "agreement"
        if not fits or not (in_share or 0 <= value <= 1) or (isinstance(value, float) and not isfinite(value)):
            raise InputError(f"{toml}: [quantisation] {key} is not what `bitwright quantise` writes, found {value!r}")
    return dict(table)


def _inside(toml: Path, key: str, relative: str) -> Path:
    folder = toml.parent
    target = folder / relative
    if Path(relative).is_absolute() or not target.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{toml}: [model] {key} must be a path inside the folder, found {relative!r}")
    return target


def _input_type(toml: Path, table: dict[str, Any]) -> str:
    text = _text(toml, table, "input", "type")
    if text:
        try:
            InputType.parse(text)
        except UsageError as error:
            raise InputError(f"{toml}: [input] type: {error}") from None
    return text


def _input_range(toml: Path, table: dict[str, Any]) -> tuple[float | None, float | None]:
    if not table.keys() & {"minimum", "maximum"}:
        return None, None
    values = []
    for key in ("minimum", "maximum"):
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            found = "nothing" if value is None else repr(value)
            raise InputError(f"{toml}: [input] {key} must be a finite number, found {found}")
        values.append(float(value))
    if values[0] >= values[1]:
        raise InputError(f"{toml}: [input] minimum must be below maximum, found {values[0]:g} and {values[1]:g}")
    return values[0], values[1]


def bundled_models() -> tuple[str, ...]:
    """Names of the models that come with the toolchain."""
    if not MODELS.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in MODELS.iterdir() if (entry / MODEL_TOML).is_file()))


def locate(source: str | os.PathLike[str]) -> tuple[Path, ModelFolder | None]:
    """(model file, its folder's model.toml) for a file, a folder, or the name of a bundled model.

    A path that exists wins over a bundled name. A folder is a model folder if it holds model.toml, else a SavedModel if
    it holds saved_model.pb. A file uses its folder's model.toml if that names this very file.
    Raises InputError where nothing fits.
    """
    path = Path(source)
    if not path.exists():
        names = bundled_models()
        if str(source) in names:
            path = MODELS / str(source)
        else:
            known = f"; bundled models: {', '.join(names)}" if names else ""
            raise InputError(f"{source}: no such file, folder or bundled model{known}")
    if path.is_dir():
        if (path / MODEL_TOML).is_file():
            folder = read_model_folder(path)
            if not folder.file.exists():
                raise InputError(
                    f"{folder.toml}: [model] file {folder.file.name!r} does not exist; train the model first"
                )
            return folder.file, folder
        if (path / "saved_model.pb").is_file():
            return path, _folder_naming(path)
        raise InputError(
            f"{path}: not a model folder; it holds neither {MODEL_TOML} nor saved_model.pb (a TensorFlow SavedModel)"
        )
    return path, _folder_naming(path)


def _folder_naming(file: Path) -> ModelFolder | None:
    if not (file.parent / MODEL_TOML).is_file():
        return None
    folder = read_model_folder(file.parent)
    return folder if folder.file.resolve() == file.resolve() else None


def model_files(source: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> tuple[Path, ...]:
    """The files whose content decides what `load_model(source, weights=weights)` returns; for hashing. Vectors are not among
    them.

    Raises InputError like `locate`.
    """
    file, folder = locate(source)
    files = sorted(entry for entry in file.rglob("*") if entry.is_file()) if file.is_dir() else [file]
    if weights is None and file.suffix.lower() == ".json":
        from toolchain.frontends.qkeras_file import weights_beside

        weights = weights_beside(file)
    if weights is not None:
        files.append(Path(weights))
    if folder is not None:
        files.append(folder.toml)
    return tuple(files)


@dataclass(frozen=True)
class Vectors:
    """x: real or integer inputs of shape (samples, *input shape), all finite. y_true: class numbers (samples,) or None.

    y_framework: real outputs (samples, outputs) that the training framework gave for x when it trained the model, or None.
    """

    x: np.ndarray
    y_true: np.ndarray | None = None
    y_framework: np.ndarray | None = None


#: Arrays of a vector file that are not inputs.
_NOT_INPUTS = {"y_true", "y_framework"}


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of an .npz file by name. No pickled content is accepted.

    Raises InputError for a file that is missing, not an .npz file, or too large.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAXIMUM_VECTOR_BYTES:
            raise InputError(
                f"{path}: expands to {size} bytes, more than the {MAXIMUM_VECTOR_BYTES} allowed for vectors"
            )
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError) as error:
        raise InputError(f"{path}: not a readable .npz file of plain arrays ({error})") from None


def input_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of a vector file's arrays that may be inputs: `x`, `x_NAME`, NAME."""
    return {name: array for name, array in arrays.items() if name not in _NOT_INPUTS}


def array_of_input(name: str, arrays: Iterable[str]) -> str | None:
    """The array that holds an input's samples: the input's own name, else its name after 'x_'; None where there is neither."""
    return next((key for key in (name, f"x_{name}") if key in arrays), None)


def load_vectors(path: str | os.PathLike[str]) -> Vectors:
    """Read an .npz file with an array `x` and optionally `y_true`. No pickled content is accepted.

    Raises InputError for a file that is missing, not an .npz file, without `x`, or with arrays that are not finite
    numbers or differ in length.
    """
    arrays = load_arrays(path)
    if "x" not in arrays:
        raise InputError(f"{path}: holds no array 'x' (found {list(arrays)}); save it with numpy.savez(path, x=inputs)")
    _require_samples(path, "x", arrays["x"])
    _check_labels(path, "x", len(arrays["x"]), arrays)
    return Vectors(arrays["x"], arrays.get("y_true"), arrays.get("y_framework"))


def feeds_of(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The samples of each input of a model, by its name, from the arrays of the vector file `path`.

    One input takes `x`; of several, and of one without `x`, each takes the array of its own name or x_NAME.
    names: the model's inputs. Raises InputError for an input without an array, for x_NAME of an input that is not there, and for
    arrays that are not finite numbers or differ in length.
    """
    found = {name: array_of_input(name, arrays) for name in names}
    if len(names) == 1 and "x" in arrays:
        found = {names[0]: "x"}
    listed = ", ".join(repr(name) for name in names)
    missing = [name for name, key in found.items() if key is None]
    if missing:
        example = "x" if len(names) == 1 else f"x_{missing[0]}"
        raise InputError(
            f"{path}: holds no array for input {missing[0]!r} (found {list(arrays)}); the model's input{'s' * (len(names) > 1)}: "
            f"{listed}. Save the samples of this one as {example!r}"
        )
    spare = [key for key in arrays if key.startswith("x_") and key not in found.values()]
    if spare and len(names) > 1:
        raise InputError(
            f"{path}: array {spare[0]!r} is of an input that the model does not have; its inputs: {listed}. Rename the array, or "
            "leave it out"
        )
    feeds = {name: arrays[str(key)] for name, key in found.items()}
    first = str(found[names[0]])
    for name, key in found.items():
        _require_samples(path, str(key), feeds[name])
        if len(feeds[name]) != len(arrays[first]):
            raise InputError(
                f"{path}: {first!r} has {len(arrays[first])} samples and {key!r} has {len(feeds[name])}; they must agree"
            )
    _check_labels(path, first, len(arrays[first]), arrays)
    return feeds


def _require_samples(path: str | os.PathLike[str], name: str, x: np.ndarray) -> None:
    """Raise InputError unless an array is of finite numbers, of shape (samples, ...)."""
    if x.dtype.kind not in "fiub":
        raise InputError(f"{path}: {name!r} must hold numbers, found an array of {x.dtype}")
    if x.ndim < 2 or len(x) == 0:
        raise InputError(f"{path}: {name!r} must have shape (samples, ...) with at least one sample, found {x.shape}")
    if not np.isfinite(x).all():
        position = [int(i) for i in np.argwhere(~np.isfinite(x))[0]]
        value = x[tuple(position)]
        raise InputError(
            f"{path}: {name!r} holds {value} in sample {position[0]} at index {position[1:]}; all must be finite"
        )


def _check_labels(path: str | os.PathLike[str], name: str, samples: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise InputError unless `y_true` and `y_framework` are what they should be, where they are there."""
    y_true, y_framework = arrays.get("y_true"), arrays.get("y_framework")
    if y_true is not None:
        if y_true.dtype.kind not in "iu" or y_true.ndim != 1:
            raise InputError(
                f"{path}: 'y_true' must be one axis of integers, found {y_true.dtype} of shape {y_true.shape}"
            )
        if len(y_true) != samples:
            raise InputError(f"{path}: {name!r} has {samples} samples and 'y_true' has {len(y_true)}; they must agree")
    if y_framework is not None and (y_framework.dtype.kind != "f" or len(y_framework) != samples):
        raise InputError(
            f"{path}: 'y_framework' must hold floats for the {samples} samples of {name!r}, "
            f"found {y_framework.dtype} of shape {y_framework.shape}"
        )


def declared_range(folder: ModelFolder | None) -> tuple[float, float] | None:
    """The real input range that model.toml declares, or None."""
    if folder is None or folder.input_minimum is None or folder.input_maximum is None:
        return None
    return folder.input_minimum, folder.input_maximum
