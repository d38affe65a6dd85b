# SPDX-License-Identifier: Apache-2.0
"""Bench of matrix_vector_unit: run by pytest, or by itself as a script."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, ceil_log2, divisor, draw, pack, seed_of, unpack
from rtl_tests.common.contract import FoldedContract
from rtl_tests.common.simulate import main, run_bench

BENCH = "rtl_tests.matrix_vector_unit.test_matrix_vector_unit"


def case(
    name: str,
    inputs: int,
    outputs: int,
    simd: int,
    pe: int,
    x: tuple[int, bool],
    weight_width: int,
    *,
    bias_width: int = 0,
    shift: int = 0,
    spare: int = 0,
    only_weights: tuple[int, ...] = (),
    **parameters: int,
) -> Case:
    """x: width and signedness of the input. bias_width 0: no bias. spare: bits above the accumulator width needed.

    only_weights: what the weights are drawn from instead of all numbers of their width. With WEIGHT_KIND 1 they are signs, with 3
    numbers from -3 to 3.
    """
    input_width, input_signed = x
    random = Random(seed_of("matrix_vector_unit", name))
    weights = [draw(random, weight_width, True, inputs) for _ in range(outputs)]
    if only_weights:
        weights = [random.choices(only_weights, k=inputs) for _ in range(outputs)]
    bias = draw(random, bias_width, True, outputs) if bias_width else [0] * outputs
    # The narrowest accumulator that holds every output: from the ends of the input's range, weight by weight.
    low, high = (
        (-(1 << (input_width - 1)), (1 << (input_width - 1)) - 1) if input_signed else (0, (1 << input_width) - 1)
    )
    ends = [
        (sum(min(w * low, w * high) for w in row) << shift, sum(max(w * low, w * high) for w in row) << shift)
        for row in weights
    ]
    width = 1 + max(
        max((e + b) if e + b >= 0 else ~(e + b) for e in pair).bit_length() for pair, b in zip(ends, bias, strict=True)
    )
    width = max(width, shift + 1) + spare

    beats, groups = inputs // simd, outputs // pe
    tree = math.ceil(ceil_log2(simd) / parameters.get("ADDER_LEVELS", 1))
    result = 5 + tree + (1 if beats > 1 and bias_width else 0)
    slots = 1 if result + 1 < beats else 2 if result + 1 < 2 * beats else (result + 3) // beats + 1
    latency = result + (1 if slots <= 2 else 3)

    kind = parameters.get("WEIGHT_KIND", 0)

    def stored(row: Sequence[int], column: int) -> int:
        weight = row[column]
        if kind == 1:  # a sign, as 0 for +1 and 1 for -1
            return int(weight < 0)
        if kind != 3:
            return weight
        lane, other = column % simd, 0
        if lane:  # without the lowest one of its number
            other = row[column - (lane & -lane)]
        return abs(weight) | ((weight < 0) ^ (other < 0)) << 2

    weight_words = [
        pack([stored(weights[g * pe + p], b * simd + s) for p in range(pe) for s in range(simd)], weight_width)
        for g in range(groups)
        for b in range(beats)
    ]
    files = {"WEIGHT_FILE": (pe * simd * weight_width, weight_words)}
    if bias_width:
        bias_words = [pack(bias[g * pe : (g + 1) * pe], bias_width) for g in range(groups)]
        files["BIAS_FILE"] = (pe * bias_width, bias_words)

    def expected(words: Sequence[int]) -> list[int]:
        vector = [e for word in words for e in unpack(word, input_width, simd, input_signed)]
        y = [
            (sum(w * e for w, e in zip(row, vector, strict=True)) << shift) + b
            for row, b in zip(weights, bias, strict=True)
        ]
        assert all(-(1 << (width - 1)) <= v < 1 << (width - 1) for v in y)
        return [pack(y[g * pe : (g + 1) * pe], width) for g in range(groups)]

    return Case(
        name=name,
        module="matrix_vector_unit",
        parameters={
            "INPUT_SIZE": inputs,
            "OUTPUT_SIZE": outputs,
            "SIMD": simd,
            "PE": pe,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(input_signed),
            "WEIGHT_WIDTH": weight_width,
            "ACCUMULATOR_WIDTH": width,
            "PRODUCT_SHIFT": shift,
            "HAS_BIAS": int(bias_width > 0),
            "BIAS_WIDTH": max(1, bias_width),
            **parameters,
        },
        input_bits=simd * input_width,
        output_bits=pe * width,
        frame=lambda r: [pack(draw(r, input_width, input_signed, simd), input_width) for _ in range(beats)],
        expected=expected,
        contract=lambda: FoldedContract(beats, groups, latency, slots),
        first_output=beats - 1 + latency,
        interval=beats * groups,
        files=files,
    )


UNSIGNED, SIGNED = False, True
SIGNS = (-1, 1)
MAGNITUDES = (-3, -2, -1, 0, 1, 2, 3)


def random_case(number: int) -> Case:
    """Any folding of up to 40 columns and 24 rows, with any kind of weights and any way to multiply."""
    random = Random(seed_of("matrix_vector_unit", "sweep", number))
    inputs, outputs = random.randint(1, 40), random.randint(1, 24)
    x = random.choice((1, random.randint(1, 9), random.randint(1, 16))), bool(random.getrandbits(1))
    kind = random.choice((0, 0, 0, 1, 2, 3))
    weight_width = (random.choice((random.randint(1, 5), random.randint(1, 12))), 1, 2, 3)[kind]
    if kind == 0 and weight_width > 1 and random.random() < 0.2:
        only: tuple[int, ...] = (-(1 << (weight_width - 1)), (1 << (weight_width - 1)) - 1)
    else:
        only = ((), SIGNS, (-1, 0, 1), MAGNITUDES)[kind]
    style = random.choice((0, 0, 1, 2))
    return case(
        f"random_{number}",
        inputs,
        outputs,
        divisor(random, inputs),
        divisor(random, outputs),
        x,
        weight_width,
        bias_width=random.choice((0, random.randint(1, 20))),
        shift=random.choice((0, 0, random.randint(1, 6))),
        spare=random.choice((0, 0, random.randint(1, 9))),
        only_weights=only,
        WEIGHT_KIND=kind,
        MULTIPLIER_STYLE=style,
        DSP_WIDTH=0 if style == 1 else random.choice((0, 18, 25, 27)),
        ADDER_LEVELS=random.choice((1, 1, 2, 3)),
    )


CASES = [
    case("typical", 16, 8, 4, 4, (6, UNSIGNED), 6, bias_width=9),
    case("odd_lanes", 15, 9, 5, 3, (4, SIGNED), 3),
    case("all_at_once", 6, 5, 6, 5, (5, SIGNED), 4, bias_width=7),
    case("all_at_once_no_bias", 7, 3, 7, 3, (3, UNSIGNED), 5),
    case("one_lane", 5, 3, 1, 1, (8, SIGNED), 8, bias_width=12),
    case("one_beat", 4, 6, 4, 1, (4, UNSIGNED), 4, bias_width=4),
    case("one_group", 24, 2, 2, 2, (4, UNSIGNED), 4, bias_width=8),
    case("two_slots", 12, 4, 2, 2, (4, SIGNED), 4),
    case("one_slot_no_bias", 20, 4, 1, 2, (2, UNSIGNED), 2),
    case("one_bit", 18, 4, 6, 2, (1, UNSIGNED), 1),
    case("one_bit_signed", 12, 4, 6, 2, (1, SIGNED), 1, bias_width=3),
    case("one_by_one", 1, 1, 1, 1, (4, SIGNED), 4),
    case("widest", 6, 4, 3, 2, (64, UNSIGNED), 64, bias_width=70),
    case("shifted", 12, 6, 3, 2, (5, SIGNED), 4, bias_width=8, shift=3),
    case("shifted_past_bias", 8, 4, 4, 2, (4, UNSIGNED), 4, bias_width=3, shift=6),
    case("shifted_no_bias", 8, 4, 4, 4, (4, UNSIGNED), 4, shift=2, spare=5),
    case("deep", 32, 24, 2, 2, (3, SIGNED), 3, bias_width=6),
    case("two_levels", 22, 4, 11, 2, (4, UNSIGNED), 4, bias_width=6, ADDER_LEVELS=2),
    case("many_rows", 6, 20, 3, 10, (4, SIGNED), 4),
    case("wide_digits", 6, 4, 3, 2, (8, UNSIGNED), 4, bias_width=5),
    case("wide_input", 6, 4, 3, 2, (9, SIGNED), 3),
    case("narrow_sums", 4, 3, 2, 1, (1, UNSIGNED), 4, only_weights=(0, 0, 0, -1)),
    case("narrowest_sums", 4, 2, 2, 1, (1, UNSIGNED), 4, only_weights=(0,)),
    case("in_luts_digits", 12, 6, 3, 2, (12, SIGNED), 4, MULTIPLIER_STYLE=1),
    case("in_luts", 12, 6, 3, 2, (5, SIGNED), 5, MULTIPLIER_STYLE=1),
    case("in_luts_one_bit", 12, 6, 3, 2, (3, UNSIGNED), 1, MULTIPLIER_STYLE=1),
    case("packed", 12, 6, 3, 2, (5, UNSIGNED), 5, DSP_WIDTH=18),
    case("packed_in_three", 12, 8, 3, 4, (3, SIGNED), 3, bias_width=6, MULTIPLIER_STYLE=2, DSP_WIDTH=18),
    case("packed_with_rest", 6, 5, 3, 5, (8, SIGNED), 8, DSP_WIDTH=25),
    case("packed_ends", 6, 4, 6, 4, (4, SIGNED), 5, only_weights=(-16, 15), DSP_WIDTH=27, MULTIPLIER_STYLE=2),
    case("signs", 14, 6, 7, 3, (4, SIGNED), 1, bias_width=5, WEIGHT_KIND=1, only_weights=SIGNS),
    case("signs_of_wide", 6, 4, 3, 2, (12, UNSIGNED), 1, WEIGHT_KIND=1, only_weights=SIGNS),
    case("signs_and_bits", 40, 12, 20, 12, (1, UNSIGNED), 1, bias_width=7, shift=1, WEIGHT_KIND=1, only_weights=SIGNS),
    case("signs_and_bits_at_once", 9, 10, 9, 10, (1, UNSIGNED), 1, WEIGHT_KIND=1, only_weights=SIGNS),
    case("signs_and_one_bit", 5, 4, 1, 2, (1, UNSIGNED), 1, WEIGHT_KIND=1, only_weights=SIGNS),
    case("signs_in_two_levels", 38, 2, 19, 2, (1, UNSIGNED), 1, WEIGHT_KIND=1, only_weights=SIGNS, ADDER_LEVELS=2),
    case("signs_and_signed_bits", 8, 4, 4, 2, (1, SIGNED), 1, WEIGHT_KIND=1, only_weights=SIGNS),
    case("ternary", 14, 6, 7, 3, (4, UNSIGNED), 2, bias_width=5, WEIGHT_KIND=2, only_weights=(-1, 0, 1)),
    case("ternary_and_bits", 12, 6, 6, 3, (1, UNSIGNED), 2, WEIGHT_KIND=2, only_weights=(-1, 0, 1)),
    case("magnitudes", 14, 6, 7, 3, (4, UNSIGNED), 3, bias_width=5, WEIGHT_KIND=3, only_weights=MAGNITUDES),
    case("magnitudes_of_signed", 33, 6, 11, 6, (8, SIGNED), 3, shift=2, WEIGHT_KIND=3, only_weights=MAGNITUDES),
    case("magnitudes_at_once", 9, 10, 9, 10, (3, SIGNED), 3, bias_width=7, WEIGHT_KIND=3, only_weights=MAGNITUDES),
    case("magnitudes_one_lane", 6, 12, 1, 12, (3, UNSIGNED), 3, WEIGHT_KIND=3, only_weights=MAGNITUDES),
    case(
        "magnitudes_in_two_levels", 38, 2, 19, 2, (3, SIGNED), 3, WEIGHT_KIND=3, only_weights=MAGNITUDES, ADDER_LEVELS=2
    ),
    case("narrow_sums_of_magnitudes", 4, 3, 2, 1, (1, UNSIGNED), 3, WEIGHT_KIND=3, only_weights=(0, 0, 0, -1)),
    case("in_dsp", 12, 6, 3, 2, (5, UNSIGNED), 5, MULTIPLIER_STYLE=2),
    case("copies_of_control", 40, 45, 2, 45, (3, SIGNED), 3, bias_width=6),
    case("copies_of_control_no_bias", 40, 45, 2, 45, (3, UNSIGNED), 3),
    case("one_row_a_copy", 3, 3, 1, 3, (64, UNSIGNED), 64, spare=150),
    *(random_case(number) for number in range(3)),
]
#: For the sweep.
MORE_CASES = [
    case("one_by_one_bias", 1, 1, 1, 1, (4, SIGNED), 4, bias_width=9),
    case("one_beat_no_bias", 3, 4, 3, 2, (4, SIGNED), 2),
    case("signs_and_two_bits", 8, 4, 2, 2, (1, UNSIGNED), 1, WEIGHT_KIND=1, only_weights=SIGNS),
    case("signs_and_four_bits", 16, 4, 4, 4, (1, UNSIGNED), 1, WEIGHT_KIND=1, only_weights=SIGNS),
    case("all_signs_negative", 3, 2, 3, 2, (1, UNSIGNED), 1, WEIGHT_KIND=1, only_weights=(-1,)),
    case("packed_narrow_sums", 4, 4, 2, 2, (2, UNSIGNED), 6, only_weights=(0, 0, -1), DSP_WIDTH=18, MULTIPLIER_STYLE=2),
    case("magnitudes_one_by_one", 1, 1, 1, 1, (4, SIGNED), 3, WEIGHT_KIND=3, only_weights=(-3,)),
    case("magnitudes_and_bits", 16, 4, 16, 2, (1, UNSIGNED), 3, WEIGHT_KIND=3, only_weights=MAGNITUDES),
    case(
        "magnitudes_in_all_levels",
        26,
        4,
        13,
        2,
        (5, UNSIGNED),
        3,
        WEIGHT_KIND=3,
        only_weights=MAGNITUDES,
        ADDER_LEVELS=4,
    ),
    case("largest_magnitudes", 16, 3, 8, 3, (8, UNSIGNED), 3, WEIGHT_KIND=3, only_weights=(-3, 3)),
    case("all_magnitudes_negative", 8, 2, 4, 2, (8, SIGNED), 3, WEIGHT_KIND=3, only_weights=(-3,)),
]


def test_matrix_vector_unit(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_matrix_vector_unit_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_matrix_vector_unit_sweep(tmp_path: Path) -> None:
    from rtl_tests.matrix_vector_unit import sweep

    run_bench("rtl_tests.matrix_vector_unit.sweep", sweep.CASES, tmp_path)


if __name__ == "__main__":
    main(BENCH, CASES)
