# SPDX-License-Identifier: Apache-2.0
"""FINN's RTL, stitched, equals the interpreter bit for bit under random back-pressure, with FINN's assertions on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from tests.equivalence.finn_bundle import PARTS, FinnBundle, behind_finn, with_finn_nodes
from tests.equivalence.rtl_bundle import Member
from tests.equivalence.rtl_cases import SUPPORTED, network_members, sample_members
from tests.equivalence.rtl_images import image_members
from toolchain.build.tools import finn, verilator
from toolchain.ir import Conv, Dense, GraphBuilder, Input, IntegerType, Threshold
from toolchain.passes.choose_folding import Folding, StageFolding
from toolchain.verify.simulation_library import Pattern
from toolchain.verify.vectors import random_vectors

PATTERNS = (Pattern(idle=0.4, seed=11), Pattern(stall=0.6, seed=12), Pattern(idle=0.3, stall=0.3, seed=13))
pytestmark = pytest.mark.skipif(
    verilator.TOOL.find() is None or finn.TOOL.find() is None, reason="needs Verilator, a C++ compiler and finn-plus"
)


def _samples(part: str = PARTS["xc7"]) -> list[Member]:
    """Every sample of every operation: as it is where FINN computes something of it, else behind a matrix of FINN's.

    What the backend refuses is not there.
    """
    found = []
    for member in sample_members():
        alone = list(with_finn_nodes(iter([member]), part))
        found += alone or list(with_finn_nodes(iter([behind_finn(member)]), part))
    return found


def _kind(member: Member) -> str:
    """The operation that a sample is of; of an input alone, the matrix behind it."""
    return member.graph.nodes[-1].operation.kind


EVERY_SAMPLE = _samples()
#: Every eighth of each operation's, the first one among them: `make test-full` takes the others.
SAMPLES = [
    member
    for kind in dict.fromkeys(map(_kind, EVERY_SAMPLE))
    for member in [found for found in EVERY_SAMPLE if _kind(found) == kind][::8]
]
OTHER_SAMPLES = [member for member in EVERY_SAMPLE if member.name not in {sample.name for sample in SAMPLES}]
#: Image network 116 joins branches along its first axis, which needs FIFOs that hold more than the pace asks for.
NETWORKS = list(
    with_finn_nodes(chain(network_members(range(5)), image_members(range(6)), image_members(range(116, 117))))
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FinnBundle]:
    return FinnBundle([*SAMPLES, *NETWORKS], tmp_path_factory.mktemp("finn"))  # type: ignore[return-value]


def vectors_of(bundle: FinnBundle, name: str, count: int, seed: int) -> np.ndarray:
    return random_vectors(bundle.members[name].graph, count, seed)


@pytest.mark.parametrize("name", [member.name for member in (*SAMPLES, *NETWORKS)])
def test_equals_the_interpreter(bundle: FinnBundle, name: str, seed: int) -> None:
    bundle.check(name, vectors_of(bundle, name, 60, seed), PATTERNS)


def test_every_operation_is_among_the_samples() -> None:
    """All that the streaming kernels compute, and what costs nothing."""
    supported = {operation.kind for operation in SUPPORTED} - {"input"}
    assert {_kind(member) for member in SAMPLES} == {_kind(member) for member in EVERY_SAMPLE} == supported
    names = [member.name for member in (*SAMPLES, *OTHER_SAMPLES)]
    assert sorted(names) == sorted(member.name for member in EVERY_SAMPLE)


@pytest.mark.full
@pytest.mark.parametrize("start", range(0, len(OTHER_SAMPLES), 80))
def test_the_other_samples(start: int, tmp_path: Path, seed: int) -> None:
    members = OTHER_SAMPLES[start : start + 80]
    bundle = FinnBundle(members, tmp_path)
    for member in members:
        bundle.check(member.name, vectors_of(bundle, member.name, 60, seed), PATTERNS)


def test_cycles_are_those_that_finn_expects(bundle: FinnBundle) -> None:
    """Of networks without windows, whose cycles FINN's own formulas give exactly; windows take what their buffers fill in."""
    compared = 0
    for name, decided in bundle.designs.items():
        if decided.own or any(layer.kind in ("window", "pad") for layer in decided.layers):
            continue
        expected = max(bundle.facts[name]["finn_expected_cycles"], bundle.facts[name]["input"]["beats"])
        expected = max(expected, bundle.facts[name]["output"]["beats"])
        _, run = bundle.run(name, vectors_of(bundle, name, 60, 1))
        ends = run.output_cycles[bundle.facts[name]["output"]["beats"] - 1 :: bundle.facts[name]["output"]["beats"]]
        assert int(ends[-1] - ends[-21]) == 20 * expected, name
        compared += 1
    assert compared >= 10


def test_a_difference_is_seen(bundle: FinnBundle) -> None:
    """The comparison itself: one bit of one weight of FINN's memory is found."""
    name = next(member.name for member in SAMPLES if member.name.startswith("dense_0"))
    layer = bundle.designs[name].layers[0].name
    memory = bundle._plan_folder / "memory" / f"{layer}_memblock.dat"
    text, x = memory.read_text(), vectors_of(bundle, name, 50, 1)
    first = text.split()[0]
    bundle.check(name, x, ())
    memory.write_text(text.replace(first, f"{int(first, 16) ^ 1:0{len(first)}x}", 1))
    with pytest.raises(AssertionError, match="values differ"):
        bundle.check(name, x, ())
    memory.write_text(text)


def _fast_network(name: str, part: str, bits: int) -> Member:
    """Each vector in one beat: many results are under way when the sink stops. bits: of inputs and of the first weights."""
    random = np.random.default_rng(5)
    builder = GraphBuilder(name)
    x = builder.add(Input((8,), IntegerType(True, bits)), name=f"{name}_x")
    x = builder.add(Dense(random.integers(1 - (1 << bits - 1), 1 << bits - 1, (8, 6))), x, name=f"{name}_dense")
    x = builder.add(Threshold(np.sort(random.integers(-90, 90, (6, 15)), axis=1)), x, name=f"{name}_act")
    x = builder.add(Dense(random.integers(-7, 8, (6, 4))), x, name=f"{name}_last")
    builder.output(x)
    stages = {
        f"{name}_dense": StageFolding(8, 6),
        f"{name}_act": StageFolding(6, 6),
        f"{name}_last": StageFolding(6, 4),
    }
    return Member(name, builder.build(), Folding(1, stages), part=part)


def _depthwise_network(
    name: str,
    image: tuple[int, int],
    channels: int,
    window: tuple[int, int],
    strides: tuple[int, int],
    pace: int,
    word: IntegerType,
) -> Member:
    """Depthwise, its thresholds, and a full convolution of what they give. word: of the input; weights are as wide, 8 bits at most."""
    random = np.random.default_rng(channels)
    limit = (1 << min(max(word.width, 2), 8) - 1) - 1
    builder = GraphBuilder(name)
    x = builder.add(Input((*image, channels), word), name=f"{name}_x")
    weights = random.integers(-limit, limit + 1, (*window, 1, channels))
    x = builder.add(Conv(weights, strides, (1, 1), channels), x, name=f"{name}_depthwise")
    x = builder.add(Threshold(np.sort(random.integers(-40, 90, (channels, 7)), axis=1)), x, name=f"{name}_act")
    x = builder.add(Conv(random.integers(-3, 4, (1, 1, channels, 3)), (1, 1), (1, 1)), x, name=f"{name}_pointwise")
    builder.output(x)
    return Member(name, builder.build(), cycles_per_frame=pace, part=PARTS["versal"])


#: FINN's vector unit at the ends of what it takes: all channels a beat, one, and some; strides; narrow and wide words.
DEPTHWISE = (
    _depthwise_network("at_once", (6, 6), 4, (3, 3), (1, 1), 144, IntegerType(True, 4)),
    _depthwise_network("one_by_one", (6, 7), 4, (3, 3), (2, 2), 400, IntegerType(False, 8)),
    _depthwise_network("in_groups", (7, 6), 6, (2, 3), (1, 2), 300, IntegerType(True, 9)),
    _depthwise_network("a_line", (12, 1), 4, (3, 1), (2, 1), 100, IntegerType(False, 1)),
)


def test_depthwise_on_versal(tmp_path: Path, seed: int) -> None:
    bundle = FinnBundle(DEPTHWISE, tmp_path)
    for member in DEPTHWISE:
        decided = bundle.designs[member.name]
        assert not decided.own
        assert [layer.kind for layer in decided.layers] == ["window", "depthwise", "threshold", "matrix"]
        bundle.check(member.name, vectors_of(bundle, member.name, 60, seed), PATTERNS)


@pytest.mark.parametrize("family", PARTS)
def test_families(family: str, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Each DSP block's arithmetic, as FINN packs products into it: exact, whatever the sink does."""
    part = PARTS[family]
    # Two, three and four products a DSP block.
    members = [
        *(_fast_network(f"fast{bits}", part, bits) for bits in (2, 4, 8)),
        *_samples(part)[::40],
        *(replace(member, part=part) for member in NETWORKS[:2]),
    ]
    bundle = FinnBundle(members, tmp_path_factory.mktemp(family))
    for member in members:
        bundle.check(member.name, vectors_of(bundle, member.name, 60, seed), PATTERNS)


@pytest.mark.full
@pytest.mark.parametrize("start", range(100, 140, 20))
def test_more_networks(start: int, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    seeds = range(start, start + 20)
    members = list(with_finn_nodes(chain(network_members(seeds), image_members(seeds))))
    bundle = FinnBundle(members, tmp_path_factory.mktemp("finn"))
    for member in members:
        bundle.check(member.name, vectors_of(bundle, member.name, 100, seed), PATTERNS)
