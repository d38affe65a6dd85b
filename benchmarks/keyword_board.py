# SPDX-License-Identifier: Apache-2.0
"""KWS W3A3 of MLPerf Tiny on the ULX3S 85F: from the first input word to the result at the routed clock.

The published network (490-256-256-256-12, 3-bit weights and activations) is built for a latency, with the published 1,000 sound
samples as its vectors; all of them run through the RTL in simulation. Cycles are counted there, the clock is the one that place
and route proved. The transfer from a host to the first input word is not in these figures.
For comparison: MLPerf Tiny v0.7's entry of this network, by hls4ml and FINN on a Pynq-Z2, is published with 17.5 us.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT, Row, bitwright, build_rows, read_build, version

_SHARED = ROOT.parent / "shared"
_FOLDER = ROOT / "build" / "bench" / "keyword_board"
_BOARD = "ulx3s-85f"
#: The clock aimed for, and the latency at it. What is routed may be slower: then so is the latency, and the table says so.
_CLOCK_MHZ, _LATENCY_US = 90, 4.89
#: Fewer LUTs for more block RAMs than without it: wiring is what limits the clock where the LUTs are nearly all in use.
_BUDGET = "LUT=45000"


def _vectors(model: Path) -> tuple[int, int]:
    """Writes the samples as the network takes them. Returns how many of the interpreter's classes are those that were published, and
    how many of the published ones have the largest integer, alone or together with another class."""
    with np.load(_SHARED / "data" / "kws_mfcc_int8.npz") as data:
        parts = [{name: data[f"{name}_{part}"] for name in ("x", "y", "finn_pred")} for part in ("train", "test")]
    x, y, published = (np.concatenate([part[name] for part in parts]) for name in ("x", "y", "finn_pred"))
    with np.load(_SHARED / "models" / "qonnx_kws_w3a3_mlperf" / "ref_kws1000.npz") as stored:
        scale = stored["input_scale"]
    np.savez_compressed(_FOLDER / "vectors.npz", x=x.astype(np.float32) * scale, y_true=y)
    import toolchain
    from toolchain.ir import quantise_input

    graph = toolchain.load_model(model).graph
    (scores,) = toolchain.interpret(
        graph, quantise_input(graph.inputs[0], x.astype(np.float32) * scale).integers
    ).values()
    scores = np.asarray(scores).reshape(len(x), -1)
    chosen = scores[np.arange(len(x)), published]
    return int((scores.argmax(axis=1) == published).sum()), int((chosen == scores.max(axis=1)).sum())


def run() -> Sequence[Row]:
    if not _SHARED.is_dir():
        raise SystemExit("the published network and its sounds are not here: this benchmark needs them")
    # A build that was stopped is taken up again, as anybody would; `make clean` is for a new one.
    _FOLDER.mkdir(parents=True, exist_ok=True)
    model = _SHARED / "models" / "qonnx_kws_w3a3_mlperf" / "QONNX_model.onnx"
    same, largest = _vectors(model)
    out = _FOLDER / "build"
    command = bitwright(
        "build", str(model), "--board", _BOARD, "--latency-us", str(_LATENCY_US), "--clock-mhz", str(_CLOCK_MHZ), "--budget", _BUDGET,
        "--vectors", str(_FOLDER / "vectors.npz"), "--no-measure", "--out", str(out),
    )  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    report = read_build(out)
    own = version("bitwright")
    rows = build_rows("", report, {"latency_at_fmax": "< 5", "latency": "< 5"})
    rows.append(Row("accuracy on the 1,000 sounds", 100 * report["accuracy"], "%", "bitwright", own))
    rows.append(
        Row(
            "classes equal to those published",
            same,
            "vectors",
            "bitwright",
            own,
            "1,000",
            "of 1,000; the RTL's, by rung 3",
        )
    )
    note = "of 1,000; two sounds have two equal largest integers, of which float32 sums tell the other one"
    rows.append(Row("published classes that have the largest integer", largest, "vectors", "bitwright", own, "", note))
    seconds = sum(report["timings"].values())
    rows.append(Row("stages of the build together", round(seconds), "s", "bitwright", own))
    return rows
