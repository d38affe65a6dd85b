# SPDX-License-Identifier: Apache-2.0
"""The cocotb tests of axi_lite_load, run inside the simulator: cocotbext-axi's master writes, a model of each memory checks."""

from __future__ import annotations

from itertools import cycle, pairwise
from random import Random
from typing import Any, ClassVar

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from rtl_tests.axi_lite_load.test_axi_lite_load import FIRST, IDENTIFICATION, LAST, MEMORIES, Memory
from rtl_tests.common.case import seed_of

INPUTS = ("awaddr", "awprot", "awvalid", "wdata", "wstrb", "wvalid", "bready", "araddr", "arprot", "arvalid", "rready")

#: Share of cycles in which a channel of the master pauses: (AW, W, B, AR, R).
PATTERNS = {
    "flowing": (0.0, 0.0, 0.0, 0.0, 0.0),
    "late address": (0.7, 0.0, 0.0, 0.5, 0.0),
    "late data": (0.0, 0.7, 0.0, 0.5, 0.0),
    "stalled answers": (0.0, 0.0, 0.7, 0.0, 0.7),
    "all": (0.4, 0.4, 0.4, 0.4, 0.4),
}


class Contents:
    """What the memories hold. They keep it from test to test: no reset changes it."""

    words: ClassVar[dict[str, list[int]]] = {memory.name: memory.words() for memory in MEMORIES}


async def start(dut: Any) -> None:
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for name in INPUTS:
        getattr(dut, f"s_axil_{name}").value = 0
    for memory in MEMORIES:
        getattr(dut, f"{memory.name}_address").value = 0
    dut.rst.value = 1
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0


def master_of(dut: Any, pattern: str, random: Random) -> AxiLiteMaster:
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    channels = (
        master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel,
        master.read_if.ar_channel, master.read_if.r_channel,
    )  # fmt: skip
    for channel, share in zip(channels, PATTERNS[pattern], strict=True):
        if share:
            channel.set_pause_generator(cycle([random.random() < share for _ in range(97)]))
    return master


async def held(dut: Any, channel: str, payload: tuple[str, ...]) -> None:
    """An answer that is offered stays as it is until it is taken."""
    before = None
    while True:
        await FallingEdge(dut.clk)
        await Timer(4, "ns")  # just before the rising edge
        valid = getattr(dut, f"s_axil_{channel}valid").value == 1
        now = tuple(int(getattr(dut, f"s_axil_{name}").value) for name in payload) if valid else None
        assert before is None or now == before, f"{channel} channel: {before} became {now} before it was taken"
        before = now if valid and getattr(dut, f"s_axil_{channel}ready").value == 0 else None


async def read_memory(dut: Any, memory: Memory, word: int) -> int:
    await FallingEdge(dut.clk)
    getattr(dut, f"{memory.name}_address").value = word
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    return int(getattr(dut, f"{memory.name}_data").value)


async def check_contents(dut: Any) -> None:
    """All words of all memories, one a cycle, two cycles behind their address."""
    for memory in MEMORIES:
        expected = Contents.words[memory.name]
        for word in range(memory.depth + 2):
            await FallingEdge(dut.clk)
            if word >= 2:
                found = int(getattr(dut, f"{memory.name}_data").value)
                assert found == expected[word - 2], (
                    f"{memory.name}[{word - 2}]: {found:x}, expected {expected[word - 2]:x}"
                )
            if word < memory.depth:
                getattr(dut, f"{memory.name}_address").value = word


def chunks_of(memory: Memory, word: int, value: int) -> list[tuple[int, bytes]]:
    """(byte address, bytes) of the chunks, the last one last."""
    first = 4 * (memory.base + word * memory.apart)
    data = value.to_bytes(4 * memory.chunks, "little")
    return [(first + place, data[place : place + 4]) for place in range(0, len(data), 4)]


@cocotb.test()
async def initial_content_is_the_files(dut: Any) -> None:
    await start(dut)
    await check_contents(dut)


@cocotb.test()
@cocotb.parametrize(("pattern", list(PATTERNS)))
async def words_are_replaced(dut: Any, pattern: str) -> None:
    """Words in any order, some of them several times; all others keep their content."""
    random = Random(seed_of("axi_lite_load", pattern))
    await start(dut)
    cocotb.start_soon(held(dut, "b", ("bresp",)))
    cocotb.start_soon(held(dut, "r", ("rdata", "rresp")))
    master = master_of(dut, pattern, random)
    ends = [(memory, word) for memory in MEMORIES for word in {0, memory.depth - 1}]
    drawn = [(memory, random.randrange(memory.depth)) for memory in random.choices(MEMORIES, k=70)]
    for memory, word in [*ends, *drawn]:
        value = random.getrandbits(memory.width)
        for address, data in chunks_of(memory, word, value):
            assert (await master.write(address, data)).resp == AxiResp.OKAY
        Contents.words[memory.name][word] = value
        if random.random() < 0.3:
            found = await master.read(0, 4)
            assert (found.resp, found.data) == (AxiResp.OKAY, IDENTIFICATION.to_bytes(4, "little"))
        assert await read_memory(dut, memory, word) == value
    await check_contents(dut)


@cocotb.test()
async def a_word_changes_with_its_last_chunk(dut: Any) -> None:
    random = Random(seed_of("axi_lite_load", "last chunk"))
    await start(dut)
    master = master_of(dut, "flowing", random)
    memory = next(memory for memory in MEMORIES if memory.name == "wide")
    for word in (0, 7, memory.depth - 1):
        value = Contents.words["wide"][word] ^ ((1 << memory.width) - 1)
        *before, (address, data) = chunks_of(memory, word, value)
        for place, part in before:
            await master.write(place, part)
            assert await read_memory(dut, memory, word) == Contents.words["wide"][word]
        await master.write(address, data)
        assert await read_memory(dut, memory, word) == value
        Contents.words["wide"][word] = value
    await check_contents(dut)


@cocotb.test()
async def the_answer_comes_when_the_word_holds(dut: Any) -> None:
    """Four cycles behind the request; an address in the very cycle of the answer gives the new word."""
    random = Random(seed_of("axi_lite_load", "answer"))
    await start(dut)
    await FallingEdge(dut.clk)
    for memory in (memory for memory in MEMORIES if memory.chunks == 1):
        for _ in range(3):
            word, value = random.randrange(memory.depth), random.getrandbits(memory.width)
            port = getattr(dut, f"{memory.name}_address")
            ((address, data),) = chunks_of(memory, word, value)
            assert dut.s_axil_awready.value == 1
            assert dut.s_axil_wready.value == 1
            dut.s_axil_awaddr.value, dut.s_axil_awvalid.value = address, 1
            dut.s_axil_wdata.value, dut.s_axil_wstrb.value = int.from_bytes(data, "little"), 15
            dut.s_axil_wvalid.value, dut.s_axil_bready.value = 1, 1
            port.value = (word + 1) % memory.depth
            for cycle_number in range(1, 5):
                await FallingEdge(dut.clk)
                dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = 0
                assert dut.s_axil_bvalid.value == (cycle_number == 4), f"cycle {cycle_number} behind the request"
            port.value = word
            await FallingEdge(dut.clk)
            port.value = (word + 1) % memory.depth
            await FallingEdge(dut.clk)
            assert int(getattr(dut, f"{memory.name}_data").value) == value
            assert dut.s_axil_bvalid.value == 0
            Contents.words[memory.name][word] = value
    dut.s_axil_bready.value = 0
    await check_contents(dut)


@cocotb.test()
async def writes_follow_every_five_cycles(dut: Any) -> None:
    await start(dut)
    dut.s_axil_awaddr.value, dut.s_axil_wdata.value = 4 * MEMORIES[-2].base, Contents.words["single"][0]
    dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = dut.s_axil_bready.value = 1
    dut.s_axil_wstrb.value, dut.s_axil_rready.value, dut.s_axil_arvalid.value = 15, 1, 1
    answers, reads = [], []
    for number in range(60):
        await FallingEdge(dut.clk)
        if dut.s_axil_bvalid.value == 1:
            answers.append(number)
        if dut.s_axil_rvalid.value == 1:
            reads.append(number)
    assert {after - before for before, after in pairwise(answers)} == {5}
    assert {after - before for before, after in pairwise(reads)} == {2}


@cocotb.test()
async def others_are_refused(dut: Any) -> None:
    random = Random(seed_of("axi_lite_load", "refused"))
    await start(dut)
    master = master_of(dut, "all", random)
    for memory in MEMORIES:
        address = 4 * memory.base
        for place, size in ((0, 1), (1, 2), (0, 3), (3, 1)):
            answer = await master.write(address + place, random.randbytes(size))
            assert answer.resp == AxiResp.SLVERR
        assert (await master.read(address, 4)).resp == AxiResp.SLVERR
    for word, expected in (
        (0, AxiResp.SLVERR),
        (FIRST - 1, AxiResp.SLVERR),
        (LAST + 1, AxiResp.DECERR),
        (4095, AxiResp.DECERR),
    ):
        assert (await master.write(4 * word, random.randbytes(4))).resp == expected
    # Partial data beyond the map is beyond it all the same.
    assert (await master.write(4 * LAST + 4, b"\x01")).resp == AxiResp.DECERR
    for word, expected in (
        (1, AxiResp.DECERR),
        (FIRST, AxiResp.SLVERR),
        (LAST, AxiResp.SLVERR),
        (LAST + 1, AxiResp.DECERR),
    ):
        found = await master.read(4 * word, 4)
        assert (found.resp, found.data) == (expected, bytes(4))
    await check_contents(dut)


@cocotb.test()
async def reset_drops_a_transfer(dut: Any) -> None:
    """Whatever is under way when a reset comes is neither written nor answered; the port works again behind it."""
    random = Random(seed_of("axi_lite_load", "reset"))
    memory = MEMORIES[3]
    await start(dut)
    for cycles, has_data in ((1, 0), (1, 1), *((cycles, 1) for cycles in range(2, 7))):
        word, value = random.randrange(memory.depth), random.getrandbits(32)
        await FallingEdge(dut.clk)
        ((address, data),) = chunks_of(memory, word, value)
        dut.s_axil_awaddr.value, dut.s_axil_wdata.value = address, int.from_bytes(data, "little")
        dut.s_axil_wstrb.value, dut.s_axil_bready.value, dut.s_axil_rready.value = 15, 0, 0
        dut.s_axil_awvalid.value, dut.s_axil_wvalid.value, dut.s_axil_arvalid.value = 1, has_data, 1
        for number in range(cycles):
            await FallingEdge(dut.clk)
            dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = dut.s_axil_arvalid.value = 0
            if number == 1:  # the bus has it in the cycle behind this one, unless there is a reset now
                Contents.words[memory.name][word] = value
        dut.rst.value = 1
        await FallingEdge(dut.clk)
        dut.rst.value = 0
        for _ in range(8):
            assert dut.s_axil_bvalid.value == 0
            assert dut.s_axil_rvalid.value == 0
            assert dut.s_axil_awready.value == 1
            assert dut.s_axil_wready.value == 1
            await FallingEdge(dut.clk)
        await check_contents(dut)


@cocotb.test()
async def outputs_come_from_registers(dut: Any) -> None:
    """No output follows an input within a cycle."""
    random = Random(seed_of("axi_lite_load", "paths"))
    await start(dut)
    outputs = ("awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp", "rvalid")
    for _ in range(200):
        await FallingEdge(dut.clk)
        seen = set()
        for _ in range(4):
            for name in INPUTS:
                signal = getattr(dut, f"s_axil_{name}")
                # Nothing is written: strobes are never complete.
                signal.value = random.getrandbits(3 if name == "wstrb" else len(signal))
            await Timer(500, "ps")
            seen.add((*(int(getattr(dut, f"s_axil_{name}").value) for name in outputs), int(dut.load_bus.value)))
        assert len(seen) == 1, f"outputs change with the inputs in one cycle: {seen}"
    await RisingEdge(dut.clk)
    await check_contents(dut)
