# SPDX-License-Identifier: Apache-2.0
"""Rung 5 of a FINN design for AMD parts: Yosys' netlist of LUTs, carry chains and flip-flops, in Verilator, bit for bit.

Multipliers become LUTs and memories LUT RAM: Yosys' models of the DSP and block RAM cells of these families do not compute what
the cells do. So the netlist shows that the synthesised logic is right, and its counts are not those of a design with DSP blocks.
"""

from __future__ import annotations

from pathlib import Path

from toolchain.build.tools import yosys
from toolchain.plan import BuildPlan
from toolchain.verify.simulate import build_simulation
from toolchain.verify.simulation_library import SimulationLibrary

#: Yosys' names of the families that it maps to; it has none for Versal.
FAMILIES = {"xc7": "xc7", "usplus": "xcup"}
_CELLS, _NETLIST = "cells_simulation.v", "core.v"


def build_amd_netlist_simulation(plan: BuildPlan, family: str, folder: Path, *, jobs: int = 2) -> SimulationLibrary:
    """Synthesise the plan for a family ('xc7', 'usplus') in `folder` and compile its netlist with the cells' models.

    Raises BuildFailed, ToolNotFound.
    """
    plan.write(folder)
    options = " ".join(plan.facts.get("synthesis_options", ()))
    yosys.run_commands(
        [
            f"read_slang --top {plan.top} {options} {' '.join(plan.sources('.sv', '.v'))}",
            "chformal -remove",
            f"synth_xilinx -family {FAMILIES[family]} -abc9 -nobram -nodsp -noiopad -noclkbuf -top {plan.top}",
            f"select {plan.top}",
            f"write_verilog -noattr -selected {_NETLIST}",
        ],
        cwd=folder,
        name="core_synthesis",
        what=f"Synthesis for {family}",
        timeout_s=3600,
    )
    (folder / _CELLS).write_text((yosys.share_folder() / "xilinx" / "cells_sim.v").read_text())
    facts = {**plan.facts, "simulation_options": []}
    return build_simulation(folder, facts, folder / "simulation", sources=[_CELLS, _NETLIST], capture=(), jobs=jobs)
