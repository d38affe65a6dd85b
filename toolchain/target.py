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

from toolchain.data_folders import BOARDS
from toolchain.errors import BoardError


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
    """A board: one folder with board.toml, a top module, pins and a README."""

    name: str
    description: str
    device: Device
    oscillator_mhz: float
    core_clock_mhz: float
    uart_baud: int
    folder: Path


@dataclass(frozen=True)
class Target:
    """What a backend builds for.

    device: None for hardware that is not bound to a device (portable RTL). clock_mhz: the clock that is asked for.
    cycles_per_frame: the largest initiation interval, in clock cycles, that folding may choose for a layer; None for
    the backend's default.
    """

    device: Device | None = None
    board: Board | None = None
    clock_mhz: float = 100.0
    cycles_per_frame: int | None = None


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
#: Vendor parts that only the HLS backend names in its projects; checked for their form, since the vendor's tool has the list.
_VENDOR_PART = re.compile(
    r"(?P<xc7>xc7[akvzs][a-z0-9]+(-[a-z0-9]+)*)|(?P<usplus>xc(ku|vu|zu|au|u)[a-z0-9]+(-[a-z0-9]+)*)|"
    r"(?P<versal>xcv[cemhp][a-z0-9]+(-[a-z0-9]+)*)|(?P<intel>(10[a-z]{2}|5[a-z]{2}|ag[a-z]{2}|arria10|agilex7)[a-z0-9]*)",
    re.IGNORECASE,
)


def ecp5_parts() -> list[str]:
    """Ordering codes of the ECP5 parts that the open tools build for."""
    return [f"LFE5U-{size}-{speed}{package}C" for size in _ECP5 for speed in "678" for package in _ECP5_PACKAGES]


def find_device(part: str) -> Device:
    """The device of an ordering code. Raises BoardError, with the nearest names, for one that is not known."""
    match = re.fullmatch(r"LFE5U-(\d\dF)-([678])([A-Z]{2}\d{3})[CI]", part.upper())
    if match and match[1] in _ECP5 and match[3] in _ECP5_PACKAGES:
        device, resources = _ECP5[match[1]]
        return Device(part.upper(), "ecp5", device, _ECP5_PACKAGES[match[3]], match[2], resources)
    vendor = _VENDOR_PART.fullmatch(part)
    if vendor and vendor.lastgroup:
        family = next(name for name, value in vendor.groupdict().items() if value)
        return Device(part.lower(), family)
    nearest = get_close_matches(part.upper(), ecp5_parts(), 3, 0.5)
    nearest += get_close_matches(
        part.lower(), ["xc7z020clg400-1", "xcvu13p-flga2577-2-e", "xczu7ev-ffvc1156-2-e"], 2, 0.5
    )
    hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
    raise BoardError(
        f"part {part!r} is not known{hint}. Known: ECP5 ordering codes such as LFE5U-85F-6BG381C (all stages), and AMD and "
        "Intel parts such as xcvu13p-flga2577-2-e (stages graph, hls, rtl)"
    )


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
        table = tomllib.loads(path.read_text())
        return Board(
            name=name,
            description=str(table["description"]),
            device=find_device(str(table["part"])),
            oscillator_mhz=float(table["clock"]["oscillator_mhz"]),
            core_clock_mhz=float(table["clock"]["core_mhz"]),
            uart_baud=int(table["uart"]["baud"]),
            folder=path.parent,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BoardError(
            f"{path}: {type(error).__name__}: {error}; see boards/README.md for what a board declares"
        ) from None
