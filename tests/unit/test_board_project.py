# SPDX-License-Identifier: Apache-2.0
"""Board projects as data: the real boards, clocks and bit times, the generated files, the messages."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.build.tools import nextpnr
from toolchain.build.tools.yosys import Synthesis
from toolchain.deploy.project import board_clock, board_plan, place_and_route
from toolchain.errors import BoardError
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.resources import ecp5_routed_resources, ecp5_synthesis_resources
from toolchain.target import board_names, find_board

STREAM = {"element_width": 4, "signed": True}
FACTS = {
    "input": {"lanes": 3, "beats": 5, "data_width": 16, **STREAM},
    "output": {"lanes": 1, "beats": 1, "data_width": 8, **STREAM},
    "latency_cycles": 20,
}


def core_plan(top: str = "core") -> BuildPlan:
    return BuildPlan("rtl-streaming", top, (PlannedFile.text(f"rtl/{top}.sv", f"module {top}; endmodule\n"),), FACTS)


@pytest.mark.parametrize("name", board_names())
def test_every_board_makes_a_whole_project(name: str) -> None:
    board = find_board(name)
    plan = board_plan(core_plan(), board, board.core_clock_mhz)
    written = {file.path: file.content.decode() for file in plan.files}
    project = plan.facts["project"]
    named = [*project["core_sources"], *project["sources"], *project["vendor_models"].values(), project["constraints"]]
    assert set(named) <= set(written)
    assert "README.md" in written
    top = written[f"board/{board.top_file}"]
    for port in (board.oscillator_port, board.serial_in_port, board.serial_out_port):
        assert re.search(rf"\b{port}\b", top)
        assert f'LOCATE COMP "{port}"' in written[project["constraints"]]
    assert f"{board.oscillator_mhz:g} MHZ" in written[project["constraints"]]
    assert (board.folder / "README.md").is_file()
    assert plan.digest == board_plan(core_plan(), board, board.core_clock_mhz).digest


def test_the_parameters_of_a_design() -> None:
    plan = board_plan(core_plan(), find_board("ulx3s-85f"), 100.0)
    text = next(file.content.decode() for file in plan.files if file.path == "board/design_parameters.sv")
    values = dict(re.findall(r"localparam int (?:unsigned )?(\w+)\s*= ([^;]+);", text))
    assert values == {
        "CLOCKS_PER_BIT": "100",
        "INPUT_BEATS": "5",
        "INPUT_BYTES": "2",
        "OUTPUT_BEATS": "1",
        "OUTPUT_BYTES": "1",
        "DESIGN_ID": f"32'h{core_plan().digest[:8]}",
        "IDLE_TIMEOUT_CYCLES": "5000000",
        "RUN_TIMEOUT_CYCLES": "100000000",
        "PLL_REFERENCE_DIVIDER": "1",
        "PLL_FEEDBACK_MULTIPLIER": "32",
        "PLL_OUTPUT_DIVIDER": "8",
    }
    wrapper = next(file.content.decode() for file in plan.files if file.path == "board/design_core.sv")
    assert "  core u_core (" in wrapper
    assert "[15:0] s_axis_tdata" in wrapper
    assert "[7:0] m_axis_tdata" in wrapper


def test_the_readme_has_the_command_that_loads_the_bitstream() -> None:
    plan = board_plan(core_plan(), find_board("ulx3s-85f"), 100.0)
    readme = next(file.content.decode() for file in plan.files if file.path == "README.md")
    assert "    openFPGALoader -b ulx3s design.bit\n" in readme
    assert "--85k --package CABGA381 --speed 6" in readme


@given(st.decimals("3.2", "400", places=3).map(float), st.sampled_from([9600, 115200, 1_000_000, 3_000_000]))
def test_bit_times_are_within_tolerance(clock_mhz: float, baud: int) -> None:
    clock = board_clock(replace(find_board("ulx3s-85f"), uart_baud=baud), clock_mhz)
    assert clock.core_mhz <= clock_mhz
    assert clock.clocks_per_bit >= 8
    rate = clock.pll.core_mhz * 1_000_000 / clock.clocks_per_bit
    assert abs(rate - clock.baud) <= Fraction(2, 100) * clock.baud
    assert clock.baud_error == rate / clock.baud - 1
    # The board's own rate where that is near enough.
    exact = clock.pll.core_mhz * 1_000_000 / baud
    if exact >= 25:
        assert clock.baud == baud
        assert abs(exact - clock.clocks_per_bit) <= Fraction(1, 2)


def test_a_bit_time_that_no_divider_meets_halves_the_rate() -> None:
    board = replace(find_board("ulx3s-85f"), uart_baud=3_000_000)
    assert (board_clock(board, 100.0).clocks_per_bit, board_clock(board, 100.0).baud) == (33, 3_000_000)
    # 25 MHz: 8.333 cycles a bit would be 4 % off, 16.667 are 1.96 % off as 17
    assert (board_clock(board, 25.0).clocks_per_bit, board_clock(board, 25.0).baud) == (17, 1_500_000)


def test_a_core_may_not_take_a_name_of_the_boards_logic() -> None:
    with pytest.raises(BoardError, match="the core's module cannot be named 'accelerator'"):
        board_plan(core_plan("accelerator"), find_board("ulx3s-85f"), 100.0)


def test_a_core_that_is_too_large_is_refused_before_it_is_placed(tmp_path: Path) -> None:
    core = Synthesis("core", {"MULT18X18D": 157}, ecp5_synthesis_resources({"MULT18X18D": 157}), {}, 1.0)
    with pytest.raises(BoardError) as error:
        place_and_route(core_plan(), core, tmp_path, find_board("ulx3s-85f"), tmp_path)
    assert str(error.value) == (
        "board ulx3s-85f: the core needs 157 DSP, LFE5U-85F-6BG381C has 156. Fold the layers more (more cycles a frame), or "
        "take a larger device"
    )


def test_resources() -> None:
    cells = {"LUT4": 10, "CCU2C": 3, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 7, "PFUMX": 5, "DP16KD": 1, "MULT18X18D": 4}
    assert ecp5_synthesis_resources(cells) == {"LUT": 28, "FF": 7, "DSP": 4, "block RAM": 1}
    with pytest.raises(KeyError, match=r"\$_AND_"):
        ecp5_synthesis_resources({"$_AND_": 1})
    used = {"TRELLIS_COMB": 5, "TRELLIS_FF": 6, "MULT18X18D": 1, "EHXPLLL": 1}
    assert ecp5_routed_resources(used) == {"LUT": 5, "FF": 6, "DSP": 1, "block RAM": 0}


def test_place_and_route_names_a_device_it_does_not_build_for(tmp_path: Path) -> None:
    from toolchain.target import find_device

    with pytest.raises(BoardError, match="place and route builds for ECP5 devices; xc7z020clg400-1 is of family 'xc7'"):
        nextpnr.place_and_route("x.json", "x.lpf", find_device("xc7z020clg400-1"), cwd=tmp_path)
