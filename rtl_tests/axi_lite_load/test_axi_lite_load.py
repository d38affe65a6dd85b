# SPDX-License-Identifier: Apache-2.0
"""Bench of axi_lite_load with loadable constant_memories behind it: run by pytest, or by itself as a script."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rtl_tests.common.case import seed_of
from rtl_tests.common.simulate import TOP, missing_tool, run_tests

IDENTIFICATION = 0xC0FFEE42
ADDRESS_WIDTH = 14


@dataclass(frozen=True)
class Memory:
    """base: word address, a multiple of the region that the memory takes."""

    name: str
    width: int
    depth: int
    base: int

    @property
    def chunks(self) -> int:
        return -(-self.width // 32)

    @property
    def apart(self) -> int:
        """Word addresses from a word to the next."""
        return 1 << (self.chunks - 1).bit_length()

    def words(self) -> list[int]:
        """The initial content."""
        random = Random(seed_of("axi_lite_load", self.name))
        return [random.getrandbits(self.width) for _ in range(self.depth)]


#: One word, words of less than a chunk, of exactly one, of one more bit, and of five chunks; shallow and deep ones.
MEMORIES = [
    Memory("deep", 40, 512, 1024),
    Memory("wide", 150, 12, 2048),
    Memory("bit", 1, 65, 2176),
    Memory("chunk", 32, 64, 2304),
    Memory("more", 33, 5, 2368),
    Memory("single", 20, 1, 2384),
    Memory("pair", 64, 1, 2386),
]
FIRST, LAST = 1024, 2387


def top_text() -> str:
    """The slave with an AXI4-Lite port, and each memory with ports of its own."""
    inputs = {
        "awaddr": ADDRESS_WIDTH, "awprot": 3, "awvalid": 1, "wdata": 32, "wstrb": 4, "wvalid": 1, "bready": 1,
        "araddr": ADDRESS_WIDTH, "arprot": 3, "arvalid": 1, "rready": 1,
    }  # fmt: skip
    outputs = {"awready": 1, "wready": 1, "bresp": 2, "bvalid": 1, "arready": 1, "rdata": 32, "rresp": 2, "rvalid": 1}
    ports = ["input wire logic clk", "input wire logic rst", "output logic [64:0] load_bus"]
    ports += [f"input wire logic [{width - 1}:0] s_axil_{name}" for name, width in inputs.items()]
    ports += [f"output logic [{width - 1}:0] s_axil_{name}" for name, width in outputs.items()]
    for memory in MEMORIES:
        ports.append(f"input wire logic [{max(1, (memory.depth - 1).bit_length()) - 1}:0] {memory.name}_address")
        ports.append(f"output logic [{memory.width - 1}:0] {memory.name}_data")
    connections = ", ".join(f".s_axil_{name}(s_axil_{name})" for name in (*inputs, *outputs))
    lines = [
        f"module {TOP} ({', '.join(ports)});",
        f"  axi_lite_load #(.ADDRESS_WIDTH({ADDRESS_WIDTH}), .FIRST({FIRST}), .LAST({LAST}), "
        f".IDENTIFICATION(32'h{IDENTIFICATION:x}))",
        f"    u_load (.clk(clk), .rst(rst), .load_bus(load_bus), {connections});",
    ]
    for memory in MEMORIES:
        lines += [
            f"  constant_memory #(.DATA_WIDTH({memory.width}), .DEPTH({memory.depth}), "
            f'.FILE("{memory.name}.hex"), .LOADABLE(1), .LOAD_BASE({memory.base}))',
            f"    u_{memory.name} (.clk(clk), .load_bus(load_bus), .address({memory.name}_address), .data({memory.name}_data));",
        ]
    return "\n".join([*lines, "endmodule", ""])


def simulate(folder: Path) -> int:
    for memory in MEMORIES:
        (folder / f"{memory.name}.hex").write_text("".join(f"{word:x}\n" for word in memory.words()))
    top = folder / f"{TOP}.sv"
    top.write_text(top_text())
    return run_tests(top, "rtl_tests.axi_lite_load.bench", folder, {})


def test_axi_lite_load(tmp_path: Path) -> None:
    if (tool := missing_tool()) is not None:
        pytest.skip(f"needs {tool}")
    assert simulate(tmp_path) > 0


if __name__ == "__main__":
    if (missing := missing_tool()) is not None:
        sys.exit(f"needs {missing}")
    target = Path(tempfile.mkdtemp(prefix="axi_lite_load_"))
    try:
        print(f"{simulate(target)} tests passed; files in {target}")
    except AssertionError as error:
        sys.exit(f"{error}\nfiles in {target}")
