# SPDX-License-Identifier: Apache-2.0
"""A first reading of an untrusted file in a process of its own, because a C library may crash on it."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import time
from collections.abc import Callable

#: Seconds after which a first reading counts as hung.
_TIME_LIMIT_S = 120.0


def crash_of(reading: Callable[[], object]) -> str:
    """'' if `reading` returns or raises in a copy of this process; else what became of that, such as 'SIGSEGV'.

    An exception in it says nothing here: the reading in this process will meet it again. Where processes cannot be copied
    (outside POSIX) nothing is tried and the result is ''.
    """
    if not hasattr(os, "fork"):
        return ""
    # A copy lacks the other threads of this process: whatever lock one of them held just then stays locked for ever. That is no
    # property of the file, and rare enough not to happen twice.
    for _ in range(2):
        outcome = _outcome(reading)
        if outcome is not None:
            return outcome
    return f"no end within {_TIME_LIMIT_S:g} s"


def _outcome(reading: Callable[[], object]) -> str | None:
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
    status = _wait(child)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return None
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else ""


def _wait(child: int) -> int | None:
    """The status of an ended child, or None at the time limit."""
    end, pause = time.monotonic() + _TIME_LIMIT_S, 0.0005
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return None
