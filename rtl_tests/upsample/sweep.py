# SPDX-License-Identifier: Apache-2.0
"""Sizes at random for upsample, half with the default buffer, half with a larger one."""

from __future__ import annotations

from random import Random

from rtl_tests.common.case import Case, seed_of
from rtl_tests.upsample.test_upsample import case, draw_sizes
from toolchain.backends.rtl.streaming.element_timing import upsample_beats


def draw_case(number: int) -> Case:
    random = Random(seed_of("upsample", "sweep", number))
    (height, columns, beats), factor = draw_sizes(random)
    pe = random.randint(1, 3)
    extra = random.randint(0, 1) * random.randint(1, 3 * columns * beats)
    return case(
        f"sweep_{number}",
        (height, columns, beats * pe, pe),
        factor,
        width=random.randint(6, 9),
        buffer_beats=upsample_beats(columns, beats, factor) + extra if extra else None,
    )


CASES = [draw_case(number) for number in range(40)]
