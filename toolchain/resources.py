# SPDX-License-Identifier: Apache-2.0
"""From the cell names of synthesis and of place and route to the resources a report names: LUT, FF, DSP, block RAM.

Counts after synthesis and after packing differ by nature: a carry cell is two LUTs only once it is placed, and packing
adds feed-throughs. Each count therefore belongs to one of the two functions below, and they are never added.
"""

from __future__ import annotations

from collections.abc import Mapping

LUT, FF, DSP, BLOCK_RAM = "LUT", "FF", "DSP", "block RAM"
RESOURCES = (LUT, FF, DSP, BLOCK_RAM)

#: Cells of `synth_ecp5` (yosys, techlibs/lattice) in the units of the device: Lattice FPGA-DS-02012, section 2.2 'PFU
#: Blocks' (a slice has two 4-input LUTs and two flip-flops; PFUMX and L6MUX21 are the multiplexers beside them), 2.9
#: 'sysDSP Slice' (18 x 18 multipliers), 2.8 'sysMEM Memory' (18-Kbit blocks).
_ECP5_SYNTHESIS: Mapping[str, Mapping[str, int]] = {
    "LUT4": {LUT: 1},
    "CCU2C": {LUT: 2},  # carry logic of one slice: both of its LUTs
    "TRELLIS_DPR16X4": {LUT: 6},  # a 16 x 4 LUT RAM: four LUTs that store, two that write
    "TRELLIS_FF": {FF: 1},
    "MULT18X18D": {DSP: 1},
    "DP16KD": {BLOCK_RAM: 1},
    "PDPW16KD": {BLOCK_RAM: 1},
}
#: Cells that take none of the four resources; any other unknown cell is an error, so that none is left out silently.
_ECP5_FREE = frozenset(
    {"PFUMX", "L6MUX21", "EHXPLLL", "ALU54B", "TRELLIS_IO", "DCCA", "GSR", "$scopeinfo", "VLO", "VHI"}
)

#: Cells of `synth_xilinx -family xc7` (yosys, techlibs/xilinx) in the units of the device: AMD UG474 (a LUT RAM or shift
#: register takes the LUTs that it is made of), UG473 (block RAM, in 18-Kbit blocks: a RAMB36E1 is two), UG479 (DSP48E1).
_XC7_SYNTHESIS: Mapping[str, Mapping[str, int]] = {
    **{f"LUT{inputs}": {LUT: 1} for inputs in range(1, 7)},
    **{"RAM32X1S": {LUT: 1}, "RAM64X1S": {LUT: 1}, "RAM128X1S": {LUT: 2}, "RAM256X1S": {LUT: 4}},
    **{"RAM32X1D": {LUT: 2}, "RAM64X1D": {LUT: 2}, "RAM128X1D": {LUT: 4}, "RAM32M": {LUT: 4}, "RAM64M": {LUT: 4}},
    **{"SRL16E": {LUT: 1}, "SRLC32E": {LUT: 1}},
    **{cell: {FF: 1} for cell in ("FDRE", "FDSE", "FDCE", "FDPE")},
    "DSP48E1": {DSP: 1},
    "RAMB18E1": {BLOCK_RAM: 1},
    "RAMB36E1": {BLOCK_RAM: 2},
}
_XC7_FREE = frozenset({"CARRY4", "MUXF7", "MUXF8", "INV", "BUFG", "IBUF", "OBUF", "$scopeinfo"})

_SYNTHESIS = {"ecp5": (_ECP5_SYNTHESIS, _ECP5_FREE), "xc7": (_XC7_SYNTHESIS, _XC7_FREE)}
#: Families whose cells are known.
SYNTHESIS_FAMILIES = tuple(_SYNTHESIS)

#: Names in nextpnr-ecp5's utilisation report (ecp5/arch.cc of nextpnr: its bel types).
_ECP5_ROUTED = {"TRELLIS_COMB": LUT, "TRELLIS_FF": FF, "MULT18X18D": DSP, "DP16KD": BLOCK_RAM}


def synthesis_resources(family: str, cells: Mapping[str, int]) -> dict[str, int]:
    """Resources of cells that yosys counted for a family: cell type -> count. Raises KeyError for an unknown type."""
    known, free = _SYNTHESIS[family]
    total = dict.fromkeys(RESOURCES, 0)
    for cell, count in cells.items():
        if cell in free:
            continue
        for resource, each in known[cell].items():
            total[resource] += count * each
    return total


def ecp5_synthesis_resources(cells: Mapping[str, int]) -> dict[str, int]:
    """Resources of cells that yosys' synth_ecp5 counted: cell type -> count. Raises KeyError for an unknown type."""
    return synthesis_resources("ecp5", cells)


def ecp5_routed_resources(utilisation: Mapping[str, int]) -> dict[str, int]:
    """Resources in use after placement, from nextpnr's report: bel type -> number used."""
    return {resource: utilisation.get(bel, 0) for bel, resource in _ECP5_ROUTED.items()}
