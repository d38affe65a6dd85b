# SPDX-License-Identifier: Apache-2.0
"""How designs become cells of an ECP5: Yosys' own script, with carry chains to which place and route need not add anything.

Yosys' chains begin with a constant at the first cell's carry input and end with a carry output that nobody reads. nextpnr-ecp5 puts a
cell of its own before the one and one behind the other (`split_carry_chain` in its ecp5/pack.cc): four LUTs for an adder of six
bits that takes six. The chains here make their first carry themselves, and `open_carries` leaves both ends open in the netlist that
nextpnr reads. Figures are in docs/decisions/0014-carry-chains.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CARRY_CHAINS = Path(__file__).with_name("ecp5_carry_chains.v")
ADD_SUBTRACT = Path(__file__).with_name("ecp5_add_subtract.v")
#: Options of `read_slang` that leave the library's module to `mapping`; a design without it is not changed by them.
READ_OPTIONS = ("--blackboxed-module", "add_subtract")
#: Parameter INIT0 of a chain's first cell, as Yosys writes it into JSON (CARRY_IN there).
_CARRY_IN = f"{0x000A:016b}"
_CARRY_CELL = "CCU2C"


def mapping(top: str, cwd: Path, *, options: str = "", end: str = "") -> list[str]:
    """Yosys commands that map the design that was read, for a script that is run in `cwd`; `top` is an identifier.

    The design was read with `READ_OPTIONS`. options: further ones of `synth_ecp5`. end: the label of its script before which to stop,
    one behind `map_gates`. Writes the techmaps that the commands name.
    """
    for techmap in (ADD_SUBTRACT, CARRY_CHAINS):
        (cwd / techmap.name).write_bytes(techmap.read_bytes())
    synthesis = f"synth_ecp5 -abc9{options} -top {top}"
    return [
        f"techmap -map {ADD_SUBTRACT.name}",
        f"{synthesis} -run begin:map_gates",
        f"techmap -map {CARRY_CHAINS.name}",
        f"{synthesis} -run map_gates:{end}",
    ]


def open_carries(path: Path) -> None:
    """Leaves open, in a netlist that Yosys wrote as JSON, the carry outputs that nobody reads and the carry inputs without effect."""
    netlist: dict[str, Any] = json.loads(path.read_text())
    for module in netlist["modules"].values():
        read = {
            bit
            for cell in module["cells"].values()
            for port, bits in cell["connections"].items()
            if cell["port_directions"][port] != "output"
            for bit in bits
        }
        read.update(bit for port in module["ports"].values() if port["direction"] != "input" for bit in port["bits"])
        for cell in module["cells"].values():
            if cell["type"] == _CARRY_CELL:
                _open_ends(cell, read)
    # nextpnr reads one line as well as many, and half the size.
    path.write_text(json.dumps(netlist, separators=(",", ":")))


def _open_ends(cell: dict[str, Any], read: set[Any]) -> None:
    connections = cell["connections"]
    if not read.intersection(connections.get("COUT", ())):
        connections["COUT"] = ["x"]
    # The first look-up table is zero: neither its sum, which nobody may read, nor the carry above it would tell another CIN.
    makes_carry = cell["parameters"].get("INIT0") == _CARRY_IN and connections.get("D0") == ["1"]
    if makes_carry and not read.intersection(connections.get("S0", ())):
        connections["CIN"] = ["x"]
