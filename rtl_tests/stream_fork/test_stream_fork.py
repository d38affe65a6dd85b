# SPDX-License-Identifier: Apache-2.0
"""Bench of stream_fork: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.branch_case import BranchCase
from rtl_tests.common.branch_contract import ForkContract
from rtl_tests.common.branch_timing_check import check_branch_timing
from rtl_tests.common.case import seed_of
from rtl_tests.common.simulate import main, run_bench
from toolchain.backends.rtl.streaming.branch_timing import fork_timing

BENCH = "rtl_tests.stream_fork.test_stream_fork"


def case(width: int) -> BranchCase:
    def expected(beats: Sequence[Sequence[int]]) -> list[list[int]]:
        return [list(beats[0]), list(beats[0])]

    return BranchCase(
        name=f"w{width}",
        module="stream_fork",
        parameters={"DATA_WIDTH": width},
        inputs={"s_axis": width},
        outputs={"m_axis_a": width, "m_axis_b": width},
        frame=lambda random: [[random.getrandbits(width)]],
        expected=expected,
        contract=ForkContract,
        first_output=1,
        interval=1,
    )


def random_case(number: int) -> BranchCase:
    random = Random(seed_of("stream_fork", "sweep", number))
    return replace(case(random.choice((random.randint(1, 33), random.randint(1, 700)))), name=f"random_{number}")


CASES = [*(case(width) for width in (1, 8, 65)), *(random_case(number) for number in range(3))]


def test_stream_fork(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_stream_fork_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_stream_fork_sweep(tmp_path: Path) -> None:
    from rtl_tests.stream_fork import sweep

    run_bench("rtl_tests.stream_fork.sweep", sweep.CASES, tmp_path)


def test_timing() -> None:
    """The toolchain predicts every handshake output in every cycle."""
    random = Random(seed_of("stream_fork", "timing"))
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3), (0.1, 0.5)):
        check_branch_timing(fork_timing(), ForkContract(), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
