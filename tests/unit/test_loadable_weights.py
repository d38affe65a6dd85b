# SPDX-License-Identifier: Apache-2.0
"""Weights that can be replaced at run time: the places of memories, the room for other constants, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from toolchain.backends.rtl.streaming import plan
from toolchain.backends.rtl.streaming.reserve import Room, reserve_constants, room_of
from toolchain.cli import bitwright
from toolchain.deploy.project import board_plan
from toolchain.deploy.weights import load_writes, weights_for
from toolchain.errors import UsageError
from toolchain.ir import (
    AddBias,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Lookup,
    MaxPool,
    Operation,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    Scale,
    Threshold,
)
from toolchain.passes.append_argmax import append_argmax
from toolchain.passes.encode_signs import encode_signs
from toolchain.target import Target, find_board

LOADABLE = Target(cycles_per_frame=40, loadable_weights=True)
FOUR_BITS = Requantise(IntegerType(False, 4, 2), Rounding.HALF_EVEN, Overflow.SATURATE)


def chain(source: Input, *operations: tuple[str, Operation]) -> Graph:
    builder = GraphBuilder("chain")
    tensor = builder.add(source, name="x")
    for name, operation in operations:
        tensor = builder.add(operation, tensor, name=name)
    builder.output(tensor)
    return builder.build()


def weights(seed: int, shape: Sequence[int], bits: int = 4) -> np.ndarray:
    """With both ends of the interval."""
    values = np.random.default_rng(seed).integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)
    values.flat[:2] = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return values


def small(seed: int = 0, *, bits: int = 4, table: int = 0, source: Input | None = None) -> Graph:
    return chain(
        source or Input((12,), IntegerType(False, 4, 4)),
        ("fc", Dense(weights(seed, (12, 10), bits), 3)),
        ("fc_bias", AddBias(weights(seed, (10,)), 3)),
        ("relu", Relu()),
        ("narrow", FOUR_BITS),
        ("table", Lookup((np.arange(16) * 3 + table).reshape(1, 16), 0)),
        ("scores", Dense(weights(seed, (10, 3)), 2)),
    )


@pytest.mark.parametrize("pace", [40, 10, 5])
def test_regions_are_aligned_and_apart(pace: int) -> None:
    made = plan(small(), replace(LOADABLE, cycles_per_frame=pace))
    loadable = made.facts["loadable"]
    assert pace != 5 or any(memory["chunks"] == 3 for memory in loadable["memories"])
    taken: list[tuple[int, int]] = []
    for memory in loadable["memories"]:
        assert memory["chunks"] == -(-memory["width"] // 32)
        assert memory["chunks_apart"] >= memory["chunks"] > memory["chunks_apart"] // 2
        assert memory["chunks_apart"] & (memory["chunks_apart"] - 1) == 0
        size = 4 * memory["chunks_apart"]
        while size < 4 * memory["chunks_apart"] * memory["depth"]:
            size *= 2
        assert memory["address"] % size == 0
        assert memory["address"] > 0
        taken.append((memory["address"], memory["address"] + size))
    taken.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(taken))
    assert taken[-1][1] <= loadable["bytes"] == 1 << loadable["address_width"]
    assert [(memory["node"], Path(memory["file"]).name) for memory in loadable["memories"]] == [
        ("fc", "fc_weights.hex"), ("fc", "fc_bias.hex"), ("scores", "scores_weights.hex"),
    ]  # fmt: skip


def test_the_plan_has_the_port_only_when_asked() -> None:
    fixed, made = plan(small(), Target(cycles_per_frame=40)), plan(small(), LOADABLE)
    tops = [{file.path: file.content.decode() for file in p.files}[f"rtl/{p.top}.sv"] for p in (fixed, made)]
    assert "s_axil" not in tops[0]
    assert ".load_bus('0)" in tops[0]
    assert "loadable" not in fixed.facts
    assert "rtl/axi_lite_load.sv" not in [file.path for file in fixed.files]
    assert "rtl/axi_lite_load.sv" in [file.path for file in made.files]
    assert f"32'h{made.facts['loadable']['identification'][2:]}" in tops[1]
    assert made.facts["latency_cycles"] == fixed.facts["latency_cycles"]


def test_the_component_has_a_memory_map() -> None:
    made = plan(small(), LOADABLE)
    (text,) = (file.content for file in made.files if file.path.endswith(".xml"))
    root = ElementTree.fromstring(text)  # noqa: S314 (written by the plan itself)
    space = {"i": "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"}
    blocks = {
        block.findtext("i:name", namespaces=space): int(
            (block.findtext("i:baseAddress", namespaces=space) or "")[2:], 16
        )
        for block in root.findall(".//i:addressBlock", space)
    }
    found = {Path(memory["file"]).stem: memory["address"] for memory in made.facts["loadable"]["memories"]}
    assert blocks == {"identification": 0, **found}
    interfaces = [bus.findtext("i:name", namespaces=space) for bus in root.findall(".//i:busInterface", space)]
    assert "s_axil" in interfaces
    ports = [port.findtext("i:name", namespaces=space) for port in root.findall(".//i:port", space)]
    assert len([name for name in ports if name and name.startswith("s_axil_")]) == 19


def test_a_board_ties_the_port_low() -> None:
    made = board_plan(plan(small(), LOADABLE), find_board("ulx3s-85f"), 100.0)
    wrapper = next(file.content.decode() for file in made.files if file.path == "board/design_core.sv")
    assert wrapper.count("    .s_axil_") == 19
    assert "    .s_axil_awvalid('0),\n" in wrapper
    assert "    .s_axil_bvalid(),\n" in wrapper
    fixed = board_plan(plan(small(), Target(cycles_per_frame=40)), find_board("ulx3s-85f"), 100.0)
    assert not any("s_axil" in file.content.decode() for file in fixed.files if file.path.endswith(".sv"))


def test_writes_follow_the_memory_files() -> None:
    made = plan(small(), LOADABLE)
    writes = dict(load_writes(made))
    files = {file.path: file.content.decode().split() for file in made.files if file.path.endswith(".hex")}
    for memory in made.facts["loadable"]["memories"]:
        for number, line in enumerate(files[memory["file"]]):
            start = memory["address"] + 4 * memory["chunks_apart"] * number
            parts = [writes.pop(start + 4 * chunk) for chunk in range(memory["chunks"])]
            assert sum(part << (32 * place) for place, part in enumerate(parts)) == int(line, 16)
    assert not writes


def test_rooms() -> None:
    """Widths stay those of the trained weights; biases are as wide as the sums, thresholds as the input."""
    graph = chain(
        Input((4, 4, 4), IntegerType(False, 4)),
        ("conv", Conv(weights(1, (2, 2, 4, 6), 3), (1, 1), (1, 1))),
        ("bias", AddBias(np.arange(6), 0)),
        ("steps", Threshold(np.arange(18).reshape(6, 3) * 3)),
        ("signs", Conv(np.where(weights(2, (1, 1, 6, 4)) < 0, -1, 1), (1, 1), (1, 1))),
        ("flat", Reshape((36,))),
        ("ternary", Dense(np.resize([-1, 0, 1], (36, 5)), 0)),
        ("factors", Scale(np.array([3, -5, 1, 1, 2]))),
    )
    reserved, rooms = reserve_constants(graph)
    found = {node.name: room_of(node.operation) for node in reserved}
    # 16 terms of inputs up to 15 and weights from -4 to 3, in 11 bits.
    least, most = 16 * 15 * -4, 16 * 15 * 3
    expected = {
        "x": None, "conv": Room(-4, 3), "bias": Room(-1024, 1023),
        "steps": Room(least - 1024, most + 1023 + 1), "signs": Room(-1, 1, zero=False),
        "flat": None, "ternary": Room(-1, 1), "factors": Room(-8, 7),
    }  # fmt: skip
    assert found == expected
    assert [room for room in found.values() if room] == list(rooms)
    assert reserve_constants(graph, rooms)[0].types == reserved.types


def test_other_constants_have_the_same_structure() -> None:
    built = plan(small(), LOADABLE).facts
    found = weights_for(small(7), built)
    assert f"0x{found.identification:08x}" == built["loadable"]["identification"]
    assert found.writes != tuple(load_writes(plan(small(), LOADABLE)))
    assert weights_for(small(), built).writes == tuple(load_writes(plan(small(), LOADABLE)))


def test_values_decide_nothing() -> None:
    """Equal factors, low zeros in common, thresholds alike, zeros: the parts are those of any other constants."""

    def network(weights_: np.ndarray, factors: np.ndarray, steps: np.ndarray, bias: np.ndarray) -> Graph:
        return chain(
            Input((4, 6), IntegerType(True, 4)),
            ("fc", Dense(weights_)),
            ("factors", Scale(factors)),
            ("bias", AddBias(bias)),
            ("steps", Threshold(steps)),
        )

    alike = network(np.full((6, 8), -8), np.full(8, -4), np.tile([0, 1, 2], (8, 1)), np.zeros(8, int))
    steps = np.sort(np.random.default_rng(4).integers(-90, 90, (8, 3)), axis=1)
    other = network(weights(5, (6, 8)), weights(6, (8,), 3), steps, np.arange(8))
    for built, loaded in ((alike, other), (other, alike)):
        assert weights_for(loaded, plan(built, LOADABLE).facts).writes == tuple(load_writes(plan(loaded, LOADABLE)))


def test_an_argmax_of_the_build_is_put_behind_the_model() -> None:
    built = plan(append_argmax(small()), LOADABLE).facts
    assert (
        weights_for(small(3), built).graph.by_name[weights_for(small(3), built).graph.outputs[0].tensor].operation.kind
        == "argmax"
    )


def test_facts_survive_json() -> None:
    built = json.loads(json.dumps(plan(small(), LOADABLE).facts))
    assert weights_for(small(2), built).writes


def without_last(graph: Graph) -> Graph:
    builder = GraphBuilder("chain")
    for node in graph.nodes[:-1]:
        builder.add(node.operation, *node.inputs, name=node.name)
    builder.output(graph.nodes[-2].name)
    return builder.build()


def changed(graph: Graph, name: str, operation: Operation) -> Graph:
    nodes = tuple(replace(node, operation=operation) if node.name == name else node for node in graph)
    return graph.replace_nodes(nodes)


REFUSED: list[tuple[Callable[[], Graph], str]] = [
    (
        lambda: small(1, bits=5),
        "constants of the model do not fit the build:\n"
        "  fc (dense): constants lie in [-16, 15], the build has room for [-8, 7]",
    ),
    (
        lambda: small(1, table=1),
        "the model differs from the build in more than its constants:\n"
        "  part 4 (lookup): its table differs, and cannot be loaded\n"
        "Build it anew, or quantise it as the first one was",
    ),
    (
        lambda: small(1, source=Input((12,), IntegerType(False, 4, 3))),
        "the model's input is 12 integers in [0, 15] with 3 fraction bits, the build's 12 integers in [0, 15] with 4 fraction "
        "bits; give its type as for the build",
    ),
    (
        lambda: small(1, source=Input((12,), IntegerType(True, 5, 4))),
        "the model's input is 12 integers in [-16, 15] with 4 fraction bits, the build's 12 integers in [0, 15] with 4 fraction "
        "bits; give its type as for the build",
    ),
    (
        lambda: without_last(small(1)),
        "the model is another network: stage 5 (its end) is nothing, the build has dense there (5 stages, found 4)",
    ),
    (
        lambda: changed(small(1), "relu", Relu(1)),
        "the model differs from the build in more than its constants:\n"
        "  part 2 (relu): NEGATIVE_SLOPE_SHIFT is 1; allowed: -1\n",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refused(make: Callable[[], Graph], message: str) -> None:
    built = plan(small(), LOADABLE).facts
    with pytest.raises(UsageError) as raised:
        weights_for(make(), built)
    assert str(raised.value).startswith(message) if message.endswith("\n") else str(raised.value) == message


def test_fixed_weights_are_named() -> None:
    with pytest.raises(
        UsageError, match=r"the weights of chain are fixed; build it with --loadable-weights \(backend rtl\)"
    ):
        weights_for(small(), plan(small(), Target(cycles_per_frame=40)).facts)


def test_nothing_to_load() -> None:
    graph = chain(Input((3,), IntegerType(True, 4)), ("relu", Relu()))
    with pytest.raises(UsageError, match="has no weights, biases or thresholds to load"):
        plan(graph, LOADABLE)


def test_a_border_waits_for_its_frame() -> None:
    """It would meet the constants from before they were loaded."""
    graph = chain(
        Input((3, 3, 2), IntegerType(True, 4)),
        ("border", Pad(((1, 1), (1, 1), (0, 0)), 3)),
        ("largest", MaxPool((2, 2), (1, 1))),
        ("conv", Conv(weights(3, (2, 2, 2, 3)), (1, 1), (1, 1))),
    )
    assert any(part["beats_ahead"] for part in plan(graph, Target(cycles_per_frame=99)).facts["parts"])
    made = plan(graph, Target(cycles_per_frame=99, loadable_weights=True))
    assert not any(part["beats_ahead"] for part in made.facts["parts"])


def test_signs_become_bits_whatever_the_weights_are() -> None:
    """A bias that makes the output's word wider matters only where the word has to stay."""

    def signs(last: np.ndarray) -> Graph:
        return chain(
            Input((4,), IntegerType(True, 4)),
            ("sign", Threshold(np.zeros((1, 2), int), -3)),
            ("scores", Dense(last)),
        )

    alike = np.ones((4, 2), int)
    for last, stays in ((alike, False), (alike * [1, -1], True)):
        graph = signs(last)
        assert (encode_signs(graph) is graph) == stays
        assert [node.name for node in encode_signs(graph, same_words=False)] == ["x", "sign", "scores", "scores_signs"]
    built = plan(signs(alike), LOADABLE).facts
    assert weights_for(signs(alike * [1, -1]), built).writes


@pytest.mark.parametrize("what", ["nothing", "fixed", "other"])
def test_the_command_refuses_without_a_traceback(what: str, tmp_path: Path) -> None:
    from toolchain.ir import save_graph

    built: dict[str, Any] = {"nothing": {}, "fixed": plan(small(), Target(cycles_per_frame=40)).facts}.get(
        what, plan(small(), LOADABLE).facts
    )
    if built:
        (tmp_path / "rtl").mkdir()
        (tmp_path / "rtl" / "stage.json").write_text(json.dumps({"facts": {"facts": built}}))
    save_graph(small(1, bits=6), tmp_path / "model.bitwright")
    arguments = [
        "weights",
        str(tmp_path / "model.bitwright"),
        "--build",
        str(tmp_path),
        "--out",
        str(tmp_path / "w.csv"),
    ]
    result = CliRunner().invoke(bitwright, arguments)
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    assert not (tmp_path / "w.csv").exists()
