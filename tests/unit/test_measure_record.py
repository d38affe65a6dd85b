# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math

import pytest

from toolchain.errors import BoardError, InputError
from toolchain.measure.fpga import ToolVersion, fpga_measurements
from toolchain.measure.record import (
    UNITS,
    Kind,
    Measurement,
    latency_name,
    parse_latency_name,
    parse_throughput_name,
    throughput_name,
)

VERILATOR = ToolVersion("verilator", "5.048")
NEXTPNR = ToolVersion("nextpnr-ecp5", "0.11")


def record(**changes: object) -> Measurement:
    fields: dict = {
        "name": "latency", "value": 12.5, "unit": "ns", "kind": Kind.POST_ROUTE, "tool": "nextpnr", "tool_version": "1",
        "device": "part",
    }  # fmt: skip
    return Measurement(**{**fields, **changes})


def test_json_and_back_is_identical() -> None:
    for original in (
        record(),
        record(plan_digest="ab" * 32, clock_mhz=50.0, value=7, unit="cycles", kind=Kind.SIMULATED),
    ):
        assert Measurement.from_json(json.loads(json.dumps(original.to_json()))) == original


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "3", None])
def test_a_value_that_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(InputError) as caught:
        record(value=value)
    assert str(caught.value) == f"measurement 'latency': the value must be a finite number, found {value!r}"


def test_an_unknown_unit_names_the_allowed_ones() -> None:
    with pytest.raises(InputError) as caught:
        record(unit="nsec")
    assert str(caught.value) == f"measurement 'latency': unknown unit 'nsec'; allowed: {', '.join(UNITS)}"


@pytest.mark.parametrize("clock", [0, -1.0, math.nan, True])
def test_a_clock_is_positive(clock: float) -> None:
    with pytest.raises(InputError, match="clock_mhz must be a positive number or None"):
        record(clock_mhz=clock)


def test_damaged_json_is_refused_by_field() -> None:
    data = record().to_json()
    with pytest.raises(InputError, match=r"missing fields \['tool'\], unknown fields \['tol'\]"):
        Measurement.from_json({("tol" if key == "tool" else key): value for key, value in data.items()})
    with pytest.raises(InputError, match=r"unknown kind 'guessed'; allowed: estimated, simulated"):
        Measurement.from_json({**data, "kind": "guessed"})
    with pytest.raises(InputError, match="expected a JSON object, found list"):
        Measurement.from_json([])  # type: ignore[arg-type]


def test_names_round_trip() -> None:
    assert parse_latency_name(latency_name("p99_9", 64)) == ("p99_9", 64)
    assert parse_throughput_name(throughput_name(1)) == 1
    for other in ("latency", "latency_p50_batch_0", "latency_p50_batch_8x", "throughput_at_fmax"):
        assert parse_latency_name(other) is None
        assert parse_throughput_name(other) is None


def fpga(**changes: object) -> dict[str, Measurement]:
    arguments: dict = {
        "latency_cycles": 40, "initiation_interval_cycles": 16, "cycles_tool": VERILATOR,
        "resources": {"LUT": 1500, "block RAM": 3}, "resources_tool": NEXTPNR, "resources_kind": Kind.POST_ROUTE,
        "available": {"LUT": 24000, "DSP": 28}, "device": "LFE5U-25F", "plan_digest": "d1", "fmax_mhz": 80.0,
        "clock_mhz": 50.0, "timing_tool": NEXTPNR,
    }  # fmt: skip
    return {r.name: r for r in fpga_measurements(**{**arguments, **changes})}


def test_fpga_figures_at_both_clocks() -> None:
    records = fpga()
    value = {name: r.value for name, r in records.items()}
    assert value == {
        "latency_cycles": 40, "initiation_interval_cycles": 16,
        "clock": 50.0, "latency": 800.0, "throughput": 3.125e6,
        "fmax": 80.0, "latency_at_fmax": 500.0, "throughput_at_fmax": 5e6,
        "used_lut": 1500, "utilisation_lut": 6.25, "used_block_ram": 3,
    }  # fmt: skip
    assert records["latency"].unit == "ns"
    assert records["latency"].clock_mhz == 50.0
    assert records["latency_at_fmax"].clock_mhz == 80.0
    assert records["latency"].kind is Kind.POST_ROUTE
    assert (records["latency"].tool, records["latency"].tool_version) == ("verilator + nextpnr-ecp5", "5.048 + 0.11")
    assert records["latency_cycles"].kind is Kind.SIMULATED
    assert records["used_block_ram"].unit == "block RAM"
    assert {r.plan_digest for r in records.values()} == {"d1"}


def test_without_a_routed_clock_there_are_only_cycles() -> None:
    records = fpga(fmax_mhz=None, clock_mhz=None, timing_tool=None, resources_kind=Kind.POST_SYNTHESIS)
    assert set(records) == {
        "latency_cycles", "initiation_interval_cycles", "used_lut", "utilisation_lut", "used_block_ram",
    }  # fmt: skip
    assert records["used_lut"].kind is Kind.POST_SYNTHESIS


def test_a_board_clock_above_the_routed_maximum_is_refused() -> None:
    with pytest.raises(BoardError) as caught:
        fpga(clock_mhz=100.0)
    assert str(caught.value) == (
        "LFE5U-25F: the board runs at 100 MHz, the routed design allows 80 MHz; lower the clock or fold the design more"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency_cycles": 0}, "latency_cycles must be a positive whole number"),
        ({"initiation_interval_cycles": 1.5}, "initiation_interval_cycles must be a positive whole number"),
        ({"resources": {"LUT": -1}}, "the number of LUT in use must be a whole number"),
        ({"resources_kind": Kind.MEASURED}, "resources are of kind estimated, post_synthesis, post_route"),
        ({"fmax_mhz": None}, "says nothing without a routed maximum"),
        ({"timing_tool": None}, "fmax_mhz needs timing_tool"),
    ],
)
def test_figures_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fpga(**changes)
