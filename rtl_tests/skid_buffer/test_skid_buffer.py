# SPDX-License-Identifier: Apache-2.0
"""Bench of skid_buffer: run by pytest, or by itself as a script."""

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

BENCH = "rtl_tests.skid_buffer.test_skid_buffer"


def case(width: int) -> Case:
    return Case(
        name=f"w{width}",
        module="skid_buffer",
        parameters={"DATA_WIDTH": width},
        input_bits=width,
        output_bits=width,
        frame=lambda random: [random.getrandbits(width)],
        expected=list,
        contract=lambda: QueueContract(latency=1, capacity=2),
        first_output=1,
        interval=1,
    )


def random_case(number: int) -> Case:
    random = Random(seed_of("skid_buffer", "sweep", number))
    return replace(case(random.choice((random.randint(1, 33), random.randint(1, 700)))), name=f"random_{number}")


CASES = [*(case(width) for width in (1, 8, 65, 257, 600)), *(random_case(number) for number in range(3))]


def test_skid_buffer(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_skid_buffer_sweep(tmp_path: Path) -> None:
    from rtl_tests.skid_buffer import sweep

    run_bench("rtl_tests.skid_buffer.sweep", sweep.CASES, tmp_path)


if __name__ == "__main__":
    main(BENCH, CASES)
