# SPDX-License-Identifier: Apache-2.0
"""Bench of argmax: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, ceil_log2, divisor, draw, pack, seed_of, unpack
from rtl_tests.common.contract import FoldedContract
from rtl_tests.common.simulate import main, run_bench

BENCH = "rtl_tests.argmax.test_argmax"


def case(channels: int, pe: int, x: tuple[int, bool], index_width: int | None = None) -> Case:
    """x: width and signedness of the input."""
    input_width, input_signed = x
    beats, tree = channels // pe, ceil_log2(pe)
    slots = 1 if tree + 1 < beats else 2 if tree + 1 < 2 * beats else (tree + 2) // beats + 1
    latency = tree + (1 if slots <= 2 else 2)
    width = index_width or max(1, ceil_log2(channels))

    def expected(words: Sequence[int]) -> list[int]:
        vector = [e for word in words for e in unpack(word, input_width, pe, input_signed)]
        return [vector.index(max(vector))]

    return Case(
        name=f"c{channels}_p{pe}_{'s' if input_signed else 'u'}{input_width}_i{width}",
        module="argmax",
        parameters={
            "CHANNELS": channels,
            "PE": pe,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(input_signed),
            "INDEX_WIDTH": width,
        },
        input_bits=pe * input_width,
        output_bits=width,
        frame=lambda random: [pack(draw(random, input_width, input_signed, pe), input_width) for _ in range(beats)],
        expected=expected,
        contract=lambda: FoldedContract(beats, 1, latency, slots),
        first_output=beats - 1 + latency,
        interval=beats,
    )


UNSIGNED, SIGNED = False, True


def random_case(number: int) -> Case:
    random = Random(seed_of("argmax", "sweep", number))
    channels = random.choice((random.randint(1, 16), random.randint(1, 120)))
    x = random.choice((random.randint(1, 4), random.randint(1, 40))), bool(random.getrandbits(1))
    index_width = random.choice((None, None, ceil_log2(channels) + random.randint(1, 9)))
    made = case(channels, divisor(random, channels), x, index_width)
    return replace(made, name=f"random_{number}_{made.name}")


#: Narrow inputs make ties frequent.
CASES = [
    case(10, 1, (3, SIGNED)),
    case(10, 2, (3, UNSIGNED)),
    case(10, 10, (3, SIGNED)),
    case(5, 5, (16, SIGNED), index_width=8),
    case(12, 4, (2, SIGNED)),
    case(9, 3, (12, UNSIGNED)),
    case(21, 7, (4, SIGNED)),
    case(2, 1, (1, SIGNED)),
    case(2, 2, (1, UNSIGNED)),
    case(1, 1, (4, SIGNED)),
    case(64, 8, (3, SIGNED), index_width=16),
    *(random_case(number) for number in range(3)),
]


def test_argmax(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_argmax_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_argmax_sweep(tmp_path: Path) -> None:
    from rtl_tests.argmax import sweep

    run_bench("rtl_tests.argmax.sweep", sweep.CASES, tmp_path)


if __name__ == "__main__":
    main(BENCH, CASES)
