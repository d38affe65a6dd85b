# SPDX-License-Identifier: Apache-2.0
"""Bench of pad: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, pack, seed_of
from rtl_tests.common.contract import Contract
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from rtl_tests.common.window_contract import PadContract
from toolchain.backends.rtl.streaming.window_timing import pad_timing

BENCH = "rtl_tests.pad.test_pad"


def case(
    name: str,
    image: tuple[int, int, int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
    *,
    width: int = 8,
    value: int = 0,
    hold: bool = False,
) -> Case:
    """image: height, width, channels, SIMD. rows, columns: of border before and after. width: bits of an element."""
    height, across, channels, simd = image
    beats = channels // simd
    bits = simd * width
    border = pack([value] * simd, width)
    out_across = columns[0] + across + columns[1]
    # The border up to the first pixel comes by itself, before and behind every frame.
    before_frame = (rows[0] * out_across + columns[0]) * beats
    ahead = [] if hold else [border] * before_frame

    def expected(words: Sequence[int]) -> list[int]:
        image_rows = [list(words[y * across * beats :][: across * beats]) for y in range(height)]
        before, after = [border] * (columns[0] * beats), [border] * (columns[1] * beats)
        empty = [border] * (out_across * beats)
        frame = rows[0] * empty + [beat for row in image_rows for beat in before + row + after] + rows[1] * empty
        return frame[len(ahead) :] + ahead

    def contract() -> Contract:
        row_beats = (columns[0] * beats, across * beats, columns[1] * beats)
        started = PadContract((rows[0], height, rows[1]), row_beats, hold)
        # The bench looks from the second cycle behind a reset on, and the border does not wait for it.
        started.tick(accepted=False, taken=False)
        return started

    return Case(
        name=name,
        module="pad",
        parameters={
            "HEIGHT": height,
            "WIDTH": across,
            "CHANNELS": channels,
            "SIMD": simd,
            "ELEMENT_WIDTH": width,
            "TOP": rows[0],
            "BOTTOM": rows[1],
            "LEFT": columns[0],
            "RIGHT": columns[1],
            "VALUE": value,
            "HOLD": int(hold),
        },
        input_bits=bits,
        output_bits=bits,
        frame=lambda random: [random.getrandbits(bits) for _ in range(height * across * beats)],
        expected=expected,
        contract=contract,
        first_output=1 + hold,
        interval=(rows[0] + height + rows[1]) * out_across * beats,
        ahead=ahead,
    )


CASES = [
    case("typical", (3, 4, 4, 2), (1, 1), (1, 1)),
    case("uneven", (2, 3, 2, 1), (2, 1), (0, 3), value=-1),
    case("one_row", (1, 6, 3, 3), (0, 0), (2, 1), width=6, value=-17),
    case("above", (2, 3, 1, 1), (2, 0), (0, 0), value=200),
    case("below", (2, 2, 3, 1), (0, 1), (0, 0), width=12, value=1000),
    case("left", (3, 1, 2, 2), (0, 0), (2, 0), width=1, value=1),
    case("right", (1, 2, 1, 1), (0, 0), (0, 1)),
    case("nothing", (2, 3, 2, 1), (0, 0), (0, 0)),
    case("one_pixel", (1, 1, 1, 1), (1, 2), (3, 1), width=70, value=-(1 << 62)),
    case("no_border", (1, 1, 1, 1), (0, 0), (0, 0)),
    case("held", (3, 4, 4, 2), (1, 1), (2, 1), value=5, hold=True),
    case("held_above", (2, 2, 1, 1), (1, 0), (0, 0), hold=True),
    case("held_behind", (2, 3, 1, 1), (0, 1), (0, 2), hold=True),
    case("held_pixel", (1, 1, 1, 1), (0, 0), (0, 0), hold=True),
]


def test_pad(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_pad_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_pad_sweep(tmp_path: Path) -> None:
    from rtl_tests.pad import sweep

    run_bench("rtl_tests.pad.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("attempt", range(20))
def test_timing(attempt: int) -> None:
    """Any border, any pauses: the toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("pad", "timing", attempt))
    rows, beats = ((random.randint(0, 3), random.randint(1, 4), random.randint(0, 3)) for _ in range(2))
    for hold in (False, True):
        for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3)):
            timing = pad_timing(rows, beats, hold=hold)
            check_timing(timing, PadContract(rows, beats, hold), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
