# SPDX-License-Identifier: Apache-2.0
"""`timing_check` for kernels with several inputs or outputs."""

from __future__ import annotations

from random import Random

from rtl_tests.common.branch_contract import BranchContract
from rtl_tests.common.timing_check import probe_of
from toolchain.backends.rtl.streaming.timing import Timing


def check_branch_timing(
    timing: Timing, contract: BranchContract, random: Random, idle: float, stall: float, cycles: int
) -> None:
    """Run the contract with random pauses, and in every cycle ask the timing for every handshake output.

    Afterwards the timing, behind a reset, is told what happened in another order, the events of some ports far ahead of
    those of others, as in a schedule: it has to name the very cycle from which each beat could be accepted, or was offered,
    as soon as it names any.

    idle, stall: probability, on each port, of a cycle without an input beat, and of one in which the output is not taken.
    """
    inputs, outputs = (len(side) for side in timing.rates)
    probe = probe_of(timing, cycles)
    # Of each port, inputs first: the cycles in which beats passed, and the first in which they could.
    passed: list[list[int]] = [[] for _ in range(inputs + outputs)]
    since: list[list[int]] = [[] for _ in range(inputs + outputs)]
    for cycle in range(cycles):
        moved = []
        for port in range(inputs + outputs):
            if port < inputs:
                able_from, wanted, pause = probe.ready(port), contract.ready(port), idle
            else:
                able_from, wanted, pause = probe.offer(port - inputs), contract.valid(port - inputs), stall
            able = able_from is not None and able_from <= cycle
            assert able == wanted, f"cycle {cycle}, port {port}, {len(passed[port])} beats: from {able_from}"
            if able and len(since[port]) == len(passed[port]):
                since[port].append(cycle)
            moved.append(able and random.random() >= pause)
        contract.tick(moved[:inputs], moved[inputs:])
        for port, move in enumerate(moved):
            if move:
                passed[port].append(cycle)
                if port < inputs:
                    probe.accept(cycle, port)
                else:
                    probe.take(cycle, port - inputs)
    assert all(passed), "on a port no beat moved"
    again = probe_of(timing, cycles)
    told = [0] * (inputs + outputs)
    while True:
        before = list(told)
        for port in range(inputs + outputs):
            for _ in range(random.randint(1, 40)):
                if told[port] == len(passed[port]):
                    break
                able_from = again.ready(port) if port < inputs else again.offer(port - inputs)
                if able_from is None:
                    break
                assert able_from == since[port][told[port]], f"port {port}, beat {told[port]}"
                if port < inputs:
                    again.accept(passed[port][told[port]], port)
                else:
                    again.take(passed[port][told[port]], port - inputs)
                told[port] += 1
        if told == before:
            break
    assert told == [len(cycles_passed) for cycles_passed in passed], "the timing stops before the contract does"
