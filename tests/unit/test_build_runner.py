# SPDX-License-Identifier: Apache-2.0
"""Processes: logs, failures, time limits, and nothing left running."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from toolchain.build.runner import run
from toolchain.build.schedule import Silent, Task, run_tasks
from toolchain.errors import BuildFailed, ToolNotFound


def test_success_keeps_the_log(tmp_path: Path) -> None:
    completed = run(
        [sys.executable, "-c", "import os; print(os.getcwd()); print(os.environ['COLOUR'])"],
        cwd=tmp_path, log=tmp_path / "logs" / "x.log", what="printing", timeout_s=30, environment={"COLOUR": "red"},
    )  # fmt: skip
    assert completed.text().split() == [str(tmp_path), "red"]


def test_failure_says_everything(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    command = [sys.executable, "-c", "print('one'); print('two'); raise SystemExit(3)"]
    with pytest.raises(BuildFailed) as caught:
        run(command, cwd=tmp_path, log=log, what="synthesis", timeout_s=30, remedy="Try again.")
    assert (caught.value.status, caught.value.log) == (3, log)
    assert str(caught.value) == (
        f"synthesis failed with status 3. Try again.\n  command: {shlex.join(command)}\n  log: {log}\n  | one\n  | two"
    )


def test_a_hanging_tool_is_stopped_with_its_children(tmp_path: Path) -> None:
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '1000']); print(p.pid, flush=True); p.wait()"
    started = time.monotonic()
    with pytest.raises(BuildFailed, match=r"place and route did not end within 1.5 s and was stopped"):
        run([sys.executable, "-c", script], cwd=tmp_path, log=tmp_path / "x.log", what="place and route", timeout_s=1.5)
    assert time.monotonic() - started < 20
    child = int((tmp_path / "x.log").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the tool's child still runs"
        time.sleep(0.05)


def test_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(ToolNotFound, match=r"^routing: program 'no-such-program' was not found\. Install it\.$"):
        run(
            ["no-such-program"], cwd=tmp_path, log=tmp_path / "x.log", what="routing", timeout_s=5, remedy="Install it."
        )


def test_tasks_run_when_their_needs_are_met() -> None:
    order: list[str] = []

    def task(name: str, *needs: str, alone: bool = False) -> Task:
        def work(results: Any) -> str:
            assert all(need in results for need in needs)
            order.append(name)
            return name.upper()

        return Task(name, work, needs, alone=alone)

    tasks = [task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"), task("e", "d", alone=True)]
    results = run_tasks(tasks, 2, Silent())
    assert results == {name: name.upper() for name in "abcde"}
    assert order[0] == "a"
    assert set(order[1:3]) == {"b", "c"}
    assert order[3:] == ["d", "e"]


def test_the_first_error_stops_what_still_runs(tmp_path: Path) -> None:
    def slow(results: Any) -> None:
        run(["sleep", "1000"], cwd=tmp_path, log=tmp_path / "slow.log", what="sleeping", timeout_s=900)

    def fails(results: Any) -> None:
        time.sleep(0.5)
        raise BuildFailed("synthesis failed")

    started = time.monotonic()
    with pytest.raises(BuildFailed, match="synthesis failed"):
        run_tasks([Task("slow", slow), Task("fails", fails), Task("after", slow, ("slow",))], 2, Silent())
    assert time.monotonic() - started < 20
    # The process can be used again, by a build and without one.
    run(["true"], cwd=tmp_path, log=tmp_path / "n.log", what="n", timeout_s=9)
    run_tasks(
        [Task("next", lambda _: run(["true"], cwd=tmp_path, log=tmp_path / "n.log", what="n", timeout_s=9))],
        1,
        Silent(),
    )
