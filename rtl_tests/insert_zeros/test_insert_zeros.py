# SPDX-License-Identifier: Apache-2.0
"""Bench of insert_zeros: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, seed_of
from rtl_tests.common.element_contract import InsertZerosContract
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from toolchain.backends.rtl.streaming.element_timing import insert_zeros_timing

BENCH = "rtl_tests.insert_zeros.test_insert_zeros"


def case(name: str, image: tuple[int, int, int, int], factor: tuple[int, int], *, width: int = 8) -> Case:
    """image: height, width, channels, SIMD. factor: rows and columns from an input pixel to the next. width: of an element."""
    height, columns, channels, simd = image
    beats = channels // simd
    bits = simd * width
    out_height, out_columns = (height - 1) * factor[0] + 1, (columns - 1) * factor[1] + 1

    def expected(words: Sequence[int]) -> list[int]:
        frame = [0] * (out_height * out_columns * beats)
        for number, word in enumerate(words):
            pixel, beat = divmod(number, beats)
            y, x = divmod(pixel, columns)
            frame[(y * factor[0] * out_columns + x * factor[1]) * beats + beat] = word
        return frame

    return Case(
        name=name,
        module="insert_zeros",
        parameters={
            "HEIGHT": height,
            "WIDTH": columns,
            "CHANNELS": channels,
            "SIMD": simd,
            "ELEMENT_WIDTH": width,
            "FACTOR_HEIGHT": factor[0],
            "FACTOR_WIDTH": factor[1],
        },
        input_bits=bits,
        output_bits=bits,
        frame=lambda random: [random.getrandbits(bits) for _ in range(height * columns * beats)],
        expected=expected,
        contract=lambda: InsertZerosContract((height, columns, beats), factor),
        first_output=1,
        interval=out_height * out_columns * beats,
    )


CASES = [
    case("typical", (3, 4, 4, 2), (2, 2)),
    case("uneven", (2, 3, 2, 1), (3, 2)),
    case("one_row", (1, 6, 3, 3), (1, 4), width=6),
    case("one_row_any_height", (1, 3, 2, 1), (5, 2)),
    case("rows", (4, 3, 2, 1), (2, 1)),
    case("one_column", (3, 1, 1, 1), (3, 2), width=12),
    case("columns", (2, 5, 1, 1), (1, 3), width=1),
    case("nothing", (2, 3, 2, 1), (1, 1)),
    case("one_pixel", (1, 1, 1, 1), (2, 2), width=70),
]


def test_insert_zeros(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_insert_zeros_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_insert_zeros_sweep(tmp_path: Path) -> None:
    from rtl_tests.insert_zeros import sweep

    run_bench("rtl_tests.insert_zeros.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("attempt", range(20))
def test_timing(attempt: int) -> None:
    """Any sizes, any pauses: the toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("insert_zeros", "timing", attempt))
    height, columns, beats = (random.randint(1, most) for most in (4, 5, 3))
    factor = (random.randint(1, 3), random.randint(1, 3))
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3)):
        check_timing(
            insert_zeros_timing((height, columns), beats, factor),
            InsertZerosContract((height, columns, beats), factor),
            random,
            idle,
            stall,
            600,
        )


if __name__ == "__main__":
    main(BENCH, CASES)
