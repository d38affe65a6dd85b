# SPDX-License-Identifier: Apache-2.0
"""The cocotb tests that every case of every bench passes, run inside the simulator.

The environment variable BENCH_MODULE names the Python module with the cases. Inputs change at the falling edge of the
clock, and outputs are read there: a kernel has no combinational path from its inputs to its outputs, which
`no_combinational_path` proves case by case, so what is read there holds at the next rising edge.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from rtl_tests.common.case import Case, seed_of
from rtl_tests.common.contract import Contract

CASES: dict[str, Case] = {case.name: case for case in import_module(os.environ["BENCH_MODULE"]).CASES}
FULL = os.environ.get("BENCH_FULL") == "1"

#: Probability of an idle input cycle, of a stalled output cycle, and whether both come in bursts.
PATTERNS: dict[str, tuple[float, float, bool]] = {
    "flowing": (0.0, 0.0, False),
    "idle": (0.5, 0.0, False),
    "stalled": (0.0, 0.6, False),
    "both": (0.3, 0.3, False),
    "bursts": (0.5, 0.5, True),
}


@dataclass
class Port:
    """The signals of one instance in the generated top module."""

    dut: object
    name: str

    def __getattr__(self, signal: str) -> object:
        return getattr(self.dut, f"{self.name}_{signal}")


@dataclass
class Record:
    """Cycles of what happened, and the cycle in which each output beat was first offered."""

    accepted: list[int] = field(default_factory=list)
    offered: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)


def pauses(random: Random, probability: float, bursts: bool) -> Callable[[], bool]:
    """A function that says cycle by cycle whether to pause."""
    if not bursts:
        return lambda: random.random() < probability
    state = {"pause": False, "left": 0}

    def pause() -> bool:
        if state["left"] == 0:
            state["pause"] = random.random() < probability
            state["left"] = random.randint(1, 40)
        state["left"] -= 1
        return bool(state["pause"])

    return pause


async def start(dut: object, case: Case) -> Port:
    """Start the clock, quiet all instances and reset them."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for name in CASES:
        port = Port(dut, name)
        port.rst.value, port.s_axis_tvalid.value, port.m_axis_tready.value = 1, 0, 0
        port.s_axis_tdata.value = 0
    for _ in range(3):
        await FallingEdge(dut.clk)
    # Only the case under test leaves reset: the others stand still, which keeps the simulation fast.
    port = Port(dut, case.name)
    port.rst.value = 0
    return port


async def transfer(
    port: Port,
    case: Case,
    contract: Contract,
    beats: Sequence[int],
    expected: Sequence[int],
    random: Random,
    pattern: str,
    *,
    stop_after: int | None = None,
) -> Record:
    """Send `beats` and check every cycle: both handshake outputs against the contract, data against `expected`.

    stop_after: end after this many cycles, whatever is under way; otherwise all of `expected` is awaited, and then
    40 cycles and the latency in which nothing may come out.
    """
    idle_chance, stall_chance, bursts = PATTERNS[pattern]
    idle, stall = pauses(random, idle_chance, bursts), pauses(random, stall_chance, bursts)
    record = Record()
    cycle = sent = received = 0
    offering = False
    quiet = 0
    last_progress = 0
    while True:
        await FallingEdge(port.dut.clk)
        ready, valid = port.s_axis_tready.value == 1, port.m_axis_tvalid.value == 1
        where = f"{case.name}, {pattern}, cycle {cycle}, {sent} beats accepted, {received} taken"
        assert ready == contract.ready(), f"{where}: s_axis_tready is {int(ready)}"
        assert valid == contract.valid(), f"{where}: m_axis_tvalid is {int(valid)}"
        if valid:
            assert received < len(expected), f"{where}: an output beat too many"
            # Checked in every cycle of the offer, so that data which changes in a stall is seen.
            got = int(port.m_axis_tdata.value)
            assert got == expected[received], f"{where}: got {got:#x}, expected {expected[received]:#x}"
            if len(record.offered) == received:
                record.offered.append(cycle)
        if stop_after is not None and cycle >= stop_after:
            return record
        if not offering and sent < len(beats):
            offering = not idle()
        take = not stall()
        port.s_axis_tvalid.value = int(offering)
        # Between beats the data lines carry noise, so that a beat latched without its valid is seen.
        port.s_axis_tdata.value = beats[sent] if offering else random.getrandbits(case.input_bits)
        port.m_axis_tready.value = int(take)
        accepted, taken = offering and ready, valid and take
        contract.tick(accepted, taken)
        if accepted:
            record.accepted.append(cycle)
            sent += 1
            offering = False
        if taken:
            record.taken.append(cycle)
            received += 1
        if accepted or taken:
            last_progress = cycle
        cycle += 1
        if sent == len(beats) and received == len(expected):
            quiet += 1
            if quiet > 40 + case.first_output:
                return record
        assert cycle - last_progress < 2000 + 10 * case.interval, f"{where}: no beat moved any more"


def frames_of(case: Case, random: Random, count: int) -> tuple[list[int], list[int]]:
    frames = [case.frame(random) for _ in range(count)]
    return [beat for f in frames for beat in f], [*case.ahead, *(beat for f in frames for beat in case.expected(f))]


def frame_count(case: Case) -> int:
    """Enough frames for about 300 cycles (full sweep: 3000) without stalls, and at least 4."""
    return max(4, (3000 if FULL else 300) // case.interval)


@cocotb.test()
@cocotb.parametrize(("name", list(CASES)), ("pattern", list(PATTERNS)))
async def streams(dut: object, name: str, pattern: str) -> None:
    """Outputs, handshake contract, empty output afterwards; and, while nothing stalls, latency and interval."""
    case, random = CASES[name], Random(seed_of(CASES[name].module, name, "streams", pattern))
    port = await start(dut, case)
    count = frame_count(case)
    beats, expected = frames_of(case, random, count)
    record = await transfer(port, case, case.contract(), beats, expected, random, pattern)
    if pattern == "flowing":
        firsts = record.accepted[:: len(beats) // count]
        # Buffers may swallow the first frames faster; from the middle on the interval is steady.
        steady = firsts[count // 2 :]
        intervals = {later - earlier for earlier, later in pairwise(steady)}
        assert intervals == {case.interval}, f"{name}: frames start {intervals} cycles apart, not {case.interval}"
        assert record.offered[len(case.ahead)] - firsts[0] == case.first_output, (
            f"{name}: latency is not {case.first_output}"
        )


@cocotb.test()
@cocotb.parametrize(("name", list(CASES)), ("attempt", list(range(12 if FULL else 3))))
async def reset_in_mid_frame(dut: object, name: str, attempt: int) -> None:
    """After one cycle of reset, at any point and with results waiting, only the new frames come out."""
    case, random = CASES[name], Random(seed_of(CASES[name].module, name, "reset", attempt))
    port = await start(dut, case)
    beats, expected = frames_of(case, random, 4)
    pattern = "stalled" if attempt % 3 == 0 else "both"
    stop_after = random.randint(1, 2 * case.interval + case.first_output)
    await transfer(port, case, case.contract(), beats, expected, random, pattern, stop_after=stop_after)
    port.rst.value, port.s_axis_tvalid.value = 1, 0
    await FallingEdge(dut.clk)
    port.rst.value = 0
    beats, expected = frames_of(case, random, 4)
    await transfer(port, case, case.contract(), beats, expected, random, "both")


@cocotb.test()
@cocotb.parametrize(("name", list(CASES)))
async def no_combinational_path(dut: object, name: str) -> None:
    """No output of the kernel follows an input within a cycle, whatever its state."""
    case, random = CASES[name], Random(seed_of(CASES[name].module, name, "paths"))
    port = await start(dut, case)
    beats, _ = frames_of(case, random, 4)
    for beat in beats[:200]:
        await FallingEdge(dut.clk)
        seen = set()
        for s_axis_tvalid, m_axis_tready in ((0, 0), (0, 1), (1, 0), (1, 1), (random.getrandbits(1), 0)):
            port.s_axis_tvalid.value, port.m_axis_tready.value = s_axis_tvalid, m_axis_tready
            port.s_axis_tdata.value = beat if s_axis_tvalid else random.getrandbits(case.input_bits)
            await Timer(500, "ps")
            valid = port.m_axis_tvalid.value == 1
            seen.add((port.s_axis_tready.value == 1, valid, int(port.m_axis_tdata.value) if valid else None))
        assert len(seen) == 1, f"{name}: outputs change with the inputs in one cycle: {seen}"
        port.m_axis_tready.value = random.getrandbits(1)
        port.s_axis_tvalid.value = random.getrandbits(1)
