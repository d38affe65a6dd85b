# SPDX-License-Identifier: Apache-2.0
"""Folding: fewest multipliers for a pace, fitting neighbours, and messages that say what is allowed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from toolchain.backends.rtl.streaming.kernels import threshold as threshold_kernel
from toolchain.errors import UnsupportedModel, UsageError
from toolchain.ir import (
    Add,
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
    SumPool,
    Threshold,
)
from toolchain.passes.choose_folding import (
    Choices,
    Folding,
    StageFolding,
    check_folding,
    choose_folding,
    cycles,
    default_cycles_per_frame,
    divisors,
)
from toolchain.passes.folding_model import WIDEST_VECTOR, converter_logic, lanes, logic, options
from toolchain.passes.group_stages import Stage, group_stages


def network(*sizes: int, argmax: bool = True) -> Graph:
    builder = GraphBuilder("network")
    tensor = builder.add(Input((sizes[0],), IntegerType(False, 4)), name="x")
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        tensor = builder.add(
            Dense(np.ones((inputs, outputs), np.int64)), tensor, name=f"fc{layer}", source=f"fc{layer}"
        )
        tensor = builder.add(AddBias(np.ones(outputs, np.int64)), tensor, name=f"bias{layer}")
        if layer < len(sizes) - 2:
            tensor = builder.add(Relu(), tensor, name=f"relu{layer}")
            tensor = builder.add(Requantise(IntegerType(False, 4)), tensor, name=f"act{layer}")
    builder.output(builder.add(ArgMax(), tensor, name="argmax") if argmax else tensor)
    return builder.build()


@pytest.mark.parametrize("number", [1, 2, 7, 12, 36, 97, 784])
def test_divisors(number: int) -> None:
    assert divisors(number) == [n for n in range(1, number + 1) if number % n == 0]


def test_default_is_the_largest_tensor() -> None:
    assert default_cycles_per_frame(network(64, 32, 32, 10)) == 64
    assert default_cycles_per_frame(network(16, 80, 5)) == 80


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 16, 64, 100, 5000])
@pytest.mark.parametrize("sizes", [(64, 32, 32, 10), (12, 8, 6, 5), (7, 3), (1, 1)])
def test_within_the_pace(sizes: tuple[int, ...], limit: int) -> None:
    graph = network(*sizes)
    folding = choose_folding(graph, limit)
    check_folding(graph, folding)
    for stage in group_stages(graph):
        option = folding.stages[stage.name]
        assert cycles(stage, option) <= limit


@pytest.mark.parametrize("limit", [2, 6, 12, 24])
@pytest.mark.parametrize("sizes", [(4, 6, 2), (6, 4, 3), (3, 3)])
def test_no_folding_is_cheaper(sizes: tuple[int, ...], limit: int) -> None:
    """Every folding of a small network, one by one: none has less logic, or as much and fewer cycles."""
    graph = network(*sizes)
    stages = group_stages(graph)

    def cost(chosen: tuple[StageFolding, ...]) -> tuple[int, int]:
        pairs = list(zip(stages, chosen, strict=True))
        converters = sum(
            converter_logic(stage.input_type.element.width, before.pe, option.simd)
            for (_, before), (stage, option) in itertools.pairwise(pairs)
        )
        source = 2 * chosen[0].simd * stages[0].input_type.element.width
        own = sum(logic(stage, option) for stage, option in pairs)
        return own + converters + source, sum(cycles(stage, option) for stage, option in pairs)

    every = itertools.product(
        *([option for option in options(stage) if cycles(stage, option) <= limit] for stage in stages)
    )
    chosen = tuple(choose_folding(graph, limit).stages.values())
    assert cost(chosen) == min(cost(options) for options in every)


def test_neighbours_fit() -> None:
    """Converters cost logic: most neighbours have beats of one width."""
    folding = choose_folding(network(16, 64, 32, 32, 5), 64)
    lanes = [(f.simd, f.pe) for f in folding.stages.values()]
    assert sum(before[1] != after[0] for before, after in itertools.pairwise(lanes)) <= 3


def test_same_graph_same_folding() -> None:
    assert choose_folding(network(24, 18, 6), 20) == choose_folding(network(24, 18, 6), 20)


def test_too_fast() -> None:
    builder = GraphBuilder("matrix")
    x = builder.add(Input((6, 4), IntegerType(False, 4)), name="x")
    builder.output(builder.add(Relu(), x, name="relu", source="block/relu"))
    with pytest.raises(UsageError) as error:
        choose_folding(builder.build(), 5)
    assert str(error.value) == (
        "relu (relu from block/relu): cannot take a frame every 5 cycles: it has 6 vectors a frame and takes at least 6 "
        "cycles. Use cycles_per_frame of 6 or more"
    )


def test_too_fast_for_one_vector() -> None:
    builder = GraphBuilder("vector")
    x = builder.add(Input((490,), IntegerType(True, 8)), name="x")
    builder.output(builder.add(Dense(np.resize(np.arange(-4, 4), (490, 256))), x, name="dense"))
    with pytest.raises(UsageError) as error:
        choose_folding(builder.build(), 1)
    assert str(error.value) == (
        "dense (dense): cannot take a frame every 1 cycles: it has 1 vector a frame and takes at least 7 cycles. Use "
        "cycles_per_frame of 7 or more"
    )


@pytest.mark.parametrize("limit", [0, -3, 2.5, "64", True])
def test_pace_must_be_a_positive_integer(limit: object) -> None:
    with pytest.raises(UsageError, match="cycles_per_frame must be a whole number of at least 1, found"):
        choose_folding(network(4, 2), limit)  # type: ignore[arg-type]


GOOD = {"fc0": StageFolding(2, 3), "argmax": StageFolding(1, 1)}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            {"fc0": StageFolding(5, 3)},
            "fc0 (dense from fc0): simd must divide its 8 input channels; found 5. Use simd in {1, 2, 4, 8}",
        ),
        (
            {"fc0": StageFolding(2, 4)},
            "fc0 (dense from fc0): pe must divide its 6 output channels; found 4. Use pe in {1, 2, 3, 6}",
        ),
        (
            {"argmax": StageFolding(4, 1)},
            "argmax (argmax): simd must divide its 6 input channels; found 4. Use simd in {1, 2, 3, 6}",
        ),
        (
            {"other": StageFolding(1, 1)},
            "folding names a stage 'other' that the network does not have; its stages: fc0, argmax",
        ),
        ({"fc0": None}, "fc0 (dense from fc0): folding has no entry for this stage; it needs simd and pe"),
    ],
)
def test_bad_folding(stages: dict[str, StageFolding | None], message: str) -> None:
    merged = {name: option for name, option in {**GOOD, **stages}.items() if option}
    graph = network(8, 6)
    assert check_folding(graph, Folding(64, GOOD)).stages == GOOD
    with pytest.raises(UsageError) as error:
        check_folding(graph, Folding(64, merged))
    assert str(error.value) == message


def test_element_wise_stages_have_one_width() -> None:
    graph = network(8, 6, 4)
    folding = choose_folding(graph, 16)
    stages = {**folding.stages, "relu0": StageFolding(1, 2)}
    with pytest.raises(
        UsageError, match=r"relu0 .*its beats are as wide on both sides, so simd and pe must be equal; found 1 and 2"
    ):
        check_folding(graph, Folding(16, stages))


def test_stages_absorb_bias_and_reshape() -> None:
    builder = GraphBuilder("stages")
    x = builder.add(Input((2, 3), IntegerType(False, 4)), name="x")
    t = builder.add(Reshape((6,)), x, name="flat")
    t = builder.add(Dense(np.ones((6, 4), np.int64)), t, name="fc")
    t = builder.add(AddBias(np.ones(4, np.int64)), t, name="bias")
    t = builder.add(AddBias(np.ones(4, np.int64)), t, name="bias2")
    builder.output(builder.add(Reshape((2, 2)), t, name="square"))
    stages = group_stages(builder.build())
    assert [[node.name for node in stage.nodes] for stage in stages] == [["fc", "bias"], ["bias2"]]
    assert (stages[0].name, stages[0].result) == ("fc", "bias")
    assert stages[0].bias is not None
    assert stages[1].bias is None


def test_ends_that_cannot_be_built_are_refused_with_all_reasons() -> None:
    builder = GraphBuilder("ends")
    x = builder.add(Input((4,), IntegerType(False, 4)), name="x")
    y = builder.add(Input((4,), IntegerType(False, 4)), name="y")
    a = builder.add(Relu(), x, name="a")
    builder.add(Relu(), x, name="b")
    builder.output(a, name="one")
    builder.output(builder.add(Relu(), y, name="c"), name="two")
    with pytest.raises(UnsupportedModel) as error:
        group_stages(builder.build())
    assert str(error.value).splitlines() == [
        "the network cannot be built as connected stages:",
        "  y (input): the network must have one input; found 2",
        "  a (relu): the network must have one output; found 2 (one, two)",
        "  b (relu): its result is not used; remove the node",
        "  c (relu): the network must have one output; found 2 (one, two)",
    ]


def residual() -> Graph:
    """A convolution between two that is passed by, with different widths on both sides."""
    builder = GraphBuilder("residual")
    x = builder.add(Input((6, 6, 4), IntegerType(True, 4)), name="x")
    first = builder.add(Conv(np.ones((1, 1, 4, 8), np.int64), (1, 1), (1, 1)), x, name="first")
    first = builder.add(Requantise(IntegerType(True, 4), overflow=Overflow.SATURATE), first, name="first_act")
    inner = builder.add(Pad(((1, 1), (1, 1), (0, 0))), first, name="pad")
    inner = builder.add(Conv(np.ones((3, 3, 8, 8), np.int64), (1, 1), (1, 1)), inner, name="inner")
    inner = builder.add(Requantise(IntegerType(True, 4), overflow=Overflow.SATURATE), inner, name="inner_act")
    joined = builder.add(Add(), inner, first, name="join")
    flat = builder.add(Reshape((288,)), joined, name="flat")
    builder.output(builder.add(Dense(np.ones((288, 3), np.int64)), flat, name="fc"))
    return builder.build()


def test_stages_of_a_network_with_branches() -> None:
    stages = {stage.name: stage for stage in group_stages(residual())}
    assert stages["join"].sources == ("inner_act", "first_act")
    assert stages["fc"].sources == ("join",)
    assert (stages["fc"].input_type.shape, stages["join"].output_type.shape) == ((288,), (6, 6, 8))


@pytest.mark.parametrize("limit", [1296, 2592, 5184, 20736])
def test_branches_keep_the_pace_and_no_change_of_one_stage_is_cheaper(limit: int) -> None:
    graph = residual()
    folding = check_folding(graph, choose_folding(graph, limit))
    assert folding == choose_folding(graph, limit)
    stages = {stage.name: stage for stage in group_stages(graph)}

    def cost(chosen: dict[str, StageFolding]) -> int:
        total = 2 * chosen["first"].simd * stages["first"].input_type.element.width
        for stage in stages.values():
            total += logic(stage, chosen[stage.name])
            for source, tensor in zip(stage.sources, stage.input_types, strict=True):
                if source in chosen:
                    total += converter_logic(tensor.element.width, chosen[source].pe, chosen[stage.name].simd)
        return total

    found = dict(folding.stages)
    for stage in stages.values():
        assert cycles(stage, found[stage.name]) <= limit
        for option in options(stage):
            if cycles(stage, option) <= limit:
                assert cost(found) <= cost({**found, stage.name: option})


def test_cycles_of_convolutions_and_pools() -> None:
    builder = GraphBuilder("cycles")
    x = builder.add(Input((9, 7, 4), IntegerType(False, 4)), name="x")
    conv = builder.add(Conv(np.ones((3, 2, 4, 6), np.int64), (2, 1), (1, 1)), x, name="conv")
    pool = builder.add(MaxPool((2, 2), (2, 2)), conv, name="pool")
    builder.output(builder.add(SumPool((2, 3), (1, 1)), pool, name="whole"))
    stages = {stage.name: stage for stage in group_stages(builder.build())}
    # 4 x 6 windows of 24 elements for 6 outputs; 2 x 3 windows of 4 pixels of 6 channels; all 6 pixels once.
    assert cycles(stages["conv"], StageFolding(2, 3)) == 24 * 12 * 2
    assert cycles(stages["pool"], StageFolding(3, 3)) == 6 * 4 * 2
    assert cycles(stages["whole"], StageFolding(2, 2)) == 6 * 3
    # A stride that skips pixels: they have to come in all the same.
    builder = GraphBuilder("skipping")
    x = builder.add(Input((9, 9, 1), IntegerType(False, 4)), name="x")
    builder.output(builder.add(Conv(np.ones((1, 1, 1, 2), np.int64), (4, 4), (1, 1)), x, name="conv"))
    (stage,) = group_stages(builder.build())
    assert cycles(stage, StageFolding(1, 1)) == 81


def test_pixels_multiplied_at_once() -> None:
    """A convolution of one channel cannot be fast pixel by pixel: whole pixels of its window are multiplied at once."""
    builder = GraphBuilder("image")
    x = builder.add(Input((10, 12, 1), IntegerType(False, 4)), name="x")
    builder.output(builder.add(Conv(np.ones((3, 3, 1, 4), np.int64), (1, 1), (1, 1)), x, name="conv"))
    graph = builder.build()
    (stage,) = group_stages(graph)
    assert lanes(stage).simd == (1, 3, 9)
    assert default_cycles_per_frame(graph) == 80 * 9
    assert choose_folding(graph, 120).stages["conv"] == StageFolding(9, 4)
    assert choose_folding(graph, 240).stages["conv"].simd in (3, 9)
    assert choose_folding(graph, 80 * 9).stages["conv"].simd == 1
    with pytest.raises(UsageError, match=r"takes at least 720 cycles"):
        choose_folding(graph, 719, choices=Choices(parallel=False))
    with pytest.raises(
        UsageError, match=r"its 1 input channels, or be whole pixels that divide the 9 under its window"
    ):
        check_folding(graph, Folding(120, {"conv": StageFolding(2, 4)}))


def test_vectors_that_a_tool_may_refuse_are_not_chosen() -> None:
    """490 by 256 weights of 3 bits at once would be a memory word of 376,320 bits."""
    builder = GraphBuilder("wide")
    x = builder.add(Input((490,), IntegerType(True, 8)), name="x")
    weights = np.resize(np.arange(-4, 4), (490, 256))
    builder.output(builder.add(Dense(weights), x, name="dense"))
    graph = builder.build()
    with pytest.raises(UsageError, match=r"dense \(dense\): cannot take a frame every 1 cycles.* of 7 or more"):
        choose_folding(graph, 1)
    chosen = choose_folding(graph, 7).stages["dense"]
    assert chosen.simd * chosen.pe * 3 <= WIDEST_VECTOR
    with pytest.raises(UsageError) as caught:
        check_folding(graph, Folding(1, {"dense": StageFolding(490, 256)}))
    assert str(caught.value) == (
        "dense (dense): with simd 490 and pe 256 a word of its weight memory has 376,320 bits; vectors of up to 65,536 bits are "
        "what every tool takes. Use a smaller simd or pe"
    )


def test_a_stage_whose_narrowest_memory_is_too_wide_is_refused() -> None:
    builder = GraphBuilder("many")
    x = builder.add(Input((4,), IntegerType(True, 20)), name="x")
    rows = np.broadcast_to(np.arange(-4000, 4000) * 40, (4, 8000))
    builder.output(builder.add(Threshold(rows), x, name="act"))
    graph = builder.build()
    with pytest.raises(UnsupportedModel) as caught:
        choose_folding(graph, 4)
    assert str(caught.value) == (
        "the network cannot be folded:\n  act (threshold): even one element a cycle a word of its threshold memory has 152,000 "
        "bits; vectors of up to 65,536 bits are what every tool takes. Quantise it to fewer bits"
    )


def thresholds(channels: int, count: int, element: IntegerType, spread: int) -> Stage:
    builder = GraphBuilder("steps")
    x = builder.add(Input((channels,), element), name="x")
    middle = (element.minimum + element.maximum) // 2
    rows = np.arange(count) * spread // count + middle - spread // 2
    builder.output(builder.add(Threshold(rows[None]), x, name="act"))
    (stage,) = group_stages(builder.build())
    return stage


@pytest.mark.parametrize(
    ("channels", "count", "element", "spread"),
    [
        (16, 255, IntegerType(True, 20), 1 << 20),
        (16, 255, IntegerType(True, 20), 1 << 10),
        (64, 63, IntegerType(True, 24), 1 << 24),
        (64, 64, IntegerType(False, 24), 1 << 24),
        (13, 200, IntegerType(True, 16), 1 << 16),
        (2, 2048, IntegerType(True, 17), 1 << 17),
        (4, 2047, IntegerType(False, 30), 1 << 30),
        (128, 255, IntegerType(True, 12), 1 << 12),
    ],
)
def test_no_vector_of_the_threshold_module_is_too_wide(
    channels: int, count: int, element: IntegerType, spread: int
) -> None:
    """Its vectors as the module declares them, from the parameters of the instance: word, lists, places."""
    stage = thresholds(channels, count, element, spread)
    for pe in divisors(channels):
        (instance,) = threshold_kernel.instances(stage, StageFolding(pe, pe), "act")
        values = {name: int(text) for name, text in instance.parameters if text.isdecimal()}
        width, levels, beats = values["THRESHOLD_WIDTH"], count.bit_length(), channels // pe
        tables = beats <= 64 and beats * 2**levels <= 4096
        lane = beats * 2**levels if tables else 2**levels - 1
        widest = max(pe * count * width, lane * width, pe * element.width)
        assert (widest <= WIDEST_VECTOR) == (StageFolding(pe, pe) in options(stage))


def test_the_lists_of_thresholds_are_a_vector_too() -> None:
    """16 channels with 255 thresholds of 20 bits, one a beat: 16 lists of 256 places in one vector."""
    builder = GraphBuilder("lists")
    x = builder.add(Input((16,), IntegerType(True, 20)), name="x")
    rows = np.arange(-128, 127)[None] * 4096
    builder.output(builder.add(Threshold(rows), x, name="act"))
    graph = builder.build()
    assert choose_folding(graph, 1000).stages["act"] == StageFolding(2, 2)
    with pytest.raises(UsageError) as caught:
        check_folding(graph, Folding(16, {"act": StageFolding(1, 1)}))
    assert str(caught.value) == (
        "act (threshold): with simd 1 and pe 1 the list of a lane's thresholds has 81,920 bits; vectors of up to 65,536 bits are "
        "what every tool takes. Use a larger simd or pe"
    )
