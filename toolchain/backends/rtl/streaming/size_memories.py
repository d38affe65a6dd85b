# SPDX-License-Identifier: Apache-2.0
"""The depths of FIFOs and line buffers: the smallest with which no stage ever waits longer than its work takes."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.backends.rtl.streaming.plumbing import Plumbing

#: Beats of all streams together that the search for the smallest depths may compute; beyond, depths that are enough stay.
_SEARCH_BEATS = 50_000_000
#: Beats a frame of all streams together up to which each depth is the very smallest; beyond, to a sixteenth of it.
_EXACT_BEATS = 100_000
#: Frames that the search looks at to see whether a network keeps its pace; the result is proven afterwards.
_SEARCH_FRAMES = 4


def size_memories(plumbing: Plumbing, target: int) -> Plumbing:
    """Give each memory the smallest depth, and take out each FIFO, with which a frame is done every `target` cycles.

    target: the interval of the slowest stage alone, which no buffer can better. If even memories without bounds do not reach
    it, the interval that they reach is the target.

    What a memory holds at most while frames come at the target's pace, evenly spread, and nothing ever waits for room, is
    enough: with that room nothing is later than it was, and a source that offers earlier makes nothing later. From there on
    the depths are reduced one after the other, those first that may save most bits.
    """
    places = plumbing.resizable()
    if not places:
        return plumbing
    least = {place: plumbing.drafts[place].instance.least_depth for place in places}
    unbounded, bits = {}, {}
    for place in places:
        element, lanes, beats = plumbing.stream(plumbing.drafts[place].inputs[0])
        unbounded[place] = least[place] + 4 * (beats + 1)
        bits[place] = element.width * lanes
    free = plumbing.with_depths(unbounded)
    paced = free.schedule(target, even=True)
    if not paced.sustains(target):
        state = free.schedule().steady_state()
        target = -(-state.cycles // state.frames)
        paced = free.schedule(target, even=True)
        if not paced.sustains(target):
            return free
    kernels = free.circuit()[2]
    enough = {place: max(least[place], paced.occupancy(kernels[place])) for place in places}
    found = _search(plumbing, target, least, enough, bits)
    sized = plumbing.with_depths(found)
    return sized if sized.schedule(target).sustains(target) else plumbing.with_depths(enough)


def _search(
    plumbing: Plumbing,
    target: int,
    least: Mapping[int, int],
    enough: Mapping[int, int],
    bits: Mapping[int, int],
) -> dict[int, int]:
    """Depths between `least` and `enough`, by place, that seem to keep the pace, and of which none alone can be less.

    A depth that is less elsewhere may be what lets another be less (a branch that cannot run ahead does not get in the way of the
    other), so memories are gone through until none changes any more.
    """

    def keeps_pace(depths: Mapping[int, int]) -> bool:
        return plumbing.with_depths(depths).schedule(target).seems_to_sustain(target, _SEARCH_FRAMES)

    if keeps_pace(least):
        return dict(least)
    depths = dict(enough)
    beats = sum(link.beats for link in plumbing.circuit()[0].links)
    tries = _SEARCH_BEATS // (_SEARCH_FRAMES * beats)
    order = sorted(depths, key=lambda place: ((least[place] - enough[place]) * bits[place], place))
    before: dict[int, int] = {}
    while depths != before and tries > 0:
        again, before = bool(before), dict(depths)
        for place in order:
            low, high = least[place], depths[place]
            while tries > 0 and high - low > (slack := 0 if beats <= _EXACT_BEATS else high >> 4):
                tries -= 1
                # The first time anything is likely; later most stay what they are, which one try shows.
                middle = high - slack - 1 if again else (low + high) // 2
                if keeps_pace({**depths, place: middle}):
                    high = middle
                else:
                    low = middle + 1
            depths[place] = high
    return depths
