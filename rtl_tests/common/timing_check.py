# SPDX-License-Identifier: Apache-2.0
"""A kernel's Timing in the toolchain against its contract here, which the bench has held against the RTL."""

from __future__ import annotations

from random import Random

from rtl_tests.common.contract import Contract
from toolchain.backends.rtl.streaming.timing import Timing


def check_timing(timing: Timing, contract: Contract, random: Random, idle: float, stall: float, cycles: int) -> None:
    """Run the contract with random pauses, and in every cycle ask the timing for both handshake outputs.

    Afterwards the timing, behind a reset, is asked again for every beat with all that happened, as a schedule asks it: now it
    has to name the very cycle from which each beat could be accepted, or was offered.

    idle, stall: probability of a cycle without an input beat, and of one in which the output is not taken.
    """
    behaviour = timing.start()
    accepts: list[int] = []
    takes: list[int] = []
    ready_since: list[int] = []
    valid_since: list[int] = []
    for cycle in range(cycles):
        ready_from = behaviour.ready(len(accepts), accepts, takes)
        valid_from = behaviour.offer(len(takes), accepts, takes)
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
        if taken:
            takes.append(cycle)
    assert accepts, "no input beat moved"
    again = timing.start()
    for beat in range(len(accepts)):
        assert again.ready(beat, accepts, takes) == ready_since[beat], f"input beat {beat}"
    for beat in range(len(takes)):
        assert again.offer(beat, accepts, takes) == valid_since[beat], f"output beat {beat}"
