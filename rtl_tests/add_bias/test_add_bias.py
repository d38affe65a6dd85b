# SPDX-License-Identifier: Apache-2.0
"""Bench of add_bias: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import Case, divisor, draw, pack, seed_of, unpack
from rtl_tests.common.contract import QueueContract
from rtl_tests.common.simulate import main, run_bench
from rtl_tests.common.timing_check import check_timing
from toolchain.backends.rtl.streaming.kernels import add_bias
from toolchain.ir import AddBias, IntegerType, Node, TensorType
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

BENCH = "rtl_tests.add_bias.test_add_bias"

UNSIGNED, SIGNED = False, True
LATENCY = 5


def case(
    channels: int, pe: int, x: tuple[int, bool], bias_width: int, output_width: int | None = None, shift: int = 0
) -> Case:
    """x: width and signedness of the input. output_width: None for the bits of every sum."""
    input_width, signed = x
    width = output_width or max(input_width + (not signed) + shift, bias_width) + 1
    name = f"c{channels}_p{pe}_{'s' if signed else 'u'}{input_width}_b{bias_width}_o{width}_shift{shift}"
    random = Random(seed_of("add_bias", name))
    bias = draw(random, bias_width, True, channels)
    # The corner of the longest carry.
    bias[-1] = -(1 << (bias_width - 1))
    beats = channels // pe

    def expected(words: Sequence[int]) -> list[int]:
        vector = [e for word in words for e in unpack(word, input_width, pe, signed)]
        y = [(e << shift) + b for e, b in zip(vector, bias, strict=True)]
        return [pack(y[b * pe : (b + 1) * pe], width) for b in range(beats)]

    return Case(
        name=name,
        module="add_bias",
        parameters={
            "CHANNELS": channels,
            "PE": pe,
            "INPUT_WIDTH": input_width,
            "INPUT_SIGNED": int(signed),
            "INPUT_SHIFT": shift,
            "BIAS_WIDTH": bias_width,
            "OUTPUT_WIDTH": width,
        },
        input_bits=pe * input_width,
        output_bits=pe * width,
        frame=lambda r: [pack(draw(r, input_width, signed, pe), input_width) for _ in range(beats)],
        expected=expected,
        contract=lambda: QueueContract(LATENCY, LATENCY + 1),
        first_output=LATENCY,
        interval=beats,
        files={
            "BIAS_FILE": (pe * bias_width, [pack(bias[b * pe : (b + 1) * pe], bias_width) for b in range(beats)]),
        },
    )


def random_case(number: int) -> Case:
    """Any folding of up to 96 channels, any widths, outputs that drop bits or have spare ones."""
    random = Random(seed_of("add_bias", "sweep", number))
    channels = random.choice((random.randint(1, 12), random.randint(1, 96)))
    x = random.choice((random.randint(1, 9), random.randint(1, 64))), bool(random.getrandbits(1))
    bias_width, shift = random.randint(1, 40), random.choice((0, 0, random.randint(1, 12)))
    output_width = random.choice((None, None, random.randint(1, 80)))
    return case(channels, divisor(random, channels), x, bias_width, output_width, shift)


CASES = [
    case(8, 2, (8, SIGNED), 8),
    case(9, 3, (4, UNSIGNED), 6),
    case(5, 1, (8, UNSIGNED), 6, 5),
    case(6, 6, (5, SIGNED), 9),
    case(1, 1, (1, UNSIGNED), 1),
    case(3, 1, (1, SIGNED), 1, 1),
    case(70, 1, (6, SIGNED), 7),
    case(4, 2, (5, SIGNED), 4, shift=3),
    case(4, 2, (5, UNSIGNED), 12, shift=4),
    case(4, 4, (3, SIGNED), 3, 30),
    case(6, 2, (64, SIGNED), 70),
    *(random_case(number) for number in range(3)),
]


def test_add_bias(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path)


@pytest.mark.full
def test_add_bias_full(tmp_path: Path) -> None:
    run_bench(BENCH, CASES, tmp_path, full=True)


@pytest.mark.full
def test_add_bias_sweep(tmp_path: Path) -> None:
    from rtl_tests.add_bias import sweep

    run_bench("rtl_tests.add_bias.sweep", sweep.CASES, tmp_path)


@pytest.mark.parametrize(("channels", "pe"), [(1, 1), (6, 2), (6, 6)])
def test_timing(channels: int, pe: int) -> None:
    """The toolchain predicts both handshake outputs in every cycle."""
    operation = AddBias(np.arange(channels), 0)
    kind = TensorType((channels,), IntegerType(True, 6))
    stage = Stage((Node("bias", operation, ("x",)),), ("x",), (kind,), operation.infer(kind))
    (instance,) = add_bias.instances(stage, StageFolding(1, pe), "bias")
    (timing,) = instance.timing
    random = Random(seed_of("add_bias", "timing", channels, pe))
    for idle, stall in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.3, 0.3)):
        check_timing(timing, QueueContract(LATENCY, LATENCY + 1), random, idle, stall, 600)


if __name__ == "__main__":
    main(BENCH, CASES)
