# SPDX-License-Identifier: Apache-2.0
"""Bench of stream_fifo: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case
from rtl_tests.common.contract import QueueContract
from rtl_tests.common.simulate import main, run_bench

BENCH = "rtl_tests.stream_fifo.test_stream_fifo"


def case(width: int, depth: int) -> Case:
    latency = 1 if depth == 2 else 2
    return Case(
        name=f"w{width}_d{depth}",
        module="stream_fifo",
        parameters={"DATA_WIDTH": width, "DEPTH": depth},
        input_bits=width,
        output_bits=width,
        frame=lambda random: [random.getrandbits(width)],
        expected=list,
        contract=lambda: QueueContract(latency, depth),
        first_output=latency,
        interval=1,
    )


CASES = [case(8, depth) for depth in (2, 3, 4, 5, 16, 17)] + [case(1, 7), case(70, 33)]


def test_stream_fifo(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_stream_fifo_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


if __name__ == "__main__":
    main(BENCH, CASES)
