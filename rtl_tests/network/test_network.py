# SPDX-License-Identifier: Apache-2.0
"""Bench of whole networks: exact ones pass every check, and each kind of fault fails the check that is there for it.

Run by pytest, or by itself as a script.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from toolchain.backends.base import make_plan
from toolchain.build.tools import cocotb, verilator
from toolchain.ir import AddBias, Dense, Graph, GraphBuilder, Input, IntegerType, Relu, Requantise, Threshold
from toolchain.plan import BuildPlan
from toolchain.target import Target
from toolchain.verify.network_bench import BenchResult, run_network_bench
from toolchain.verify.vectors import random_vectors

CHECKS = [
    "flowing",
    "idle_source",
    "stalled_sink",
    "idle_source_and_stalled_sink",
    "bursts_on_both_sides",
    "sink_blocked_until_full",
    "declared_latency_and_interval",
    "reset_in_mid_frame",
    "outputs_come_from_registers",
]


def network() -> Graph:
    """Three layers with both kinds of activation, and several output beats a frame."""
    random = np.random.default_rng(6)
    builder = GraphBuilder("three")
    t = builder.add(Input((12,), IntegerType(True, 4, 3)), name="x")
    t = builder.add(Dense(random.integers(-7, 8, (12, 8)), 3), t, name="fc1")
    t = builder.add(AddBias(random.integers(-20, 20, 8), 5), t, name="bias1")
    t = builder.add(Relu(), t, name="relu1")
    t = builder.add(Requantise(IntegerType(False, 4, 1)), t, name="act1")
    t = builder.add(Dense(random.integers(-7, 8, (8, 6)), 3), t, name="fc2")
    t = builder.add(Threshold(np.sort(random.integers(-60, 60, (6, 7)), axis=1)), t, name="act2")
    t = builder.add(Dense(random.integers(-7, 8, (6, 4)), 3), t, name="fc3")
    builder.output(t)
    return builder.build()


def bench(folder: Path, change: Callable[[BuildPlan, Path], dict] | None = None) -> BenchResult:
    """The bench's result; `change` may spoil the files of the plan, and returns facts to declare instead."""
    graph = network()
    plan = make_plan("rtl", graph, Target(cycles_per_frame=12))
    plan.write(folder / "plan")
    facts = dict(plan.facts) | (change(plan, folder / "plan") if change else {})
    return run_network_bench(folder / "plan", facts, graph, random_vectors(graph, 40, seed=2), folder / "bench")


def needs_tools() -> None:
    for tool in (cocotb.TOOL, verilator.TOOL):
        if tool.find() is None:
            pytest.skip(f"needs {tool.name}")


def test_exact_network(tmp_path: Path) -> None:
    needs_tools()
    result = bench(tmp_path)
    assert [(check["name"], check["passed"], check["message"]) for check in result.checks] == [
        (name, True, "") for name in CHECKS
    ]
    assert result.passed
    assert (result.vectors, result.mismatches) == (40, 0)
    assert result.compared > 7 * 40 - 40


def edit(folder: Path, plan: BuildPlan, *changes: tuple[str, str]) -> None:
    path = folder / "rtl" / f"{plan.top}.sv"
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


def wrong_weight(plan: BuildPlan, folder: Path) -> dict:
    path = folder / "memory" / "fc3_weights.hex"
    lines = path.read_text().split()
    lines[0] = f"{int(lines[0], 16) ^ 1:0{len(lines[0])}x}"
    path.write_text("\n".join(lines) + "\n")
    return {}


def wrong_latency(plan: BuildPlan, folder: Path) -> dict:
    return {"latency_cycles": plan.facts["latency_cycles"] + 1}


def wrong_interval(plan: BuildPlan, folder: Path) -> dict:
    return {"steady_state": {**plan.facts["steady_state"], "cycles": plan.facts["steady_state"]["cycles"] - 1}}


def no_reset(plan: BuildPlan, folder: Path) -> dict:
    instance = folder / "rtl" / f"{plan.top}.sv"
    text = instance.read_text()
    place = text.index("u_fc2 (")
    instance.write_text(text[:place] + text[place:].replace(".rst(rst)", ".rst(rst && !started)", 1))
    edit(
        folder,
        plan,
        (
            "  logic fc2_tready;",
            "  logic fc2_tready, started;\n  always_ff @(posedge clk) started <= started || s_axis_tvalid;\n  initial started = 1'b0;",
        ),
    )
    return {}


def late_tlast(plan: BuildPlan, folder: Path) -> dict:
    edit(folder, plan, ("assign m_axis_tlast = output_beat ==", "assign m_axis_tlast = output_beat !="))
    return {}


def combinational_ready(plan: BuildPlan, folder: Path) -> dict:
    text = (folder / "rtl" / f"{plan.top}.sv").read_text()
    text = text.replace(".s_axis_tready(s_axis_tready)", ".s_axis_tready(room)", 1)
    text = text.replace(".s_axis_tvalid(s_axis_tvalid)", ".s_axis_tvalid(s_axis_tvalid && m_axis_tready)", 1)
    text = text.replace(
        "  logic fc1_tready;", "  logic fc1_tready, room;\n  assign s_axis_tready = room && m_axis_tready;", 1
    )
    (folder / "rtl" / f"{plan.top}.sv").write_text(text)
    return {}


FAULTS = {
    "flowing": (wrong_weight, "frames differ from the interpreter; first frame"),
    "declared_latency_and_interval": (wrong_latency, "declared cycles"),
    "declared_latency_and_interval again": (wrong_interval, "cycles from frame"),
    "reset_in_mid_frame": (no_reset, ""),
    "idle_source": (late_tlast, "m_axis_tlast is"),
    "outputs_come_from_registers": (combinational_ready, "change with inputs within the cycle"),
}


@pytest.mark.full
@pytest.mark.parametrize("check", FAULTS)
def test_faults_are_seen(check: str, tmp_path: Path) -> None:
    needs_tools()
    change, message = FAULTS[check]
    result = bench(tmp_path, change)
    found = next(entry for entry in result.checks if entry["name"] == check.split()[0])
    assert not result.passed
    assert not found["passed"]
    assert message in found["message"]
    if change is wrong_weight:
        assert result.mismatches > 0


if __name__ == "__main__":
    outcome = bench(Path(tempfile.mkdtemp(prefix="network_bench_")))
    for entry in outcome.checks:
        print(f"{'passed' if entry['passed'] else 'FAILED'}  {entry['name']}  {entry['message']}")
    sys.exit(0 if outcome.passed else 1)
