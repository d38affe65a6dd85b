# SPDX-License-Identifier: Apache-2.0
"""Which products are DSP blocks and which are LUTs, by the width that a person names: exact, and as estimated."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from toolchain import build_hardware
from toolchain.backends.base import make_plan
from toolchain.backends.rtl import streaming
from toolchain.build.tools import verilator, yosys
from toolchain.deploy.project import synthesise
from toolchain.deploy.weights import weights_for
from toolchain.errors import UsageError
from toolchain.ir import Dense, Graph, GraphBuilder, Input, IntegerType, Multiply, Requantise, Scale
from toolchain.plan import BuildPlan
from toolchain.target import Target, find_device
from toolchain.verify.simulate import build_simulation, measure_timing, verify_bulk
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(
    any(tool.find() is None for tool in (yosys.TOOL, verilator.TOOL)), reason="needs Yosys and Verilator"
)
ECP5 = find_device("LFE5U-85F-6BG381C")


def network() -> Graph:
    """Products of 3 + 6 bits in a dense layer, 5 + 6 in another, 6 + 4 in a scale, 6 + 6 of two streams."""
    random = np.random.default_rng(8)
    builder = GraphBuilder("products")
    x = builder.add(Input((16,), IntegerType(True, 6)), name="x")
    narrow = builder.add(Dense(random.integers(-4, 4, (16, 12))), x, name="narrow")
    narrow = builder.add(Requantise(IntegerType(True, 6, -5)), narrow, name="narrow_act")
    wide = builder.add(Dense(random.integers(-16, 16, (16, 12))), x, name="wide")
    wide = builder.add(Requantise(IntegerType(True, 6, -7)), wide, name="wide_act")
    scaled = builder.add(Scale(random.integers(-8, 8, 12)), narrow, name="scaled")
    scaled = builder.add(Requantise(IntegerType(True, 6, -8)), scaled, name="scaled_act")
    builder.output(builder.add(Multiply(), scaled, wide, name="product"))
    return builder.build()


def planned(bits: int | None, cycles: int = 12) -> BuildPlan:
    return streaming.plan(network(), Target(ECP5, cycles_per_frame=cycles, dsp_from_bits=bits))


def styles(plan: BuildPlan) -> dict[str, int]:
    """Layer -> MULTIPLIER_STYLE, as the top module gives it."""
    (top,) = (file.content.decode() for file in plan.files if file.path == f"rtl/{plan.top}.sv")
    instances = re.findall(r"^  \w+ #\((.*?)^  \) u_(\w+) \(", top, re.MULTILINE | re.DOTALL)
    found = {name: re.search(r"\.MULTIPLIER_STYLE\s*\((\d)\)", parameters) for parameters, name in instances}
    return {name: int(style[1]) for name, style in found.items() if style}


def test_the_width_of_both_factors_decides() -> None:
    names = sorted(styles(planned(1)))
    assert [re.sub(r"_(products|sums)$", "", name) for name in names] == ["narrow", "product", "scaled", "wide"]
    assert set(styles(planned(1)).values()) == {2}
    assert set(styles(planned(13)).values()) == {1}
    by_bits = {
        bits: {name.split("_")[0] for name, style in styles(planned(bits)).items() if style == 2}
        for bits in range(9, 14)
    }
    assert by_bits == {
        9: {"narrow", "wide", "scaled", "product"}, 10: {"wide", "scaled", "product"}, 11: {"wide", "product"},
        12: {"product"}, 13: set(),
    }  # fmt: skip
    assert styles(planned(None)) == {}
    assert "targets" in planned(9).facts
    assert planned(9).facts["targets"]["dsp_from_bits"] == 9


@pytest.mark.parametrize("bits", [None, 1, 11, 99])
def test_every_choice_is_exact_and_as_estimated(bits: int | None, tmp_path: Path) -> None:
    plan, graph = planned(bits), network()
    plan.write(tmp_path / "plan")
    simulation = build_simulation(tmp_path / "plan", plan.facts, tmp_path / "simulation")
    x = random_vectors(graph, 2000, seed=1)
    result = verify_bulk(graph, simulation, x)
    assert (result.vectors, result.mismatches) == (2000, 0)
    timing = measure_timing(graph, simulation, x[:8])
    assert timing.latency_cycles == planned(None).facts["latency_cycles"] == plan.facts["latency_cycles"]
    found = synthesise(plan, tmp_path / "core").resources
    estimated = plan.facts["estimated"]["resources"]
    assert found["DSP"] == estimated["DSP"]
    assert (found["DSP"] == 0) == (bits == 99)
    assert found["LUT"] == pytest.approx(estimated["LUT"], rel=0.15)


def test_loadable_weights_are_for_hardware_with_the_same_products() -> None:
    plan = streaming.plan(network(), Target(ECP5, cycles_per_frame=12, dsp_from_bits=11, loadable_weights=True))
    assert weights_for(network(), plan.facts).writes


def test_a_wrong_argument_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dsp_from_bits must be a whole number of at least 1, found 0"):
        build_hardware("digits", out=tmp_path / "a", dsp_from_bits=0)
    with pytest.raises(UsageError, match="how the products of backend 'rtl' are built, found backend 'finn'"):
        build_hardware("digits", out=tmp_path / "a", backend="finn", dsp_from_bits=9)
    assert make_plan("rtl", network(), Target(dsp_from_bits=9)).facts["targets"] == {"dsp_from_bits": 9}
