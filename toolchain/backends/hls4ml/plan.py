# SPDX-License-Identifier: Apache-2.0
"""The plan of an HLS build: the complete projects of the vendors' flows, and the facts that later stages need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from toolchain.backends.hls4ml.flow_support import flow_options, require_flow
from toolchain.backends.hls4ml.flows import DEFAULT_FLOWS, FLOWS, Flow
from toolchain.backends.hls4ml.lower import Lowered, lower
from toolchain.backends.hls4ml.reuse import STRATEGIES, reuse_factors
from toolchain.build.tools.hls4ml import DISTRIBUTED_ARITHMETIC
from toolchain.data_folders import HLS_TEMPLATES
from toolchain.errors import BoardError, UsageError
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
    Raises UsageError for another one, BoardError for a part that cannot be written into Tcl, ToolNotFound without hls4ml or, for
    distributed arithmetic, without da4ml; before anything is written, UnsupportedModel for what a flow cannot have, naming the
    flows that can.
    Facts: top, io_type, strategy, part, part_is_default, clock_period_ns, flows; by flow: reuse_factors (by node, as its project
    has them), plain_sums (nodes whose products no strategy of hls4ml builds: depthwise layers and those of this project), csim ('' or
    why a plain C++ compiler cannot run it), fewest_bits (how wide a port is at least); inputs and outputs in the order of the
    ports, each with node, identifier, shape, signed, width, fraction; layers, each with node, identifier, kind and shape;
    untraced: flows whose layers hand no results to the bridge.
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
    lowered: dict[str, Lowered] = {}
    for name in flows:
        options = flow_options(name, io_type, strategy, reuse, own_layers)
        lowered[name] = lower(graph, options)
        require_flow(name, graph, lowered[name], options)
    files: list[PlannedFile] = []
    for name, layers in lowered.items():
        settings = ProjectSettings(name, top, _part(target, FLOWS[name])[0], period, io_type)
        files += [PlannedFile(f"{name}/{file.path}", file.content) for file in write_project(layers, settings)]
    files += [PlannedFile(path, (HLS_TEMPLATES / "hls4ml" / path).read_bytes()) for path in CSIM_SOURCES]
    first = lowered[flows[0]]
    traced = [name for name in flows if FLOWS[name].platform == "ap"]
    part, is_default = _part(target, FLOWS[flows[0]])
    facts: dict[str, Any] = {
        "top": top,
        "io_type": io_type,
        "strategy": strategy,
        "reuse_factors": {name: dict(lowered[name].reuse_factors) for name in flows},
        "plain_sums": {name: list(lowered[name].plain_sums) for name in flows},
        "part": part,
        "part_is_default": is_default,
        "clock_period_ns": float(period),
        "flows": list(flows),
        "csim": {name: FLOWS[name].csim for name in flows},
        "fewest_bits": {name: 2 if FLOWS[name].own_layers == "never" else 1 for name in flows},
        "untraced": [name for name in flows if name not in traced],
        "inputs": _ports(graph, first.inputs),
        "outputs": _ports(graph, first.outputs),
        # Where the flows' layers differ, those of the flows that hand their results out.
        "layers": _layers(lowered[traced[0]] if traced else first),
    }
    return BuildPlan("hls4ml", top, tuple(files), facts)


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
