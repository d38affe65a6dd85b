# SPDX-License-Identifier: Apache-2.0
"""The text of a network's top module, and the facts about it that later stages need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.backends.rtl.streaming.load_map import LoadMap, axi_lite_ports
from toolchain.backends.rtl.streaming.network import Network, Part, Stream
from toolchain.ir import Graph, IntegerType
from toolchain.passes.choose_folding import multipliers

_TEMPLATE = Path(__file__).parent / "top.sv.j2"
_LONGEST_COMMENT = 60


def comment_text(name: str) -> str:
    """A name that nobody has checked, for a line comment: printable ASCII in quotes, no comment marks, not too long."""
    text = (
        name.encode("unicode_escape")
        .decode()
        .replace("*/", "*?")
        .replace("/*", "?*")
        .replace("`", "?")
        .replace("'", "?")
    )
    return f"'{text if len(text) <= _LONGEST_COMMENT else text[: _LONGEST_COMMENT - 3] + '...'}'"


def padded(width: int) -> int:
    """`width` rounded up to whole bytes, as AXI-Stream wants it."""
    return -(-width // 8) * 8


def interval_cycles(network: Network) -> int:
    """Cycles a frame in steady state; rounded up where several frames repeat together in an odd number of cycles."""
    return -(-network.steady_state.cycles // network.steady_state.frames)


@dataclass(frozen=True)
class _PartText:
    """What the template prints of a part. ports: (prefix of the module's port, stream, text of its data)."""

    identifier: str
    instance: Instance
    outputs: tuple[Stream, ...]
    ports: tuple[tuple[str, Stream, str], ...]
    comment: str


def _comment(part: Part, graph: Graph) -> str:
    if part.stage is None:
        return part.purpose
    stage = part.stage
    kinds = " + ".join(node.operation.kind for node in stage.nodes)
    source = f" from layer {comment_text(stage.node.source)}" if stage.node.source else ""
    return f"{comment_text(stage.name)} ({kinds}){source}: {stage.input_type} -> {graph.types[stage.result]}"


def _data_text(stream: Stream, network: Network) -> str:
    """The elements of a stream: of the network's input, whose port is padded, the low bits."""
    name = f"{stream.identifier}_tdata"
    return (
        name if stream is not network.input or stream.width == padded(stream.width) else f"{name}[{stream.width - 1}:0]"
    )


def top_text(network: Network, graph: Graph, version: str, load_map: LoadMap | None = None) -> str:
    """The SystemVerilog of the top module: the same network always gives the same text.

    load_map: of a network whose memories can be loaded; it has an AXI4-Lite port for that.
    """
    from jinja2 import Environment, StrictUndefined

    parts = []
    for part in network.parts:
        instance = part.instance
        ports = [
            *zip(instance.input_ports, part.inputs, strict=True),
            *zip(instance.output_ports, part.outputs, strict=True),
        ]
        texts = tuple((port, stream, _data_text(stream, network)) for port, stream in ports)
        parts.append(_PartText(part.identifier, instance, part.outputs, texts, _comment(part, graph)))
    output, padding = network.output, padded(network.output.width) - network.output.width
    data = f"{output.identifier}_tdata"
    ranges = [f"[{padded(stream.width) - 1}:0]" for stream in (network.input, output)]
    load_ports = axi_lite_ports(load_map.address_width) if load_map else []
    ranges += [f"[{width - 1}:0]" for _, width, _ in load_ports]
    # What is written is SystemVerilog, not HTML: names are escaped by `comment_text` and `identifiers`.
    environment = Environment(  # noqa: S701
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(_TEMPLATE.read_text()).render(
        top=network.top,
        graph_name=comment_text(graph.name),
        digest=graph.digest[:16],
        version=version,
        network=network,
        steady=network.steady_state,
        interval=interval_cycles(network),
        stages=[part for part in network.parts if part.stage],
        parts=parts,
        input=network.input,
        output=output,
        input_padded=padded(network.input.width),
        output_padded=padded(output.width),
        output_data=f"{{{padding}'b0, {data}}}" if padding else data,
        counter_width=max(1, (output.beats - 1).bit_length()),
        range_width=max(len(text) for text in ranges) + 1,
        load_map=load_map,
        load_ports=load_ports,
    )


def facts(network: Network, graph: Graph, model: Graph | None = None) -> dict[str, Any]:
    """What later stages need to know about the network, as JSON-able values.

    model: the graph whose integers the network computes, where `graph` is another form of it (passes/encode_signs.py).
    input, output: lanes (elements a beat), element_width, signed, fraction, beats (a frame), data_width (of tdata, whole
    bytes; elements without gaps from the low end, the rest is ignored on the input and 0 on the output), node (of the
    graph). latency_cycles: from the cycle that accepts the first input beat of a frame to the one that gives its last
    output beat, the network being empty and nothing stalling; first_output_latency_cycles to its first output beat.
    initiation_interval_cycles: cycles a frame in steady state, rounded up where `steady_state` (that many cycles for that
    many frames, from a frame on) gives a fraction. nodes: one entry a stage; `name` is the graph's node whose result
    the stream carries, `nodes` all that it computes; where it carries other integers than the graph has there, the graph's are
    `offset` + `scale` * those. parts: every instance with its streams, in order; all output streams of
    one are alike. beats_ahead: beats on the first of them that begin a frame before its first input beat is there.
    """

    def port(stream: Stream, node: str) -> dict[str, Any]:
        return {**_stream_facts(stream), "node": node, "data_width": padded(stream.width)}

    model = model or graph
    stages = [part for part in network.parts if part.stage]
    return {
        "style": "streaming",
        "top": network.top,
        "clock": "clk",
        "reset": "rst",
        "cycles_per_frame": network.folding.cycles_per_frame,
        "input": port(network.input, model.inputs[0].name),
        "output": {**port(network.output, model.outputs[0].tensor), "padding": "zero"},
        "latency_cycles": network.latency_cycles,
        "first_output_latency_cycles": network.first_output_latency_cycles,
        "initiation_interval_cycles": interval_cycles(network),
        "steady_state": {
            "frames": network.steady_state.frames,
            "cycles": network.steady_state.cycles,
            "from_frame": network.steady_state.from_frame,
        },
        "multipliers": sum(
            multipliers(part.stage, network.folding.stages[part.stage.name]) for part in stages if part.stage
        ),
        "nodes": [_node_facts(part, network, graph, model) for part in stages],
        "parts": [
            {
                "identifier": part.identifier,
                "module": part.instance.module,
                "purpose": part.purpose,
                "inputs": [stream.identifier for stream in part.inputs],
                "outputs": [stream.identifier for stream in part.outputs],
                **_stream_facts(part.output),
                "beats_ahead": part.output.beats_ahead,
            }
            for part in network.parts
        ],
    }


def _stream_facts(stream: Stream) -> dict[str, Any]:
    return {
        "lanes": stream.lanes,
        "beats": stream.beats,
        "element_width": stream.element.width,
        "signed": stream.element.signed,
        "fraction": stream.element.fraction,
    }


def _coding(carried: IntegerType, meant: IntegerType) -> dict[str, int]:
    """scale and offset of a bit that stands for one of two values (passes/encode_signs.py); nothing for other integers."""
    if carried.fraction == meant.fraction:
        return {}
    scale = 1 << (meant.fraction - carried.fraction)
    return {"scale": scale, "offset": meant.minimum - scale * carried.minimum}


def _node_facts(part: Part, network: Network, graph: Graph, model: Graph) -> dict[str, Any]:
    stage = part.stage
    assert stage is not None
    folding = network.folding.stages[stage.name]
    # A bias that the model does not have makes the layer's own result again.
    nodes = [node for node in stage.nodes if node.name in model.by_name]
    name = stage.result if stage.result in model.by_name else nodes[-1].name
    return {
        "name": name,
        "nodes": [node.name for node in nodes],
        "operation": " + ".join(node.operation.kind for node in stage.nodes),
        "source": stage.node.source,
        "identifier": part.identifier,
        "module": part.instance.module,
        "simd": folding.simd,
        "pe": folding.pe,
        "multipliers": multipliers(stage, folding),
        "stream": part.output.identifier,
        **_stream_facts(part.output),
        **_coding(graph.types[stage.result].element, model.types[name].element),
    }
