# SPDX-License-Identifier: Apache-2.0
"""The streaming backend without tools: its text, its facts, what it refuses, and the schedule's own rules."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.equivalence.rtl_cases import HOSTILE, network_members
from toolchain.backends.base import make_plan
from toolchain.backends.rtl.streaming import plan
from toolchain.backends.rtl.streaming.emit import comment_text
from toolchain.backends.rtl.streaming.instance import packed, signed_width
from toolchain.backends.rtl.streaming.schedule import Schedule
from toolchain.backends.rtl.streaming.timing import NarrowTiming, folded_timing, line, queue_timing, widen_timing
from toolchain.errors import UnsupportedModel, UsageError
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Relu,
    Requantise,
    Rounding,
    Threshold,
)
from toolchain.passes.choose_folding import Folding, StageFolding
from toolchain.target import Target

GOLDEN = Path(__file__).parent.parent / "golden"


def small() -> Graph:
    builder = GraphBuilder("small network")
    x = builder.add(Input((6,), IntegerType(False, 3, 3)), name="input")
    t = builder.add(Dense(np.arange(24).reshape(6, 4) % 7 - 3, 2), x, name="fc1", source="model/fc1")
    t = builder.add(AddBias(np.array([3, -2, 0, 9]), 6), t, name="fc1_bias", source="model/fc1")
    t = builder.add(Relu(), t, name="relu", source="model/relu")
    t = builder.add(Requantise(IntegerType(False, 3, 1), Rounding.HALF_EVEN, Overflow.SATURATE), t, name="quantise")
    t = builder.add(Dense(np.arange(12).reshape(4, 3) % 5 - 2, 1), t, name="fc2", source="model/fc2")
    t = builder.add(
        Threshold(np.array([[-4, -1, 3], [-2, 0, 2], [1, 1, 5]]), -1, 0), t, name="steps", source="model/steps"
    )
    builder.output(builder.add(ArgMax(), t, name="winner"))
    return builder.build()


def test_golden_text() -> None:
    """The generated text, as reviewed. GOLDEN=1 writes it anew: read the difference before you commit it."""
    made = make_plan("rtl", small(), Target(cycles_per_frame=6))
    text = next(file.content.decode() for file in made.files if file.path == f"rtl/{made.top}.sv")
    facts = json.dumps(made.facts, indent=1, sort_keys=True) + "\n"
    memories = "".join(f"{file.path}\n{file.content.decode()}" for file in made.files if file.path.endswith(".hex"))
    for name, found in (
        ("small_network.sv", text),
        ("small_network.json", facts),
        ("small_network_memories.txt", memories),
    ):
        path = GOLDEN / name
        if os.environ.get("GOLDEN") == "1":
            path.write_text(found)
        assert found == path.read_text(), f"{name} differs from what was reviewed; see this test's docstring"


def test_same_graph_same_plan() -> None:
    assert make_plan("rtl", small(), Target()).digest == make_plan("rtl", small(), Target()).digest


def test_files_of_a_plan() -> None:
    made = make_plan("rtl", small(), Target(cycles_per_frame=6))
    paths = [file.path for file in made.files]
    assert made.top == "small_network"
    assert paths[-1] == "files.f"
    sources = made.files[-1].content.decode().split()
    assert sources == [path for path in paths if path.endswith(".sv")]
    assert sources[-1] == "rtl/small_network.sv"
    text = "\n".join(file.content.decode() for file in made.files if file.path.endswith(".sv"))
    # Every module that is instantiated is there, and every memory file that is named.
    instantiated = set(re.findall(r"^ +(\w+) #\($", text, re.MULTILINE))
    assert instantiated <= {Path(path).stem for path in sources}
    assert set(re.findall(r'"(memory/[^"]+)"', text)) == {path for path in paths if path.startswith("memory/")}
    json.dumps(made.facts)


@pytest.mark.parametrize("member", list(network_members(range(1, 24, 2))), ids=lambda member: member.name)
def test_hostile_names_do_no_harm(member: object) -> None:
    made = plan(member.graph, Target())  # type: ignore[attr-defined]
    text = next(file.content.decode() for file in made.files if file.path == f"rtl/{made.top}.sv")
    assert text.isascii()
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", made.top)
    code = "\n".join(line.split("//")[0] for line in text.splitlines())
    assert len(re.findall(r"\bendmodule\b", code)) == 1
    assert "$finish" not in code
    assert "`include" not in code
    assert not any(line.rstrip().endswith("\\") for line in text.splitlines())
    assert all(not part.startswith(".") for file in made.files for part in Path(file.path).parts)
    declared = re.findall(r"^  logic (?:\[\d+:0\] )?(\w+);|\bu_\w+ \(", text, re.MULTILINE)
    names = [name for name in [*declared, *re.findall(r"\) (u_\w+) \(", text)] if name]
    assert len({name.lower() for name in names}) == len(names), "two things have one name"


@pytest.mark.parametrize("name", HOSTILE)
def test_comment_text(name: str) -> None:
    text = comment_text(name)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= 62
    assert "*/" not in text
    assert "/*" not in text


def refused(graph: Graph) -> str:
    with pytest.raises(UnsupportedModel) as error:
        make_plan("rtl", graph, Target())
    return str(error.value)


def test_refused_widths() -> None:
    builder = GraphBuilder("wide")
    x = builder.add(Input((2,), IntegerType(True, 65)), name="x")
    builder.output(builder.add(Dense(np.array([[1], [1 << 70]], dtype=object)), x, name="fc", source="layer/fc"))
    assert refused(builder.build()) == (
        "backend 'rtl' cannot express this network exactly:\n"
        "  fc (dense from layer/fc): inputs have 65 bits; allowed are 64. Quantise the input of this layer. "
        "Backend that can: hls4ml"
    )
    builder = GraphBuilder("wide")
    x = builder.add(Input((2,), IntegerType(True, 4)), name="x")
    builder.output(builder.add(Dense(np.array([[1], [1 << 70]], dtype=object)), x, name="fc"))
    assert "fc (dense): weights have 72 bits; allowed are 64. Quantise the weights of this layer" in refused(
        builder.build()
    )
    builder = GraphBuilder("wide")
    x = builder.add(Input((2,), IntegerType(True, 100)), name="x")
    builder.output(builder.add(Requantise(IntegerType(False, 64), overflow=Overflow.SATURATE), x, name="q"))
    assert "q (requantise): saturation needs bounds of at most 64 signed bits; found ufixed<64,64>" in refused(
        builder.build()
    )


def test_refused_results_without_use() -> None:
    builder = GraphBuilder("unused")
    x = builder.add(Input((2,), IntegerType(True, 4)), name="x")
    builder.add(Relu(), x, name="a")
    builder.output(builder.add(Relu(), x, name="b"))
    assert refused(builder.build()).endswith(
        "\n  a (relu): its result is not used; remove the node. Backend that can: hls4ml"
    )


def test_bad_folding_is_refused() -> None:
    stages = {name: StageFolding(1, 1) for name in ("fc1", "relu", "quantise", "fc2", "steps", "winner")}
    assert plan(small(), Target(), Folding(99, stages)).facts["initiation_interval_cycles"] == 24
    with pytest.raises(
        UsageError,
        match=r"fc1 \(dense from model/fc1\): pe must divide its 4 output channels; found 3\. Use pe in \{1, 2, 4\}",
    ):
        plan(small(), Target(), Folding(99, {**stages, "fc1": StageFolding(2, 3)}))


@pytest.mark.parametrize("pace", [1, 2, 3, 6, 12, 24, 200])
def test_interval_is_that_of_the_slowest_stage(pace: int) -> None:
    made = make_plan("rtl", small(), Target(cycles_per_frame=pace))
    facts = made.facts
    beats = [node["beats"] for node in facts["nodes"]] + [facts["input"]["beats"]]
    steps = {"fc1": 6 * 4, "fc2": 4 * 3}
    cycles = [steps[node["nodes"][0]] // node["multipliers"] for node in facts["nodes"] if node["multipliers"]]
    assert facts["initiation_interval_cycles"] == max(beats + cycles) <= pace
    assert facts["steady_state"]["cycles"] == facts["initiation_interval_cycles"] * facts["steady_state"]["frames"]


@pytest.mark.parametrize(
    ("low", "high", "width"), [(-1, 0, 1), (0, 0, 1), (0, 1, 2), (-2, 1, 2), (-8, 7, 4), (-9, 7, 5), (3, 8, 5)]
)
def test_signed_width(low: int, high: int, width: int) -> None:
    assert signed_width(low, high) == width


def test_packed() -> None:
    assert packed([1, -1, 2], 4) == 0x2F1
    assert packed([], 4) == 0


# ---- The schedule: rules that can be counted by hand ---------------------------------------------------------------


def times(schedule: Schedule) -> list[list[int]]:
    """Of the input and the output of one kernel."""
    return [schedule.times(stream).tolist() for stream in (0, -1)]


def test_queue_delays_and_holds() -> None:
    schedule = Schedule(line([queue_timing(2, 1)], [3, 3]))
    schedule.extend(2)
    assert times(schedule) == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]]
    # One place only: a beat enters in the cycle after the one before it left.
    schedule = Schedule(line([queue_timing(1, 1)], [3, 3]))
    schedule.extend(1)
    assert times(schedule) == [[0, 2, 4], [1, 3, 5]]


def test_folded_kernel() -> None:
    # 2 input beats, 3 groups: 6 steps a frame; the first two take the input, groups end in cycles 1, 3 and 5.
    schedule = Schedule(line([folded_timing(2, 3, 3, 4)], [2, 3]))
    schedule.extend(2)
    assert times(schedule) == [[0, 1, 6, 7], [5, 7, 9, 11, 13, 15]]
    assert schedule.latency_cycles() == 9
    assert schedule.first_output_latency_cycles() == 5
    assert schedule.steady_state().cycles == 6


def test_folded_kernel_waits_for_a_slot() -> None:
    # Its groups are ready every cycle, but a slot is free again only after the result has been taken.
    schedule = Schedule(line([folded_timing(1, 1, 1, 3)], [1, 1]))
    schedule.extend(3)
    assert times(schedule) == [[0, 4, 8], [3, 7, 11]]
    assert schedule.steady_state().cycles == 4


def test_width_converters() -> None:
    schedule = Schedule(line([widen_timing(2)], [4, 2]))
    schedule.extend(1)
    assert times(schedule) == [[0, 1, 2, 3], [2, 4]]
    schedule = Schedule(line([NarrowTiming(3)], [2, 6]))
    schedule.extend(1)
    assert times(schedule) == [[0, 2], [2, 3, 4, 5, 6, 7]]


def test_source_at_a_pace() -> None:
    schedule = Schedule(line([queue_timing(2, 1)], [2, 2]), source_interval_cycles=7)
    schedule.extend(3)
    assert times(schedule)[0] == [0, 1, 7, 8, 14, 15]
    assert schedule.steady_state().cycles == 7


def test_occupancy() -> None:
    # A queue in front of a slow reader: beats come every cycle, and leave every third.
    schedule = Schedule(line([queue_timing(100, 1), folded_timing(1, 3, 9, 1)], [4, 4, 12]), source_interval_cycles=12)
    schedule.extend(3)
    assert schedule.occupancy(0) == 3


def test_core_and_component_name_every_file_once() -> None:
    """FuseSoC 2.4 accepts and lints the core file; the component is read as XML."""
    made = make_plan("rtl", small(), Target(cycles_per_frame=6))
    contents = {file.path: file.content.decode() for file in made.files}
    core, component = contents["small_network.core"], ElementTree.fromstring(contents["small_network.xml"])  # noqa: S314 - our own output
    assert core.startswith("CAPI=2:\nname: bitwright:networks:small_network:1.0.0\n")
    space = "{http://www.accellera.org/XMLSchema/IPXACT/1685-2014}"
    named = [file.findtext(f"{space}name") for file in component.iter(f"{space}file")]
    expected = [path for path in contents if path.endswith((".sv", ".hex"))]
    assert named == expected
    assert [
        json.loads(line.split("- ")[1].split(": {")[0]) for line in core.splitlines() if line.startswith("      - ")
    ] == expected
    declared = re.findall(r"^  (?:input|output)\b.*?(\w+),?$", contents["rtl/small_network.sv"], re.MULTILINE)
    assert [port.findtext(f"{space}name") for port in component.iter(f"{space}port")] == declared
    mapped = [port.findtext(f"{space}name") for port in component.iter(f"{space}physicalPort")]
    assert sorted(mapped) == sorted(name for name in declared if "axis" in name)
