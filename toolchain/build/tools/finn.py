# SPDX-License-Identifier: Apache-2.0
"""FINN (finn-plus), run in a process of its own, without a vendor's tool."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from toolchain.build.runner import Completed, run
from toolchain.build.tool import Tool, python_package
from toolchain.errors import BuildFailed, InputError

TOOL = Tool(
    name="FINN (finn-plus)",
    lost="backend finn: FINN's dataflow RTL is not generated",
    install="pip install 'bitwright[finn]'",
    find=python_package("finn-plus", "finn"),
)

_MODULE = "toolchain.backends.finn.worker"
#: Bytes that FINN's copies of its library and its generated code take at most, before they are taken away again.
_ROOM_BYTES = 64 << 20


def run_worker(folder: Path, *, log: Path, timeout_s: float = 1800) -> Completed:
    """Run FINN's worker in `folder`, which holds its request (see toolchain.backends.finn.worker).

    Raises ToolNotFound, InputError where the disk has no room for it, and BuildFailed if the worker dies, or hangs for
    `timeout_s` seconds; the message has the command that runs it alone.
    """
    TOOL.require()
    free = shutil.disk_usage(folder).free
    if free < _ROOM_BYTES:
        raise InputError(f"{folder}: FINN needs {_ROOM_BYTES >> 20} MiB of room on the disk, {free >> 20} MiB are free")
    command = [sys.executable, "-P", "-m", _MODULE]
    return run(
        command,
        cwd=folder,
        log=log,
        what="FINN's worker",
        timeout_s=timeout_s,
        remedy=f"To run it alone: cd {shlex.quote(str(folder))} && {shlex.join(command)}",
    )


def made_in(folder: Path) -> dict[str, Any]:
    """What the worker made, from its nodes.json. Raises BuildFailed."""
    path = folder / "nodes.json"
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise BuildFailed(f"{path}: FINN's worker left no result that can be read ({error}); build again") from None
