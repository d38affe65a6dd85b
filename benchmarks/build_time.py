# SPDX-License-Identifier: Apache-2.0
"""Whole builds of the two bundled models: without place and route (rungs 1 to 4), with the bitstream, and unchanged.

Each build starts from an empty folder with warm tool caches; measuring the processors is left out of the first two, since
it lasts as long as one asks it to. Memory is the peak of the process tree's resident sets.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from benchmarks.common import ROOT, Row, bitwright, timed, version


def run() -> Sequence[Row]:
    own = version("bitwright")
    rows = []
    for model in ("digits", "digits_brevitas"):
        out = ROOT / "build" / "bench" / model
        shutil.rmtree(out, ignore_errors=True)
        without = timed(bitwright("build", model, "--until", "rtl", "--no-measure", "--out", str(out)))
        rows.append(Row(f"{model}, until rtl", without.seconds, "s", "bitwright", own, "< 60", "rungs 1 to 4"))
        rows.append(Row(f"{model}, until rtl, peak memory", without.peak_mib, "MiB", "bitwright", own))
        shutil.rmtree(out)
        full = timed(bitwright("build", model, "--board", "ulx3s-85f", "--no-measure", "--out", str(out)))
        rows.append(Row(f"{model}, until bitstream", full.seconds, "s", "bitwright", own, "< 240", "rungs 1 to 5"))
        rows.append(Row(f"{model}, until bitstream, peak memory", full.peak_mib, "MiB", "bitwright", own))
        again = timed(bitwright("build", model, "--board", "ulx3s-85f", "--no-measure", "--out", str(out)))
        rows.append(Row(f"{model}, unchanged", again.seconds, "s", "bitwright", own, "< 3"))
    return rows
