# SPDX-License-Identifier: Apache-2.0
"""What stands between two stages: width converters, FIFOs and register slices."""

from __future__ import annotations

from math import lcm

from toolchain.backends.rtl.streaming.instance import Instance, number
from toolchain.backends.rtl.streaming.timing import NarrowTiming, QueueTiming, Timing, WidenTiming


def width_converter(element_width: int, input_lanes: int, output_lanes: int) -> Instance:
    """stream_width_converter, for two different numbers of lanes."""
    assert input_lanes != output_lanes
    middle = lcm(input_lanes, output_lanes)
    timing: list[Timing] = []
    if middle != input_lanes:
        timing.append(WidenTiming(middle // input_lanes))
    if middle != output_lanes:
        timing.append(NarrowTiming(middle // output_lanes))
    return Instance(
        module="stream_width_converter",
        uses=("stream_widen", "stream_narrow", "skid_buffer"),
        parameters=(
            ("ELEMENT_WIDTH", number(element_width)),
            ("INPUT_ELEMENTS", number(input_lanes)),
            ("OUTPUT_ELEMENTS", number(output_lanes)),
        ),
        input_lanes=input_lanes,
        output_lanes=output_lanes,
        timing=tuple(timing),
        inner_lanes=(middle,) * (len(timing) - 1),
    )


def fifo(element_width: int, lanes: int, depth: int) -> Instance:
    """stream_fifo of `depth` beats, at least 2."""
    return Instance(
        module="stream_fifo",
        uses=("skid_buffer",),
        parameters=(("DATA_WIDTH", number(lanes * element_width)), ("DEPTH", number(depth))),
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(QueueTiming(depth, 1 if depth == 2 else 2),),
    )


def register_slice(element_width: int, lanes: int) -> Instance:
    """skid_buffer."""
    return Instance(
        module="skid_buffer",
        uses=(),
        parameters=(("DATA_WIDTH", number(lanes * element_width)),),
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(QueueTiming(2, 1),),
    )
