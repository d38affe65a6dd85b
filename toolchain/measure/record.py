# SPDX-License-Identifier: Apache-2.0
"""One figure with its origin: what was found, in which unit, by which tool, on which device, and how real it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any

from toolchain.errors import InputError


class Kind(Enum):
    """How a figure was obtained. `value` is the name in files and tables."""

    ESTIMATED = "estimated"
    SIMULATED = "simulated"
    POST_SYNTHESIS = "post_synthesis"
    POST_ROUTE = "post_route"
    MEASURED = "measured"
    RECORDED = "recorded"


#: What a kind means, in the words that reports print.
KIND_MEANING: dict[Kind, str] = {
    Kind.ESTIMATED: "computed from a model of the hardware; nothing was built or run",
    Kind.SIMULATED: "counted in a cycle-accurate simulation of the RTL",
    Kind.POST_SYNTHESIS: "taken from the synthesised netlist, before placement",
    Kind.POST_ROUTE: "taken from the placed and routed design and its static timing",
    Kind.MEASURED: "measured on the named device in this run",
    Kind.RECORDED: "measured earlier and elsewhere, and copied here with its source",
}

#: Every unit a figure may have, in its one spelling, with what it counts.
UNITS: dict[str, str] = {
    "ns": "nanoseconds",
    "us": "microseconds",
    "ms": "milliseconds",
    "s": "seconds",
    "cycles": "clock cycles",
    "MHz": "megahertz",
    "inferences/s": "inferences a second",
    "calls": "calls of a measured function",
    "vectors": "input vectors compared with the interpreter",
    "LUT": "lookup tables, as the device has them",
    "LUTRAM": "lookup tables used as memory",
    "FF": "flip-flops",
    "carry": "carry-chain cells",
    "DSP": "hard multipliers or DSP blocks",
    "block RAM": "block RAMs, as the device has them",
    "IO": "input and output pins",
    "PLL": "clock generators",
    "cell": "standard or logic cells of any sort",
    "um2": "square micrometres",
    "bit": "bits",
    "MiB": "mebibytes",
    "%": "per cent",
    "W": "watts",
    "uJ": "microjoules",
}

#: Units of time, in seconds.
SECONDS: dict[str, float] = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}

_TEXT_FIELDS = ("name", "tool", "tool_version", "device", "plan_digest")


@dataclass(frozen=True)
class Measurement:
    """One figure.

    name: what it is, lower case with underscores; the names that reports know are below in this module.
    value: a finite number. unit: a key of UNITS. kind: how it was obtained.
    tool, tool_version: the program that produced it. device: the part, processor or simulated design it belongs to;
        never a host name or a path.
    plan_digest: the digest of the build plan it belongs to, '' if none.
    clock_mhz: the clock it holds at, None if it has none.
    Raises InputError for a value or field that is not so.
    """

    name: str
    value: float
    unit: str
    kind: Kind
    tool: str
    tool_version: str
    device: str
    plan_digest: str = ""
    clock_mhz: float | None = None

    def __post_init__(self) -> None:
        for label in _TEXT_FIELDS:
            if not isinstance(getattr(self, label), str):
                raise InputError(f"measurement {self.name!r}: {label} must be text, found {getattr(self, label)!r}")
        if not self.name:
            raise InputError("measurement: the name must not be empty")
        if not _is_number(self.value) or not isfinite(self.value):
            raise InputError(f"measurement {self.name!r}: the value must be a finite number, found {self.value!r}")
        if self.unit not in UNITS:
            raise InputError(f"measurement {self.name!r}: unknown unit {self.unit!r}; allowed: {', '.join(UNITS)}")
        if not isinstance(self.kind, Kind):
            raise InputError(f"measurement {self.name!r}: kind must be a Kind, found {self.kind!r}")
        clock = self.clock_mhz
        if clock is not None and not (_is_number(clock) and isfinite(clock) and clock > 0):
            raise InputError(f"measurement {self.name!r}: clock_mhz must be a positive number or None, found {clock!r}")

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values, with every field."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "kind": self.kind.value,
            "tool": self.tool,
            "tool_version": self.tool_version,
            "device": self.device,
            "plan_digest": self.plan_digest,
            "clock_mhz": self.clock_mhz,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Read what `to_json` wrote. Raises InputError naming what is missing, unknown or malformed."""
        if not isinstance(data, Mapping):
            raise InputError(f"measurement: expected a JSON object, found {type(data).__name__}")
        fields = dict(data)
        known = set(cls.__dataclass_fields__)
        missing = known - {"plan_digest", "clock_mhz"} - set(fields)
        unknown = set(fields) - known
        if missing or unknown:
            raise InputError(
                f"measurement {fields.get('name')!r}: missing fields {sorted(missing)}, unknown fields {sorted(unknown)}"
            )
        try:
            fields["kind"] = Kind(fields["kind"])
        except ValueError:
            allowed = ", ".join(kind.value for kind in Kind)
            raise InputError(
                f"measurement {fields['name']!r}: unknown kind {fields['kind']!r}; allowed: {allowed}"
            ) from None
        return cls(**fields)

    @property
    def seconds(self) -> float:
        """The value in seconds; only for units of time."""
        return self.value * SECONDS[self.unit]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# The names that reports know. A processor has one figure a batch size; an FPGA one figure a clock.

LATENCY_PERCENTILES = ("p50", "p99", "p99_9")
_LATENCY = re.compile(r"latency_(p50|p99|p99_9)_batch_([1-9]\d*)")
_THROUGHPUT = re.compile(r"throughput_batch_([1-9]\d*)")


def latency_name(percentile: str, batch: int) -> str:
    """Name of a processor's latency of one call with `batch` samples; percentile is p50, p99 or p99_9."""
    assert percentile in LATENCY_PERCENTILES
    return f"latency_{percentile}_batch_{batch}"


def throughput_name(batch: int) -> str:
    """Name of a processor's throughput with calls of `batch` samples."""
    return f"throughput_batch_{batch}"


def parse_latency_name(name: str) -> tuple[str, int] | None:
    """(percentile, batch) of a name made by `latency_name`, else None."""
    match = _LATENCY.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def parse_throughput_name(name: str) -> int | None:
    """The batch of a name made by `throughput_name`, else None."""
    match = _THROUGHPUT.fullmatch(name)
    return int(match[1]) if match else None


def resource_name(unit: str) -> str:
    """Name of the count of a resource in use: 'block RAM' -> 'used_block_ram'."""
    return "used_" + unit.lower().replace(" ", "_")


def utilisation_name(unit: str) -> str:
    """Name of the share of the device's resource in use, in %: 'block RAM' -> 'utilisation_block_ram'."""
    return "utilisation_" + unit.lower().replace(" ", "_")
