# SPDX-License-Identifier: Apache-2.0
"""The formats of activations, found by running the float model on calibration samples.

Percentiles and entropy are those of ONNX Runtime's own histogram collector. The least squared error is searched here: with
powers of two as steps there are few to try, and each is judged on every value.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from toolchain.errors import InputError, UsageError
from toolchain.frontends.post_training.places import Places
from toolchain.frontends.post_training.runner import Run
from toolchain.frontends.post_training.settings import MAXIMUM_BITS, Calibration
from toolchain.frontends.post_training.steps import Format, candidates, covering_step
from toolchain.frontends.real_input import InputType

#: Samples in one call of the model, with all tensors that are watched kept.
BATCH = 64
_HISTOGRAM_BINS = 2048
#: The collector's search compares each of the bins with each number of levels: more of either takes minutes a tensor.
_ENTROPY_BINS, _ENTROPY_LEVELS = 1024, 128


@dataclass(frozen=True)
class Observed:
    """A quantised tensor: its format, and the ends of the values that it had.

    clipped: share of the values beyond the format's ends.
    """

    kind: Format
    low: float
    high: float
    clipped: float = 0.0


def batches(x: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH]


def observe(
    run: Run, places: Places, x: np.ndarray, settings: Calibration, input_name: str, say: Callable[[float], None]
) -> dict[str, Observed]:
    """The format of every quantised tensor.

    say: gets the share of the work that is done, 0 to 1.
    """
    groups: dict[str, list[str]] = {}
    for tensor in places.quantised:
        groups.setdefault(places.group(tensor), []).append(tensor)
    batch_count = -(-len(x) // BATCH)
    passes = 3 if settings.method == "mse" else 2
    done = 0

    def values() -> Iterator[Mapping[str, np.ndarray]]:
        nonlocal done
        for batch in batches(x):
            yield run(batch)
            done += 1
            say(done / (passes * batch_count))

    collector = _collector(settings)
    ends: dict[str, tuple[float, float]] = {}
    for found in values():
        for tensor in places.quantised:
            array = found[tensor]
            if not np.isfinite(array).all():
                raise InputError(f"the model gives NaN or infinity at {tensor!r} on the calibration samples")
            low, high = ends.get(tensor, (np.inf, -np.inf))
            ends[tensor] = (min(low, float(array.min())), max(high, float(array.max())))
        if collector is not None:
            with contextlib.redirect_stdout(io.StringIO()):
                collector.collect({tensor: np.asarray(found[tensor], np.float32) for tensor in places.quantised})
    clipped = _clipped_ends(collector, ends)
    kinds = {}
    for group, members in groups.items():
        bits = settings.bits_of_input if input_name in members else settings.activation_bits
        low, high = min(clipped[t][0] for t in members), max(clipped[t][1] for t in members)
        kind = Format(bits, signed=min(ends[t][0] for t in members) < 0)
        kinds[group] = replace(kind, step=covering_step(kind, low, high, power_of_two=settings.power_of_two))
    if settings.method == "mse":
        kinds = _of_least_error(kinds, groups, values(), settings)
    fixed = settings.named_input
    if fixed is not None:
        kinds[places.group(input_name)] = _fixed_format(fixed, input_name)
    beyond, counts = dict.fromkeys(places.quantised, 0), dict.fromkeys(places.quantised, 0)
    for found in values():
        for tensor in places.quantised:
            kind = kinds[places.group(tensor)]
            steps = np.rint(found[tensor] / np.float32(kind.step))
            beyond[tensor] += int(((steps < kind.lowest) | (steps > kind.highest)).sum())
            counts[tensor] += steps.size
    return {
        tensor: Observed(kinds[places.group(tensor)], *ends[tensor], beyond[tensor] / counts[tensor])
        for tensor in places.quantised
    }


def _of_least_error(
    kinds: dict[str, Format],
    groups: dict[str, list[str]],
    values: Iterator[Mapping[str, np.ndarray]],
    settings: Calibration,
) -> dict[str, Format]:
    steps = {group: candidates(kind.step, power_of_two=settings.power_of_two) for group, kind in kinds.items()}
    errors = {group: np.zeros(len(tried)) for group, tried in steps.items()}
    for found in values:
        for group, members in groups.items():
            for tensor in members:
                errors[group] += [kinds[group].squared_error(found[tensor], step) for step in steps[group]]
    return {group: replace(kind, step=steps[group][int(errors[group].argmin())]) for group, kind in kinds.items()}


def _fixed_format(named: InputType, input_name: str) -> Format:
    if named.element.width > MAXIMUM_BITS:
        raise UsageError(
            f"input {input_name!r}: type {named} has {named.element.width} bits; a file of quantised layers holds up to {MAXIMUM_BITS}"
        )
    return Format(named.element.width, named.element.signed, float(np.float32(float(named.step))))


def _collector(settings: Calibration) -> Any | None:
    """ONNX Runtime's collector of histograms, or None where none is needed."""
    if settings.method not in ("percentile", "entropy"):
        return None
    from onnxruntime.quantization.calibrate import HistogramCollector

    is_entropy = settings.method == "entropy"
    return HistogramCollector(
        method=settings.method,
        symmetric=False,
        num_bins=_ENTROPY_BINS if is_entropy else _HISTOGRAM_BINS,
        num_quantized_bins=min(_ENTROPY_LEVELS, 1 << settings.activation_bits),
        percentile=settings.percentile,
        scenario="same",
    )


def _clipped_ends(collector: Any | None, ends: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The range that the method keeps of each tensor's values; zero is always in it."""
    kept = ends
    if collector is not None:
        # A histogram of nothing but zeros has no width, and the collector cannot search it.
        for tensor, (low, high) in ends.items():
            if low == high == 0:
                collector.histogram_dict.pop(tensor, None)
        with contextlib.redirect_stdout(io.StringIO()):
            found = collector.compute_collection_result() if collector.histogram_dict else {}
        kept = {t: (float(found[t][0]), float(found[t][1])) if t in found else ends[t] for t in ends}
    return {tensor: (min(low, 0.0), max(high, 0.0)) for tensor, (low, high) in kept.items()}
