# SPDX-License-Identifier: Apache-2.0
"""What one flow refuses and another can have, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from toolchain.backends.hls4ml.flows import FLOWS
from toolchain.backends.hls4ml.lower import Lowered, Options, lower
from toolchain.errors import UnsupportedModel
from toolchain.ir import Graph

#: Layers that hls4ml's Libero backend has.
_LIBERO = ("InputLayer", "Dense", "Activation", "Reshape")
#: Layers that hls4ml's oneAPI backend has not, by port: it writes a project in which they are left out, and says nothing.
_NOT_IN_ONEAPI = {
    "io_parallel": ("Cropping1D", "Cropping2D"),
    "io_stream": ("Cropping1D", "Cropping2D", "DepthwiseConv1D", "DepthwiseConv2D"),
}


def flow_options(
    flow: str,
    io_type: str,
    strategy: str = "latency",
    reuse_factors: Mapping[str, int] | None = None,
    own_layers: str = "",
) -> Options:
    """How a graph is lowered for the flow. own_layers: '' for the flow's own choice."""
    chosen = FLOWS[flow]
    return Options(io_type, strategy, reuse_factors or {}, own_layers or chosen.own_layers, chosen.clones)


def flows_that_can(graph: Graph, io_type: str, strategy: str = "latency") -> list[str]:
    """The flows whose C++ can have the graph, whose every node the backend supports."""
    made = ((name, flow_options(name, io_type, strategy)) for name in FLOWS)
    return [name for name, options in made if _why_refused(name, lower(graph, options), options) is None]


def require_flow(name: str, graph: Graph, lowered: Lowered, options: Options) -> None:
    """Raise UnsupportedModel for what the flow's C++ cannot have, naming the flows that can."""
    refused = _why_refused(name, lowered, options)
    if refused is None:
        return
    able = flows_that_can(graph, options.io_type, options.strategy)
    advice = f"Flows that can: {', '.join(able)}" if able else "No flow can have both"
    reason, nodes = refused
    raise UnsupportedModel(f"flow {name!r}: {reason}. {advice}" + "".join(f"\n  {node}" for node in nodes))


def _why_refused(name: str, lowered: Lowered, options: Options) -> tuple[str, list[str]] | None:
    """The reason and the nodes that it is about; None if the flow can have the layers."""
    flow = FLOWS[name]
    if name == "libero" and options.stream:
        return "hls4ml's Libero backend cannot write streams; use io_parallel", []
    if options.strategy == "distributed_arithmetic" and name not in ("vitis", "vivado"):
        return "hls4ml has distributed arithmetic for Vitis and Vivado only; use strategy latency", []
    ports = (len(lowered.inputs), len(lowered.outputs))
    if name == "vivado_accelerator" and ports != (1, 1):
        return f"takes networks of one input and one output, this one has {ports[0]} and {ports[1]}", []
    constants = [(layer.node, layer.attributes.get("constants_data")) for layer in lowered.layers]
    large = [node for node, values in constants if values is not None and np.abs(values).max() >= 1 << 63]
    if name == "quartus" and large:
        return "hls4ml writes constants as C++ integers of 64 bits there, those of these nodes are larger", large
    foreign = [layer for layer in lowered.layers if not flow.platform and not _has(name, layer.kind, options.io_type)]
    if not foreign:
        return None
    return (
        f"hls4ml's {flow.backend} backend has no exact layer for these nodes, and the project's own layers have no C++ for "
        f"{flow.vendor_tool}",
        list(dict.fromkeys(f"{layer.node}: {layer.kind.removeprefix('Bitwright').lower()}" for layer in foreign)),
    )


def _has(flow: str, kind: str, io_type: str) -> bool:
    """Whether a flow that takes no layers of this project has this layer."""
    if flow == "libero":
        return kind in _LIBERO
    return not kind.startswith("Bitwright") and kind not in _NOT_IN_ONEAPI[io_type]
