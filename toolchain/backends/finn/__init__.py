# SPDX-License-Identifier: Apache-2.0
"""FINN's dataflow RTL, stitched into one design without a vendor's tool.

A build has two halves with a process between them. `design` decides, without FINN: thresholds in the place of quantiser
chains, folding, which stages are FINN's and which this project's kernels, and FIFO depths. FINN itself then runs in a worker
(`worker`, started by toolchain.build.tools.finn) on the folder that `write_request` fills. `stitch` joins what it left.

Files of a plan: rtl/*.sv and rtl/*.v (FINN's library and nodes, adapters, this project's kernels, the top module), memory/*
(weights, thresholds), folding.json (PE and SIMD of every layer, as a user may give them), files.f (the sources in reading order). Tools run in the plan's folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.backends.finn.layers import Layer
from toolchain.data_folders import RTL_LIBRARY
from toolchain.errors import BuildFailed, UnsupportedModel
from toolchain.ir import Graph, Node, save_graph
from toolchain.passes.choose_folding import Folding
from toolchain.passes.group_stages import Stage
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.target import Target

#: The part that FINN builds for where the target is no AMD device: its arithmetic is then inferred anyway.
GENERIC_PART = "xc7z020clg400-1"
#: Modules of FINN's library that stand between nodes.
BETWEEN_NODES = ("fifo.sv", "dwc_axi.sv", "vpc.sv")
_FAMILIES = ("xc7", "usplus", "versal", "ecp5")
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Design:
    """What is decided before FINN runs.

    graph: with thresholds. network: parts and streams; its cycles are estimates. layers: FINN's nodes. own: stage -> why one
    of this project's kernels computes it. part: what FINN builds for. asked: the fact `targets`, if folding was asked for.
    """

    graph: Graph
    network: Any
    layers: tuple[Layer, ...]
    own: Mapping[str, str]
    part: str
    clock_period_ns: float
    asked: Mapping[str, Any] = field(default_factory=dict)


def why_unsupported(node: Node, graph: Graph, target: Target) -> str | None:
    """None if FINN's RTL or one of this project's streaming kernels computes `node` exactly, else the reason and what to do."""
    from toolchain.backends.rtl.streaming import why_unsupported as streaming

    family = target.device.family if target.device else "ecp5"
    if family not in _FAMILIES:
        return f"FINN's RTL is built for AMD parts and, without a vendor's cells, for ECP5; found a part of family {family!r}"
    reason = streaming(node, graph, target)
    return f"{reason}. FINN's RTL does not have it either" if reason else None


def finn_part(target: Target) -> str:
    device = target.device
    return device.part if device and device.family in ("xc7", "usplus", "versal") else GENERIC_PART


def design(graph: Graph, target: Target, folding: Folding | None = None) -> Design:
    """Decide all that does not need FINN.

    Raises UsageError for a pace that cannot be reached or a folding that does not fit, UnsupportedModel for a network of which
    FINN would compute nothing.
    """
    from toolchain.backends.finn.instances import FinnLibrary
    from toolchain.backends.finn.layers import layers_of, why_own_kernel
    from toolchain.backends.finn.lower import lower
    from toolchain.backends.rtl.streaming.meet_target import asked
    from toolchain.backends.rtl.streaming.network import lay_out
    from toolchain.passes.choose_folding import Choices, check_folding, choose_folding, default_cycles_per_frame
    from toolchain.passes.folding_model import has_parallel_window
    from toolchain.passes.given_folding import given_foldings
    from toolchain.passes.group_stages import group_stages

    lowered = lower(graph)
    if folding is None:
        choices = Choices(parallel=False, given=given_foldings(lowered, target.folding))
        pace = target.cycles_per_frame
        folding = choose_folding(
            lowered, default_cycles_per_frame(lowered, choices) if pace is None else pace, choices=choices
        )
    folding = check_folding(lowered, folding)
    part = finn_part(target)
    stages = group_stages(lowered)
    own = {stage.name: reason for stage in stages if (reason := why_own_kernel(stage, part))}
    for stage in stages:
        if has_parallel_window(stage, folding.stages[stage.name]):
            own.setdefault(
                stage.name, "several pixels are multiplied at once; FINN's windows are made here pixel by pixel"
            )
    _require_finn(stages, own)
    reserved = [*own_modules(), *(path.stem for path in (_FOLDER / "lib").glob("*.sv")), *_FINN_MODULES]
    network = lay_out(lowered, folding, reserved, FinnLibrary(own))
    if network.output.beats_ahead:
        # FINN's padding begins the next frame by itself, which nothing before the output may show.
        for stage in stages:
            if stage.operation.kind == "pad":
                own.setdefault(stage.name, "FINN's padding would begin the next frame at the network's output")
        _require_finn(stages, own)
        network = lay_out(lowered, folding, reserved, FinnLibrary(own))
    keys = {part_.stage.name: part_.identifier for part_ in network.parts if part_.stage}
    layers = [
        layer
        for stage in stages
        if stage.name not in own
        for layer in layers_of(stage, folding.stages[stage.name], keys[stage.name])
    ]
    return Design(lowered, network, tuple(layers), own, part, round(1e3 / target.clock_mhz, 3), asked(target))


def _require_finn(stages: Sequence[Stage], own: Mapping[str, str]) -> None:
    """Raise UnsupportedModel if every stage is one of this project's kernels: a FINN build of none of FINN's nodes is none."""
    if any(stage.name not in own for stage in stages):
        return
    reasons = [f"{stage.nodes[0]}: {own[stage.name]}" for stage in stages] or ["it computes nothing"]
    raise UnsupportedModel(
        "backend 'finn': no layer of this network would be FINN's; use --backend rtl, whose kernels would compute all of it:\n  "
        + "\n  ".join(reasons)
    )


#: Names of FINN's modules, which a top module may not have.
_FINN_MODULES = (
    "add_multi", "axi2we", "axilite", "dwc_axi", "fifo", "fmpadding", "fmpadding_axi", "memstream", "memstream_axi", "mvu",
    "mvu_pkg", "mvu_vvu_8sx9_dsp58", "mvu_vvu_axi", "replay_buffer", "skid", "swg", "swg_controller",
    "swg_cyclic_buffer_addressable", "swg_reg_buffer", "swg_ram_buffer", "thresholding", "thresholding_axi", "vpc",
)  # fmt: skip


@lru_cache
def own_modules() -> tuple[str, ...]:
    return tuple(path.stem for path in sorted(RTL_LIBRARY.glob("*.sv")))


def write_request(decided: Design, folder: Path, without_corrections: tuple[str, ...] = ()) -> None:
    """Write request.json and tables.npz for FINN's worker."""
    from toolchain.backends.finn.instances import adapter_name

    writer = {stream.identifier: part for part in decided.network.parts for stream in part.outputs}
    by_adapter = {part.instance.module: part for part in decided.network.parts}
    names = {adapter_name(layer): layer.name for layer in decided.layers}
    entries: list[dict[str, Any]] = []
    for layer in decided.layers:
        part = by_adapter[adapter_name(layer)]
        depth, before = 2, writer.get(part.input.identifier)
        while before is not None and (before.instance.is_fifo or before.instance.module == "finn_width_converter"):
            if before.instance.is_fifo:
                depth = int(dict(before.instance.parameters)["DEPTH"])
            before = writer.get(before.input.identifier)
        after = names.get(before.instance.module) if before is not None else None
        shapes = {entry["name"]: entry["output_shape"] for entry in entries}
        if after is not None and shapes[after] != layer.numbers["input_shape"]:
            after = None  # a reshape, which costs nothing, stands between
        entries.append(
            {
                "name": layer.name, "kind": layer.kind, "after": after, "fifo_depth": depth,
                "source": layer.source.finn_name, "result": layer.result.finn_name if layer.result else None,
                "input_shape": layer.numbers["input_shape"], "output_shape": layer.numbers["output_shape"],
                "numbers": layer.numbers,
            }
        )  # fmt: skip
    request = {
        "part": decided.part, "clock_period_ns": decided.clock_period_ns, "layers": entries,
        "without_corrections": list(without_corrections),
        **_whole_request(decided),
    }  # fmt: skip
    (folder / "request.json").write_text(json.dumps(request, indent=1))
    save_graph(decided.graph, folder / "graph.bitwright")
    np.savez(folder / "tables.npz", **{layer.name: layer.table for layer in decided.layers if layer.table is not None})  # type: ignore[arg-type]


def _whole_request(decided: Design) -> dict[str, Any]:
    """What the whole network in FINN's nodes is told: folding, and depths of FIFOs, by t<number of the graph's node>.

    stages: also of the biases that are part of one. depths: t<reader>:<operand> -> of the FIFO before it, and of the one behind
    the fork where its branch begins; 'output' -> of the FIFO at the network's end.
    """
    from toolchain.passes.group_stages import group_stages

    network = decided.network
    numbers = {node.name: f"t{place}" for place, node in enumerate(decided.graph.nodes)}
    writer = {stream.identifier: part for part in network.parts for stream in part.outputs}
    stages: dict[str, dict[str, int]] = {}
    for stage in group_stages(decided.graph):
        folding = network.folding.stages[stage.name]
        stages[numbers[stage.name]] = asdict(folding)
        for node in stage.nodes[1:]:
            stages[numbers[node.name]] = {"simd": folding.pe, "pe": folding.pe}

    def depths_before(stream: Any) -> dict[str, int]:
        found: dict[str, int] = {}
        part = writer.get(stream.identifier)
        while part is not None and part.stage is None and not part.purpose.startswith("for "):
            if part.instance.is_fifo:
                behind = writer.get(part.input.identifier)
                branch = behind is not None and len(behind.outputs) > 1
                found.setdefault("branch" if branch else "before", int(dict(part.instance.parameters)["DEPTH"]))
            part = writer.get(part.input.identifier)
        return found

    depths: dict[str, dict[str, int]] = {}
    for last in network.parts:
        if last.stage is None:
            continue
        # The streams that enter the stage from outside, in the order of its operands.
        entering, place = list(last.inputs), 0
        while place < len(entering):
            before = _inner_writer(writer, entering[place], last.identifier)
            if before is None:
                place += 1
            else:
                entering[place : place + 1] = before.inputs
        for operand, stream in enumerate(entering):
            depths[f"{numbers[last.stage.name]}:{operand}"] = depths_before(stream)
    end = depths_before(network.output)
    return {"stages": stages, "depths": {**depths, "output": {"before": end.get("before", 2)}}}


def _inner_writer(writer: Mapping[str, Any], stream: Any, key: str) -> Any:
    """The part of the same stage that gives a stream, converters aside; None if it comes from outside."""
    part = writer.get(stream.identifier)
    while (
        part is not None
        and part.stage is None
        and part.purpose != f"for {key}"
        and len(part.inputs) == len(part.outputs) == 1
    ):
        part = writer.get(part.input.identifier)
    return part if part is not None and part.stage is None and part.purpose == f"for {key}" else None


def stitch(decided: Design, made: Path, counted: Mapping[str, Any] | None = None) -> BuildPlan:
    """The stitched network. made: the folder in which FINN's worker has run. counted: its cycles from a simulation, which
    take the place of the estimates in the facts and in the top module's header.

    Raises BuildFailed if the worker left something else than was asked for.
    """
    from toolchain import __version__
    from toolchain.backends.finn.instances import adapter_name
    from toolchain.backends.rtl.streaming import modules_below
    from toolchain.backends.rtl.streaming.emit import facts, top_text
    from toolchain.backends.rtl.streaming.schedule import SteadyState

    network = decided.network
    if counted is not None:
        network = replace(
            network,
            latency_cycles=counted["latency_cycles"],
            first_output_latency_cycles=counted["first_output_latency_cycles"],
            steady_state=SteadyState(**counted["steady_state"]),
        )
    nodes = {node["name"]: node for node in _read(made / "nodes.json")["nodes"]}
    missing = [layer.name for layer in decided.layers if layer.name not in nodes]
    if missing:
        raise BuildFailed(f"{made}: FINN's worker left nothing for {', '.join(missing)}; build in a new folder")
    finn_files = dict.fromkeys([*BETWEEN_NODES, *(name for node in nodes.values() for name in node["files"])])
    ordered = sorted(finn_files, key=lambda name: not name.endswith("_pkg.sv"))
    files = [PlannedFile(f"rtl/{name}", (made / "rtl" / name).read_bytes()) for name in ordered]
    library = {path.stem: path.read_text() for path in sorted(RTL_LIBRARY.glob("*.sv"))}
    used = modules_below({part.instance.module for part in network.parts if part.instance.module in library}, library)
    files += [PlannedFile.text(f"rtl/{name}.sv", library[name]) for name in library if name in used]
    own_library = sorted(
        {part.instance.module for part in network.parts} & {p.stem for p in (_FOLDER / "lib").glob("*.sv")}
    )
    files += [PlannedFile.text(f"rtl/{name}.sv", (_FOLDER / "lib" / f"{name}.sv").read_text()) for name in own_library]
    parts = {part.instance.module: part for part in network.parts}
    for layer in decided.layers:
        module = adapter_name(layer)
        files.append(
            PlannedFile.text(f"rtl/{module}.sv", _adapter(layer, nodes[layer.name], parts[module], __version__))
        )
    files.append(PlannedFile.text(f"rtl/{network.top}.sv", top_text(network, decided.graph, __version__)))
    sources = [file.path for file in files]
    files += [PlannedFile(memory.path, memory.content()) for part in network.parts for memory in part.instance.memories]
    files += [
        PlannedFile(f"memory/{name}", (made / "memory" / name).read_bytes())
        for layer in decided.layers
        for name in nodes[layer.name]["memories"]
    ]
    files.append(PlannedFile.text("folding.json", network.folding.text()))
    files.append(PlannedFile.text("files.f", "".join(f"{path}\n" for path in sources)))
    known = {**facts(network, decided.graph), **_finn_facts(decided, nodes), "cycles_counted": counted is not None}
    known |= decided.asked
    return BuildPlan("finn", network.top, tuple(files), known)


def _finn_facts(decided: Design, nodes: Mapping[str, Any]) -> dict[str, Any]:
    """part: FINN's. finn_nodes: each with its kind, folding and FINN's own estimate of its cycles a frame. own_kernels: why.

    inner_streams: beside the stages' results, for the comparison node by node.
    """
    entries = [
        {
            "name": layer.name, "stage": layer.stage, "op_type": nodes[layer.name]["op_type"], "simd": layer.inputs,
            "pe": layer.outputs, "expected_cycles": nodes[layer.name]["expected_cycles"],
        }
        for layer in decided.layers
    ]  # fmt: skip
    return {
        "style": "finn",
        "part": decided.part,
        "finn_nodes": entries,
        "finn_expected_cycles": max((entry["expected_cycles"] for entry in entries), default=0),
        "own_kernels": dict(decided.own),
        "inner_streams": _inner_streams(decided),
        # FINN's own assertions, such as that of the queue which must not overflow.
        "simulation_options": ["--assert"],
        # FINN's sources use some names before they are declared.
        "synthesis_options": ["--allow-use-before-declare"],
    }


def _inner_streams(decided: Design) -> list[dict[str, Any]]:
    """What FINN's matrix units give before a bias of their stage: streams that carry a node of the graph, as `nodes` of the facts."""
    from toolchain.backends.finn.instances import adapter_name

    parts = {part.instance.module: part for part in decided.network.parts}
    found = []
    for layer in decided.layers:
        stream = parts[adapter_name(layer)].output
        stage = next(part.stage for part in decided.network.parts if part.stage and part.stage.name == layer.stage)
        if layer.kind in ("matrix", "depthwise") and stage.result != layer.stage:
            element = stream.element
            found.append(
                {
                    "name": layer.stage, "stream": stream.identifier, "lanes": stream.lanes, "beats": stream.beats,
                    "element_width": element.width, "signed": element.signed,
                }
            )  # fmt: skip
    return found


def _adapter(layer: Layer, node: Mapping[str, Any], part: Any, version: str) -> str:
    from jinja2 import Environment, StrictUndefined

    from toolchain.backends.finn.instances import adapter_name

    for side, lanes in (("input", layer.inputs), ("output", layer.outputs)):
        if node[side]["lanes"] != lanes:
            raise BuildFailed(
                f"{layer.name}: FINN's {side} beat has {node[side]['lanes']} elements, {lanes} were asked for"
            )
    texts = {
        "matrix": "vectors of {MW} elements times a matrix of {MH} rows, SIMD {SIMD}, PE {PE}",
        "depthwise": "windows of {kernel} of each channel times weights of its own, PE {PE}",
        "threshold": "thresholds of {channels} channels, PE {PE}",
        "window": "windows of {kernel} over {size} pixels of {channels} channels, SIMD {SIMD}",
        "pad": "a border {padding} (top, left, bottom, right) around {size} pixels of {channels} channels, SIMD {SIMD}",
    }
    # What is written is SystemVerilog, not HTML: every name in it is an identifier.
    environment = Environment(  # noqa: S701
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string((_FOLDER / "adapter.sv.j2").read_text()).render(
        layer=layer, node={"weights": None, **node}, module=adapter_name(layer), version=version,
        text=texts[layer.kind].format(**layer.numbers), configured=layer.kind in ("threshold", "pad"),
        input_width=part.input.element.width, output_width=part.output.element.width, source_signed=part.input.element.signed,
    )  # fmt: skip


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BuildFailed(
            f"{path}: FINN's worker left no result that can be read ({error}); build in a new folder"
        ) from None


__all__ = ["Design", "design", "stitch", "why_unsupported", "write_request"]
