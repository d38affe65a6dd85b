# SPDX-License-Identifier: Apache-2.0
"""Bench of stream_combine: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.branch_case import BranchCase
from rtl_tests.common.branch_contract import CombineContract
from rtl_tests.common.branch_timing_check import check_branch_timing
from rtl_tests.common.case import draw, pack, seed_of, unpack
from rtl_tests.common.simulate import main, run_bench
from toolchain.backends.rtl.streaming.branch_timing import Combination, combine_timing

BENCH = "rtl_tests.stream_combine.test_stream_combine"

ADD, SUBTRACT, MULTIPLY = 0, 1, 2
UNSIGNED, SIGNED = False, True

#: Slots and latency of each operation.
QUEUES = {ADD: (2, 1), SUBTRACT: (2, 1), MULTIPLY: (5, 4)}


def result_width(operation: int, a: tuple[int, bool, int], b: tuple[int, bool, int]) -> int:
    """The fewest bits that hold every result: two's complement, or unsigned where none is negative."""
    ends = [
        [low << shift, high << shift]
        for width, signed, shift in (a, b)
        for low, high in [(-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)]
    ]
    results = [combine(operation, x, y) for x in ends[0] for y in ends[1]]
    if min(results) < 0:
        return max(max(results).bit_length(), (~min(results)).bit_length()) + 1
    return max(1, max(results).bit_length())


def combine(operation: int, a: int, b: int) -> int:
    return a * b if operation == MULTIPLY else a - b if operation == SUBTRACT else a + b


def case(
    operation: int, pe: int, a: tuple[int, bool, int], b: tuple[int, bool, int], spare: int = 0, style: int = 0
) -> BranchCase:
    """a, b: width, signedness and shift. spare: bits of an output element above those needed, or below."""
    width = result_width(operation, a, b) + spare
    sides = (a, b)

    def expected(beats: Sequence[Sequence[int]]) -> list[list[int]]:
        results = []
        for words in zip(*beats, strict=True):
            elements = [
                [x << shift for x in unpack(word, bits, pe, signed)]
                for word, (bits, signed, shift) in zip(words, sides, strict=True)
            ]
            results.append(pack([combine(operation, x, y) for x, y in zip(*elements, strict=True)], width))
        return [results]

    def frame(random: Random) -> list[list[int]]:
        return [[pack(draw(random, bits, signed, pe), bits)] for bits, signed, _ in sides]

    slots, latency = QUEUES[operation]
    kinds = "_".join(f"{'s' if signed else 'u'}{bits}_{shift}" for bits, signed, shift in sides)
    return BranchCase(
        name=f"{('add', 'subtract', 'multiply')[operation]}{style}_p{pe}_{kinds}_o{width}",
        module="stream_combine",
        parameters={
            "OPERATION": operation,
            "PE": pe,
            "A_WIDTH": a[0],
            "A_SIGNED": int(a[1]),
            "A_SHIFT": a[2],
            "B_WIDTH": b[0],
            "B_SIGNED": int(b[1]),
            "B_SHIFT": b[2],
            "OUTPUT_WIDTH": width,
            "MULTIPLIER_STYLE": style,
        },
        inputs={"s_axis_a": pe * a[0], "s_axis_b": pe * b[0]},
        outputs={"m_axis": pe * width},
        frame=frame,
        expected=expected,
        contract=lambda: CombineContract(slots, latency),
        first_output=1 + latency,
        interval=1,
    )


CASES = [
    case(ADD, 2, (8, SIGNED, 0), (8, SIGNED, 0)),
    case(ADD, 3, (4, UNSIGNED, 2), (6, SIGNED, 0)),
    case(ADD, 1, (3, UNSIGNED, 0), (5, UNSIGNED, 3), spare=2),
    case(ADD, 1, (64, SIGNED, 0), (64, UNSIGNED, 0)),
    case(ADD, 1, (1, SIGNED, 0), (1, UNSIGNED, 0), spare=1),
    case(SUBTRACT, 2, (5, SIGNED, 1), (4, UNSIGNED, 0), spare=3),
    case(SUBTRACT, 1, (6, UNSIGNED, 0), (6, UNSIGNED, 2)),
    case(SUBTRACT, 1, (1, SIGNED, 3), (2, SIGNED, 0), spare=-2),
    case(MULTIPLY, 2, (8, SIGNED, 0), (4, UNSIGNED, 0)),
    case(MULTIPLY, 1, (3, UNSIGNED, 0), (7, SIGNED, 0), spare=2, style=1),
    case(MULTIPLY, 2, (5, SIGNED, 0), (1, UNSIGNED, 0), style=1),
    case(MULTIPLY, 1, (6, UNSIGNED, 0), (5, UNSIGNED, 0), spare=-3, style=2),
    case(MULTIPLY, 1, (64, SIGNED, 0), (64, UNSIGNED, 0)),
]


def test_stream_combine(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_stream_combine_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_stream_combine_sweep(tmp_path: Path) -> None:
    from rtl_tests.stream_combine import sweep

    run_bench("rtl_tests.stream_combine.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("operation", list(Combination))
def test_timing(operation: Combination) -> None:
    """The toolchain predicts every handshake output in every cycle."""
    random = Random(seed_of("stream_combine", "timing", operation.name))
    assert [c.value for c in Combination] == [ADD, SUBTRACT, MULTIPLY]
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3), (0.1, 0.5)):
        check_branch_timing(combine_timing(operation), CombineContract(*QUEUES[operation]), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
