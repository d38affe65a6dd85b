# SPDX-License-Identifier: Apache-2.0
"""Bench of scale: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, draw, pack, seed_of, unpack
from rtl_tests.common.contract import QueueContract
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from toolchain.backends.rtl.streaming.element_timing import scale_timing

BENCH = "rtl_tests.scale.test_scale"

UNSIGNED, SIGNED = False, True
ANY, LUTS, DSP = 0, 1, 2
LATENCY = 6


def case(
    period: int, pe: int, x: tuple[int, bool], factor_width: int, output_width: int | None = None, style: int = ANY
) -> Case:
    """x: width and signedness of the input. output_width: None for the bits of every product."""
    input_width, signed = x
    width = output_width or input_width + (not signed) + factor_width
    name = f"t{period}_p{pe}_{'s' if signed else 'u'}{input_width}_f{factor_width}_o{width}_m{style}"
    random = Random(seed_of("scale", name))
    factors = [draw(random, factor_width, True, pe) for _ in range(period)]
    # The corner that no other product reaches.
    factors[-1][-1] = -(1 << (factor_width - 1))

    def expected(words: Sequence[int]) -> list[int]:
        return [
            pack([e * f for e, f in zip(unpack(word, input_width, pe, signed), row, strict=True)], width)
            for word, row in zip(words, factors, strict=True)
        ]

    def frame(r: Random) -> list[int]:
        return [pack(draw(r, input_width, signed, pe), input_width) for _ in range(period)]

    return Case(
        name=name,
        module="scale",
        parameters={
            "PERIOD": period,
            "PE": pe,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(signed),
            "FACTOR_WIDTH": factor_width,
            "OUTPUT_WIDTH": width,
            "MULTIPLIER_STYLE": style,
        },
        input_bits=pe * input_width,
        output_bits=pe * width,
        frame=frame,
        expected=expected,
        contract=lambda: QueueContract(LATENCY, LATENCY + 1),
        first_output=LATENCY,
        interval=period,
        files={"FACTOR_FILE": (pe * factor_width, [pack(row, factor_width) for row in factors])},
    )


CASES = [
    case(4, 2, (8, SIGNED), 8),
    case(9, 3, (4, UNSIGNED), 4, style=LUTS),
    case(5, 1, (8, UNSIGNED), 6, 10, style=DSP),
    case(1, 4, (3, SIGNED), 5, 20),
    case(2, 1, (1, UNSIGNED), 1),
    case(3, 2, (1, SIGNED), 1, 1, style=LUTS),
    case(70, 1, (6, SIGNED), 7, style=LUTS),
    case(3, 1, (64, UNSIGNED), 64),
    case(2, 2, (64, SIGNED), 64, 70, style=LUTS),
    case(6, 1, (7, UNSIGNED), 2, 40, style=DSP),
]


def test_scale(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_scale_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_scale_sweep(tmp_path: Path) -> None:
    from rtl_tests.scale import sweep

    run_bench("rtl_tests.scale.sweep", sweep.CASES, tmp_path)


def test_timing() -> None:
    """The toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("scale", "timing"))
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3)):
        check_timing(scale_timing(), QueueContract(LATENCY, LATENCY + 1), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
