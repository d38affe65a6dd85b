# SPDX-License-Identifier: Apache-2.0
"""The parts of a stitched network: FINN's nodes, FIFOs and width converters as instances, beside this project's kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import lcm

from toolchain.backends.finn.layers import Layer, layers_of
from toolchain.backends.finn.timing import (
    cautious_converter_timing,
    cautious_timing,
    converter_timing,
    fifo_timing,
    layer_timing,
)
from toolchain.backends.rtl.streaming.instance import Instance, number
from toolchain.backends.rtl.streaming.kernels import add_bias
from toolchain.backends.rtl.streaming.network import Library
from toolchain.backends.rtl.streaming.plumbing import Plumbing
from toolchain.backends.rtl.streaming.schedule import Deadlock
from toolchain.backends.rtl.streaming.timing import StepTiming
from toolchain.errors import UnsupportedModel
from toolchain.ir import IntegerType
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.folding_model import slides
from toolchain.passes.group_stages import Stage

#: The modules of `lib/` that stand around FINN's.
FIFO_MODULE, CONVERTER_MODULE = "finn_fifo", "finn_width_converter"


def adapter_name(layer: Layer) -> str:
    """The module around a node that gives it this project's ports."""
    return f"finn_{layer.name}"


def fifo(element: IntegerType, lanes: int, beats: int, depth: int) -> Instance:
    """FINN's FIFO, which holds five beats at least."""
    depth = max(2, depth)
    return Instance(
        module=FIFO_MODULE,
        parameters=(("DATA_WIDTH", number(lanes * element.width)), ("DEPTH", number(depth))),
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(fifo_timing(depth),),
        output_element=element,
        output_beats=beats,
        is_fifo=True,
        resize=partial(fifo, element, lanes, beats),
        least_depth=2,
    )


def width_converter(element: IntegerType, input_lanes: int, output_lanes: int, frame_elements: int) -> Instance:
    """FINN's data width converter."""
    timing = converter_timing(input_lanes, output_lanes)
    return Instance(
        module=CONVERTER_MODULE,
        parameters=(
            ("INPUT_WIDTH", number(element.width * input_lanes)),
            ("OUTPUT_WIDTH", number(element.width * output_lanes)),
        ),
        input_lanes=input_lanes,
        output_lanes=output_lanes,
        timing=timing,
        output_element=element,
        output_beats=frame_elements // output_lanes,
        cautious_timing=cautious_converter_timing(input_lanes, output_lanes),
        inner_lanes=(lcm(input_lanes, output_lanes),) * (len(timing) - 1),
    )


class FinnLibrary(Library):
    """own: stages that this project's kernels compute, with the reason; all others are FINN's."""

    def __init__(self, own: Mapping[str, str]) -> None:
        super().__init__()
        self.own = own

    def instances(self, stage: Stage, folding: StageFolding, key: str) -> tuple[Instance, ...]:
        if stage.name in self.own:
            return super().instances(stage, folding, key)
        layers = layers_of(stage, folding, key)
        sums = stage.operation.infer(*stage.input_types)
        parts = []
        for layer in layers:
            element = stage.input_type.element if layer.kind == "window" else sums.element
            timing, inner = layer_timing(layer)
            beats = sums.size // layer.outputs
            if layer.kind == "window":
                unit = layers[-1].numbers
                beats = int(unit["vectors"]) * int(unit["MW"]) // layer.outputs
            parts.append(
                Instance(
                    module=adapter_name(layer), parameters=(), input_lanes=layer.inputs, output_lanes=layer.outputs,
                    timing=timing, output_element=element, output_beats=beats, inner_beats=inner, label=layer.kind,
                    cautious_timing=cautious_timing(layer),
                )
            )  # fmt: skip
        if stage.bias is None:
            return tuple(parts)
        biased = Stage(
            stage.nodes[1:], (stage.name,), (replace(stage.output_type, element=sums.element),), stage.output_type
        )
        parts[-1] = replace(parts[-1], label="sums")
        return (*parts, *add_bias.instances(biased, StageFolding(folding.pe, folding.pe), key))

    fifo_at_ends = True

    def fifo(self, element: IntegerType, lanes: int, beats: int, depth: int) -> Instance:
        return fifo(element, lanes, beats, depth)

    def width_converter(
        self, element: IntegerType, input_lanes: int, output_lanes: int, frame_elements: int
    ) -> Instance:
        return width_converter(element, input_lanes, output_lanes, frame_elements)

    def cycles(self, stage: Stage, folding: StageFolding) -> int:
        steps = super().cycles(stage, folding)
        if stage.name in self.own or not slides(stage):
            return steps
        # FINN's window takes the next frame in only when it has given the last beat of this one.
        window = layer_timing(layers_of(stage, folding, "window")[0])[0][0]
        return max(steps, len(window.consumes)) if isinstance(window, StepTiming) else steps

    def settle(self, plumbing: Plumbing) -> Plumbing:
        """FIFOs behind forks and before joins deep enough that no beat ever waits for one that waits for it.

        Whether a network of kernels deadlocks does not depend on when its source and its sink stall, only on what its parts can
        hold; so a schedule with parts that hold no more than FINN's nodes do proves it.
        """
        plumbing = plumbing.with_depths(_with_slack(plumbing))
        branching = [place for place in plumbing.resizable() if _beside_branch(plumbing, place)]
        while _deadlocks(plumbing):
            depths = {place: int(dict(plumbing.drafts[place].instance.parameters)["DEPTH"]) for place in branching}
            if not branching or min(depths.values()) > 4 * max(plumbing.stream((place, 0))[2] for place in branching):
                raise UnsupportedModel(
                    "FINN's nodes cannot hold what the branches of this network need; use --backend rtl"
                )
            plumbing = plumbing.with_depths({place: max(8, 2 * depth) for place, depth in depths.items()})
        return plumbing

    def why_fifo(self, stage: Stage, folding: StageFolding) -> str:
        if stage.name in self.own:
            return super().why_fifo(stage, folding)
        return "lets the stages before go on during the windows" if slides(stage) else "stands before each FINN node"


#: Frames that have to pass for a network to count as one that does not deadlock: more than its parts hold together.
_PROOF_FRAMES = 6


def _with_slack(plumbing: Plumbing) -> dict[int, int]:
    """Depths a quarter larger, and four: what the approximate schedule misses, one stall of a matrix unit makes many of."""
    found = {}
    for place in plumbing.resizable():
        if plumbing.drafts[place].instance.is_fifo:
            depth = int(dict(plumbing.drafts[place].instance.parameters)["DEPTH"])
            found[place] = depth if depth <= 2 else depth + depth // 4 + 4
    return found


def _beside_branch(plumbing: Plumbing, place: int) -> bool:
    """Whether a FIFO stands behind a fork or before a kernel of several inputs."""
    draft = plumbing.drafts[place]
    if not draft.instance.is_fifo:
        return False
    writer = draft.inputs[0][0]
    if writer >= 0 and len(plumbing.drafts[writer].instance.output_ports) > 1:
        return True
    readers = [other for other in plumbing.drafts if (place, 0) in other.inputs]
    return any(len(reader.inputs) > 1 for reader in readers)


def _deadlocks(plumbing: Plumbing) -> bool:
    drafts = [
        replace(draft, instance=replace(draft.instance, timing=draft.instance.cautious_timing or draft.instance.timing))
        for draft in plumbing.drafts
    ]
    try:
        replace(plumbing, drafts=drafts).schedule().extend(_PROOF_FRAMES)
    except Deadlock:
        return True
    return False
