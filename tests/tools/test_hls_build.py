# SPDX-License-Identifier: Apache-2.0
"""Builds with backend hls4ml: which flows are compiled and compared, and of which graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolchain
from toolchain.backends.hls4ml import plan
from toolchain.build.tools import cxx
from toolchain.build.tools import hls4ml as hls4ml_tool
from toolchain.errors import Mismatch, UnsupportedModel
from toolchain.ir import AddBias, Dense, Graph, GraphBuilder, Input, IntegerType, save_graph
from toolchain.pipeline import hardware
from toolchain.pipeline.hls import run_flows
from toolchain.target import Target
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(
    hls4ml_tool.TOOL.find() is None or cxx.TOOL.find() is None, reason="needs hls4ml and a C++ compiler"
)


def classifier() -> Graph:
    random = np.random.default_rng(8)
    builder = GraphBuilder("classifier")
    x = builder.add(Input((6,), IntegerType(True, 5, 2)), name="x")
    sums = builder.add(Dense(random.integers(-8, 8, (6, 4)), 2), x, name="fc")
    builder.output(builder.add(AddBias(np.array([3, -2, 0, 1]), 4), sums, name="scores"), host_function="softmax")
    return builder.build()


def build(folder: Path, flows: list[str], **options: Any) -> dict[str, Any]:
    model = save_graph(classifier(), folder / "classifier.bitwright")
    settings = {"backend": "hls4ml", "measure": False, "hls_flows": flows, **options}
    return toolchain.build_hardware(model, out=folder / "out", **settings).report


def last_layers(folder: Path, flow: str) -> str:
    return (folder / f"out/hls/{flow}/firmware/classifier_top.cpp").read_text()


def test_every_flow_that_a_compiler_can_run_is_compared(tmp_path: Path) -> None:
    report = build(tmp_path, ["quartus", "vivado", "oneapi"], output="logits")
    ladder = [(entry["rung"], entry["name"], entry["mismatches"]) for entry in report["ladder"]]
    assert ladder == [(2, "HLS C++ on the CPU (quartus)", 0), (2, "HLS C++ on the CPU (vivado)", 0)]
    assert all(entry["vectors"] >= 1000 for entry in report["ladder"])
    assert "Rung 2 (HLS C++) has not run flow oneapi: its C++ needs SYCL and the compiler icpx." in report["notes"]
    assert {f"hls_{flow}_project" for flow in ("quartus", "vivado", "oneapi")} <= set(report["artefacts"])


def test_no_flow_that_a_compiler_can_run(tmp_path: Path) -> None:
    report = build(tmp_path, ["libero", "oneapi"], output="logits")
    assert report["ladder"] == []
    absent = [note for note in report["notes"] if note.startswith("Rung 2 (HLS C++) is absent: ")]
    assert len(absent) == 2


def test_another_backend_checks_its_graph_by_one_flow(tmp_path: Path) -> None:
    report = build(tmp_path, [], backend="rtl", until="hls")
    assert [entry["name"] for entry in report["ladder"]] == ["HLS C++ on the CPU (vitis)"]
    assert "argmax" not in last_layers(tmp_path, "vitis")


def test_a_fault_in_any_flow_is_found_and_the_flow_named(tmp_path: Path) -> None:
    graph = classifier()
    made = plan(graph, Target(), flows=["vitis", "vivado"])
    made.write(tmp_path)
    (biases,) = (tmp_path / "vivado/firmware/weights").glob("b*.txt")
    biases.write_text(biases.read_text().replace("0.1875", "0.25"))
    with pytest.raises(Mismatch, match=r"rung 2 \(HLS C\+\+ on the CPU, flow vivado\), first at layer 'scores'"):
        run_flows(graph, tmp_path, made.facts, ["vitis", "vivado"], random_vectors(graph, 50, 1), lambda _: None)


def test_the_design_gives_out_classes_as_the_rtl_does(tmp_path: Path) -> None:
    report = build(tmp_path, ["vivado"], output="class")
    assert [(entry["rung"], entry["mismatches"]) for entry in report["ladder"]] == [(2, 0)]
    assert "bitwright::argmax<" in last_layers(tmp_path, "vivado")
    assert report["graph"][-1]["operation"] == "argmax"
    # A softmax at the end makes it a classifier, so that is what happens without being asked.
    build(tmp_path, ["vivado"], skip_rungs=[2])
    assert "bitwright::argmax<" in last_layers(tmp_path, "vivado")
    build(tmp_path, ["vivado"], output="logits", skip_rungs=[2])
    assert "bitwright::argmax<" not in last_layers(tmp_path, "vivado")


def test_a_flow_without_a_layer_for_classes(tmp_path: Path) -> None:
    report = build(tmp_path, ["vitis", "oneapi"], skip_rungs=[2])
    assert "bitwright::argmax<" not in last_layers(tmp_path, "vitis")
    assert (
        "The HLS projects give out scores, not classes: flow oneapi has no layer for argmax. Flows that can: vitis, vivado, "
        "vivado_accelerator, quartus, catapult."
    ) in report["notes"]
    with pytest.raises(UnsupportedModel) as refused:
        build(tmp_path, ["vitis", "oneapi"], output="class", skip_rungs=[2])
    assert str(refused.value) == (
        "flow 'oneapi': hls4ml's oneAPI backend has no exact layer for these nodes, and the project's own layers have no C++ for "
        "Intel oneAPI. Flows that can: vitis, vivado, vivado_accelerator, quartus, catapult\n  argmax: argmax"
    )


@pytest.mark.skipif(hls4ml_tool.DISTRIBUTED_ARITHMETIC.find() is None, reason="needs da4ml")
def test_another_version_of_the_solver_makes_the_project_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_graph(classifier(), tmp_path / "classifier.bitwright")
    options = {"backend": "hls4ml", "measure": False, "skip_rungs": [2], "hls_flows": ["vitis"]}

    def cached(strategy: str) -> bool:
        out = tmp_path / strategy
        return toolchain.build_hardware(model, out=out, strategy=strategy, **options).cached["hls"]

    for strategy in ("latency", "distributed_arithmetic"):
        assert [cached(strategy), cached(strategy)] == [False, True]
    real = hardware.versions
    monkeypatch.setattr(
        hardware, "versions", lambda *names: real(*names) | ({"da4ml": "another"} if "da4ml" in names else {})
    )
    assert cached("latency")
    assert not cached("distributed_arithmetic")
