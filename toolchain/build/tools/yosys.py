# SPDX-License-Identifier: Apache-2.0
"""Yosys through pyosys: SystemVerilog (read by slang) to a netlist of ECP5 cells.

Every run writes its commands as a .ys file into the working folder, so that any other Yosys can repeat it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from toolchain.build.runner import Completed, run
from toolchain.build.tool import Tool, python_package
from toolchain.build.tools.ecp5_mapping import READ_OPTIONS, mapping, open_carries
from toolchain.errors import BuildFailed
from toolchain.resources import FF, LUT, ecp5_synthesis_resources

TOOL = Tool(
    name="Yosys (pyosys)",
    lost="RTL is not synthesised: no resource counts, no netlist to simulate (rung 5), no bitstream",
    install="pip install 'bitwright[ecp5]'",
    find=python_package("pyosys", "pyosys"),
)

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", re.ASCII)
#: Flip-flops that a synchronous reset has to serve in a design that fills its device. The eight flip-flops of an ECP5 PFU share two
#: reset lines (FPGA-DS-02012, 2.2 'PFU Blocks'): thousands of resets of a few bits each, as Yosys makes them of registers behind
#: AND gates, leave nextpnr's placer without an end. What it was tried with is in docs/decisions/0013-resets-in-full-devices.md.
FEWEST_RESET_FLIP_FLOPS = 16
#: The flip-flops of the device, by the names that Yosys' own script of synth_ecp5 gives to `dfflegalize` (yosys 0.70).
_FLIP_FLOPS = (
    "-cell $_DFF_?_ 01 -cell $_DFF_?P?_ r -cell $_SDFF_?P?_ r -cell $_DFFE_??_ 01 -cell $_DFFE_?P??_ r -cell $_SDFFE_?P??_ r "
    "-cell $_DLATCH_?_ x"
)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True)
class Synthesis:
    """A synthesised module, instances of other designs' modules not included.

    cells: cell type -> count. resources: LUT, FF, DSP, block RAM -> count, see toolchain.resources.
    files: what was written, by purpose ('verilog', 'rtlil', 'json'), relative to the working folder.
    """

    top: str
    cells: Mapping[str, int]
    resources: Mapping[str, int]
    files: Mapping[str, str]
    seconds: float


def share_folder() -> Path:
    """Where Yosys keeps its cell libraries. Raises ToolNotFound."""
    return Path(TOOL.require().location) / "share"


def run_commands(commands: Sequence[str], *, cwd: Path, name: str, what: str, timeout_s: float) -> Completed:
    """Run Yosys commands in a process of their own: script `name`.ys, log `name`.log. Raises BuildFailed."""
    TOOL.require()
    (cwd / f"{name}.ys").write_text("\n".join(commands) + "\n")
    # -I: nothing in the working folder can take the place of a Python module.
    program = f"from pyosys import libyosys as ys; ys.run_pass('script {name}.ys', ys.Design())"
    command = [sys.executable, "-I", "-c", program]
    return run(command, cwd=cwd, log=cwd / f"{name}.log", what=what, timeout_s=timeout_s)


def synthesise_ecp5_core(
    sources: Sequence[str],
    top: str,
    *,
    cwd: Path,
    name: str = "core",
    read_options: Sequence[str] = (),
    available: Mapping[str, int] = MappingProxyType({}),
    timeout_s: float = 6 * 3600,
) -> Synthesis:
    """Synthesise module `top` by itself, to be placed and simulated as it is.

    sources: SystemVerilog files relative to `cwd`; memory files named in them are looked for there too. read_options: for
    read_slang. available: LUT and FF of the device, where it is known: a core that takes more than half of either is mapped once
    more, without synchronous resets that serve fewer than `FEWEST_RESET_FLIP_FLOPS`. Assertions are left out.
    Writes `name`.v (Verilog netlist) and `name`.il (the same for a later design). Raises BuildFailed.
    """
    files = {"verilog": f"{name}.v", "rtlil": f"{name}.il"}
    gates = f"{name}_gates.il"
    second_half = f"synth_ecp5 -abc9 -top {_word(top)} -run map_ffs:"
    results = [
        "check -assert -mapped",
        f"tee -q -o {name}_cells.json stat -json",
        # Only the module itself: the cell library that synthesis has read stays out of the files.
        f"select {_word(top)}",
        f"write_verilog -noattr -selected {files['verilog']}",
        f"write_rtlil -selected {files['rtlil']}",
    ]
    done = run_commands(
        [
            f"read_slang --top {_word(top)} {' '.join([*READ_OPTIONS, *read_options])} {_words(sources)}",
            "chformal -remove",
            *mapping(_word(top), cwd, end="map_ffs"),
            f"write_rtlil {gates}",
            second_half,
            *results,
        ],
        cwd=cwd,
        name=f"{name}_synthesis",
        what="Synthesis of the core",
        timeout_s=timeout_s,
    )
    seconds = done.seconds
    cells = _cells(cwd / f"{name}_cells.json", top)
    found = _resources(cells, cwd / f"{name}_cells.json")
    if any(2 * found[resource] > available[resource] for resource in (LUT, FF) if resource in available):
        done = run_commands(
            [
                f"read_rtlil {gates}",
                "read_verilog -lib -specify +/ecp5/cells_sim.v +/ecp5/cells_bb.v",
                "opt_clean",
                f"dfflegalize -minsrst {FEWEST_RESET_FLIP_FLOPS} {_FLIP_FLOPS}",
                "opt_expr",
                second_half,
                *results,
            ],
            cwd=cwd,
            name=f"{name}_synthesis_full",
            what="Synthesis of the core, for a well-filled device",
            timeout_s=timeout_s,
        )
        seconds += done.seconds
        cells = _cells(cwd / f"{name}_cells.json", top)
        found = _resources(cells, cwd / f"{name}_cells.json")
    (cwd / gates).unlink()
    return Synthesis(top, cells, found, files, seconds)


def synthesise_ecp5_design(
    sources: Sequence[str],
    top: str,
    *,
    core: str,
    core_rtlil: str,
    vendor_models: Mapping[str, str],
    cwd: Path,
    name: str = "design",
    timeout_s: float = 900,
) -> Synthesis:
    """Synthesise a board's design around a core that is already a netlist, and join the two.

    The core's netlist (module `core`, file `core_rtlil` as written by `synthesise_ecp5_core`) is a black box while the rest
    is synthesised, and is then put in unchanged, as a module of its own.
    vendor_models: vendor's module -> file with its ports and parameters; the module becomes a cell.
    Writes `name`.json for place and route. The cells returned are those of the board's part alone. Raises BuildFailed.
    """
    boxes = " ".join(f"--blackboxed-module {_word(module)}" for module in vendor_models)
    files = {"json": f"{name}.json"}
    done = run_commands(
        [
            f"read_rtlil {_path(core_rtlil)}",
            f"blackbox {_word(core)}",
            f"read_slang --top {_word(top)} {boxes} {_words([*sources, *vendor_models.values()])}",
            *mapping(_word(top), cwd),
            f"tee -q -o {name}_cells.json stat -json",
            f"delete ={_word(core)}",
            f"read_rtlil -overwrite {_path(core_rtlil)}",
            f"hierarchy -check -top {_word(top)}",
            f"select {_word(top)} {_word(core)}",
            f"write_json -selected {files['json']}",
        ],
        cwd=cwd,
        name=f"{name}_synthesis",
        what="Synthesis of the board's design",
        timeout_s=timeout_s,
    )
    open_carries(cwd / files["json"])
    cells = _cells(cwd / f"{name}_cells.json", top)
    cells.pop(core, None)
    return Synthesis(top, cells, _resources(cells, cwd / f"{name}_cells.json"), files, done.seconds)


def write_simulation_cells(path: Path, without: Collection[str]) -> None:
    """Write Yosys' simulation models of the ECP5 cells to `path`, as one file, except those of the modules in `without`.

    Raises ToolNotFound.
    """
    folder = share_folder() / "ecp5"

    def with_includes(name: str) -> str:
        text = (folder / name).read_text()
        return re.sub(r'^`include "(\w+\.vh)"', lambda match: with_includes(match[1]), text, flags=re.MULTILINE)

    text = with_includes("cells_sim.v")
    for module in without:
        text = re.sub(rf"^module {_word(module)}\b.*?^endmodule\b", "", text, flags=re.DOTALL | re.MULTILINE)
    # Attributes of a module that is no longer there would go to the next one; simulation needs none.
    path.write_text(re.sub(r"^\(\*.*?\*\)\s*$", "", text, flags=re.MULTILINE))


def _cells(path: Path, top: str) -> dict[str, int]:
    try:
        return dict(json.loads(path.read_text())["modules"][f"\\{top}"]["num_cells_by_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildFailed(f"Yosys' cell counts in {path} cannot be read: {type(error).__name__}: {error}") from None


def _resources(cells: Mapping[str, int], path: Path) -> dict[str, int]:
    try:
        return ecp5_synthesis_resources(cells)
    except KeyError as error:
        raise BuildFailed(
            f"{path}: cell type {error} is not one that toolchain/resources.py knows; with an unchanged Yosys this means "
            "that a part of the design was not mapped to the device"
        ) from None


def _word(identifier: str) -> str:
    if not _IDENTIFIER.fullmatch(identifier):
        raise AssertionError(f"{identifier!r} is not an identifier")
    return identifier


def _path(path: str) -> str:
    if not _FILE_NAME.fullmatch(path):
        raise AssertionError(f"{path!r} is not a plain relative file name")
    return path


def _words(paths: Sequence[str]) -> str:
    return " ".join(_path(path) for path in paths)
