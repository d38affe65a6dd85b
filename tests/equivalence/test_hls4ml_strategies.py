# SPDX-License-Identifier: Apache-2.0
"""Shared multipliers and distributed arithmetic, and the accelerator behind its AXI wrapper, equal the interpreter on the CPU."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hls4ml_bench import compare, side_by_side

from toolchain.backends.hls4ml import plan
from toolchain.build.tools.hls4ml import DISTRIBUTED_ARITHMETIC
from toolchain.errors import ToolNotFound
from toolchain.ir import Conv, Dense, Graph, IntegerType, Operation, TensorType
from toolchain.target import Target

Case = tuple[Operation, tuple[TensorType, ...]]
IO_TYPES = ("io_parallel", "io_stream")


def sums() -> Graph:
    """Dense layers on one to three axes, convolutions of hls4ml's own and of the project's."""
    random = np.random.default_rng(3)
    vector = TensorType((12,), IntegerType(True, 5, 2))
    rows = TensorType((3, 4), IntegerType(True, 5, 2))
    planes = TensorType((2, 3, 4), IntegerType(False, 4, 0))
    image = TensorType((5, 6, 2), IntegerType(True, 4, 2))
    line = TensorType((9, 3), IntegerType(True, 5, 3))

    def weights(*shape: int) -> np.ndarray:
        return random.integers(-8, 8, shape)

    cases: list[Case] = [
        (Dense(weights(12, 6), 2), (vector,)),
        (Dense(weights(4, 3), 2), (rows,)),
        (Dense(weights(4, 3), 0), (planes,)),
        (Conv(weights(3, 3, 2, 4), (1, 1), (1, 1), 1, 3), (image,)),
        (Conv(weights(1, 1, 2, 4), (1, 1), (1, 1), 1, 3), (image,)),
        (Conv(weights(3, 2, 2, 4), (2, 1), (1, 1), 1, 3), (image,)),
        (Conv(weights(3, 3, 4), (1,), (1,), 1, 3), (line,)),
        (Conv(weights(1, 3, 4), (1,), (1,), 1, 3), (line,)),
        (Conv(weights(3, 3, 1, 2), (1, 1), (1, 1), 2, 3), (image,)),
        (Conv(weights(3, 3, 2, 4), (1, 1), (2, 1), 1, 3), (image,)),
    ]
    return side_by_side(cases, "sums")


@pytest.mark.parametrize("cycles", [60, 400])
@pytest.mark.parametrize("io_type", IO_TYPES)
def test_shared_multipliers(io_type: str, cycles: int, tmp_path: Path) -> None:
    target = Target(cycles_per_frame=cycles)
    reuse = plan(sums(), target, io_type, strategy="resource").facts["reuse_factors"]["vitis"]
    assert max(reuse.values()) == (72 if cycles == 400 else 36)
    compare(sums(), tmp_path, io_type=io_type, count=100, strategy="resource", target=target).require()


@pytest.mark.skipif(DISTRIBUTED_ARITHMETIC.find() is None, reason="needs da4ml")
@pytest.mark.parametrize("io_type", IO_TYPES)
def test_distributed_arithmetic(io_type: str, tmp_path: Path) -> None:
    compare(sums(), tmp_path, io_type=io_type, count=100, strategy="distributed_arithmetic").require()
    assert "dense_da_" in (tmp_path / "vitis/firmware/nnet_utils/nnet_code_gen.h").read_text()


def test_distributed_arithmetic_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(DISTRIBUTED_ARITHMETIC, find=lambda: None)
    monkeypatch.setattr(sys.modules["toolchain.backends.hls4ml.plan"], "DISTRIBUTED_ARITHMETIC", absent)
    with pytest.raises(ToolNotFound) as error:
        plan(sums(), Target(), strategy="distributed_arithmetic")
    assert str(error.value) == (
        "da4ml is not installed; without it: hls4ml's strategy distributed_arithmetic cannot be used; latency and resource "
        "can. Install it with: pip install 'bitwright[hls4ml]'"
    )


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_accelerator(io_type: str, tmp_path: Path) -> None:
    graph = side_by_side([(Dense(np.arange(-6, 6).reshape(3, 4), 1), (TensorType((3,), IntegerType(True, 4, 1)),))])
    compare(graph, tmp_path, io_type=io_type, flow="vivado_accelerator", count=200).require()
    assert (tmp_path / "vivado_accelerator/firmware/cases_top_axi.cpp").is_file()
