# SPDX-License-Identifier: Apache-2.0
"""A network laid out for a target: rate, latency, budget and device, by estimates before synthesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from toolchain.backends.rtl.streaming.area import ERROR, FAMILIES, Area, bill_of, instance_area, price
from toolchain.backends.rtl.streaming.area.bill import Parameters
from toolchain.backends.rtl.streaming.area.stages import StageAreas, windows_before
from toolchain.backends.rtl.streaming.instance import Instance, number
from toolchain.backends.rtl.streaming.kernels.dense import matrix_timing
from toolchain.backends.rtl.streaming.load_map import place_memories
from toolchain.backends.rtl.streaming.network import Library, Network, draw, lay_out
from toolchain.backends.rtl.streaming.schedule import Deadlock
from toolchain.errors import BoardError, UsageError
from toolchain.ir import Graph, IntegerType
from toolchain.passes.choose_folding import Folding, default_cycles_per_frame
from toolchain.passes.folding_model import (
    Choices,
    StageFolding,
    converter_logic,
    is_matrix,
    logic,
    matrix_shape,
)
from toolchain.passes.given_folding import given_foldings
from toolchain.passes.group_stages import Stage, group_stages
from toolchain.passes.meet_targets import Amounts, Targets, meet_targets
from toolchain.passes.prompt_foldings import delay_cycles
from toolchain.target import Target, device_budget, dsp_blocks

#: Layouts after which a search that is never quite within its targets gives up.
_LAYOUTS = 4


def laid_out_for(graph: Graph, target: Target, modules: Sequence[str], library: Library) -> Network:
    """The network at the folding of least cost that meets the target, or the fastest within its budget.

    Without a rate, a latency or a budget it is that of `default_cycles_per_frame`. The device's own resources are a budget
    too. Raises UsageError where no folding meets the targets on any device, BoardError where only the device stands against it.
    """
    choices = Choices(given=given_foldings(graph, target.folding))
    interval = target.cycles_per_frame
    if interval is None and target.latency_cycles is None and not target.budget:
        interval = default_cycles_per_frame(graph, choices)
    family = _family(target)
    if target.budget and family is None:
        found = f"part {target.device.part!r} of family {target.device.family}" if target.device else "no board or part"
        raise UsageError(
            f"a budget needs a device whose resources are modelled, found {found}; give --board, or a --part of a family in "
            f"{', '.join(FAMILIES)}"
        )
    asked = Targets(interval, target.latency_cycles, dict(target.budget), target.clock_mhz)
    model = _Model(graph, family, target)

    def within(targets: Targets) -> Network:
        return _within(graph, targets, model, choices, target, modules, library)

    device = target.device
    if device is None or family is None or not device.resources:
        return within(asked)
    try:
        return within(_also_within(asked, device.resources, 1.0))
    except UsageError as error:
        refused = error
    # The estimate may be too high: only what is beyond its error is refused.
    with suppress(UsageError):
        return within(_also_within(asked, device.resources, 1 + ERROR))
    whose = f"These are the resources of {device.part}"
    if target.budget and dict(target.budget) == device_budget(device):
        asked, whose = replace(asked, budget={}), f"This is what {device.part} leaves to the core"
    elif target.budget:
        whose = f"Beside the budget, these are the resources of {device.part}"
    # Either raises UsageError for what no device can do; of a rate alone the layout shows nothing more.
    if asked.budget or asked.latency_cycles is not None:
        within(asked)
    else:
        meet_targets(graph, asked, model, choices)
    raise BoardError(f"{refused}. {whose}: use a larger device") from None


def _also_within(asked: Targets, available: Mapping[str, int], share: float) -> Targets:
    """The targets with the device's resources, times `share`, as limits too."""
    limits = {name: share * count for name, count in available.items()}
    return replace(asked, budget={**asked.budget, **{n: min(v, asked.budget.get(n, v)) for n, v in limits.items()}})


def _text(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:,.0f} {name}" for name, amount in amounts.items())


def asked(target: Target) -> dict[str, Any]:
    """The fact `targets`: what was asked for beside the interval; nothing where nothing was."""
    found: dict[str, Any] = {}
    if target.latency_cycles is not None:
        found["latency_cycles"] = target.latency_cycles
    if target.budget:
        found["budget"] = dict(target.budget)
    if target.dsp_from_bits is not None:
        found["dsp_from_bits"] = target.dsp_from_bits
    if target.folding:
        found["folding"] = {layer: given.to_json() for layer, given in target.folding.items()}
    return {"targets": found} if found else {}


def estimate(network: Network, target: Target) -> dict[str, Any] | None:
    """What the network takes of the target's device, by part and together; None where there is no model of its family.

    family: of the device; resources: unit -> count; parts: identifier -> the same. All of kind estimated.
    """
    family = _family(target)
    if family is None:
        return None
    areas = {part.identifier: instance_area(part.instance, family) for part in network.parts}
    if target.loadable_weights:
        port = Parameters({"ADDRESS_WIDTH": place_memories(network, ())[1].address_width}, {}, family)
        areas["axi_lite_load"] = price(bill_of("axi_lite_load", port), family)
    total = sum(areas.values(), Area())
    parts = {name: area.counts() for name, area in areas.items()}
    return {"family": family, "resources": total.counts(), "parts": parts}


def _family(target: Target) -> str | None:
    family = target.device.family if target.device else ""
    return family if family in FAMILIES else None


def _within(
    graph: Graph,
    asked: Targets,
    model: _Model,
    choices: Choices,
    target: Target,
    modules: Sequence[str],
    library: Library,
) -> Network:
    """Fold, lay out and look again: FIFOs and the content of large memories are only known then."""
    targets = asked
    for _ in range(_LAYOUTS):
        network = lay_out(graph, meet_targets(graph, targets, model, choices), modules, library)
        found = estimate(network, target)
        used = found["resources"] if found else {}
        over = {name: used[name] / max(limit, 0.5) for name, limit in asked.budget.items() if used[name] > limit}
        late = 0 if asked.latency_cycles is None else max(0, network.latency_cycles - asked.latency_cycles)
        if not over and not late:
            return network
        budget = {name: limit / max(1.0, over.get(name, 1.0)) for name, limit in targets.budget.items()}
        latency = max(1, targets.latency_cycles - late) if targets.latency_cycles is not None else None
        targets = replace(targets, budget=budget, latency_cycles=latency)
    raise UsageError(_nearest(network, asked, found, over))


def _nearest(network: Network, asked: Targets, found: Mapping[str, Any] | None, over: Mapping[str, float]) -> str:
    """Why the last of the layouts, each of which misses the targets by a little, is refused.

    found: `estimate` of it. over: resource -> what is used of it, in shares of the budget, where that is more than 1.
    """
    stages = {part.identifier: part.stage for part in network.parts if part.stage}
    limits = [_text(asked.budget)] if asked.budget else []
    limits += [f"a latency of {asked.latency_cycles:,} cycles"] if asked.latency_cycles is not None else []
    takes = []
    if found is not None and over:
        short, parts = max(over, key=lambda name: over[name]), found["parts"]
        layer = stages[max(stages, key=lambda name: int(parts[name][short]))]
        takes.append(f"takes {_text(found['resources'])} (estimated), most of the {short} in this layer")
    else:
        layer = max(stages.values(), key=lambda stage: delay_cycles(stage, network.folding.stages[stage.name]))
    if asked.latency_cycles is not None:
        takes.append(f"has a latency of {network.latency_cycles:,} cycles")
    return f"{layer}: no folding was found within {' and '.join(limits)}; the nearest {', and '.join(takes)}. Ask for a little less"


class _Model:
    """What `meet_targets` asks: areas by the family's model, or logic without one; latency by the schedule."""

    def __init__(self, graph: Graph, family: str | None, target: Target) -> None:
        self._graph = graph
        self._areas = StageAreas(family, dsp_blocks(target)) if family else None
        self._library = _TimingOnly()

    def stage(self, stage: Stage, option: StageFolding) -> Amounts:
        if self._areas is None:
            return (float(logic(stage, option)), 0.0, 0.0, 0.0)
        return self._areas.stage(stage, option).amounts

    def converter(self, element: IntegerType, found: int, wanted: int) -> Amounts:
        if self._areas is None:
            return (float(converter_logic(element.width, found, wanted)), 0.0, 0.0, 0.0)
        return self._areas.converter(element, found, wanted).amounts

    def fork(self, element: IntegerType, lanes: int) -> Amounts:
        if self._areas is None:
            return (2.0 * lanes * element.width, 0.0, 0.0, 0.0)
        return self._areas.fork(element, lanes).amounts

    def latency_cycles(self, folding: Folding) -> int:
        plumbing = draw(self._graph, folding, self._library)
        try:
            return plumbing.schedule().latency_cycles()
        except Deadlock:
            # Behind forks a memory has to hold what the other branch is waiting for.
            depths = {}
            for place in plumbing.resizable():
                draft = plumbing.drafts[place]
                depths[place] = draft.instance.least_depth + 4 * (plumbing.stream(draft.inputs[0])[2] + 1)
            return plumbing.with_depths(depths).schedule().latency_cycles()

    def beats(self) -> int:
        return 2 * sum(tensor.size for stage in group_stages(self._graph) for tensor in stage.input_types)


class _TimingOnly(Library):
    """Instances of which only the timing is right: the words of large memories take long to make."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[tuple[str, StageFolding], tuple[Instance, ...]] = {}

    def instances(self, stage: Stage, folding: StageFolding, key: str) -> tuple[Instance, ...]:
        found = self._found.get((stage.name, folding))
        if found is None:
            found = self._matrix(stage, folding) if is_matrix(stage) else super().instances(stage, folding, key)
            self._found[stage.name, folding] = found
        return found

    def _matrix(self, stage: Stage, folding: StageFolding) -> tuple[Instance, ...]:
        windows = windows_before(stage, folding.simd)
        inputs, outputs = matrix_shape(stage)
        beats, groups = inputs // folding.simd, outputs // folding.pe
        matrix = Instance(
            module="matrix_vector_unit",
            parameters=(("SIMD", number(folding.simd)),),
            input_lanes=folding.simd,
            output_lanes=folding.pe,
            timing=(matrix_timing(beats, groups, folding.simd, stage.bias is not None),),
            output_element=stage.output_type.element,
            output_beats=stage.output_type.size // folding.pe,
        )
        return (*windows, matrix)
