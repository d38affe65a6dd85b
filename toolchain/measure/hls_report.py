# SPDX-License-Identifier: Apache-2.0
"""An HLS compiler's report as measurement records. All of it is the compiler's own estimate before logic synthesis."""

from __future__ import annotations

from toolchain.build.tools.vitis_hls import HlsReport
from toolchain.measure.record import Kind, Measurement, resource_name, utilisation_name


def hls_measurements(report: HlsReport, tool: str, plan_digest: str) -> list[Measurement]:
    """Clock, worst-case latency and interval as far as the compiler knows them, resources and their shares of the device.

    tool: the flow's vendor tool by name. Formula: fmax = 1 / estimated clock period.
    """
    fmax = 1000 / report.estimated_clock_ns

    def record(name: str, value: float, unit: str, clock_mhz: float | None = None) -> Measurement:
        version, part = report.tool_version, report.part
        return Measurement(name, value, unit, Kind.ESTIMATED, tool, version, part, plan_digest, clock_mhz)

    records = [record("fmax", fmax, "MHz", fmax)]
    for name, cycles in (
        ("latency_cycles", report.latency_cycles),
        ("initiation_interval_cycles", report.interval_cycles),
    ):
        if cycles is not None:
            records.append(record(name, cycles, "cycles"))
    for unit, used in report.resources.items():
        records.append(record(resource_name(unit), used, unit))
        if report.available[unit] > 0:
            records.append(record(utilisation_name(unit), 100 * used / report.available[unit], "%"))
    return records
