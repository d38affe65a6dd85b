# SPDX-License-Identifier: Apache-2.0
"""What all tests share: seeds from the test's name, and the rule that a tool that is missing fails CI."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

#: The only reason to skip that CI accepts: data sets and reference models that live outside this repository.
DATA_SKIP = "needs data"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed that depends on the test's id alone; printed, so that a failure shows it."""
    value = zlib.crc32(request.node.nodeid.encode())
    print(f"seed {value}")
    return value


@pytest.fixture
def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI, turn a skip into a failure unless data from outside the repository is what is missing."""
    if not report.skipped or os.environ.get("CI") != "true" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith(DATA_SKIP):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where every tool has to be there: {reason}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome = yield
    _refuse_skip(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """A module that skips itself while it is collected never reaches the hook above."""
    outcome = yield
    _refuse_skip(outcome.get_result())
