# SPDX-License-Identifier: Apache-2.0
"""What the FINN backend decides before FINN runs: thresholds, which stages are FINN's, and what it asks of the worker."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.equivalence.rtl_images import image_members
from toolchain.backends.base import refusals, require_supported
from toolchain.backends.finn import Design, design, write_request
from toolchain.backends.finn.layers import canonical_thresholds, dsp_block, why_own_kernel
from toolchain.backends.finn.lower import lower
from toolchain.errors import UnsupportedModel, UsageError
from toolchain.ir import (
    AddBias,
    ArgMax,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Lookup,
    MaxPool,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    Scale,
    Threshold,
    Transpose,
    interpret,
)
from toolchain.passes.group_stages import group_stages
from toolchain.pipeline.folding_file import read_folding
from toolchain.target import GivenFolding, Target, find_device
from toolchain.verify.vectors import random_vectors

XC7, VERSAL = "xc7z020clg400-1", "xcvc1902-vsva2197-2mp-e-s"


def chain(*operations: object, channels: int = 5, element: IntegerType | None = None) -> Graph:
    builder = GraphBuilder("chain")
    tensor = builder.add(Input((channels,), element or IntegerType(True, 7, 3)), name="x")
    for number, operation in enumerate(operations):
        tensor = builder.add(operation, tensor, name=f"n{number}", source=f"layer{number}")  # type: ignore[arg-type]
    builder.output(tensor)
    return builder.build()


def kinds(graph: Graph) -> list[str]:
    return [node.operation.kind for node in graph]


BIAS = AddBias(np.array([3, -9, 0, 40, 5]), 4)
TO_4_BITS = Requantise(IntegerType(False, 4, 1), Rounding.HALF_EVEN, Overflow.SATURATE)
CHAINS = {
    "requantise": (Requantise(IntegerType(True, 3, 0), Rounding.HALF_UP, Overflow.SATURATE),),
    "bias, relu, requantise": (BIAS, Relu(), TO_4_BITS),
    "leaky": (BIAS, Relu(2), Requantise(IntegerType(True, 5, 1), Rounding.TRUNCATE, Overflow.SATURATE)),
    "scale": (Scale(np.array([0, 1, 5, 9, 2]), 3), TO_4_BITS),
    "wraps nowhere": (Requantise(IntegerType(True, 8, 3), Rounding.TRUNCATE, Overflow.WRAP),),
    "table": (Lookup(np.sort(np.random.default_rng(2).integers(-9, 30, (5, 128)), axis=1), -64),),
    "two quantisers": (TO_4_BITS, Requantise(IntegerType(False, 2, 0), Rounding.HALF_UP, Overflow.SATURATE)),
    "thresholds": (BIAS, Threshold(np.array([[-30, 0, 0, 9]]), -2)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_become_one_threshold_exactly(name: str) -> None:
    graph = chain(*CHAINS[name])
    lowered = lower(graph)
    assert kinds(lowered) == ["input", "threshold"]
    assert lowered.outputs[0].tensor == graph.outputs[0].tensor
    assert lowered.nodes[-1].source == graph.nodes[-1].source
    every = np.repeat(np.arange(-64, 64)[:, None], 5, axis=1)
    (expected,), (found,) = interpret(graph, every).values(), interpret(lowered, every).values()
    assert (expected == found).all()
    assert graph.types[graph.outputs[0].tensor].element.fraction == lowered.nodes[-1].operation.fraction  # type: ignore[attr-defined]


STAYING: dict[str, tuple[tuple[object, ...], list[str]]] = {
    "wraps": ((Requantise(IntegerType(True, 3, 3), Rounding.TRUNCATE, Overflow.WRAP),), ["requantise"]),
    "saturates to 0": ((Requantise(IntegerType(True, 3, 3), overflow=Overflow.SATURATE_ZERO),), ["requantise"]),
    "negative factor": ((Scale(np.array([-1])), TO_4_BITS), ["scale", "threshold"]),
    "falling table": ((Lookup(np.arange(128)[None, ::-1] // 9, -64),), ["lookup"]),
    "no quantiser": ((BIAS, Relu()), ["add_bias", "relu"]),
    "too many steps": (
        (Scale(np.array([9])), Requantise(IntegerType(True, 10, 3), overflow=Overflow.SATURATE)),
        ["scale", "requantise"],
    ),
}


@pytest.mark.parametrize("name", STAYING)
def test_chains_that_are_no_threshold_stay(name: str) -> None:
    operations, wanted = STAYING[name]
    graph = chain(*operations)
    assert kinds(lower(graph)) == ["input", *wanted]
    x = random_vectors(graph, 100, 1)
    (expected,), (found,) = interpret(graph, x).values(), interpret(lower(graph), x).values()
    assert (expected == found).all()


def test_a_result_that_is_read_twice_ends_a_chain() -> None:
    builder = GraphBuilder("fork")
    x = builder.add(Input((5,), IntegerType(True, 7, 3)), name="x")
    biased = builder.add(BIAS, x, name="biased")
    builder.add(TO_4_BITS, biased, name="a")
    builder.output(builder.add(Requantise(IntegerType(False, 3, 0), overflow=Overflow.SATURATE), biased, name="b"))
    graph = Graph("fork", builder.nodes, builder.build().outputs)
    assert kinds(lower(graph)) == ["input", "add_bias", "threshold", "threshold"]


@pytest.mark.parametrize("offset", [-9, -3, 0, 2])
@pytest.mark.parametrize("count", [1, 3, 5, 14])
def test_finn_gets_all_thresholds_of_a_word(offset: int, count: int) -> None:
    random = np.random.default_rng(count)
    operation = Threshold(np.sort(random.integers(-70, 70, (4, count)), axis=1), offset)
    graph = chain(operation, channels=4)
    result = graph.types["n0"].element
    table, lowest, word = canonical_thresholds(operation, IntegerType(True, 7, 3), result)
    assert table.shape == (4, 2**word.width - 1)
    assert (np.diff(table, axis=1) >= 0).all()
    x = np.repeat(np.arange(-64, 64)[:, None], 4, axis=1)
    counted = lowest + (table[None] <= x[:, :, None]).sum(axis=2)
    assert (counted == interpret(graph, x)["n0"]).all()


def first_reason(graph: Graph, part: str = XC7) -> str | None:
    return why_own_kernel(group_stages(graph)[0], part)


def image(*operations: object, element: IntegerType | None = None) -> Graph:
    builder = GraphBuilder("image")
    tensor = builder.add(Input((6, 6, 2), element or IntegerType(True, 4)), name="x")
    for number, operation in enumerate(operations):
        tensor = builder.add(operation, tensor, name=f"n{number}")  # type: ignore[arg-type]
    builder.output(tensor)
    return builder.build()


def conv(*shape: int, strides: tuple[int, int] = (1, 1), groups: int = 1) -> Conv:
    return Conv(np.ones(shape, np.int64), strides, (1, 1), groups)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (chain(Dense(np.ones((5, 3), np.int64))), None),
        (chain(Dense(np.ones((5, 3), np.int64)), element=IntegerType(False, 1)), None),
        (chain(Dense(np.zeros((5, 3), np.int64))), "its weights are all 0, and FINN has no word for sums that are always 0"),
        (
            chain(Dense(np.ones((5, 3), np.int64)), element=IntegerType(True, 19)),
            "inputs have 19 bits; FINN's matrix unit on DSP48E1 takes fewer than 19",
        ),
        (
            chain(Dense(np.full((5, 3), 1 << 25)), element=IntegerType(True, 2)),
            "weights have 27 bits; FINN's matrix unit on DSP48E1 takes 25",
        ),
        (
            chain(Dense(np.full((5, 3), 1 << 14)), element=IntegerType(True, 10)),
            "sums have 27 bits; FINN's matrix unit is built up to 24 here",
        ),
        (image(conv(3, 3, 2, 4)), None),
        (image(conv(3, 3, 1, 2, groups=2)), "FINN has depthwise convolution in RTL only for Versal"),
        (image(conv(1, 1, 2, 4, strides=(4, 1))), "its strides (4, 1) pass the buffer of FINN's window"),
        (image(Pad(((1, 1), (0, 2), (0, 0)))), None),
        (image(Pad(((1, 1), (0, 0), (0, 0)), -3)), "FINN pads with zeros, and not along the channels"),
        (image(MaxPool((2, 2), (2, 2))), "FINN has pooling in HLS only"),
        (chain(ArgMax()), "FINN has label selection in HLS only"),
        (chain(BIAS), "FINN has the sum with a constant in HLS only"),
        (chain(Requantise(IntegerType(True, 3, 3))), "FINN has no RTL for operation 'requantise'"),
        (chain(Threshold(np.arange(300)[None]), element=IntegerType(True, 12)), "its result has 9 bits; FINN's thresholds are built up to 8"),
        (
            chain(Threshold(np.array([[5]])), element=IntegerType(True, 26)),
            "its input reaches 33554432; FINN keeps thresholds in float32, exact below 2**24",
        ),
    ],
)  # fmt: skip
def test_which_stages_are_finns(graph: Graph, reason: str | None) -> None:
    found = first_reason(graph)
    assert found == reason or (reason is not None and found is not None and found.startswith(reason))


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (image(conv(3, 3, 1, 2, groups=2)), None),
        (image(conv(3, 3, 1, 2, groups=2), element=IntegerType(False, 8)), None),
        (image(conv(3, 3, 1, 2, groups=2), element=IntegerType(True, 10)), "inputs have 10 bits; FINN's vector unit takes 9"),
        (image(conv(3, 3, 1, 2, groups=2), element=IntegerType(False, 9)), "inputs have 9 bits; FINN's vector unit takes 8"),
        (
            image(Conv(np.full((3, 3, 1, 2), -128), (1, 1), (1, 1), 2)),
            "weights have 9 bits; FINN's vector unit takes 8",
        ),
        (
            image(conv(6, 6, 1, 2, groups=2)),
            "its window does not slide; FINN's depthwise convolution is built here behind a sliding window",
        ),
        (image(Conv(np.zeros((3, 3, 1, 2), np.int64), (1, 1), (1, 1), 2)), "its weights are all 0, and FINN has no word for sums that are always 0"),
    ],
)  # fmt: skip
def test_which_depthwise_convolutions_are_finns_on_versal(graph: Graph, reason: str | None) -> None:
    assert first_reason(graph, VERSAL) == reason


def test_dsp_blocks_of_parts() -> None:
    parts = {
        "xc7z020clg400-1": "DSP48E1",
        "xczu7ev-ffvc1156-2-e": "DSP48E2",
        "xcvu13p-flga2577-2-e": "DSP48E2",
        VERSAL: "DSP58",
    }
    assert {part: dsp_block(part) for part in parts} == parts


def test_the_request_holds_what_finn_needs(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    weights = random.integers(-4, 4, (5, 6))
    graph = chain(Dense(weights, 2), AddBias(np.arange(6)), Requantise(IntegerType(False, 2, 1), overflow=Overflow.SATURATE),
                  Dense(random.integers(-2, 2, (6, 3))), ArgMax())  # fmt: skip
    decided = design(graph, Target(device=find_device(XC7), clock_mhz=200, cycles_per_frame=30))
    assert dict(decided.own) == {"n4": "FINN has label selection in HLS only"}
    assert [layer.kind for layer in decided.layers] == ["matrix", "threshold", "matrix"]
    write_request(decided, tmp_path)
    request = json.loads((tmp_path / "request.json").read_text())
    assert (request["part"], request["clock_period_ns"]) == (XC7, 5.0)
    assert [layer["after"] for layer in request["layers"]] == [None, decided.layers[0].name, decided.layers[1].name]
    assert all(layer["fifo_depth"] >= 2 for layer in request["layers"])
    with np.load(tmp_path / "tables.npz") as stored:
        assert (stored[decided.layers[0].name] == weights).all()
        assert stored[decided.layers[1].name].shape == (6, 3)


def test_branches_cannot_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways joined one behind the other: one has to hold all that the other waits for.

    With the depths of the pace alone this network stalls in simulation (tests/equivalence/test_finn.py runs it).
    """
    from toolchain.backends.finn import instances

    (member,) = image_members(range(116, 117))
    graph, target = member.graph, Target(cycles_per_frame=member.cycles_per_frame)
    with monkeypatch.context() as patched:
        patched.setattr(instances.FinnLibrary, "settle", lambda library, plumbing: plumbing)
        unsettled = design(graph, target)
    settled = design(graph, target)

    def depths(decided: Design) -> list[int]:
        parts = [part for part in decided.network.parts if part.instance.is_fifo]
        return [int(dict(part.instance.parameters)["DEPTH"]) for part in parts]

    assert sum(depths(settled)) > sum(depths(unsettled))


def test_what_nothing_expresses_is_named_with_the_backend_that_may() -> None:
    builder = GraphBuilder("turned")
    x = builder.add(Input((2, 3), IntegerType(True, 4)), name="x")
    builder.output(builder.add(Transpose((1, 0)), x, name="turn", source="net/turn"))
    graph = builder.build()
    with pytest.raises(UnsupportedModel) as caught:
        require_supported("finn", graph, Target())
    assert "turn (transpose from net/turn): there is no streaming kernel for operation 'transpose'" in str(caught.value)
    assert str(caught.value).endswith(". FINN's RTL does not have it either. Backend that can: hls4ml")


def test_a_network_of_which_finn_computes_nothing_is_refused() -> None:
    graph = image(MaxPool((2, 2), (2, 2)))
    require_supported("finn", graph, Target())
    with pytest.raises(UnsupportedModel) as caught:
        design(graph, Target())
    assert str(caught.value) == (
        "backend 'finn': no layer of this network would be FINN's; use --backend rtl, whose kernels would compute all of it:\n"
        "  n0 (max_pool): FINN has pooling in HLS only"
    )
    # A border at the network's output is no work for FINN either.
    border = image(Pad(((1, 1), (1, 1), (0, 0))))
    with pytest.raises(UnsupportedModel, match="FINN's padding would begin the next frame at the network's output"):
        design(border, Target())
    nothing = image(Reshape((72,)))
    with pytest.raises(UnsupportedModel, match="it computes nothing"):
        design(nothing, Target())


def test_other_vendors_parts_are_refused() -> None:
    graph = chain(Dense(np.ones((5, 3), np.int64)))
    reasons = set(refusals("finn", graph, Target(device=find_device("10ax115n2f45e1sg"))).values())
    assert reasons == {
        "FINN's RTL is built for AMD parts and, without a vendor's cells, for ECP5; found a part of family 'intel'"
    }


def test_folding_by_hand() -> None:
    """The stages are those of the lowered graph; what is not given keeps the pace, and a whole folding gives itself again."""
    random = np.random.default_rng(1)
    graph = chain(Dense(random.integers(-4, 4, (5, 6)), 2), AddBias(np.arange(6)),
                  Requantise(IntegerType(False, 2, 1), overflow=Overflow.SATURATE), Dense(random.integers(-2, 2, (6, 3))))  # fmt: skip
    device = find_device(XC7)
    names = list(design(graph, Target(device)).network.folding.stages)
    decided = design(graph, Target(device, cycles_per_frame=30, folding={names[0]: GivenFolding(pe=6, simd=5)}))
    stages = decided.network.folding.stages
    assert (stages[names[0]].pe, stages[names[0]].simd) == (6, 5)
    assert (stages[names[-1]].pe, stages[names[-1]].simd) != (3, 6)
    assert decided.asked == {"targets": {"folding": {names[0]: {"pe": 6, "simd": 5}}}}
    again = read_folding(json.loads(decided.network.folding.text()))
    assert design(graph, Target(device, folding=again)).network.folding.stages == stages
    with pytest.raises(UsageError, match=r"^folding: the network has no layer 'fc'\. Its layers: "):
        design(graph, Target(device, folding={"fc": GivenFolding(1)}))
