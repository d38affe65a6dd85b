# SPDX-License-Identifier: Apache-2.0
"""External tools: how each is found, its version, and what is lost without it.

A tool is one file in `toolchain/build/tools/` that defines `TOOL` and the functions which run it; `bitwright doctor`
lists them all.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, metadata, util
from pathlib import Path
from pkgutil import iter_modules

from toolchain.errors import ToolNotFound


@dataclass(frozen=True)
class FoundTool:
    """An installed tool. `environment` is what its processes need on top of the usual variables."""

    command: tuple[str, ...]
    version: str
    location: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    """A program or package that a stage needs.

    name: as its users call it. lost: what cannot be done without it. install: the command that brings it.
    find: returns where it is, or None; cheap, and it never imports a heavy package.
    optional: no stage of a build needs it; the user may want it afterwards.
    """

    name: str
    lost: str
    install: str
    find: Callable[[], FoundTool | None]
    optional: bool = False

    def require(self) -> FoundTool:
        """Where the tool is; raises ToolNotFound with the remedy if it is not installed."""
        found = self.find()
        if found is None:
            raise ToolNotFound(
                f"{self.name} is not installed; without it: {self.lost}. Install it with: {self.install}"
            )
        return found


@cache
def distribution_version(distribution: str) -> str | None:
    """Version of an installed Python distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def python_package(distribution: str, module: str) -> Callable[[], FoundTool | None]:
    """A `find` for a Python package that is used by importing it (in a worker or lazily)."""

    def find() -> FoundTool | None:
        version = distribution_version(distribution)
        spec = util.find_spec(module) if version else None
        if version is None or spec is None:
            return None
        return FoundTool((), version, str(Path(spec.origin).parent) if spec.origin else "")

    return find


def program(name: str, version_arguments: tuple[str, ...], version_pattern: str) -> Callable[[], FoundTool | None]:
    """A `find` for a program on PATH that prints its version; the pattern's first group is the version."""

    @cache
    def find() -> FoundTool | None:
        path = shutil.which(name)
        if path is None:
            return None
        try:
            answer = subprocess.run(
                [path, *version_arguments],
                capture_output=True,
                text=True,
                timeout=20,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        match = re.search(version_pattern, answer.stdout + answer.stderr)
        return FoundTool((path,), match[1] if match else "unknown", path)

    return find


def all_tools() -> list[Tool]:
    """Every tool that the project knows, in alphabetical order of its file."""
    package = import_module("toolchain.build.tools")
    modules = (import_module(f"toolchain.build.tools.{module.name}") for module in iter_modules(package.__path__))
    return [tool for module in modules for tool in getattr(module, "TOOLS", [getattr(module, "TOOL", None)]) if tool]
