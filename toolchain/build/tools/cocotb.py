# SPDX-License-Identifier: Apache-2.0
"""cocotb on Verilator: Python test benches inside the simulator."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from toolchain.build.runner import run
from toolchain.build.tool import Tool, python_package
from toolchain.build.tools import verilated_runtime, verilator
from toolchain.errors import BuildFailed

TOOL = Tool(
    name="cocotb",
    lost="the stream protocol, resets and the declared cycles are not checked (rung 4 of the ladder)",
    install="pip install 'bitwright[rtl]'",
    find=python_package("cocotb", "cocotb"),
)

_WORKER = Path(__file__).parent.parent / "cocotb_worker.py"
_REQUEST = "cocotb_request.json"
_RESULTS = "results.xml"
_BUILD = "bench_build"


@dataclass(frozen=True)
class TestOutcome:
    """One cocotb test; `message` says why it failed ('' if it passed)."""

    name: str
    passed: bool
    message: str
    seconds: float


def build_bench(
    sources: Sequence[str],
    top: str,
    ports: Sequence[str],
    *,
    folder: Path,
    log: Path,
    options: Sequence[str] = (),
    jobs: int = 2,
    timeout_s: float = 1800,
) -> None:
    """Compile a design for cocotb into `folder`: of its signals only the `ports` of the top module can be seen.

    sources: relative to `folder`. options: further ones for Verilator. Raises BuildFailed.
    """
    TOOL.require()
    tool = verilator.TOOL.require()
    spec = util.find_spec("cocotb")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    control = "".join(f'public_flat_rw -module "{top}" -var "{port}"\n' for port in ports)
    (folder / "bench.vlt").write_text("`verilator_config\n" + control)
    libraries = package / "libs"
    command = [
        *tool.command, "--cc", "--exe", "--build", "-j", str(jobs), "--vpi", "--top-module", top, "--prefix", "Vtop",
        "--Mdir", _BUILD, "-o", top, "--x-assign", "unique", "--x-initial", "unique", "--no-assert", "-Wno-fatal", "-Wno-lint",
        "-CFLAGS", "-std=c++20", "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator",
        "-MAKEFLAGS", verilator.make_flags({"OPT_FAST": "-O1", "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O0"}),
        *options, "bench.vlt", *sources, str(package / "share" / "lib" / "verilator" / "verilator.cpp"),
    ]  # fmt: skip
    environment = {**tool.environment, "MAKEFLAGS": "", "CXXFLAGS": ""}
    runtime = verilated_runtime.key("bench")
    verilated_runtime.lay_out(folder / _BUILD, runtime)
    run(command, cwd=folder, log=log, what="Verilator build of the bench", timeout_s=timeout_s, environment=environment)
    verilated_runtime.keep(folder / _BUILD, runtime)


def run_bench(
    top: str,
    test_module: str,
    *,
    folder: Path,
    working_folder: Path,
    python_path: Sequence[Path],
    environment: Mapping[str, str],
    log: Path,
    timeout_s: float,
    seed: int = 1,
) -> list[TestOutcome]:
    """Run the tests of `test_module` on what `build_bench` left in `folder`, with `working_folder` as the current one.

    The design reads its memory files there; nothing is written into it. Raises BuildFailed if the simulation does not
    end in time or leaves no results; a test that fails is an outcome.
    """
    folder = folder.resolve()
    (folder / _RESULTS).unlink(missing_ok=True)
    request = {
        "top": top,
        "test_module": test_module,
        "build_folder": str(folder / _BUILD),
        "working_folder": str(working_folder.resolve()),
        "results": str(folder / _RESULTS),
        "seed": seed,
    }
    (folder / _REQUEST).write_text(json.dumps(request))
    path = os.pathsep.join([*(str(entry) for entry in python_path), sysconfig.get_paths()["purelib"]])
    variables = {
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "COCOTB_ANSI_OUTPUT": "0",
        "NO_COLOR": "1",
        **environment,
    }
    run(
        [sys.executable, str(_WORKER), _REQUEST],
        cwd=folder,
        log=log,
        what="cocotb",
        timeout_s=timeout_s,
        environment=variables,
    )
    (folder / _REQUEST).unlink()
    return read_results(folder / _RESULTS, log)


def read_results(path: Path, log: Path) -> list[TestOutcome]:
    """The outcomes in cocotb's results.xml. Raises BuildFailed if there are none."""
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314  # written by our own process, a moment ago
    except (OSError, ElementTree.ParseError) as error:
        raise BuildFailed(f"cocotb left no results ({error})", log=log) from None
    outcomes = []
    for case in root.iter("testcase"):
        # JUnit's `skipped` is no success either: a test that did not run shows nothing.
        bad = next((found for tag in ("failure", "error", "skipped") if (found := case.find(tag)) is not None), None)
        message = "" if bad is None else (bad.get("error_msg") or bad.get("message") or bad.text or bad.tag)
        outcomes.append(TestOutcome(case.get("name", ""), bad is None, message.strip(), float(case.get("time", "0"))))
    if not outcomes:
        raise BuildFailed("cocotb ran no tests", log=log)
    return outcomes
