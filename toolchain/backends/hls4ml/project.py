# SPDX-License-Identifier: Apache-2.0
"""hls4ml at work: the lowered layers become an hls4ml model, which writes its project. Imports hls4ml: import it lazily.

hls4ml can only write to disk, so it writes to a temporary folder and the files are read back. Nothing is run, no other
folder is touched and the working folder of this process stays what it is.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from string import Template
from typing import Any

import yaml
from hls4ml.backends import get_backend
from hls4ml.model import ModelGraph
from hls4ml.writer.catapult_writer import CatapultWriter
from hls4ml.writer.libero_writer import LiberoWriter
from hls4ml.writer.oneapi_writer import OneAPIWriter
from hls4ml.writer.quartus_writer import QuartusWriter
from hls4ml.writer.vitis_writer import VitisWriter
from hls4ml.writer.vivado_accelerator_writer import VivadoAcceleratorWriter
from hls4ml.writer.vivado_writer import VivadoWriter

from toolchain.backends.hls4ml.extensions import register
from toolchain.backends.hls4ml.flows import FLOWS
from toolchain.backends.hls4ml.lowering import Layer, Lowered
from toolchain.data_folders import HLS_TEMPLATES
from toolchain.plan import PlannedFile

#: What hls4ml puts where its time stamps would be.
_STAMP = "bitwright"
_CSIM = HLS_TEMPLATES / "hls4ml" / "csim"
_WRITERS: dict[str, type[Any]] = {
    "Vitis": VitisWriter,
    "Vivado": VivadoWriter,
    "VivadoAccelerator": VivadoAcceleratorWriter,
    "Quartus": QuartusWriter,
    "Catapult": CatapultWriter,
    "oneAPI": OneAPIWriter,
    "Libero": LiberoWriter,
}


@dataclass(frozen=True)
class ProjectSettings:
    """flow: a key of `FLOWS`. top: the top function's identifier. io_type: 'io_parallel' or 'io_stream'."""

    flow: str
    top: str
    part: str
    clock_period_ns: str
    io_type: str

    @property
    def backend(self) -> str:
        return FLOWS[self.flow].backend


@cache
def _writer(backend: str) -> Any:
    """hls4ml's writer, whose hls4ml_config.yml has no path of this machine and imports no Keras, and that packs no archive."""

    def write_yml(self: Any, model: Any) -> None:
        config = {**model.config.config, "OutputDir": "."}
        if "SmartHLSPath" in config:
            config["SmartHLSPath"] = str(config["SmartHLSPath"])
        (Path(model.config.get_output_dir()) / "hls4ml_config.yml").write_text(yaml.safe_dump(config))

    def write_nothing(self: Any, model: Any) -> None:
        pass

    def write_build_script(self: Any, model: Any) -> None:
        # The last file that Libero's writer copies is missing from hls4ml's package; it compiles for the CPU only.
        with contextlib.suppress(FileNotFoundError) if backend == "Libero" else contextlib.nullcontext():
            base.write_build_script(self, model)

    base = _WRITERS[backend]
    members = {
        "write_yml": write_yml,
        "write_tar": write_nothing,
        "write_new_tar": write_nothing,
        "write_build_script": write_build_script,
    }
    return type(f"_{backend}Writer", (base,), members)()


def write_project(lowered: Lowered, settings: ProjectSettings) -> list[PlannedFile]:
    """All files of the project, in alphabetical order."""
    register()
    with tempfile.TemporaryDirectory(prefix="bitwright-hls4ml-") as temporary:
        folder = Path(temporary) / "project"
        # Some of hls4ml's backends report on standard output what they copy.
        with contextlib.redirect_stdout(io.StringIO()):
            model = ModelGraph.from_layer_list(
                _configuration(lowered, settings, folder),
                [_layer(layer) for layer in lowered.layers],
                [identifier for _, identifier in lowered.inputs],
                [identifier for _, identifier in lowered.outputs],
            )
            model.config.config["Stamp"] = _STAMP
            _writer(settings.backend).write_hls(model)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        # Catapult's bridge, which is not used here, names the folder it is written to.
        contents = {path: path.read_bytes().replace(str(folder).encode(), b".") for path in paths}
        files = [PlannedFile(path.relative_to(folder).as_posix(), content) for path, content in contents.items()]
    if FLOWS[settings.flow].platform in ("quartus", "catapult"):
        files.append(PlannedFile.text("csim_ports.h", _ports_header(model, settings)))
    for file in files:
        assert temporary.encode() not in file.content, f"{file.path} holds the path of a temporary folder"
    return files


def _ports_header(model: Any, settings: ProjectSettings) -> str:
    """What hls4ml writes for AMD's flows itself: the ports as tuples, and the top function that takes them."""
    stream = settings.io_type == "io_stream"
    catapult = FLOWS[settings.flow].platform == "catapult"
    ports = {"inputs": model.get_input_variables(), "outputs": model.get_output_variables()}
    tuples, places = {}, {}
    for name, variables in ports.items():
        types = [
            f"bitwright::stream<{v.type.name}>" if stream else f"std::array<{v.type.name}, {prod(v.shape)}>"
            for v in variables
        ]
        tuples[f"{name}_t"] = f"std::tuple<{', '.join(types)}>"
        places[name] = [f"std::get<{index}>({name})" for index in range(len(variables))]
    # Catapult's project only declares its constants; hls4ml's own bridge and test bench define them.
    weights = [w for layer in model.get_layers() for w in layer.get_weights()] if catapult else []
    values = {"top": settings.top, **tuples, "constants": "\n".join(f"{w.definition_cpp()};" for w in weights)}
    if stream or catapult:
        end = "" if stream else ".data()"
        arguments = ", ".join(place + end for place in (*places["inputs"], *places["outputs"]))
        return Template((_CSIM / "ports.h").read_text()).substitute(values, call=f"{settings.top}({arguments});")
    copies = ["input_data in;"]
    for place, v in zip(places["inputs"], ports["inputs"], strict=True):
        copies.append(f"std::copy({place}.begin(), {place}.end(), in.{_member(v)});")
    copies.append(f"const output_data out = {settings.top}(in);")
    for place, v in zip(places["outputs"], ports["outputs"], strict=True):
        copies.append(f"std::copy(out.{_member(v)}, out.{_member(v)} + {prod(v.shape)}, {place}.begin());")
    return Template((_CSIM / "ports.h").read_text()).substitute(values, call="\n    ".join(copies))


def _member(variable: Any) -> str:
    """The name in the structure that holds all inputs, or all outputs."""
    return str(variable.name).rsplit(".", 1)[-1]


def _configuration(lowered: Lowered, settings: ProjectSettings, folder: Path) -> dict[str, Any]:
    # Without a name for it hls4ml looks for the installation, and fails where there is none.
    installation = {"smarthls_path": "${SHLS_ROOT_DIR}"} if settings.backend == "Libero" else {}
    config = get_backend(settings.backend).create_initial_config(
        part=settings.part, clock_period=float(settings.clock_period_ns), io_type=settings.io_type, **installation
    )
    amd = FLOWS[settings.flow].platform == "ap"
    writer = {**config.get("WriterConfig", {}), "WriteTar": False}
    if amd:
        writer["WriteEmulationConstants"] = True  # the bridge reads the ports' types from them
    return {
        **config,
        "WriterConfig": writer,
        "Backend": settings.backend,
        "ProjectName": settings.top,
        "OutputDir": str(folder),
        # Outside synthesis, each layer can hand its result to the bridge.
        "TraceOutput": amd,
        "HLSConfig": {
            # No default precision: a type that is not set here is an error, never a guess.
            "Model": {"ReuseFactor": 1, "Strategy": "Latency", "BitExact": False},
            "LayerName": _layer_settings(lowered, trace=amd),
        },
    }


def _layer_settings(lowered: Lowered, *, trace: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for layer in lowered.layers:
        settings[layer.identifier] = {"Precision": dict(layer.precision), "Trace": trace, **layer.settings}
        # The layer that hls4ml puts in where a stream has several readers.
        settings[f"clone_{layer.identifier}"] = {"Precision": {"result": layer.precision["result"]}}
    return settings


def _layer(layer: Layer) -> dict[str, Any]:
    entry = {"class_name": layer.kind, "name": layer.identifier, **layer.attributes}
    return {**entry, "inputs": list(layer.inputs)} if layer.inputs else entry
