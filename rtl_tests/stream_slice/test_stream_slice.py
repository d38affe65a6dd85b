# SPDX-License-Identifier: Apache-2.0
"""Bench of stream_slice: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.branch_contract import SliceContract
from rtl_tests.common.case import Case, seed_of
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from toolchain.backends.rtl.streaming.branch_timing import slice_timing

BENCH = "rtl_tests.stream_slice.test_stream_slice"

AXES = ("HEIGHT", "WIDTH", "CF")

#: Start, stop and step.
Part = tuple[int, int, int]


def kept_of(sizes: Sequence[int], parts: Sequence[Part]) -> list[bool]:
    """For each beat of a frame whether it is kept."""
    kept = [True]
    for size, (start, stop, step) in zip(sizes, parts, strict=True):
        inside = [start <= i < stop and (i - start) % step == 0 for i in range(size)]
        kept = [outer and inner for outer in kept for inner in inside]
    return kept


def case(sizes: tuple[int, int, int], rows: Part, columns: Part, beats: Part, width: int = 8) -> Case:
    parts = (rows, columns, beats)
    kept = kept_of(sizes, parts)

    def expected(words: Sequence[int]) -> list[int]:
        return [word for word, keep in zip(words, kept, strict=True) if keep]

    parameters = {"DATA_WIDTH": width}
    for axis, size, (start, stop, step) in zip(AXES, sizes, parts, strict=True):
        parameters |= {axis: size, f"START_{axis}": start, f"STOP_{axis}": stop, f"STEP_{axis}": step}
    return Case(
        name="s"
        + "_".join(f"{size}x{start}x{stop}x{step}" for size, (start, stop, step) in zip(sizes, parts, strict=True)),
        module="stream_slice",
        parameters=parameters,
        input_bits=width,
        output_bits=width,
        frame=lambda random: [random.getrandbits(width) for _ in kept],
        expected=expected,
        contract=lambda: SliceContract(kept),
        first_output=kept.index(True) + 1,
        interval=len(kept),
    )


CASES = [
    case((4, 5, 2), (1, 3, 1), (0, 5, 2), (0, 2, 1)),
    case((1, 9, 1), (0, 1, 1), (2, 8, 3), (0, 1, 1)),
    case((1, 1, 6), (0, 1, 1), (0, 1, 1), (3, 6, 1), width=65),
    case((3, 3, 3), (0, 3, 1), (0, 3, 1), (0, 3, 1), width=1),
    case((5, 7, 4), (0, 5, 2), (1, 6, 2), (1, 4, 2)),
    case((6, 1, 1), (5, 6, 1), (0, 1, 1), (0, 1, 1)),
    case((1, 11, 1), (0, 1, 1), (1, 8, 4), (0, 1, 1)),
    case((2, 8, 1), (1, 2, 7), (4, 8, 3), (0, 1, 3)),
    case((1, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1)),
]


def test_stream_slice(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_stream_slice_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_stream_slice_sweep(tmp_path: Path) -> None:
    from rtl_tests.stream_slice import sweep

    run_bench("rtl_tests.stream_slice.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("attempt", range(20))
def test_timing(attempt: int) -> None:
    """Any part, any pauses: the toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("stream_slice", "timing", attempt))
    sizes = [random.randint(1, 6) for _ in AXES]
    parts = []
    for size in sizes:
        start = random.randrange(size)
        parts.append((start, random.randint(start + 1, size), random.randint(1, 4)))
    timing = slice_timing(sizes, [slice(*part) for part in parts])
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3)):
        check_timing(timing, SliceContract(kept_of(sizes, parts)), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
