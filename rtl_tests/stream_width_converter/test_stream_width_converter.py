# SPDX-License-Identifier: Apache-2.0
"""Bench of stream_width_converter: run by pytest, or by itself as a script."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, pack, unpack
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
    )
]


def test_stream_width_converter(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_stream_width_converter_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


if __name__ == "__main__":
    main(BENCH, CASES)
