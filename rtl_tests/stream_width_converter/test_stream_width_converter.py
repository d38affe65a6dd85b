# SPDX-License-Identifier: Apache-2.0
"""Bench of stream_width_converter: run by pytest, or by itself as a script."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, pack, seed_of, unpack
from rtl_tests.common.contract import ChainContract, Contract, NarrowContract, QueueContract, WidenContract
from rtl_tests.common.simulate import main, run_bench

BENCH = "rtl_tests.stream_width_converter.test_stream_width_converter"


def contract_of(widen: int, narrow: int) -> Contract:
    if widen == narrow == 1:
        return QueueContract(latency=1, capacity=2)
    if narrow == 1:
        return WidenContract(widen)
    if widen == 1:
        return NarrowContract(narrow)
    return ChainContract(WidenContract(widen), NarrowContract(narrow))


def case(width: int, inputs: int, outputs: int) -> Case:
    middle = math.lcm(inputs, outputs)
    widen, narrow = middle // inputs, middle // outputs

    def expected(beats: Sequence[int]) -> list[int]:
        elements = [e for beat in beats for e in unpack(beat, width, inputs, signed=False)]
        return [pack(elements[i : i + outputs], width) for i in range(0, len(elements), outputs)]

    return Case(
        name=f"w{width}_{inputs}_to_{outputs}",
        module="stream_width_converter",
        parameters={"ELEMENT_WIDTH": width, "INPUT_ELEMENTS": inputs, "OUTPUT_ELEMENTS": outputs},
        input_bits=width * inputs,
        output_bits=width * outputs,
        frame=lambda random: [random.getrandbits(width * inputs) for _ in range(widen)],
        expected=expected,
        contract=lambda: contract_of(widen, narrow),
        first_output=widen - 1 + (1 if narrow == 1 else 2 if widen == 1 else 3),
        interval=max(widen, narrow),
    )


def random_case(number: int) -> Case:
    """Numbers that divide one another, that have a divisor in common, and any."""
    random = Random(seed_of("stream_width_converter", "sweep", number))
    inputs, outputs = random.randint(1, 16), random.randint(1, 16)
    common = random.choice((1, 1, 2, 3))
    if random.random() < 0.4:
        outputs = inputs * random.randint(1, 6)
        inputs, outputs = random.choice(((inputs, outputs), (outputs, inputs)))
    return replace(case(random.randint(1, 20), common * inputs, common * outputs), name=f"random_{number}")


CASES = [
    case(width, inputs, outputs)
    for width, inputs, outputs in (
        (4, 3, 3),
        (1, 1, 2),
        (5, 2, 8),
        (3, 1, 7),
        (1, 2, 1),
        (6, 16, 4),
        (3, 5, 1),
        (4, 6, 4),
        (2, 4, 6),
        (3, 5, 3),
        (7, 3, 10),
        (10, 60, 4),
        (9, 2, 45),
    )
] + [random_case(number) for number in range(3)]


def test_stream_width_converter(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_stream_width_converter_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_stream_width_converter_sweep(tmp_path: Path) -> None:
    from rtl_tests.stream_width_converter import sweep

    run_bench("rtl_tests.stream_width_converter.sweep", sweep.CASES, tmp_path)


if __name__ == "__main__":
    main(BENCH, CASES)
