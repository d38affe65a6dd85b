# SPDX-License-Identifier: Apache-2.0
"""relu, requantise, add_bias, scale, threshold and lookup."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from toolchain.backends.rtl.streaming.area.arithmetic import adders, multiplier, saturate, wrap_counter
from toolchain.backends.rtl.streaming.area.bill import Bill, Parameters, bits_for, count_term
from toolchain.backends.rtl.streaming.area.memories import (
    DISTRIBUTED_DEPTH,
    block_rams,
    columns_luts,
    constant_memory,
    function_luts,
    is_block_rom,
    word_bits,
)
from toolchain.backends.rtl.streaming.area.queues import result_queue, skid_buffer
from toolchain.backends.rtl.streaming.instance import MemoryFile


def relu(p: Parameters) -> Bill:
    lanes, width, output = p["PE"], p["INPUT_WIDTH"], p["OUTPUT_WIDTH"]
    signed = width + (0 if p["INPUT_SIGNED"] else 1)
    value = max(signed + max(0, p["NEGATIVE_SLOPE_SHIFT"]), output + 1)
    bill = Bill()
    bill.luts("relu.bits" if p["NEGATIVE_SLOPE_SHIFT"] < 0 else "relu.leaky_bits", lanes * output)
    if p["HAS_UPPER"]:
        bill.add(saturate(value, 0, output, -(1 << 63), p["UPPER_BOUND"]), lanes)
    bill.add(skid_buffer(lanes * output))
    return bill


def requantise(p: Parameters) -> Bill:
    lanes, output = p["PE"], p["OUTPUT_WIDTH"]
    needed = p["INPUT_WIDTH"] + (0 if p["INPUT_SIGNED"] else 1)
    dropped, appended = max(0, p["SHIFT"]), max(0, -p["SHIFT"])
    rounds = dropped > 0 and p["ROUNDING"] > 0
    wide = max(needed, dropped + 1)
    exact = wide - dropped + appended + rounds
    value = exact if exact > output else output + 1
    bill = Bill()
    if rounds:
        # What is kept of a wrapping result needs no more bits of the sum.
        kept = min(exact, output) if p["OVERFLOW"] == 1 else exact
        bill.luts("requantise.rounded_bits", lanes * kept)
        bill.luts("requantise.lane", lanes)
        if p["ROUNDING"] != 2:
            bill.luts("requantise.dropped_bits", lanes * dropped)
        bill.ffs("requantise.values", lanes * kept + 1)
        bill.luts("requantise", 1)
    bill.add(saturate(value, p["OVERFLOW"], output, p["OUTPUT_MINIMUM"], p["OUTPUT_MAXIMUM"]), lanes)
    bill.add(skid_buffer(lanes * output))
    return bill


def add_bias(p: Parameters) -> Bill:
    lanes, output, beats = p["PE"], p["OUTPUT_WIDTH"], p["CHANNELS"] // p["PE"]
    bill = Bill()
    bill.add(_beat_control(beats, 3))
    bill.add(
        constant_memory(beats, lanes * p["BIAS_WIDTH"], p.family, p.memories.get("BIAS_FILE"), loadable=p.loadable)
    )
    bill.add(adders([output - p["INPUT_SHIFT"]], p.family), lanes)
    bill.ffs("element.registers", lanes * (2 * p["INPUT_WIDTH"] + output))
    bill.add(result_queue(lanes * output, 6, p.family))
    return bill


def scale(p: Parameters) -> Bill:
    lanes, output = p["PE"], p["OUTPUT_WIDTH"]
    signed = p["INPUT_WIDTH"] + (0 if p["INPUT_SIGNED"] else 1)
    product = min(signed + p["FACTOR_WIDTH"], output)
    bill = Bill()
    bill.add(_beat_control(p["PERIOD"], 4))
    bill.add(
        constant_memory(
            p["PERIOD"], lanes * p["FACTOR_WIDTH"], p.family, p.memories.get("FACTOR_FILE"), loadable=p.loadable
        )
    )
    bill.ffs("element.registers", lanes * 2 * p["INPUT_WIDTH"])
    bill.add(multiplier(signed, p["FACTOR_WIDTH"], product, p.family, p.get("MULTIPLIER_STYLE", 0)), lanes)
    bill.add(result_queue(lanes * output, 7, p.family))
    return bill


def threshold(p: Parameters) -> Bill:
    lanes, count, beats = p["PE"], p["THRESHOLD_COUNT"], p["CHANNELS"] // p["PE"]
    width, output = p["THRESHOLD_WIDTH"], p["OUTPUT_WIDTH"]
    levels = count.bit_length()
    signed = p["INPUT_WIDTH"] + (0 if p["INPUT_SIGNED"] else 1)
    compared = max(signed, width)
    tables = not p.loadable and beats <= 64 and beats << levels <= 4096
    result_cycle = (1 if tables else 2) + levels - 1
    bill = Bill()
    bill.add(_beat_control(beats, result_cycle))
    bill.luts("threshold.compared_bits", lanes * levels * compared)
    bill.luts("threshold.comparisons", lanes * levels)
    bill.ffs("threshold.numbers", lanes * levels * p["INPUT_WIDTH"])
    if tables:
        memory = p.memories.get("THRESHOLD_FILE")
        if memory is None:
            _unknown_tables(bill, beats, levels, lanes * width, p.family)
        else:
            table, chosen = _tables(memory, lanes, count, width, levels, p.family)
            bill.luts("threshold.table", table)
            bill.luts("threshold.chosen_bits", chosen)
        bill.ffs("threshold.middles", lanes * levels * width if beats > 1 else lanes * (levels - 1) * width)
        bill.ffs("threshold.counts", lanes * levels * (levels - 1) / 2 + (levels - 1) * bits_for(beats) * (beats > 1))
    else:
        bill.add(
            constant_memory(
                beats, lanes * count * width, p.family, p.memories.get("THRESHOLD_FILE"), loadable=p.loadable
            )
        )
        moved = sum((1 << (levels - level)) - 1 for level in range(1, levels))
        bill.luts("threshold.moved_bits", lanes * width * moved)
        bill.ffs("threshold.moved_bits", lanes * width * moved)
        bill.ffs("threshold.numbers", lanes * p["INPUT_WIDTH"])
        bill.ffs("threshold.counts", lanes * levels * (levels - 1) / 2)
    bill.luts("threshold.offset_bits", lanes * output if p["OUTPUT_OFFSET"] else 0)
    bill.add(result_queue(lanes * output, result_cycle + 3, p.family))
    return bill


def _unknown_tables(bill: Bill, beats: int, levels: int, columns: int, family: str) -> None:
    inputs = (beats - 1).bit_length()
    for level in range(levels):
        known = inputs + max(0, level - 1)
        bill.luts("threshold.table", columns * (2 if level else 1) * function_luts(known, family) * (known > 1))
        bill.luts("threshold.chosen_bits", columns * (level > 0))


@lru_cache(maxsize=4096)
def _tables(memory: MemoryFile, lanes: int, count: int, width: int, levels: int, family: str) -> tuple[float, float]:
    """LUTs of the look-ups, and bits that are chosen between two of them.

    At level k the threshold in the middle of what is left, by the beat and the k bits found before; the newest of these comes
    late, and chooses.
    """
    beats = len(memory.words)
    bits = word_bits(memory).reshape(beats, lanes, count, width)
    luts = chosen = 0.0
    for level in range(levels):
        known = np.zeros((beats, 1 << level, lanes, width), np.uint8)
        for found in range(1 << level):
            place = (found << (levels - level)) + (1 << (levels - level - 1)) - 1
            if place < count:
                known[:, found] = bits[:, :, place, :]
        for lane in range(lanes):
            if level == 0:
                luts += columns_luts(known[:, 0, lane], family)
                continue
            halves = [known[:, half::2, lane].reshape(-1, width) for half in (0, 1)]
            luts += sum(columns_luts(half, family) for half in halves)
            chosen += float((halves[0] != halves[1]).any(axis=0).sum())
    return luts, chosen


def lookup(p: Parameters) -> Bill:
    lanes, entries, output = p["PE"], p["ENTRIES"], p["OUTPUT_WIDTH"]
    own = p["ROWS"] > 1
    groups = p["CHANNELS"] // lanes if own else 1
    depth = groups * entries
    address = bits_for(depth)
    distributed = depth <= DISTRIBUTED_DEPTH
    bill = Bill()
    bill.add(_beat_control(1, 2 if distributed else 3))
    if groups > 1:
        bill.add(wrap_counter(groups))
        bill.add(adders([address], p.family))
        bill.add(adders([address], p.family), lanes)
        bill.ffs("element.registers", address)
    bill.ffs("element.registers", lanes * address)
    memory = p.memories.get("TABLE_FILE")
    # The mapper looks at whole words, of which a lane of a beat with tables of its own uses a part.
    if is_block_rom(depth, lanes * output if own else output, p.family):
        bill.block_ram = lanes * block_rams(depth, output)
        bill.ffs("memory.register", lanes * output)
    else:
        if memory is None:
            luts = lanes * output * function_luts(address, p.family)
        else:
            bits = word_bits(memory)
            parts = [bits[:, lane * output : (lane + 1) * output] for lane in range(lanes)] if own else [bits] * lanes
            luts = sum(columns_luts(part, p.family) for part in parts)
        bill.luts("memory.rom" if distributed else "lookup.deep_rom", luts)
        bill.ffs("memory.register", lanes * output * (1 if distributed else 2))
    bill.add(result_queue(lanes * output, (2 if distributed else 3) + 3, p.family))
    return bill


def _beat_control(beats: int, cycles: int) -> Bill:
    """A counter of beats, and bits that follow what is under way."""
    bill = Bill()
    bill.luts("element", 1)
    if beats > 1:
        count_term(bill, bits_for(beats), "element.beats")
        bill.ffs("element.counter_bits", bits_for(beats))
    bill.ffs("element.under_way", cycles)
    return bill


MODULES = {
    "relu": relu,
    "requantise": requantise,
    "add_bias": add_bias,
    "scale": scale,
    "threshold": threshold,
    "lookup": lookup,
}
