# SPDX-License-Identifier: Apache-2.0
"""What an instance is made of, in terms that synthesis turns into LUTs and flip-flops at a fixed rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolchain.backends.rtl.streaming.instance import MemoryFile


@dataclass
class Bill:
    """Amounts of terms; what a term costs on a family stands in coefficients.json.

    lut, ff: term -> amount. dsp, block_ram: counts that follow from the mapper's rules, exact where those hold.
    """

    lut: dict[str, float] = field(default_factory=dict)
    ff: dict[str, float] = field(default_factory=dict)
    dsp: int = 0
    block_ram: int = 0

    def luts(self, term: str, amount: float) -> None:
        if amount:
            self.lut[term] = self.lut.get(term, 0.0) + amount

    def ffs(self, term: str, amount: float) -> None:
        if amount:
            self.ff[term] = self.ff.get(term, 0.0) + amount

    def add(self, other: Bill, times: int = 1) -> None:
        for term, amount in other.lut.items():
            self.luts(term, times * amount)
        for term, amount in other.ff.items():
            self.ffs(term, times * amount)
        self.dsp += times * other.dsp
        self.block_ram += times * other.block_ram


@dataclass(frozen=True)
class Parameters:
    """The parameters of an instance as integers, its memories, and the family that it is built for.

    memories: parameter that names the file -> the file; missing where the content is not known (yet), which counts as one
    without structure.
    """

    values: Mapping[str, int]
    memories: Mapping[str, MemoryFile]
    family: str

    def __getitem__(self, name: str) -> int:
        return self.values[name]

    @property
    def loadable(self) -> bool:
        """Whether the module's constants can be replaced at run time."""
        return bool(self.values.get("LOADABLE", 0))

    def get(self, name: str, default: int) -> int:
        return self.values.get(name, default)


def integer(expression: str) -> int | None:
    """The value of a parameter's expression as `instance.number`, `wide_number` and `flag` write it; None for text."""
    if expression.startswith('"'):
        return None
    sign = -1 if expression.startswith("-") else 1
    _, _, digits = expression.rpartition("'")
    return sign * int(digits.lstrip("-sdb"))


def bits_for(count: int) -> int:
    """Bits of a counter with so many values; $clog2, at least 1."""
    return max(1, (count - 1).bit_length())


#: Counters and queues' pointers up to this width have a term of their own: small logic that is no sum of bits.
_SHORT_COUNTER = 4


def count_term(bill: Bill, bits: int, kind: str) -> None:
    """A counter with enable, reset and a comparison, of a kind with costs of its own."""
    if bits <= _SHORT_COUNTER:
        bill.luts(f"{kind}.{bits}_bits", 1)
    else:
        bill.luts(f"{kind}.wide", 1)
        bill.luts(f"{kind}.wide_bits", bits)
