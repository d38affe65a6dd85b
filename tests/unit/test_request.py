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
