# SPDX-License-Identifier: Apache-2.0
"""A kernel's timing in the toolchain against its contract here, which the bench has held against the RTL."""

from __future__ import annotations

from random import Random

from rtl_tests.common.contract import Contract
from toolchain.backends.rtl.streaming.circuit_state import KernelProbe
from toolchain.backends.rtl.streaming.timing import Circuit, Link, Timing


def probe_of(timing: Timing, beats: int) -> KernelProbe:
    """A kernel alone, with room for `beats` beats on each of its ports."""
    inputs, outputs = timing.rates
    links = [Link(rate, None, (0, port)) for port, rate in enumerate(inputs)]
    links += [Link(rate, (0, port), None) for port, rate in enumerate(outputs)]
    return KernelProbe(Circuit((timing,), tuple(links)), -(-beats // min(*inputs, *outputs)) + 1)


def check_timing(timing: Timing, contract: Contract, random: Random, idle: float, stall: float, cycles: int) -> None:
    """Run the contract with random pauses, and in every cycle ask the timing for both handshake outputs.

    Afterwards the timing, behind a reset, is told what happened in another order, the events of one port far ahead of those
    of the other, as in a schedule: it has to name the very cycle from which each beat could be accepted, or was offered, as
    soon as it names any.

    idle, stall: probability of a cycle without an input beat, and of one in which the output is not taken.
    """
    probe = probe_of(timing, cycles)
    accepts: list[int] = []
    takes: list[int] = []
    ready_since: list[int] = []
    valid_since: list[int] = []
    for cycle in range(cycles):
        ready_from, valid_from = probe.ready(), probe.offer()
        ready = ready_from is not None and ready_from <= cycle
        valid = valid_from is not None and valid_from <= cycle
        assert ready == contract.ready(), f"cycle {cycle}, {len(accepts)} accepted: ready from {ready_from}"
        assert valid == contract.valid(), f"cycle {cycle}, {len(takes)} taken: offered from {valid_from}"
        if ready and len(ready_since) == len(accepts):
            ready_since.append(cycle)
        if valid and len(valid_since) == len(takes):
            valid_since.append(cycle)
        accepted = ready and random.random() >= idle
        taken = valid and random.random() >= stall
        contract.tick(accepted, taken)
        if accepted:
            accepts.append(cycle)
            probe.accept(cycle)
        if taken:
            takes.append(cycle)
            probe.take(cycle)
    assert accepts, "no input beat moved"
    again = probe_of(timing, cycles)
    accepted_beats = taken_beats = 0
    while True:
        before = accepted_beats, taken_beats
        for _ in range(random.randint(1, 40)):
            if accepted_beats == len(accepts) or (ready_from := again.ready()) is None:
                break
            assert ready_from == ready_since[accepted_beats], f"input beat {accepted_beats}"
            again.accept(accepts[accepted_beats])
            accepted_beats += 1
        for _ in range(random.randint(1, 40)):
            if taken_beats == len(takes) or (valid_from := again.offer()) is None:
                break
            assert valid_from == valid_since[taken_beats], f"output beat {taken_beats}"
            again.take(takes[taken_beats])
            taken_beats += 1
        if before == (accepted_beats, taken_beats):
            break
    assert (accepted_beats, taken_beats) == (len(accepts), len(takes)), "the timing stops before the contract does"
