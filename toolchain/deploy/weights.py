# SPDX-License-Identifier: Apache-2.0
"""Other weights for hardware that is built: the writes over AXI4-Lite that replace its constants by those of another model.

The hardware has a place for every constant of the model that it was built from (facts['loadable'] of its plan, see
toolchain.backends.rtl.streaming.load_map). Another model fits if it is the same network but for constants: its own plan, with
the widths and the folding of the build, then has the same parts with the same parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from toolchain.backends.rtl.streaming import plan
from toolchain.backends.rtl.streaming.load_map import CHUNK_BITS
from toolchain.backends.rtl.streaming.reserve import Room
from toolchain.errors import UsageError
from toolchain.ir import Graph
from toolchain.passes.append_argmax import append_argmax
from toolchain.passes.choose_folding import Folding, StageFolding
from toolchain.passes.encode_signs import encode_signs
from toolchain.passes.group_stages import group_stages
from toolchain.plan import BuildPlan
from toolchain.target import Target, find_device


@dataclass(frozen=True)
class LoadedWeights:
    """graph: what the hardware computes behind the writes. writes: (byte address, word of 32 bits), to be made in this order.

    identification: what byte address 0 of the hardware has to read as before they are made.
    """

    graph: Graph
    writes: tuple[tuple[int, int], ...]
    identification: int


def weights_for(graph: Graph, facts: Mapping[str, Any]) -> LoadedWeights:
    """The writes that put a model's constants into hardware that was built from another one.

    graph: of the model, as a build makes it from the file; an argmax is put behind it where the hardware has one. facts: of the
    hardware's plan. Raises UsageError for hardware whose weights cannot be loaded, and for a model of which more than
    constants differs: with each parameter, what was found, and what is allowed.
    """
    require_loadable(facts)
    loadable = facts["loadable"]
    if facts["nodes"] and "argmax" in facts["nodes"][-1]["operation"]:
        last = graph.by_name[graph.outputs[0].tensor].operation.kind
        graph = graph if last == "argmax" else append_argmax(graph)
    _require_same_input(graph, facts)
    rooms = [Room(**room) for room in loadable["rooms"]]
    device = find_device(loadable["device"]) if loadable["device"] else None
    products = facts.get("targets", {}).get("dsp_from_bits")
    made = plan(graph, Target(device, loadable_weights=True, dsp_from_bits=products), _folding(graph, facts), rooms)
    _require_same(made.facts["loadable"]["structure"], loadable["structure"])
    fractions = [described["output"]["fraction"] for described in (made.facts, facts)]
    if fractions[0] != fractions[1]:
        raise UsageError(f"outputs of the model have {fractions[0]} fraction bits, those of the build {fractions[1]}")
    if made.facts["loadable"]["identification"] != loadable["identification"]:
        raise UsageError(
            f"the build was made by another release (identification {loadable['identification']}, here "
            f"{made.facts['loadable']['identification']}); build it again"
        )
    return LoadedWeights(graph, tuple(load_writes(made)), int(loadable["identification"], 16))


def require_loadable(facts: Mapping[str, Any]) -> None:
    """Raise UsageError for hardware whose weights cannot be loaded. facts: of its plan."""
    if "loadable" not in facts:
        raise UsageError(
            f"the weights of {facts.get('top', 'this build')} are fixed; build it with --loadable-weights (backend rtl)"
        )


def load_writes(made: BuildPlan) -> list[tuple[int, int]]:
    """(byte address, word of 32 bits) for the contents of all loadable memories of a plan."""
    contents = {file.path: file.content for file in made.files}
    writes = []
    for memory in made.facts["loadable"]["memories"]:
        for number, line in enumerate(contents[memory["file"]].decode().split()):
            word, address = int(line, 16), memory["address"] + 4 * memory["chunks_apart"] * number
            for chunk in range(memory["chunks"]):
                writes.append((address + 4 * chunk, word >> (CHUNK_BITS * chunk) & 0xFFFFFFFF))
    return writes


def _require_same_input(graph: Graph, facts: Mapping[str, Any]) -> None:
    tensor = graph.types[graph.inputs[0].name]
    low, high = (facts["loadable"]["input"][end] for end in ("low", "high"))
    found = (tensor.size, tensor.element.minimum, tensor.element.maximum, tensor.element.fraction)
    built = (facts["input"]["lanes"] * facts["input"]["beats"], low, high, facts["input"]["fraction"])
    if found != built:
        texts = ["{} integers in [{}, {}] with {} fraction bits".format(*numbers) for numbers in (found, built)]
        raise UsageError(f"the model's input is {texts[0]}, the build's {texts[1]}; give its type as for the build")


def _folding(graph: Graph, facts: Mapping[str, Any]) -> Folding:
    """The build's folding, by place: layers of another model may have other names."""
    stages, nodes = group_stages(encode_signs(graph, same_words=False)), facts["nodes"]
    found = [" + ".join(node.operation.kind for node in stage.nodes) for stage in stages]
    built = [node["operation"] for node in nodes]
    for place, (mine, theirs) in enumerate(zip_longest(found, built, fillvalue="nothing")):
        if mine != theirs:
            name = stages[place] if place < len(stages) else "its end"
            raise UsageError(
                f"the model is another network: stage {place + 1} ({name}) is {mine}, the build has {theirs} there "
                f"({len(built)} stages, found {len(found)})"
            )
    folding = {stage.name: StageFolding(node["simd"], node["pe"]) for stage, node in zip(stages, nodes, strict=True)}
    return Folding(facts["cycles_per_frame"], folding)


def _require_same(found: Sequence[Mapping[str, Any]], built: Sequence[Mapping[str, Any]]) -> None:
    """Raise UsageError with every difference between the parts of two networks."""
    differences = []
    nothing: Mapping[str, Any] = {"part": "nothing", "parameters": {}, "tables": []}
    for place, (mine, theirs) in enumerate(zip_longest(found, built, fillvalue=nothing)):
        if mine["part"] != theirs["part"] or any(mine[end] != theirs[end] for end in ("inputs", "outputs")):
            differences.append(f"part {place + 1}: {mine['part']} instead of {theirs['part']}, or connected otherwise")
            break
        for name in {**theirs["parameters"], **mine["parameters"]}:
            values = [part["parameters"].get(name, "absent") for part in (mine, theirs)]
            if values[0] != values[1]:
                differences.append(f"part {place + 1} ({theirs['part']}): {name} is {values[0]}; allowed: {values[1]}")
        if mine["tables"] != theirs["tables"]:
            differences.append(f"part {place + 1} ({theirs['part']}): its table differs, and cannot be loaded")
    if differences:
        raise UsageError(
            "the model differs from the build in more than its constants:\n  "
            + "\n  ".join(differences)
            + "\nBuild it anew, or quantise it as the first one was"
        )
