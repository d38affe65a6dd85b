# SPDX-License-Identifier: Apache-2.0
"""What the YoWASP tools (WebAssembly builds from PyPI) have in common. Not a tool by itself.

They are compiled to machine code at their first call, which takes up to a minute and a half, and are run in the folder
that holds their files, with relative paths.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from toolchain.build.tool import FoundTool, distribution_version


def cache_folder() -> Path:
    """Where compiled tools are kept: YOWASP_CACHE_DIR if set, else a folder of the user's cache."""
    named = os.environ.get("YOWASP_CACHE_DIR")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "bitwright" / "yowasp"


def yowasp_tool(distribution: str, program: str) -> Callable[[], FoundTool | None]:
    """A `find` for a program that a YoWASP distribution installs beside this interpreter."""

    def find() -> FoundTool | None:
        version = distribution_version(distribution)
        script = Path(sys.executable).parent / program
        if version is None or not script.is_file():
            return None
        return FoundTool((str(script),), version, str(script), {"YOWASP_CACHE_DIR": str(cache_folder())})

    return find


def first_call_note(program: str) -> str:
    """Words for the progress display if the program has not been compiled yet, else ''.

    program: as in 'nextpnr-ecp5'.
    """
    compiled = cache_folder().glob(f"*/{program}.wasm/*")
    if any(path.is_file() for path in compiled):
        return ""
    return f"the first call of {program} compiles it for this machine, up to 80 s, and keeps that in {cache_folder()}"
