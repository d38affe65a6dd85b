# SPDX-License-Identifier: Apache-2.0
"""The plan of an HLS build: the complete projects of the vendors' flows, and the facts that later stages need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.backends.hls4ml.flows import DEFAULT_FLOWS, FLOWS, Flow
from toolchain.backends.hls4ml.lower import Lowered, Options, lower
from toolchain.backends.hls4ml.reuse import STRATEGIES, reuse_factors
from toolchain.build.tools.hls4ml import DISTRIBUTED_ARITHMETIC
from toolchain.data_folders import HLS_TEMPLATES
from toolchain.errors import BoardError, UnsupportedModel, UsageError
from toolchain.identifiers import identifiers
from toolchain.ir import Conv, Graph, MaxPool, SumPool
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.target import Target

IO_TYPES = ("io_parallel", "io_stream")
#: What the simulation on the CPU needs besides a project; the same two files for every network.
CSIM_SOURCES = ("csim/bridge.cpp", "csim/weights.h")


def default_io_type(graph: Graph) -> str:
    """Streams for networks whose tensors have spatial axes, where whole arrays become large; else parallel arrays."""
    windows = any(isinstance(node.operation, Conv | MaxPool | SumPool) for node in graph.nodes)
    return "io_stream" if windows else "io_parallel"


def plan(
    graph: Graph,
    target: Target,
    io_type: str | None = None,
    *,
    strategy: str = "latency",
    flows: Sequence[str] = DEFAULT_FLOWS,
    own_layers: str = "",
) -> BuildPlan:
    """The projects of `flows` as data, each in a folder of its name. Called for graphs whose every node is supported.

    io_type: 'io_parallel' (whole arrays, one result a clock, lowest latency) or 'io_stream' (one packet of the last
    axis after the other); None for `default_io_type`. strategy: how hls4ml builds sums of products: 'latency', 'resource' or 'distributed_arithmetic'.
    With 'resource', multipliers are shared as far as the target's cycles_per_frame allow. own_layers: 'always' takes hls4ml's own
    layers also where they are known to be wrong, '' is each flow's choice.
    Raises UsageError for another one, BoardError for a part that cannot be written into Tcl, UnsupportedModel for layers that a
    flow cannot have, ToolNotFound without hls4ml or, for distributed arithmetic, without da4ml.
    Facts: top, io_type, strategy, reuse_factors (by node), part, part_is_default, clock_period_ns, flows, csim (by flow: '' or why
    a plain C++ compiler cannot run it); inputs and outputs in the order of the ports, each with node, identifier, shape, signed,
    width, fraction; fewest_bits (by flow: how wide a port is at least); layers (of the first flow), each with node, identifier, kind and shape; untraced: flows whose layers hand
    no results to the bridge.
    """
    from toolchain.backends.hls4ml.project import ProjectSettings, write_project

    io_type = io_type or default_io_type(graph)
    for label, value, allowed in (("io_type", io_type, IO_TYPES), ("strategy", strategy, STRATEGIES)):
        if value not in allowed:
            raise UsageError(f"{label} {value!r} is not known; allowed: {', '.join(allowed)}")
    unknown = [flow for flow in flows if flow not in FLOWS]
    if unknown or not flows:
        raise UsageError(f"flow {', '.join(map(repr, unknown)) or 'none'} is not known; allowed: {', '.join(FLOWS)}")
    if strategy == "distributed_arithmetic":
        DISTRIBUTED_ARITHMETIC.require()
    reuse = reuse_factors(graph, target.cycles_per_frame, io_type) if strategy == "resource" else {}
    # The suffix keeps a graph called 'exp' or 'main' from being a function that already exists.
    top = f"{identifiers([graph.name])[graph.name]}_top"
    period = f"{1000 / target.clock_mhz:.6g}"
    files: list[PlannedFile] = []
    lowered: dict[str, Lowered] = {}
    for name in flows:
        flow = FLOWS[name]
        options = Options(io_type, strategy, reuse, own_layers or flow.own_layers, flow.clones)
        lowered[name] = lower(graph, options)
        _refuse(name, flow, lowered[name], options)
        settings = ProjectSettings(name, top, _part(target, flow)[0], period, io_type)
        files += [PlannedFile(f"{name}/{file.path}", file.content) for file in write_project(lowered[name], settings)]
    files += [PlannedFile(path, (HLS_TEMPLATES / "hls4ml" / path).read_bytes()) for path in CSIM_SOURCES]
    first = lowered[flows[0]]
    part, is_default = _part(target, FLOWS[flows[0]])
    facts: dict[str, Any] = {
        "top": top,
        "io_type": io_type,
        "strategy": strategy,
        "reuse_factors": dict(reuse),
        "part": part,
        "part_is_default": is_default,
        "clock_period_ns": float(period),
        "flows": list(flows),
        "csim": {name: FLOWS[name].csim for name in flows},
        "fewest_bits": {name: 2 if FLOWS[name].own_layers == "never" else 1 for name in flows},
        "untraced": [name for name in flows if FLOWS[name].platform != "ap"],
        "inputs": _ports(graph, first.inputs),
        "outputs": _ports(graph, first.outputs),
        "layers": _layers(first),
    }
    return BuildPlan("hls4ml", top, tuple(files), facts)


def _refuse(name: str, flow: Flow, lowered: Lowered, options: Options) -> None:
    """Raise UnsupportedModel for what the flow's C++ cannot have."""
    if name == "libero" and options.stream:
        raise UnsupportedModel("flow 'libero': hls4ml's Libero backend cannot write streams. Use io_parallel")
    if options.strategy == "distributed_arithmetic" and name not in ("vitis", "vivado"):
        raise UnsupportedModel(
            f"flow {name!r}: hls4ml has distributed arithmetic for Vitis and Vivado only. Use strategy latency"
        )
    if name == "vivado_accelerator" and (len(lowered.inputs), len(lowered.outputs)) != (1, 1):
        raise UnsupportedModel(
            f"flow 'vivado_accelerator' takes networks of one input and one output, this one has {len(lowered.inputs)} and "
            f"{len(lowered.outputs)}. Use flow vivado or vitis"
        )
    constants = [(layer.node, layer.attributes.get("constants_data")) for layer in lowered.layers]
    large = [node for node, values in constants if values is not None and np.abs(values).max() >= 1 << 63]
    if name == "quartus" and large:
        raise UnsupportedModel(
            f"flow 'quartus': hls4ml writes constants as C++ integers of 64 bits there, those of {', '.join(large)} are larger. "
            "Use another flow"
        )
    known = _LIBERO if name == "libero" else None
    foreign = [
        layer
        for layer in lowered.layers
        if not flow.platform and (layer.kind.startswith("Bitwright") or (known and layer.kind not in known))
    ]
    if foreign:
        listed = "\n  ".join(dict.fromkeys(f"{layer.node}: {_kind(layer.kind)}" for layer in foreign))
        raise UnsupportedModel(
            f"flow {name!r}: hls4ml's {flow.backend} backend has no exact layer for these nodes, and the project's own "
            f"layers have no C++ for {flow.vendor_tool}. Use another flow:\n  {listed}"
        )


#: Layers that hls4ml's Libero backend has.
_LIBERO = ("InputLayer", "Dense", "Activation", "Reshape")


def _kind(kind: str) -> str:
    return kind.removeprefix("Bitwright").lower()


def _part(target: Target, flow: Flow) -> tuple[str, bool]:
    device = target.device
    if device is None or device.family not in flow.families:
        return flow.default_part, True
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
        {"node": layer.node, "identifier": layer.identifier, "kind": layer.kind, "shape": list(layer.shape)}
        for layer in lowered.layers
        if layer.kind not in silent and not layer.partial
    ]
