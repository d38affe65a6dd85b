# SPDX-License-Identifier: Apache-2.0
"""Rung 3 itself: it accepts an exact design, says where a wrong one differs first, and which stream a stuck one stalls on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.branched_graphs import residual
from toolchain.backends.base import make_plan
from toolchain.build.tools import verilator
from toolchain.errors import BuildFailed, Mismatch
from toolchain.ir import (
    AddBias,
    ArgMax,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    MaxPool,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    Threshold,
    interpret,
)
from toolchain.pipeline.context import refuse_mismatch
from toolchain.target import Target
from toolchain.verify.simulate import (
    build_simulation,
    load_simulation,
    measure_timing,
    mixes_of_pauses,
    paused_vectors,
    simulate,
    verify_bulk,
)
from toolchain.verify.simulation_library import Pattern
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator and a C++ compiler")


def network() -> Graph:
    random = np.random.default_rng(5)
    builder = GraphBuilder("triple")
    tensor = builder.add(Input((12,), IntegerType(False, 4, 4)), name="pixels")
    for layer, (inputs, outputs) in enumerate(((12, 8), (8, 6), (6, 4))):
        tensor = builder.add(
            Dense(random.integers(-7, 8, (inputs, outputs)), 3), tensor, name=f"fc{layer}", source=f"fc{layer}"
        )
        tensor = builder.add(AddBias(random.integers(-20, 20, outputs), 5), tensor, name=f"bias{layer}")
        if layer < 2:
            tensor = builder.add(Relu(), tensor, name=f"relu{layer}")
            requantise = Requantise(IntegerType(False, 4, 1), Rounding.HALF_EVEN, Overflow.SATURATE)
            tensor = builder.add(requantise, tensor, name=f"act{layer}")
    builder.output(builder.add(ArgMax(), tensor, name="winner"))
    return builder.build()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Mapping[str, Any], Graph]:
    """Plan folder, simulation folder (renamed after the build, as build stages are), facts, graph."""
    folder, graph = tmp_path_factory.mktemp("simulate"), network()
    plan = make_plan("rtl", graph, Target(cycles_per_frame=16))
    plan.write(folder / "partial_plan")
    build_simulation(folder / "partial_plan", plan.facts, folder / "partial_simulation")
    (folder / "partial_plan").rename(folder / "plan")
    (folder / "partial_simulation").rename(folder / "simulation")
    return folder / "plan", folder / "simulation", plan.facts, graph


def test_exact_design(built: tuple[Path, Path, Mapping[str, Any], Graph], seed: int) -> None:
    plan_folder, folder, facts, graph = built
    library = load_simulation(plan_folder, facts, folder)
    result = verify_bulk(graph, library, random_vectors(graph, 5000, seed), threads=2)
    assert (result.vectors, result.mismatches, result.first_mismatch) == (5000, 0, None)
    assert result.compared == ("bias2", "winner")
    # 10,000 cycles at full rate would be 625.
    assert (result.first_vectors, result.paused_vectors) == (256, 256)
    assert result.cycles >= 5000 * facts["initiation_interval_cycles"] * 0.9
    timing = measure_timing(graph, library, random_vectors(graph, 3, seed))
    assert timing.latency_cycles == facts["latency_cycles"]
    assert timing.first_output_latency_cycles == facts["first_output_latency_cycles"]
    assert timing.initiation_interval_cycles == facts["initiation_interval_cycles"] == 16


def test_every_stream_under_pauses(built: tuple[Path, Path, Mapping[str, Any], Graph], seed: int) -> None:
    plan_folder, folder, facts, graph = built
    library = load_simulation(plan_folder, facts, folder)
    x = random_vectors(graph, 150, seed)
    with library.start() as simulation:
        for pattern in (Pattern(), Pattern(0.5, 0.0, 3), Pattern(0.0, 0.7, 4), Pattern(0.4, 0.4, 5)):
            output, streams, _ = simulate(
                graph, simulation, library, x, pattern=pattern, capture=library.streams, drain_cycles=200
            )
            expected = interpret(graph, x, record={"winner", *streams})
            assert set(streams) == {"bias0", "relu0", "act0", "bias1", "relu1", "act1", "bias2", "winner"}
            for name, found in {**streams, "winner": output}.items():
                assert np.array_equal(found, expected[name]), (pattern, name)


@pytest.mark.parametrize("lower", [-1, 0, -3])
def test_signs_are_compared_as_the_graph_has_them(lower: int, tmp_path: Path, seed: int) -> None:
    """Streams of bits where the graph has two integers, and a bias in the hardware that the graph does not have."""
    random = np.random.default_rng(6)
    builder = GraphBuilder("signs")
    x = builder.add(Input((4, 4, 3), IntegerType(True, 4, 1)), name="x")
    x = builder.add(Threshold(np.repeat(random.integers(-2, 3, (3, 1)), 2, axis=1), lower, 1), x, name="sign")
    x = builder.add(MaxPool((2, 2), (1, 1)), x, name="largest")
    x = builder.add(Conv(random.choice([-1, 1], (2, 2, 3, 5)), (1, 1), (1, 1)), x, name="counts")
    x = builder.add(Threshold(np.repeat(random.integers(-4, 5, (5, 1)), 2, axis=1), lower), x, name="second")
    x = builder.add(Reshape((20,)), x, name="flat")
    x = builder.add(Dense(random.integers(-3, 4, (20, 4)), 0), x, name="scores")
    eight_bits = Requantise(IntegerType(True, 8), Rounding.HALF_EVEN, Overflow.SATURATE)
    builder.output(builder.add(eight_bits, x, name="narrow"))
    graph = builder.build()
    plan = make_plan("rtl", graph, Target(cycles_per_frame=200))
    modes = {node["name"]: (node.get("scale"), node.get("offset")) for node in plan.facts["nodes"]}
    assert modes == {
        "sign": (2, lower),
        "largest": (2, lower),
        "counts": (None, None),
        "second": (2, lower),
        "scores": (None, None),
        "narrow": (None, None),
    }
    plan.write(tmp_path / "plan")
    library = build_simulation(tmp_path / "plan", plan.facts, tmp_path / "simulation", optimisation="-O0")
    x_integers = random_vectors(graph, 300, seed)
    result = verify_bulk(graph, library, x_integers)
    assert (result.mismatches, result.first_mismatch) == (0, None)
    nodes = tuple(
        replace(node, operation=replace(node.operation, thresholds=node.operation.thresholds + 1))
        if isinstance(node.operation, Threshold) and node.name == "second"
        else node
        for node in graph
    )
    other = verify_bulk(graph.replace_nodes(nodes), library, x_integers)
    assert other.first_mismatch is not None
    assert other.first_mismatch.node == "second"
    assert {other.first_mismatch.expected, other.first_mismatch.found} == {lower, lower + 2}


def test_a_mismatch_names_the_first_layer(
    built: tuple[Path, Path, Mapping[str, Any], Graph], tmp_path: Path, seed: int
) -> None:
    plan_folder, folder, facts, graph = built
    wrong = tmp_path / "plan"
    shutil.copytree(plan_folder, wrong)
    memory = wrong / "memory" / "fc1_bias.hex"
    lines = memory.read_text().split()
    lines[0] = f"{int(lines[0], 16) ^ 4:0{len(lines[0])}x}"
    memory.write_text("\n".join(lines) + "\n")
    x = random_vectors(graph, 2000, seed)
    result = verify_bulk(graph, load_simulation(wrong, facts, folder), x)
    assert result.mismatches > 0
    found = result.first_mismatch
    assert found is not None
    assert found.node == "bias1"
    assert found.index == (0,)
    assert abs(found.expected - found.found) == 4
    assert found.expected == interpret(graph, x, record={"bias1"})["bias1"][found.vector, 0]


def test_a_rare_mismatch_in_a_late_chunk_is_named_as_well(
    built: tuple[Path, Path, Mapping[str, Any], Graph], tmp_path: Path, seed: int
) -> None:
    plan_folder, folder, facts, graph = built
    wrong = tmp_path / "plan"
    shutil.copytree(plan_folder, wrong)
    memory = wrong / "memory" / "fc0_weights.hex"
    lines = memory.read_text().split()
    lines[0] = f"{int(lines[0], 16) ^ 1:0{len(lines[0])}x}"
    memory.write_text("\n".join(lines) + "\n")
    # The wrong weight belongs to input 0: only a vector in which that is not 0 can show it.
    x = random_vectors(graph, 3000, seed)
    x[:2900, 0] = 0
    result = verify_bulk(graph, load_simulation(wrong, facts, folder), x)
    assert result.first_mismatch is not None
    assert result.first_mismatch.node == "bias0"
    assert result.first_mismatch.vector >= 2900


def test_a_missing_memory_file_is_an_error(built: tuple[Path, Path, Mapping[str, Any], Graph], tmp_path: Path) -> None:
    plan_folder, folder, facts, graph = built
    wrong = tmp_path / "plan"
    shutil.copytree(plan_folder, wrong)
    (wrong / "memory" / "fc1_weights.hex").unlink()
    library = load_simulation(wrong, facts, folder)
    with pytest.raises(BuildFailed, match=r"the simulation of triple cannot start: .*memory/fc1_weights\.hex"):
        verify_bulk(graph, library, random_vectors(graph, 10, 0))


def test_a_missing_library_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="holds no simulation"):
        load_simulation(tmp_path, {}, tmp_path)


def test_a_stall_and_a_broken_protocol_are_reported(tmp_path: Path) -> None:
    graph = network()
    plan = make_plan("rtl", graph, Target(cycles_per_frame=16))
    plan.write(tmp_path / "plan")
    top = tmp_path / "plan" / "rtl" / f"{plan.top}.sv"
    text = top.read_text()
    # One design with two faults: while bit 0 of the input is set, act0 takes nothing; and the output offers a beat only in
    # every other cycle, whether the one before was taken or not.
    for old, new in (
        (".s_axis_tvalid(relu0_tvalid)", ".s_axis_tvalid(relu0_tvalid && !s_axis_tdata[0])"),
        (".s_axis_tready(relu0_tready)", ".s_axis_tready(room)"),
        (
            "  logic relu0_tready;",
            "  logic relu0_tready, room, odd;\n  assign relu0_tready = room && !s_axis_tdata[0];",
        ),
        (
            "m_axis_tvalid = winner_tvalid;",
            "m_axis_tvalid = winner_tvalid && odd;\n  always_ff @(posedge clk) odd <= !odd && !rst;",
        ),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    top.write_text(text)
    library = build_simulation(tmp_path / "plan", plan.facts, tmp_path / "simulation")
    x = np.zeros((50, 12), dtype=np.int64)
    with library.start() as simulation:
        with pytest.raises(
            BuildFailed, match=r"triple breaks the stream protocol in cycle \d+: m_axis_tvalid fell before the beat"
        ):
            simulate(graph, simulation, library, x, pattern=Pattern(stall=0.5, seed=9))
        with pytest.raises(BuildFailed) as error:
            simulate(graph, simulation, library, x + 1)
    message = str(error.value)
    assert message.startswith("triple stalled: no beat moved any more after ")
    assert "  relu0: u_relu0 offers a beat, u_act0 does not take it\n" in message
    (reader,) = (part["identifier"] for part in plan.facts["parts"] if "act0" in part["inputs"])
    assert f"  act0: u_{reader} waits, u_act0 offers nothing\n" in message
    assert "  winner: the sink waits, u_winner offers nothing\n" in message
    assert "  m_axis: the sink waits, u_winner offers nothing" in message
    waveform = tmp_path / "simulation" / "stalled.vcd"
    assert message.endswith(f"  Waveform of all streams: {waveform}")
    last = last_values(waveform)
    assert (last["relu0_tvalid"], last["relu0_tready"], last["act0_tvalid"]) == (1, 0, 0)
    assert last["s_axis_tdata"] == 0x111111  # six elements of four bits, all of them 1


def test_a_deadlock_is_told_by_the_streams_of_forks_and_fifos(tmp_path: Path) -> None:
    """A branch whose FIFO is too short for the convolution beside it: the fork cannot go on, and the join waits for ever."""
    graph = residual()
    plan = make_plan("rtl", graph, Target(cycles_per_frame=400))
    plan.write(tmp_path / "plan")
    top = tmp_path / "plan" / "rtl" / f"{plan.top}.sv"
    text, count = re.subn(r"(stream_fifo #\(\s+\.DATA_WIDTH\(8\),\s+\.DEPTH)\(6\)", r"\1(2)", top.read_text())
    assert count == 1
    top.write_text(text)
    library = build_simulation(tmp_path / "plan", plan.facts, tmp_path / "simulation", optimisation="-O0")
    with library.start() as simulation, pytest.raises(BuildFailed) as error:
        simulate(graph, simulation, library, np.zeros((20, 6, 6, 2), dtype=np.int64))
    lines = str(error.value).splitlines()
    assert lines[0].startswith("residual stalled: no beat moved any more after ")
    for line in (
        "s_axis: the source offers a beat, u_input_fork does not take it",
        "input_fork_a: u_residual_pad1 waits, u_input_fork offers nothing",
        "input_fork_b: u_input_fork offers a beat, u_input_branch does not take it",
        "input_branch: u_input_branch offers a beat, u_residual_add4 does not take it",
        "residual_narrow3: u_residual_add4 waits, u_residual_narrow3 offers nothing",
    ):
        assert f"  {line}" in lines, error.value
    # The streams in the order of the network, each once.
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [
        "s_axis", *(stream for part in plan.facts["parts"] for stream in part["outputs"]), "m_axis",
    ]  # fmt: skip
    last = last_values(tmp_path / "simulation" / "stalled.vcd")
    assert (last["input_fork_b_tvalid"], last["input_fork_b_tready"]) == (1, 0)


def last_values(path: Path) -> dict[str, int]:
    """What every signal of a waveform is at its end."""
    from vcd.reader import TokenKind, tokenize

    names: dict[str, str] = {}
    values: dict[str, int] = {}
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.VAR:
                names[token.var.id_code] = token.var.reference
            elif token.kind is TokenKind.CHANGE_SCALAR:
                values[names[token.scalar_change.id_code]] = int(token.scalar_change.value)
            elif token.kind is TokenKind.CHANGE_VECTOR:
                values[names[token.vector_change.id_code]] = int(token.vector_change.value)
    return values


#: Faults that a sink which always takes never shows: what they change in the top module.
ONLY_WITH_PAUSES = {
    "a beat that has waited is not taken any more": (
        (".s_axis_tvalid(fc2_tvalid)", ".s_axis_tvalid(fc2_tvalid && !tired)"),
        ("  .s_axis_tready(fc2_tready)", "  .s_axis_tready(room)"),
        (
            "  logic fc2_tready;",
            "  logic fc2_tready, room, tired;\n  assign fc2_tready = room && !tired;\n"
            "  always_ff @(posedge clk) tired <= !rst && (tired || (fc2_tvalid && !fc2_tready));",
        ),
    ),
    "a beat that has waited is another": (
        (".s_axis_tdata(fc2_tdata)", ".s_axis_tdata(waited ? ~fc2_tdata : fc2_tdata)"),
        (
            "  logic fc2_tready;",
            "  logic fc2_tready, waited;\n  always_ff @(posedge clk) waited <= fc2_tvalid && !fc2_tready;",
        ),
    ),
    "a result that waits goes away": (
        ("m_axis_tvalid = winner_tvalid;", "m_axis_tvalid = winner_tvalid && !late;\n"
         "  logic late;\n  always_ff @(posedge clk) late <= m_axis_tvalid && !m_axis_tready;"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", ONLY_WITH_PAUSES)
def test_what_only_pauses_show_is_found_in_bulk(fault: str, tmp_path: Path, seed: int) -> None:
    graph = network()
    plan = make_plan("rtl", graph, Target(cycles_per_frame=16))
    plan.write(tmp_path / "plan")
    top = tmp_path / "plan" / "rtl" / f"{plan.top}.sv"
    text = top.read_text()
    for old, new in ONLY_WITH_PAUSES[fault]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    top.write_text(text)
    library = build_simulation(tmp_path / "plan", plan.facts, tmp_path / "simulation", optimisation="-O0")
    library.waveform_folder = tmp_path
    x = random_vectors(graph, 1000, seed)
    with library.start() as simulation:  # full rate does not show it
        output, _, _ = simulate(graph, simulation, library, x)
    assert np.array_equal(output, interpret(graph, x)["winner"])
    slow_sink = (
        "Not so at full rate; here the source offers a beat in 1 of 1 cycles and the sink takes one in 1 of 32 cycles"
    )
    if fault == "a beat that has waited is another":
        result = verify_bulk(graph, library, x)
        assert 0 < result.mismatches <= result.paused_vectors == 125
        found = result.first_mismatch
        assert found is not None
        assert (found.node, found.pauses, found.waveform) == (
            "winner", mixes_of_pauses(plan.facts)[0], tmp_path / "mismatch.vcd"
        )  # fmt: skip
        assert found.notes == (f"{slow_sink}, on average", f"Waveform of all streams: {found.waveform}")
        with pytest.raises(Mismatch) as caught:
            refuse_mismatch("rung 3 (RTL in bulk)", result.mismatches, found)
        assert str(caught.value) == (
            f"rung 3 (RTL in bulk), first at layer 'winner': {result.mismatches} of the compared values differ from the "
            f"interpreter; first at vector {found.vector}, index [0]: expected {found.expected}, found {found.found}\n"
            f"  {slow_sink}, on average\n  Waveform of all streams: {tmp_path / 'mismatch.vcd'}"
        )
        # The waveform ends with the wrong result as it is taken.
        last = last_values(found.waveform)
        assert (last["m_axis_tvalid"], last["m_axis_tready"], last["m_axis_tdata"]) == (1, 1, found.found)
        return
    with pytest.raises(BuildFailed) as error:
        verify_bulk(graph, library, x)
    message = str(error.value)
    assert f"\n  {slow_sink}, on average" in message
    if fault == "a result that waits goes away":
        assert message.startswith("triple breaks the stream protocol in cycle ")
        waveform = tmp_path / "violation.vcd"
    else:
        assert message.startswith("triple stalled: no beat moved any more after ")
        assert "\n  fc2: u_fc2 offers a beat, u_winner does not take it\n" in message
        assert "\n  m_axis: the sink waits, u_winner offers nothing\n" in message
        waveform = tmp_path / "stalled.vcd"
    assert f"\n  Waveform of all streams: {waveform}" in message
    times = re.findall(r"^#(\d+)$", waveform.read_text(), re.MULTILINE)
    if waveform.name == "violation.vcd":  # shortly behind the cycle in which the rule was broken
        cycle = int(re.search(r"in cycle (\d+)", message)[1])
        assert int(times[-1]) == 10 * (cycle + 15) + 5
    else:
        last = last_values(waveform)
        assert (last["m_axis_tvalid"], last["fc2_tvalid"], last["fc2_tready"]) == (0, 1, 0)
    assert len(times) > 2 * 64


def test_how_much_is_run_with_pauses() -> None:
    """As many vectors as fit 10,000 cycles or fill the network twice, an eighth at most; the ports pause at the network's own pace."""

    def count(interval: int, latency: int, total: int) -> int:
        facts = {"initiation_interval_cycles": interval, "latency_cycles": latency}
        return paused_vectors(facts, min(256, total), total)

    assert count(16, 50, 100_000) == 256
    assert count(100, 350, 100_000) == 100
    assert count(50_000, 120_000, 1000) == 10
    assert count(50_000, 120_000, 20) == 2
    assert count(10, 50, 5) == 1
    ports = {"input": {"beats": 25}, "output": {"beats": 1}}
    full, mixed = mixes_of_pauses({"initiation_interval_cycles": 100, **ports})
    assert (full.idle, round(1 / (1 - full.stall), 6)) == (0, 200)
    assert (round(1 / (1 - mixed.idle), 6), round(1 / (1 - mixed.stall), 6)) == (5, 101)
    assert (mixed.longest_idle_cycles, mixed.longest_stall_cycles, full.longest_stall_cycles) == (64, 404, 800)
    # A network that takes a beat a cycle meets pauses all the same.
    full, mixed = mixes_of_pauses({"initiation_interval_cycles": 25, "input": {"beats": 25}, "output": {"beats": 25}})
    assert (full.stall, mixed.idle, mixed.stall) == (0.5, 0.5, 0.5)


def test_a_border_that_runs_ahead_is_declared_and_no_more_is_let_pass(tmp_path: Path) -> None:
    builder = GraphBuilder("bordered")
    x = builder.add(Input((3, 4, 1), IntegerType(False, 3)), name="x")
    padded = builder.add(Pad(((1, 1), (1, 1), (0, 0))), x, name="padded")
    builder.output(builder.add(Conv(np.ones((3, 3, 1, 2), np.int64), (1, 1), (1, 1)), padded, name="conv"))
    graph = builder.build()
    plan = make_plan("rtl", graph, Target())
    plan.write(tmp_path / "plan")
    ahead = {part["identifier"]: part["beats_ahead"] for part in plan.facts["parts"]}
    assert ahead["padded"] == 7  # a row of six pixels, and the left border of the next
    assert ahead["conv"] == 0
    library = build_simulation(tmp_path / "plan", plan.facts, tmp_path / "simulation")
    vectors = random_vectors(graph, 20, seed=1)
    with library.start() as simulation:
        simulate(graph, simulation, library, vectors, capture=["padded"])
        for part in library.facts["parts"]:
            part["beats_ahead"] = 0
        with pytest.raises(BuildFailed, match="stream padded carried 607 beats in 20 frames, expected 600"):
            simulate(graph, simulation, library, vectors, capture=["padded"])
