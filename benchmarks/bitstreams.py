# SPDX-License-Identifier: Apache-2.0
"""Networks of every kind that this project brings, and a published one, to the bitstream of the ULX3S 85F, with open tools.

Each build verifies itself rung by rung against the integer interpreter; a figure stands here only if all integers were equal.
Cycles are counted in simulation, the clock is the one that place and route proved. Builds are kept in build/bench/bitstreams and
resumed by the next run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from benchmarks.common import ROOT, Row, bitwright, build_rows, read_build

_SHARED = ROOT.parent / "shared" / "models"
_BOARD = "ulx3s-85f"


def networks() -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, model, and options of the build."""
    found = [
        ("digits", "digits", ()),
        ("digits_brevitas", "digits_brevitas", ()),
        ("mnist_cnn", "mnist_cnn", ()),
        ("mnist_cnn_brevitas", "mnist_cnn_brevitas", ()),
        ("keyword_dscnn", "keyword_dscnn", ()),
    ]
    if _SHARED.is_dir():
        found.append(("TFC W2A2", str(_SHARED / "qonnx_tfc_w2a2" / "TFC_2W2A.onnx"), ("--cycles-per-frame", "256")))
    return found


def run() -> Sequence[Row]:
    rows: list[Row] = []
    for name, model, options in networks():
        print(f"{name} ...", flush=True)
        out = ROOT / "build" / "bench" / "bitstreams" / name.replace(" ", "_")
        command = bitwright("build", model, "--board", _BOARD, "--no-measure", "--out", str(out), *options)
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        rows += build_rows(f"{name}: ", read_build(out), estimates=False)
    return rows
