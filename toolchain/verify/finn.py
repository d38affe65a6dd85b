# SPDX-License-Identifier: Apache-2.0
"""The cycles of a stitched FINN network, counted in simulation: FINN's flow control has no schedule that could be computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.errors import BuildFailed
from toolchain.ir import Graph
from toolchain.verify.simulate import simulate
from toolchain.verify.simulation_library import SimulationLibrary

#: Frames that are simulated first, and at most; frames in a row that have to repeat; the longest repetition.
_FRAMES, _MOST_FRAMES = 64, 4096
_REPEATED, _LONGEST_PERIOD_FRAMES = 24, 16


def count_cycles(graph: Graph, library: SimulationLibrary, x_integers: np.ndarray) -> dict[str, Any]:
    """The facts `latency_cycles`, `first_output_latency_cycles`, `initiation_interval_cycles` and `steady_state`, as counted.

    One frame into an empty network gives the latencies. Then frames follow one another until, for 24 of them, the beginning of
    each input and output frame lies the same number of cycles after the one some frames before.
    Raises BuildFailed if that does not happen within 4,096 frames.
    """
    facts = library.facts
    with library.start() as simulation:
        _, _, run = simulate(graph, simulation, library, x_integers[:1], drain_cycles=64)
    first = run.input_cycles[0]
    found = {
        "latency_cycles": int(run.output_cycles[-1] - first),
        "first_output_latency_cycles": int(run.output_cycles[0] - first),
    }
    frames = _FRAMES
    while frames <= _MOST_FRAMES:
        with library.start() as simulation:
            _, _, run = simulate(graph, simulation, library, np.resize(x_integers, (frames, *x_integers.shape[1:])))
        starts = [run.input_cycles[:: facts["input"]["beats"]], run.output_cycles[:: facts["output"]["beats"]]]
        for period in range(1, _LONGEST_PERIOD_FRAMES + 1):
            steady = _steady(starts, period)
            if steady is not None:
                interval = -(-steady["cycles"] // period)
                return {**found, "initiation_interval_cycles": interval, "steady_state": steady}
        frames *= 4
    raise BuildFailed(f"the network {facts['top']} comes to no steady pace within {_MOST_FRAMES} frames in simulation")


def _steady(starts: list[np.ndarray], period: int) -> dict[str, int] | None:
    """The repetition of `period` frames that both ends of the network come to, if they do."""
    gaps = [cycles[period:] - cycles[:-period] for cycles in starts]
    last = int(gaps[0][-1])
    differs = np.zeros(len(gaps[0]), dtype=bool)
    for gap in gaps:
        differs |= gap != last
    from_frame = int(np.flatnonzero(differs)[-1]) + 1 if differs.any() else 0
    if len(differs) - from_frame < _REPEATED:
        return None
    return {"frames": period, "cycles": last, "from_frame": from_frame}
