# SPDX-License-Identifier: Apache-2.0
"""Resource models of the streaming library against synthesis, for ECP5 and xc7: what `estimated` counts are worth.

Instances of every module with drawn parameters are synthesised by Yosys as the product does for ECP5, and with
`synth_xilinx -family xc7 -abc9`, and the cost of each term of the models in toolchain/backends/rtl/streaming/area is fitted to
half of them, by least squares of relative errors, none below zero; DSP blocks and block RAMs are not fitted. The other half, drawn
with another seed, is predicted: for each module the mean of the errors without sign, and the predicted counts of all its
instances together beside the synthesised ones. Then whole networks, whose layers were not fitted either: predicted counts of the
core from its plan, synthesised counts of the flattened core. (Terms were added to the models where networks showed that one was
missing; what a term costs comes from the instances alone.) Counts are those of toolchain/resources.py; a block RAM has 18
Kbit. A run rewrites toolchain/backends/rtl/streaming/area/coefficients.json. Results of synthesis are kept in
build/resource_model by the digest of what was synthesised.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.area.instances import Sample, samples
from benchmarks.area.networks import networks
from benchmarks.area.synthesis import for_family, synthesise_network, synthesise_samples
from benchmarks.common import Row, version
from toolchain.backends.rtl.streaming import area
from toolchain.backends.rtl.streaming.area.bill import Bill
from toolchain.resources import BLOCK_RAM, DSP, FF, LUT
from toolchain.target import find_device

FITTED_SEED, CHECKED_SEED = 1, 2
FITTED, CHECKED = 10, 4
#: Devices that networks are planned for.
PARTS = {"ecp5": "LFE5U-85F-6BG381C", "xc7": "xc7z020clg400-1"}
#: Small instances have counts of a few LUTs, whose relative errors say little.
_LEAST_COUNT = 30
#: How strongly a term that the samples hardly show is drawn to a cost of one.
_PRIOR = 0.002


@dataclass(frozen=True)
class Predicted:
    module: str
    predicted: Mapping[str, int]
    synthesised: Mapping[str, int]


def bill(sample: Sample, family: str) -> Bill:
    instance = for_family(sample, family).instance
    return area.bill_of(instance.module, area.parameters_of(instance, family))


def fit(family: str) -> dict[str, dict[str, float]]:
    """What each term costs, from synthesised samples."""
    found = list(samples(FITTED_SEED, FITTED))
    counts = synthesise_samples(found, family)
    bills = [bill(sample, family) for sample in found]
    return {
        "lut": _fit_terms([entry.lut for entry in bills], [count[LUT] for count in counts]),
        "ff": _fit_terms([entry.ff for entry in bills], [count[FF] for count in counts]),
    }


def _fit_terms(amounts: Sequence[Mapping[str, float]], counts: Sequence[int]) -> dict[str, float]:
    from scipy.optimize import nnls

    terms = sorted({term for amount in amounts for term in amount})
    count = np.array(counts, float)
    weight = np.maximum(count, _LEAST_COUNT) ** -0.8
    matrix = np.array([[amount.get(term, 0.0) for term in terms] for amount in amounts]) * weight[:, None]
    prior = _PRIOR * np.sqrt((matrix**2).sum(axis=0))
    costs, _ = nnls(np.vstack([matrix, np.diag(prior)]), np.concatenate([count * weight, prior]))
    return {term: round(float(cost), 3) for term, cost in zip(terms, costs, strict=True)}


def predictions(family: str) -> list[Predicted]:
    found = list(samples(CHECKED_SEED, CHECKED))
    counts = synthesise_samples(found, family)
    return [
        Predicted(sample.instance.module, area.price(bill(sample, family), family).counts(), count)
        for sample, count in zip(found, counts, strict=True)
    ]


def _module_rows(family: str) -> Iterator[Row]:
    modules: dict[str, list[Predicted]] = defaultdict(list)
    for entry in predictions(family):
        modules[entry.module].append(entry)
    for module, entries in sorted(modules.items()):
        for resource in (LUT, FF, DSP, BLOCK_RAM):
            predicted = sum(entry.predicted[resource] for entry in entries)
            synthesised = sum(entry.synthesised[resource] for entry in entries)
            if predicted == synthesised == 0:
                continue
            errors = [
                abs(entry.predicted[resource] - entry.synthesised[resource]) / entry.synthesised[resource]
                for entry in entries
                if entry.synthesised[resource]
            ]
            mean = f"mean error of one {100 * float(np.mean(errors)):.0f} %; " if errors else ""
            note = f"{mean}{len(entries)} instances: {synthesised:,} synthesised, {predicted:,} predicted"
            yield _row(f"{family} {module}, {resource}", predicted, synthesised, "", note)


def _network_rows(family: str) -> Iterator[Row]:
    from toolchain.backends.rtl.streaming import plan
    from toolchain.target import Target

    for sized in networks():
        built = plan(sized.graph, Target(device=find_device(PARTS[family])), sized.folding)
        counts = synthesise_network(built, family)
        for resource, predicted in built.facts["estimated"]["resources"].items():
            if predicted == counts[resource] == 0:
                continue
            note = f"{counts[resource]:,} synthesised, {predicted:,} predicted"
            target = "" if resource == FF else "within 15"
            yield _row(f"{sized.name}, {family} {resource}", predicted, counts[resource], target, note)


def _row(name: str, predicted: int, synthesised: int, target: str, note: str) -> Row:
    error = 100 * (predicted - synthesised) / max(1, synthesised)
    return Row(name, round(error, 1), "%", "pyosys", version("pyosys"), target, note)


def run() -> Sequence[Row]:
    costs = {family: fit(family) for family in area.FAMILIES}
    area.COEFFICIENTS.write_text(json.dumps(costs, indent=1) + "\n")
    area.coefficients.cache_clear()
    rows: list[Row] = []
    for family in area.FAMILIES:
        rows += _network_rows(family)
    for family in area.FAMILIES:
        rows += _module_rows(family)
    return rows
