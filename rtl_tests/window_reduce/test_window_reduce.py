# SPDX-License-Identifier: Apache-2.0
"""Bench of window_reduce: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, draw, pack, seed_of, unpack
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from rtl_tests.common.window_contract import ReduceContract
from toolchain.backends.rtl.streaming.window_timing import window_reduce_timing

BENCH = "rtl_tests.window_reduce.test_window_reduce"

MAXIMUM, SUM = 0, 1
UNSIGNED, SIGNED = False, True


def result_width(taps: int, operation: int, x: tuple[int, bool]) -> int:
    """The fewest bits that hold every result."""
    width, signed = x
    if operation == MAXIMUM:
        return width
    return (taps * (1 << (width - 1)) - 1).bit_length() + 1 if signed else (taps * ((1 << width) - 1)).bit_length()


def queue(taps: int, beats: int) -> tuple[int, int]:
    """Slots and latency."""
    result = 2 if beats <= 4 else 3
    if beats > 1 or taps == 1:
        return result + 3, result + 2
    return (1 if taps > result + 1 else 2), result + 1


def contract_of(taps: int, beats: int) -> ReduceContract:
    slots, latency = queue(taps, beats)
    return ReduceContract(taps, beats, slots, latency)


def case(taps: int, channels: int, pe: int, operation: int, x: tuple[int, bool], spare: int = 0) -> Case:
    """x: width and signedness of the elements. spare: bits of an output element above those needed; below 0 a sum loses bits."""
    input_width, signed = x
    beats = channels // pe
    width = result_width(taps, operation, x) + spare
    combine = max if operation == MAXIMUM else sum

    def expected(words: Sequence[int]) -> list[int]:
        vectors = [unpack(word, input_width, pe, signed) for word in words]
        results = [
            [combine(vectors[tap * beats + beat][lane] for tap in range(taps)) for lane in range(pe)]
            for beat in range(beats)
        ]
        low, high = (-(1 << (width - 1)), 1 << (width - 1)) if signed else (0, 1 << width)
        assert spare < 0 or all(low <= element < high for result in results for element in result)
        return [pack(result, width) for result in results]

    def frame(random: Random) -> list[int]:
        if random.random() < 0.25:
            # Every element at one end of the range: the sums that need the most bits.
            return [
                random.choice((0, (1 << pe * input_width) - 1, pack([1 << (input_width - 1)] * pe, input_width)))
            ] * (taps * beats)
        return [pack(draw(random, input_width, signed, pe), input_width) for _ in range(taps * beats)]

    return Case(
        name=f"t{taps}_c{channels}_p{pe}_{'sum' if operation else 'max'}_{'s' if signed else 'u'}{input_width}_o{width}",
        module="window_reduce",
        parameters={
            "TAPS": taps,
            "CHANNELS": channels,
            "PE": pe,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(signed),
            "OPERATION": operation,
            "OUTPUT_WIDTH": width,
        },
        input_bits=pe * input_width,
        output_bits=pe * width,
        frame=frame,
        expected=expected,
        contract=lambda: contract_of(taps, beats),
        first_output=(taps - 1) * beats + queue(taps, beats)[1],
        interval=taps * beats,
    )


CASES = [
    case(4, 8, 2, MAXIMUM, (8, SIGNED)),
    case(9, 10, 2, SUM, (6, SIGNED)),
    case(3, 10, 2, MAXIMUM, (4, UNSIGNED)),
    case(5, 6, 1, SUM, (3, UNSIGNED)),
    case(4, 3, 3, MAXIMUM, (5, SIGNED), spare=2),
    case(2, 4, 4, SUM, (4, SIGNED), spare=3),
    case(1, 2, 2, SUM, (7, UNSIGNED), spare=1),
    case(1, 6, 1, MAXIMUM, (3, SIGNED)),
    case(25, 1, 1, SUM, (1, UNSIGNED)),
    case(3, 4, 2, SUM, (1, SIGNED)),
    case(6, 3, 1, MAXIMUM, (1, UNSIGNED)),
    case(3, 2, 2, SUM, (64, SIGNED)),
    case(4, 10, 2, SUM, (5, SIGNED), spare=-4),
    case(5, 3, 3, SUM, (3, UNSIGNED), spare=-2),
]


def test_window_reduce(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_window_reduce_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_window_reduce_sweep(tmp_path: Path) -> None:
    from rtl_tests.window_reduce import sweep

    run_bench("rtl_tests.window_reduce.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("taps", [1, 2, 3, 9])
@pytest.mark.parametrize("beats", [1, 2, 4, 5, 13])
def test_timing(taps: int, beats: int) -> None:
    """The toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("window_reduce", "timing", taps, beats))
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3)):
        check_timing(window_reduce_timing(taps, beats), contract_of(taps, beats), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
