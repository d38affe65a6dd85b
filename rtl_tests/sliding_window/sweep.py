# SPDX-License-Identifier: Apache-2.0
"""Sizes at random for sliding_window, half with the least buffer that never waits, half with more than that."""

from __future__ import annotations

from random import Random

from rtl_tests.common.case import Case, seed_of
from rtl_tests.sliding_window.test_sliding_window import case, draw_geometry, windows_of
from toolchain.backends.rtl.streaming.window_timing import sliding_window_beats


def draw_case(number: int) -> Case:
    random = Random(seed_of("sliding_window", "sweep", number))
    geometry = draw_geometry(random)
    simd = random.randint(1, 3)
    extra = sliding_window_beats(windows_of(geometry)) - geometry.span
    return case(
        f"sweep_{number}",
        (geometry.height, geometry.width, geometry.beats * simd, simd),
        geometry.kernel,
        geometry.stride,
        geometry.dilation,
        width=random.randint(4, 9),
        extra=extra + random.choice((0, random.randint(0, 2 * geometry.frame))),
    )


CASES = [draw_case(number) for number in range(40)]
