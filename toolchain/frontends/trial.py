# SPDX-License-Identifier: Apache-2.0
"""A first reading of an untrusted file in a process of its own, because a C library may crash on it."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

#: Seconds after which a first reading counts as hung.
_TIME_LIMIT_S = 120.0
#: Share of it for a copy of this process, where a fresh one comes next.
_COPY_SHARE = 1 / 6


def crash_of(reading: Callable[[], object], fresh: tuple[str, str, str] | None = None) -> str:
    """'' if `reading` returns or raises in a copy of this process; else what became of that, such as 'SIGSEGV'.

    fresh: module, name and the one argument of a function that does the same, for a process that is no copy; where there is none, a copy
    that hangs is tried once more.
    An exception in it says nothing here: the reading in this process will meet it again. Where processes cannot be copied
    (outside POSIX) nothing is tried and the result is ''.
    """
    if not hasattr(os, "fork"):
        return ""
    # A copy lacks the other threads of this process: whatever lock one of them held just then stays locked for ever. That is no
    # property of the file; but as long as a thread holds it, every copy hangs, so a process without a past has to say.
    outcome = _outcome(reading, _TIME_LIMIT_S * _COPY_SHARE if fresh else _TIME_LIMIT_S)
    if outcome is None:
        outcome = _fresh_outcome(*fresh) if fresh else _outcome(reading, _TIME_LIMIT_S)
    return f"no end within {_TIME_LIMIT_S:g} s" if outcome is None else outcome


def _fresh_outcome(module: str, name: str, argument: str) -> str | None:
    """As `_outcome`, of a function of a module in a new interpreter."""
    package_root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((package_root, os.environ.get("PYTHONPATH", "")))}
    code = f"import sys; from {module} import {name}; {name}(sys.argv[1])"
    try:
        status = subprocess.run(
            [sys.executable, "-c", code, argument],
            check=False, env=environment, timeout=_TIME_LIMIT_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ).returncode  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    return signal.Signals(-status).name if status < 0 else ""


def _outcome(reading: Callable[[], object], limit_s: float) -> str | None:
    """What `crash_of` returns; None at the time limit."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        # Whatever the library or Python's fault handler says of the crash is not for the user.
        with contextlib.suppress(BaseException):
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            faulthandler.disable()
            # What else this process holds is none of the copy's business: frameworks' destructors may wait for their threads.
            gc.disable()
            reading()
        os._exit(0)
    status = _wait(child, limit_s)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else ""


def _wait(child: int, limit_s: float) -> int | None:
    """The status of an ended child, or None at the time limit."""
    end, pause = time.monotonic() + limit_s, 0.0005
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return None
