# SPDX-License-Identifier: Apache-2.0
"""Runs tasks that depend on one another, as many at a time as there are workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, Protocol

from toolchain.build import runner


class Progress(Protocol):
    """What a build tells its caller while it works. All methods may be called from worker threads."""

    def begin(self, names: Sequence[str]) -> None: ...
    def started(self, name: str, text: str = "") -> None: ...
    def advanced(self, name: str, done: float, total: float, text: str = "") -> None: ...
    def finished(self, name: str, text: str = "") -> None: ...
    def failed(self, name: str) -> None: ...


class Silent:
    """A Progress that shows nothing."""

    def begin(self, names: Sequence[str]) -> None: ...
    def started(self, name: str, text: str = "") -> None: ...
    def advanced(self, name: str, done: float, total: float, text: str = "") -> None: ...
    def finished(self, name: str, text: str = "") -> None: ...
    def failed(self, name: str) -> None: ...


@dataclass(frozen=True)
class Task:
    """A step of a build: `work` gets the results of the tasks in `needs`, by name.

    alone: nothing else may run beside it (measurements of this machine's own speed).
    """

    name: str
    work: Callable[[Mapping[str, Any]], Any]
    needs: tuple[str, ...] = ()
    title: str = ""
    alone: bool = False


def run_tasks(tasks: Sequence[Task], workers: int, progress: Progress) -> dict[str, Any]:
    """Results by task name. The first error stops every process that still runs and is raised.

    Tasks are started in the order given as soon as their needs are met.
    """
    by_name = {task.name: task for task in tasks}
    order = {task.name: index for index, task in enumerate(tasks)}
    sorter = TopologicalSorter({task.name: task.needs for task in tasks})
    sorter.prepare()
    runner.allow()
    progress.begin([task.name for task in tasks])
    results: dict[str, Any] = {}
    ready: list[str] = []
    running: dict[Future[Any], str] = {}

    def work(task: Task) -> Any:
        progress.started(task.name, task.title)
        try:
            return task.work(results)
        except BaseException:
            progress.failed(task.name)
            raise

    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        while sorter.is_active():
            ready = sorted([*ready, *sorter.get_ready()], key=order.__getitem__)
            for name in list(ready):
                busy_alone = any(by_name[other].alone for other in running.values())
                if len(running) >= workers or busy_alone or (by_name[name].alone and running):
                    continue
                ready.remove(name)
                running[pool.submit(work, by_name[name])] = name
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                name = running.pop(future)
                results[name] = future.result()
                progress.finished(name)
                sorter.done(name)
    except Exception:
        runner.stop_all()
        pool.shutdown(cancel_futures=True)
        runner.allow()
        raise
    except BaseException:
        # Ctrl-C: do not wait for threads that may sit in compiled code for seconds.
        runner.stop_all()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return results
