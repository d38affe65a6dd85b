# SPDX-License-Identifier: Apache-2.0
"""The project's own RTL, streaming style: one folded kernel a layer, in portable SystemVerilog for any vendor.

Files of a plan: rtl/<module>.sv (the modules of the library that are used, then the top module), memory/*.hex (weights,
biases, thresholds), <top>.core (for FuseSoC), <top>.xml (IP-XACT), folding.json (PE and SIMD of every layer, as a user may give
them), files.f (the sources in reading order, for `verilator -f` and other tools). Tools run in the plan's folder, because the paths of memory files are relative to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolchain.data_folders import RTL_LIBRARY
from toolchain.errors import UnsupportedModel
from toolchain.ir import Graph, Input, Node, Reshape
from toolchain.passes.choose_folding import Folding, check_folding
from toolchain.passes.encode_signs import encode_signs
from toolchain.passes.group_stages import Stage, group_stages, why_not_streamed
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.target import Target, dsp_blocks

if TYPE_CHECKING:
    from toolchain.backends.rtl.streaming.reserve import Room


def why_unsupported(node: Node, graph: Graph, target: Target) -> str | None:
    """None if this backend computes `node` exactly, else the reason and what to do."""
    from toolchain.backends.rtl.streaming.kernels import kernels

    kernel = next((kernels()[base] for base in type(node.operation).__mro__ if base in kernels()), None)
    computes = not isinstance(node.operation, Input | Reshape)
    if computes and kernel is None:
        supported = sorted([*(operation.kind for operation in kernels()), Input.kind, Reshape.kind])
        return f"there is no streaming kernel for operation {node.operation.kind!r}; there are: {', '.join(supported)}"
    reason = why_not_streamed(node, graph)
    if reason or kernel is None:
        return reason
    try:
        stages = group_stages(graph)
    except UnsupportedModel:
        return None  # another node is the reason, and says so itself
    stage: Stage | None = next((stage for stage in stages if stage.node == node), None)
    return kernel.why_unsupported(stage) if stage else None


def plan(
    graph: Graph, target: Target, folding: Folding | None = None, rooms: Sequence[Room] | None = None
) -> BuildPlan:
    """All files of the network, and its facts (see `emit.facts`, and `meet_target.estimate` for the fact `estimated`).

    folding: chosen for the target's cycles_per_frame (default: `default_cycles_per_frame`), latency, budget and folding unless
    it is given here. rooms: of a network with loadable weights, what its constants may be; without them as `reserve_constants` finds them.
    Raises UsageError for a folding that does not fit the network, or a target that no folding meets; BoardError for a
    network that is too large for the device.
    """
    from toolchain import __version__
    from toolchain.backends.rtl.streaming.emit import comment_text, facts, top_text
    from toolchain.backends.rtl.streaming.load_map import LoadMap, load_facts, place_memories
    from toolchain.backends.rtl.streaming.meet_target import asked, estimate, laid_out_for
    from toolchain.backends.rtl.streaming.network import Library, lay_out
    from toolchain.backends.rtl.streaming.packaging import core_file, ipxact_file
    from toolchain.backends.rtl.streaming.reserve import reserve_constants

    model, graph = graph, encode_signs(graph, same_words=not target.loadable_weights)
    reserved: Sequence[Room] = ()
    if target.loadable_weights:
        graph, reserved = reserve_constants(graph, rooms)
        refused = [f"{node}: {reason}" for node in graph if (reason := why_unsupported(node, graph, target))]
        if refused:
            raise UnsupportedModel("with room for any weights of their width:\n  " + "\n  ".join(refused))
    library = {path.stem: path.read_text() for path in sorted(RTL_LIBRARY.glob("*.sv"))}
    instances = Library(dsp_blocks(target))
    if folding is None:
        network = laid_out_for(graph, target, taken_names(library), instances)
    else:
        network = lay_out(graph, check_folding(graph, folding), taken_names(library), instances)
    estimated = estimate(network, target)
    load_map: LoadMap | None = None
    if target.loadable_weights:
        network, load_map = place_memories(network, reserved)
    modules = {part.instance.module for part in network.parts}
    used = modules_below(modules | ({"axi_lite_load"} if load_map else set()), library)
    files = [PlannedFile.text(f"rtl/{name}.sv", library[name]) for name in library if name in used]
    files.append(PlannedFile.text(f"rtl/{network.top}.sv", top_text(network, graph, __version__, load_map)))
    sources = [file.path for file in files]
    files += [PlannedFile(memory.path, memory.content()) for part in network.parts for memory in part.instance.memories]
    memories = [file.path for file in files if file.path not in sources]
    description = f"Network {comment_text(graph.name)}: {len(network.folding.stages)} stages, AXI4-Stream in and out"
    files.append(PlannedFile.text(f"{network.top}.core", core_file(network, sources, memories, description)))
    component = ipxact_file(network, sources, memories, description, load_map)
    files.append(PlannedFile.text(f"{network.top}.xml", component))
    files.append(PlannedFile.text("folding.json", network.folding.text()))
    files.append(PlannedFile.text("files.f", "".join(f"{path}\n" for path in sources)))
    found = {**facts(network, graph, model), **asked(target), **({"estimated": estimated} if estimated else {})}
    if load_map:
        found["loadable"] = load_facts(load_map, target.device.part if target.device else "")
    return BuildPlan("rtl-streaming", network.top, tuple(files), found)


def taken_names(library: Mapping[str, str]) -> list[str]:
    """Names that the top module must not have: the library's modules, and what their functions' arguments hide (Verilator -Wall)."""
    code = (re.sub(r"//.*", "", text) for text in library.values())
    functions = (body for text in code for body in re.findall(r"\bfunction\b.*?\bendfunction\b", text, re.DOTALL))
    return [*library, *sorted({name for body in functions for name in re.findall(r"[A-Za-z_]\w*", body)})]


def modules_below(modules: set[str], library: Mapping[str, str]) -> set[str]:
    """The modules and all that they instance, from the library's texts."""
    reached: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            code = re.sub(r"//.*", "", library[module])
            waiting += [name for name in re.findall(r"\b([A-Za-z_]\w*)\s*#\s*\(", code) if name in library]
    return reached
