# SPDX-License-Identifier: Apache-2.0
"""The cocotb tests of `stream_bench` for kernels with several inputs or outputs, each port with pauses of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise, product
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from rtl_tests.common.branch_case import BranchCase
from rtl_tests.common.branch_contract import BranchContract
from rtl_tests.common.case import seed_of
from rtl_tests.common.stream_bench import FULL, PATTERNS, pauses

CASES: dict[str, BranchCase] = {case.name: case for case in import_module(os.environ["BENCH_MODULE"]).CASES}


class Ports:
    """The signals of one instance in the generated top module."""

    def __init__(self, dut: object, case: BranchCase) -> None:
        self.dut, self.case = dut, case
        self.rst = getattr(dut, f"{case.name}_rst")
        self.inputs, self.outputs = (
            [
                [getattr(dut, f"{case.name}_{prefix}_{signal}") for signal in ("tdata", "tvalid", "tready")]
                for prefix in side
            ]
            for side in (case.inputs, case.outputs)
        )

    def quiet(self) -> None:
        for data, valid, _ in self.inputs:
            data.value, valid.value = 0, 0
        for _, _, ready in self.outputs:
            ready.value = 0


async def start(dut: object, case: BranchCase) -> Ports:
    """Start the clock, quiet all instances and reset them."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for other in CASES.values():
        ports = Ports(dut, other)
        ports.rst.value = 1
        ports.quiet()
    for _ in range(3):
        await FallingEdge(dut.clk)
    ports = Ports(dut, case)
    ports.rst.value = 0
    return ports


async def transfer(
    ports: Ports,
    contract: BranchContract,
    beats: Sequence[Sequence[int]],
    expected: Sequence[Sequence[int]],
    random: Random,
    pattern: str,
    *,
    stop_after: int | None = None,
) -> tuple[list[list[int]], list[list[int]]]:
    """Send `beats` and check every cycle: all handshake outputs against the contract, data against `expected`.

    stop_after: end after this many cycles, whatever is under way; otherwise all of `expected` is awaited, and then 40
    cycles and the latency in which nothing may come out.
    Returns the cycles in which the beats of each input were accepted, and those in which the beats of each output were
    first offered.
    """
    case = ports.case
    idle_chance, stall_chance, bursts = PATTERNS[pattern]
    idle = [pauses(random, idle_chance, bursts) for _ in beats]
    stall = [pauses(random, stall_chance, bursts) for _ in expected]
    widths = list(case.inputs.values())
    accepts: list[list[int]] = [[] for _ in beats]
    offers: list[list[int]] = [[] for _ in expected]
    received = [0 for _ in expected]
    offering = [False for _ in beats]
    cycle = quiet = last_progress = 0
    while True:
        await FallingEdge(ports.dut.clk)
        where = f"{case.name}, {pattern}, cycle {cycle}, {[len(a) for a in accepts]} beats accepted, {received} taken"
        ready = [signals[2].value == 1 for signals in ports.inputs]
        valid = [signals[1].value == 1 for signals in ports.outputs]
        for port, prefix in enumerate(case.inputs):
            assert ready[port] == contract.ready(port), f"{where}: {prefix}_tready is {int(ready[port])}"
        for port, prefix in enumerate(case.outputs):
            assert valid[port] == contract.valid(port), f"{where}: {prefix}_tvalid is {int(valid[port])}"
            if valid[port]:
                wanted = expected[port]
                assert received[port] < len(wanted), f"{where}: an output beat too many on {prefix}"
                # Checked in every cycle of the offer, so that data which changes in a stall is seen.
                got = int(ports.outputs[port][0].value)
                assert got == wanted[received[port]], (
                    f"{where}: {prefix} {got:#x}, expected {wanted[received[port]]:#x}"
                )
                if len(offers[port]) == received[port]:
                    offers[port].append(cycle)
        if stop_after is not None and cycle >= stop_after:
            return accepts, offers
        accepted, taken = [False for _ in beats], [False for _ in expected]
        for port, (data, offered, _) in enumerate(ports.inputs):
            sent = len(accepts[port])
            if not offering[port] and sent < len(beats[port]):
                offering[port] = not idle[port]()
            offered.value = int(offering[port])
            # Between beats the data lines carry noise, so that a beat latched without its valid is seen.
            data.value = beats[port][sent] if offering[port] else random.getrandbits(widths[port])
            if offering[port] and ready[port]:
                accepted[port], offering[port] = True, False
                accepts[port].append(cycle)
        for port, (_, _, take) in enumerate(ports.outputs):
            go = not stall[port]()
            take.value = int(go)
            taken[port] = valid[port] and go
            received[port] += taken[port]
        contract.tick(accepted, taken)
        if any(accepted) or any(taken):
            last_progress = cycle
        cycle += 1
        if [len(a) for a in accepts] == [len(b) for b in beats] and received == [len(wanted) for wanted in expected]:
            quiet += 1
            if quiet > 40 + case.first_output:
                return accepts, offers
        assert cycle - last_progress < 2000 + 10 * case.interval, f"{where}: no beat moved any more"


def frames_of(case: BranchCase, random: Random, count: int) -> tuple[list[list[int]], list[list[int]]]:
    """Beats of each input, and of each output, of several frames."""
    frames = [case.frame(random) for _ in range(count)]
    results = [case.expected(frame) for frame in frames]
    inputs, outputs = (
        [[beat for frame in side for beat in frame[port]] for port in range(len(prefixes))]
        for side, prefixes in ((frames, case.inputs), (results, case.outputs))
    )
    return inputs, outputs


@cocotb.test()
@cocotb.parametrize(("name", list(CASES)), ("pattern", list(PATTERNS)))
async def streams(dut: object, name: str, pattern: str) -> None:
    """Outputs, handshake contract, empty outputs afterwards; and, while nothing stalls, latency and interval."""
    case, random = CASES[name], Random(seed_of(CASES[name].module, name, "streams", pattern))
    ports = await start(dut, case)
    # About 300 cycles (full sweep: 3000) without stalls.
    count = max(4, (3000 if FULL else 300) // case.interval)
    beats, expected = frames_of(case, random, count)
    accepts, offers = await transfer(ports, case.contract(), beats, expected, random, pattern)
    if pattern == "flowing":
        for cycles in (*accepts, *offers):
            # Inputs that wait for each other take their first beats faster; from the middle on the interval is steady.
            steady = cycles[:: len(cycles) // count][count // 2 :]
            intervals = {later - earlier for earlier, later in pairwise(steady)}
            assert intervals == {case.interval}, f"{name}: frames start {intervals} cycles apart, not {case.interval}"
        first = min(cycles[0] for cycles in accepts)
        found = [cycles[0] - first for cycles in offers]
        assert found == [case.first_output] * len(offers), f"{name}: latencies are {found}, not {case.first_output}"


@cocotb.test()
@cocotb.parametrize(("name", list(CASES)), ("attempt", list(range(12 if FULL else 3))))
async def reset_in_mid_frame(dut: object, name: str, attempt: int) -> None:
    """After one cycle of reset, at any point and with results waiting, only the new frames come out."""
    case, random = CASES[name], Random(seed_of(CASES[name].module, name, "reset", attempt))
    ports = await start(dut, case)
    beats, expected = frames_of(case, random, max(4, 30 // case.interval))
    pattern = "stalled" if attempt % 3 == 0 else "both"
    stop_after = random.randint(1, 2 * case.interval + case.first_output + 3)
    await transfer(ports, case.contract(), beats, expected, random, pattern, stop_after=stop_after)
    ports.rst.value = 1
    for _, valid, _ in ports.inputs:
        valid.value = 0
    await FallingEdge(dut.clk)
    ports.rst.value = 0
    beats, expected = frames_of(case, random, max(4, 30 // case.interval))
    await transfer(ports, case.contract(), beats, expected, random, "both")


@cocotb.test()
@cocotb.parametrize(("name", list(CASES)))
async def no_combinational_path(dut: object, name: str) -> None:
    """No output of the kernel follows an input within a cycle, whatever its state."""
    case, random = CASES[name], Random(seed_of(CASES[name].module, name, "paths"))
    ports = await start(dut, case)
    beats, _ = frames_of(case, random, max(4, 60 // case.interval))
    for number in range(min(200, max(len(stream) for stream in beats))):
        await FallingEdge(dut.clk)
        seen = set()
        switches = [signals[1] for signals in ports.inputs] + [signals[2] for signals in ports.outputs]
        for values in product((0, 1), repeat=len(switches)):
            for switch, value in zip(switches, values, strict=True):
                switch.value = value
            for port, ((data, _, _), bits) in enumerate(zip(ports.inputs, case.inputs.values(), strict=True)):
                beat = beats[port][number % len(beats[port])]
                data.value = beat if values[port] else random.getrandbits(bits)
            await Timer(200, "ps")
            offered = [signals[1].value == 1 for signals in ports.outputs]
            data_seen = [int(s[0].value) if valid else None for s, valid in zip(ports.outputs, offered, strict=True)]
            seen.add((*(signals[2].value == 1 for signals in ports.inputs), *offered, *data_seen))
        assert len(seen) == 1, f"{name}: outputs change with the inputs in one cycle: {seen}"
        for switch in switches:
            switch.value = random.getrandbits(1)
