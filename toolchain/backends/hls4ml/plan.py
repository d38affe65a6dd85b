# SPDX-License-Identifier: Apache-2.0
"""The plan of an HLS build: the complete Vitis HLS and Vivado HLS projects, and the facts that later stages need."""

from __future__ import annotations

import re
from typing import Any

from toolchain.backends.hls4ml.lower import Lowered, Options, lower
from toolchain.data_folders import HLS_TEMPLATES
from toolchain.errors import BoardError, UsageError
from toolchain.identifiers import identifiers
from toolchain.ir import Graph
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.target import Target

#: The part of projects for targets that are not a device of AMD's: hls4ml's own default, a Virtex UltraScale+.
DEFAULT_PART = "xcvu13p-flga2577-2-e"
#: Folder in the plan -> hls4ml's name for the vendor tool.
FLOWS = {"vitis": "Vitis", "vivado": "Vivado"}
IO_TYPES = ("io_parallel", "io_stream")
_AMD_FAMILIES = ("xc7", "usplus", "versal")
#: What the simulation on the CPU needs besides a project; the same two files for every network.
CSIM_SOURCES = ("csim/bridge.cpp", "csim/weights.h")


def plan(graph: Graph, target: Target, io_type: str = "io_parallel") -> BuildPlan:
    """Both projects as data: `vitis/` and `vivado/`. Called for graphs whose every node is supported.

    io_type: 'io_parallel' (whole arrays, one result a clock, lowest latency) or 'io_stream' (one packet of the last
    axis after the other). Raises UsageError for another one, BoardError for a part that cannot be written into Tcl,
    ToolNotFound without hls4ml.
    Facts: top, io_type, part, part_is_default, clock_period_ns, flows; inputs and outputs in the order of the
    ports, each with node, identifier, shape, signed, width, fraction; layers, each with node, identifier and shape.
    """
    from toolchain.backends.hls4ml.project import ProjectSettings, write_project

    if io_type not in IO_TYPES:
        raise UsageError(f"io_type {io_type!r} is not known; allowed: {', '.join(IO_TYPES)}")
    lowered = lower(graph, Options(io_type))
    part, is_default = _part(target)
    # The suffix keeps a graph called 'exp' or 'main' from being a function that already exists.
    top = f"{identifiers([graph.name])[graph.name]}_top"
    period = f"{1000 / target.clock_mhz:.6g}"
    files: list[PlannedFile] = []
    for folder, backend in FLOWS.items():
        settings = ProjectSettings(backend, top, part, period, io_type)
        files += [PlannedFile(f"{folder}/{file.path}", file.content) for file in write_project(lowered, settings)]
    files += [PlannedFile(path, (HLS_TEMPLATES / "hls4ml" / path).read_bytes()) for path in CSIM_SOURCES]
    facts: dict[str, Any] = {
        "top": top,
        "io_type": io_type,
        "part": part,
        "part_is_default": is_default,
        "clock_period_ns": float(period),
        "flows": list(FLOWS),
        "inputs": _ports(graph, lowered.inputs),
        "outputs": _ports(graph, lowered.outputs),
        "layers": _layers(lowered),
    }
    return BuildPlan("hls4ml", top, tuple(files), facts)


def _part(target: Target) -> tuple[str, bool]:
    device = target.device
    if device is None or device.family not in _AMD_FAMILIES:
        return DEFAULT_PART, True
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", device.part):
        raise BoardError(f"part {device.part!r} is not an ordering code: only letters, digits and '-' are allowed")
    return device.part, False


def _ports(graph: Graph, ports: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    described = []
    for node, identifier in ports:
        tensor = graph.types[node]
        element = tensor.element
        described.append(
            {
                "node": node,
                "identifier": identifier,
                "shape": list(tensor.shape),
                "signed": element.signed,
                "width": element.width,
                "fraction": element.fraction,
            }
        )
    return described


def _layers(lowered: Lowered) -> list[dict[str, Any]]:
    """Layers that make a node's result, in order, for tracing. Input layers and reshapes of parallel arrays do not compute."""
    silent = ("InputLayer", "Reshape")
    return [
        {"node": layer.node, "identifier": layer.identifier, "shape": list(layer.shape)}
        for layer in lowered.layers
        if layer.kind not in silent and not layer.partial
    ]
