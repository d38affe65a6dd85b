# SPDX-License-Identifier: Apache-2.0
"""A first reading in a process of its own: a crash is told, an exception is not, and this process goes on."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
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
