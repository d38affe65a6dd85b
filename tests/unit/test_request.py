# SPDX-License-Identifier: Apache-2.0
"""What a build is asked for: paces given as rates, and what cannot go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import UsageError
from toolchain.ir import GraphBuilder, Input, IntegerType, Relu, save_graph
from toolchain.pipeline.request import make_request


@pytest.fixture
def model(tmp_path: Path) -> Path:
    builder = GraphBuilder("model")
    builder.output(builder.add(Relu(), builder.add(Input((4,), IntegerType(True, 4)), name="x"), name="y"))
    save_graph(builder.build(), tmp_path / "model.bitwright")
    return tmp_path / "model.bitwright"


@pytest.mark.parametrize(
    ("clock_mhz", "rate", "cycles"), [(100.0, 1e6, 100), (None, 250_000, 400), (30.0, 7e6, 4), (25.0, 0.5, 50_000_000)]
)
def test_a_rate_leaves_so_many_whole_cycles(model: Path, clock_mhz: float | None, rate: float, cycles: int) -> None:
    request = make_request(model, out="out", frames_per_second=rate, clock_mhz=clock_mhz)
    assert request.target.cycles_per_frame == cycles
    assert request.target.clock_mhz * 1e6 / cycles >= rate


def test_without_a_pace_the_backend_chooses(model: Path) -> None:
    assert make_request(model, out="out").target.cycles_per_frame is None
    assert make_request(model, out="out", cycles_per_frame=7).target.cycles_per_frame == 7


@pytest.mark.parametrize("rate", [0.0, -5.0, 2e8, float("nan"), float("inf")])
def test_rates_that_no_clock_gives(model: Path, rate: float) -> None:
    with pytest.raises(UsageError, match=r"above 0 and at most one a cycle, 100,000,000 at 100 MHz; found"):
        make_request(model, out="out", frames_per_second=rate)


def test_one_pace_only(model: Path) -> None:
    with pytest.raises(UsageError, match=r"--frames-per-second or --cycles-per-frame, not both \(found 1000 and 64\)"):
        make_request(model, out="out", frames_per_second=1000, cycles_per_frame=64)


@pytest.mark.parametrize(
    ("clock_mhz", "latency_us", "cycles"), [(None, 2.5, 250), (25.0, 0.05, 1), (30.0, 0.1, 3), (None, 0.019, 1)]
)
def test_a_latency_leaves_so_many_whole_cycles(
    model: Path, clock_mhz: float | None, latency_us: float, cycles: int
) -> None:
    request = make_request(model, out="out", latency_us=latency_us, clock_mhz=clock_mhz)
    assert request.target.latency_cycles == cycles


@pytest.mark.parametrize("latency_us", [0.0, -1.0, 0.009, 2e9, float("nan")])
def test_latencies_that_no_clock_gives(model: Path, latency_us: float) -> None:
    with pytest.raises(
        UsageError, match=r"at least one cycle, 0.01 us at 100 MHz, and at most 1,000,000,000.* us; found"
    ):
        make_request(model, out="out", latency_us=latency_us)


@pytest.mark.parametrize(
    ("budget", "found"),
    [
        (None, {}),
        ("LUT=20000, dsp=50,BRAM=30", {"LUT": 20000, "DSP": 50, "block RAM": 30}),
        ({"LUT": 7, "block RAM": 0, "FF": 3}, {"LUT": 7, "block RAM": 0, "FF": 3}),
        ("device", {"LUT": 66912, "FF": 66912, "DSP": 156, "block RAM": 208}),
    ],
)
def test_budgets(model: Path, budget: str | dict[str, int] | None, found: dict[str, int]) -> None:
    assert make_request(model, out="out", board="ulx3s-85f", budget=budget).target.budget == found


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("LUT", "budget: 'LUT' is not NAME=COUNT; write for example LUT=20000,DSP=50,BRAM=30, or device"),
        ("", "budget: '' is not NAME=COUNT; write for example LUT=20000,DSP=50,BRAM=30, or device"),
        ("LAB=3", "budget: resource 'LAB' is not known; allowed: LUT, FF, DSP, BRAM, BLOCK RAM, or device"),
        ("LUT=-3", "budget: LUT must be a whole number of at least 0, found '-3'"),
        ("LUT=2.5", "budget: LUT must be a whole number of at least 0, found '2.5'"),
        ({"DSP": True}, "budget: DSP must be a whole number of at least 0, found True"),
        ("BRAM=3,block RAM=4", "budget: block RAM is given twice"),
        (
            "device",
            "budget 'device' needs --board, or an ECP5 --part such as LFE5U-85F-6BG381C, whose resources are known",
        ),
    ],
)
def test_budgets_that_cannot_be(model: Path, budget: str | dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as error:
        make_request(model, out="out", budget=budget)
    assert str(error.value) == message


def test_only_the_rtl_backend_has_a_latency_and_a_budget(model: Path) -> None:
    for options in ({"latency_us": 5.0}, {"budget": "LUT=100"}):
        with pytest.raises(
            UsageError, match="latency_us and budget are targets of backend 'rtl'; found backend 'hls4ml'"
        ):
            make_request(model, out="out", backend="hls4ml", **options)
