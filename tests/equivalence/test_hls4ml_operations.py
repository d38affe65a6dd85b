# SPDX-License-Identifier: Apache-2.0
"""Every operation, as HLS C++ on the CPU, equals the interpreter: all samples, then compositions that samples cannot reach."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hls4ml_bench import Results, compare, run_cases, side_by_side

from toolchain.backends.hls4ml import FLOWS
from toolchain.backends.hls4ml.lower import LOWERED
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    TensorType,
    Threshold,
    operations,
)

Case = tuple[Operation, tuple[TensorType, ...]]
IO_TYPES = ("io_parallel", "io_stream")


KINDS = sorted(cls.kind for cls in LOWERED)
#: Flows that take several inputs and outputs and that a plain C++ compiler can run. Flow vivado_accelerator, of one input and one output, has
#: the very firmware of vivado (tests/unit/test_backend_hls4ml.py).
FLOWS_IN_CPP = tuple(name for name, flow in FLOWS.items() if not flow.csim and name != "vivado_accelerator")
#: In the default run so many samples of each operation, without the flow whose C++ is that of vitis but for the headers of words.
FEW = {"vitis": 3, "quartus": 2, "catapult": 2}


def beyond_quartus(case: Case) -> bool:
    """Constants of more than 64 bits, which hls4ml writes as C++ integers for Quartus."""
    values = [value for value in vars(case[0]).values() if isinstance(value, np.ndarray)]
    return any(value.dtype == object for value in values)


def samples(flow: str, most: int | None) -> list[Case]:
    """So many samples of every operation of the graph, as far as the flow can have them; None: all."""
    assert set(operations().values()) == set(LOWERED)
    cases = [case for cls in LOWERED for case in islice(cls.samples(), most)]
    return [case for case in cases if flow != "quartus" or not beyond_quartus(case)]


def ports(flows: Iterable[str]) -> list[Any]:
    return [pytest.param((flow, port), id=f"{flow}-{port}") for flow in flows for port in IO_TYPES]


def number(cases: list[Case], kind: str) -> int:
    return sum(operation.kind == kind for operation, _ in cases)


@pytest.fixture(scope="module", params=ports(FEW))
def few(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], Results]:
    """Some samples of every operation in one compilation of a flow and port."""
    flow, io_type = request.param
    cases = samples(flow, FEW[flow])
    return cases, run_cases(cases, tmp_path_factory.mktemp("few"), io_type=io_type, flow=flow, count=300)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_an_operation(few: tuple[list[Case], Results], kind: str) -> None:
    cases, results = few
    results.require(kind, number(cases, kind))


@pytest.fixture(scope="module", params=ports(FLOWS_IN_CPP))
def every(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], Results]:
    """All samples of every operation in one compilation of a flow and port."""
    flow, io_type = request.param
    cases = samples(flow, None)
    return cases, run_cases(cases, tmp_path_factory.mktemp("every"), io_type=io_type, flow=flow, count=1100)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_all_samples_of_an_operation(every: tuple[list[Case], Results], kind: str) -> None:
    cases, results = every
    results.require(kind, number(cases, kind))


def more_cases() -> list[Case]:
    """Several axes, binary points left and right of the word, thresholds out of reach, words of 64 bits and more."""
    random = np.random.default_rng(7)
    rows = TensorType((3, 4), IntegerType(True, 5, 2))
    planes = TensorType((2, 3, 4), IntegerType(False, 4, 0))
    weights = random.integers(-8, 8, (4, 3))
    out_of_reach = np.array([[-1000, -17, -16, -15, 0, 15, 16, 1000]])
    wide = TensorType((2,), IntegerType(True, 64, 40))
    unsigned = TensorType((2,), IntegerType(False, 64, 64))
    return [
        (Dense(weights, 2), (rows,)),
        (Dense(weights, 0), (planes,)),
        (Dense(weights, 1), (TensorType((2, 1, 3, 4), IntegerType(True, 3)),)),
        (Dense(weights, -3), (TensorType((4,), IntegerType(True, 6, -5)),)),
        (Dense(weights, 12), (TensorType((4,), IntegerType(False, 6, 14)),)),
        (Threshold(np.sort(random.integers(-20, 20, (4, 3)), axis=1), 1, 1), (rows,)),
        (Threshold(out_of_reach, -4, 0), (rows,)),
        (Threshold(np.array([[-(1 << 62), -3, 1 << 30, 1 << 61]]), 0, 0), (wide,)),
        (Threshold(np.array([[3]]), 1 << 40, -5), (planes,)),
        (Requantise(IntegerType(True, 3, 1), Rounding.HALF_EVEN, Overflow.SATURATE), (rows,)),
        (Requantise(IntegerType(False, 3, 1, 1, 6), Rounding.AWAY, Overflow.SATURATE), (planes,)),
        (Requantise(IntegerType(True, 40, 20, -(1 << 30), 5), Rounding.CEILING, Overflow.SATURATE), (wide,)),
        (Requantise(IntegerType(True, 24, 20), Rounding.HALF_AWAY, Overflow.WRAP), (wide,)),
        (Requantise(IntegerType(False, 30, 25), Rounding.HALF_DOWN, Overflow.SATURATE_ZERO), (unsigned,)),
        (Requantise(IntegerType(True, 100, 90), Rounding.TRUNCATE, Overflow.WRAP), (wide,)),
        (Requantise(IntegerType(True, 1, 0, 0, 0), Rounding.TRUNCATE, Overflow.SATURATE), (rows,)),
        (Relu(), (wide,)),
        (Relu(3, 1 << 50), (wide,)),
        (Relu(1, 1000), (rows,)),
        (AddBias(random.integers(-9, 9, 4), 7), (planes,)),
        (AddBias(np.array([1, -(1 << 52)]), -3), (unsigned,)),
        (ArgMax(), (rows,)),
        (ArgMax(), (planes,)),
        (ArgMax(), (TensorType((5, 3), IntegerType(True, 3)),)),
        (ArgMax(), (wide,)),
        (Reshape((2, 6)), (rows,)),
        (Reshape((4, 3, 2)), (planes,)),
        (Input((3,), IntegerType(True, 100, 50)), ()),
    ]


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_axes_binary_points_and_wide_words(io_type: str, tmp_path: Path) -> None:
    compare(side_by_side(more_cases()), tmp_path, io_type=io_type, count=300).require()


def tangled_graph() -> Graph:
    """Results with several readers, outputs that are read inside, aliases, dead ends, reshapes, hostile names."""
    random = np.random.default_rng(11)
    builder = GraphBuilder('std::exit(1); */ $(id) "')
    x = builder.add(Input((4,), IntegerType(True, 6, 3)), name="input")
    y = builder.add(Input((2, 3), IntegerType(False, 3, 0)), name="int")
    unread = builder.add(Input((2,), IntegerType(True, 3, 0)), name="Input")
    builder.add(Relu(), unread, name="dead end")
    first = builder.add(Dense(random.integers(-4, 4, (4, 6)), 1), x, name='"); system("true"); //')
    biased = builder.add(AddBias(random.integers(-9, 9, 6), 5), first, name="*/ #error \n#include <x>")
    shared = builder.add(Relu(None, 40), biased, name="result_t")
    left = builder.add(Dense(random.integers(-4, 4, (6, 2)), 0), shared, name="config2")
    again = builder.add(AddBias(random.integers(-9, 9, 6), 1), shared, name="w2")
    flat = builder.add(Reshape((6,)), y, name="flat")
    folded = builder.add(Dense(random.integers(-4, 4, (6, 3)), 0), flat, name="folded")
    square = builder.add(Reshape((3, 2)), again, name="square")
    rows = builder.add(Dense(random.integers(-4, 4, (2, 2)), 0), square, name="rows")
    for number, tensor in enumerate((first, shared, left, shared, folded, square, rows, x, flat, again)):
        builder.output(tensor, name=f"out {number}")
    return builder.build()


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_many_readers_and_hostile_names(io_type: str, tmp_path: Path) -> None:
    compare(tangled_graph(), tmp_path, io_type=io_type, count=600).require()


def every_mode() -> list[Case]:
    """All roundings with all overflows, from and to words of several forms; every value of the input is run."""
    inputs = [IntegerType(True, 7, 4), IntegerType(False, 7, 4), IntegerType(True, 1, 0)]
    words = [
        (True, 4, 2),
        (True, 1, 1),
        (False, 3, 2),
        (False, 1, 4),
        (True, 12, 6),
        (True, 3, -4),
        (False, 4, 6),
        (True, 7, 4),
    ]
    cases: list[Case] = []
    for source in inputs:
        for signed, width, fraction in words:
            full = IntegerType(signed, width, fraction)
            part = IntegerType(
                signed, width, fraction, -(full.highest // 2) if signed else full.highest // 3, full.highest // 2
            )
            symmetric = IntegerType(signed, width, fraction, max(full.lowest, -full.highest), full.highest)
            for rounding in Rounding:
                cases += [
                    (Requantise(target, rounding, overflow), (TensorType((1,), source),))
                    for overflow in Overflow
                    for target in dict.fromkeys((full, part, symmetric))
                    if _allowed(target, overflow)
                ]
    return cases


def _allowed(target: IntegerType, overflow: Overflow) -> bool:
    if overflow in (Overflow.WRAP, Overflow.WRAP_SIGN_MAGNITUDE) and not target.is_full_range:
        return False
    if overflow is Overflow.SATURATE_ZERO and not target.minimum <= 0 <= target.maximum:
        return False
    return overflow is not Overflow.WRAP_SIGN_MAGNITUDE or target.signed


@pytest.mark.full
@pytest.mark.parametrize("part", range(8))
def test_every_rounding_with_every_overflow(part: int, tmp_path: Path) -> None:
    cases = every_mode()[part::8]
    compare(side_by_side(cases), tmp_path, count=130).require()
