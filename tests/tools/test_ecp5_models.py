# SPDX-License-Identifier: Apache-2.0
"""The project's own models of ECP5 cells (block RAM, multiplier, LUT), as Yosys instances them, against plain Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolchain.build.tools import verilator, yosys
from toolchain.deploy.project import synthesise
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.verify.netlist import build_netlist_simulation
from toolchain.verify.packing import pack_beats, unpack_beats

pytestmark = pytest.mark.skipif(
    any(tool.find() is None for tool in (yosys.TOOL, verilator.TOOL)), reason="needs Yosys and Verilator"
)

#: A core whose result for a beat comes one cycle later, by `body`.
SHELL = """\
module shell (
  input logic clk, input logic rst,
  input logic [{input}:0] s_axis_tdata, input logic s_axis_tvalid, output logic s_axis_tready,
  output logic [{output}:0] m_axis_tdata, output logic m_axis_tvalid, input logic m_axis_tready, output logic m_axis_tlast
);
  logic step;
  assign step = s_axis_tvalid && s_axis_tready;
  assign s_axis_tready = !m_axis_tvalid || m_axis_tready;
  assign m_axis_tlast = 1'b1;
  always_ff @(posedge clk) begin
    if (s_axis_tready) m_axis_tvalid <= s_axis_tvalid;
    if (rst) m_axis_tvalid <= 1'b0;
  end
{body}
endmodule
"""


def run_core(
    body: str, files: dict[str, str], input_bits: int, output_bits: int, words: np.ndarray, folder: Path
) -> tuple[np.ndarray, dict[str, int]]:
    """Synthesise the core, run the beats `words` through its netlist; the output beats, and the cells it is made of."""

    def port(bits: int) -> dict[str, object]:
        return {"lanes": 1, "beats": 1, "element_width": bits, "signed": False, "data_width": -(-bits // 8) * 8}

    facts = {
        "top": "shell",
        "nodes": [],
        "parts": [],
        "input": port(input_bits),
        "output": port(output_bits),
        "latency_cycles": 1,
        "initiation_interval_cycles": 1,
    }
    ends = {"input": -(-input_bits // 8) * 8 - 1, "output": -(-output_bits // 8) * 8 - 1}
    text = SHELL.format(body=body, **ends)
    planned = [PlannedFile.text("shell.sv", text), *(PlannedFile.text(name, file) for name, file in files.items())]
    plan = BuildPlan("hand", "shell", tuple(planned), facts)
    (folder / "core").mkdir()
    synthesis = synthesise(plan, folder / "core")
    library = build_netlist_simulation(folder / "core", synthesis.files["verilog"], facts, folder / "simulation")
    beats = pack_beats(words.reshape(-1, 1), 1, input_bits, library.input_bytes)
    with library.start() as simulation:
        run = simulation.run(beats, len(words))
    return unpack_beats(run.output, 1, output_bits, False, 1).ravel(), dict(synthesis.cells)


DEPTH = {1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512}


def joined(values: dict[int, np.ndarray]) -> list[int]:
    """What a core with one memory of each width gives: the words side by side, the first in the low bits."""
    places = np.cumsum([0, *values])
    columns = [[int(v) << int(place) for v in column] for column, place in zip(values.values(), places, strict=False)]
    return [sum(row) for row in zip(*columns, strict=True)]


def hex_files(contents: dict[int, np.ndarray]) -> dict[str, str]:
    return {f"memory{width}.hex": "".join(f"{word:x}\n" for word in words) for width, words in contents.items()}


def test_block_rom_of_every_width(random: np.random.Generator, tmp_path: Path) -> None:
    contents = {width: random.integers(0, 1 << width, depth) for width, depth in DEPTH.items()}
    body = "".join(
        f"""
  (* rom_style = "block" *) logic [{width - 1}:0] rom{width} [{depth}];
  initial $readmemh("memory{width}.hex", rom{width});
  logic [{width - 1}:0] value{width};
  always_ff @(posedge clk) if (s_axis_tready) value{width} <= rom{width}[s_axis_tdata[{depth.bit_length() - 2}:0]];
"""
        for width, depth in DEPTH.items()
    )
    body += f"  assign m_axis_tdata = {{2'd0, {', '.join(f'value{width}' for width in reversed(DEPTH))}}};\n"
    address = np.arange(max(DEPTH.values()))
    found, cells = run_core(body, hex_files(contents), 14, sum(DEPTH), address, tmp_path)
    assert cells["DP16KD"] == len(DEPTH)
    assert found.tolist() == joined({width: contents[width][address % depth] for width, depth in DEPTH.items()})


@pytest.mark.parametrize("ports", ["one", "two"])
def test_block_ram_of_every_width(ports: str, random: np.random.Generator, tmp_path: Path) -> None:
    """One port that writes or reads, or one port that writes beside one that reads another word."""
    depths = {width: depth for width, depth in DEPTH.items() if ports == "two" or width <= 18}
    contents = {width: random.integers(0, 1 << width, depth) for width, depth in depths.items()}
    other = "address" if ports == "one" else "(address ^ 14'd1)"
    body = "  wire [13:0] address = s_axis_tdata[13:0];\n  wire write = s_axis_tdata[14];\n"
    body += f"  wire [13:0] read = {other};\n"
    for width, depth in depths.items():
        last = depth.bit_length() - 2
        body += f"""
  (* ram_style = "block" *) logic [{width - 1}:0] ram{width} [{depth}];
  initial $readmemh("memory{width}.hex", ram{width});
  logic [{width - 1}:0] value{width};
  always_ff @(posedge clk) if (step) begin
    if (write) ram{width}[address[{last}:0]] <= s_axis_tdata[15+:{width}];
    {"else " if ports == "one" else ""}value{width} <= ram{width}[read[{last}:0]];
  end
"""
    total = sum(depths)
    body += f"  assign m_axis_tdata = {-(-total // 8) * 8}'({{{', '.join(f'value{width}' for width in reversed(depths))}}});\n"
    # few addresses and their neighbours, so that what was written is read again; the first beat reads in both
    count = 3000
    address = random.choice(random.integers(0, 16384, 40), count) ^ random.integers(0, 2, count)
    write, data = random.integers(0, 2, count), random.integers(0, 1 << max(depths), count)
    write[0] = 0
    words = address | write << 14 | data << 15
    expected: dict[int, np.ndarray] = {}
    for width, depth in depths.items():
        memory, value, read = contents[width].copy(), 0, []
        for a, w, d in zip(address, write, data, strict=True):
            if ports == "two" or not w:
                value = memory[(a ^ (ports == "two")) % depth]
            if w:
                memory[a % depth] = d & ((1 << width) - 1)
            read.append(value)
        expected[width] = np.array(read)
    found, cells = run_core(body, hex_files(contents), 15 + max(depths), total, words, tmp_path)
    assert cells["DP16KD"] == len(depths)
    assert found.tolist() == joined(expected)


def test_block_ram_with_byte_enables(random: np.random.Generator, tmp_path: Path) -> None:
    """One port of 18 bits, and a write port beside a read port of 36 bits: each byte of 9 bits is written on its own."""
    body = "  wire [3:0] enable = s_axis_tdata[12:9];\n  wire [35:0] data = s_axis_tdata[48:13];\n"
    for width, otherwise in ((18, "else "), (36, "")):
        body += f"""
  (* ram_style = "block" *) logic [{width - 1}:0] ram{width} [512];
  initial $readmemh("memory{width}.hex", ram{width});
  logic [{width - 1}:0] value{width};
  always_ff @(posedge clk) if (step) begin
    for (int i = 0; i < {width // 9}; i++) if (enable[i]) ram{width}[s_axis_tdata[8:0]][9*i+:9] <= data[9*i+:9];
    {"if (enable[1:0] == 0) " if otherwise else ""}value{width} <= ram{width}[s_axis_tdata[8:0]{"" if otherwise else " ^ 9'd1"}];
  end
"""
    body += "  assign m_axis_tdata = {2'd0, value36, value18};\n"
    contents = {width: random.integers(0, 1 << width, 512) for width in (18, 36)}
    count = 3000
    address = random.choice(random.integers(0, 512, 20), count) ^ random.integers(0, 2, count)
    enable, data = random.integers(0, 16, count) * random.integers(0, 2, count), random.integers(0, 1 << 36, count)
    enable[0] = 0
    expected: dict[int, np.ndarray] = {}
    for width in (18, 36):
        memory, value, read = contents[width].copy(), 0, []
        for a, e, d in zip(address, enable, data, strict=True):
            if width == 36 or e & 3 == 0:
                value = memory[a ^ (width == 36)]
            mask = sum(0x1FF << (9 * byte) for byte in range(width // 9) if e >> byte & 1)
            memory[a] = memory[a] & ~mask | d & mask
            read.append(value)
        expected[width] = np.array(read)
    words = address | enable << 9 | data << 13
    found, cells = run_core(body, hex_files(contents), 49, 54, words, tmp_path)
    assert cells["DP16KD"] == 2
    assert found.tolist() == joined(expected)


def test_multiplier_in_both_signednesses(random: np.random.Generator, tmp_path: Path) -> None:
    body = """
  logic [17:0] a, b;
  always_ff @(posedge clk) if (s_axis_tready) {b, a} <= s_axis_tdata[35:0];
  wire [35:0] unsigned_product = 36'(a) * 36'(b);
  wire signed [35:0] signed_product = 36'($signed(a)) * 36'($signed(b));
  assign m_axis_tdata = {signed_product, unsigned_product};
"""
    corners = [0, 1, (1 << 18) - 1, 1 << 17, (1 << 17) - 1]
    a = np.concatenate([np.repeat(corners, 5), random.integers(0, 1 << 18, 2000)])
    b = np.concatenate([np.tile(corners, 5), random.integers(0, 1 << 18, 2000)])
    found, cells = run_core(body, {}, 36, 72, a | b << 18, tmp_path)
    assert cells["MULT18X18D"] == 2
    mask = (1 << 36) - 1
    expected = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        signed = (x - (x >> 17 << 18)) * (y - (y >> 17 << 18))
        expected.append((signed & mask) << 36 | x * y)
    assert found.tolist() == expected
