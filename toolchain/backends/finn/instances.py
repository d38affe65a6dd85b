# SPDX-License-Identifier: Apache-2.0
"""The parts of a stitched network: FINN's nodes, FIFOs and width converters as instances, beside this project's kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import lcm

from toolchain.backends.finn.layers import Layer, layers_of
from toolchain.backends.finn.timing import converter_timing, fifo_timing, layer_timing
from toolchain.backends.rtl.streaming.instance import Instance, number
from toolchain.backends.rtl.streaming.kernels import add_bias
from toolchain.backends.rtl.streaming.network import Library
from toolchain.backends.rtl.streaming.timing import StepTiming
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

    def why_fifo(self, stage: Stage, folding: StageFolding) -> str:
        if stage.name in self.own:
            return super().why_fifo(stage, folding)
        return "lets the stages before go on during the windows" if slides(stage) else "stands before each FINN node"
