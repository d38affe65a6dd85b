# SPDX-License-Identifier: Apache-2.0
"""Streaming RTL in Verilator equals the interpreter bit for bit, and takes the cycles that its schedule declares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.equivalence.rtl_bundle import Bundle, Member
from tests.equivalence.rtl_cases import narrow_members, network_members, sample_members
from tests.equivalence.rtl_images import image_members
from toolchain.build.tools import verilator
from toolchain.verify.simulation_library import Pattern
from toolchain.verify.vectors import random_vectors

SAMPLES = list(sample_members())
NETWORKS = list(network_members(range(16)))
IMAGES = list(image_members(range(12)))
NARROW = list(narrow_members(range(6)))
MORE_NARROW = list(narrow_members(range(100, 130)))
MORE_NETWORKS = list(network_members(range(100, 160)))
#: First seeds of parts of so many networks: a compiler takes memory for each.
MORE_IMAGES, IMAGES_A_PART = range(100, 240, 35), 35
PATTERNS = (Pattern(idle=0.4, seed=11), Pattern(stall=0.6, seed=12), Pattern(idle=0.3, stall=0.3, seed=13))

pytestmark = pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator and a C++ compiler")


def make(members: list[Member], factory: pytest.TempPathFactory) -> Bundle:
    return Bundle(members, factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    return make([*SAMPLES, *NETWORKS, *IMAGES, *NARROW], tmp_path_factory)


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    return make([*MORE_NETWORKS, *MORE_NARROW], tmp_path_factory)


def vectors_of(bundle: Bundle, name: str, count: int, seed: int) -> np.ndarray:
    return random_vectors(bundle.members[name].graph, count, seed)


@pytest.mark.parametrize("name", [member.name for member in (*SAMPLES, *NETWORKS, *IMAGES, *NARROW)])
def test_equals_the_interpreter(bundle: Bundle, name: str, seed: int) -> None:
    x = vectors_of(bundle, name, 100, seed)
    bundle.check(name, x, PATTERNS)
    bundle.check_timing(name, x)


@pytest.mark.full
@pytest.mark.parametrize("name", [member.name for member in (*MORE_NETWORKS, *MORE_NARROW)])
def test_more_networks_equal_the_interpreter(more: Bundle, name: str, seed: int) -> None:
    x = vectors_of(more, name, 300, seed)
    more.check(name, x, PATTERNS)
    more.check_timing(name, x)


@pytest.mark.full
@pytest.mark.parametrize("start", MORE_IMAGES)
def test_more_networks_on_images_equal_the_interpreter(
    start: int, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    bundle = make(list(image_members(range(start, start + IMAGES_A_PART))), tmp_path_factory)
    for name in bundle.members:
        x = vectors_of(bundle, name, 100, seed)
        bundle.check(name, x, PATTERNS)
        bundle.check_timing(name, x)


def test_a_difference_is_seen(bundle: Bundle, tmp_path: Path) -> None:
    """The comparison itself: one bit of one weight, and a wrong declaration of one cycle, are found."""
    name = next(member.name for member in SAMPLES if member.name.startswith("dense_0_8x6"))
    x = vectors_of(bundle, name, 50, 1)
    memory = next((bundle._plan_folder / "memory").glob(f"{bundle.facts[name]['nodes'][0]['identifier']}_weights.hex"))
    text = memory.read_text()
    bundle.check(name, x, ())
    memory.write_text(f"{int(text.split()[0], 16) ^ 1:0{len(text.split()[0])}x}\n")
    with pytest.raises(AssertionError, match="values differ"):
        bundle.check(name, x, ())
    memory.write_text(text)
    facts = bundle.facts[name]
    facts["latency_cycles"] += 1
    with pytest.raises(AssertionError):
        bundle.check_timing(name, x)
    facts["latency_cycles"] -= 1
