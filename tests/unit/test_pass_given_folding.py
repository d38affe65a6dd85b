# SPDX-License-Identifier: Apache-2.0
"""Folding by hand: layers by their names, what is left open is chosen, and what a build wrote gives the same RTL again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from toolchain.backends.rtl.streaming import plan
from toolchain.errors import BoardError, UsageError
from toolchain.ir import (
    AddBias,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Reshape,
    Rounding,
)
from toolchain.passes.choose_folding import Choices, StageFolding, choose_folding, default_cycles_per_frame
from toolchain.passes.given_folding import given_foldings
from toolchain.pipeline.folding_file import read_folding
from toolchain.plan import BuildPlan
from toolchain.target import Device, GivenFolding, Target, find_device

ECP5 = find_device("LFE5U-85F-6BG381C")


def network() -> Graph:
    """A border and a convolution from one layer, a quantiser, a dense layer with a bias, and two stages of one activation."""
    random = np.random.default_rng(3)
    builder = GraphBuilder("network")
    t = builder.add(Input((6, 6, 2), IntegerType(False, 4)), name="x")
    t = builder.add(Pad(((1, 1), (1, 1), (0, 0))), t, name="conv/pad", source="'model/conv' (QConv2D)")
    t = builder.add(
        Conv(random.integers(-7, 8, (3, 3, 2, 4)), (1, 1), (1, 1)), t, name="conv", source="'model/conv' (QConv2D)"
    )
    quantiser = Requantise(IntegerType(False, 4, -4), Rounding.HALF_UP, Overflow.SATURATE)
    t = builder.add(quantiser, t, name="act", source="'act' (QActivation)")
    t = builder.add(Reshape((144,)), t, name="flat")
    t = builder.add(Dense(random.integers(-7, 8, (144, 12))), t, name="fc", source="model/fc")
    t = builder.add(AddBias(random.integers(-9, 9, 12)), t, name="fc_bias", source="model/fc")
    t = builder.add(Relu(), t, name="relu", source="'last' (Activation)")
    builder.output(builder.add(quantiser, t, name="round", source="'last' (Activation)"))
    return builder.build()


def rtl(made: BuildPlan) -> dict[str, bytes]:
    return {file.path: file.content for file in made.files}


def given(**entries: GivenFolding) -> dict[str, GivenFolding]:
    return entries


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("conv", "conv"), ("conv/pad", "conv/pad"), ("'model/conv' (QConv2D)", "conv"), ("model/conv", "conv"),
        ("model/fc", "fc"), ("fc_bias", "fc"), ("relu", "relu"),
    ],
)  # fmt: skip
def test_layers_by_their_names(name: str, stage: str) -> None:
    found = given_foldings(network(), {name: GivenFolding(pe=2)})
    assert list(found) == [stage]
    assert {option.pe for option in found[stage]} == {2}


def test_what_is_left_open_is_every_possibility() -> None:
    found = given_foldings(network(), given(fc=GivenFolding(simd=8), conv=GivenFolding(4, 18), act=GivenFolding(pe=2)))
    assert found["fc"] == tuple(StageFolding(8, pe) for pe in (1, 2, 3, 4, 6, 12))
    assert found["conv"] == (StageFolding(18, 4),)
    assert found["act"] == (StageFolding(2, 2),)
    assert given_foldings(network(), {}) == {}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"fcc": GivenFolding(1)},
            "folding: the network has no layer 'fcc'; nearest: 'fc'. Its layers: conv/pad, conv, act, fc, relu, round",
        ),
        (
            {"": GivenFolding(1)},
            "folding: the network has no layer ''. Its layers: conv/pad, conv, act, fc, relu, round",
        ),
        (
            {"last": GivenFolding(1)},
            "folding: layer 'last' became several stages: relu, round; name one of these",
        ),
        (
            {"fc": GivenFolding(1), "model/fc": GivenFolding(2)},
            "folding: 'fc' and 'model/fc' are the same layer, fc (dense from model/fc); give it once",
        ),
        (
            {"fc": GivenFolding(pe=5)},
            "fc (dense from model/fc): pe must divide its 12 output channels; found 5. Use pe in {1, 2, 3, 4, 6, 12}",
        ),
        (
            {"conv": GivenFolding(simd=4)},
            "conv (conv from 'model/conv' (QConv2D)): simd must divide its 2 input channels, or be whole pixels that divide the 9 "
            "under its window; found 4. Use simd in {1, 2, 6, 18}",
        ),
        (
            {"act": GivenFolding(1, 2)},
            "act (requantise from 'act' (QActivation)): its beats are as wide on both sides, so simd and pe must be equal; found 2 "
            "and 1",
        ),
    ],
)
def test_foldings_that_do_not_fit(entries: dict[str, GivenFolding], message: str) -> None:
    with pytest.raises(UsageError) as error:
        plan(network(), Target(folding=entries))
    assert str(error.value) == message


def test_half_a_folding_that_leaves_only_vectors_too_wide() -> None:
    builder = GraphBuilder("wide")
    x = builder.add(Input((512,), IntegerType(True, 8)), name="x")
    builder.output(builder.add(Dense(np.resize(np.arange(-128, 128), (512, 512))), x, name="fc"))
    with pytest.raises(UsageError) as error:
        plan(builder.build(), Target(folding={"fc": GivenFolding(512, 32)}))
    assert str(error.value) == (
        "fc (dense): with simd 32 and pe 512 a word of its weight memory has 131,072 bits; vectors of up to 65,536 bits are what "
        "every tool takes. Use a smaller simd or pe"
    )


def test_the_rest_is_chosen_for_the_targets() -> None:
    graph = network()
    folding = {"fc": GivenFolding(pe=3, simd=16)}
    made = plan(graph, Target(cycles_per_frame=150, folding=folding))
    chosen = {node["nodes"][0]: (node["pe"], node["simd"]) for node in made.facts["nodes"]}
    assert chosen["fc"] == (3, 16)
    free = choose_folding(graph, 150, choices=Choices(given={"fc": (StageFolding(16, 3),)})).stages
    assert chosen == {name: (option.pe, option.simd) for name, option in free.items()}
    assert made.facts["initiation_interval_cycles"] <= 150
    assert made.facts["targets"] == {"folding": {"fc": {"pe": 3, "simd": 16}}}


def test_without_a_pace_the_given_layer_sets_it() -> None:
    graph = network()
    slow = Choices(given={"conv": (StageFolding(1, 1),)})
    assert default_cycles_per_frame(graph, slow) == 36 * 18 * 4 > default_cycles_per_frame(graph)
    made = plan(graph, Target(folding={"conv": GivenFolding(1, 1)}))
    assert made.facts["initiation_interval_cycles"] == 36 * 18 * 4


def test_a_pace_that_the_given_folding_does_not_keep() -> None:
    # Half of it leaves a choice that does.
    assert plan(network(), Target(ECP5, cycles_per_frame=100, folding={"fc": GivenFolding(simd=4)}))
    with pytest.raises(UsageError) as error:
        plan(network(), Target(ECP5, cycles_per_frame=100, folding={"fc": GivenFolding(1, 4)}))
    assert str(error.value) == (
        "fc (dense from model/fc): cannot take a frame every 100 cycles: with the folding that it was given it takes at least 432 "
        "cycles. Give it a larger simd or pe, or use cycles_per_frame of 432 or more"
    )


@pytest.mark.parametrize(
    "target",
    [
        Target(),
        Target(ECP5, cycles_per_frame=100),
        Target(ECP5, latency_cycles=260),
        Target(ECP5, budget={"LUT": 6000}),
        Target(ECP5, cycles_per_frame=300, loadable_weights=True),
        Target(ECP5, cycles_per_frame=200, folding={"model/conv": GivenFolding(simd=18)}),
    ],
    ids=["default", "rate", "latency", "budget", "loadable", "given"],
)
def test_a_builds_own_folding_gives_the_same_rtl(target: Target, tmp_path: Path) -> None:
    """folding.json alone, without the targets that it was chosen for."""
    made = plan(network(), target)
    (tmp_path / "folding.json").write_bytes(rtl(made)["folding.json"])
    again = Target(
        target.device, loadable_weights=target.loadable_weights, folding=read_folding(tmp_path / "folding.json")
    )
    assert rtl(plan(network(), again)) == rtl(made)
    # An edit reaches the RTL.
    content = json.loads(rtl(made)["folding.json"])
    assert set(content) == {"conv/pad", "conv", "act", "fc", "relu", "round"}
    content["fc"] = {"pe": 4 if content["fc"]["pe"] != 4 else 6, "simd": 12}
    edited = plan(network(), Target(target.device, folding=read_folding(content)))
    assert json.loads(rtl(edited)["folding.json"]) == content


def test_a_given_folding_too_large_for_the_device() -> None:
    tiny = Device("tiny", "ecp5", resources={"LUT": 3000, "FF": 3000, "DSP": 0, "block RAM": 8})
    assert plan(network(), Target(tiny, folding={"conv": GivenFolding(1, 2)})).facts["estimated"]
    with pytest.raises(BoardError, match=r"These are the resources of tiny: use a larger device$"):
        plan(network(), Target(tiny, folding={"fc": GivenFolding(12, 144)}))
