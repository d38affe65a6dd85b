# SPDX-License-Identifier: Apache-2.0
"""Bench of stream_fifo: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, seed_of
from rtl_tests.common.contract import QueueContract
from rtl_tests.common.simulate import main, run_bench

BENCH = "rtl_tests.stream_fifo.test_stream_fifo"


def case(width: int, depth: int) -> Case:
    latency = 1 if depth == 2 else 2
    # The bench sends four frames at least: enough for its stalled sink to fill a deep buffer, and for its pointers to wrap.
    beats = 1 if depth <= 33 else depth
    return Case(
        name=f"w{width}_d{depth}",
        module="stream_fifo",
        parameters={"DATA_WIDTH": width, "DEPTH": depth},
        input_bits=width,
        output_bits=width,
        frame=lambda random: [random.getrandbits(width) for _ in range(beats)],
        expected=list,
        contract=lambda: QueueContract(latency, depth),
        first_output=latency,
        interval=beats,
    )


def random_case(number: int) -> Case:
    """Depths of registers, of LUT RAM and of block RAM."""
    random = Random(seed_of("stream_fifo", "sweep", number))
    depth = random.choice((random.randint(2, 33), random.randint(34, 80), random.randint(81, 700)))
    return replace(case(random.randint(1, 90), depth), name=f"random_{number}")


CASES = [
    *(case(8, depth) for depth in (2, 3, 4, 5, 16, 17)),
    case(1, 7),
    case(70, 33),
    # Beyond what LUT RAM holds in one level, and of a size for block RAM; powers of two and not.
    case(4, 64),
    case(3, 100),
    case(36, 512),
    *(random_case(number) for number in range(3)),
]


def test_stream_fifo(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_stream_fifo_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_stream_fifo_sweep(tmp_path: Path) -> None:
    from rtl_tests.stream_fifo import sweep

    run_bench("rtl_tests.stream_fifo.sweep", sweep.CASES, tmp_path)


if __name__ == "__main__":
    main(BENCH, CASES)
