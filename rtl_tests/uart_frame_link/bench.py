# SPDX-License-Identifier: Apache-2.0
"""cocotb tests of uart_frame_link, each on every instance: a host and a core, both in Python, at its two sides."""

from __future__ import annotations

import binascii
from collections import deque
from random import Random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from rtl_tests.uart_frame_link.instances import IDLE_TIMEOUT, RUN_TIMEOUT, SIZES, Sizes

DONE, CRC, FRAMING, INCOMPLETE, NO_RESULT, LENGTH = range(6)


def crc(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")


class Link:
    """One instance. Everything happens at falling edges: what is read there is what the next rising edge sees."""

    def __init__(self, dut: Any, sizes: Sizes, random: Random) -> None:
        self.dut, self.sizes, self.random = dut, sizes, random
        for port in (
            "rst rx_data rx_valid rx_framing_error tx_data tx_valid tx_ready core_rst m_axis_tdata m_axis_tvalid m_axis_tready "
            "s_axis_tdata s_axis_tvalid s_axis_tready s_axis_tlast busy failed"
        ).split():
            setattr(self, port, getattr(dut, f"{sizes.name}_{port}"))
        self.cycle = 0
        self.core_delay = 3  # cycles from the last input beat to the first result beat
        self.accept = 1.0  # chance that the core takes an offered beat in a cycle
        self.host_ready = 1.0  # chance that the transmitter takes a byte in a cycle
        self.core_silent = False
        self.core_length = sizes.output_beats  # result beats that the core gives, the last one with tlast
        self.clear()

    def clear(self) -> None:
        self.sent = bytearray()  # answer bytes
        self.beats: list[bytes] = []  # input beats that the core took
        self.core_resets = 0
        self.results: deque[int] = deque()
        self.started = self.finished = 0
        self.input_gaps = 0
        self.wait = 0
        self.tlasts = 0

    async def reset(self) -> None:
        self.rst.value = 1
        for signal in (self.rx_valid, self.rx_framing_error, self.tx_ready, self.m_axis_tready, self.s_axis_tvalid):
            signal.value = 0
        self.rx_data.value = self.s_axis_tdata.value = self.s_axis_tlast.value = 0
        for _ in range(4):
            await FallingEdge(self.dut.clk)
        self.rst.value = 0
        await FallingEdge(self.dut.clk)
        self.clear()

    def result(self) -> list[bytes]:
        """The core's result for the beats it took: any function of all of them."""
        digest = crc(b"".join(self.beats)) * 40
        size = self.sizes.output_bytes
        return [digest[i : i + size] for i in range(self.core_length)]

    async def step(self) -> None:
        """One cycle: decide what both sides do, then let the clock rise."""
        random, size = self.random, self.sizes.input_bytes
        tx_ready = random.random() < self.host_ready
        m_ready = random.random() < self.accept
        s_valid = bool(self.results) and self.wait == 0
        self.tx_ready.value = tx_ready
        self.m_axis_tready.value = m_ready
        self.s_axis_tvalid.value = s_valid
        if s_valid:
            self.s_axis_tdata.value = self.results[0]
            self.s_axis_tlast.value = len(self.results) == 1
        if int(self.tx_valid.value) and tx_ready:
            self.sent.append(int(self.tx_data.value))
        if int(self.core_rst.value):
            self.core_resets += 1
            self.results.clear()
        if s_valid and int(self.s_axis_tready.value) and self.results:
            self.results.popleft()
            self.finished = self.cycle
        if self.wait:
            self.wait -= 1
        offered = int(self.m_axis_tvalid.value)
        if offered and m_ready:
            if not self.beats:
                self.started = self.cycle
            self.beats.append(int(self.m_axis_tdata.value).to_bytes(size, "little"))
            if len(self.beats) == self.sizes.input_beats and not self.core_silent:
                self.results.extend(int.from_bytes(beat, "little") for beat in self.result())
                self.wait = self.core_delay
        elif self.beats and not offered and len(self.beats) < self.sizes.input_beats:
            self.input_gaps += 1
        self.cycle += 1
        await FallingEdge(self.dut.clk)

    async def byte(self, value: int, pause: int = 3) -> None:
        self.rx_data.value = value
        self.rx_valid.value = 1
        await self.step()
        self.rx_valid.value = 0
        self.rx_data.value = self.random.randrange(256)
        for _ in range(pause):
            await self.step()

    async def framing_error(self) -> None:
        self.rx_framing_error.value = 1
        await self.step()
        self.rx_framing_error.value = 0
        await self.step()

    async def bytes(self, data: bytes, pause: int = 3) -> None:
        for value in data:
            await self.byte(value, pause)

    def payload(self) -> bytes:
        size = self.sizes.input_beats * self.sizes.input_bytes
        # start bytes inside the payload are what a receiver that lost its place would trip over
        return bytes(self.random.choice((0xA5, 0x5A, self.random.randrange(256))) for _ in range(size))

    def request(self, payload: bytes) -> bytes:
        return b"\xa5" + payload + crc(payload)

    async def until_idle(self, most: int = 3000) -> None:
        for _ in range(most):
            if not int(self.busy.value) and not self.results:
                return
            await self.step()
        raise AssertionError(f"{self.sizes.name}: still busy after {most} cycles")

    def expected_answer(self, status: int, latency: int = 0) -> bytes:
        body = bytes([status]) + self.sizes.design_id.to_bytes(4, "little")
        if status == DONE:
            body += latency.to_bytes(4, "little") + b"".join(self.result())
        return b"\x5a" + body + crc(body)

    async def one_good_frame(self) -> None:
        """A whole inference, with its answer."""
        self.clear()
        payload = self.payload()
        await self.bytes(self.request(payload))
        await self.until_idle()
        size = self.sizes.input_bytes
        assert self.beats == [payload[i : i + size] for i in range(0, len(payload), size)]
        assert bytes(self.sent) == self.expected_answer(DONE, self.finished - self.started), self.sizes.name
        assert not int(self.failed.value)
        assert self.core_resets == 0

    async def refused(self, status: int) -> None:
        """The answer to what was sent before is `status`, and the next frame is good again."""
        await self.until_idle()
        assert bytes(self.sent) == self.expected_answer(status), self.sizes.name
        assert int(self.failed.value)
        await self.one_good_frame()


async def each(dut: Any, seed: int) -> list[Link]:
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    links = [Link(dut, sizes, Random(seed)) for sizes in SIZES]
    for link in links:
        await link.reset()
    return links


@cocotb.test()
async def frames_at_full_speed(dut: Any) -> None:
    for link in await each(dut, 1):
        for delay in (0, 1, 50):
            link.core_delay = delay
            await link.one_good_frame()
            # no gap between input beats, so that the latency is the core's own
            assert link.input_gaps == 0
            assert link.finished - link.started >= delay


@cocotb.test()
async def frames_with_a_slow_core_and_a_slow_line(dut: Any) -> None:
    for link in await each(dut, 2):
        for accept, ready in ((0.3, 1.0), (1.0, 0.1), (0.5, 0.3)):
            link.accept, link.host_ready = accept, ready
            await link.one_good_frame()


@cocotb.test()
async def a_wrong_crc_does_not_reach_the_core(dut: Any) -> None:
    for link in await each(dut, 3):
        for position in (1, -2, -1):
            link.clear()
            frame = bytearray(link.request(link.payload()))
            frame[position] ^= 0x10
            await link.bytes(frame)
            await link.until_idle()
            assert link.beats == []
            await link.refused(CRC)


@cocotb.test()
async def a_lost_byte_ends_the_frame_after_silence(dut: Any) -> None:
    for link in await each(dut, 4):
        frame = link.request(link.payload())
        for lost in range(1, len(frame)):
            link.clear()
            await link.bytes(frame[:lost] + frame[lost + 1 :])
            assert int(link.busy.value)
            assert link.sent == b""
            for _ in range(IDLE_TIMEOUT):
                await link.step()
            await link.until_idle()
            assert link.beats == []
            await link.refused(INCOMPLETE)


@cocotb.test()
async def silence_shorter_than_the_timeout_is_allowed(dut: Any) -> None:
    for link in await each(dut, 5):
        link.clear()
        payload = link.payload()
        await link.bytes(link.request(payload), pause=IDLE_TIMEOUT - 2)
        await link.until_idle()
        assert bytes(link.sent) == link.expected_answer(DONE, link.finished - link.started)


@cocotb.test()
async def a_framing_error_waits_for_silence(dut: Any) -> None:
    for link in await each(dut, 6):
        link.clear()
        frame = link.request(link.payload())
        await link.bytes(frame[:1])
        await link.framing_error()
        # the host goes on sending: none of it may be taken for a frame, whatever is in it
        await link.bytes(bytes([0xA5]) * 30)
        assert link.sent == b""
        await link.until_idle()
        assert link.beats == []
        await link.refused(FRAMING)


@cocotb.test()
async def noise_before_a_frame_is_ignored(dut: Any) -> None:
    for link in await each(dut, 7):
        link.clear()
        await link.bytes(bytes([0x00, 0x5A, 0xFF, 0x24]))
        await link.framing_error()
        assert not int(link.busy.value)
        await link.one_good_frame()


@cocotb.test()
async def bytes_during_the_answer_are_ignored(dut: Any) -> None:
    for link in await each(dut, 8):
        link.clear()
        link.host_ready = 0.02
        await link.bytes(link.request(link.payload()))
        while int(link.busy.value):
            await link.byte(0xA5, pause=1)
        link.host_ready = 1.0
        for _ in range(5):
            await link.step()
        answer = link.expected_answer(DONE, link.finished - link.started)
        assert bytes(link.sent[: len(answer)]) == answer
        # the last of those bytes may have come just when the link was waiting again
        for _ in range(2 * IDLE_TIMEOUT):
            await link.step()
        await link.until_idle()
        await link.one_good_frame()


@cocotb.test()
async def a_core_without_a_result(dut: Any) -> None:
    for link in await each(dut, 9):
        link.clear()
        link.core_silent = True
        await link.bytes(link.request(link.payload()))
        for _ in range(RUN_TIMEOUT):
            await link.step()
        await link.until_idle()
        assert link.core_resets == 1
        link.core_silent = False
        await link.refused(NO_RESULT)


@cocotb.test()
async def a_result_of_another_length(dut: Any) -> None:
    for link in await each(dut, 10):
        right = link.sizes.output_beats
        for length in {right + 1, right - 1} - {0}:
            link.clear()
            link.core_length = length
            await link.bytes(link.request(link.payload()))
            await link.until_idle()
            assert link.core_resets == 1
            link.core_length = right
            await link.refused(LENGTH)


@cocotb.test()
async def reset_in_mid_frame(dut: Any) -> None:
    for link in await each(dut, 11):
        frame = link.request(link.payload())
        for sent in (1, 2, len(frame) - 1, len(frame)):
            await link.bytes(frame[:sent], pause=0)
            await link.reset()
            assert not int(link.busy.value)
            assert link.sent == b""
            await link.one_good_frame()
