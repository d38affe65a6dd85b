# SPDX-License-Identifier: Apache-2.0
"""One instance of a kernel under test: its parameters, its memory files, its model and its contract."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from rtl_tests.common.contract import Contract


@dataclass(frozen=True)
class Case:
    """What the common tests need to know about one instance.

    name: a Verilog identifier. parameters: of the module; a string is passed as a string literal.
    files: parameter name to the words of that memory file, address 0 first, with the word's bits.
    input_bits, output_bits: of a beat. frame: draws one frame, as packed input beats. expected: its packed output beats.
    first_output, interval: while nothing stalls, cycles from the acceptance of a frame's first beat to the offer of its
    first output beat, and between the first beats of two frames.
    ahead: output beats that come by themselves behind a reset, before any of `expected`.
    """

    name: str
    module: str
    parameters: Mapping[str, int | str]
    input_bits: int
    output_bits: int
    frame: Callable[[Random], list[int]]
    expected: Callable[[Sequence[int]], list[int]]
    contract: Callable[[], Contract]
    first_output: int
    interval: int
    files: Mapping[str, tuple[int, Sequence[int]]] = field(default_factory=dict)
    ahead: Sequence[int] = ()

    #: The module with the cocotb tests that every such case has to pass.
    tests: ClassVar[str] = "rtl_tests.common.stream_bench"

    @property
    def inputs(self) -> dict[str, int]:
        """Prefix of each input's signals and bits of its beat."""
        return {"s_axis": self.input_bits}

    @property
    def outputs(self) -> dict[str, int]:
        """Prefix of each output's signals and bits of its beat."""
        return {"m_axis": self.output_bits}


def seed_of(*parts: object) -> int:
    """A seed that depends on the name of a test alone."""
    return zlib.crc32("/".join(str(part) for part in parts).encode())


def pack(values: Sequence[int], width: int) -> int:
    """Element 0 in the least significant bits; every element two's complement or unsigned in `width` bits."""
    mask = (1 << width) - 1
    return sum((value & mask) << (width * i) for i, value in enumerate(values))


def unpack(word: int, width: int, count: int, signed: bool) -> list[int]:
    mask, sign = (1 << width) - 1, 1 << (width - 1)
    fields = [(word >> (width * i)) & mask for i in range(count)]
    return [(f ^ sign) - sign for f in fields] if signed else fields


def draw(random: Random, width: int, signed: bool, count: int) -> list[int]:
    """Numbers of a width: uniform, with the ends of the range and the values around zero drawn often."""
    low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    corners = [v for v in (low, high, low + 1, high - 1, 0, 1, -1) if low <= v <= high]
    return [random.choice(corners) if random.random() < 0.2 else random.randint(low, high) for _ in range(count)]


def ceil_log2(value: int) -> int:
    return (value - 1).bit_length()


def divisor(random: Random, value: int) -> int:
    """One of the numbers that divide `value`, each as likely."""
    return random.choice([number for number in range(1, value + 1) if value % number == 0])
