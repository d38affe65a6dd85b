# SPDX-License-Identifier: Apache-2.0
"""MLPerf Tiny's shapes whose recipes are not trained here, as streaming RTL with random weights: every integer, every cycle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tools.test_models import recipe, scrambled
from toolchain.backends.base import make_plan
from toolchain.build.tools import verilator
from toolchain.frontends import load_model
from toolchain.ir import interpret
from toolchain.target import Target
from toolchain.verify.simulate import build_simulation, measure_timing, simulate, verify_bulk
from toolchain.verify.simulation_library import Pattern
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator and a C++ compiler")

#: Vectors that `random_vectors` begins with at most before they are uniform.
CORNERS = 5 + 2 * 64


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "cycles_per_frame", "frames"), [("image_resnet8", 150_000, 3), ("anomaly_autoencoder", 2_048, 200)]
)
def test_a_recipe_as_hardware(
    name: str, cycles_per_frame: int, frames: int, tmp_path: Path, random: np.random.Generator, seed: int
) -> None:
    # Most activations are 0: of the dense network, where frames are short, enough for a single wrong weight to show.
    graph = load_model(scrambled(recipe(name).build_model(), random)).graph
    plan = make_plan("rtl", graph, Target(cycles_per_frame=cycles_per_frame))
    plan.write(tmp_path / "plan")
    library = build_simulation(tmp_path / "plan", plan.facts, tmp_path / "simulation")
    vectors = random_vectors(graph, CORNERS + frames, seed)
    x = vectors[[1, *range(CORNERS + 1, CORNERS + frames)]]  # every input at its maximum, then uniform ones
    outcome = verify_bulk(graph, library, x, threads=1)
    assert (outcome.vectors, outcome.mismatches, outcome.first_mismatch) == (frames, 0, None)
    timing = measure_timing(graph, library, x)
    assert timing.latency_cycles == plan.facts["latency_cycles"]
    assert timing.first_output_latency_cycles == plan.facts["first_output_latency_cycles"]
    assert timing.initiation_interval_cycles == plan.facts["initiation_interval_cycles"] <= cycles_per_frame
    with library.start() as simulation:
        output, streams, run = simulate(
            graph, simulation, library, x, pattern=Pattern(0.3, 0.3, seed), capture=library.streams, drain_cycles=2_000
        )
    result = graph.outputs[0].tensor
    expected = interpret(graph, x, record={result, *streams})
    assert len(streams) == len(plan.facts["nodes"])
    for node, found in {**streams, result: output}.items():
        assert np.array_equal(found, expected[node]), node
    # Not dead or saturated throughout; behind a bottleneck of few bits two frames may be the same.
    assert len(np.unique(expected[result].reshape(frames, -1), axis=0)) >= 0.9 * frames
    print(
        f"{name}: {outcome.cycles + run.cycles:,} cycles, latency {timing.latency_cycles:,}, "
        f"interval {timing.initiation_interval_cycles:,}"
    )
