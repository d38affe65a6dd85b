# SPDX-License-Identifier: Apache-2.0
"""One harness for processors: the same graph, the same vectors, the same timing on every device.

Every answer is compared with the interpreter before anything is timed; a device that differs is an error, not a row.

What is timed: single calls, one after the other, from inputs in host memory (contiguous floats that hold the graph's
integers) to results in host memory, by the wall clock (time.perf_counter_ns). For a GPU that holds both copies and the
wait for the device. The conversion of real numbers to integers is not in it, as it is not in an FPGA's figures.
Percentiles are calls that happened, by the nearest-rank method, never interpolated.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

import numpy as np

from toolchain.errors import InputError, Mismatch, ToolchainError, ToolNotFound, UnsupportedModel, UsageError
from toolchain.ir import Graph, interpret
from toolchain.measure.engines import Call, DeviceInfo, Engine, available_devices, core_count, engines
from toolchain.measure.float_exactness import float_precision
from toolchain.measure.record import Kind, Measurement, latency_name, throughput_name

__all__ = ["DEFAULT_BATCH_SIZES", "DeviceInfo", "available_devices", "measure_device", "measure_processors"]

DEFAULT_BATCH_SIZES = (1, 8, 64, 512, 4096)
#: A percentile is given only if at least one timed call lies beyond it.
_CALLS_FOR = {"p50": 1, "p99": 100, "p99_9": 1000}
_PERCENTILE = {"p50": 50.0, "p99": 99.0, "p99_9": 99.9}
#: Calls of one batch size that compare; with more vectors than these take, the rest is left to larger batches.
_COMPARED_CALLS = 20_000
_WARM_UP_SHARE = 0.2
_MAXIMUM_CALLS = 1_000_000

Progress = Callable[[str], None]


def measure_device(
    graph: Graph,
    x_integers: np.ndarray | Mapping[str, np.ndarray],
    device: str,
    batch_sizes: Sequence[int] = DEFAULT_BATCH_SIZES,
    seconds_per_point: float = 1.0,
    progress: Progress | None = None,
) -> list[Measurement]:
    """Compare and time `graph` on one device.

    x_integers: the vectors, as `toolchain.ir.interpret` takes them; at least one. Batches larger than their number
        repeat them.
    device: a name from `available_devices`. seconds_per_point: how long each batch size is timed, after a warm-up of a
        fifth of it. progress: called with a line of text before each step.
    Returns for each batch size: latency p50, p99 (from 100 calls on) and p99.9 (from 1000 on) of one call in us,
    throughput in inferences/s (samples divided by the sum of the calls' times), the timed calls, and the vectors
    compared. All of kind measured.

    Raises UsageError for an unknown device or a bad batch size, ToolNotFound where the device is not there,
    UnsupportedModel where no float format computes the graph exactly, InputError for vectors that the graph does not
    take, and Mismatch for any integer that differs from the interpreter.
    """
    engine = _engine(device)
    for batch in batch_sizes:
        if type(batch) is not int or batch < 1:
            raise UsageError(f"batch sizes must be positive whole numbers, found {batch!r}")
    if not (math.isfinite(seconds_per_point) and seconds_per_point > 0):
        raise UsageError(f"seconds_per_point must be a positive number, found {seconds_per_point!r}")
    precision = float_precision(graph)
    if not precision.dtype:
        raise UnsupportedModel(f"device {device}: {precision.why_not}")
    expected = interpret(graph, x_integers)
    vectors = _float_vectors(graph, x_integers, precision.dtype)
    records: list[Measurement] = []
    for batch in sorted(set(batch_sizes)):
        with _prepared(engine, graph, precision.dtype, batch) as call:
            if progress is not None:
                progress(f"{device}, batch {batch}: compare with the interpreter")
            compared = _compare(graph, call, vectors, expected, batch, device)
            if progress is not None:
                progress(f"{device}, batch {batch}: time")
            nanoseconds = _time(call, _batches(vectors, batch), seconds_per_point)
        records += _records(engine, batch, nanoseconds, compared)
    return records


def measure_processors(
    graph: Graph,
    x_integers: np.ndarray | Mapping[str, np.ndarray],
    devices: Sequence[str] | None = None,
    batch_sizes: Sequence[int] = DEFAULT_BATCH_SIZES,
    seconds_per_point: float = 1.0,
    progress: Progress | None = None,
) -> tuple[list[Measurement], list[str]]:
    """`measure_device` on several devices (default: all that are there). Returns (records, notes).

    A device that is not there or cannot compute the graph exactly gives a note with the reason, unless it was asked for
    by name: then its error is raised. So does a machine that is busy at the start. A Mismatch is always raised.
    """
    records: list[Measurement] = []
    notes = _load_notes()
    for device in engines() if devices is None else devices:
        try:
            records += measure_device(graph, x_integers, device, batch_sizes, seconds_per_point, progress)
        except (ToolNotFound, UnsupportedModel) as error:
            if devices is not None:
                raise
            notes.append(f"Not measured: {error}")
    return records, notes


def _load_notes() -> list[str]:
    """A note if other programs already keep this machine busy: then the times are those of a shared machine."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= 0.25 * core_count():
        return []
    return [
        f"The processor measurements began at a load of {load:.1f} on {core_count()} cores: other programs shared the "
        "machine, so these latencies are upper bounds of what it can do."
    ]


def _engine(device: str) -> Engine:
    known = engines()
    if device not in known:
        nearest = get_close_matches(device, known, 1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise UsageError(f"device {device!r} is not known{hint} Known devices: {', '.join(known)}")
    engine = known[device]
    if engine.info.why_not:
        raise ToolNotFound(f"device {device}: {engine.info.why_not}")
    return engine


@contextmanager
def _prepared(engine: Engine, graph: Graph, dtype: str, batch: int) -> Iterator[Call]:
    calls = engine.prepare(graph, dtype, batch)
    try:
        yield next(calls)
    finally:
        close = getattr(calls, "close", None)
        if close is not None:
            close()


def _float_vectors(graph: Graph, x_integers: np.ndarray | Mapping[str, np.ndarray], dtype: str) -> list[np.ndarray]:
    """The vectors of each input, in the graph's order, as floats. `interpret` has checked shapes and ranges."""
    arrays = x_integers if isinstance(x_integers, Mapping) else {graph.inputs[0].name: x_integers}
    vectors = [np.ascontiguousarray(np.asarray(arrays[node.name]).astype(dtype)) for node in graph.inputs]
    if len(vectors[0]) == 0:
        raise InputError("there are no vectors to measure with; give at least one")
    return vectors


def _window(vectors: Sequence[np.ndarray], start: int, batch: int) -> list[np.ndarray]:
    """`batch` vectors from `start` on, beginning again at the first after the last."""
    count = len(vectors[0])
    if start + batch <= count:
        return [np.ascontiguousarray(array[start : start + batch]) for array in vectors]
    positions = np.arange(start, start + batch) % count
    return [np.ascontiguousarray(array[positions]) for array in vectors]


def _batches(vectors: Sequence[np.ndarray], batch: int) -> list[list[np.ndarray]]:
    """Up to 64 different batches, made before the clock runs, so that no call finds its input in the nearest cache."""
    count = len(vectors[0])
    number = min(64, max(1, count // batch))
    return [_window(vectors, index * batch % count, batch) for index in range(number)]


def _compare(
    graph: Graph,
    call: Call,
    vectors: Sequence[np.ndarray],
    expected: Mapping[str, np.ndarray],
    batch: int,
    device: str,
) -> int:
    """Raise Mismatch unless every integer of every output is the interpreter's; return how many vectors were compared."""
    count = min(len(vectors[0]), batch * _COMPARED_CALLS)
    for start in range(0, count, batch):
        results = call(_window(vectors, start, batch))
        size = min(batch, count - start)
        for output, result in zip(graph.outputs, results, strict=True):
            wanted = expected[output.tensor][start : start + size]
            found = np.asarray(result)[:size].astype(np.float64)
            if found.shape != wanted.shape:
                raise AssertionError(
                    f"{device}: output {output.name!r} has shape {found.shape}, expected {wanted.shape}"
                )
            # Every expected integer is a float64 (`float_precision` saw to that), so this comparison is exact.
            different = found != wanted.astype(np.float64)
            if different.any():
                position = tuple(int(i) for i in np.argwhere(different)[0])
                value = found[position]
                if not math.isfinite(value) or value != math.floor(value):
                    raise ToolchainError(
                        f"{device}, batch {batch}, output {output.name!r}: vector {start + position[0]}, index "
                        f"{list(position[1:])} holds {value}, which is no integer; expected {int(wanted[position])}"
                    )
                raise Mismatch(
                    f"{device}, batch {batch}, output {output.name!r}",
                    vector=start + position[0],
                    index=position[1:],
                    expected=int(wanted[position]),
                    found=int(value),
                    count=int(different.sum()),
                )
    return count


def _time(call: Call, batches: Sequence[Sequence[np.ndarray]], seconds: float) -> np.ndarray:
    """Durations of single calls in ns, for at least `seconds` of wall time and at least 10 calls."""
    clock = time.perf_counter_ns
    position = 0
    warm_until = clock() + int(seconds * _WARM_UP_SHARE * 1e9)
    while True:
        call(batches[position % len(batches)])
        position += 1
        if clock() >= warm_until:
            break
    durations: list[int] = []
    until = clock() + int(seconds * 1e9)
    while len(durations) < _MAXIMUM_CALLS:
        batch = batches[position % len(batches)]
        before = clock()
        call(batch)
        after = clock()
        durations.append(after - before)
        position += 1
        if after >= until and len(durations) >= 10:
            break
    return np.array(durations, dtype=np.int64)


def _records(engine: Engine, batch: int, nanoseconds: np.ndarray, compared: int) -> list[Measurement]:
    calls = len(nanoseconds)
    figures: list[tuple[str, float, str]] = [
        (latency_name(label, batch), float(np.percentile(nanoseconds, share, method="inverted_cdf")) / 1e3, "us")
        for label, share in _PERCENTILE.items()
        if calls >= _CALLS_FOR[label]
    ]
    figures.append((throughput_name(batch), batch * calls / (float(nanoseconds.sum()) * 1e-9), "inferences/s"))
    figures.append((f"timed_calls_batch_{batch}", calls, "calls"))
    figures.append((f"compared_vectors_batch_{batch}", compared, "vectors"))
    return [
        Measurement(name, value, unit, Kind.MEASURED, engine.tool, engine.tool_version, engine.info.description)
        for name, value, unit in figures
    ]
