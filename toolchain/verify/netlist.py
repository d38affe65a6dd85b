# SPDX-License-Identifier: Apache-2.0
"""Rung 5: the synthesised core, in the device's cells, in Verilator, equal to the interpreter bit for bit.

The netlist is driven by the harness of rung 3. Carry chains, LUT RAM, multiplexers and flip-flops are Yosys' own models;
block RAM and multiplier, for which Yosys has none with a behaviour, and the LUT are those of boards/common/simulation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolchain.build.tools import yosys
from toolchain.data_folders import BOARDS
from toolchain.verify.simulate import build_simulation
from toolchain.verify.simulation_library import SimulationLibrary

_CELLS = "cells_simulation.v"
#: A netlist of 60,000 LUTs takes minutes and 6 GiB; on a machine that does other work, much longer.
_TIMEOUT_S = 3 * 3600
_OWN_MODELS = ("DP16KD", "LUT4", "MULT18X18D")


def build_netlist_simulation(
    netlist_folder: Path, netlist: str, facts: Mapping[str, Any], folder: Path, *, jobs: int = 2
) -> SimulationLibrary:
    """Compile the Verilog netlist of a streaming core with the device's cells into `folder`, and load it.

    netlist: file in `netlist_folder`, as toolchain.build.tools.yosys.synthesise_ecp5_core writes it. facts: of the core's plan.
    The netlist holds the contents of its memories, so no memory files are read. Streams inside the core cannot be captured.
    Raises BuildFailed, ToolNotFound.
    """
    folder.mkdir(parents=True, exist_ok=True)
    yosys.write_simulation_cells(folder / _CELLS, without=_OWN_MODELS)
    own = [BOARDS / "common" / "simulation" / f"{name}.sv" for name in _OWN_MODELS]
    paths = [folder / _CELLS, *own, netlist_folder / netlist]
    return build_simulation(
        netlist_folder,
        facts,
        folder,
        sources=[os.path.relpath(path.resolve(), netlist_folder.resolve()) for path in paths],
        capture=(),
        jobs=jobs,
        optimisation="-O1",
        timeout_s=_TIMEOUT_S,
    )
