# SPDX-License-Identifier: Apache-2.0
"""What a network is built for: a board (one folder of data under boards/), or a bare part."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from toolchain.data_folders import AMD_DEVICES, BOARDS
from toolchain.errors import BoardError
from toolchain.resources import BLOCK_RAM, DSP, FF, LUT


@dataclass(frozen=True)
class Device:
    """An FPGA device as the tools name it.

    family: 'ecp5', 'xc7', ...; part: the vendor's ordering code. device, package, speed: what place and route takes.
    resources: how many of each resource the device has, by the names used in reports (LUT, FF, DSP, block RAM).
    """

    part: str
    family: str
    device: str = ""
    package: str = ""
    speed: str = ""
    resources: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Board:
    """A board: one folder with board.toml, a top module, pins and a README (see boards/README.md).

    core_clock_mhz: the clock that the core is asked for. uart_baud: of the serial line to the host.
    top: the top module; top_file, constraints: files of the board's folder. oscillator_port, serial_in_port,
    serial_out_port: ports of the top module. common: files of boards/common that the top module needs.
    vendor_models: vendor's module that the design instances -> the file of boards/common that stands for it in
    simulation. program_command: arguments of the program that loads a bitstream, with '{bitstream}' for its name.
    """

    name: str
    description: str
    device: Device
    oscillator_mhz: float
    core_clock_mhz: float
    uart_baud: int
    folder: Path
    top: str = "top"
    top_file: str = "top.sv"
    constraints: str = "pins.lpf"
    oscillator_port: str = ""
    serial_in_port: str = ""
    serial_out_port: str = ""
    common: tuple[str, ...] = ()
    vendor_models: Mapping[str, str] = field(default_factory=dict)
    program_command: tuple[str, ...] = ()


@dataclass(frozen=True)
class DspBlocks:
    """How products use a device's DSP blocks.

    width: bits of the wider factor of a block, for products that share one; 0: none share. from_bits: bits of both factors
    together from which a product is made in a block, and below which in LUTs; None: as each module has it.
    """

    width: int = 0
    from_bits: int | None = None


@dataclass(frozen=True)
class GivenFolding:
    """What a user decides of a layer's folding: its PE (outputs a cycle), its SIMD (inputs a cycle), or both; None: chosen."""

    pe: int | None = None
    simd: int | None = None

    def to_json(self) -> dict[str, int]:
        """What is decided, by its name."""
        return {name: value for name, value in (("pe", self.pe), ("simd", self.simd)) if value is not None}


@dataclass(frozen=True)
class Target:
    """What a backend builds for.

    device: None for hardware that is not bound to a device (portable RTL). clock_mhz: the clock that is asked for.
    cycles_per_frame: the largest initiation interval, in clock cycles, that folding may choose for a layer; None for
    the backend's default, or, with a budget, the fastest that fits. latency_cycles: the most from a frame's first input
    beat to its last output beat; None for no limit. budget: resource (LUT, FF, DSP, block RAM) -> the most that the core may
    take, as estimated before synthesis; empty for no limit but the device's. loadable_weights: whether weights, biases and
    thresholds can be replaced at run time. folding: layer -> what is decided of its folding; the rest is chosen for the above.
    dsp_from_bits: bits of both factors together from which products are made in DSP blocks, narrower ones in LUTs; None: as each
    module has it.
    """

    device: Device | None = None
    board: Board | None = None
    clock_mhz: float = 100.0
    cycles_per_frame: int | None = None
    latency_cycles: int | None = None
    budget: Mapping[str, int] = field(default_factory=dict)
    loadable_weights: bool = False
    folding: Mapping[str, GivenFolding] = field(default_factory=dict)
    dsp_from_bits: int | None = None


#: Resources of the ECP5 devices: Lattice FPGA-DS-02012 (ECP5 and ECP5-5G family data sheet), table 1.1; the 12F is the 25F die.
_ECP5 = {
    "12F": ("12k", {"LUT": 24288, "FF": 24288, "DSP": 28, "block RAM": 56}),
    "25F": ("25k", {"LUT": 24288, "FF": 24288, "DSP": 28, "block RAM": 56}),
    "45F": ("45k", {"LUT": 43848, "FF": 43848, "DSP": 72, "block RAM": 108}),
    "85F": ("85k", {"LUT": 83640, "FF": 83640, "DSP": 156, "block RAM": 208}),
}
_ECP5_PACKAGES = {
    "BG256": "CABGA256",
    "BG381": "CABGA381",
    "BG554": "CABGA554",
    "BG756": "CABGA756",
    "MG285": "CSFBGA285",
}
#: Bits of the wider factor of a DSP block, two's complement: Lattice FPGA-DS-02012 (ECP5: 18 x 18), AMD UG479 (DSP48E1:
#: 25 x 18), UG579 (DSP48E2: 27 x 18), AM004 (DSP58: 27 x 24).
_DSP_WIDTH = {"ecp5": 18, "xc7": 25, "usplus": 27, "versal": 27}
#: Of a device's resources what budget 'device' leaves to the core: the board needs some LUTs, and routing some air.
_DEVICE_SHARE = {LUT: 0.8, FF: 0.8}
#: Other vendors' parts; checked for their form, since the vendor's tool has the list.
_VENDOR_PART = re.compile(
    r"(?P<xc7>xc7[akvzs][a-z0-9]+(-[a-z0-9]+)*)|(?P<usplus>xc(ku|vu|zu|au|u)[a-z0-9]+(-[a-z0-9]+)*)|"
    r"(?P<versal>xcv[cemhp][a-z0-9]+(-[a-z0-9]+)*)|(?P<intel>(10[a-z]{2}|5[a-z]{2}|ag[a-z]{2}|arria10|agilex7)[a-z0-9]*)",
    re.IGNORECASE,
)


def ecp5_parts() -> list[str]:
    """Ordering codes of the ECP5 parts that the open tools build for."""
    return [f"LFE5U-{size}-{speed}{package}C" for size in _ECP5 for speed in "678" for package in _ECP5_PACKAGES]


def device_budget(device: Device) -> dict[str, int]:
    """What budget 'device' leaves to the core; empty where the device's resources are not known."""
    return {name: int(count * _DEVICE_SHARE.get(name, 1.0)) for name, count in device.resources.items()}


def dsp_blocks(target: Target) -> DspBlocks:
    """How the target's products use DSP blocks."""
    return DspBlocks(dsp_width(target.device), target.dsp_from_bits)


def dsp_width(device: Device | None) -> int:
    """Bits of the wider factor of the device's DSP blocks; 0 where there is no device, or its blocks are not known."""
    return _DSP_WIDTH.get(device.family, 0) if device else 0


def find_device(part: str) -> Device:
    """The device of an ordering code. Raises BoardError, with the nearest names, for one that is not known."""
    match = re.fullmatch(r"LFE5U-(\d\dF)-([678])([A-Z]{2}\d{3})[CI]", part.upper())
    if match and match[1] in _ECP5 and match[3] in _ECP5_PACKAGES:
        device, resources = _ECP5[match[1]]
        return Device(part.upper(), "ecp5", device, _ECP5_PACKAGES[match[3]], match[2], resources)
    vendor = _VENDOR_PART.fullmatch(part)
    if vendor and vendor.lastgroup:
        family = next(name for name, value in vendor.groupdict().items() if value)
        return Device(part.lower(), family, resources=_amd_resources(part.lower()))
    nearest = get_close_matches(part.upper(), ecp5_parts(), 3, 0.5)
    nearest += get_close_matches(
        part.lower(), ["xc7z020clg400-1", "xcvu13p-flga2577-2-e", "xczu7ev-ffvc1156-2-e"], 2, 0.5
    )
    hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
    raise BoardError(
        f"part {part!r} is not known{hint}. Known: ECP5 ordering codes such as LFE5U-85F-6BG381C (all stages), and AMD and "
        "Intel parts such as xcvu13p-flga2577-2-e (stages graph, hls, rtl)"
    )


def _amd_resources(part: str) -> dict[str, int]:
    """The resources of the device of an ordering code; empty where amd_devices.toml does not have it."""
    # xc7z020clg400-1: the device's name, then the package without anything between; xczu3eg-sbva484-1-e: a hyphen.
    name = max((name for name in _amd_devices() if part.startswith(name)), key=len, default="")
    return dict(_amd_devices().get(name, {}))


@cache
def _amd_devices() -> Mapping[str, Mapping[str, int]]:
    """Device -> resources, by the names used in reports."""
    table = tomllib.loads(AMD_DEVICES.read_text())
    return {
        name: {LUT: row["lut"], FF: row["ff"], DSP: row["dsp"], BLOCK_RAM: row["block_ram_18k"]}
        for devices in table.values()
        for name, row in devices.items()
    }


@cache
def board_names() -> tuple[str, ...]:
    """Names of all boards, in alphabetical order."""
    return tuple(sorted(path.parent.name for path in BOARDS.glob("*/board.toml")))


def find_board(name: str) -> Board:
    """Read a board's folder. Raises BoardError, with the nearest names, for an unknown board or a damaged board.toml."""
    if name not in board_names():
        nearest = get_close_matches(name, board_names(), 3, 0.4)
        hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
        raise BoardError(f"board {name!r} is not known{hint}. Known boards: {', '.join(board_names()) or 'none'}")
    path = BOARDS / name / "board.toml"
    try:
        return _read_board(name, path, tomllib.loads(path.read_text()))
    except (KeyError, ValueError, TypeError) as error:
        raise BoardError(
            f"{path}: {type(error).__name__}: {error}; see boards/README.md for what a board declares"
        ) from None


def _read_board(name: str, path: Path, table: Mapping[str, Any]) -> Board:
    files, uart = table["files"], table["uart"]
    board = Board(
        name=name,
        description=_checked(table["description"], str),
        device=find_device(_checked(table["part"], str)),
        oscillator_mhz=float(table["clock"]["oscillator_mhz"]),
        core_clock_mhz=float(table["clock"]["core_mhz"]),
        uart_baud=_checked(uart["baud"], int),
        folder=path.parent,
        top=_identifier(Path(_checked(files["top"], str)).stem),
        top_file=_checked(files["top"], str),
        constraints=_checked(files["constraints"], str),
        oscillator_port=_identifier(table["ports"]["oscillator"]),
        serial_in_port=_identifier(uart["serial_in"]),
        serial_out_port=_identifier(uart["serial_out"]),
        common=tuple(_checked(file, str) for file in _checked(files["common"], list)),
        vendor_models={
            _identifier(module): _checked(file, str) for module, file in _checked(files["vendor_models"], dict).items()
        },
        program_command=tuple(_checked(word, str) for word in _checked(table["program"]["command"], list)),
    )
    if not 0 < board.oscillator_mhz < 1000 or not 0 < board.core_clock_mhz < 1000:
        raise ValueError(f"clocks must lie between 0 and 1000 MHz: {board.oscillator_mhz:g}, {board.core_clock_mhz:g}")
    if board.uart_baud < 1:
        raise ValueError(f"uart.baud must be positive: {board.uart_baud}")
    named = [path.parent / file for file in (board.top_file, board.constraints)]
    named += [BOARDS / "common" / file for file in (*board.common, *board.vendor_models.values())]
    missing = [file.name for file in named if not file.is_file()]
    if missing:
        raise ValueError(f"files that it names do not exist: {', '.join(missing)}")
    return board


_Value = TypeVar("_Value")


def _checked(value: Any, kind: type[_Value]) -> _Value:
    if type(value) is not kind:
        raise TypeError(f"{value!r} must be a {kind.__name__}")
    return value


def _identifier(value: Any) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", _checked(value, str), re.ASCII):
        raise ValueError(f"{value!r} is not an identifier")
    return str(value)
