# SPDX-License-Identifier: Apache-2.0
"""What an instance, or a network, takes of a device before it is synthesised: LUT, FF, DSP, block RAM, of kind `estimated`.

Each module of the library has a function from its parameters to a `Bill` of terms (adder bits, multiplexer bits, ROM columns,
counters); one file holds a group of like modules. DSP blocks and block RAMs follow from the mapper's rules. What a term
costs in LUTs and flip-flops on a family is fitted to synthesised instances by `benchmarks/resource_model.py`, which writes
coefficients.json and prints predicted against synthesised counts of instances and networks that were not used to fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters, integer
from toolchain.backends.rtl.streaming.instance import Instance
from toolchain.resources import BLOCK_RAM, DSP, FF, LUT

#: Families that there is a model of.
FAMILIES = ("ecp5", "xc7")
#: By how much a network's true counts are expected to differ from these; the table is in benchmarks/results/resource_model.md.
ERROR = 0.15

#: Files of this package with the models of some modules of the library.
_GROUPS = ("queues", "matrix", "elements", "windows", "branches", "indices", "loading")

COEFFICIENTS = Path(__file__).parent / "coefficients.json"


@dataclass(frozen=True)
class Area:
    """Resources, not rounded, so that many small ones add up."""

    lut: float = 0.0
    ff: float = 0.0
    dsp: int = 0
    block_ram: int = 0

    def __add__(self, other: Area) -> Area:
        return Area(self.lut + other.lut, self.ff + other.ff, self.dsp + other.dsp, self.block_ram + other.block_ram)

    @property
    def amounts(self) -> tuple[float, float, float, float]:
        """In the order of `toolchain.resources.RESOURCES`."""
        return self.lut, self.ff, float(self.dsp), float(self.block_ram)

    def counts(self) -> dict[str, int]:
        """By the names that reports use."""
        return {LUT: round(self.lut), FF: round(self.ff), DSP: self.dsp, BLOCK_RAM: self.block_ram}


@cache
def coefficients() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """family -> 'lut' or 'ff' -> term -> what one costs."""
    found: dict[str, dict[str, dict[str, float]]] = json.loads(COEFFICIENTS.read_text())
    return found


@cache
def _modules() -> Mapping[str, Callable[[Parameters], Bill]]:
    found: dict[str, Callable[[Parameters], Bill]] = {}
    for group in _GROUPS:
        found.update(import_module(f"{__name__}.{group}").MODULES)
    return found


def parameters_of(instance: Instance, family: str) -> Parameters:
    values = {name: value for name, text in instance.parameters if (value := integer(text)) is not None}
    files = {f'"{memory.path}"': memory for memory in instance.memories}
    return Parameters(values, {name: files[text] for name, text in instance.parameters if text in files}, family)


def bill_of(module: str, parameters: Parameters) -> Bill:
    """The terms of an instance of a module. Raises KeyError for a module without a model."""
    return _modules()[module](parameters)


def price(bill: Bill, family: str) -> Area:
    """A bill's resources on a family."""
    costs = coefficients()[family]
    lut = sum(amount * costs["lut"].get(term, 1.0) for term, amount in bill.lut.items())
    ff = sum(amount * costs["ff"].get(term, 1.0) for term, amount in bill.ff.items())
    return Area(lut, ff, bill.dsp, bill.block_ram)


def instance_area(instance: Instance, family: str) -> Area:
    return price(bill_of(instance.module, parameters_of(instance, family)), family)


def network_area(instances: Iterable[Instance], family: str) -> Area:
    """Of instances together. Synthesis joins little across them; what it does is part of the error."""
    total = Area()
    for instance in instances:
        total += instance_area(instance, family)
    return total
