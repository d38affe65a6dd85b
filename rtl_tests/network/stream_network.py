# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of a whole network with AXI-Stream ports, run inside the simulator and driven by data alone.

BENCH_FOLDER names a folder with bench.json: the two ports (beats a frame), frames of input beats and the output beats that
the integer interpreter gives for them (hexadecimal), the declared latency and steady state, and inputs that stay 0. Each test adds what it
compared to outcome.json beside it. Independent of the toolchain package.

Inputs change at the falling edge of the clock, and outputs are read there, before: they must be functions of registers
alone (`outputs_come_from_registers`), so they hold at the next rising edge.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

FOLDER = Path(os.environ["BENCH_FOLDER"])
BENCH = json.loads((FOLDER / "bench.json").read_text())
FRAMES = [[int(beat, 16) for beat in frame] for frame in BENCH["frames"]]
EXPECTED = [[int(beat, 16) for beat in frame] for frame in BENCH["expected"]]
#: Cycles without a transfer, at ports that are both willing, after which a network counts as stuck.
PATIENCE = 4 * (BENCH["latency_cycles"] + BENCH["initiation_interval_cycles"]) + 64
CLOCK_PERIOD_NS = 10

Pause = Callable[[], bool]


def never() -> bool:
    return False


def chance(random: Random, probability: float) -> Pause:
    return lambda: random.random() < probability


def bursts(random: Random) -> Pause:
    """Pauses that last, and between them runs that last."""
    left, pausing = 0, False

    def pause() -> bool:
        nonlocal left, pausing
        if left == 0:
            pausing, left = not pausing, random.randint(1, 40)
        left -= 1
        return pausing

    return pause


@dataclass
class Traffic:
    """What passed the ports: cycle of each accepted beat, cycle and value of each taken beat, frames whose tlast was wrong."""

    accepted: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    beats: list[int] = field(default_factory=list)


async def reset(dut: object, cycles: int = 3) -> None:
    dut.rst.value = 1
    dut.s_axis_tvalid.value = 0
    dut.m_axis_tready.value = 0
    for _ in range(cycles):
        await FallingEdge(dut.clk)
    assert dut.m_axis_tvalid.value == 0, "m_axis_tvalid is high in reset"
    dut.rst.value = 0


async def start(dut: object) -> None:
    cocotb.start_soon(Clock(dut.clk, CLOCK_PERIOD_NS, "ns").start())
    dut.s_axis_tdata.value = 0
    for port in BENCH["tied_low"]:
        getattr(dut, port).value = 0
    await reset(dut)


async def drive(
    dut: object,
    beats: list[int],
    wanted: int,
    *,
    idle: Pause = never,
    stall: Pause = never,
    stop_after: int | None = None,
) -> Traffic:
    """Offer `beats` and take `wanted` output beats, watching the output's protocol in every cycle.

    stop_after: give up after so many cycles (for a reset in the middle of a frame).
    """
    traffic = Traffic()
    frame_beats = BENCH["output"]["beats"]
    offered, quiet, cycle = False, 0, 0
    waiting: tuple[object, object] | None = None  # (tdata, tlast) of a beat that was offered and not taken
    while len(traffic.taken) < wanted and (stop_after is None or cycle < stop_after):
        if not offered and len(traffic.accepted) < len(beats) and not idle():
            offered = True
            dut.s_axis_tdata.value = beats[len(traffic.accepted)]
        dut.s_axis_tvalid.value = int(offered)
        ready = not stall()
        dut.m_axis_tready.value = int(ready)
        # No output depends on an input in the same cycle, so what stands there now is what the rising edge sees.
        valid = dut.m_axis_tvalid.value == 1
        moved = False
        if offered and dut.s_axis_tready.value == 1:
            traffic.accepted.append(cycle)
            offered, moved = False, True
        if waiting is not None:
            assert valid, f"cycle {cycle}: m_axis_tvalid fell before the beat was taken"
            now = (dut.m_axis_tdata.value, dut.m_axis_tlast.value)
            assert now == waiting, f"cycle {cycle}: the waiting beat changed from {waiting} to {now}"
        waiting = (dut.m_axis_tdata.value, dut.m_axis_tlast.value) if valid and not ready else None
        if valid and ready:
            last = dut.m_axis_tlast.value == 1
            place = len(traffic.taken) % frame_beats
            assert last == (place == frame_beats - 1), (
                f"cycle {cycle}: m_axis_tlast is {int(last)} on beat {place} of a frame"
            )
            traffic.taken.append(cycle)
            traffic.beats.append(int(dut.m_axis_tdata.value))
            moved = True
        # Cycles in which the sink is not ready count neither way: a design that loses results in them is stuck all the same.
        pausing = not offered and len(traffic.accepted) < len(beats)
        quiet = 0 if moved or pausing else quiet + ready
        assert quiet <= PATIENCE, (
            f"stuck: no beat moved in {quiet} cycles after {len(traffic.accepted)} of {len(beats)} input beats and "
            f"{len(traffic.taken)} of {wanted} output beats; s_axis_tready is {dut.s_axis_tready.value}, "
            f"m_axis_tvalid is {dut.m_axis_tvalid.value}"
        )
        await FallingEdge(dut.clk)
        cycle += 1
    dut.s_axis_tvalid.value = 0
    return traffic


def compare(traffic: Traffic, expected: list[list[int]]) -> None:
    """Every output beat against the interpreter's; the first difference is the message."""
    size = BENCH["output"]["beats"]
    found = [traffic.beats[start : start + size] for start in range(0, len(traffic.beats), size)]
    wrong = [number for number, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
    note(len(expected), len(wrong))
    if wrong:
        number = wrong[0]
        place = next(i for i, (a, b) in enumerate(zip(found[number], expected[number], strict=True)) if a != b)
        raise AssertionError(
            f"{len(wrong)} of {len(expected)} frames differ from the interpreter; first frame {number}, output beat {place}: "
            f"expected 0x{expected[number][place]:x}, found 0x{found[number][place]:x}"
        )


def note(frames: int, wrong: int) -> None:
    path = FOLDER / "outcome.json"
    outcome = json.loads(path.read_text()) if path.exists() else {"frames": 0, "mismatches": 0}
    path.write_text(json.dumps({"frames": outcome["frames"] + frames, "mismatches": outcome["mismatches"] + wrong}))


async def expect_silence(dut: object) -> None:
    """Nothing may follow the last beat: watch the output, always ready, for longer than a frame takes."""
    dut.m_axis_tready.value = 1
    for cycle in range(BENCH["latency_cycles"] + BENCH["initiation_interval_cycles"] + 16):
        await FallingEdge(dut.clk)
        assert dut.m_axis_tvalid.value == 0, f"an output beat follows {cycle + 1} cycles after the last one"


def flat(frames: list[list[int]]) -> list[int]:
    return [beat for frame in frames for beat in frame]


async def run_all(dut: object, idle: Pause = never, stall: Pause = never) -> None:
    await start(dut)
    expected = EXPECTED
    traffic = await drive(dut, flat(FRAMES), len(flat(expected)), idle=idle, stall=stall)
    compare(traffic, expected)
    await expect_silence(dut)


@cocotb.test()
async def flowing(dut: object) -> None:
    """A source that always offers, a sink that always takes."""
    await run_all(dut)


@cocotb.test()
async def idle_source(dut: object) -> None:
    """A source with pauses between its beats."""
    await run_all(dut, idle=chance(Random(1), 0.4))


@cocotb.test()
async def stalled_sink(dut: object) -> None:
    """A sink that is often not ready: back-pressure through the whole network."""
    await run_all(dut, stall=chance(Random(2), 0.6))


@cocotb.test()
async def idle_source_and_stalled_sink(dut: object) -> None:
    await run_all(dut, idle=chance(Random(3), 0.3), stall=chance(Random(4), 0.3))


@cocotb.test()
async def bursts_on_both_sides(dut: object) -> None:
    await run_all(dut, idle=bursts(Random(5)), stall=bursts(Random(6)))


@cocotb.test()
async def sink_blocked_until_full(dut: object) -> None:
    """The sink takes nothing until the network can take no more; nothing is lost."""
    await start(dut)
    blocked = 0

    def stall() -> bool:
        nonlocal blocked
        blocked += 1
        return blocked < 2 * (BENCH["latency_cycles"] + BENCH["initiation_interval_cycles"])

    traffic = await drive(dut, flat(FRAMES), len(flat(EXPECTED)), stall=stall)
    compare(traffic, EXPECTED)
    await expect_silence(dut)


@cocotb.test()
async def declared_latency_and_interval(dut: object) -> None:
    """Latency of a frame into an empty network, and the interval between frames in steady state, are those declared."""
    await start(dut)
    steady = BENCH["steady_state"]
    count = steady["from_frame"] + 2 * steady["frames"] + 1
    frames = [FRAMES[number % len(FRAMES)] for number in range(count)]
    expected = [EXPECTED[number % len(EXPECTED)] for number in range(count)]
    traffic = await drive(dut, flat(frames), len(flat(expected)))
    compare(traffic, expected)
    first, last = traffic.taken[0], traffic.taken[BENCH["output"]["beats"] - 1]
    found = {"first output": first - traffic.accepted[0], "latency": last - traffic.accepted[0]}
    declared = {"first output": BENCH["first_output_latency_cycles"], "latency": BENCH["latency_cycles"]}
    assert found == declared, f"declared cycles {declared}, measured {found}"
    for name, cycles, beats in (
        ("input", traffic.accepted, BENCH["input"]["beats"]),
        ("output", traffic.taken, BENCH["output"]["beats"]),
    ):
        starts = cycles[::beats]
        for frame in range(steady["from_frame"], count - steady["frames"]):
            gap = starts[frame + steady["frames"]] - starts[frame]
            assert gap == steady["cycles"], (
                f"{name}: {gap} cycles from frame {frame} to frame {frame + steady['frames']}, declared {steady['cycles']}"
            )


@cocotb.test()
async def reset_in_mid_frame(dut: object) -> None:
    """After a reset at any moment the network starts afresh: nothing of the frames before it comes out."""
    await start(dut)
    random = Random(7)
    span = BENCH["latency_cycles"] + BENCH["initiation_interval_cycles"]
    several = min(4, len(FRAMES))
    for _ in range(8):
        stall = chance(random, random.choice([0.0, 0.9]))
        await drive(dut, flat(FRAMES), len(flat(EXPECTED)), stall=stall, stop_after=random.randint(1, span))
        await reset(dut, cycles=random.randint(1, 3))
        picked = [random.randrange(len(FRAMES)) for _ in range(several)]
        expected = [EXPECTED[number] for number in picked]
        traffic = await drive(dut, flat([FRAMES[number] for number in picked]), len(flat(expected)))
        compare(traffic, expected)
        await expect_silence(dut)
        await reset(dut)


@cocotb.test()
async def outputs_come_from_registers(dut: object) -> None:
    """No output changes with an input within a cycle."""
    await start(dut)
    random = Random(8)
    names = ("s_axis_tready", "m_axis_tvalid", "m_axis_tdata", "m_axis_tlast")
    for cycle in range(min(400, 2 * PATIENCE)):
        dut.s_axis_tdata.value = random.choice(random.choice(FRAMES))
        seen = set()
        for valid, ready in ((0, 0), (1, 0), (0, 1), (1, 1)):
            dut.s_axis_tvalid.value, dut.m_axis_tready.value = valid, ready
            await Timer(1, "ns")
            # An output's data is only meant while it is valid.
            shown = names if dut.m_axis_tvalid.value == 1 else names[:2]
            seen.add(tuple(str(getattr(dut, name).value) for name in shown))
        assert len(seen) == 1, f"cycle {cycle}: outputs {names} change with inputs within the cycle: {sorted(seen)}"
        await FallingEdge(dut.clk)
