# SPDX-License-Identifier: Apache-2.0
"""Foldings for a rate, a latency and a budget: least cost, fastest that fits, and refusals that say what comes nearest."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest

from toolchain.backends.rtl.streaming import plan
from toolchain.backends.rtl.streaming.area import Area, instance_area
from toolchain.backends.rtl.streaming.area.stages import StageAreas
from toolchain.backends.rtl.streaming.meet_target import _Model
from toolchain.backends.rtl.streaming.network import Library, lay_out
from toolchain.errors import BoardError, UsageError
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
    Relu,
    Requantise,
    Rounding,
)
from toolchain.passes.choose_folding import Costs, Folding, StageFolding, choose_folding
from toolchain.passes.folding_model import Choices, cycles, options
from toolchain.passes.group_stages import Stage, group_stages
from toolchain.passes.meet_targets import Amounts, Targets, _Search, meet_targets
from toolchain.passes.prompt_foldings import is_chain, prompt_foldings
from toolchain.target import Device, DspBlocks, Target, device_budget, dsp_width, find_device

ECP5 = find_device("LFE5U-85F-6BG381C")


def network(*sizes: int, bits: int = 4) -> Graph:
    random = np.random.default_rng(7)
    builder = GraphBuilder("network")
    tensor = builder.add(Input((sizes[0],), IntegerType(False, 4)), name="x")
    most = (1 << (bits - 1)) - 1
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weights = random.integers(-most, most + 1, (inputs, outputs))
        tensor = builder.add(Dense(weights), tensor, name=f"fc{layer}", source=f"model/fc{layer}")
        tensor = builder.add(AddBias(random.integers(-9, 9, outputs)), tensor, name=f"bias{layer}")
        if layer < len(sizes) - 2:
            tensor = builder.add(Relu(), tensor, name=f"relu{layer}")
            target = IntegerType(False, 4, -3)
            tensor = builder.add(Requantise(target, Rounding.HALF_UP, Overflow.SATURATE), tensor, name=f"act{layer}")
    builder.output(builder.add(ArgMax(), tensor, name="argmax"))
    return builder.build()


class Plain:
    """LUT: 10 a multiplier and 1 a lane; DSP: 1 a multiplier; converters are free. Latency: that of the streaming schedule."""

    def __init__(self, graph: Graph) -> None:
        self._stages = group_stages(graph)
        self._schedule = _Model(graph, None, Target())

    def stage(self, stage: Stage, option: StageFolding) -> Amounts:
        matrix = isinstance(stage.operation, Dense)
        products = option.simd * option.pe if matrix else 0
        return (10.0 * products + option.simd + option.pe, 0.0, float(products), 0.0)

    def converter(self, element: IntegerType, found: int, wanted: int) -> Amounts:
        return (0.0, 0.0, 0.0, 0.0)

    def fork(self, element: IntegerType, lanes: int) -> Amounts:
        return (0.0, 0.0, 0.0, 0.0)

    def latency_cycles(self, folding: Folding) -> int:
        return self._schedule.latency_cycles(folding)

    def beats(self) -> int:
        return 100

    def amounts(self, folding: Folding) -> Amounts:
        parts = [self.stage(stage, folding.stages[stage.name]) for stage in self._stages]
        return tuple(sum(column) for column in zip(*parts, strict=True))


def every_folding(graph: Graph) -> list[Folding]:
    stages = group_stages(graph)
    choices = itertools.product(*(options(stage) for stage in stages))
    return [Folding(1, {s.name: o for s, o in zip(stages, chosen, strict=True)}) for chosen in choices]


def interval(graph: Graph, folding: Folding) -> int:
    return max(cycles(stage, folding.stages[stage.name]) for stage in group_stages(graph))


def fits(model: Plain, folding: Folding, budget: dict[str, float]) -> bool:
    amounts = dict(zip(("LUT", "FF", "DSP", "block RAM"), model.amounts(folding), strict=True))
    return all(amounts[name] <= limit for name, limit in budget.items())


SMALL = [(6, 4, 3), (8, 6, 4)]


@pytest.mark.parametrize("sizes", SMALL)
@pytest.mark.parametrize(
    "budget", [{"LUT": 60.0}, {"LUT": 140.0}, {"LUT": 400.0}, {"DSP": 6.0}, {"LUT": 300.0, "DSP": 9.0}]
)
def test_a_budget_alone_gives_the_fastest_that_fits(sizes: tuple[int, ...], budget: dict[str, float]) -> None:
    graph = network(*sizes)
    model = Plain(graph)
    found = meet_targets(graph, Targets(budget=budget), model)
    assert fits(model, found, budget)
    assert interval(graph, found) == min(interval(graph, f) for f in every_folding(graph) if fits(model, f, budget))


@cache
def every_latency(*sizes: int) -> list[tuple[int, float, int]]:
    """(latency, LUT, interval) of every folding."""
    graph = network(*sizes)
    model = Plain(graph)
    return [(model.latency_cycles(f), model.amounts(f)[0], interval(graph, f)) for f in every_folding(graph)]


@pytest.mark.parametrize(
    ("sizes", "limit"),
    [*(((6, 4, 3), limit) for limit in (28, 30, 32, 35, 38, 45, 60)), ((4, 3, 2), 28), ((4, 3, 2), 33)],
)
def test_a_latency_at_the_least_cost(sizes: tuple[int, ...], limit: int) -> None:
    graph = network(*sizes)
    model = Plain(graph)
    found = meet_targets(graph, Targets(latency_cycles=limit), model)
    assert model.latency_cycles(found) <= limit
    # Without a budget what already is prompt enough stays as it is, at the least logic.
    plain = choose_folding(graph, max(cycles(s, o) for s in group_stages(graph) for o in options(s)))
    if model.latency_cycles(plain) <= limit:
        assert found.stages == plain.stages
        return
    assert model.amounts(found)[0] == min(lut for latency, lut, _ in every_latency(*sizes) if latency <= limit)


def test_approximate_latencies_are_near_the_schedule() -> None:
    graph = network(6, 4, 3)
    stages, model = group_stages(graph), Plain(graph)
    assert is_chain(stages)
    front = prompt_foldings(stages, 24, Costs())
    assert len(front) > 5
    for before, after in itertools.pairwise(front):
        assert (after.cost > before.cost, after.latency < before.latency) == (True, True)
    for prompt in front:
        assert abs(model.latency_cycles(prompt.folding) - prompt.latency) <= 10
        assert interval(graph, prompt.folding) <= 24
    middle = front[len(front) // 2]
    within = prompt_foldings(stages, 24, Costs(), most_cycles=middle.latency)
    assert [prompt.cost for prompt in within] == [p.cost for p in front if p.latency <= middle.latency]


def test_all_targets_together() -> None:
    graph = network(6, 4, 3)
    model = Plain(graph)
    budget = {"LUT": 400.0, "DSP": 40.0}
    found = meet_targets(graph, Targets(12, 40, budget), model)
    assert interval(graph, found) <= 12
    assert model.latency_cycles(found) <= 40
    assert fits(model, found, budget)


def test_a_budget_that_does_not_bind_changes_nothing() -> None:
    graph = network(16, 12, 8)
    assert meet_targets(graph, Targets(48, None, {"LUT": 1e6}), Plain(graph)) == choose_folding(graph, 48)


def test_refusal_names_layer_amounts_and_the_nearest() -> None:
    graph = network(8, 6, 4)
    model = Plain(graph)
    with pytest.raises(UsageError) as error:
        meet_targets(graph, Targets(6, None, {"LUT": 90.0}, clock_mhz=50.0), model)
    fast = [folding for folding in every_folding(graph) if interval(graph, folding) <= 6]
    smallest = min(fast, key=lambda folding: model.amounts(folding)[0])
    (layer,) = (stage for stage in group_stages(graph) if stage.name == "fc0")
    assert str(error.value) == (
        "fc0 (dense from model/fc0): the network does not reach 8,333,333 frames/s (6 cycles a frame at 50 MHz) within 90 LUT: the "
        f"smallest folding found that does takes {model.amounts(smallest)[0]:.0f} LUT (estimated), "
        f"{model.stage(layer, smallest.stages['fc0'])[0]:.0f} of the LUT in this layer. The fastest folding found within the budget "
        "reaches 4,166,667 frames/s (12 cycles a frame at 50 MHz), which fc0 (dense from model/fc0) sets"
    )


def test_refusal_where_nothing_fits() -> None:
    graph = network(8, 6, 4)
    with pytest.raises(UsageError) as error:
        meet_targets(graph, Targets(budget={"LUT": 20.0, "DSP": 1.0}), Plain(graph))
    assert str(error.value) == (
        "fc0 (dense from model/fc0): no folding of the network fits 20 LUT, 1 DSP: the smallest found takes 30 LUT, 2 DSP (estimated), "
        "1 of the DSP in this layer. Raise the budget, or use a smaller or more narrowly quantised network"
    )


def test_the_layer_named_is_the_one_that_takes_most_of_what_is_short() -> None:
    """Only the second layer's products are in DSP blocks here, and the first takes more LUTs."""

    class Second(Plain):
        def stage(self, stage: Stage, option: StageFolding) -> Amounts:
            lut, ff, dsp, ram = super().stage(stage, option)
            return (lut, ff, dsp if stage.name == "fc1" else 0.0, ram)

    graph = network(12, 6, 4)
    with pytest.raises(UsageError, match=r"^fc1 \(dense from model/fc1\): .* 6 of the DSP in this layer\. The fastest"):
        meet_targets(graph, Targets(4, None, {"LUT": 1e4, "DSP": 5.0}), Second(graph))


def test_refusal_of_a_latency() -> None:
    graph = network(6, 4, 3)
    with pytest.raises(UsageError) as error:
        meet_targets(graph, Targets(None, 20, clock_mhz=100.0), Plain(graph))
    text = str(error.value)
    least = min(every_latency(6, 4, 3))[0]
    assert text.startswith(
        "fc0 (dense from model/fc0): the network does not reach a latency of 0.20 us (20 cycles at 100 MHz): "
    )
    assert f"the least latency found is {least / 100:.2f} us ({least} cycles at 100 MHz)" in text


def test_refusal_of_a_latency_that_only_the_budget_forbids() -> None:
    """The least latency within the budget is named, not that without it."""
    graph = network(6, 4, 3)
    affordable = min(latency for latency, lut, _ in every_latency(6, 4, 3) if lut <= 60)
    assert affordable > min(every_latency(6, 4, 3))[0] + 1
    with pytest.raises(UsageError, match=rf"within 60 LUT: the least latency found is .*\({affordable} cycles"):
        meet_targets(graph, Targets(None, affordable - 1, {"LUT": 60.0}), Plain(graph))


# ---- With the streaming backend's own models and schedule --------------------------------------------------------------


def test_plans_within_their_targets() -> None:
    """What the plan declares is what was asked for: the estimate of the layout itself, and the exact schedule."""
    graph = network(24, 16, 8)
    free = plan(graph, Target(ECP5)).facts
    assert free["estimated"]["family"] == "ecp5"
    budget = {"LUT": int(0.8 * free["estimated"]["resources"]["LUT"])}
    small = plan(graph, Target(ECP5, budget=budget)).facts
    assert small["estimated"]["resources"]["LUT"] <= budget["LUT"]
    assert small["targets"] == {"budget": budget}
    assert "targets" not in free
    assert small["initiation_interval_cycles"] > free["initiation_interval_cycles"]
    latency = 2 * free["latency_cycles"] // 3
    prompt = plan(graph, Target(ECP5, latency_cycles=latency)).facts
    assert prompt["latency_cycles"] <= latency
    both = plan(graph, Target(ECP5, latency_cycles=latency, cycles_per_frame=12)).facts
    assert both["latency_cycles"] <= latency
    assert both["initiation_interval_cycles"] <= 12
    assert sum(part["LUT"] for part in small["estimated"]["parts"].values()) == pytest.approx(
        small["estimated"]["resources"]["LUT"], abs=len(small["estimated"]["parts"])
    )


def test_what_the_layout_takes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates before the layout that are too low are made up for: the budget holds for the layout's own."""
    graph = network(24, 16, 8)
    budget = {"LUT": int(0.8 * plan(graph, Target(ECP5)).facts["estimated"]["resources"]["LUT"])}
    exact = StageAreas.stage
    looks = []

    def too_low(self: StageAreas, stage: Stage, option: StageFolding) -> Area:
        looks.append(stage)
        found = exact(self, stage, option)
        return Area(0.7 * found.lut, found.ff, found.dsp, found.block_ram)

    monkeypatch.setattr(StageAreas, "stage", too_low)
    assert plan(graph, Target(ECP5, budget=budget)).facts["estimated"]["resources"]["LUT"] <= budget["LUT"]
    assert looks


def test_a_latency_without_a_device() -> None:
    graph = network(24, 16, 8)
    free = plan(graph, Target()).facts
    assert "estimated" not in free
    latency = 2 * free["latency_cycles"] // 3
    assert plan(graph, Target(latency_cycles=latency)).facts["latency_cycles"] <= latency


@pytest.mark.parametrize(
    ("device", "found"),
    [(None, "no board or part"), (find_device("xczu7ev-ffvc1156-2-e"), "part 'xczu7ev-ffvc1156-2-e' of family usplus")],
)
def test_a_budget_needs_a_modelled_device(device: Device | None, found: str) -> None:
    with pytest.raises(UsageError) as error:
        plan(network(4, 3), Target(device, budget={"LUT": 1000}))
    assert str(error.value) == (
        f"a budget needs a device whose resources are modelled, found {found}; give --board, or a --part of a family in ecp5, xc7"
    )


def test_a_network_too_large_for_the_device() -> None:
    """Named before synthesis, with the layer, the estimate, and what the device can hold."""
    tiny = Device("tiny", "ecp5", resources={"LUT": 4000, "FF": 4000, "DSP": 8, "block RAM": 8})
    graph = network(48, 40, 10, bits=6)
    with pytest.raises(BoardError) as error:
        plan(graph, Target(tiny, cycles_per_frame=48))
    text = str(error.value)
    assert text.startswith(
        "fc0 (dense from model/fc0): the network does not reach 2,083,333 frames/s (48 cycles a frame at 100 MHz)"
    )
    assert "within 4,000 LUT, 4,000 FF, 8 DSP, 8 block RAM: the smallest folding found that does takes" in text
    assert "(estimated)" in text
    assert "The fastest folding found within the budget reaches" in text
    assert text.endswith("These are the resources of tiny: use a larger device")
    smaller = plan(graph, Target(tiny, budget=dict(tiny.resources))).facts["estimated"]["resources"]
    assert all(smaller[name] <= count for name, count in tiny.resources.items())


def test_the_device_is_a_budget_too() -> None:
    """Least logic would take block RAMs that the device has not; another folding at the same rate fits."""
    graph = network(64, 64, 10, bits=4)
    free = plan(graph, Target(ECP5, cycles_per_frame=256)).facts["estimated"]["resources"]
    assert free["block RAM"] > 0
    bare = Device("bare", "ecp5", resources={"LUT": 40000, "FF": 40000, "DSP": 8, "block RAM": 1})
    found = plan(graph, Target(bare, cycles_per_frame=256)).facts
    assert found["estimated"]["resources"]["block RAM"] <= 1
    assert found["initiation_interval_cycles"] <= 256


def test_a_network_too_large_for_a_device_of_amd() -> None:
    """The resources of amd_devices.toml are a limit as those of ECP5 are; one size larger takes the network."""
    graph = network(256, 512, 10, bits=8)
    with pytest.raises(BoardError, match=r"within 17,600 LUT, 35,200 FF, 80 DSP, 120 block RAM: .* larger device$"):
        plan(graph, Target(find_device("xc7z010clg400-1"), cycles_per_frame=256))
    taken = plan(graph, Target(find_device("xcku115-flvb2104-2-e"), cycles_per_frame=256)).facts
    assert "estimated" not in taken  # no model of that family: nothing to refuse by
    taken = plan(graph, Target(find_device("xc7vx690tffg1761-2"), cycles_per_frame=256)).facts
    assert taken["estimated"]["resources"]["DSP"] > 80


@pytest.mark.parametrize("part", ["LFE5U-85F-6BG381C", "xc7z010clg400-1"])
def test_what_no_device_can_do_is_not_blamed_on_the_device(part: str) -> None:
    builder = GraphBuilder("matrix")
    x = builder.add(Input((6, 4), IntegerType(False, 4)), name="x")
    builder.output(builder.add(Relu(), x, name="relu", source="block/relu"))
    graph, device = builder.build(), find_device(part)
    with pytest.raises(UsageError) as error:
        plan(graph, Target(device, cycles_per_frame=5))
    assert str(error.value) == (
        "relu (relu from block/relu): cannot take a frame every 5 cycles: it has 6 vectors a frame and takes at least 6 "
        "cycles. Use cycles_per_frame of 6 or more"
    )
    with pytest.raises(
        UsageError, match=r"does not reach a latency of 0\.01 us \(1 cycles.* Ask for that latency or make"
    ):
        plan(graph, Target(device, latency_cycles=1))
    # Nor is a budget: the message is about what was asked for.
    with pytest.raises(
        UsageError, match=r"no folding of the network fits 3 LUT: .*smaller or more narrowly quantised network$"
    ):
        plan(graph, Target(device, budget={"LUT": 3}))


def test_budget_device_that_is_too_small_asks_for_a_larger_device() -> None:
    resources = {"LUT": 500, "FF": 500, "DSP": 8, "block RAM": 8}
    tiny = Device("tiny", "ecp5", resources=resources)
    graph = network(48, 40, 10, bits=6)
    with pytest.raises(BoardError) as error:
        plan(graph, Target(tiny, budget=device_budget(tiny)))
    assert "no folding of the network fits 400 LUT, 400 FF, 8 DSP, 8 block RAM" in str(error.value)
    assert str(error.value).endswith(". This is what tiny leaves to the core: use a larger device")
    # A budget that leaves room, on a device that does not.
    with pytest.raises(BoardError) as error:
        plan(graph, Target(tiny, cycles_per_frame=48, budget={"LUT": 100_000}))
    assert str(error.value).endswith(". Beside the budget, these are the resources of tiny: use a larger device")


@pytest.mark.parametrize("pace", [0, -1])
def test_a_pace_of_no_cycles_is_refused(pace: int) -> None:
    with pytest.raises(UsageError, match=f"cycles_per_frame must be a whole number of at least 1, found {pace}"):
        plan(network(4, 3), Target(cycles_per_frame=pace))


def test_refusal_after_layouts_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A latency that the search takes for met and that no layout meets: without a device there are no resources to name."""
    monkeypatch.setattr(_Model, "latency_cycles", lambda *_: 1)
    with pytest.raises(UsageError) as error:
        plan(network(6, 4, 3), Target(latency_cycles=5))
    layout = plan(network(6, 4, 3), Target(latency_cycles=10**6)).facts["latency_cycles"]
    assert str(error.value) == (
        "fc0 (dense from model/fc0): no folding was found within a latency of 5 cycles; the nearest has a latency of "
        f"{layout} cycles. Ask for a little less"
    )
    with pytest.raises(
        UsageError, match=r"block RAM and a latency of 5 cycles; the nearest has a latency of \d+ cycles\. Ask"
    ):
        plan(network(6, 4, 3), Target(ECP5, latency_cycles=5, budget=dict(ECP5.resources)))


def test_refusal_after_layouts_names_what_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a budget: the search takes every stage for free."""
    monkeypatch.setattr(StageAreas, "stage", lambda *_: Area())
    monkeypatch.setattr(StageAreas, "converter", lambda *_: Area())
    with pytest.raises(UsageError) as error:
        plan(network(6, 4, 3), Target(ECP5, cycles_per_frame=24, budget={"LUT": 10}))
    assert str(error.value).startswith(
        "fc0 (dense from model/fc0): no folding was found within 10 LUT; the nearest takes "
    )
    assert str(error.value).endswith("(estimated), most of the LUT in this layer. Ask for a little less")


# ---- The search's estimate against the layout's ------------------------------------------------------------------------


def branches() -> Graph:
    """The input is read by two layers of different widths; one result has three readers, the network's output among them."""
    random = np.random.default_rng(5)
    builder = GraphBuilder("branches")
    x = builder.add(Input((4, 6), IntegerType(True, 4)), name="x")
    narrow = IntegerType(True, 5)
    left = builder.add(Dense(random.integers(-7, 8, (6, 4))), x, name="left")
    left = builder.add(Requantise(narrow, Rounding.HALF_UP, Overflow.SATURATE), left, name="left_act")
    right = builder.add(Dense(random.integers(-7, 8, (6, 4))), x, name="right")
    right = builder.add(Requantise(narrow, Rounding.HALF_UP, Overflow.SATURATE), right, name="right_act")
    both = builder.add(Add(), left, right, name="both")
    twice = builder.add(Add(), both, both, name="twice")
    builder.output(builder.add(Add(), twice, both, name="thrice"))
    return builder.build()


def image() -> Graph:
    """Convolutions that multiply several pixels at once, behind results of few elements a beat."""
    random = np.random.default_rng(6)
    builder = GraphBuilder("image")
    x = builder.add(Input((10, 10, 1), IntegerType(False, 4)), name="x")
    t = builder.add(Conv(random.integers(-7, 8, (3, 3, 1, 8)), (1, 1), (1, 1)), x, name="conv0")
    t = builder.add(Requantise(IntegerType(False, 4, -3), Rounding.HALF_UP, Overflow.SATURATE), t, name="act")
    t = builder.add(Conv(random.integers(-7, 8, (3, 3, 8, 4)), (1, 1), (1, 1)), t, name="conv1")
    builder.output(builder.add(MaxPool((2, 2), (2, 2)), t, name="pool"))
    return builder.build()


def assumed(graph: Graph, folding: Folding, family: str) -> Area:
    """The layout's parts with the memories that the schedule sizes as the search assumes them: line buffers at the least that
    works, FIFOs before stages as guessed, none behind forks."""
    library = Library(DspBlocks(dsp_width(ECP5)))
    total = Area()
    for part in lay_out(graph, folding, [], library).parts:
        instance = part.instance
        if not instance.is_fifo:
            total += instance_area(instance.resize(instance.least_depth) if instance.resize else instance, family)
    areas = StageAreas(family, DspBlocks(dsp_width(ECP5)))
    for stage in group_stages(graph):
        option = folding.stages[stage.name]
        total += areas._fifos(stage, option) if library.why_fifo(stage, option) else Area()
    return total


@pytest.mark.parametrize("family", ["ecp5", "xc7"])
@pytest.mark.parametrize("graph", [image(), branches(), network(24, 16, 8)], ids=lambda graph: graph.name)
def test_the_search_counts_what_the_layout_has(graph: Graph, family: str) -> None:
    device = Device("device", family)
    search = _Search(graph, Targets(), _Model(graph, family, Target(ECP5 if family == "ecp5" else device)), Choices())
    random = np.random.default_rng(8)
    stages = group_stages(graph)
    for _ in range(12):
        chosen = {stage.name: options(stage)[random.integers(len(options(stage)))] for stage in stages}
        folding = Folding(10**6, chosen)
        assert search.amounts(folding) == pytest.approx(assumed(graph, folding, family).amounts, abs=1e-6)


def test_pixels_multiplied_at_once_take_no_converter() -> None:
    """A beat of 8 channels into a window of 72 elements: between them is no converter, which the search once counted."""
    graph = image()
    folding = choose_folding(graph, 100)
    assert folding.stages["conv1"].simd == 72
    assert folding.stages["act"].pe == 8
    search = _Search(graph, Targets(), _Model(graph, "ecp5", Target(ECP5)), Choices())
    alone = [search._model.stage(stage, folding.stages[stage.name]) for stage in group_stages(graph)]
    assert search.amounts(folding) == tuple(map(sum, zip(*alone, strict=True)))
