# SPDX-License-Identifier: Apache-2.0
"""Bench of relu: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, draw, pack, seed_of, unpack
from rtl_tests.common.contract import QueueContract
from rtl_tests.common.simulate import main, run_bench

BENCH = "rtl_tests.relu.test_relu"


def case(
    pe: int,
    x: tuple[int, bool],
    output_width: int,
    slope_shift: int = -1,
    upper_bound: int | None = None,
) -> Case:
    """x: width and signedness of the input."""
    input_width, input_signed = x

    def lane(value: int) -> int:
        negative = 0 if slope_shift < 0 else value
        y = negative if value < 0 else value << max(slope_shift, 0)
        return y if upper_bound is None else min(y, upper_bound)

    sign = "s" if input_signed else "u"
    slope = "plain" if slope_shift < 0 else f"leaky{slope_shift}"
    bound = "" if upper_bound is None else f"_to_{upper_bound}"
    return Case(
        name=f"p{pe}_{sign}{input_width}_{slope}{bound}_w{output_width}",
        module="relu",
        parameters={
            "PE": pe,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(input_signed),
            "NEGATIVE_SLOPE_SHIFT": slope_shift,
            "HAS_UPPER": int(upper_bound is not None),
            "UPPER_BOUND": upper_bound or 0,
            "OUTPUT_WIDTH": output_width,
        },
        input_bits=pe * input_width,
        output_bits=pe * output_width,
        frame=lambda random: [pack(draw(random, input_width, input_signed, pe), input_width)],
        expected=lambda beats: [
            pack([lane(v) for v in unpack(beat, input_width, pe, input_signed)], output_width) for beat in beats
        ],
        contract=lambda: QueueContract(latency=1, capacity=2),
        first_output=1,
        interval=1,
    )


UNSIGNED, SIGNED = False, True


def random_case(number: int) -> Case:
    """Outputs that hold every result, and ones that drop bits; bounds below, within and above what comes."""
    random = Random(seed_of("relu", "sweep", number))
    x = random.choice((random.randint(1, 9), random.randint(1, 50))), bool(random.getrandbits(1))
    slope_shift = random.choice((-1, -1, random.randint(0, 7)))
    whole = x[0] + max(slope_shift, 0) + 1
    upper_bound = random.choice((None, random.getrandbits(random.randint(1, min(62, whole + 2)))))
    made = case(random.randint(1, 4), x, random.choice((whole, random.randint(1, whole + 6))), slope_shift, upper_bound)
    return replace(made, name=f"random_{number}_{made.name}")


CASES = [
    case(3, (6, SIGNED), 5),
    case(1, (6, SIGNED), 9),
    case(2, (6, UNSIGNED), 6),
    case(2, (6, SIGNED), 4, upper_bound=15),
    case(2, (6, SIGNED), 5, upper_bound=22),
    case(2, (6, SIGNED), 5, upper_bound=1000),
    case(2, (6, UNSIGNED), 3, upper_bound=6),
    case(2, (6, SIGNED), 1, upper_bound=0),
    case(3, (5, SIGNED), 8, slope_shift=3),
    case(1, (5, SIGNED), 5, slope_shift=0),
    case(2, (5, SIGNED), 8, slope_shift=3, upper_bound=48),
    case(2, (5, UNSIGNED), 7, slope_shift=2),
    case(1, (1, SIGNED), 3, slope_shift=1),
    case(1, (70, SIGNED), 63, upper_bound=(1 << 62) + 5),
    *(random_case(number) for number in range(3)),
]


def test_relu(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_relu_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_relu_sweep(tmp_path: Path) -> None:
    from rtl_tests.relu import sweep

    run_bench("rtl_tests.relu.sweep", sweep.CASES, tmp_path)


if __name__ == "__main__":
    main(BENCH, CASES)
