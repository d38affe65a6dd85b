# SPDX-License-Identifier: Apache-2.0
"""A first reading in a process of its own: a crash is told, an exception is not, and this process goes on."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

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
