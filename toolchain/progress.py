# SPDX-License-Identifier: Apache-2.0
"""Progress of long work on standard error: a live line a stage on a terminal, one line an event elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from toolchain.build.schedule import Progress


class _Lines:
    """For logs and pipes: a line when a stage starts and when it ends."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._lock = threading.Lock()

    def _say(self, text: str) -> None:
        with self._lock:
            print(text, file=sys.stderr, flush=True)

    def begin(self, names: Sequence[str]) -> None: ...

    def started(self, name: str, text: str = "") -> None:
        self._started.setdefault(name, time.monotonic())
        self._say(f"{name}: {text or 'started'}")

    def advanced(self, name: str, done: float, total: float, text: str = "") -> None: ...

    def finished(self, name: str, text: str = "") -> None:
        seconds = time.monotonic() - self._started.get(name, time.monotonic())
        self._say(f"{name}: done in {seconds:.1f} s{f', {text}' if text else ''}")

    def failed(self, name: str) -> None:
        self._say(f"{name}: failed")


@contextmanager
def console_progress() -> Iterator[Progress]:
    """A Progress for a person: live bars with stage, state and time on a terminal, else plain lines."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.fields[name]:<12}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=Console(stderr=True),
    )

    class _Bars:
        def __init__(self) -> None:
            self._ids: dict[str, TaskID] = {}

        def begin(self, names: Sequence[str]) -> None:
            for name in names:
                self._ids[name] = bars.add_task("", total=None, start=False, name=name, visible=True)

        def _id(self, name: str) -> TaskID:
            if name not in self._ids:
                self.begin([name])
            return self._ids[name]

        def started(self, name: str, text: str = "") -> None:
            bars.start_task(self._id(name))
            bars.update(self._id(name), description=escape(text))

        def advanced(self, name: str, done: float, total: float, text: str = "") -> None:
            bars.update(self._id(name), completed=done, total=total)
            if text:
                bars.update(self._id(name), description=escape(text))

        def finished(self, name: str, text: str = "") -> None:
            bars.update(self._id(name), total=1, completed=1)
            if text:
                bars.update(self._id(name), description=escape(text))
            bars.stop_task(self._id(name))

        def failed(self, name: str) -> None:
            bars.update(self._id(name), description="[red]failed[/]")
            bars.stop_task(self._id(name))

    with bars:
        yield _Bars()
