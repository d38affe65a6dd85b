# SPDX-License-Identifier: Apache-2.0
"""Bench of top_k: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, ceil_log2, draw, seed_of, unpack
from rtl_tests.common.element_contract import TopKContract
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from toolchain.backends.rtl.streaming.element_timing import top_k_timing

BENCH = "rtl_tests.top_k.test_top_k"


def case(channels: int, k: int, x: tuple[int, bool], index_width: int | None = None) -> Case:
    """x: width and signedness of the input."""
    input_width, signed = x
    width = index_width or max(1, ceil_log2(channels))
    mask = (1 << input_width) - 1

    def expected(words: Sequence[int]) -> list[int]:
        vector = [unpack(word, input_width, 1, signed)[0] for word in words]
        return sorted(range(channels), key=lambda index: (-vector[index], index))[:k]

    def frame(random: Random) -> list[int]:
        vector = draw(random, input_width, signed, channels)
        # Sorted ones move every place of the line, or none.
        order = random.randrange(4)
        if order < 2:
            vector.sort(reverse=order == 1)
        return [value & mask for value in vector]

    return Case(
        name=f"c{channels}_k{k}_{'s' if signed else 'u'}{input_width}_i{width}",
        module="top_k",
        parameters={
            "CHANNELS": channels,
            "K": k,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(signed),
            "INDEX_WIDTH": width,
        },
        input_bits=input_width,
        output_bits=width,
        frame=frame,
        expected=expected,
        contract=lambda: TopKContract(channels, k),
        first_output=channels - 1 + 5,
        interval=channels,
    )


UNSIGNED, SIGNED = False, True
#: Narrow inputs make ties frequent.
CASES = [
    case(10, 5, (3, SIGNED)),
    case(10, 5, (8, UNSIGNED)),
    case(10, 1, (3, UNSIGNED)),
    case(6, 6, (4, SIGNED)),
    case(7, 6, (16, SIGNED), index_width=8),
    case(5, 2, (1, SIGNED)),
    case(4, 3, (1, UNSIGNED)),
    case(1, 1, (4, SIGNED)),
    case(2, 1, (2, SIGNED)),
    case(2, 2, (2, UNSIGNED)),
    case(20, 3, (64, SIGNED)),
]


def test_top_k(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_top_k_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_top_k_sweep(tmp_path: Path) -> None:
    from rtl_tests.top_k import sweep

    run_bench("rtl_tests.top_k.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize(("channels", "k"), [(1, 1), (2, 1), (2, 2), (3, 2), (5, 5), (9, 1), (10, 4)])
def test_timing(channels: int, k: int) -> None:
    """The toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("top_k", "timing", channels, k))
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3), (0.0, 0.9)):
        check_timing(top_k_timing(channels, k), TopKContract(channels, k), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
