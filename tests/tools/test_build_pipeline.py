# SPDX-License-Identifier: Apache-2.0
"""Whole builds: from a model to the report, resumed, interrupted, killed, and with names chosen to do harm."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import toolchain
from toolchain.errors import InputError, Mismatch, ToolNotFound, UsageError
from toolchain.ir import (
    AddBias,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Requantise,
    Rounding,
    Threshold,
    interpret,
    save_graph,
)  # fmt: skip
from toolchain.report.report import read_report

BITWRIGHT = [sys.executable, "-m", "toolchain.cli"]
HOSTILE = ["../../x", "a b", 'q";$(touch pwned)', "`touch pwned`", "*/ endmodule //", "größe 模型", "module", "x\\n\n"]


def network(names: list[str], random: np.random.Generator) -> Graph:
    """Two dense layers, one quantised by shifting and one by thresholds; node and layer names as given."""
    name = iter(names * 3)
    builder = GraphBuilder(next(name))
    x = builder.add(Input((6,), IntegerType(True, 4, 2)), name=next(name), source=next(name))
    h = builder.add(Dense(random.integers(-7, 8, (6, 4)), 3), x, name=next(name), source=next(name))
    h = builder.add(AddBias(random.integers(-20, 20, 4), 5), h, name=next(name), source=next(name))
    target = IntegerType(False, 4, 2)
    h = builder.add(Requantise(target, Rounding.HALF_EVEN, Overflow.SATURATE), h, name=next(name), source=next(name))
    h = builder.add(Dense(random.integers(-7, 8, (4, 4)), 3), h, name=next(name))
    h = builder.add(Threshold(np.sort(random.integers(-90, 90, (4, 5)), axis=1)), h, name=next(name))
    h = builder.add(Dense(random.integers(-7, 8, (4, 3)), 3), h, name=next(name))
    builder.output(h, name=next(name), host_function="softmax")
    return builder.build()


@pytest.fixture
def model(tmp_path: Path, random: np.random.Generator) -> Path:
    return save_graph(network(HOSTILE, random), tmp_path / "hostile model's.bitwright")


def build(model: Path, out: Path, *options: str) -> list[str]:
    return [*BITWRIGHT, "build", str(model), "--out", str(out), "--no-measure", "--bulk-vectors", "3000", *options]


def test_targets_and_estimates(model: Path, tmp_path: Path) -> None:
    """A latency and a budget reach the plan; what was estimated stands in the report beside what synthesis found."""
    found = toolchain.build_hardware(
        model,
        out=tmp_path / "out",
        part="LFE5U-25F-6BG381C",
        clock_mhz=50.0,
        latency_us=1.2,
        budget={"LUT": 1500, "DSP": 0},
        until="netlist",
        skip_rungs=(2, 4, 5),
        bulk_vectors=1000,
        measure=False,
    )
    records = {(record["name"], record["kind"]): record for record in found.report["measurements"]}
    assert records["latency_cycles", "simulated"]["value"] <= 60
    for name in ("used_lut", "used_ff", "used_dsp", "used_block_ram"):
        estimated, counted = (records[name, kind]["value"] for kind in ("estimated", "post_synthesis"))
        assert abs(estimated - counted) <= 0.25 * counted
    assert records["used_lut", "estimated"]["value"] <= 1500
    assert records["used_lut", "estimated"]["tool"] == "bitwright"
    assert records["used_dsp", "post_synthesis"]["value"] == 0
    assert records["utilisation_lut", "estimated"]["value"] < 100
    assert (
        "Folding was chosen for a latency of at most 1.20 us (60 cycles at 50 MHz) and at most 1,500 LUT, 0 DSP, by estimates "
        "before synthesis." in found.report["notes"]
    )


def test_build_until_rtl_and_again(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    subprocess.run(build(model, out, "--until", "rtl"), check=True, cwd=tmp_path, capture_output=True)
    report = json.loads((out / "report.json").read_text())
    assert set(report) >= {"schema", "model", "graph_digest", "accuracy", "ladder", "measurements", "artefacts"}
    assert report["graph_digest"] == toolchain.load_graph(model).digest
    rungs = {entry["rung"]: entry for entry in report["ladder"]}
    assert {2, 3, 4} <= set(rungs)
    assert rungs[3]["vectors"] == 3000
    assert all(entry["mismatches"] == 0 for entry in report["ladder"])
    assert all((out / path).exists() for path in report["artefacts"].values())
    figures = {record["name"]: record for record in report["measurements"]}
    assert figures["latency_cycles"]["kind"] == "simulated"
    assert (out / "report.html").read_text().rstrip().endswith("</html>")
    assert not list(tmp_path.rglob("pwned")), "a name was run"
    # The same again: every stage from the folder, the report untouched.
    before = (out / "report.json").stat().st_mtime_ns
    result = toolchain.build_hardware(model, out=out, until="rtl", bulk_vectors=3000, measure=False)
    assert all(result.cached.values())
    assert result.report == report
    assert (out / "report.json").stat().st_mtime_ns == before
    # A damaged artefact is made again, and only what depends on it.
    top = out / report["artefacts"]["rtl_top"]
    text = top.read_text()
    top.write_text(text.replace("endmodule", "endmodul"))
    result = toolchain.build_hardware(model, out=out, until="rtl", bulk_vectors=3000, measure=False)
    assert (result.cached["graph"], result.cached["rtl"], result.cached["hls"]) == (True, False, True)
    assert top.read_text() == text


def test_folding_is_written_edited_and_given_back(tmp_path: Path, random: np.random.Generator) -> None:
    """By the command line: rtl/folding.json of one build, edited, decides another; unchanged, the RTL is the same to the byte."""
    model = save_graph(
        network(["net", *(f"layer{number}" for number in range(14))], random), tmp_path / "model.bitwright"
    )

    def rtl(out: Path, *options: str) -> dict[str, bytes]:
        command = build(model, out, "--until", "rtl", *(f"--skip-rung={rung}" for rung in (2, 3, 4)), *options)
        subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
        files = [path for path in (out / "rtl").rglob("*") if path.is_file()]
        return {
            str(path.relative_to(out)): path.read_bytes()
            for path in files
            if path.name not in ("stage.json", "lint.log")
        }

    first = rtl(tmp_path / "first", "--cycles-per-frame", "4")
    folding = json.loads(first["rtl/folding.json"])
    (tmp_path / "folding.json").write_bytes(first["rtl/folding.json"])
    assert rtl(tmp_path / "second", "--folding", "folding.json") == first
    layer = next(name for name, entry in folding.items() if entry == {"pe": 1, "simd": 6})
    folding[layer] = {"pe": 2, "simd": 3}
    (tmp_path / "folding.json").write_text(json.dumps(folding))
    # The same folder: what is given is part of what the stage depends on.
    edited = rtl(tmp_path / "second", "--folding", "folding.json")
    assert json.loads(edited["rtl/folding.json"]) == folding
    report = json.loads((tmp_path / "second" / "report.json").read_text())
    assert report["artefacts"]["folding"] == "rtl/folding.json"
    assert f"Folding was given for {', '.join(map(repr, folding))}." in report["notes"]
    assert [(row["pe"], row["simd"]) for row in report["folding"]] == [(e["pe"], e["simd"]) for e in folding.values()]


def test_another_model_does_not_enter_the_folder(model: Path, tmp_path: Path) -> None:
    toolchain.build_hardware(model, out=tmp_path / "out", until="graph")
    other = shutil.copy(model, tmp_path / "other.bitwright")
    with pytest.raises(UsageError, match="holds the build of model"):
        toolchain.build_hardware(other, out=tmp_path / "out", until="graph")


def test_labels_give_accuracy_and_confusion(model: Path, tmp_path: Path, random: np.random.Generator) -> None:
    graph = toolchain.load_graph(model)
    integers = random.integers(-8, 8, (50, 6))
    scores = interpret(graph, integers)[graph.outputs[0].tensor]
    np.savez(tmp_path / "v.npz", x=integers / 4.0, y_true=scores.argmax(axis=1))
    result = toolchain.build_hardware(model, out=tmp_path / "out", until="graph", vectors=tmp_path / "v.npz")
    assert result.report["accuracy"] == 1.0
    assert np.trace(result.report["confusion_matrix"]["counts"]) == 50
    np.savez(tmp_path / "v.npz", x=np.full((5, 6), 2.0))
    with pytest.raises(InputError, match="30 of 30 values lie outside"):
        toolchain.build_hardware(model, out=tmp_path / "out", until="graph", vectors=tmp_path / "v.npz")
    assert read_report(tmp_path / "out").accuracy == 1.0, "the earlier report is still there"


@pytest.mark.parametrize("seconds", [1.0, 2.5, 6.0])
def test_a_killed_build_resumes(model: Path, tmp_path: Path, seconds: float) -> None:
    out = tmp_path / "out"
    command = build(model, out, "--until", "rtl", "--skip-rung", "4")
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(seconds)
    process.kill()
    process.wait()
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    report = read_report(out)
    assert [entry["rung"] for entry in report.ladder] == [2, 3]
    assert all(entry["mismatches"] == 0 for entry in report.ladder)


def test_ctrl_c_stops_all_and_says_so(model: Path, tmp_path: Path) -> None:
    command = build(model, tmp_path / "out", "--until", "rtl")
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    compilers: list[psutil.Process] = []
    while not compilers and time.monotonic() < deadline and process.poll() is None:
        # A short-lived tool may end between being listed and being asked for its name.
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(process.pid).children(recursive=True)
            compilers = [child for child in children if "g++" in child.name()]
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "bitwright: stopped; finished stages are kept, the same command resumes" in errors
    assert "Traceback" not in errors
    assert compilers
    _, alive = psutil.wait_procs(compilers, timeout=10)
    assert not alive, "a tool was left running"


def test_a_wrong_bit_is_found_and_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One weight's lowest bit changed in the RTL's memory file, as if the emitter had a bug."""
    from toolchain.plan import BuildPlan, PlannedFile

    write = BuildPlan.write

    def write_wrong(plan: BuildPlan, folder: Path) -> None:
        write(plan, folder)
        for file in plan.files:
            if file.path.startswith("memory/") and "weights" in file.path:
                path = folder / PlannedFile(file.path, b"").path
                first, *rest = path.read_text().splitlines()
                path.write_text("\n".join([f"{int(first, 16) ^ 1:0{len(first)}x}", *rest]) + "\n")
                return

    monkeypatch.setattr(BuildPlan, "write", write_wrong)
    with pytest.raises(Mismatch, match=r"rung 3 \(RTL in bulk\), first at layer") as caught:
        toolchain.build_hardware(
            model, out=tmp_path / "out", until="rtl", bulk_vectors=500, measure=False, skip_rungs=(2, 4)
        )
    assert caught.value.expected != caught.value.found
    assert not (tmp_path / "out" / "simulation").exists()


def test_to_the_bitstream(tmp_path: Path, random: np.random.Generator) -> None:
    model = save_graph(network(["tiny", *"abcdefghijk"], random), tmp_path / "tiny.bitwright")
    result = toolchain.build_hardware(
        model, out=tmp_path / "out", board="ulx3s-85f", bulk_vectors=1000, measure=False, skip_rungs=(2, 4)
    )
    ladder = {entry["rung"]: entry for entry in result.report["ladder"]}
    assert ladder[5]["vectors"] >= 1000
    assert [check["mismatches"] for check in result.report["checks"]] == [0]
    assert result.report["checks"][0]["vectors"] >= 10
    figures = {record["name"]: record for record in result.report["measurements"]}
    assert figures["clock"]["value"] <= figures["fmax"]["value"]
    assert figures["latency"]["kind"] == "post_route"
    assert figures["latency"]["value"] == pytest.approx(
        figures["latency_cycles"]["value"] / figures["clock"]["value"] * 1e3, rel=1e-12
    )  # the formula, in floats
    assert (tmp_path / "out" / result.report["artefacts"]["bitstream"]).stat().st_size > 10_000


@pytest.mark.full
@pytest.mark.parametrize("name", ["digits", "digits_brevitas"])
def test_the_bundled_models_to_the_bitstream(name: str, tmp_path: Path) -> None:
    result = toolchain.build_hardware(name, out=tmp_path / "out", board="ulx3s-85f", measure=False)
    assert result.report["accuracy"] >= 0.96
    ladder = {entry["rung"]: entry for entry in result.report["ladder"]}
    assert set(ladder) == {1, 2, 3, 4, 5}
    assert ladder[3]["vectors"] >= 100_000
    assert not any(entry["mismatches"] for entry in result.report["ladder"])


def test_a_missing_tool_is_said_before_the_work(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from toolchain.build.tools import hls4ml

    monkeypatch.setattr(hls4ml, "TOOL", replace(hls4ml.TOOL, find=lambda: None))
    with pytest.raises(ToolNotFound) as caught:
        toolchain.build_hardware(model, out=tmp_path / "out", until="rtl")
    assert str(caught.value) == (
        "stage hls: hls4ml is not installed; without it: no HLS C++ is generated (backend hls4ml, rung 2 of the ladder). "
        "Install it with: pip install 'bitwright[hls4ml]'. To build without it: --skip-rung 2"
    )
    assert not (tmp_path / "out" / "graph").exists()
