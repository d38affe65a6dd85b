# SPDX-License-Identifier: Apache-2.0
"""The only place that starts processes: argument lists, a working folder, a log, a time limit, and no orphan left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import BuildFailed, ToolNotFound

_LAST_LINES = 15
_RUNNING: set[subprocess.Popen[bytes]] = set()
_RUNNING_LOCK = threading.Lock()
_stopping = threading.Event()


@dataclass(frozen=True)
class Completed:
    """A process that ended with status 0."""

    log: Path
    seconds: float

    def text(self) -> str:
        return self.log.read_text(errors="replace")


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path,
    log: Path,
    what: str,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    remedy: str = "",
) -> Completed:
    """Run `command` in `cwd`, standard output and error into `log`, and wait for it.

    what: the step in words, for messages ('place and route'). environment: variables added to this process's own.
    Raises ToolNotFound when the program does not exist, BuildFailed (command, status, log, last lines) when it ends
    with another status than 0 or outlasts `timeout_s` seconds; the whole process group is then stopped.
    """
    arguments = [os.fspath(part) for part in command]
    if _stopping.is_set():
        raise KeyboardInterrupt
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    status: int | None
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise ToolNotFound(f"{what}: program {arguments[0]!r} was not found. {remedy}".rstrip()) from None
        with _RUNNING_LOCK:
            _RUNNING.add(process)
        try:
            status = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _stop_group(process)
            with _RUNNING_LOCK:
                _RUNNING.discard(process)
    seconds = time.monotonic() - started
    if status == 0:
        return Completed(log, seconds)
    if _stopping.is_set():
        raise KeyboardInterrupt
    if status is None:
        reason = f"{what} did not end within {timeout_s:g} s and was stopped"
    elif status < 0:
        reason = f"{what} was ended by signal {signal.Signals(-status).name}"
    else:
        reason = f"{what} failed with status {status}"
    message = f"{reason}. {remedy}".rstrip()
    raise BuildFailed(message, command=arguments, status=status, log=log, last_lines=_tail(log))


def allow() -> None:
    """Let processes be started (again), at the beginning of a build."""
    _stopping.clear()


def stop_all() -> None:
    """Stop every process started here that still runs and let none be started until `allow()`.

    Calls that wait for one then raise KeyboardInterrupt, in whatever thread they are.
    """
    _stopping.set()
    with _RUNNING_LOCK:
        running = list(_RUNNING)
    for process in running:
        _stop_group(process)


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """End the process group, including children that a finished tool left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> list[str]:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 16384))
        text = stream.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-_LAST_LINES:]
