# SPDX-License-Identifier: Apache-2.0
"""What reports show of the measurements: labels, number formats, and the points and series that charts draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import floor, log10

from toolchain.measure.record import SECONDS, UNITS, Kind, Measurement, parse_latency_name, parse_throughput_name

FPGA, CPU, GPU = "FPGA", "CPU", "GPU"
_GPU_WORDS = ("cuda", "gpu", "nvidia", "rocm", "radeon")

_NAMES = {
    "latency": "latency at the board's clock",
    "latency_at_fmax": "latency at Fmax",
    "throughput": "throughput at the board's clock",
    "throughput_at_fmax": "throughput at Fmax",
    "latency_cycles": "latency",
    "initiation_interval_cycles": "initiation interval",
    "clock": "clock of the board",
    "fmax": "Fmax",
}
_PERCENTILES = {"p50": "p50", "p99": "p99", "p99_9": "p99.9"}


def name_text(name: str) -> str:
    """A measurement's name in words."""
    latency, rate = parse_latency_name(name), parse_throughput_name(name)
    if latency:
        return f"latency {_PERCENTILES[latency[0]]}, batch {latency[1]}"
    if rate:
        return f"throughput, batch {rate}"
    if name.startswith("used_"):
        return f"{_resource_text(name.removeprefix('used_'))} used"
    if name.startswith("utilisation_"):
        return f"{_resource_text(name.removeprefix('utilisation_'))}, share of the device"
    head, found, batch = name.partition("_batch_")
    if found:
        return f"{head.replace('_', ' ')}, batch {batch}"
    return _NAMES.get(name, name.replace("_", " "))


def _resource_text(name: str) -> str:
    units = {unit.lower().replace(" ", "_"): unit for unit in UNITS}
    return units.get(name, name.replace("_", " "))


def number_text(value: float, digits: int = 4) -> str:
    """`value` with `digits` significant digits and thousands separators; whole numbers in full."""
    if value == 0:
        return "0"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if not 1e-4 <= abs(value) < 1e15:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def value_text(record: Measurement) -> str:
    """Value and unit, times in the unit that reads best, large rates as millions or thousands a second."""
    if record.unit in SECONDS:
        return time_text(record.seconds)
    if record.unit == "inferences/s":
        return f"{rate_text(record.value)} inferences/s"
    if record.unit == "%":
        return f"{number_text(record.value, 3)} %"
    return f"{number_text(record.value)} {record.unit}"


def time_text(seconds: float) -> str:
    """Seconds as ns, us, ms or s, with four significant digits."""
    for unit in ("s", "ms", "us"):
        if abs(seconds) >= SECONDS[unit]:
            return f"{_four(seconds / SECONDS[unit])} {unit}"
    return f"{_four(seconds / SECONDS['ns'])} ns"


def rate_text(rate: float) -> str:
    """A rate with M for millions and k for thousands."""
    for factor, letter in ((1e6, " M"), (1e3, " k")):
        if abs(rate) >= factor:
            return f"{_four(rate / factor)}{letter}"
    return _four(rate)


def _four(value: float) -> str:
    # The quotient of a conversion: 1.1e-05 / 1e-06 must read 11, not 11.000000000000002.
    return number_text(float(f"{value:.12g}"), 4)


def group_of(record: Measurement) -> str:
    """FPGA, CPU or GPU: processors have a batch size in the name, GPUs say so in device or tool."""
    if parse_latency_name(record.name) is None and parse_throughput_name(record.name) is None:
        return FPGA
    text = f"{record.device} {record.tool}".lower()
    return GPU if any(word in text for word in _GPU_WORDS) else CPU


#: Where several figures have one name: the later stage of a build knows better.
_PREFERENCE = (Kind.MEASURED, Kind.POST_ROUTE, Kind.POST_SYNTHESIS, Kind.SIMULATED, Kind.ESTIMATED, Kind.RECORDED)


def preferred(records: Iterable[Measurement], *names: str) -> Measurement | None:
    """The figure of the first of `names` that there is; of several, that of the latest stage (post-route before
    post-synthesis before estimated)."""
    known = list(records)
    for name in names:
        found = [record for record in known if record.name == name]
        if found:
            return min(found, key=lambda record: _PREFERENCE.index(record.kind))
    return None


@dataclass(frozen=True)
class ProcessorRow:
    """One batch size of one processor and tool, all figures in one line; None for those it does not have.

    Times in seconds, throughput in inferences a second.
    """

    tool: str
    kind: Kind
    batch: int
    p50_seconds: float | None
    p99_seconds: float | None
    p99_9_seconds: float | None
    throughput: float | None
    calls: float | None
    vectors: float | None


_ROW_FIELDS = {
    "latency_p50": "p50_seconds",
    "latency_p99": "p99_seconds",
    "latency_p99_9": "p99_9_seconds",
    "throughput": "throughput",
    "timed_calls": "calls",
    "compared_vectors": "vectors",
}
_ROW_UNITS = {"throughput": "inferences/s", "timed_calls": "calls", "compared_vectors": "vectors"}


def processor_rows(records: Sequence[Measurement]) -> tuple[list[ProcessorRow], list[Measurement]]:
    """The figures with a batch size as rows of one table, and all other records, both in the order given."""
    rows: dict[tuple[str, Kind, int], dict[str, float]] = {}
    others: list[Measurement] = []
    for record in records:
        name, found, batch = record.name.partition("_batch_")
        fits = record.unit in SECONDS if name.startswith("latency_") else record.unit == _ROW_UNITS.get(name)
        if not (found and batch.isascii() and batch.isdigit() and name in _ROW_FIELDS and fits):
            others.append(record)
            continue
        value = record.seconds if record.unit in SECONDS else record.value
        tool = f"{record.tool} {record.tool_version}".strip()
        rows.setdefault((tool, record.kind, int(batch)), {})[_ROW_FIELDS[name]] = value
    return [
        ProcessorRow(tool, kind, batch, **{label: values.get(label) for label in _ROW_FIELDS.values()})
        for (tool, kind, batch), values in rows.items()
    ], others


@dataclass(frozen=True)
class LatencyPoint:
    """One row of the latency chart; percentiles in seconds, None where a device has none."""

    group: str
    label: str
    detail: str
    kind: Kind
    seconds: float
    p99_seconds: float | None = None
    p99_9_seconds: float | None = None


@dataclass(frozen=True)
class ThroughputSeries:
    """One line of the throughput chart. A pipeline's rate does not depend on a batch: it has one batch, 1, and `flat`."""

    group: str
    label: str
    kind: Kind
    batches: list[int] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    flat: bool = False


def _fpga_label(record: Measurement) -> str:
    if record.clock_mhz is None:
        return f"{record.device}, clock not given"
    which = "Fmax" if record.name.endswith("_at_fmax") else "board"
    return f"{record.device} at {number_text(record.clock_mhz)} MHz ({which})"


def latency_points(records: Sequence[Measurement]) -> list[LatencyPoint]:
    """FPGA rows first, then each processor at the smallest batch it was measured with."""
    fpga = [
        LatencyPoint(FPGA, _fpga_label(r), "one sample, without the transfer to the board", r.kind, r.seconds)
        for r in records
        if r.name in ("latency", "latency_at_fmax") and r.unit in SECONDS
    ]
    processors = []
    for (device, tool, kind), batches in _by_device(records).items():
        batch = min(batches)
        found = batches[batch]
        if "p50" not in found:
            continue
        seconds = {label: record.seconds for label, record in found.items()}
        detail = "one sample" if batch == 1 else f"a batch of {batch} samples"
        label = f"{device}, {tool}"
        processors.append(
            LatencyPoint(
                group_of(found["p50"]), label, detail, kind, seconds["p50"], seconds.get("p99"), seconds.get("p99_9")
            )
        )
    return fpga + sorted(processors, key=lambda point: point.group)


def _by_device(records: Iterable[Measurement]) -> dict[tuple[str, str, Kind], dict[int, dict[str, Measurement]]]:
    found: dict[tuple[str, str, Kind], dict[int, dict[str, Measurement]]] = {}
    for record in records:
        parsed = parse_latency_name(record.name)
        if parsed and record.unit in SECONDS:
            percentile, batch = parsed
            device = found.setdefault((record.device, record.tool, record.kind), {})
            device.setdefault(batch, {})[percentile] = record
    return found


def throughput_series(records: Sequence[Measurement]) -> list[ThroughputSeries]:
    """FPGA first, then processors; batches ascend."""
    fpga = [
        ThroughputSeries(FPGA, _fpga_label(r), r.kind, [1], [r.value], True)
        for r in records
        if r.name in ("throughput", "throughput_at_fmax") and r.unit == "inferences/s" and r.value > 0
    ]
    processors: dict[tuple[str, str, Kind], ThroughputSeries] = {}
    for record in records:
        batch = parse_throughput_name(record.name)
        if batch is None or record.unit != "inferences/s" or record.value <= 0:
            continue
        key = (record.device, record.tool, record.kind)
        label = f"{record.device}, {record.tool}"
        series = processors.setdefault(key, ThroughputSeries(group_of(record), label, record.kind))
        position = sum(1 for known in series.batches if known < batch)
        series.batches.insert(position, batch)
        series.rates.insert(position, record.value)
    return fpga + sorted(processors.values(), key=lambda series: series.group)


@dataclass(frozen=True)
class ResourceUse:
    """One resource of one device: how many are used, and the share of the device in % where that is known."""

    device: str
    unit: str
    used: float
    share: float | None
    kind: Kind

    @property
    def available(self) -> int | None:
        """How many the device has, from the count and the share; None where the share does not tell."""
        return round(self.used / self.share * 100) if self.share else None


def resource_uses(records: Sequence[Measurement]) -> list[ResourceUse]:
    """All `used_*` figures, each with its `utilisation_*` of the same device and kind."""
    shares = {
        (r.device, r.kind, r.name.removeprefix("utilisation_")): r.value
        for r in records
        if r.name.startswith("utilisation_") and r.unit == "%"
    }
    return [
        ResourceUse(r.device, r.unit, r.value, shares.get((r.device, r.kind, r.name.removeprefix("used_"))), r.kind)
        for r in records
        if r.name.startswith("used_")
    ]
