# SPDX-License-Identifier: Apache-2.0
"""The depths of FIFOs and line buffers: enough for the pace, and none of them larger than has to be, by the exact schedule."""

from __future__ import annotations

from functools import cache

import pytest

from tests.branched_graphs import BRANCHED, chain
from toolchain.backends.rtl.streaming import size_memories
from toolchain.backends.rtl.streaming.network import Library, draw
from toolchain.backends.rtl.streaming.plumbing import Plumbing
from toolchain.backends.rtl.streaming.schedule import Deadlock
from toolchain.passes.choose_folding import choose_folding, default_cycles_per_frame
from toolchain.passes.group_stages import group_stages

GRAPHS = {**BRANCHED, "chain": chain}
#: Times the pace that is chosen by default: the slowest stage has little to do, or all stages have.
PACES = (1, 3)
CASES = [(name, pace) for name in GRAPHS for pace in PACES]


@cache
def drawn(name: str, pace: int) -> tuple[Plumbing, int]:
    """A network before its memories have depths, and the interval of its slowest stage."""
    graph = GRAPHS[name]()
    folding = choose_folding(graph, default_cycles_per_frame(graph) * pace)
    library = Library()
    plumbing = draw(graph, folding, library)
    target = max(library.cycles(stage, folding.stages[stage.name]) for stage in group_stages(graph))
    return plumbing, max(target, plumbing.source_beats)


@cache
def sized(name: str, pace: int) -> Plumbing:
    return size_memories.size_memories(*drawn(name, pace))


def depth(plumbing: Plumbing, place: int) -> int:
    parameters = dict(plumbing.drafts[place].instance.parameters)
    return int(parameters.get("DEPTH") or parameters["BUFFER_BEATS"])


def depths(plumbing: Plumbing) -> dict[int, int]:
    return {place: depth(plumbing, place) for place in plumbing.resizable()}


@pytest.mark.parametrize(("name", "pace"), CASES)
def test_the_pace_of_the_slowest_stage_is_kept(name: str, pace: int) -> None:
    state = sized(name, pace).schedule().steady_state()
    assert state.cycles == drawn(name, pace)[1] * state.frames


@pytest.mark.parametrize(("name", "pace"), CASES)
def test_no_memory_alone_can_be_a_beat_smaller(name: str, pace: int) -> None:
    """The claim for networks of up to 100,000 beats a frame. (Another set of depths may need fewer bits in all: the search takes
    memories one after the other, those first that may save most.)
    """
    plumbing, target = sized(name, pace), drawn(name, pace)[1]
    tried = 0
    for place, found in depths(plumbing).items():
        instance = plumbing.drafts[place].instance
        if found > instance.least_depth:
            tried += 1
            smaller = plumbing.with_depths({place: found - 1})
            assert not smaller.schedule(target).sustains(target), f"{plumbing.drafts[place].key} needs no {found} beats"
    assert tried > 0


@pytest.mark.parametrize("name", BRANCHED)
def test_some_fifos_are_taken_out(name: str) -> None:
    """One way from a fork to a join waits for the other: there nothing has to stand beside what its kernels hold."""
    assert len(sized(name, 1).resizable()) < len(drawn(name, 1)[0].resizable())


@pytest.mark.parametrize("name", GRAPHS)
def test_large_networks_are_within_a_sixteenth(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a bound on the beats, a depth is at most a sixteenth of it above the smallest."""
    monkeypatch.setattr(size_memories, "_EXACT_BEATS", 0)
    plumbing, target = drawn(name, 1)
    rough = size_memories.size_memories(plumbing, target)
    assert rough.schedule(target).sustains(target)
    for place, found in depths(rough).items():
        smaller = found - (found >> 4) - 1
        if smaller >= rough.drafts[place].instance.least_depth:
            assert not rough.with_depths({place: smaller}).schedule(target).sustains(target)


@pytest.mark.parametrize("name", GRAPHS)
def test_without_a_search_depths_are_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of too many beats to try anything keeps the depths that memories without bounds have shown to be enough."""
    monkeypatch.setattr(size_memories, "_SEARCH_BEATS", 0)
    plumbing, target = drawn(name, 1)
    enough = size_memories.size_memories(plumbing, target)
    assert enough.schedule(target).sustains(target)
    bits = [sum(depths(found).values()) for found in (sized(name, 1), enough)]
    assert bits[0] <= bits[1]


def test_a_fifo_that_is_too_small_deadlocks_and_is_named() -> None:
    target = drawn("residual", 1)[1]
    found = sized("residual", 1)
    (branch,) = (place for place in found.resizable() if found.drafts[place].key == "input_branch")
    # Before the first window is complete, a row and a pixel have to be kept, of which the fork itself keeps some.
    assert depth(found, branch) > 4
    deadlocked = found.with_depths({branch: 2})
    with pytest.raises(Deadlock) as caught:
        deadlocked.schedule().extend(1)
    assert str(caught.value) == (
        "the network deadlocks: no beat passes the input, the output of input_fork, the output of input_fork, the output of "
        "residual_pad1, the output of residual_conv2_window, the output of residual_conv2, the output of residual_narrow3, the "
        "output of input_branch, the output any more"
    )
    # The search takes a deadlock as a pace that is not kept.
    assert not deadlocked.schedule(target).sustains(target)
    assert not deadlocked.schedule(target).seems_to_sustain(target, 4)
