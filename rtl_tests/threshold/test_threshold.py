# SPDX-License-Identifier: Apache-2.0
"""Bench of threshold: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, ceil_log2, divisor, draw, pack, seed_of, unpack
from rtl_tests.common.contract import QueueContract
from rtl_tests.common.simulate import main, run_bench

BENCH = "rtl_tests.threshold.test_threshold"


def case(
    name: str,
    channels: int,
    pe: int,
    x: tuple[int, bool],
    count: int,
    threshold_width: int,
    output_width: int,
    offset: int = 0,
) -> Case:
    """x: width and signedness of the input; a threshold may lie outside its range."""
    input_width, input_signed = x
    random = Random(seed_of("threshold", name))
    thresholds = [sorted(draw(random, threshold_width, True, count)) for _ in range(channels)]
    beats = channels // pe
    levels = ceil_log2(count + 1)
    latency = levels + (2 if beats <= 64 and beats << levels <= 4096 else 3)
    words = [pack([t for row in thresholds[b * pe : (b + 1) * pe] for t in row], threshold_width) for b in range(beats)]

    def element(r: Random, channel: int) -> int:
        """Half of the inputs lie on a threshold or beside it."""
        value = r.choice(thresholds[channel]) + r.choice((-1, 0, 0, 1))
        reachable = unpack(pack([value], input_width), input_width, 1, input_signed)[0] == value
        return value if reachable and r.random() < 0.5 else draw(r, input_width, input_signed, 1)[0]

    def frame(r: Random) -> list[int]:
        return [pack([element(r, b * pe + p) for p in range(pe)], input_width) for b in range(beats)]

    def expected(beats_in: Sequence[int]) -> list[int]:
        vector = [e for word in beats_in for e in unpack(word, input_width, pe, input_signed)]
        y = [offset + sum(t <= e for t in row) for row, e in zip(thresholds, vector, strict=True)]
        return [pack(y[b * pe : (b + 1) * pe], output_width) for b in range(beats)]

    return Case(
        name=name,
        module="threshold",
        parameters={
            "CHANNELS": channels,
            "PE": pe,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(input_signed),
            "THRESHOLD_COUNT": count,
            "THRESHOLD_WIDTH": threshold_width,
            "OUTPUT_WIDTH": output_width,
            "OUTPUT_OFFSET": offset,
        },
        input_bits=pe * input_width,
        output_bits=pe * output_width,
        frame=frame,
        expected=expected,
        contract=lambda: QueueContract(latency, latency + 1),
        first_output=latency,
        interval=beats,
        files={"THRESHOLD_FILE": (pe * count * threshold_width, words)},
    )


UNSIGNED, SIGNED = False, True


def random_case(number: int) -> Case:
    """Any folding, counts on both sides of powers of two; every other one from a memory, of many beats or of long lists."""
    random = Random(seed_of("threshold", "sweep", number))
    if number % 4 == 1:
        channels = random.randint(65, 150)
        pe, count = 1, random.randint(1, 20)
    elif number % 4 == 3:  # few beats, and more than 4,096 places of their lists in all
        levels = random.randint(7, 9)
        beats, pe = random.randint((4096 >> levels) + 1, min(64, 6000 >> levels)), random.randint(1, 2)
        channels, count = beats * pe, random.randint(1 << (levels - 1), (1 << levels) - 1)
    else:
        channels = random.randint(1, 64)
        pe, count = divisor(random, channels), random.choice((1, 2, 3, 4, 7, 8, random.randint(1, 40)))
    x = random.choice((random.randint(1, 9), random.randint(1, 20))), bool(random.getrandbits(1))
    threshold_width = random.choice((x[0] + (not x[1]), random.randint(2, 20)))
    output_width, offset = random.randint(1, 12), random.choice((0, random.randint(-300, 300)))
    return case(f"random_{number}", channels, pe, x, count, threshold_width, output_width, offset)


CASES = [
    case("binary", 6, 2, (8, SIGNED), 1, 8, 1),
    case("bipolar", 6, 3, (8, SIGNED), 1, 8, 2, offset=-1),
    case("two_bits", 8, 2, (10, SIGNED), 3, 10, 2),
    case("four_bits", 8, 4, (12, SIGNED), 15, 12, 4),
    case("any_count", 6, 2, (7, SIGNED), 6, 7, 4, offset=-3),
    case("two_thresholds", 5, 1, (7, SIGNED), 2, 8, 3),
    case("four_thresholds", 5, 5, (7, UNSIGNED), 4, 8, 3),
    case("wide_thresholds", 4, 4, (6, UNSIGNED), 7, 9, 3),
    case("narrow_thresholds", 4, 1, (11, SIGNED), 7, 6, 8, offset=100),
    case("one_channel", 1, 1, (9, SIGNED), 5, 9, 3),
    case("eight_bits", 2, 2, (12, SIGNED), 255, 12, 8, offset=-128),
    case("one_bit_input", 4, 2, (1, UNSIGNED), 2, 3, 2),
    case("truncated", 3, 1, (8, SIGNED), 9, 8, 2, offset=1),
    case("from_memory", 130, 2, (10, SIGNED), 6, 10, 3),
    case("from_memory_binary", 70, 1, (10, UNSIGNED), 1, 12, 1),
    # The two sides of CF * 2**N <= 4096.
    case("long_lists_in_tables", 32, 1, (9, SIGNED), 127, 9, 7),
    case("long_lists_from_memory", 33, 1, (9, SIGNED), 127, 9, 7),
    *(random_case(number) for number in range(4)),
]


def test_threshold(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_threshold_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_threshold_sweep(tmp_path: Path) -> None:
    from rtl_tests.threshold import sweep

    run_bench("rtl_tests.threshold.sweep", sweep.CASES, tmp_path)


if __name__ == "__main__":
    main(BENCH, CASES)
