# SPDX-License-Identifier: Apache-2.0
"""Cycles a frame of FINN's RTL, stitched by the FINN backend, beside what FINN's own formulas expect of its nodes.

FINN's estimate is that of its slowest node, or the beats at the network's ends where those are more. Simulated: the interval that the
design comes to when frames follow one another, counted in Verilator, with every output equal to the integer interpreter's. A network
whose slowest stage is a kernel of this project has no estimate of FINN's that would bound it: the note says how many stages are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Row, version
from benchmarks.finn_rtl import PART, dense_network, image_network

_SHARED = ROOT.parent / "shared" / "models"
_FRAMES = 60


@dataclass(frozen=True)
class Network:
    """cycles_per_frame: the pace that the folding is chosen for."""

    name: str
    graph: Any
    cycles_per_frame: int


def networks() -> list[Network]:
    import toolchain

    found = [
        Network("16-64-32-5", dense_network(), 64),
        Network("8x8 CNN", image_network(), 600),
        Network("mnist_cnn", toolchain.load_model("mnist_cnn").graph, 8192),
    ]
    if _SHARED.is_dir():
        digits = _SHARED / "qonnx_tfc_w2a2" / "TFC_2W2A.onnx"
        keywords = _SHARED / "qonnx_kws_w3a3_mlperf" / "QONNX_model.onnx"
        found.append(Network("TFC W2A2", toolchain.load_model(digits).graph, 256))
        found.append(Network("KWS W3A3", toolchain.load_model(keywords).graph, 2048))
    return found


def counted(network: Network, folder: Path) -> dict[str, Any]:
    """The facts of the stitched network, with its cycles as simulated. Raises RuntimeError if an output is wrong."""
    from toolchain.backends.finn import design, stitch, write_request
    from toolchain.build.tools.finn import run_worker
    from toolchain.ir import interpret
    from toolchain.target import Target, find_device
    from toolchain.verify.finn import count_cycles
    from toolchain.verify.simulate import build_simulation, simulate
    from toolchain.verify.vectors import random_vectors

    decided = design(network.graph, Target(find_device(PART), cycles_per_frame=network.cycles_per_frame))
    made = folder / "finn"
    made.mkdir(parents=True)
    write_request(decided, made)
    run_worker(made, log=made / "finn.log")
    plan = stitch(decided, made)
    plan.write(folder / "plan")
    library = build_simulation(folder / "plan", plan.facts, folder / "simulation", capture=())
    x = random_vectors(network.graph, _FRAMES, 1)
    with library.start() as simulation:
        output, _, _ = simulate(network.graph, simulation, library, x)
    (expected,) = interpret(network.graph, x).values()
    if (output != expected).any():
        raise RuntimeError(f"{network.name}: the simulated RTL differs from the interpreter")
    return {**plan.facts, **count_cycles(network.graph, library, x)}


def rows_of(network: Network, facts: dict[str, Any]) -> list[Row]:
    ends = max(facts["input"]["beats"], facts["output"]["beats"])
    expected = max(facts["finn_expected_cycles"], ends)
    interval = facts["initiation_interval_cycles"]
    own = len(facts["own_kernels"])
    note = f"{100 * (interval / expected - 1):+.1f} % of what FINN expects"
    if own:
        note += f"; {own} of {len(facts['nodes'])} stages are kernels of this project"
    finn = version("finn-plus")
    return [
        Row(f"{network.name}, expected", expected, "cycles", "finn-plus", finn, kind="estimated"),
        Row(
            f"{network.name}, simulated",
            interval,
            "cycles",
            "Verilator",
            version("verilator"),
            note=note,
            kind="simulated",
        ),
    ]


def run() -> Sequence[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, network in enumerate(networks()):
            rows += rows_of(network, counted(network, Path(folder) / str(number)))
            print(*(f"{row.name}: {row.value:g}" for row in rows[-2:]), sep="\n", flush=True)
    return rows
