# SPDX-License-Identifier: Apache-2.0
"""The same networks through every backend: the project's own streaming RTL, FINN's RTL and hls4ml's HLS C++.

Every build verifies itself against the integer interpreter; a figure stands here only if each integer of each rung was equal.
RTL builds have the same folding target. Cycles are counted in simulation; resources are Yosys' for the LFE5U-85F, where the
network is small enough for a netlist in this run. HLS projects have neither without their vendor's tools. Stages' time is
that of all stages, added, in a folder that was empty; some of them run side by side.

A wide table of the same, a network a block, is in `backends_table.md` beside the results. Builds are kept in
build/bench/backends and resumed by the next run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.common import RESULTS, ROOT, Row, bitwright, build_rows, read_build, version

_FOLDER = ROOT / "build" / "bench" / "backends"
_SHARED = ROOT.parent / "shared" / "models"
_PART = "LFE5U-85F-6BG381C"
_SHOWN = ("latency", "interval", "LUT", "FF", "DSP", "block RAM")
BACKENDS = ("rtl", "finn", "hls4ml")
_TOOLS = {"rtl": "bitwright", "finn": "finn-plus", "hls4ml": "hls4ml"}


@dataclass(frozen=True)
class Network:
    """cycles: largest a layer may take a frame. netlist: RTL builds are synthesised. options: of every build of it."""

    name: str
    model: str
    cycles: int
    netlist: bool
    options: tuple[str, ...] = ()


def networks() -> list[Network]:
    """Those under models/ that are trained, and the shared reference networks where their folder is there."""
    found = [
        Network("digits", "digits", 64, True),
        Network("digits_brevitas", "digits_brevitas", 64, True),
        Network("mnist_cnn", "mnist_cnn", 8192, True),
        Network("mnist_cnn_brevitas", "mnist_cnn_brevitas", 8192, True),
        Network("keyword_dscnn", "keyword_dscnn", 16384, False),
    ]
    if _SHARED.is_dir():
        keras = str(_SHARED / "keras_qkeras_3layer" / "qkeras_3layer.json")
        jets = ("--input-type", "fixed<16,6>")  # neither file of this network quantises its input
        found += [
            Network("qkeras_3layer", keras, 64, True, jets),
            Network("jettag W6A6", str(_SHARED / "qonnx_jettag_w6a6" / "qkeras_jettagging.onnx"), 64, True, jets),
            Network("TFC W2A2", str(_SHARED / "qonnx_tfc_w2a2" / "TFC_2W2A.onnx"), 256, True),
            Network("KWS W3A3", str(_SHARED / "qonnx_kws_w3a3_mlperf" / "QONNX_model.onnx"), 2048, True),
        ]
    return found


def run() -> Sequence[Row]:
    rows: list[Row] = []
    blocks = []
    for network in networks():
        reports = {}
        for backend in BACKENDS:
            outcome = _build(network, backend)
            reports[backend] = outcome
            if isinstance(outcome, dict):
                label = f"{network.name}, {backend}: "
                rows += build_rows(label, outcome, estimates=False)
                seconds = sum(outcome["timings"].values())
                rows.append(Row(f"{label}time of all stages", seconds, "s", _TOOLS[backend], version(_TOOLS[backend])))
        blocks.append(_block(network, reports))
    (RESULTS / "backends_table.md").write_text("# One network, three backends\n\n" + "\n\n".join(blocks) + "\n")
    return rows


def _build(network: Network, backend: str) -> dict[str, Any] | str:
    """The report, or in one line why there is none: an operation that a backend refuses is an answer, too."""
    out = _FOLDER / f"{network.name.replace(' ', '_')}-{backend}"
    until = "hls" if backend == "hls4ml" else "netlist" if network.netlist else "rtl"
    command = bitwright(
        "build", network.model, "--backend", backend, "--until", until, "--cycles-per-frame", str(network.cycles),
        "--no-measure", "--out", str(out), *(("--part", _PART) if backend != "hls4ml" else ()), *network.options,
    )  # fmt: skip
    print(f"{network.name}, {backend} ...", flush=True)
    result = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    if result.returncode == 3:  # the model cannot be built so
        return result.stderr.strip().splitlines()[-1]
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {result.returncode}:\n{result.stderr[-3000:]}")
    return read_build(out)


def _block(network: Network, outcomes: dict[str, dict[str, Any] | str]) -> str:
    """The network's table: a column a backend."""
    lines = [f"## {network.name}", "", f"At most {network.cycles:,} cycles a frame and layer.", ""]
    lines += ["| | " + " | ".join(BACKENDS) + " |", "| --- |" + " ---: |" * len(BACKENDS)]
    names = ("equal to the interpreter", *_SHOWN, "time of all stages")
    cells: dict[str, list[str]] = {name: [] for name in names}
    for backend in BACKENDS:
        outcome = outcomes[backend]
        if isinstance(outcome, str):
            cells[names[0]].append(outcome.replace("|", "/"))
            for name in names[1:]:
                cells[name].append("-")
            continue
        equal = "; ".join(f"rung {entry['rung']}: {entry['vectors']:,}" for entry in outcome["ladder"])
        cells[names[0]].append(equal)
        figures = {row.name: row for row in build_rows("", outcome, estimates=False)}
        for name in _SHOWN:
            row = figures.get(name)
            cells[name].append(f"{row.value:,.6g} ({row.kind.replace('_', ' ')})" if row else "-")
        cells["time of all stages"].append(f"{sum(outcome['timings'].values()):,.0f} s")
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in cells.items()]
    return "\n".join(lines)
