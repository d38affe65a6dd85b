# SPDX-License-Identifier: Apache-2.0
"""A cocotb test that only feeds frames at full rate and compares results: the peer of the bulk simulation."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge


@cocotb.test()
async def stream_at_full_rate(dut: Any) -> None:
    folder = Path(os.environ["BENCH_FOLDER"])
    data = json.loads((folder / "bench.json").read_text())
    words = [int(beat, 16) for frame in data["frames"] for beat in frame]
    expected = [int(beat, 16) for frame in data["expected"] for beat in frame]
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value, dut.s_axis_tvalid.value, dut.s_axis_tdata.value, dut.m_axis_tready.value = 1, 0, 0, 1
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    started = time.perf_counter()

    async def feed() -> None:
        dut.s_axis_tvalid.value = 1
        for word in words:
            dut.s_axis_tdata.value = word
            while True:
                await ReadOnly()
                taken = bool(dut.s_axis_tready.value)
                await RisingEdge(dut.clk)
                if taken:
                    break
        dut.s_axis_tvalid.value = 0

    cocotb.start_soon(feed())
    found = []
    while len(found) < len(expected):
        await ReadOnly()
        if dut.m_axis_tvalid.value:
            found.append(int(dut.m_axis_tdata.value))
        await RisingEdge(dut.clk)
    seconds = time.perf_counter() - started
    assert found == expected
    (folder / "rate.json").write_text(json.dumps(len(data["frames"]) / seconds))
