# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of uart_transmitter, each on every instance."""

from __future__ import annotations

from random import Random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from rtl_tests.uart_transmitter.instances import CLOCKS_PER_BIT


class Transmitter:
    """One instance: offers bytes, and records the line's level in every cycle from the first byte's start bit on."""

    def __init__(self, dut: Any, clocks_per_bit: int) -> None:
        self.dut, self.clocks_per_bit = dut, clocks_per_bit
        for signal in ("rst", "byte_data", "byte_valid", "byte_ready", "txd"):
            setattr(self, signal, getattr(dut, f"d{clocks_per_bit}_{signal}"))
        self.levels: list[int] = []

    async def reset(self) -> None:
        self.byte_valid.value = 0
        self.rst.value = 1
        for _ in range(3):
            await RisingEdge(self.dut.clk)
        await FallingEdge(self.dut.clk)
        self.rst.value = 0
        await FallingEdge(self.dut.clk)

    async def cycle(self) -> bool:
        """One cycle, from falling edge to falling edge; returns whether a byte that is offered was taken in it."""
        taken = bool(int(self.byte_ready.value))
        await FallingEdge(self.dut.clk)
        self.levels.append(int(self.txd.value))
        return taken

    async def send(self, byte: int) -> None:
        self.byte_data.value = byte
        self.byte_valid.value = 1
        while not await self.cycle():
            pass
        self.byte_valid.value = 0

    def expected(self, byte: int) -> list[int]:
        """The levels of a byte, cycle by cycle."""
        bits = [0, *((byte >> i) & 1 for i in range(8)), 1]
        return [bit for bit in bits for _ in range(self.clocks_per_bit)]


async def each(dut: Any) -> list[Transmitter]:
    cocotb.start_soon(Clock(dut.clk, 1000, "ps").start())
    transmitters = [Transmitter(dut, n) for n in CLOCKS_PER_BIT]
    for transmitter in transmitters:
        await transmitter.reset()
    return transmitters


@cocotb.test()
async def bytes_back_to_back_cycle_by_cycle(dut: Any) -> None:
    random = Random(3)
    for transmitter in await each(dut):
        assert int(transmitter.txd.value) == 1
        assert int(transmitter.byte_ready.value) == 1
        sent = [0x00, 0xFF, 0x55, 0xAA, *(random.randrange(256) for _ in range(30))]
        for byte in sent:
            await transmitter.send(byte)
        for _ in range(10 * transmitter.clocks_per_bit + 20):
            await transmitter.cycle()
        expected = [level for byte in sent for level in transmitter.expected(byte)]
        assert transmitter.levels[: len(expected)] == expected
        assert set(transmitter.levels[len(expected) :]) == {1}


@cocotb.test()
async def bytes_with_pauses(dut: Any) -> None:
    random = Random(4)
    for transmitter in await each(dut):
        expected = []
        for _ in range(20):
            byte, pause = random.randrange(256), random.randrange(3 * transmitter.clocks_per_bit)
            await transmitter.send(byte)
            for _ in range(10 * transmitter.clocks_per_bit - 1 + pause):
                await transmitter.cycle()
            expected += transmitter.expected(byte) + [1] * pause
        assert transmitter.levels == expected


@cocotb.test()
async def reset_in_mid_byte_lets_the_line_go_high(dut: Any) -> None:
    for transmitter in await each(dut):
        await transmitter.send(0x00)
        for _ in range(3 * transmitter.clocks_per_bit):
            await transmitter.cycle()
        assert int(transmitter.txd.value) == 0
        await transmitter.reset()
        assert int(transmitter.txd.value) == 1
        assert int(transmitter.byte_ready.value) == 1
        transmitter.levels.clear()
        await transmitter.send(0x96)
        for _ in range(10 * transmitter.clocks_per_bit - 1):
            await transmitter.cycle()
        assert transmitter.levels == transmitter.expected(0x96)
