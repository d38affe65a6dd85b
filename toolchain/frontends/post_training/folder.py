# SPDX-License-Identifier: Apache-2.0
"""Model folders of quantised models."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.errors import InputError, UsageError
from toolchain.frontends.model_folder import MODEL_TOML, read_model_folder

if TYPE_CHECKING:
    from toolchain.frontends.post_training.flow import QuantisedModel

MODEL, RECORD, VECTORS = "model.onnx", "quantisation.json", "vectors.npz"


def require_writable(folder: Path) -> None:
    """Raise unless a quantised model may be written there: into a new folder, an empty one, or over an earlier result."""
    existing = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"{folder}: cannot be written; --out takes a folder ({existing} is a file, or may not be changed)"
        )
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / MODEL_TOML).is_file() or not read_model_folder(folder).quantisation:
        raise UsageError(
            f"{folder}: holds something else than a model that was quantised here; choose a new or an empty folder"
        )


def save_folder(model: QuantisedModel, folder: Path) -> Path:
    """Write the model folder; each file appears whole or not at all, model.toml last. Returns its path."""
    require_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    held_out = model.settings.held_out()
    _write(folder / MODEL, lambda path: path.write_bytes(model.proto.SerializeToString(deterministic=True)))
    _write(folder / RECORD, lambda path: path.write_text(json.dumps(model.record, indent=2) + "\n", encoding="utf-8"))
    if held_out is None:
        (folder / VECTORS).unlink(missing_ok=True)
    else:
        arrays = {"x": held_out.x} | ({} if held_out.y_true is None else {"y_true": held_out.y_true})
        _write(folder / VECTORS, lambda path: _save_arrays(path, arrays))
    text = toml_of(model, with_vectors=held_out is not None)
    _write(folder / MODEL_TOML, lambda path: path.write_text(text, encoding="utf-8"))
    return folder


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def toml_of(model: QuantisedModel, *, with_vectors: bool) -> str:
    """The text of model.toml; what the float model's own says is kept."""
    source = model.source.folder
    tables: dict[str, dict[str, Any]] = {
        "model": {
            "name": model.name,
            "framework": f"{model.source.framework}, quantised after training",
            "file": MODEL,
            "vectors": VECTORS if with_vectors else "",
            "description": source.description if source else "",
            "class_names": list(source.class_names) if source else [],
        },
        "input": {
            "minimum": source.input_minimum if source else None,
            "maximum": source.input_maximum if source else None,
        },
        "quantisation": model.summary,
        "data": {"source": source.data_source if source else "", "licence": source.data_licence if source else ""},
    }
    lines = []
    for table, entries in tables.items():
        kept = {key: value for key, value in entries.items() if value not in (None, "", [])}
        if kept:
            lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in kept.items()), ""]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's way to write a text is TOML's, but for characters that JSON leaves as they are.
        text = json.dumps(value, ensure_ascii=False)
        return "".join(f"\\u{ord(c):04x}" if c == "\x7f" or "\x80" <= c < "\xa0" else c for c in text)
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return repr(value)
