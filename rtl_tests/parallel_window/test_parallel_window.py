# SPDX-License-Identifier: Apache-2.0
"""Bench of parallel_window: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, pack, seed_of
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from rtl_tests.common.window_contract import Geometry, ParallelWindowContract
from toolchain.backends.rtl.streaming.window_timing import Windows, parallel_window_timing

BENCH = "rtl_tests.parallel_window.test_parallel_window"


def draw_geometry(random: Random) -> Geometry:
    """Any kernel, stride and dilation on a frame that it fits on."""
    kernel, stride, dilation = ((random.randint(1, most), random.randint(1, most)) for most in (4, 5, 3))
    height, width = ((k - 1) * d + 1 + random.randint(0, 6) for k, d in zip(kernel, dilation, strict=True))
    return Geometry(height, width, 1, kernel, stride, dilation)


def windows_of(g: Geometry) -> Windows:
    return Windows(g.height, g.width, g.beats, g.kernel, g.stride, g.dilation)


def case(
    name: str,
    image: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    *,
    width: int = 8,
    slots: int = 6,
    interval: int | None = None,
) -> Case:
    """image: height, width, channels. width: bits of an element. interval: None where only the pixels count."""
    height, columns, channels = image
    geometry = Geometry(height, columns, 1, kernel, stride, dilation)
    bits = channels * width

    def expected(words: Sequence[int]) -> list[int]:
        rows = [words[y * columns :][:columns] for y in range(height)]
        reach_down, reach_right = (kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1]
        return [
            pack(
                [
                    pixel
                    for row in rows[y : y + reach_down + 1 : dilation[0]]
                    for pixel in row[x : x + reach_right + 1 : dilation[1]]
                ],
                bits,
            )
            for y in range(0, height - reach_down, stride[0])
            for x in range(0, columns - reach_right, stride[1])
        ]

    return Case(
        name=name,
        module="parallel_window",
        parameters={
            "HEIGHT": height,
            "WIDTH": columns,
            "CHANNELS": channels,
            "ELEMENT_WIDTH": width,
            "KERNEL_HEIGHT": kernel[0],
            "KERNEL_WIDTH": kernel[1],
            "STRIDE_HEIGHT": stride[0],
            "STRIDE_WIDTH": stride[1],
            "DILATION_HEIGHT": dilation[0],
            "DILATION_WIDTH": dilation[1],
            "SLOTS": slots,
        },
        input_bits=bits,
        output_bits=bits * kernel[0] * kernel[1],
        frame=lambda random: [random.getrandbits(bits) for _ in range(geometry.frame)],
        expected=expected,
        contract=lambda: ParallelWindowContract(geometry, slots),
        first_output=geometry.span - 1 + (4 if slots <= 2 else 5),
        interval=interval or geometry.frame,
    )


CASES = [
    case("typical", (4, 5, 2), (3, 3)),
    case("few_slots", (4, 8, 1), (3, 3), slots=2, interval=45),
    case("one_slot", (4, 6, 1), (2, 2), (2, 3), slots=1, interval=28),
    case("pooling", (4, 6, 1), (2, 2), (2, 2)),
    case("one_row_dilated", (1, 16, 2), (1, 4), (1, 2), (1, 2)),
    case("one_column", (9, 1, 2), (3, 1), (2, 1), (2, 1)),
    case("three_pixels_wide", (6, 3, 1), (3, 2)),
    case("two_pixels_wide_dilated", (8, 2, 1), (3, 2), (1, 1), (2, 1)),
    case("point", (3, 3, 2), (1, 1)),
    case("point_strided", (7, 8, 1), (1, 1), (2, 2)),
    case("stride_above_kernel", (7, 8, 1), (2, 2), (4, 3)),
    case("width_not_divisible", (5, 6, 1), (3, 3), (2, 2)),
    case("dilated", (6, 7, 1), (3, 2), (1, 2), (2, 3)),
    case("whole_frame", (3, 4, 1), (3, 4)),
    case("one_pixel", (1, 1, 3), (1, 1)),
]


def draw_case(number: int) -> Case:
    random = Random(seed_of("parallel_window", "sweep", number))
    g = draw_geometry(random)
    return case(f"sweep_{number}", (g.height, g.width, random.randint(1, 3)), g.kernel, g.stride, g.dilation)


def test_parallel_window(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_parallel_window_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_parallel_window_sweep(tmp_path: Path) -> None:
    run_bench("rtl_tests.parallel_window.sweep", [draw_case(number) for number in range(30)], tmp_path)


@pytest.mark.parametrize(("idle", "stall"), [(0, 0), (0.4, 0), (0, 0.6), (0.3, 0.3)])
@pytest.mark.parametrize("number", range(12))
def test_timing(number: int, idle: float, stall: float) -> None:
    """The schedule's rules and the contract, which is written from the header, agree on random streams."""
    random = Random(seed_of("parallel_window", "timing", number, idle, stall))
    geometry, slots = draw_geometry(random), random.choice((1, 2, 6))
    timing = parallel_window_timing(windows_of(geometry), slots)
    check_timing(timing, ParallelWindowContract(geometry, slots), random, idle, stall, 3 * geometry.frame)


if __name__ == "__main__":
    main(BENCH, CASES)
