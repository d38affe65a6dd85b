# SPDX-License-Identifier: Apache-2.0
"""Verilator's runtime library, compiled once for a machine instead of once for every simulation.

Every simulation links the same few C++ files of Verilator; compiling them takes longer than most
designs do. Their object files are kept in the user's cache, under a key of all that they are made from, and are laid into the
folder of the next build before make looks for them.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from toolchain.build.tool import distribution_version

#: make must not rebuild the objects because Verilator has just written its makefile (a string for -MAKEFLAGS).
KEEP_OBJECTS = "-o {prefix}.mk"


@cache
def _compiler() -> str:
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S607


def cache_folder() -> Path:
    """Where the objects are kept: the user's cache folder (XDG_CACHE_HOME)."""
    from platformdirs import user_cache_path

    return user_cache_path("bitwright") / "verilated"


def key(*settings: str | Sequence[str]) -> str:
    """A name for the objects made with these settings: all flags and options that reach the compiler."""
    versions = (distribution_version("verilator"), distribution_version("cocotb"), _compiler())
    return hashlib.sha256(repr((versions, settings)).encode()).hexdigest()[:24]


def _is_runtime(path: Path) -> bool:
    """Whether an object is the same for every design; a main program (verilator.o) sees the design's own class."""
    return path.suffix == ".o" and path.name.startswith("verilated")


def lay_out(objects: Path, name: str) -> None:
    """Copy kept objects into the folder of a build that is about to start; nothing where there are none."""
    kept = cache_folder() / name
    if not kept.is_dir():
        return
    objects.mkdir(parents=True, exist_ok=True)
    for path in kept.iterdir():
        shutil.copyfile(path, objects / path.name)  # without its time: it has to be newer than its source


def keep(objects: Path, name: str) -> None:
    """Keep the objects of a finished build, unless they are already. A cache that cannot be written is no error."""
    kept = cache_folder() / name
    if kept.exists():
        return
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".partial-"))
        try:
            for path in objects.iterdir():
                if _is_runtime(path):
                    shutil.copyfile(path, partial / path.name)
            partial.rename(kept)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
