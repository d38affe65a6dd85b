# SPDX-License-Identifier: Apache-2.0
"""A FINN build from a model to the verified netlist, and what happens when FINN's worker fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolchain
from toolchain.build.tools import finn, verilator, yosys
from toolchain.errors import BuildFailed, InputError, ToolNotFound
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Relu,
    Requantise,
    interpret,
    save_graph,
)
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(
    verilator.TOOL.find() is None or finn.TOOL.find() is None or yosys.TOOL.find() is None,
    reason="needs Verilator, Yosys, a C++ compiler and finn-plus",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(3)
    builder = GraphBuilder("tiny finn")
    t = builder.add(Input((6,), IntegerType(True, 4, 2)), name="x")
    t = builder.add(Dense(random.integers(-7, 8, (6, 8)), 3), t, name="fc1")
    t = builder.add(AddBias(random.integers(-20, 20, 8), 5), t, name="bias1")
    t = builder.add(Relu(), t, name="relu1")
    t = builder.add(Requantise(IntegerType(False, 4, 1), overflow=Overflow.SATURATE), t, name="act1")
    t = builder.add(Dense(random.integers(-7, 8, (8, 4)), 3), t, name="fc2")
    t = builder.add(AddBias(random.integers(-20, 20, 4), 4), t, name="bias2")
    t = builder.add(ArgMax(), t, name="class")
    builder.output(t)
    return save_graph(builder.build(), tmp_path_factory.mktemp("model") / "tiny.bitwright")


OPTIONS: dict[str, Any] = {"backend": "finn", "measure": False, "bulk_vectors": 2000, "skip_rungs": (2,)}


@pytest.fixture(scope="module")
def built(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build where the home folder cannot be written, which FINN would do."""
    out, cache = tmp_path_factory.mktemp("build") / "out", Path.home() / ".cache"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(out / "no" / "home"))
        patched.setenv("XDG_CACHE_HOME", str(cache))
        result = toolchain.build_hardware(model, out=out, part="LFE5U-25F-6BG256C", **OPTIONS)
    assert not any(result.cached.values())
    return out


def test_rungs_3_to_5_and_the_report(built: Path, model: Path) -> None:
    report = json.loads((built / "report.json").read_text())
    ladder = {entry["rung"]: entry for entry in report["ladder"]}
    assert {3, 4, 5} <= set(ladder)
    assert all(entry["mismatches"] == 0 for entry in report["ladder"])
    assert ladder[3]["vectors"] == 2000
    assert report["backend"] == "finn"
    notes = " ".join(report["notes"])
    assert "FINN (xc7z020clg400-1) made 3 nodes of the design." in notes
    assert {"finn_project", "finn_hls", "finn_hardware_graph"} <= set(report["artefacts"])
    assert "no project" not in notes
    assert "Stage 'class' is one of this project's kernels: FINN has label selection in HLS only." in notes
    figures = {record["name"]: record["value"] for record in report["measurements"]}
    assert f"the stitched RTL takes one every {figures['initiation_interval_cycles']:.0f} cycles" in notes
    again = toolchain.build_hardware(model, out=built, part="LFE5U-25F-6BG256C", **OPTIONS)
    assert all(again.cached.values())


@pytest.mark.parametrize(("part", "rungs"), [
    ("xc7z020clg400-1", {3, 5}),
    ("xczu7ev-ffvc1156-2-e", {3, 4, 5}),
    # Yosys maps to no Versal.
    ("xcvc1902-vsva2197-2mp-e-s", {3, 4}),
])  # fmt: skip
def test_amds_families(part: str, rungs: set[int], model: Path, tmp_path: Path) -> None:
    """Protocol, resets and back-pressure on DSP48E2 and DSP58, and a netlist where there is one."""
    options = {**OPTIONS, "skip_rungs": (2,) if 4 in rungs else (2, 4), "bulk_vectors": 300}
    report = toolchain.build_hardware(model, out=tmp_path / "out", part=part, **options).report
    ladder = {entry["rung"]: entry for entry in report["ladder"]}
    assert set(ladder) - {1} == rungs
    assert all(entry["mismatches"] == 0 for entry in report["ladder"])
    if 5 in rungs:
        assert (ladder[5]["name"], ladder[5]["vectors"]) == ("Synthesised netlist, multipliers as LUTs", 2000)
    assert f"FINN ({part}) made 3 nodes of the design." in report["notes"]
    assert not [record for record in report["measurements"] if "LUT" in record["name"]]


def test_node_by_node(built: Path, model: Path) -> None:
    """Every stage's stream was compared, FINN's nodes among them; before a bias, that of FINN's sums too."""
    facts = json.loads((built / "rtl" / "stage.json").read_text())["facts"]["facts"]
    assert [node["name"] for node in facts["nodes"]] == ["fc1", "act1", "bias2", "class"]
    streams = json.loads((built / "rtl" / "simulation" / "simulation.json").read_text())["streams"]
    assert [node["name"] for node in facts["inner_streams"]] == ["fc2"]
    assert streams == [stream for part in facts["parts"] for stream in part["outputs"]]
    assert {node["stream"] for node in (*facts["nodes"], *facts["inner_streams"])} <= set(streams)
    assert facts["cycles_counted"]


def test_the_folding_of_a_build_gives_the_same_rtl_again(built: Path, model: Path, tmp_path: Path) -> None:
    def sources(folder: Path) -> dict[str, bytes]:
        listed = [*(folder / "rtl" / "files.f").read_text().split(), "folding.json", "files.f"]
        listed += [str(path.relative_to(folder / "rtl")) for path in (folder / "rtl" / "memory").iterdir()]
        return {name: (folder / "rtl" / name).read_bytes() for name in listed}

    assert list(json.loads((built / "rtl" / "folding.json").read_text())) == ["fc1", "act1", "fc2", "class"]
    options = {**OPTIONS, "skip_rungs": (2, 3, 4, 5), "until": "rtl", "folding": built / "rtl" / "folding.json"}
    report = toolchain.build_hardware(model, out=tmp_path / "out", part="LFE5U-25F-6BG256C", **options).report
    assert sources(tmp_path / "out") == sources(built)
    assert "Folding was given for 'fc1', 'act1', 'fc2', 'class'." in report["notes"]


def test_what_people_with_amds_tools_get(built: Path, model: Path) -> None:
    """The C++ of HLS nodes and FINN's own project, whose QONNX model computes what the interpreter does."""
    onnx_exec = pytest.importorskip("qonnx.core.onnx_exec")
    from qonnx.core.modelwrapper import ModelWrapper

    whole = json.loads((built / "finn" / "nodes.json").read_text())["whole"]
    assert whole["project"] == "project"
    assert [name.split("_hls")[0] for name in whole["hls"]] == ["ElementwiseAdd", "LabelSelect"]
    for name in whole["hls"]:
        folder = built / "finn" / "hls" / name.split()[0]
        assert any("#pragma HLS" in path.read_text() for path in folder.glob("*.cpp"))
        assert not any(str(built) in path.read_text() for path in folder.iterdir())
    project = built / "finn" / "project"
    assert "finn build build.yml model.onnx" in (project / "build.yml").read_text()
    folding = json.loads((project / "folding.json").read_text())
    assert {name.split("_")[0] for name in folding} == {
        "Defaults",
        "MVAU",
        "Thresholding",
        "ElementwiseAdd",
        "LabelSelect",
    }
    onnx = ModelWrapper(str(project / "network.onnx"))
    graph = toolchain.load_graph(model)
    (source,), (sink,) = onnx.graph.input, onnx.graph.output
    for x in random_vectors(graph, 20, 1):
        found = onnx_exec.execute_onnx(onnx, {source.name: x[None].astype(np.float32)})[sink.name]
        assert found.ravel().tolist() == interpret(graph, x[None])["class"].ravel().tolist()


def test_a_worker_that_dies_leaves_its_log_and_its_command(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finn, "_MODULE", "no_such_worker")
    with pytest.raises(BuildFailed) as caught:
        toolchain.build_hardware(model, out=tmp_path / "out", until="rtl", **OPTIONS)
    partial = tmp_path / "out" / ".partial" / "finn"
    assert str(caught.value).splitlines() == [
        f"FINN's worker failed with status 1. To run it alone: cd {partial} && {sys.executable} -P -m no_such_worker",
        f"  command: {sys.executable} -P -m no_such_worker",
        f"  log: {partial / 'finn.log'}",
        f"  | {sys.executable}: No module named no_such_worker",
    ]
    assert (partial / "request.json").exists()
    assert not (tmp_path / "out" / "finn").exists()


def test_the_command_that_runs_a_worker_alone_is_one_that_a_shell_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder whose name a shell would take apart."""
    folder = tmp_path / "my builds; $(exit 9)" / "it's"
    folder.mkdir(parents=True)
    (tmp_path / "failing.py").write_text("from pathlib import Path\nprint(Path.cwd())\nraise SystemExit(7)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(finn, "_MODULE", "failing")
    with pytest.raises(BuildFailed) as caught:
        finn.run_worker(folder, log=folder / "finn.log")
    line = str(caught.value).splitlines()[0]
    alone = subprocess.run(
        ["/bin/sh", "-c", line.split("To run it alone: ")[1]], capture_output=True, text=True, check=False
    )
    assert (alone.returncode, alone.stdout) == (7, f"{folder}\n")


def test_a_worker_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text("import time\nprint('asleep', flush=True)\ntime.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(finn, "_MODULE", "sleeper")
    with pytest.raises(BuildFailed, match=r"FINN's worker did not end within 2 s and was stopped") as caught:
        finn.run_worker(tmp_path, log=tmp_path / "finn.log", timeout_s=2)
    assert caught.value.last_lines == ("asleep",)


def test_a_worker_that_leaves_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finn, "_MODULE", "this")
    with pytest.raises(BuildFailed, match=r"nodes.json: FINN's worker left no result that can be read"):
        toolchain.build_hardware(model, out=tmp_path / "out", until="rtl", **OPTIONS)


def test_a_full_disk_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(finn.shutil, "disk_usage", lambda folder: usage(1 << 30, 1 << 30, 3 << 20))
    with pytest.raises(InputError) as caught:
        finn.run_worker(tmp_path, log=tmp_path / "finn.log")
    assert str(caught.value) == f"{tmp_path}: FINN needs 64 MiB of room on the disk, 3 MiB are free"


def test_without_finn_the_build_says_so(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(finn, "TOOL", replace(finn.TOOL, find=lambda: None))
    with pytest.raises(ToolNotFound) as caught:
        toolchain.build_hardware(model, out=tmp_path / "out", until="rtl", **OPTIONS)
    assert str(caught.value) == (
        "stage finn: FINN (finn-plus) is not installed; without it: backend finn: FINN's dataflow RTL is not generated. "
        "Install it with: pip install 'bitwright[finn]'. To build without it: --backend rtl"
    )
