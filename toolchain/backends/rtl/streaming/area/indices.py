# SPDX-License-Identifier: Apache-2.0
"""argmax and top_k."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.area.arithmetic import wrap_counter
from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters, bits_for, count_term
from toolchain.backends.rtl.streaming.area.queues import result_queue


def argmax(p: Parameters) -> Bill:
    lanes, width, index = p["PE"], p["INPUT_WIDTH"], p["INDEX_WIDTH"]
    beats = p["CHANNELS"] // lanes
    levels = (lanes - 1).bit_length()
    slots = 1 if levels + 1 < beats else 2 if levels + 1 < 2 * beats else (levels + 2) // beats + 1
    bill = Bill()
    bill.luts("argmax", 1)
    nodes = lanes
    for level in range(1, levels + 1):
        below, nodes = nodes, (nodes + 1) // 2
        bill.luts("argmax.compared_bits", below // 2 * width)
        bill.luts("argmax.chosen_bits", below // 2 * (width + min(level, levels)))
        # A lane's number is known up to the bits that the tree has decided.
        bill.ffs("argmax.registers", nodes * (width + level))
    bill.ffs("argmax.registers", 2 * levels)
    if beats > 1:
        bill.luts("argmax.compared_bits", width)
        bill.luts("argmax.index_bits", 2 * index)
        count_term(bill, bits_for(beats), "element.beats")
        bill.ffs("argmax.registers", width + 2 * index + bits_for(beats) + 2)
    bill.add(result_queue(index, slots, p.family))
    return bill


def top_k(p: Parameters) -> Bill:
    places, width, index = p["K"], p["INPUT_WIDTH"], p["INDEX_WIDTH"]
    bill = Bill()
    bill.luts("top_k", 1)
    bill.add(wrap_counter(p["CHANNELS"]))
    bill.add(wrap_counter(places))
    bill.luts("top_k.compared_bits", places * width)
    bill.luts("top_k.chosen_bits", (places - 1) * (width + index))
    bill.luts("top_k.places", places)
    bill.luts("top_k.shifted_bits", (places - 1) * index)
    bill.ffs("top_k.registers", width + places * (width + 2 * index + 1) + index + 10)
    bill.add(result_queue(index, 5, p.family))
    return bill


MODULES = {"argmax": argmax, "top_k": top_k}
