# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of uart_receiver, each on every instance."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from rtl_tests.uart_receiver.instances import CLOCKS_PER_BIT

CLOCK_PS = 1000


class Receiver:
    """One instance: drives its line in real time, and records what it reports."""

    def __init__(self, dut: Any, clocks_per_bit: int) -> None:
        name = f"d{clocks_per_bit}"
        self.dut, self.clocks_per_bit = dut, clocks_per_bit
        self.rst, self.rxd = getattr(dut, f"{name}_rst"), getattr(dut, f"{name}_rxd")
        self.signals = [getattr(dut, f"{name}_{s}") for s in ("byte_valid", "byte_data", "framing_error")]
        self.received: list[int] = []
        self.framing_errors = 0
        self.cycles: list[int] = []
        self.cycle = 0

    async def watch(self) -> None:
        valid, data, error = self.signals
        while True:
            await FallingEdge(self.dut.clk)
            self.cycle += 1
            if int(valid.value):
                self.received.append(int(data.value))
                self.cycles.append(self.cycle)
            self.framing_errors += int(error.value)

    async def reset(self) -> None:
        self.rxd.value = 1
        self.rst.value = 1
        for _ in range(4):
            await RisingEdge(self.dut.clk)
        await Timer(CLOCK_PS // 10, "ps")
        self.rst.value = 0

    async def bits(self, levels: list[int], bit: float = 1.0) -> None:
        """Put levels on the line, `bit` bit times each; edges fall anywhere between clock edges."""
        for level in levels:
            self.rxd.value = level
            await Timer(max(1, round(self.clocks_per_bit * CLOCK_PS * bit)), "ps")

    async def send(self, byte: int, bit: float = 1.0, stop: int = 1) -> None:
        await self.bits([0, *((byte >> i) & 1 for i in range(8)), stop], bit)

    async def idle(self, bits: float) -> None:
        await self.bits([1], bits)


async def each(dut: Any) -> list[Receiver]:
    cocotb.start_soon(Clock(dut.clk, CLOCK_PS, "ps").start())
    receivers = [Receiver(dut, n) for n in CLOCKS_PER_BIT]
    for receiver in receivers:
        await receiver.reset()
        cocotb.start_soon(receiver.watch())
    return receivers


def some_bytes(random: Random) -> Iterator[int]:
    yield from (0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80)
    yield from (random.randrange(256) for _ in range(40))


@cocotb.test()
async def bytes_back_to_back(dut: Any) -> None:
    for receiver in await each(dut):
        sent = list(some_bytes(Random(1)))
        await receiver.idle(0.37)
        for byte in sent:
            await receiver.send(byte)
        await receiver.idle(2)
        assert receiver.received == sent
        assert receiver.framing_errors == 0
        # one byte in 10 bit times
        gaps = {b - a for a, b in zip(receiver.cycles, receiver.cycles[1:], strict=False)}
        assert gaps == {10 * receiver.clocks_per_bit}


@cocotb.test()
async def a_sender_with_another_bit_time(dut: Any) -> None:
    for receiver in await each(dut):
        # 9.5 bits may drift by less than half a bit, less the cycle by which the start is seen late and the rounding of
        # half a bit.
        margin = 0.5 - 1.5 / receiver.clocks_per_bit
        for sign in (-1, 1):
            bit = 1 + sign * 0.9 * margin / 9.5
            receiver.received.clear()
            sent = list(some_bytes(Random(2)))
            for byte in sent:
                await receiver.send(byte, bit)
                await receiver.idle(0.7)
            await receiver.idle(2)
            assert receiver.received == sent, f"bit time {bit:.4f}, {receiver.clocks_per_bit} cycles a bit"
            assert receiver.framing_errors == 0


@cocotb.test()
async def short_pulses_are_no_start_bits(dut: Any) -> None:
    for receiver in await each(dut):
        if receiver.clocks_per_bit < 16:
            continue  # half a bit is a cycle or two there
        for share in (0.05, 0.2, 0.4):
            await receiver.bits([0], share)
            await receiver.idle(12)
        assert receiver.received == []
        assert receiver.framing_errors == 0
        await receiver.send(0x3C)
        await receiver.idle(2)
        assert receiver.received == [0x3C]


@cocotb.test()
async def a_low_stop_bit_is_reported_and_the_next_byte_received(dut: Any) -> None:
    for receiver in await each(dut):
        await receiver.send(0x12)
        await receiver.send(0x34, stop=0)
        # a break: the line stays low for many bit times, and is reported once
        await receiver.bits([0], 25)
        await receiver.idle(1.5)
        await receiver.send(0x56)
        await receiver.idle(2)
        assert receiver.received == [0x12, 0x56]
        assert receiver.framing_errors == 1


@cocotb.test()
async def reset_gives_up_the_byte_under_way(dut: Any) -> None:
    for receiver in await each(dut):
        await receiver.bits([0, 1, 0, 1])
        await receiver.reset()
        await receiver.idle(12)
        assert receiver.received == []
        assert receiver.framing_errors == 0
        await receiver.send(0xC3)
        await receiver.idle(2)
        assert receiver.received == [0xC3]
