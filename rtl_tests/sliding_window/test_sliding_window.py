# SPDX-License-Identifier: Apache-2.0
"""Bench of sliding_window: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, seed_of
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from rtl_tests.common.window_contract import Geometry, SlidingWindowContract
from toolchain.backends.rtl.streaming.schedule import Schedule
from toolchain.backends.rtl.streaming.timing import line
from toolchain.backends.rtl.streaming.window_timing import Windows, sliding_window_beats, sliding_window_timing

BENCH = "rtl_tests.sliding_window.test_sliding_window"


def draw_geometry(random: Random) -> Geometry:
    """Any kernel, stride and dilation on a frame that it fits on."""
    kernel, stride, dilation = ((random.randint(1, most), random.randint(1, most)) for most in (4, 5, 3))
    height, width = ((k - 1) * d + 1 + random.randint(0, 6) for k, d in zip(kernel, dilation, strict=True))
    return Geometry(height, width, random.randint(1, 3), kernel, stride, dilation)


def windows_of(g: Geometry) -> Windows:
    return Windows(g.height, g.width, g.beats, g.kernel, g.stride, g.dilation)


def case(
    name: str,
    image: tuple[int, int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    *,
    width: int = 4,
    extra: int = 0,
    interval: int | None = None,
) -> Case:
    """image: height, width, channels, SIMD. width: bits of an element. extra: beats of the buffer above the least.

    interval: None where the buffer is large enough that only the beats count.
    """
    height, columns, channels, simd = image
    beats = channels // simd
    geometry = Geometry(height, columns, beats, kernel, stride, dilation)
    buffer_beats = geometry.span + extra
    bits = simd * width

    def expected(words: Sequence[int]) -> list[int]:
        rows = [[words[(y * columns + x) * beats :][:beats] for x in range(columns)] for y in range(height)]
        reach_down, reach_right = (kernel[0] - 1) * dilation[0], (kernel[1] - 1) * dilation[1]
        return [
            beat
            for y in range(0, height - reach_down, stride[0])
            for x in range(0, columns - reach_right, stride[1])
            for row in rows[y : y + reach_down + 1 : dilation[0]]
            for pixel in row[x : x + reach_right + 1 : dilation[1]]
            for beat in pixel
        ]

    outputs = geometry.positions[0] * geometry.positions[1] * geometry.window_beats
    return Case(
        name=name,
        module="sliding_window",
        parameters={
            "HEIGHT": height,
            "WIDTH": columns,
            "CHANNELS": channels,
            "SIMD": simd,
            "ELEMENT_WIDTH": width,
            "KERNEL_HEIGHT": kernel[0],
            "KERNEL_WIDTH": kernel[1],
            "STRIDE_HEIGHT": stride[0],
            "STRIDE_WIDTH": stride[1],
            "DILATION_HEIGHT": dilation[0],
            "DILATION_WIDTH": dilation[1],
            **({"BUFFER_BEATS": buffer_beats} if extra else {}),
        },
        input_bits=bits,
        output_bits=bits,
        frame=lambda random: [random.getrandbits(bits) for _ in range(geometry.frame)],
        expected=expected,
        contract=lambda: SlidingWindowContract(geometry, buffer_beats),
        first_output=5,
        interval=interval or max(geometry.frame, outputs),
    )


#: Elements are wide enough that two beats of a frame hardly ever agree, so that a wrong order is seen.
#: `extra` without an interval: the least with which the stream never waits for the buffer.
CASES = [
    case("typical", (4, 5, 4, 2), (3, 3), width=8, extra=9),
    case("least_buffer", (4, 5, 4, 2), (3, 3), width=8, interval=117),
    case("one_row_dilated", (1, 16, 2, 1), (1, 4), (1, 2), (1, 2), width=9, extra=9),
    case("pooling", (4, 6, 1, 1), (2, 2), (2, 2), width=10, extra=5),
    case("pooling_least_buffer", (4, 6, 1, 1), (2, 2), (2, 2), width=10, interval=34),
    case("point", (3, 3, 2, 1), (1, 1), width=8, extra=1),
    case("point_least_buffer", (5, 5, 1, 1), (1, 1), width=8, interval=50),
    case("point_strided", (7, 8, 3, 3), (1, 1), (2, 2), extra=1),
    case("stride_above_kernel", (7, 8, 1, 1), (2, 2), (4, 3), width=8, extra=3),
    case("width_not_divisible", (5, 6, 1, 1), (3, 3), (2, 2), width=8, extra=8),
    case("dilated", (6, 7, 1, 1), (3, 2), (1, 2), (2, 3), width=8, extra=10),
    case("whole_frame", (3, 4, 1, 1), (3, 4), width=8, extra=1),
    case("large_buffer", (3, 4, 2, 2), (2, 2), extra=30),
    case("one_pixel", (1, 1, 3, 1), (1, 1), width=8, extra=1),
]


def test_sliding_window(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_sliding_window_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_sliding_window_sweep(tmp_path: Path) -> None:
    from rtl_tests.sliding_window import sweep

    run_bench("rtl_tests.sliding_window.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("attempt", range(40))
def test_timing(attempt: int) -> None:
    """Any sizes, any buffer that works, any pauses: the toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("sliding_window", "timing", attempt))
    geometry = draw_geometry(random)
    windows = windows_of(geometry)
    least, enough = geometry.span, sliding_window_beats(windows)
    for buffer_beats in (least, enough, least + random.randint(0, 3 * geometry.frame)):
        check_timing(
            sliding_window_timing(windows, buffer_beats),
            SlidingWindowContract(geometry, buffer_beats),
            random,
            idle=random.choice((0.0, 0.5)),
            stall=random.choice((0.0, 0.6)),
            cycles=600,
        )


@pytest.mark.parametrize("attempt", range(20))
def test_enough_and_one_less(attempt: int) -> None:
    """sliding_window_beats is the least with which no cycle is lost."""
    windows = windows_of(draw_geometry(Random(seed_of("sliding_window", "beats", attempt))))
    beats = [windows.frame_beats, windows.output_beats]

    def interval(buffer_beats: int) -> float:
        state = Schedule(line((sliding_window_timing(windows, buffer_beats),), beats)).steady_state()
        return state.cycles / state.frames

    enough = sliding_window_beats(windows)
    assert interval(enough) == max(beats)
    if enough > windows.least_buffer_beats:
        assert interval(enough - 1) > max(beats)


def test_enough_of_known_sizes() -> None:
    """The buffers of the bench's cases, which prove on the RTL that they are enough."""
    sizes = {  # height, width, beats a pixel; kernel, stride, dilation: least, enough
        ((4, 5, 2), (3, 3), (1, 1), (1, 1)): (26, 35),
        ((1, 16, 2), (1, 4), (1, 2), (1, 2)): (14, 23),
        ((4, 6, 1), (2, 2), (2, 2), (1, 1)): (8, 13),
        ((3, 3, 2), (1, 1), (1, 1), (1, 1)): (2, 3),
        ((7, 8, 1), (2, 2), (4, 3), (1, 1)): (10, 13),
        ((5, 6, 1), (3, 3), (2, 2), (1, 1)): (15, 23),
        ((6, 7, 1), (3, 2), (1, 2), (2, 3)): (32, 42),
    }
    for (image, *rest), expected in sizes.items():
        windows = Windows(*image, *rest)
        assert (windows.least_buffer_beats, sliding_window_beats(windows)) == expected


if __name__ == "__main__":
    main(BENCH, CASES)
