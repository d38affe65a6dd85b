# SPDX-License-Identifier: Apache-2.0
"""The C++ compiler: shared libraries from generated sources."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from toolchain.build.runner import run
from toolchain.build.tool import FoundTool, Tool, program

_PROGRAMS = tuple(program(name, ("--version",), r"(\d+\.\d+\.\d+)") for name in ("g++", "clang++"))


def _find() -> FoundTool | None:
    return next((found for find in _PROGRAMS if (found := find())), None)


TOOL = Tool(
    name="C++ compiler",
    lost="HLS projects cannot be run on the CPU (rung 2 of the ladder), and RTL is not simulated",
    install="apt install g++",
    find=_find,
)


@dataclass(frozen=True)
class SharedLibrary:
    """A library that was built: where it is, by which compiler, and how long that took."""

    path: Path
    compiler: str
    seconds: float


def build_shared_library(
    sources: Sequence[str],
    output: Path,
    *,
    cwd: Path,
    log: Path,
    flags: Sequence[str] = (),
    jobs: int = 2,
    timeout_s: float = 900,
) -> SharedLibrary:
    """Compile `sources` (relative to `cwd`, as are paths in `flags`), `jobs` at a time, and link them to `output`.

    log: the linker's log; each source has its own beside it. Two libraries of the same generated code can be loaded
    into one process: each sees its own symbols. Raises ToolNotFound without a compiler; BuildFailed where a step fails
    or outlasts `timeout_s` seconds.
    """
    tool = TOOL.require()
    started = time.monotonic()
    output = output.resolve()
    # GCC would otherwise share static variables of templates between all libraries of a process.
    own_statics = [] if "clang" in Path(tool.location).name else ["-fno-gnu-unique"]
    objects = [output.with_name(f"{output.stem}.{number}.o") for number in range(len(sources))]

    def compile_one(source: str, result: Path) -> None:
        command = [*tool.command, "-c", "-fPIC", *own_statics, *flags, source, "-o", str(result)]
        run(
            command,
            cwd=cwd,
            log=log.with_name(f"{result.stem}.log"),
            what=f"compilation of {source}",
            timeout_s=timeout_s,
        )

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        list(pool.map(compile_one, sources, objects))
    link = [*tool.command, "-shared", "-Wl,-Bsymbolic", *map(str, objects), "-o", str(output)]
    run(link, cwd=cwd, log=log, what=f"linking of {output.name}", timeout_s=timeout_s)
    for path in objects:
        path.unlink()
    return SharedLibrary(output, tool.version, time.monotonic() - started)
