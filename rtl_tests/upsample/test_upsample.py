# SPDX-License-Identifier: Apache-2.0
"""Bench of upsample: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, seed_of
from rtl_tests.common.element_contract import UpsampleContract
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from toolchain.backends.rtl.streaming.element_timing import upsample_beats, upsample_least_beats, upsample_timing
from toolchain.backends.rtl.streaming.schedule import Schedule
from toolchain.backends.rtl.streaming.timing import line

BENCH = "rtl_tests.upsample.test_upsample"


def draw_sizes(random: Random) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """Rows, columns and beats a pixel of a frame; factors."""
    image = (random.randint(1, 4), random.randint(1, 6), random.randint(1, 3))
    return image, (random.randint(1, 3), random.randint(1, 3))


def case(
    name: str,
    image: tuple[int, int, int, int],
    factor: tuple[int, int],
    *,
    width: int = 8,
    buffer_beats: int | None = None,
    interval: int | None = None,
) -> Case:
    """image: height, width, channels, PE. factor: times that every row and every pixel is given. width: of an element.

    buffer_beats: None for the default, with which only the output beats count. interval: None where only they do.
    """
    height, columns, channels, pe = image
    beats = channels // pe
    bits = pe * width
    kept = buffer_beats or upsample_beats(columns, beats, factor)

    def expected(words: Sequence[int]) -> list[int]:
        rows = [[words[(y * columns + x) * beats :][:beats] for x in range(columns)] for y in range(height)]
        return [
            beat for row in rows for _ in range(factor[0]) for pixel in row for _ in range(factor[1]) for beat in pixel
        ]

    return Case(
        name=name,
        module="upsample",
        parameters={
            "HEIGHT": height,
            "WIDTH": columns,
            "CHANNELS": channels,
            "PE": pe,
            "ELEMENT_WIDTH": width,
            "FACTOR_HEIGHT": factor[0],
            "FACTOR_WIDTH": factor[1],
            **({"BUFFER_BEATS": buffer_beats} if buffer_beats else {}),
        },
        input_bits=bits,
        output_bits=bits,
        frame=lambda random: [random.getrandbits(bits) for _ in range(height * columns * beats)],
        expected=expected,
        contract=lambda: UpsampleContract((height, columns, beats), factor, kept),
        first_output=5,
        interval=interval or height * columns * beats * factor[0] * factor[1],
    )


CASES = [
    case("typical", (3, 4, 4, 2), (2, 2)),
    case("uneven", (2, 3, 3, 1), (3, 2)),
    case("one_row", (1, 6, 3, 1), (1, 3)),
    case("pixels_of_a_beat", (2, 5, 2, 2), (1, 2)),
    case("rows", (3, 5, 1, 1), (2, 1), width=10),
    case("rows_of_a_beat", (4, 1, 1, 1), (3, 1), width=10),
    case("a_beat_least_buffer", (4, 1, 1, 1), (2, 1), width=10, buffer_beats=1, interval=12),
    case("pixels_of_a_beat_least_buffer", (2, 3, 1, 1), (1, 2), width=10, buffer_beats=1, interval=18),
    case("one_row_larger_buffer", (1, 4, 3, 1), (1, 2), buffer_beats=5),
    case("larger_buffer", (3, 3, 2, 1), (2, 3), buffer_beats=11),
    case("whole_frame", (2, 3, 2, 1), (2, 2), buffer_beats=30),
    case("nothing", (2, 3, 2, 1), (1, 1)),
    case("one_pixel", (1, 1, 1, 1), (1, 1), width=70),
    case("one_bit", (2, 8, 2, 1), (2, 2), width=1),
]


def test_upsample(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_upsample_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_upsample_sweep(tmp_path: Path) -> None:
    from rtl_tests.upsample import sweep

    run_bench("rtl_tests.upsample.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("attempt", range(20))
def test_timing(attempt: int) -> None:
    """Any sizes, any buffer that works, any pauses: the toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("upsample", "timing", attempt))
    image, factor = draw_sizes(random)
    least, enough = (count(*image[1:], factor) for count in (upsample_least_beats, upsample_beats))
    for buffer_beats in (least, enough, least + random.randint(0, 40)):
        check_timing(
            upsample_timing(image[:2], image[2], factor, buffer_beats),
            UpsampleContract(image, factor, buffer_beats),
            random,
            idle=random.choice((0.0, 0.5)),
            stall=random.choice((0.0, 0.6)),
            cycles=600,
        )


@pytest.mark.parametrize("attempt", range(20))
def test_enough_and_one_less(attempt: int) -> None:
    """upsample_beats is the least with which no cycle is lost; where it is the least that works, there is no less."""
    random = Random(seed_of("upsample", "beats", attempt))
    # Every second time sizes of one beat, where the least that works is not enough.
    image, factor = draw_sizes(random) if attempt % 2 else ((random.randint(1, 4), 1, 1), (random.randint(1, 3), 1))
    inputs = image[0] * image[1] * image[2]
    beats = [inputs, inputs * factor[0] * factor[1]]

    def interval(buffer_beats: int) -> float:
        timing = upsample_timing(image[:2], image[2], factor, buffer_beats)
        state = Schedule(line((timing,), beats)).steady_state()
        return state.cycles / state.frames

    enough = upsample_beats(*image[1:], factor)
    assert interval(enough) == beats[1]
    if enough > upsample_least_beats(*image[1:], factor):
        assert interval(enough - 1) > beats[1]


if __name__ == "__main__":
    main(BENCH, CASES)
