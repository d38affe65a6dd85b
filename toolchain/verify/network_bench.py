# SPDX-License-Identifier: Apache-2.0
"""Rung 4: a network's RTL in Verilator under cocotb: stream protocol, pauses, back-pressure, resets, declared cycles."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.build.tools import cocotb
from toolchain.data_folders import RTL_TESTS
from toolchain.errors import InputError
from toolchain.ir import Graph, interpret
from toolchain.verify.packing import pack_beats

_BENCH = RTL_TESTS / "network"
_MODULE = "stream_network"
#: The top's ports, as the benches see them.
PORTS = (
    "clk", "rst", "s_axis_tdata", "s_axis_tvalid", "s_axis_tready",
    "m_axis_tdata", "m_axis_tvalid", "m_axis_tready", "m_axis_tlast",
)  # fmt: skip

#: The inputs of its AXI4-Lite port, where it has one.
LOAD_INPUTS = (
    "s_axil_awaddr", "s_axil_awprot", "s_axil_awvalid", "s_axil_wdata", "s_axil_wstrb", "s_axil_wvalid", "s_axil_bready",
    "s_axil_araddr", "s_axil_arprot", "s_axil_arvalid", "s_axil_rready",
)  # fmt: skip

#: Cycles of flowing frames that one pattern runs for; cocotb reaches some ten thousand cycles a second.
_PATTERN_CYCLES = 4000
_FEWEST_FRAMES, _MOST_FRAMES = 4, 200


@dataclass(frozen=True)
class BenchResult:
    """vectors: different ones; compared: frames compared with the interpreter over all checks; mismatches: of those.

    checks: one entry a cocotb test: name, passed, message ('' if it passed).
    """

    vectors: int
    compared: int
    mismatches: int
    seconds: float
    checks: list[dict[str, Any]]

    @property
    def passed(self) -> bool:
        return all(check["passed"] for check in self.checks)


def run_network_bench(
    plan_folder: Path,
    facts: Mapping[str, Any],
    graph: Graph,
    x_integers: np.ndarray,
    folder: Path,
    *,
    sources: Sequence[str] | None = None,
    timeout_s: float = 600,
    jobs: int = 2,
) -> BenchResult:
    """Build the plan's top for cocotb in `folder` and run every check on the first of `x_integers`.

    x_integers: shape (vectors, *input shape); as many are used as a few thousand cycles take. A check that fails is in
    the result, with its message; BuildFailed means that there is no result.
    """
    if len(x_integers) == 0:
        raise InputError("no vectors for the bench: give at least one")
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if sources is None:
        sources = (plan_folder / "files.f").read_text().split()
    relative = Path(os.path.relpath(plan_folder.resolve(), folder.resolve()))
    top = facts["top"]
    cocotb.build_bench(
        [str(relative / source) for source in sources],
        top,
        PORTS + (LOAD_INPUTS if "loadable" in facts else ()),
        folder=folder,
        log=folder / "bench_build.log",
        options=facts.get("simulation_options", ()),
        jobs=jobs,
    )
    count = max(_FEWEST_FRAMES, min(_MOST_FRAMES, _PATTERN_CYCLES // facts["initiation_interval_cycles"]))
    vectors = x_integers[:count]
    (folder / "bench.json").write_text(json.dumps(bench_data(facts, graph, vectors)))
    (folder / "outcome.json").unlink(missing_ok=True)
    outcomes = cocotb.run_bench(
        top,
        _MODULE,
        folder=folder,
        working_folder=plan_folder,
        python_path=[_BENCH.resolve()],
        environment={"BENCH_FOLDER": str(folder.resolve())},
        log=folder / "bench.log",
        timeout_s=timeout_s,
    )
    outcome_file = folder / "outcome.json"
    outcome = json.loads(outcome_file.read_text()) if outcome_file.exists() else {"frames": 0, "mismatches": 0}
    shutil.rmtree(folder / "bench_build", ignore_errors=True)
    checks = [{"name": test.name, "passed": test.passed, "message": test.message} for test in outcomes]
    return BenchResult(len(vectors), outcome["frames"], outcome["mismatches"], time.monotonic() - started, checks)


def bench_data(facts: Mapping[str, Any], graph: Graph, x_integers: np.ndarray) -> dict[str, Any]:
    """What a bench reads from bench.json: beats in hexadecimal, the interpreter's results, and what the plan declares."""
    (expected,) = interpret(graph, x_integers).values()

    def beats(values: np.ndarray, port: Mapping[str, Any]) -> list[list[str]]:
        size = port["data_width"] // 8
        packed = pack_beats(values.reshape(len(values), -1), port["lanes"], port["element_width"], size)
        words = [beat.tobytes()[::-1].hex() for beat in packed]
        return [words[start : start + port["beats"]] for start in range(0, len(words), port["beats"])]

    declared = (
        "latency_cycles",
        "first_output_latency_cycles",
        "initiation_interval_cycles",
        "steady_state",
        "input",
        "output",
    )
    return {
        **{name: facts[name] for name in declared},
        "tied_low": LOAD_INPUTS if "loadable" in facts else (),
        "frames": beats(x_integers, facts["input"]),
        "expected": beats(expected, facts["output"]),
    }
