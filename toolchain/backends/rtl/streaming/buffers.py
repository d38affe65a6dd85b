# SPDX-License-Identifier: Apache-2.0
"""What stands between two stages: width converters, FIFOs, forks and register slices."""

from __future__ import annotations

from functools import partial
from math import lcm

from toolchain.backends.rtl.streaming.branch_timing import fork_timing
from toolchain.backends.rtl.streaming.instance import Instance, number
from toolchain.backends.rtl.streaming.timing import NarrowTiming, Timing, queue_timing, widen_timing
from toolchain.ir import IntegerType


def width_converter(element: IntegerType, input_lanes: int, output_lanes: int, frame_elements: int) -> Instance:
    """stream_width_converter, for two different numbers of lanes."""
    assert input_lanes != output_lanes
    middle = lcm(input_lanes, output_lanes)
    timing: list[Timing] = []
    if middle != input_lanes:
        timing.append(widen_timing(middle // input_lanes))
    if middle != output_lanes:
        timing.append(NarrowTiming(middle // output_lanes))
    return Instance(
        module="stream_width_converter",
        parameters=(
            ("ELEMENT_WIDTH", number(element.width)),
            ("INPUT_ELEMENTS", number(input_lanes)),
            ("OUTPUT_ELEMENTS", number(output_lanes)),
        ),
        input_lanes=input_lanes,
        output_lanes=output_lanes,
        timing=tuple(timing),
        output_element=element,
        output_beats=frame_elements // output_lanes,
        inner_lanes=(middle,) * (len(timing) - 1),
    )


def fifo(element: IntegerType, lanes: int, beats: int, depth: int) -> Instance:
    """stream_fifo of `depth` beats, at least 2, in a stream of `beats` beats a frame."""
    return Instance(
        module="stream_fifo",
        parameters=(("DATA_WIDTH", number(lanes * element.width)), ("DEPTH", number(depth))),
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(queue_timing(depth, 1 if depth == 2 else 2),),
        output_element=element,
        output_beats=beats,
        is_fifo=True,
        resize=partial(fifo, element, lanes, beats),
    )


def fork(element: IntegerType, lanes: int, beats: int) -> Instance:
    """stream_fork: the same beats on two outputs."""
    return Instance(
        module="stream_fork",
        parameters=(("DATA_WIDTH", number(lanes * element.width)),),
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(fork_timing(),),
        output_element=element,
        output_beats=beats,
        output_ports=("m_axis_a", "m_axis_b"),
    )


def register_slice(element: IntegerType, lanes: int, beats: int) -> Instance:
    """skid_buffer."""
    return Instance(
        module="skid_buffer",
        parameters=(("DATA_WIDTH", number(lanes * element.width)),),
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(queue_timing(2, 1),),
        output_element=element,
        output_beats=beats,
    )
