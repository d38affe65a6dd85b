# SPDX-License-Identifier: Apache-2.0
"""Carry chains of ECP5 designs: what they compute, proved by Yosys, and what place and route adds to them: nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from toolchain.build.runner import run
from toolchain.build.tools import nextpnr, yosys
from toolchain.build.tools.ecp5_mapping import CARRY_CHAINS, mapping, open_carries
from toolchain.errors import BuildFailed

pytestmark = pytest.mark.skipif(
    yosys.TOOL.find() is None or nextpnr.TOOL.find() is None, reason="needs Yosys and nextpnr-ecp5"
)

WIDTHS = (3, 4, 5, 6, 7, 8, 13, 16)
SUMS = {
    "add": "a + b",
    "subtract": "a - b",
    "signed_add": "$signed(a) + $signed(b)",
    "signed_subtract": "$signed(a) - $signed(b)",
    "short_add": "a + b[WIDTH/2:0]",
    "negate": "-a",
    "increment": "a + 1'b1",
    "less": "{WIDTH+1{a < b}}",
    "signed_less": "{WIDTH+1{$signed(a) < $signed(b)}}",
    "greater_or_equal": "{WIDTH+1{a >= b}}",
    "constant_less": "{WIDTH+1{a < {WIDTH{2'b01}}}}",
    "twice": "(a + b) + (a < b)",
}


def _sums(folder: Path) -> str:
    """One module with every sum of every width; its name."""
    ports, lines = [], []
    for width in WIDTHS:
        for name, expression in SUMS.items():
            ports.append(
                f"  input [{width - 1}:0] {name}{width}_a, {name}{width}_b,\n  output [{width}:0] {name}{width}_y"
            )
            text = re.sub(r"(?<!\w)([ab])(?![\w'])", rf"{name}{width}_\1", expression.replace("WIDTH", str(width)))
            lines.append(f"  assign {name}{width}_y = {text};")
    (folder / "sums.sv").write_text(
        "module sums (\n" + ",\n".join(ports) + "\n);\n" + "\n".join(lines) + "\nendmodule\n"
    )
    return "sums"


def _prove(folder: Path, chains: str) -> None:
    """Raises BuildFailed if the sums as cells of the chains in file `chains` are not the sums."""
    top = _sums(folder)
    yosys.run_commands(
        [
            f"read_slang --top {top} {top}.sv",
            "proc",
            "wreduce",
            "alumacc",
            "opt",
            f"techmap -map {chains}",
            "select -assert-min 150 t:CCU2C",
            "techmap -map +/techmap.v",
            "techmap -map +/ecp5/cells_sim.v t:CCU2C",
            "opt_clean",
            f"rename {top} gate",
            f"read_slang --top {top} {top}.sv",
            "proc",
            f"miter -equiv -flatten -make_assert {top} gate miter",
            "hierarchy -top miter",
            "flatten",
            "opt -full",
            "sat -verify -prove-asserts -set-def-inputs miter",
        ],
        cwd=folder, name="prove", what="The proof", timeout_s=600,
    )  # fmt: skip


def test_chains_add_subtract_and_compare(tmp_path: Path) -> None:
    (tmp_path / CARRY_CHAINS.name).write_bytes(CARRY_CHAINS.read_bytes())
    _prove(tmp_path, CARRY_CHAINS.name)


def test_the_first_cells_carry_input_has_no_influence(tmp_path: Path) -> None:
    """Any other signal there, and the proof holds: that is why it can be left open."""
    text = CARRY_CHAINS.read_text()
    assert text.count(".CIN(1'b0)") == 1
    (tmp_path / "other.v").write_text(text.replace(".CIN(1'b0)", ".CIN(A[0])"))
    _prove(tmp_path, "other.v")


@pytest.mark.parametrize(
    ("found", "other"),
    [
        ("16'h96AA", "16'h96AC"),
        ("16'h000A", "16'hA00A"),
        ("& ~Y", "& Y"),
        (".A0(places_a[0])", ".A0(1'b0)"),
        (".C1(BI), .D1(1'b1),\n          .S1", ".C1(1'b0), .D1(1'b1),\n          .S1"),
    ],
)
def test_the_proof_finds_other_chains(tmp_path: Path, found: str, other: str) -> None:
    text = CARRY_CHAINS.read_text()
    assert text.count(found) == 1
    (tmp_path / "wrong.v").write_text(text.replace(found, other))
    with pytest.raises(BuildFailed):
        _prove(tmp_path, "wrong.v")
    assert "SAT proof finished - model found: FAIL!" in (tmp_path / "prove.log").read_text()


_REGISTERED = """module registered (input clk, input [15:0] a, b, output reg [16:0] q, output reg [6:0] r, output reg less);
  always @(posedge clk) begin
    q <= a + b;
    r <= a[6:0] - b[6:0];
    less <= a < b;
  end
endmodule
"""


def test_place_and_route_adds_no_cells(tmp_path: Path) -> None:
    """Three chains, 17, 7 and 16 bits with a place for the carry, and one look-up table for the last carry."""
    (tmp_path / "registered.sv").write_text(_REGISTERED)
    yosys.run_commands(
        [
            "read_slang --top registered registered.sv",
            *mapping("registered", tmp_path),
            "tee -q -o cells.json stat -json",
            "write_json registered.json",
        ],
        cwd=tmp_path, name="registered", what="Synthesis", timeout_s=600,
    )  # fmt: skip
    cells = json.loads((tmp_path / "cells.json").read_text())["modules"]["\\registered"]["num_cells_by_type"]
    assert (cells["CCU2C"], cells.get("LUT4", 0)) == (9 + 4 + 9, 1)

    before = _packed(tmp_path)
    open_carries(tmp_path / "registered.json")
    # One more is nextpnr's own, for the constants.
    assert _packed(tmp_path) - 2 * cells["CCU2C"] - cells.get("LUT4", 0) <= 2
    # Without that three cells before and three behind the chains.
    assert before - _packed(tmp_path) == 12


def _packed(folder: Path) -> int:
    """LUTs of the netlist once nextpnr has packed it."""
    tool = nextpnr.TOOL.require()
    command = [
        *tool.command, "--25k", "--package", "CABGA256", "--json", "registered.json", "--lpf-allow-unconstrained", "--pack-only",
        "--report", "report.json",
    ]  # fmt: skip
    log = folder / "nextpnr.log"
    run(command, cwd=folder, log=log, what="Packing", timeout_s=600, environment=tool.environment)
    found = re.search(r"TRELLIS_COMB:\s*(\d+)/", log.read_text())
    assert found
    return int(found[1])


def test_only_ends_that_nobody_reads_are_opened(tmp_path: Path) -> None:
    def cell(cin: object, cout: int, s0: int, init0: str = f"{0x000A:016b}", d0: object = "1") -> dict:
        directions = {"CIN": "input", "D0": "input", "COUT": "output", "S0": "output"}
        connections = {"CIN": [cin], "D0": [d0], "COUT": [cout], "S0": [s0]}
        return {
            "type": "CCU2C",
            "parameters": {"INIT0": init0},
            "port_directions": directions,
            "connections": connections,
        }

    cells = {
        "first": cell("0", 10, 11),
        "last": cell(10, 12, 13, f"{0x96AA:016b}"),  # COUT unread
        "sum_is_read": cell("0", 14, 15),  # its S0 is an output of the module
        "adds": cell("0", 16, 17, f"{0x96AA:016b}"),  # its first look-up table adds
        "not_zero": cell("0", 18, 19, d0="0"),
        "carry_out": cell("0", 20, 21),
    }
    ports = {
        "y": {"direction": "output", "bits": [15, 17, 19, 20]},
        "x": {"direction": "input", "bits": [12]},  # what comes in is not read by that
    }
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": {"top": {"ports": ports, "cells": cells}}}))
    open_carries(path)
    opened = json.loads(path.read_text())["modules"]["top"]["cells"]
    ends = {name: (entry["connections"]["CIN"][0], entry["connections"]["COUT"][0]) for name, entry in opened.items()}
    assert ends == {
        "first": ("x", 10),
        "last": (10, "x"),
        "sum_is_read": ("0", "x"),
        "adds": ("0", "x"),
        "not_zero": ("0", "x"),
        "carry_out": ("x", 20),
    }
