# SPDX-License-Identifier: Apache-2.0
"""stream_combine, stream_concatenate and stream_slice."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.area.arithmetic import adders, border_counter, multiplier
from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters
from toolchain.backends.rtl.streaming.area.queues import result_queue, skid_buffer

_PRODUCT = 2


def stream_combine(p: Parameters) -> Bill:
    lanes, output = p["PE"], p["OUTPUT_WIDTH"]
    bill = Bill()
    bill.luts("combine", 1)
    bill.add(skid_buffer(lanes * p["A_WIDTH"]))
    bill.add(skid_buffer(lanes * p["B_WIDTH"]))
    if p["OPERATION"] == _PRODUCT:
        a, b = (p[f"{port}_WIDTH"] + (0 if p[f"{port}_SIGNED"] else 1) for port in "AB")
        bill.add(multiplier(max(a, b), min(a, b), output, p.family, p.get("MULTIPLIER_STYLE", 0)), lanes)
        bill.ffs("combine.under_way", 2)
        bill.add(result_queue(lanes * output, 5, p.family))
    else:
        bill.add(adders([output - min(p["A_SHIFT"], p["B_SHIFT"])], p.family), lanes)
        bill.add(skid_buffer(lanes * output))
    return bill


def stream_concatenate(p: Parameters) -> Bill:
    bill = Bill()
    bill.luts("concatenate", 1)
    bill.luts("concatenate.bits", p["PE"] * p["OUTPUT_WIDTH"])
    bill.add(border_counter(p["A_BEATS"], p["B_BEATS"], 0))
    bill.add(skid_buffer(p["PE"] * p["OUTPUT_WIDTH"]))
    return bill


def stream_slice(p: Parameters) -> Bill:
    bill = Bill()
    bill.luts("slice", 1)
    for axis in ("CF", "WIDTH", "HEIGHT"):
        count, start, stop, step = (p[name] for name in (axis, f"START_{axis}", f"STOP_{axis}", f"STEP_{axis}"))
        final = start + (stop - 1 - start) // step * step
        every = 1 if final == start else step
        before = 0 if start < every else start
        after = 0 if count - final <= every else count - 1 - final
        bill.add(border_counter(before, count - before - after, after))
        if every > 1:
            bill.luts("slice.step", 1)
            bill.ffs("slice.step", (every - 1).bit_length() + 1)
    bill.add(skid_buffer(p["DATA_WIDTH"]))
    return bill


MODULES = {"stream_combine": stream_combine, "stream_concatenate": stream_concatenate, "stream_slice": stream_slice}
