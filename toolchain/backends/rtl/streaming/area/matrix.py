# SPDX-License-Identifier: Apache-2.0
"""matrix_vector_unit."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.area.arithmetic import (
    add_subtract,
    adder_tree,
    adders,
    multiplier,
)
from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters, bits_for, count_term
from toolchain.backends.rtl.streaming.area.memories import constant_memory, random_access
from toolchain.backends.rtl.streaming.area.queues import result_queue
from toolchain.backends.rtl.streaming.instance import IN_LUTS

#: Rows that share the multiples of an element, or the count of ones, as in the module.
_SHARE = 8
#: The module's WEIGHT_KIND.
_SIGNS, _TERNARY, _MAGNITUDES = 1, 2, 3


def matrix_vector_unit(p: Parameters) -> Bill:
    family, simd, pe = p.family, p["SIMD"], p["PE"]
    beats, groups = p["INPUT_SIZE"] // simd, p["OUTPUT_SIZE"] // pe
    steps = beats * groups
    weight, element = p["WEIGHT_WIDTH"], p["INPUT_WIDTH"]
    factor = element + (0 if p["INPUT_SIGNED"] else 1)
    total = p["ACCUMULATOR_WIDTH"] - p["PRODUCT_SHIFT"]
    kind = p.get("WEIGHT_KIND", 0)
    style = p.get("MULTIPLIER_STYLE", 0)
    digits = kind != 0 or (weight <= 4 and (style == IN_LUTS or (style == 0 and element <= 8)))
    counts = kind == _SIGNS and element == 1 and not p["INPUT_SIGNED"] and total > 1
    pack = 1 if digits or style == IN_LUTS else _packed_rows(p.get("DSP_WIDTH", 0), weight, factor, pe)
    tree_stages = (simd - 1).bit_length()
    result_cycle = 5 + tree_stages + (1 if beats > 1 and p["HAS_BIAS"] else 0)
    slots = 1 if result_cycle + 1 < beats else 2 if result_cycle + 1 < 2 * beats else (result_cycle + 3) // beats + 1

    bill = Bill()
    bill.luts("matrix", 1)
    for count in (steps, beats, groups):
        if count > 1:
            count_term(bill, bits_for(count), "matrix.count")
    control = bits_for(steps) + bits_for(beats) + bits_for(groups) if steps > 1 else 0
    bill.ffs("matrix.control", control + 3 + result_cycle + (result_cycle if beats > 1 else 0))

    weights = p.memories.get("WEIGHT_FILE")
    memory = constant_memory(
        steps, pe * simd * weight, family, weights, registered_address=digits or style == IN_LUTS, loadable=p.loadable
    )
    bill.add(memory)
    packs = -(-pe // pack)
    exact = factor + weight
    packed_width = (pack - 1) * exact + weight + (1 if pack > 1 else 0)
    bill.ffs("matrix.weight_registers", bits_for(steps) if digits else packs * simd * packed_width)

    bill.ffs("matrix.element_registers", 2 * simd * element)
    if groups > 1 and beats > 1:
        bill.add(random_access(beats, simd * element, family))
        bill.luts("matrix.element_bits", simd * element)
        bill.ffs("matrix.control", bits_for(beats) + 2)

    if counts:
        _counts(bill, simd, pe, total, family)
    elif kind == _MAGNITUDES:
        _magnitudes(bill, simd, pe, factor, bool(p["INPUT_SIGNED"]), total, beats, family)
    elif digits:
        _digits(bill, simd, pe, weight, kind, factor, total, family)
    else:
        bill.ffs("matrix.row_registers", packs * simd * element)
        product = min(exact, total)
        alone = pe % pack if pack > 1 and pe % pack == 1 else pe if pack == 1 else 0
        bill.add(multiplier(factor, weight, product, family, style), alone * simd)
        shared = packs - alone if pack > 1 else 0
        rows = pe - alone if pack > 1 else 0
        bill.dsp += shared * simd
        bill.add(adders([weight + 1, product], family), (rows - shared) * simd)
        bill.ffs("multiply.packed_registers", rows * simd * (exact + product))
        bill.add(adder_tree(simd, product, total, family), pe)

    if beats > 1:
        bill.add(add_subtract([total], family) if kind == _MAGNITUDES else adders([total], family), pe)
        bill.ffs("matrix.accumulators", pe * total * (2 if p["HAS_BIAS"] else 1))
    if p["HAS_BIAS"]:
        bill.add(
            constant_memory(groups, pe * p["BIAS_WIDTH"], family, p.memories.get("BIAS_FILE"), loadable=p.loadable)
        )
        bill.add(adders([total], family), pe)
        if groups > 1:
            count_term(bill, bits_for(groups), "matrix.count")
        bill.ffs("matrix.control", bits_for(groups))
    if slots > 2:
        bill.ffs("matrix.result_registers", pe * p["ACCUMULATOR_WIDTH"] + 1)
    bill.add(result_queue(pe * p["ACCUMULATOR_WIDTH"], slots, family))
    return bill


def _packed_rows(dsp_width: int, weight: int, factor: int, pe: int) -> int:
    """Rows that share a DSP block, as the module's PACK."""
    fitting = (dsp_width - weight - 1) // (factor + weight) + 1 if dsp_width > weight else 1
    return min(fitting, pe)


def _counts(bill: Bill, simd: int, pe: int, total: int, family: str) -> None:
    """Signs times bits: ones counted in threes, and the counts added."""
    shares, triples = -(-pe // _SHARE), -(-simd // 3)
    tree, own = (triples - 1).bit_length(), (simd - 1).bit_length()
    leaf = min(3, total)
    count = min(total, max(leaf, simd.bit_length() + 1))
    bill.luts("matrix.triples", pe * triples)
    bill.luts("matrix.shared_triples", shares * triples)
    bill.ffs("matrix.triples", (pe + shares) * triples * 2 + shares * simd)
    bill.add(adder_tree(triples, leaf, count, family), pe + shares)
    bill.ffs("matrix.delays", (pe + shares) * (own - tree) * count)
    bill.add(adders([total], family), pe)
    bill.ffs("matrix.sums", pe * total)


def _magnitudes(bill: Bill, simd: int, pe: int, factor: int, signed: bool, total: int, beats: int, family: str) -> None:
    """Products of weights from -3 to 3: multiples of the element, selected by magnitudes, whose signs the adders take."""
    span = factor + 2
    width = min(span, total)
    # Of elements that are never negative, no multiple is.
    bits = width if signed else width - 1
    shares, stages = -(-pe // _SHARE), (simd - 1).bit_length()
    term = "matrix.small_multiple_bits" if factor <= 4 else "matrix.multiple_bits"
    bill.luts(term, shares * simd * span)
    bill.ffs("matrix.multiples", shares * simd * (factor + span))
    # A look-up table of four inputs is half a bit's selection from three multiples; at both ends there are fewer of them.
    tables = max(bits, 2 * bits - (2 if signed else 3)) if family == "ecp5" else bits
    bill.luts("matrix.magnitudes", pe * simd * tables)
    bill.ffs("matrix.products", pe * simd * (bits + 1))
    bill.add(adder_tree(simd, width, total, family, subtracts=True), pe)
    if beats == 1:
        bill.add(add_subtract([total], family), pe)
    bill.ffs("matrix.sums", pe * (total + stages + 1))


def _digits(bill: Bill, simd: int, pe: int, weight: int, kind: int, factor: int, total: int, family: str) -> None:
    """Products of weights of up to 4 bits: multiples of the element, selected by digits of the weight."""
    low = max(0, weight - 2)
    high = weight - low
    span = factor + 2
    high_total = max(1, total - low)
    low_width, high_width = min(span, total), min(span, high_total)
    shares = -(-pe // _SHARE)
    for bits in [span] * (2 if low == 2 else 1):
        # Of few bits the multiple is a small function, not a sum.
        term = "matrix.small_multiple_bits" if factor <= 4 else "matrix.multiple_bits"
        bill.luts(term, shares * simd * bits)
    bill.ffs("matrix.multiples", shares * simd * (factor + span + (span if low == 2 else 0)))
    choice = "ternary" if kind == _TERNARY else "sign" if kind == _SIGNS else "selected" if high == 2 else "gated"
    bill.luts(f"matrix.{choice}_bits", pe * simd * high_width)
    bill.ffs("matrix.products", pe * simd * high_width)
    bill.add(adder_tree(simd, high_width, high_total, family), pe)
    if low:
        bill.luts("matrix.selected_bits" if low == 2 else "matrix.gated_bits", pe * simd * low_width)
        bill.ffs("matrix.products", pe * simd * low_width)
        bill.add(adder_tree(simd, low_width, total, family), pe)
        if total > low:
            bill.add(adders([total - low], family), pe)
    bill.ffs("matrix.sums", pe * total)


MODULES = {"matrix_vector_unit": matrix_vector_unit}
