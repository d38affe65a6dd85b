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

#: Names in nextpnr-ecp5's utilisation report (ecp5/arch.cc of nextpnr: its bel types).
_ECP5_ROUTED = {"TRELLIS_COMB": LUT, "TRELLIS_FF": FF, "MULT18X18D": DSP, "DP16KD": BLOCK_RAM}


def ecp5_synthesis_resources(cells: Mapping[str, int]) -> dict[str, int]:
    """Resources of cells that yosys' synth_ecp5 counted: cell type -> count. Raises KeyError for an unknown type."""
    total = dict.fromkeys(RESOURCES, 0)
    for cell, count in cells.items():
        if cell in _ECP5_FREE:
            continue
        for resource, each in _ECP5_SYNTHESIS[cell].items():
            total[resource] += count * each
    return total


def ecp5_routed_resources(utilisation: Mapping[str, int]) -> dict[str, int]:
    """Resources in use after placement, from nextpnr's report: bel type -> number used."""
    return {resource: utilisation.get(bel, 0) for bel, resource in _ECP5_ROUTED.items()}
