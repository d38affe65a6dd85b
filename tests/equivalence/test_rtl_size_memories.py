# SPDX-License-Identifier: Apache-2.0
"""FIFOs of other depths than the pass chose, in Verilator: slower by just what the exact schedule says, or standing still."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.branched_graphs import BRANCHED
from toolchain.backends.rtl.streaming import plan
from toolchain.backends.rtl.streaming.network import Library, draw
from toolchain.backends.rtl.streaming.schedule import Deadlock
from toolchain.backends.rtl.streaming.size_memories import size_memories
from toolchain.build.tools import verilator
from toolchain.errors import BuildFailed
from toolchain.ir import interpret
from toolchain.passes.choose_folding import choose_folding, cycles, default_cycles_per_frame
from toolchain.passes.group_stages import group_stages
from toolchain.target import Target
from toolchain.verify.simulate import build_simulation, simulate
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator and a C++ compiler")
FRAMES = 24


@pytest.mark.parametrize(
    ("name", "key"),
    [("residual", "input_branch"), ("unequal", "unequal_add12_fifo"), ("downsampling", "downsampling_add9_fifo")],
)
def test_a_shallower_fifo(name: str, key: str, tmp_path: Path, seed: int) -> None:
    graph = BRANCHED[name]()
    folding = choose_folding(graph, default_cycles_per_frame(graph))
    plumbing = draw(graph, folding, Library())
    target = max(cycles(stage, folding.stages[stage.name]) for stage in group_stages(graph))
    sized = size_memories(plumbing, max(target, plumbing.source_beats))
    (place,) = (place for place in sized.resizable() if sized.drafts[place].key == key)
    chosen = int(dict(sized.drafts[place].instance.parameters)["DEPTH"])
    made = plan(graph, Target(), folding)
    (identifier,) = (part["identifier"] for part in made.facts["parts"] if part["identifier"] == key)
    x = random_vectors(graph, FRAMES, seed)
    (expected,) = interpret(graph, x).values()
    for depth in (chosen, chosen - 1, 2):
        folder = tmp_path / str(depth)
        made.write(folder / "plan")
        top = folder / "plan" / "rtl" / f"{made.top}.sv"
        text, count = re.subn(rf"(\.DEPTH\(){chosen}(\)\n  \) u_{identifier} \()", rf"\g<1>{depth}\2", top.read_text())
        assert count == 1
        top.write_text(text)
        library = build_simulation(folder / "plan", made.facts, folder / "simulation", optimisation="-O0")
        schedule = sized.with_depths({place: depth}).schedule()
        try:
            state = schedule.steady_state()
        except Deadlock:
            with library.start() as simulation, pytest.raises(BuildFailed, match=f"^{name} stalled: no beat moved"):
                simulate(graph, simulation, library, x)
            continue
        assert (state.cycles == target * state.frames) == (depth == chosen)
        with library.start() as simulation:
            output, _, run = simulate(graph, simulation, library, x)
        assert (output == expected).all()
        starts = run.input_cycles[:: made.facts["input"]["beats"]]
        gaps = (starts[state.frames :] - starts[: -state.frames])[state.from_frame :]
        assert len(gaps) > 4
        assert set(gaps.tolist()) == {state.cycles}
