# SPDX-License-Identifier: Apache-2.0
"""Bench of lookup: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, pack, seed_of, unpack
from rtl_tests.common.contract import QueueContract
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from toolchain.backends.rtl.streaming.element_timing import lookup_timing

BENCH = "rtl_tests.lookup.test_lookup"

UNSIGNED, SIGNED = False, True
ONE, OWN = False, True


def latency_of(words: int) -> int:
    return 4 if words <= 64 else 5


def case(
    channels: int, pe: int, own: bool, entries: int, x: tuple[int, bool], output_width: int, first: int | None = None
) -> Case:
    """own: every channel has a table of its own. x: width and signedness of the input. first: None: its least number."""
    input_width, signed = x
    beats = channels // pe
    start = first if first is not None else -(1 << (input_width - 1)) if signed else 0
    low, high = (-(1 << (input_width - 1)), 1 << (input_width - 1)) if signed else (0, 1 << input_width)
    elements = range(max(start, low), min(start + entries, high))
    name = (
        f"c{channels}_p{pe}_{'own' if own else 'one'}_e{entries}_{'s' if signed else 'u'}{input_width}"
        f"_{'m' if start < 0 else 'f'}{abs(start)}_o{output_width}"
    )
    random = Random(seed_of("lookup", name))
    tables = [[random.getrandbits(output_width) for _ in range(entries)] for _ in range(channels if own else 1)]
    if own:
        words = [
            pack([tables[beat * pe + lane][entry] for lane in range(pe)], output_width)
            for beat in range(beats)
            for entry in range(entries)
        ]
    else:
        words = tables[0]
    latency = latency_of(entries * (beats if own else 1))

    def frame(r: Random) -> list[int]:
        ends = (elements[0], elements[-1])
        return [
            pack([r.choice(ends if r.random() < 0.2 else elements) for _ in range(pe)], input_width)
            for _ in range(beats)
        ]

    def expected(beats_in: Sequence[int]) -> list[int]:
        vector = [e for word in beats_in for e in unpack(word, input_width, pe, signed)]
        y = [tables[c if own else 0][e - start] for c, e in enumerate(vector)]
        return [pack(y[beat * pe : (beat + 1) * pe], output_width) for beat in range(beats)]

    return Case(
        name=name,
        module="lookup",
        parameters={
            "CHANNELS": channels,
            "PE": pe,
            "ROWS": channels if own else 1,
            "ENTRIES": entries,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(signed),
            "FIRST": start,
            "OUTPUT_WIDTH": output_width,
        },
        input_bits=pe * input_width,
        output_bits=pe * output_width,
        frame=frame,
        expected=expected,
        contract=lambda: QueueContract(latency, latency + 1),
        first_output=latency,
        interval=beats,
        files={"TABLE_FILE": (output_width * (pe if own else 1), words)},
    )


CASES = [
    case(4, 2, ONE, 16, (4, UNSIGNED), 8),
    case(6, 2, ONE, 256, (8, SIGNED), 8),
    case(6, 2, OWN, 16, (4, SIGNED), 5),
    case(6, 1, OWN, 64, (6, UNSIGNED), 3),
    case(4, 4, OWN, 37, (8, SIGNED), 64, first=-20),
    case(5, 1, OWN, 13, (16, SIGNED), 7, first=-30000),
    case(3, 3, ONE, 100, (10, UNSIGNED), 9, first=900),
    case(1, 1, OWN, 2, (1, UNSIGNED), 1),
    case(2, 1, ONE, 2, (1, SIGNED), 4),
    case(3, 1, ONE, 1, (5, SIGNED), 6, first=7),
    case(2, 2, ONE, 40, (3, SIGNED), 6, first=-19),
]


def test_lookup(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_lookup_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_lookup_sweep(tmp_path: Path) -> None:
    from rtl_tests.lookup import sweep

    run_bench("rtl_tests.lookup.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize("words", [1, 64, 65, 1000])
def test_timing(words: int) -> None:
    """The toolchain predicts both handshake outputs in every cycle."""
    random = Random(seed_of("lookup", "timing", words))
    latency = latency_of(words)
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3)):
        check_timing(lookup_timing(words), QueueContract(latency, latency + 1), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
