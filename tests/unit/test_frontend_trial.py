# SPDX-License-Identifier: Apache-2.0
"""A first reading in a process of its own: a crash is told, an exception is not, and this process goes on."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.frontends import trial


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs data: processes cannot be copied here")
def test_a_crash_is_named() -> None:
    assert trial.crash_of(lambda: ctypes.string_at(0)) == "SIGSEGV"
    assert trial.crash_of(os.abort) == "SIGABRT"


def test_what_python_can_tell_is_no_crash() -> None:
    assert trial.crash_of(lambda: 1 // 0) == ""
    assert trial.crash_of(lambda: sys.exit(3)) == ""
    assert trial.crash_of(lambda: None) == ""


def test_a_reading_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_TIME_LIMIT_S", 0.2)
    assert trial.crash_of(signal.pause) == "no end within 0.2 s"


def test_a_copy_that_hangs_once_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As one that was made while another thread held a lock."""
    monkeypatch.setattr(trial, "_TIME_LIMIT_S", 0.5)
    tried = tmp_path / "tried"

    def reading() -> None:
        if not tried.exists():
            tried.touch()
            signal.pause()

    assert trial.crash_of(reading) == ""
    assert tried.exists()


def test_a_copy_that_always_hangs_is_judged_by_a_fresh_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As one of a process in which a thread holds a lock for good."""
    monkeypatch.setattr(trial, "_TIME_LIMIT_S", 20.0)
    monkeypatch.setattr(trial, "_COPY_SHARE", 0.01)
    read = tmp_path / "read"
    assert trial.crash_of(signal.pause, ("os", "mkdir", str(read))) == ""
    assert read.is_dir()
    assert trial.crash_of(signal.pause, ("os", "no_such_function", "")) == ""  # an exception is none of its business
    (tmp_path / "crashing.py").write_text("import os\ndef crash(_): os.abort()\ndef hang(_):\n    while True: pass\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert trial.crash_of(signal.pause, ("crashing", "crash", "")) == "SIGABRT"
    monkeypatch.setattr(trial, "_TIME_LIMIT_S", 0.5)
    assert trial.crash_of(signal.pause, ("crashing", "hang", "")) == "no end within 0.5 s"


def test_the_whole_file_is_read_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sound file where every copy hangs, and one that is not there, of which this process says more."""
    from toolchain.frontends import qkeras_file

    monkeypatch.setattr(trial, "_COPY_SHARE", 0.001)
    h5py = pytest.importorskip("h5py", reason="needs tool: h5py")
    with h5py.File(tmp_path / "sound.h5", "w") as file:
        file["x"] = [1, 2, 3]
    module, name = qkeras_file.__name__, qkeras_file.read_whole_file.__name__
    code = f"from {module} import {name}; {name}({str(tmp_path / 'sound.h5')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert trial.crash_of(signal.pause, (module, name, str(tmp_path / "sound.h5"))) == ""
    assert trial.crash_of(signal.pause, (module, name, str(tmp_path / "absent.h5"))) == ""


def test_garbage_of_this_process_is_not_collected_in_the_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Destructors of frameworks wait for threads that a copy does not have."""
    monkeypatch.setattr(trial, "_TIME_LIMIT_S", 5.0)
    parent = os.getpid()

    class Waits:
        def __del__(self) -> None:
            if os.getpid() != parent:
                os.abort()

    gc.collect()  # so that the next collection is far, in this process
    garbage = Waits()
    garbage.itself = garbage  # type: ignore[attr-defined]
    del garbage
    assert trial.crash_of(lambda: [[] for _ in range(200_000)]) == ""
    gc.collect()
