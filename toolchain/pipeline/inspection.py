# SPDX-License-Identifier: Apache-2.0
"""`bitwright inspect`: a model as an integer graph, in figures, as a picture, and as a file for other viewers."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchain.build.schedule import Progress, Silent
from toolchain.errors import BuildFailed, InputError, ToolchainError, ToolNotFound, UnsupportedModel
from toolchain.frontends import load_model
from toolchain.ir import Graph, save_graph
from toolchain.passes.absorb_transpose import absorb_transpose
from toolchain.report.inspection import Inspection, inspect_graph

JSON_NAME, PICTURE_NAME = "inspect.json", "graph.svg"
QONNX_NAME, GRAPH_NAME = "graph.qonnx.onnx", "graph.bitwright"


def inspect_model(
    model: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    input_type: str | Sequence[str] | None = None,
    input_samples: Any = None,
    input_bits: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """The figures of a model's integer graph; with `out` also its picture and files in that folder.

    model: a path or name as for `toolchain.load_model`, or the LoadedModel it returned.
    input_type, input_samples, input_bits, weights: as for `toolchain.load_model`.
    out: a folder, made if it is not there; gets graph.svg, graph.qonnx.onnx, graph.bitwright and inspect.json (what `to_json`
        of the result gives). Each file is written whole or not at all; one that this model cannot have is named in `notes`,
        and an older one of its name is removed.
    Raises what `load_model` raises, and InputError if the folder cannot be written.
    """
    progress = progress or Silent()
    folder = _writable(out)
    progress.started("load", "the framework and the model")
    loaded = model
    if not hasattr(model, "graph"):
        named = Path(weights) if weights is not None else None
        loaded = load_model(
            model, input_type=input_type, input_samples=input_samples, input_bits=input_bits, weights=named
        )
    progress.finished("load")
    graph = absorb_transpose(loaded.graph)  # as a build takes it
    inspection = inspect_graph(graph, model=loaded.name, framework=loaded.framework)
    inspection = replace(inspection, notes=(*inspection.notes, *loaded.input_remarks))
    if folder is None:
        return inspection
    progress.started("write", "picture and files")
    inspection = _write_all(folder, graph, inspection)
    progress.finished("write")
    return inspection


def _writable(out: str | os.PathLike[str] | None) -> Path | None:
    """`out` as a folder that can be written, or made; checked before the work, not after it."""
    if out is None:
        return None
    path = Path(out)
    existing = next((parent for parent in (path, *path.absolute().parents) if parent.exists()), path)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(
            f"{path}: cannot be written; --out takes a folder ({existing} is a file, or may not be changed)"
        )
    return path


def _write_all(folder: Path, graph: Graph, inspection: Inspection) -> Inspection:
    from toolchain.ir.export_qonnx import export_qonnx
    from toolchain.report.inspection_picture import draw

    notes: list[str] = []
    files: dict[str, str] = {}

    def write(what: str, name: str, make: Callable[[Path], object]) -> None:
        _write(folder / name, make)
        files[what] = name

    def write_picture(path: Path) -> None:
        picture, remarks = draw(inspection)
        path.write_text(picture, encoding="utf-8")
        notes.extend(f"{PICTURE_NAME}: {remark}" for remark in remarks)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write("picture", PICTURE_NAME, write_picture)
        except BuildFailed as error:
            notes.append(f"no {PICTURE_NAME}: {error}")
        try:
            write("qonnx", QONNX_NAME, lambda path: export_qonnx(graph, path))
        except (UnsupportedModel, ToolNotFound) as error:
            notes.append(f"no {QONNX_NAME}: {error}")
        write("graph", GRAPH_NAME, lambda path: save_graph(graph, path))
        files["figures"] = JSON_NAME
        inspection = replace(inspection, files=files, notes=(*inspection.notes, *notes))
        text = json.dumps(inspection.to_json(), indent=1) + "\n"
        _write(folder / JSON_NAME, lambda path: path.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return inspection


def _write(path: Path, make: Callable[[Path], object]) -> None:
    """Let `make` write a file beside `path` and put it in its place; where it refuses, no file of this name is left."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        make(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except ToolchainError:
        path.unlink(missing_ok=True)
        raise
    finally:
        temporary.unlink(missing_ok=True)
