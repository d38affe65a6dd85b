# SPDX-License-Identifier: Apache-2.0
"""Build several instances of one module into one Verilator simulation, and run a module of cocotb tests on them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from rtl_tests.common.simulate import ROOT, TOP, missing_tool, verilator_environment

COMMON = ROOT / "boards" / "common"


@dataclass(frozen=True)
class Port:
    """A port of the module besides clk: direction, name, and its width with these parameters."""

    direction: str
    name: str
    width: int = 1


@dataclass(frozen=True)
class Instance:
    """An instance under test. Its ports are ports of the top module, with its name and an underscore before them."""

    name: str
    parameters: Mapping[str, int]
    ports: Sequence[Port]


def top_module(module: str, instances: Sequence[Instance]) -> str:
    ports, bodies = ["  input wire logic clk"], []
    for instance in instances:
        for port in instance.ports:
            kind = "input wire logic" if port.direction == "input" else "output wire logic"
            ports.append(f"  {kind} [{port.width - 1}:0] {instance.name}_{port.name}")
        parameters = ", ".join(f".{name}(32'd{value})" for name, value in instance.parameters.items())
        connections = ", ".join([".clk(clk)", *(f".{p.name}({instance.name}_{p.name})" for p in instance.ports)])
        bodies.append(f"  {module} #({parameters}) u_{instance.name} ({connections});")
    return "\n".join([f"module {TOP} (", ",\n".join(ports), ");", *bodies, "endmodule", ""])


def run_bench(bench: str, module: str, files: Sequence[str], instances: Sequence[Instance], folder: Path) -> None:
    """Run the cocotb tests of the Python module `bench` (dotted name). Raises AssertionError if one fails."""
    import pytest
    from cocotb_tools.runner import get_results, get_runner

    if (tool := missing_tool()) is not None:
        pytest.skip(f"needs {tool}")
    top = folder / f"{TOP}.sv"
    top.write_text(top_module(module, instances))
    with mock.patch.dict(os.environ, verilator_environment()):
        runner = get_runner("verilator")
        runner.build(
            sources=[*(COMMON / file for file in files), top],
            hdl_toplevel=TOP,
            build_dir=folder / "build",
            # Registers start at random: a module may depend on nothing but its reset.
            build_args=["-Wno-fatal", "--x-assign", "unique", "--x-initial", "unique", "-O3"],
            log_file=folder / "build.log",
        )
        results = folder / "results.xml"
        # The runner leaves with SystemExit where a test has failed; the results say which.
        with suppress(SystemExit):
            runner.test(
                hdl_toplevel=TOP,
                test_module=bench,
                build_dir=folder / "build",
                test_dir=folder,
                test_args=["+verilator+rand+reset+2", "+verilator+seed+1"],
                extra_env={
                    "PYTHONPATH": os.pathsep.join(str(p) for p in (ROOT, *sys.path) if p),
                    "COCOTB_ANSI_OUTPUT": "0",
                },
                results_xml=str(results),
                log_file=folder / "simulation.log",
            )
    if not results.is_file():
        raise AssertionError(f"the simulation gave no results:\n{(folder / 'simulation.log').read_text()[-2000:]}")
    tests, failures = get_results(results)
    if failures or not tests:
        lines = (folder / "simulation.log").read_text().splitlines()
        errors = [line.strip() for line in lines if "AssertionError" in line or "Error:" in line]
        raise AssertionError("\n".join([f"{failures} of {tests} cocotb tests failed:", *errors[:10]]))
