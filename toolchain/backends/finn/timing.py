# SPDX-License-Identifier: Apache-2.0
"""When FINN's nodes take and give beats, closely enough to size FIFOs; the cycles of a network are counted in simulation.

The conventions are those of `toolchain.backends.rtl.streaming.timing`. Two things are simpler here than in FINN's RTL: a matrix
unit that is held up locks its input until its output queue is empty, and a window's buffer is read and written in a fixed
order of steps, as both happen when nothing stalls. What a node holds when it is stalled is what `cautious_timing` says, or more.
"""

from __future__ import annotations

from math import prod

import numpy as np

from toolchain.backends.finn.layers import Layer, buffer_beats
from toolchain.backends.rtl.streaming.timing import (
    BufferTiming,
    NarrowTiming,
    Queue,
    StepTiming,
    Timing,
    pattern_timing,
    queue_timing,
    widen_timing,
)

#: Beats that FINN's smallest FIFO holds, whatever depth it is asked for.
LEAST_FIFO_BEATS = 5


def layer_timing(layer: Layer) -> tuple[tuple[Timing, ...], tuple[int, ...]]:
    """The rules of a node's parts in order, and the beats a vector (or frame) between them as (inner beats a frame)."""
    if layer.kind in ("matrix", "depthwise"):
        return _matrix_timing(layer)
    if layer.kind == "threshold":
        stages = int(layer.table.shape[1]).bit_length() if layer.table is not None else 1
        # A stage is two registers deep; then the queue and the output register.
        return (queue_timing(2 * stages + 3, 2 * stages + 2),), ()
    if layer.kind == "window":
        return (_window_timing(layer),), ()
    return (_pad_timing(layer),), ()


def fifo_timing(depth: int) -> StepTiming:
    return queue_timing(max(LEAST_FIFO_BEATS, depth), 2)


def converter_timing(input_lanes: int, output_lanes: int) -> tuple[Timing, ...]:
    """FINN's width converter, whose buffer holds a beat of either side."""
    common = np.gcd(input_lanes, output_lanes)
    narrow, widen = int(input_lanes // common), int(output_lanes // common)
    parts: list[Timing] = []
    if widen > 1:
        parts.append(widen_timing(widen))
    if narrow > 1:
        parts.append(NarrowTiming(narrow))
    return tuple(parts)


def cautious_timing(layer: Layer) -> tuple[Timing, ...]:
    """Rules under which a node holds no more than it really does, for the proof that a network does not deadlock.

    A matrix unit that is held up starts no further result when two are waiting; a border has one beat waiting.
    """
    timing, _ = layer_timing(layer)
    last = timing[-1]
    assert isinstance(last, StepTiming)
    if layer.kind in ("matrix", "depthwise"):
        starts = np.roll(last.produces, 1)
        latency = len(starts) - 1 + last.outputs[0].latency_cycles
        return (*timing[:-1], StepTiming(last.consumes, starts, (Queue(2, latency),)))
    if layer.kind == "pad":
        return (StepTiming(last.consumes, last.produces, (Queue(1, 1),)),)
    return timing


def cautious_converter_timing(input_lanes: int, output_lanes: int) -> tuple[Timing, ...]:
    """The width converter with room for one beat of the wider side."""

    def cautious(part: Timing) -> Timing:
        if not isinstance(part, NarrowTiming):
            return part
        takes = np.zeros(part.factor, np.int32)
        takes[0] = 1
        return pattern_timing(takes, np.ones(part.factor, np.int32), Queue(1, 1))

    return tuple(cautious(part) for part in converter_timing(input_lanes, output_lanes))


def _matrix_timing(layer: Layer) -> tuple[tuple[Timing, ...], tuple[int, ...]]:
    numbers = layer.numbers
    simd = int(numbers["SIMD"])
    beats, groups = int(numbers["MW"]) // simd, int(numbers["MH"]) // layer.outputs
    if layer.kind == "depthwise":
        # Each channel has a window of its own, which nothing has to keep.
        beats, groups = prod(numbers["kernel"]), 1
    tree = (simd - 1).bit_length() + (simd == 1)
    depth = 4 + tree
    produces = np.zeros(beats, np.int32)
    produces[-1] = 1
    core = StepTiming(np.ones(beats, np.int32), produces, (Queue(depth + 3, depth + 2),))
    if groups == 1:
        return (core,), ()
    # The vector is kept while every group of rows reads it; its beats are let go one by one as the last group does.
    sources = np.tile(np.arange(beats), groups)
    keeps = np.concatenate([np.zeros(beats * (groups - 1), np.int64), np.arange(beats)])
    room = 1 << max(1, (beats - 1).bit_length())
    replay = BufferTiming(sources, keeps, beats, room, Queue(2, 1))
    return (replay, core), (int(numbers["vectors"]) * beats * groups,)


def _window_timing(layer: Layer) -> StepTiming:
    """The steps of the window's controller where nothing stalls: each takes a beat, gives one, or does both."""
    numbers = layer.numbers
    fold = int(numbers["channels"]) // layer.inputs
    (height, width), (k_h, k_w) = numbers["size"], numbers["kernel"]
    (s_h, s_w), (d_h, d_w) = numbers["stride"], numbers["dilation"]
    rows = (height - (k_h - 1) * d_h - 1) // s_h + 1
    columns = (width - (k_w - 1) * d_w - 1) // s_w + 1
    y, x, dy, dx, c = np.meshgrid(
        np.arange(rows), np.arange(columns), np.arange(k_h), np.arange(k_w), np.arange(fold), indexing="ij"
    )
    wanted = ((y * s_h + dy * d_h) * width + x * s_w + dx * d_w) * fold + c
    first = ((y * s_h) * width + x * s_w) * fold + 0 * (dy + dx + c)
    # The first beat that the window after this one needs: what lies before it may be overwritten.
    per_window = k_h * k_w * fold
    if numbers["depthwise"]:
        # One group of channels after the other, each with its whole window.
        order = (0, 1, 4, 2, 3)
        wanted, first, per_window = wanted.transpose(order), (first + c).transpose(order), k_h * k_w
    wanted, first = wanted.ravel(), first.ravel()
    following = np.concatenate([first[per_window:], np.full(per_window, first[-1])])
    total = height * width * fold
    room = buffer_beats(numbers, layer.inputs)
    taken, given, takes, gives = 0, 0, [], []
    while given < len(wanted) or taken < total:
        reads = taken < total and (
            given == len(wanted) or (taken - room < following[given] and taken - room < wanted[given])
        )
        fetches = given < len(wanted) and wanted[given] < taken
        takes.append(int(reads))
        gives.append(int(fetches))
        taken, given = taken + int(reads), given + int(fetches)
        assert reads or fetches
    return pattern_timing(np.array(takes), np.array(gives), Queue(2, 1))


def _pad_timing(layer: Layer) -> StepTiming:
    numbers = layer.numbers
    fold = int(numbers["channels"]) // layer.inputs
    height, width = numbers["size"]
    top, left, bottom, right = numbers["padding"]
    inside = np.zeros((top + height + bottom, left + width + right, fold), np.int32)
    inside[top : top + height, left : left + width] = 1
    assert inside.sum() == prod((height, width, fold))
    return pattern_timing(inside.ravel(), np.ones(inside.size, np.int32), Queue(2, 2))
