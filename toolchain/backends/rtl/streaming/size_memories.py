# SPDX-License-Identifier: Apache-2.0
"""The depths of FIFOs and line buffers: the smallest with which no stage ever waits longer than its work takes."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.plumbing import Plumbing

#: Beats of all streams together that the search for the smallest depths may compute; beyond, depths that are enough stay.
_SEARCH_BEATS = 2_000_000_000
#: Frames that one schedule of the search computes at most, about.
_FRAMES = 6


def size_memories(plumbing: Plumbing, target: int) -> Plumbing:
    """Give each memory the smallest depth, and take out each FIFO, with which a frame is done every `target` cycles.

    target: the interval of the slowest stage alone, which no buffer can better. If even memories without bounds do not reach
    it, the interval that they reach is the target.

    What a memory holds at most while frames come at the target's pace, evenly spread, and nothing ever waits for room, is
    enough: with that room nothing is later than it was, and a source that offers earlier makes nothing later. From there on
    the depths are reduced one after the other, from the input on.
    """
    places = plumbing.resizable()
    if not places:
        return plumbing
    unbounded = {}
    for place in places:
        _, _, beats = plumbing.stream(plumbing.drafts[place].inputs[0])
        unbounded[place] = plumbing.drafts[place].instance.least_depth + 4 * (beats + 1)
    free = plumbing.with_depths(unbounded)
    paced = free.schedule(target, even=True)
    if not paced.sustains(target):
        state = free.schedule().steady_state()
        target = -(-state.cycles // state.frames)
        paced = free.schedule(target, even=True)
        if not paced.sustains(target):
            return free
    kernels = free.circuit()[2]
    least = {place: plumbing.drafts[place].instance.least_depth for place in places}
    depths = {place: max(least[place], paced.occupancy(kernels[place])) for place in places}

    def sustained(changed: dict[int, int]) -> bool:
        return plumbing.with_depths({**depths, **changed}).schedule(target).sustains(target)

    if sustained(least):
        return plumbing.with_depths(least)
    beats = sum(link.beats for link in free.circuit()[0].links)
    budget = _SEARCH_BEATS // (beats * _FRAMES)
    for place in places:
        low, high = least[place], depths[place]
        while low < high and budget > 0:
            budget -= 1
            middle = (low + high) // 2
            if sustained({place: middle}):
                high = middle
            else:
                low = middle + 1
        depths[place] = high
    return plumbing.with_depths(depths)
