# SPDX-License-Identifier: Apache-2.0
"""hls4ml at work: the lowered layers become an hls4ml model, which writes its project. Imports hls4ml: import it lazily.

hls4ml can only write to disk, so it writes to a temporary folder and the files are read back. Nothing is run, no other
folder is touched and the working folder of this process stays what it is.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hls4ml.backends import get_backend
from hls4ml.model import ModelGraph
from hls4ml.writer.vitis_writer import VitisWriter
from hls4ml.writer.vivado_writer import VivadoWriter

from toolchain.backends.hls4ml.extensions import register
from toolchain.backends.hls4ml.lowering import Layer, Lowered
from toolchain.plan import PlannedFile

#: What hls4ml puts where its time stamps would be.
_STAMP = "bitwright"


@dataclass(frozen=True)
class ProjectSettings:
    """backend: 'Vitis' or 'Vivado'. top: the top function's identifier. io_type: 'io_parallel' or 'io_stream'."""

    backend: str
    top: str
    part: str
    clock_period_ns: str
    io_type: str


class _PlainConfiguration:
    """Writes hls4ml_config.yml without a path of this machine, and without hls4ml's import of Keras for a Keras model."""

    def write_yml(self, model: Any) -> None:
        config = {**model.config.config, "OutputDir": "."}
        (Path(model.config.get_output_dir()) / "hls4ml_config.yml").write_text(yaml.safe_dump(config))


class _VitisWriter(_PlainConfiguration, VitisWriter):
    pass


class _VivadoWriter(_PlainConfiguration, VivadoWriter):
    pass


_WRITERS: dict[str, type[VivadoWriter]] = {"Vitis": _VitisWriter, "Vivado": _VivadoWriter}


def write_project(lowered: Lowered, settings: ProjectSettings) -> list[PlannedFile]:
    """All files of the project, in alphabetical order."""
    register()
    with tempfile.TemporaryDirectory(prefix="bitwright-hls4ml-") as temporary:
        folder = Path(temporary) / "project"
        model = ModelGraph.from_layer_list(
            _configuration(lowered, settings, folder),
            [_layer(layer) for layer in lowered.layers],
            [identifier for _, identifier in lowered.inputs],
            [identifier for _, identifier in lowered.outputs],
        )
        model.config.config["Stamp"] = _STAMP
        _WRITERS[settings.backend]().write_hls(model)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = [PlannedFile(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]
    for file in files:
        assert temporary.encode() not in file.content, f"{file.path} holds the path of a temporary folder"
    return files


def _configuration(lowered: Lowered, settings: ProjectSettings, folder: Path) -> dict[str, Any]:
    config = get_backend(settings.backend).create_initial_config(
        part=settings.part, clock_period=float(settings.clock_period_ns), io_type=settings.io_type
    )
    config["WriterConfig"]["WriteEmulationConstants"] = True  # the bridge reads the ports' types from them
    return {
        **config,
        "Backend": settings.backend,
        "ProjectName": settings.top,
        "OutputDir": str(folder),
        "TraceOutput": True,  # outside synthesis, each layer can hand its result to the bridge
        "HLSConfig": {
            # No default precision: a type that is not set here is an error, never a guess.
            "Model": {"ReuseFactor": 1, "Strategy": "Latency", "BitExact": False},
            "LayerName": _layer_settings(lowered),
        },
    }


def _layer_settings(lowered: Lowered) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for layer in lowered.layers:
        settings[layer.identifier] = {"Precision": dict(layer.precision), "Trace": True, **layer.settings}
        # The layer that hls4ml puts in where a stream has several readers.
        settings[f"clone_{layer.identifier}"] = {"Precision": {"result": layer.precision["result"]}}
    return settings


def _layer(layer: Layer) -> dict[str, Any]:
    entry = {"class_name": layer.kind, "name": layer.identifier, **layer.attributes}
    return {**entry, "inputs": list(layer.inputs)} if layer.inputs else entry
