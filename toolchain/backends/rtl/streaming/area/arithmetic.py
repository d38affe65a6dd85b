# SPDX-License-Identifier: Apache-2.0
"""Adders, adder trees, multipliers, saturation and counters."""

from __future__ import annotations

from collections.abc import Iterable

from toolchain.backends.rtl.streaming.area.bill import Bill, bits_for, count_term
from toolchain.backends.rtl.streaming.instance import IN_LUTS

#: Widest sum that is logic instead of a carry chain, and LUTs of a carry cell's bits: techmaps of Yosys 0.70.
_SHORT_SUM = {"ecp5": 4, "xc7": 2}
#: Factors that a DSP block multiplies, and least bits of a product that is given to one.
_DSP_WIDTHS = {"ecp5": (18, 18), "xc7": (25, 18)}
_DSP_PRODUCT = {"ecp5": 0, "xc7": 9}


def adders(widths: Iterable[int], family: str) -> Bill:
    """Sums of so many bits each: on ECP5 a carry cell has two places, whether both are used or not, and one makes the first carry."""
    bill = Bill()
    for width in widths:
        if width <= _SHORT_SUM[family]:
            bill.luts("add.short_bits", width)
        else:
            bill.luts("add.bits", width + 2 - width % 2 if family == "ecp5" else width)
    return bill


def add_subtract(widths: Iterable[int], family: str) -> Bill:
    """Sums whose second number may be subtracted: the place for that is there on ECP5, and one bit more on xc7."""
    return adders((width if family == "ecp5" else width + 1 for width in widths), family)


def adder_tree(operands: int, operand_width: int, sum_width: int, family: str, *, subtracts: bool = False) -> Bill:
    """adder_tree with a register behind every level; subtracts: its SUBTRACTS, which keeps the signs that are still needed too."""
    bill, level, nodes = Bill(), 0, operands
    while nodes > 1:
        level += 1
        below, nodes = nodes, (nodes + 1) // 2
        width = min(operand_width + level, sum_width)
        bill.add((add_subtract if subtracts else adders)([width] * (below // 2), family))
        bill.ffs("add.registers", nodes * width + (nodes - 1 if subtracts else 0))
    return bill


def multiplier(a_width: int, b_width: int, product_width: int, family: str, style: int = 0) -> Bill:
    """multiplier: two registers behind a product that a DSP block may compute, as the module's STYLE says."""
    bill = Bill()
    exact = max(a_width + b_width, product_width)
    kept = min(a_width + b_width, product_width)
    if style == IN_LUTS and min(a_width, b_width) > 1:
        # A tree of adders over the bits of b, with a register behind its first level.
        bill.luts("multiply.lut_bits", a_width * b_width)
        nodes, level = [1] * b_width, 0
        while len(nodes) > 1:
            level += 1
            joined = [nodes[n : n + 2] for n in range(0, len(nodes), 2)]
            bill.add(adders([a_width + pair[1] for pair in joined if len(pair) > 1], family))
            nodes = [sum(pair) for pair in joined]
            if level == 1:
                bill.ffs("multiply.registers", sum(a_width + bits for bits in nodes))
        bill.ffs("multiply.registers", kept)
        return bill
    narrow = min(a_width, b_width) < 2 or (style == 0 and kept < _DSP_PRODUCT[family])
    if narrow:
        bill.luts("multiply.lut_bits", a_width * b_width)
        bill.ffs("multiply.registers", 2 * kept)
        return bill
    wide, other = sorted((a_width, b_width), reverse=True)
    first, second = _DSP_WIDTHS[family]
    bill.dsp = -(-wide // first) * -(-other // second)
    if bill.dsp > 1:
        bill.luts("multiply.joined_bits", (bill.dsp - 1) * exact)
    # ECP5's registers stand beside the block, those of xc7 inside it.
    bill.ffs("multiply.dsp_registers", 2 * kept)
    return bill


def saturate(width: int, overflow: int, output_width: int, minimum: int, maximum: int) -> Bill:
    """saturate, without the multiplexer of a register behind it."""
    bill = Bill()
    if overflow == 1:
        return bill
    bill.luts("saturate.result_bits", output_width)
    bill.luts("saturate", 1)
    if overflow == 3:
        return bill
    upper, lower = (maximum.bit_length() if maximum > 0 else 0), ((-minimum - 1).bit_length() if minimum < 0 else 0)
    if maximum >= 0 and upper < width - 1 and maximum == (1 << upper) - 1:
        bill.luts("saturate.looked_bits", width - 1 - upper)
    else:
        bill.luts("saturate.compared_bits", width)
    if minimum != 0:
        if minimum <= 0 and lower < width - 1 and minimum == -(1 << lower):
            bill.luts("saturate.looked_bits", width - 1 - lower)
        else:
            bill.luts("saturate.compared_bits", width)
    return bill


def wrap_counter(count: int) -> Bill:
    bill = Bill()
    if count > 1:
        count_term(bill, bits_for(count), "counter")
        bill.ffs("counter.bits", bits_for(count) + 1)
    return bill


def border_counter(before: int, inner: int, after: int) -> Bill:
    bill = wrap_counter(before + inner + after)
    if before + after:
        bill.luts("counter.border", 1)
        bill.ffs("counter.border", 1)
    return bill
