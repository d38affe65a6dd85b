# SPDX-License-Identifier: Apache-2.0
"""Hardware with loadable weights equals the interpreter with the weights it was built from, and with all others it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from toolchain.backends.base import make_plan
from toolchain.build.tools import verilator
from toolchain.deploy.weights import load_writes, weights_for
from toolchain.errors import BuildFailed
from toolchain.ir import (
    AddBias,
    ArgMax,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Operation,
    Overflow,
    Pad,
    Requantise,
    Reshape,
    Rounding,
    Scale,
    Threshold,
    interpret,
)
from toolchain.plan import BuildPlan
from toolchain.target import Target, find_device
from toolchain.verify.simulate import build_simulation, measure_timing, simulate, verify_bulk
from toolchain.verify.simulation_library import Pattern, SimulationLibrary
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator and a C++ compiler")

#: Draws values for constants that are an array now: all others are possible where the widths allow them.
Draw = Callable[[np.random.Generator, int, int, tuple[int, ...]], np.ndarray]


def anything(random: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    return random.integers(low, high + 1, shape)


def ends(random: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Row by row the least or the largest: sums as large as they can become."""
    chosen = random.integers(0, 2, shape[-1:])
    return np.broadcast_to(np.where(chosen == 1, high, low), shape).copy()


def weights(bits: int, *shape: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng([bits, *shape, seed]).integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)
    values.flat[0] = -(1 << (bits - 1))
    return values


def signs(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).choice([-1, 1], shape)


def quantise(bits: int, signed: bool, fraction: int) -> Requantise:
    return Requantise(IntegerType(signed, bits, fraction), Rounding.HALF_EVEN, Overflow.SATURATE)


def vectors_network() -> Graph:
    """Products with and without bias, thresholds for each channel and for all, ternary weights, factors, a bias alone."""
    builder = GraphBuilder("loadable vectors")
    x = builder.add(Input((3, 10), IntegerType(True, 5, 3)), name="x")
    x = builder.add(Dense(weights(4, 10, 12), 2), x, name="fc0", source="model/fc0")
    x = builder.add(AddBias(np.arange(12) * 3 - 20, 6), x, name="fc0_bias")
    steps = np.sort(np.random.default_rng(1).integers(-300, 300, (12, 6)), axis=1)
    x = builder.add(Threshold(steps, -3), x, name="steps")
    x = builder.add(Dense(np.random.default_rng(2).integers(-1, 2, (12, 9)), 0), x, name="ternary")
    x = builder.add(Scale(weights(5, 9), 3), x, name="factors")
    x = builder.add(AddBias(np.arange(9) - 4, 3), x, name="bias")
    x = builder.add(quantise(6, True, 1), x, name="narrow")
    x = builder.add(Reshape((27,)), x, name="flat")
    x = builder.add(Dense(weights(9, 27, 6), 4), x, name="wide")
    x = builder.add(Threshold(np.array([[-900, -100, 5, 700, 2000]])), x, name="same_steps")
    x = builder.add(Dense(weights(3, 6, 5), 0), x, name="last")
    builder.output(builder.add(ArgMax(), x, name="winner"))
    return builder.build()


def images_network() -> Graph:
    """Convolutions: whole, depthwise with a bias, in groups, and with signs on bits."""
    builder = GraphBuilder("loadable images")
    x = builder.add(Input((6, 7, 4), IntegerType(False, 4, 4)), name="x")
    x = builder.add(Conv(weights(4, 3, 3, 4, 6), (1, 1), (1, 1), 1, 3), x, name="conv")
    x = builder.add(AddBias(np.arange(6) * 5 - 12, 5), x, name="conv_bias")
    x = builder.add(quantise(4, True, 1), x, name="conv_narrow")
    x = builder.add(Conv(weights(5, 2, 2, 1, 6), (1, 1), (1, 1), 6, 3), x, name="depthwise")
    x = builder.add(AddBias(np.arange(6) - 3, 7), x, name="depthwise_bias")
    x = builder.add(quantise(4, True, 1), x, name="depthwise_narrow")
    x = builder.add(Conv(signs(1, 2, 3, 4), (1, 1), (1, 1), 2), x, name="grouped")
    x = builder.add(Threshold(np.repeat(np.array([[-3], [0], [2], [9]]), 2, axis=1), -1), x, name="sign")
    x = builder.add(Conv(signs(2, 2, 4, 8), (1, 1), (1, 1)), x, name="binary")
    x = builder.add(Reshape((builder.type(x).size,)), x, name="flat")
    x = builder.add(Dense(weights(3, builder.type(x).size, 3), 1), x, name="scores")
    builder.output(x)
    return builder.build()


def borders_network() -> Graph:
    """A border that is not 0, which a stage adds before the frame's first pixel is there, and what it meets behind."""
    builder = GraphBuilder("loadable borders")
    x = builder.add(Input((3, 4, 2), IntegerType(True, 4, 2)), name="x")
    x = builder.add(Pad(((2, 1), (2, 0), (0, 0)), 5), x, name="border")
    x = builder.add(Threshold(np.array([[-5, 0, 4], [-6, 1, 5]]), 0), x, name="steps")
    x = builder.add(Conv(weights(4, 2, 2, 2, 3), (1, 1), (1, 1)), x, name="conv")
    x = builder.add(AddBias(np.arange(3) * 4 - 5, 0), x, name="conv_bias")
    x = builder.add(quantise(5, True, 0), x, name="narrow")
    x = builder.add(Reshape((builder.type(x).size,)), x, name="flat")
    builder.output(builder.add(Dense(weights(3, builder.type(x).size, 3), 1), x, name="scores"))
    return builder.build()


def with_constants(graph: Graph, seed: int, draw: Draw) -> Graph:
    """The same network with other constants of the same widths, under other names."""
    random = np.random.default_rng(seed)

    def drawn(values: np.ndarray) -> np.ndarray:
        kinds = set(np.unique(values).tolist())
        if kinds <= {-1, 0, 1}:
            low_high = draw(random, 0, 1, values.shape)
            return 2 * low_high - 1 if 0 not in kinds else random.integers(-1, 2, values.shape)
        bits = max(int(values.max()).bit_length(), int(-values.min() - 1).bit_length())
        return draw(random, -(1 << bits), (1 << bits) - 1, values.shape)

    def changed(operation: Operation) -> Operation:
        if isinstance(operation, Dense | Conv):
            return replace(operation, weights=drawn(operation.weights))
        if isinstance(operation, Scale):
            return replace(operation, factors=drawn(operation.factors))
        if isinstance(operation, AddBias):
            return replace(operation, bias=drawn(operation.bias))
        if isinstance(operation, Threshold):
            steps = operation.thresholds
            if (steps == steps[:, :1]).all():
                return replace(operation, thresholds=steps + random.integers(-4, 5, (len(steps), 1)))
            low, high = int(steps.min()), int(steps.max())
            return replace(operation, thresholds=np.sort(anything(random, 2 * low, 2 * high, steps.shape), axis=1))
        return operation

    def renamed(name: str) -> str:
        return f"{name}_{seed}"

    nodes = tuple(
        replace(
            node,
            name=renamed(node.name),
            inputs=tuple(map(renamed, node.inputs)),
            operation=changed(node.operation),
            source="",
        )
        for node in graph
    )
    outputs = tuple(replace(output, tensor=renamed(output.tensor)) for output in graph.outputs)
    return replace(graph, name=f"{graph.name} {seed}", nodes=nodes, outputs=outputs)


CASES = {
    "vectors": (vectors_network, Target(cycles_per_frame=60, loadable_weights=True)),
    "images": (
        images_network,
        Target(find_device("LFE5U-85F-6BG381C"), cycles_per_frame=300, loadable_weights=True),
    ),
    "borders": (borders_network, Target(cycles_per_frame=100, loadable_weights=True)),
}


class Hardware:
    """The plan of a network with loadable weights, and its simulation."""

    def __init__(self, name: str, folder: Path) -> None:
        make, target = CASES[name]
        self.graph = make()
        self.plan: BuildPlan = make_plan("rtl", self.graph, target)
        self.plan.write(folder / "plan")
        self.folder = folder
        self.library: SimulationLibrary = build_simulation(
            folder / "plan", self.plan.facts, folder / "simulation", optimisation="-O0"
        )


@pytest.fixture(scope="module", params=list(CASES))
def hardware(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Hardware:
    return Hardware(request.param, tmp_path_factory.mktemp("loadable"))


def mismatches(hardware: Hardware, graph: Graph, x: np.ndarray, writes: tuple[tuple[int, int], ...]) -> int:
    """Vectors that differ in the output, flowing and under pauses, after the writes."""
    (expected,) = interpret(graph, x).values()
    wrong = 0
    # The names of the results are the build's; their integers are the other graph's.
    with hardware.library.start() as simulation:
        if writes:
            found = simulation.load(writes)
            assert f"0x{found:08x}" == hardware.plan.facts["loadable"]["identification"]
        for pattern in (Pattern(), Pattern(idle=0.3, stall=0.3, seed=5)):
            y, _, _ = simulate(hardware.graph, simulation, hardware.library, x, pattern=pattern)
            wrong += int((y != expected).reshape(len(x), -1).any(axis=1).sum())
    return wrong


def test_the_built_weights_are_exact_in_the_declared_cycles(hardware: Hardware, seed: int) -> None:
    x = random_vectors(hardware.graph, 200, seed)
    assert verify_bulk(hardware.graph, hardware.library, x).mismatches == 0
    timing, facts = measure_timing(hardware.graph, hardware.library, x), hardware.plan.facts
    assert timing.latency_cycles == facts["latency_cycles"]
    assert timing.first_output_latency_cycles == facts["first_output_latency_cycles"]
    assert timing.initiation_interval_cycles == facts["initiation_interval_cycles"]


@pytest.mark.parametrize("draw", [anything, ends])
def test_other_weights_are_exact(hardware: Hardware, draw: Draw, seed: int) -> None:
    x = random_vectors(hardware.graph, 200, seed)
    for number in range(1, 5):
        other = with_constants(hardware.graph, number, draw)
        loaded = weights_for(other, hardware.plan.facts)
        assert mismatches(hardware, other, x, loaded.writes) == 0
        # What was loaded makes the difference.
        if draw is anything:
            assert mismatches(hardware, other, x, ()) > 0


def test_loading_again_and_back(hardware: Hardware, seed: int) -> None:
    """Words of one memory alone, all of another network, and the first ones again: the last write of a word counts."""
    x = random_vectors(hardware.graph, 100, seed)
    other = weights_for(with_constants(hardware.graph, 9, anything), hardware.plan.facts)
    first = tuple(load_writes(hardware.plan))
    assert len(first) == len(other.writes)
    assert mismatches(hardware, hardware.graph, x, (*other.writes, *first)) == 0
    for memory in hardware.plan.facts["loadable"]["memories"]:
        end = memory["address"] + 4 * memory["chunks_apart"] * memory["depth"]
        own = [write for write in other.writes if memory["address"] <= write[0] < end]
        back = [write for write in first if memory["address"] <= write[0] < end]
        assert len(own) == memory["chunks"] * memory["depth"]
        assert mismatches(hardware, hardware.graph, x, (*own, *back)) == 0


def test_a_build_is_compared_stage_by_stage_with_its_loaded_weights(hardware: Hardware, seed: int) -> None:
    """verify_bulk, with instances that load when they start; the names are the build's."""
    other = with_constants(hardware.graph, 3, anything)
    writes = weights_for(other, hardware.plan.facts).writes
    named = replace(
        hardware.graph,
        nodes=tuple(
            replace(node, operation=of_other.operation)
            for node, of_other in zip(hardware.graph.nodes, other.nodes, strict=True)
        ),
    )
    x = random_vectors(named, 100, seed)
    hardware.library.writes = writes
    try:
        assert verify_bulk(named, hardware.library, x).mismatches == 0
        assert verify_bulk(hardware.graph, hardware.library, x).mismatches > 0
    finally:
        hardware.library.writes = ()


def test_writes_outside_the_map_are_refused(hardware: Hardware) -> None:
    loadable = hardware.plan.facts["loadable"]
    with hardware.library.start() as simulation:
        with pytest.raises(BuildFailed, match="AXI4-Lite write at 0x0: refused \\(2\\)"):
            simulation.load([(0, 1)])
        beyond = loadable["bytes"] - 4
        if all(m["address"] + 4 * m["chunks_apart"] * m["depth"] <= beyond for m in loadable["memories"]):
            with pytest.raises(BuildFailed, match=r"refused \(3\)"):
                simulation.load([(beyond, 1)])


def test_the_text_is_clean(hardware: Hardware) -> None:
    verilator.lint(
        hardware.plan.sources(".sv"), hardware.plan.top, cwd=hardware.folder / "plan", log=hardware.folder / "lint.log"
    )
