# SPDX-License-Identifier: Apache-2.0
"""Bench of requantise: run by pytest, or by itself as a script."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, draw, pack, seed_of, unpack
from rtl_tests.common.contract import QueueContract
from rtl_tests.common.simulate import main, run_bench

BENCH = "rtl_tests.requantise.test_requantise"


ROUNDINGS = (
    "TRUNCATE",
    "TRUNCATE_ZERO",
    "HALF_UP",
    "HALF_DOWN",
    "HALF_ZERO",
    "HALF_AWAY",
    "HALF_EVEN",
    "CEILING",
    "AWAY",
    "HALF_DPU",
)
OVERFLOWS = ("SATURATE", "WRAP", "SATURATE_ZERO", "WRAP_SIGN_MAGNITUDE")


def rounded(value: int, shift: int, rounding: str) -> int:
    """value * 2**-shift as an exact fraction, then to an integer."""
    exact = Fraction(value) / Fraction(2) ** shift
    low = math.floor(exact)
    nearest_low = exact - low
    tie = nearest_low == Fraction(1, 2)
    even = low if low % 2 == 0 else low + 1
    toward_zero = low if exact >= 0 else math.ceil(exact)
    away = math.ceil(exact) if exact >= 0 else low
    nearest = low if nearest_low < Fraction(1, 2) else low + 1
    return {
        "TRUNCATE": low,
        "TRUNCATE_ZERO": toward_zero,
        "HALF_UP": math.floor(exact + Fraction(1, 2)),
        "HALF_DOWN": math.ceil(exact - Fraction(1, 2)),
        "HALF_ZERO": toward_zero if tie else nearest,
        "HALF_AWAY": away if tie else nearest,
        "HALF_EVEN": even if tie else nearest,
        "CEILING": math.ceil(exact),
        "AWAY": away,
        "HALF_DPU": (low + 1 if exact < 0 else even) if tie else nearest,
    }[rounding]


def overflowed(value: int, overflow: str, width: int, low: int, high: int) -> int:
    """The word's bits, as an integer that may be negative."""
    if overflow == "SATURATE":
        return min(max(value, low), high)
    if overflow == "SATURATE_ZERO":
        return value if low <= value <= high else 0
    kept = value & ((1 << width) - 1)
    if overflow == "WRAP_SIGN_MAGNITUDE" and (value >> width & 1) != (value >> (width - 1) & 1):
        return ~kept
    return kept


def case(
    pe: int,
    x: tuple[int, bool],
    shift: int,
    rounding: str,
    overflow: str,
    y: tuple[int, bool],
    bounds: tuple[int, int] | None = None,
) -> Case:
    """x, y: width and signedness of input and output. bounds: other than the ends of the output's range."""
    (input_width, input_signed), (width, signed) = x, y
    full = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    low, high = bounds or full
    latency = 2 if shift > 0 and rounding != "TRUNCATE" else 1

    def lane(value: int) -> int:
        return overflowed(rounded(value, shift, rounding), overflow, width, low, high)

    everything = list(range(1 << input_width)) if input_width <= 8 else []

    def frame(random: Random) -> list[int]:
        """All input values together where they are few, in random order; else some drawn."""
        if everything:
            words = random.sample(everything, len(everything))
            return [pack([w ^ (p * 37) for p in range(pe)], input_width) for w in words]
        return [pack(draw(random, input_width, input_signed, pe), input_width) for _ in range(64)]

    beats = len(everything) or 64
    bound = "" if bounds is None else f"_b{bounds[0]}_{bounds[1]}".replace("-", "m")
    return Case(
        name=f"{'s' if input_signed else 'u'}{input_width}_shift{shift}_{rounding}_{overflow}_"
        f"{'s' if signed else 'u'}{width}{bound}_p{pe}".lower().replace("-", "m"),
        module="requantise",
        parameters={
            "PE": pe,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(input_signed),
            "SHIFT": shift,
            "ROUNDING": ROUNDINGS.index(rounding),
            "OVERFLOW": OVERFLOWS.index(overflow),
            "OUTPUT_WIDTH": width,
            "OUTPUT_SIGNED": int(signed),
            "OUTPUT_MINIMUM": low,
            "OUTPUT_MAXIMUM": high,
        },
        input_bits=pe * input_width,
        output_bits=pe * width,
        frame=frame,
        expected=lambda words: [
            pack([lane(v) for v in unpack(word, input_width, pe, input_signed)], width) for word in words
        ],
        contract=lambda: QueueContract(latency, latency + 1),
        first_output=latency,
        interval=beats,
    )


UNSIGNED, SIGNED = False, True


def random_case(number: int) -> Case:
    """Roundings and overflows in turn, so that all pairs come; bounds inside the range for a third of those that saturate."""
    random = Random(seed_of("requantise", "sweep", number))
    rounding, overflow = ROUNDINGS[number % len(ROUNDINGS)], OVERFLOWS[number // len(ROUNDINGS) % len(OVERFLOWS)]
    x = random.choice((random.randint(1, 8), random.randint(1, 40))), bool(random.getrandbits(1))
    width, signed = random.choice((random.randint(1, 8), random.randint(1, 30))), bool(random.getrandbits(1))
    if overflow == "WRAP_SIGN_MAGNITUDE":
        signed = SIGNED
    bounds = None
    if overflow.startswith("SATURATE") and random.random() < 0.33:
        low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
        first, second = sorted((random.randint(low, high), random.randint(low, high)))
        # To zero only where that is a value that is allowed.
        bounds = (first, second) if overflow == "SATURATE" or first <= 0 <= second else None
    made = case(random.randint(1, 3), x, random.randint(-4, x[0] + 2), rounding, overflow, (width, signed), bounds)
    return replace(made, name=f"random_{number}_{made.name}")


CASES = [
    *(case(1, (8, SIGNED), 3, rounding, "SATURATE", (4, SIGNED)) for rounding in ROUNDINGS),
    *(case(1, (7, UNSIGNED), 2, rounding, "WRAP", (3, UNSIGNED)) for rounding in ROUNDINGS),
    *(case(2, (6, SIGNED), 1, "HALF_UP", overflow, (3, SIGNED)) for overflow in OVERFLOWS),
    *(case(1, (6, SIGNED), 0, "HALF_EVEN", overflow, (4, SIGNED)) for overflow in OVERFLOWS),
    case(1, (6, SIGNED), 1, "HALF_EVEN", "SATURATE", (4, SIGNED), bounds=(-7, 7)),
    case(2, (6, SIGNED), 1, "HALF_EVEN", "SATURATE_ZERO", (4, SIGNED), bounds=(-5, 3)),
    case(1, (6, SIGNED), 1, "HALF_EVEN", "SATURATE", (4, UNSIGNED)),
    case(1, (6, SIGNED), 1, "TRUNCATE", "SATURATE", (4, UNSIGNED), bounds=(2, 11)),
    case(1, (6, SIGNED), 1, "HALF_EVEN", "SATURATE", (5, SIGNED), bounds=(-9, -3)),
    case(1, (6, UNSIGNED), 1, "HALF_AWAY", "SATURATE", (4, SIGNED)),
    case(1, (5, SIGNED), -3, "HALF_EVEN", "SATURATE", (6, SIGNED)),
    case(1, (5, UNSIGNED), -2, "HALF_EVEN", "WRAP", (12, SIGNED)),
    case(1, (5, SIGNED), -3, "HALF_EVEN", "WRAP_SIGN_MAGNITUDE", (5, SIGNED)),
    case(2, (5, SIGNED), 5, "HALF_EVEN", "SATURATE", (4, SIGNED)),
    case(1, (5, SIGNED), 9, "HALF_EVEN", "SATURATE", (4, SIGNED)),
    case(1, (5, SIGNED), 9, "AWAY", "WRAP", (4, SIGNED)),
    case(1, (5, SIGNED), 40, "CEILING", "SATURATE", (1, UNSIGNED)),
    case(1, (8, SIGNED), 2, "HALF_EVEN", "SATURATE", (16, SIGNED)),
    case(1, (1, UNSIGNED), 1, "HALF_UP", "WRAP", (1, UNSIGNED)),
    case(1, (1, SIGNED), 0, "TRUNCATE", "SATURATE", (1, UNSIGNED)),
    case(3, (24, SIGNED), 9, "HALF_EVEN", "SATURATE", (8, SIGNED)),
    case(1, (90, SIGNED), 20, "HALF_EVEN", "SATURATE", (64, SIGNED)),
    case(1, (90, SIGNED), 20, "HALF_ZERO", "WRAP", (70, SIGNED), bounds=(-1, 1)),
    *(random_case(number) for number in range(3)),
]


def test_requantise(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_requantise_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_requantise_sweep(tmp_path: Path) -> None:
    from rtl_tests.requantise import sweep

    run_bench("rtl_tests.requantise.sweep", sweep.CASES, tmp_path)


if __name__ == "__main__":
    main(BENCH, CASES)
