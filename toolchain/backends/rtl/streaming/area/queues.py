# SPDX-License-Identifier: Apache-2.0
"""skid_buffer, stream_fifo, result_queue, stream_fork, stream_widen, stream_narrow and stream_width_converter."""

from __future__ import annotations

from math import lcm

from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters, bits_for, count_term
from toolchain.backends.rtl.streaming.area.memories import random_access


def skid_buffer(width: int) -> Bill:
    bill = Bill()
    bill.luts("skid.bits", width)
    bill.luts("skid", 1)
    bill.ffs("skid.bits", 2 * width)
    bill.ffs("skid", 2)
    return bill


def stream_fifo(width: int, depth: int, family: str) -> Bill:
    if depth <= 2:
        return skid_buffer(width)
    address = bits_for(depth)
    count = depth.bit_length()
    bill = Bill()
    bill.add(random_access(1 << address, width, family))
    count_term(bill, address, "fifo")
    bill.ffs("fifo.counters", 2 * address + count + 2)
    return bill


def result_queue(width: int, slots: int, family: str) -> Bill:
    bill = Bill()
    count_term(bill, slots.bit_length(), "queue")
    bill.ffs("queue.count", slots.bit_length() + 1)
    if slots == 1:
        bill.ffs("queue.register", width + 1)
    else:
        bill.add(stream_fifo(width, slots, family))
    return bill


def stream_fork(width: int) -> Bill:
    bill = Bill()
    bill.luts("fork.bits", 2 * width)
    bill.luts("fork", 1)
    bill.ffs("fork.bits", 2 * width + 4)
    return bill


def _widen(width: int, factor: int) -> Bill:
    bill = Bill()
    count_term(bill, bits_for(factor), "widen")
    bill.ffs("widen.bits", (2 * factor - 1) * width + bits_for(factor) + 2)
    return bill


def _narrow(width: int, factor: int) -> Bill:
    bill = Bill()
    count_term(bill, bits_for(factor), "narrow")
    bill.luts("narrow.bits", width * factor)
    bill.ffs("narrow.bits", 2 * factor * width + bits_for(factor) + 3)
    return bill


def width_converter(parameters: Parameters) -> Bill:
    element, found, wanted = (parameters[name] for name in ("ELEMENT_WIDTH", "INPUT_ELEMENTS", "OUTPUT_ELEMENTS"))
    return converter(element, found, wanted)


def converter(element: int, found: int, wanted: int) -> Bill:
    """From beats of `found` to beats of `wanted` elements."""
    middle = lcm(found, wanted)
    bill = Bill()
    if middle > found:
        bill.add(_widen(found * element, middle // found))
    if middle > wanted:
        bill.add(_narrow(wanted * element, middle // wanted))
    if found == wanted:
        bill.add(skid_buffer(found * element))
    return bill


def fifo(parameters: Parameters) -> Bill:
    return stream_fifo(parameters["DATA_WIDTH"], parameters["DEPTH"], parameters.family)


def fork(parameters: Parameters) -> Bill:
    return stream_fork(parameters["DATA_WIDTH"])


def skid(parameters: Parameters) -> Bill:
    return skid_buffer(parameters["DATA_WIDTH"])


MODULES = {
    "stream_fifo": fifo,
    "stream_fork": fork,
    "skid_buffer": skid,
    "stream_width_converter": width_converter,
}
