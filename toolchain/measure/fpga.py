# SPDX-License-Identifier: Apache-2.0
"""Figures of an FPGA design: cycles from simulation, clocks and resources from place and route, and their products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolchain.errors import BoardError, InputError
from toolchain.measure.record import Kind, Measurement, resource_name, utilisation_name

_RESOURCE_KINDS = (Kind.ESTIMATED, Kind.POST_SYNTHESIS, Kind.POST_ROUTE)


@dataclass(frozen=True)
class ToolVersion:
    """A program and its version, as a figure names it."""

    name: str
    version: str


def fpga_measurements(
    *,
    latency_cycles: int | None,
    initiation_interval_cycles: int | None,
    cycles_tool: ToolVersion,
    resources: Mapping[str, int],
    resources_tool: ToolVersion,
    resources_kind: Kind,
    device: str,
    plan_digest: str,
    available: Mapping[str, int] | None = None,
    fmax_mhz: float | None = None,
    clock_mhz: float | None = None,
    timing_tool: ToolVersion | None = None,
) -> list[Measurement]:
    """The records of one design.

    latency_cycles: cycles from the clock edge that takes the first word of an input frame to the edge that gives the
        last word of its result, with no stall. initiation_interval_cycles: cycles between the starts of two frames in
        steady state. Both as `cycles_tool` counted them in simulation; None where they were not counted.
    resources: unit (LUT, FF, DSP, block RAM, ...) -> count used, as `resources_tool` reported them; `resources_kind`
        says at which stage. available: unit -> count in the device, for the share in use.
    fmax_mhz: the highest clock that static timing of the routed design allows, by `timing_tool`; None if not routed.
    clock_mhz: the clock that the board really runs the design at (its oscillator or PLL); needs fmax_mhz.

    Formulas: latency = latency_cycles / clock; throughput = clock / initiation_interval_cycles (definition of the
    initiation interval). Given once at the board's clock (`latency`, `throughput`) and once at the routed maximum
    (`latency_at_fmax`, `throughput_at_fmax`). A product of simulated cycles and a routed clock is of kind post_route,
    and its tool names both. Without a routed clock there are only cycles, of kind simulated.

    Neither figure holds the transfer between host and board.

    Raises InputError for counts that cannot be, BoardError when the board's clock exceeds the routed maximum.
    """
    for label, cycles in (
        ("latency_cycles", latency_cycles),
        ("initiation_interval_cycles", initiation_interval_cycles),
    ):
        if cycles is not None and (type(cycles) is not int or cycles < 1):
            raise InputError(f"{device}: {label} must be a positive whole number of cycles, found {cycles!r}")
    if resources_kind not in _RESOURCE_KINDS:
        allowed = ", ".join(kind.value for kind in _RESOURCE_KINDS)
        raise InputError(f"{device}: resources are of kind {allowed}; found {resources_kind.value}")
    if clock_mhz is not None and fmax_mhz is None:
        raise InputError(
            f"{device}: a board clock of {clock_mhz:g} MHz says nothing without a routed maximum; give fmax_mhz"
        )
    if fmax_mhz is not None and timing_tool is None:
        raise InputError(f"{device}: fmax_mhz needs timing_tool, the program that computed it")
    if clock_mhz is not None and fmax_mhz is not None and clock_mhz > fmax_mhz:
        raise BoardError(
            f"{device}: the board runs at {clock_mhz:g} MHz, the routed design allows {fmax_mhz:g} MHz; "
            "lower the clock or fold the design more"
        )
    records = _cycle_records(latency_cycles, initiation_interval_cycles, cycles_tool, device, plan_digest)
    if fmax_mhz is not None and timing_tool is not None:
        both = ToolVersion(f"{cycles_tool.name} + {timing_tool.name}", f"{cycles_tool.version} + {timing_tool.version}")
        for name, suffix, clock in (("clock", "", clock_mhz), ("fmax", "_at_fmax", fmax_mhz)):
            if clock is None:
                continue
            records.append(_routed(name, clock, "MHz", timing_tool, device, plan_digest, clock))
            if latency_cycles is not None:
                latency_ns = latency_cycles / clock * 1e3
                records.append(_routed(f"latency{suffix}", latency_ns, "ns", both, device, plan_digest, clock))
            if initiation_interval_cycles is not None:
                rate = clock * 1e6 / initiation_interval_cycles
                records.append(_routed(f"throughput{suffix}", rate, "inferences/s", both, device, plan_digest, clock))
    return records + resource_measurements(
        resources, available or {}, resources_tool, resources_kind, device, plan_digest
    )


def _routed(
    name: str, value: float, unit: str, tool: ToolVersion, device: str, plan_digest: str, clock_mhz: float
) -> Measurement:
    return Measurement(name, value, unit, Kind.POST_ROUTE, tool.name, tool.version, device, plan_digest, clock_mhz)


def _cycle_records(
    latency: int | None, interval: int | None, tool: ToolVersion, device: str, plan_digest: str
) -> list[Measurement]:
    return [
        Measurement(name, value, "cycles", Kind.SIMULATED, tool.name, tool.version, device, plan_digest)
        for name, value in (("latency_cycles", latency), ("initiation_interval_cycles", interval))
        if value is not None
    ]


def resource_measurements(
    resources: Mapping[str, int],
    available: Mapping[str, int],
    tool: ToolVersion,
    kind: Kind,
    device: str,
    plan_digest: str,
) -> list[Measurement]:
    """The counts of resources in use, and their shares of what is available, as one tool found them at one stage."""
    records = []
    for unit, used in resources.items():
        if type(used) is not int or used < 0:
            raise InputError(f"{device}: the number of {unit} in use must be a whole number, found {used!r}")
        records.append(Measurement(resource_name(unit), used, unit, kind, tool.name, tool.version, device, plan_digest))
        total = available.get(unit, 0)
        if total > 0:
            share = 100.0 * used / total
            records.append(
                Measurement(utilisation_name(unit), share, "%", kind, tool.name, tool.version, device, plan_digest)
            )
    return records
