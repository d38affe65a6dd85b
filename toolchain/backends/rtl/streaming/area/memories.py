# SPDX-License-Identifier: Apache-2.0
"""Memories by the mapper's rules: block RAM, LUT RAM, or, for constants, functions of the address in LUTs.

Yosys (`memory_libmap`) compares costs: a block RAM counts 128, and LUTs count bits divided by a constant for ROMs, cells
times a constant for RAMs; multiplexers between banks count half a bit. Where the LUTs' side is cheaper or equal, it is taken. The library's read-only memories of up to
64 words are always LUTs, because a register that must be kept stands behind them (constant_memory.sv).
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np

from toolchain.backends.rtl.streaming.area.bill import Bill, bits_for
from toolchain.backends.rtl.streaming.instance import MemoryFile

#: (rows, bits of a row) that a block RAM of 18 Kbit can have: Lattice FPGA-DS-02012 section 2.8; AMD UG473.
_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
#: What the mapper counts a block RAM as.
_BLOCK_COST = 128
#: Bits of a ROM that cost as much in LUTs as a block RAM.
_ROM_BITS = {"ecp5": 2048, "xc7": 8256}
#: Inputs of a LUT.
LUT_INPUTS = {"ecp5": 4, "xc7": 6}
#: Address bits beyond which a ROM's bit is no longer one LUT with the free multiplexers behind it.
_FREE_MULTIPLEXERS = {"ecp5": 3, "xc7": 2}
#: By how much more a bit costs from there on: the multiplexers are LUTs too, and share little.
_BEYOND = {"ecp5": 1.5, "xc7": 1.35}
#: Words of a constant_memory that is never block RAM.
DISTRIBUTED_DEPTH = 64


def block_rams(rows: int, width: int) -> int:
    """Block RAMs of 18 Kbit for a memory."""
    return _blocks(rows, width)[0]


@lru_cache(maxsize=1 << 16)
def _blocks(rows: int, width: int) -> tuple[int, int]:
    """(block RAMs, banks of the address): rows beyond those of a shape lie side by side with the others, as more columns."""
    choices = []
    for deep, wide in _SHAPES:
        banks = ceil(rows / deep)
        choices.append((_BLOCK_COST * ceil(banks * width / wide) + _multiplexer_cost(banks, width), banks, wide))
    _, banks, wide = min(choices)
    return ceil(banks * width / wide), banks


def _multiplexer_cost(banks: int, width: int) -> float:
    return 0.5 * width * (banks - 1)


def function_luts(inputs: float, family: str) -> float:
    """LUTs of one function without structure of so many inputs."""
    own, free = LUT_INPUTS[family], _FREE_MULTIPLEXERS[family]
    if inputs <= own:
        return 1.0
    cost = 2.0 ** (inputs - own)
    return cost if inputs <= own + free else cost * _BEYOND[family]


def columns_luts(words: np.ndarray, family: str, *, by_words: bool = False) -> float:
    """LUTs of the columns (addresses, columns) as functions of the address: equal ones once, constant ones not at all.

    A column that does not depend on some address bits is a function of the others alone. by_words: what `word_luts` gives
    instead of a function's LUTs.
    """
    depth = len(words)
    inputs = bits_for(depth)
    space = 1 << inputs
    if space != depth:
        # What is never read may be anything: as the words half a space below, so that a bit may lose its influence.
        words = np.concatenate([words, words[[place - (space >> 1) for place in range(depth, space)]]])
    packed = np.unique(np.packbits(words.astype(np.uint8), axis=0), axis=1)
    columns = np.unpackbits(packed, axis=0, count=space).astype(bool)
    used = np.zeros(columns.shape[1], np.int64)
    for bit in range(inputs):
        halves = columns.reshape(space >> (bit + 1), 2, 1 << bit, -1)
        used += (halves[:, 0] != halves[:, 1]).any(axis=(0, 1))
    # One address bit alone is no LUT but the register itself.
    if by_words:
        return float(sum(word_luts(depth * 2.0 ** (int(count) - inputs), family) for count in used if count > 1))
    return float(sum(function_luts(int(count), family) for count in used if count > 1))


def word_luts(words: float, family: str) -> float:
    """LUTs of a bit that is chosen from so many words, if each LUT holds as many as it has entries."""
    return words / float(1 << LUT_INPUTS[family])


@lru_cache(maxsize=4096)
def _file_luts(memory: MemoryFile, family: str, by_words: bool) -> float:
    return columns_luts(word_bits(memory), family, by_words=by_words)


def word_bits(memory: MemoryFile) -> np.ndarray:
    """The bits (words, columns) of a memory, the lowest first."""
    size = (memory.width + 7) // 8
    data = b"".join(word.to_bytes(size, "little") for word in memory.words)
    bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(-1, size), axis=1, bitorder="little")
    return bits[:, : memory.width]


def is_block_rom(depth: int, width: int, family: str) -> bool:
    return depth > DISTRIBUTED_DEPTH and depth * width > _ROM_BITS[family] * block_rams(depth, width)


def constant_memory(
    depth: int,
    width: int,
    family: str,
    memory: MemoryFile | None,
    *,
    registered_address: bool = False,
    loadable: bool = False,
) -> Bill:
    """The module of that name. memory: its content, if known. loadable: its words can be replaced at run time.

    registered_address: a register stands between a counter and the address. Without one, synthesis joins the functions with
    the counter's logic, which makes them larger.
    """
    bill = Bill()
    if loadable:
        _add_loadable(bill, depth, width, family)
        return bill
    if is_block_rom(depth, width, family):
        bill.block_ram, banks = _blocks(depth, width)
        bill.luts("memory.block_multiplexer", width * (banks - 1))
        bill.ffs("memory.register", width)
        return bill
    known = memory is not None and depth <= 4096
    counted = depth > DISTRIBUTED_DEPTH and not registered_address
    unknown = word_luts(depth, family) if counted else function_luts(bits_for(depth), family)
    columns = _file_luts(memory, family, counted) if known and memory else width * unknown
    term = "memory.counted_rom" if counted else "memory.rom" if depth <= DISTRIBUTED_DEPTH else "memory.deep_rom"
    bill.luts(term, columns)
    bill.ffs("memory.register", width + (bits_for(depth) if depth <= DISTRIBUTED_DEPTH else width))
    return bill


def _add_loadable(bill: Bill, depth: int, width: int, family: str) -> None:
    if depth == 1:
        bill.ffs("memory.flip_flops", width)
        bill.ffs("memory.register", width)
    else:
        bill.add(random_access(depth, width, family))
        bill.ffs("memory.register", width if depth > DISTRIBUTED_DEPTH else bits_for(depth))
    # Of the bus: the comparison of the address, and what a module keeps of address and data.
    chunks = ceil(width / 32)
    bill.luts("memory.load", 1)
    bill.ffs("memory.load_registers", 1 + bits_for(depth) + bits_for(chunks) + min(width, 32) + 32 * (chunks - 1))


def random_access(rows: int, width: int, family: str, *, registered: bool = True) -> Bill:
    """A memory that is written and read in different cycles. registered: its read register is one that block RAM can take."""
    bill = Bill()
    blocks, block_banks = _blocks(rows, width)
    if family == "ecp5":
        banks, cells = ceil(rows / 16), ceil(width / 4)
        cost, luts = 4.0 * banks * cells, 6.0 * banks * cells
    else:
        deep = rows > 32
        banks = ceil(rows / 64) if deep else 1
        per_cell = 3 if deep else 6
        luts = 4.0 * banks * ceil(width / per_cell)
        cost = 8.0 * banks * width / per_cell
    in_flip_flops = rows * width <= 4
    cost += 0.5 * (banks - 1)  # of the bits that choose a bank to write
    if registered and cost + _multiplexer_cost(banks, width) > _BLOCK_COST * blocks:
        bill.block_ram = blocks
        bill.luts("memory.block_multiplexer", width * (block_banks - 1))
        return bill
    if in_flip_flops:
        bill.luts("memory.flip_flop_bits", rows * width)
        bill.ffs("memory.flip_flops", rows * width)
    else:
        bill.luts("memory.lut_ram", luts)
        bill.luts("memory.read_multiplexer", width * (banks - 1))
        bill.luts("memory.banks", banks if banks > 1 else 0)
    bill.ffs("memory.register", width)
    return bill
