# SPDX-License-Identifier: Apache-2.0
"""sliding_window, window_reduce, pad, upsample and insert_zeros."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.area.arithmetic import adders, border_counter, wrap_counter
from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters, bits_for
from toolchain.backends.rtl.streaming.area.memories import random_access
from toolchain.backends.rtl.streaming.area.queues import result_queue, skid_buffer


def sliding_window(p: Parameters) -> Bill:
    lanes, width, height = p["SIMD"], p["WIDTH"], p["HEIGHT"]
    beats = p["CHANNELS"] // lanes
    rows_over = (p["KERNEL_HEIGHT"] - 1) * p["DILATION_HEIGHT"]
    pixels_over = (p["KERNEL_WIDTH"] - 1) * p["DILATION_WIDTH"]
    lines = (height - rows_over - 1) // p["STRIDE_HEIGHT"] + 1
    columns = (width - pixels_over - 1) // p["STRIDE_WIDTH"] + 1
    buffer = p["BUFFER_BEATS"]
    distance = (buffer + height * width * beats + 1).bit_length() + 1
    address = bits_for(buffer)
    bill = Bill()
    for count in (beats, p["KERNEL_WIDTH"], p["KERNEL_HEIGHT"], columns, lines):
        bill.add(wrap_counter(count))
    bill.luts("window", 1)
    bill.luts("window.distance_bits", distance)
    bill.luts("window.address_bits", address)
    bill.ffs("window.distance_bits", 6 * distance)
    bill.ffs("window.address_bits", 4 * address + 5)
    beat = lanes * p["ELEMENT_WIDTH"]
    bill.add(random_access(buffer, beat, p.family))
    bill.ffs("window.data", beat)
    bill.add(result_queue(beat, 5, p.family))
    return bill


def parallel_window(p: Parameters) -> Bill:
    pixel, height, width = p["CHANNELS"] * p["ELEMENT_WIDTH"], p["KERNEL_HEIGHT"], p["KERNEL_WIDTH"]
    rows_over, pixels_over = (height - 1) * p["DILATION_HEIGHT"], (width - 1) * p["DILATION_WIDTH"]
    lag, kept = p["DILATION_HEIGHT"] * p["WIDTH"], (height - 1) * pixel
    bill = Bill()
    bill.luts("parallel", 1)
    for count, first, stride in (
        (p["WIDTH"], pixels_over, p["STRIDE_WIDTH"]),
        (p["HEIGHT"], rows_over, p["STRIDE_HEIGHT"]),
    ):
        bill.add(wrap_counter(count))
        if first or (stride > 1 and count > 1):
            bill.luts("parallel.stride_bits", max(first, stride).bit_length())
            bill.ffs("parallel.control", max(first, stride).bit_length() + 1)
    bill.ffs("parallel.control", 5)
    bill.ffs("parallel.pixels", 2 * pixel + (pixels_over + 1) * height * pixel)
    if height > 1 and lag < 4:
        bill.ffs("parallel.pixels", lag * kept)
    elif height > 1:
        bill.add(random_access(lag, kept, p.family))
        bill.luts("counter.wide_bits", bits_for(lag))
        bill.ffs("parallel.control", 3 * bits_for(lag))
        bill.ffs("parallel.pixels", kept)
    bill.add(result_queue(height * width * pixel, p["SLOTS"], p.family))
    return bill


def window_reduce(p: Parameters) -> Bill:
    lanes, taps, beats, width = p["PE"], p["TAPS"], p["CHANNELS"] // p["PE"], p["INPUT_WIDTH"]
    growth = bits_for(taps) if taps > 1 else 0
    total = width + growth if p["INPUT_SIGNED"] or width > 31 else (taps * ((1 << width) - 1)).bit_length()
    maximum = p["OPERATION"] == 0
    full = width if maximum else min(total, p["OUTPUT_WIDTH"])
    ring = beats <= 4
    cycles = 2 if ring else 3
    slots = cycles + 3 if beats > 1 or taps == 1 else 1 if taps > cycles + 1 else 2
    bill = Bill()
    bill.luts("reduce", 1)
    bill.add(wrap_counter(beats))
    bill.add(wrap_counter(taps))
    bill.ffs("reduce.control", cycles + 1)
    if maximum:
        bill.luts("reduce.maximum_bits", lanes * full)
        bill.luts("reduce.maximum_lanes", lanes)
    else:
        bill.add(adders([full], p.family), lanes)
    bill.ffs("reduce.results", lanes * (full + width))
    if ring:
        bill.luts("reduce.ring_bits", lanes * full)
        bill.ffs("reduce.ring_bits", beats * lanes * full)
    else:
        bill.add(random_access(beats, lanes * full, p.family))
        bill.luts("reduce.first_bits", lanes * full)
        bill.luts("reduce.address_bits", 2 * bits_for(beats))
        bill.ffs("reduce.results", lanes * (width + full))
        bill.ffs("reduce.control", 2 * bits_for(beats) + 4)
    bill.add(result_queue(lanes * p["OUTPUT_WIDTH"], slots, p.family))
    return bill


def pad(p: Parameters) -> Bill:
    beat = p["SIMD"] * p["ELEMENT_WIDTH"]
    bill = Bill()
    bill.luts("pad", 1)
    bill.add(wrap_counter(p["CHANNELS"] // p["SIMD"]))
    bill.add(border_counter(p["LEFT"], p["WIDTH"], p["RIGHT"]))
    bill.add(border_counter(p["TOP"], p["HEIGHT"], p["BOTTOM"]))
    bill.luts("pad.bits", beat)
    bill.add(skid_buffer(beat))
    if p["HOLD"]:
        bill.add(skid_buffer(beat))
        bill.ffs("pad.first", 1)
    return bill


def upsample(p: Parameters) -> Bill:
    beats, buffer = p["CHANNELS"] // p["PE"], p["BUFFER_BEATS"]
    beat, address = p["PE"] * p["ELEMENT_WIDTH"], bits_for(p["BUFFER_BEATS"])
    bill = Bill()
    bill.luts("upsample", 1)
    bill.add(wrap_counter(beats))
    bill.add(wrap_counter(p["FACTOR_WIDTH"]))
    if p["FACTOR_HEIGHT"] > 1:
        bill.add(wrap_counter(p["WIDTH"]))
        bill.add(wrap_counter(p["FACTOR_HEIGHT"]))
    bill.luts("upsample.count_bits", 2 * buffer.bit_length())
    bill.luts("upsample.address_bits", address)
    bill.ffs("upsample.control", 2 * buffer.bit_length() + 2 * address + 6)
    bill.add(random_access(buffer, beat, p.family))
    bill.ffs("window.data", beat)
    bill.add(result_queue(beat, 5, p.family))
    return bill


def insert_zeros(p: Parameters) -> Bill:
    beat = p["SIMD"] * p["ELEMENT_WIDTH"]
    bill = Bill()
    bill.luts("insert", 1)
    bill.add(wrap_counter(p["CHANNELS"] // p["SIMD"]))
    for count, factor in ((p["WIDTH"], p["FACTOR_WIDTH"]), (p["HEIGHT"], p["FACTOR_HEIGHT"])):
        bill.add(wrap_counter(count))
        if factor > 1 and count > 1:
            bill.add(wrap_counter(factor - 1))
            bill.luts("insert.gap", 1)
            bill.ffs("insert.inner", 1)
    bill.luts("insert.bits", beat)
    bill.add(skid_buffer(beat))
    return bill


MODULES = {
    "sliding_window": sliding_window,
    "parallel_window": parallel_window,
    "window_reduce": window_reduce,
    "pad": pad,
    "upsample": upsample,
    "insert_zeros": insert_zeros,
}
