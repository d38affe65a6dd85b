# SPDX-License-Identifier: Apache-2.0
"""Boards and parts: what is declared, and what a user reads who misspells one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import toolchain.target as target
from toolchain.data_folders import AMD_DEVICES
from toolchain.errors import BoardError
from toolchain.target import board_names, ecp5_parts, find_board, find_device

BOARD = """\
description = "A board"
part = "LFE5U-25F-6BG256C"
clock = {oscillator_mhz = 12.0, core_mhz = 50.0}
uart = {baud = 115200, serial_in = "rx", serial_out = "tx"}
ports = {oscillator = "clk12"}
program = {command = ["load", "{bitstream}"]}
[files]
top = "top.sv"
constraints = "pins.lpf"
common = ["accelerator.sv"]
vendor_models = {}
"""


@pytest.fixture
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of boards with one board, 'mine'."""
    for name in ("common", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "common" / "accelerator.sv").write_text("")
    for name, text in (("board.toml", BOARD), ("top.sv", ""), ("pins.lpf", "")):
        (tmp_path / "mine" / name).write_text(text)
    monkeypatch.setattr(target, "BOARDS", tmp_path)
    board_names.cache_clear()
    yield tmp_path
    board_names.cache_clear()


def test_a_board_is_read(boards: Path) -> None:
    board = find_board("mine")
    assert (board.name, board.description, board.folder) == ("mine", "A board", boards / "mine")
    assert (board.device.device, board.device.package, board.device.speed) == ("25k", "CABGA256", "6")
    assert (board.oscillator_mhz, board.core_clock_mhz, board.uart_baud) == (12.0, 50.0, 115200)
    assert (board.oscillator_port, board.serial_in_port, board.serial_out_port) == ("clk12", "rx", "tx")
    assert (board.top, board.common, board.program_command) == ("top", ("accelerator.sv",), ("load", "{bitstream}"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('part = "LFE5U-25F-6BG256C"\n', "", "KeyError: 'part'; see boards/README.md for what a board declares"),
        ("115200", '"115200"', "TypeError: '115200' must be a int; see"),
        ("115200", "0", "ValueError: uart.baud must be positive: 0; see"),
        ("12.0", "0.0", "ValueError: clocks must lie between 0 and 1000 MHz: 0, 50; see"),
        ("12.0", "nan", "ValueError: clocks must lie between 0 and 1000 MHz: nan, 50; see"),
        ('"rx"', '"rx; $finish"', "ValueError: 'rx; $finish' is not an identifier; see"),
        ('"accelerator.sv"', '"absent.sv"', "ValueError: files that it names do not exist: absent.sv; see"),
        ("part =", "part", "TOMLDecodeError: "),
    ],
)
def test_a_damaged_board_file_is_named_with_its_fault(boards: Path, old: str, new: str, message: str) -> None:
    path = boards / "mine" / "board.toml"
    assert old in BOARD
    path.write_text(BOARD.replace(old, new, 1))
    with pytest.raises(BoardError, match=re.escape(f"{path}: {message}")):
        find_board("mine")


def test_an_unknown_board_gets_the_nearest_names() -> None:
    with pytest.raises(BoardError) as error:
        find_board("ulx3s-85")
    assert str(error.value) == (
        f"board 'ulx3s-85' is not known; nearest: ulx3s-85f. Known boards: {', '.join(board_names())}"
    )


def test_an_unknown_part_gets_the_nearest_names() -> None:
    with pytest.raises(BoardError, match=r"part 'LFE5U-85F-9BG381C' is not known; nearest: LFE5U-85F-8BG381C, "):
        find_device("LFE5U-85F-9BG381C")
    with pytest.raises(BoardError, match=r"part 'nonsense' is not known\. Known: ECP5 ordering codes"):
        find_device("nonsense")


def test_parts() -> None:
    assert all(find_device(part).family == "ecp5" for part in ecp5_parts())
    device = find_device("lfe5u-85f-6bg381c")
    assert (device.part, device.device, device.package, device.speed) == ("LFE5U-85F-6BG381C", "85k", "CABGA381", "6")
    assert dict(device.resources) == {"LUT": 83640, "FF": 83640, "DSP": 156, "block RAM": 208}
    families = {find_device(part).family for part in ("xcvu13p-flga2577-2-e", "xc7z020clg400-1", "10AX115N2F40E2LG")}
    assert families == {"usplus", "xc7", "intel"}


@pytest.mark.parametrize(
    ("part", "resources"),
    [
        ("xc7z020clg400-1", (53_200, 106_400, 220, 280)),
        ("XC7A35TICSG324-1L", (20_800, 41_600, 90, 100)),
        ("xc7a100tcsg324-1", (63_400, 126_800, 240, 270)),
        ("xczu3eg-sbva484-1-e", (70_560, 141_120, 360, 432)),
        ("xcvu13p-flga2577-2-e", (1_728_000, 3_456_000, 12_288, 5_376)),
        ("xc7s50csga324-1", None),  # a Spartan, which amd_devices.toml does not have
        ("xczu3cg-sbva484-1-e", None),
        ("10AX115N2F40E2LG", None),
    ],
)
def test_resources_of_vendor_parts(part: str, resources: tuple[int, ...] | None) -> None:
    names = ("LUT", "FF", "DSP", "block RAM")
    assert find_device(part).resources == (dict(zip(names, resources, strict=True)) if resources else {})


def test_devices_of_amd_are_of_its_families() -> None:
    """Every device in the table is reached by an ordering code; two flip-flops a LUT, whole pairs of block RAMs."""
    table = tomllib.loads(AMD_DEVICES.read_text())
    names = [name for devices in table.values() for name in devices]
    assert len(names) == len(set(names)) > 20
    for group, devices in table.items():
        for name in devices:
            found = find_device(f"{name}ffg900-1")
            assert found.family == ("xc7" if group in ("7-series", "zynq-7000") else "usplus")
            assert found.resources["FF"] == 2 * found.resources["LUT"]
            assert found.resources["block RAM"] % 2 == 0 < found.resources["DSP"]
