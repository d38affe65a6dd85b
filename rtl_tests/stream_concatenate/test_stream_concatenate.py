# SPDX-License-Identifier: Apache-2.0
"""Bench of stream_concatenate: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.branch_case import BranchCase
from rtl_tests.common.branch_contract import ConcatenateContract
from rtl_tests.common.branch_timing_check import check_branch_timing
from rtl_tests.common.case import draw, pack, seed_of, unpack
from rtl_tests.common.simulate import main, run_bench
from toolchain.backends.rtl.streaming.branch_timing import concatenate_timing

BENCH = "rtl_tests.stream_concatenate.test_stream_concatenate"

UNSIGNED, SIGNED = False, True


def case(runs: tuple[int, int], pe: int, a: tuple[int, bool, int], b: tuple[int, bool, int], width: int) -> BranchCase:
    """runs: beats of a and of b. a, b: width, signedness and shift. width: bits of an output element."""

    def expected(beats: Sequence[Sequence[int]]) -> list[list[int]]:
        return [
            [
                pack([x << shift for x in unpack(word, bits, pe, signed)], width)
                for words, (bits, signed, shift) in zip(beats, (a, b), strict=True)
                for word in words
            ]
        ]

    def frame(random: Random) -> list[list[int]]:
        return [
            [pack(draw(random, bits, signed, pe), bits) for _ in range(run)]
            for run, (bits, signed, _) in zip(runs, (a, b), strict=True)
        ]

    kinds = "_".join(f"{'s' if signed else 'u'}{bits}_{shift}" for bits, signed, shift in (a, b))
    return BranchCase(
        name=f"r{runs[0]}_{runs[1]}_p{pe}_{kinds}_o{width}",
        module="stream_concatenate",
        parameters={
            "A_BEATS": runs[0],
            "B_BEATS": runs[1],
            "PE": pe,
            "A_WIDTH": a[0],
            "A_SIGNED": int(a[1]),
            "A_SHIFT": a[2],
            "B_WIDTH": b[0],
            "B_SIGNED": int(b[1]),
            "B_SHIFT": b[2],
            "OUTPUT_WIDTH": width,
        },
        inputs={"s_axis_a": pe * a[0], "s_axis_b": pe * b[0]},
        outputs={"m_axis": pe * width},
        frame=frame,
        expected=expected,
        contract=lambda: ConcatenateContract(*runs),
        first_output=1,
        interval=sum(runs),
    )


CASES = [
    case((1, 1), 2, (8, SIGNED, 0), (8, SIGNED, 0), 8),
    case((3, 2), 1, (4, UNSIGNED, 0), (6, SIGNED, 2), 8),
    case((1, 4), 3, (5, SIGNED, 1), (3, UNSIGNED, 0), 7),
    case((5, 1), 2, (2, UNSIGNED, 3), (5, UNSIGNED, 0), 5),
    # Elements that use less than their width: the output keeps the low bits alone.
    case((2, 3), 1, (9, SIGNED, 1), (7, UNSIGNED, 0), 6),
    case((2, 2), 1, (64, UNSIGNED, 0), (1, SIGNED, 63), 65),
    case((8, 16), 1, (1, UNSIGNED, 0), (1, SIGNED, 0), 2),
]


def test_stream_concatenate(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_stream_concatenate_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_stream_concatenate_sweep(tmp_path: Path) -> None:
    from rtl_tests.stream_concatenate import sweep

    run_bench("rtl_tests.stream_concatenate.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("runs", [(1, 1), (1, 3), (4, 1), (5, 7)])
def test_timing(runs: tuple[int, int]) -> None:
    """The toolchain predicts every handshake output in every cycle."""
    random = Random(seed_of("stream_concatenate", "timing", *runs))
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3)):
        check_branch_timing(concatenate_timing(*runs), ConcatenateContract(*runs), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
