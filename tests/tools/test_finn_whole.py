# SPDX-License-Identifier: Apache-2.0
"""What people with AMD's tools get: HLS C++ of FINN's nodes, and FINN's own project, through the steps of its builder that run here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.equivalence.finn_bundle import with_finn_nodes
from tests.equivalence.rtl_bundle import Member
from tests.equivalence.rtl_images import image_members
from toolchain.backends.finn import design, write_request
from toolchain.build.tools import finn
from toolchain.build.tools.finn import made_in, run_worker
from toolchain.ir import (
    Add,
    ArgMax,
    Concatenate,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    InsertZeros,
    IntegerType,
    Lookup,
    MaxPool,
    Multiply,
    Pad,
    Reshape,
    Slice,
    SumPool,
    Threshold,
    Upsample,
    interpret,
)
from toolchain.target import Target, find_device
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(finn.TOOL.find() is None, reason="needs finn-plus")

PART = "xc7z020clg400-1"


def write(graph: Graph, folder: Path, cycles_per_frame: int | None = None) -> dict[str, Any]:
    """FINN's worker on a network; what it says of the whole network."""
    decided = design(graph, Target(find_device(PART), cycles_per_frame=cycles_per_frame))
    folder.mkdir()
    write_request(decided, folder)
    run_worker(folder, log=folder / "finn.log")
    return dict(made_in(folder)["whole"])


def activation(channels: int, lowest: int = 0) -> Threshold:
    random = np.random.default_rng(channels)
    return Threshold(np.sort(random.integers(-30, 60, (channels, 7)), axis=1), lowest)


def digit_network(fork: bool = False, flat: bool = True) -> Graph:
    """A CNN of 8 x 8 pixels, with a border, two convolutions, a pool and a dense layer, which is a third one if not `flat`.

    fork: and a branch around another.
    """
    random = np.random.default_rng(8)
    builder = GraphBuilder("digits8")
    x = builder.add(Input((8, 8, 1), IntegerType(False, 4)), name="x")
    x = builder.add(Pad(((1, 1), (1, 1), (0, 0))), x, name="pad")
    x = builder.add(Conv(random.integers(-3, 4, (3, 3, 1, 8)), (1, 1), (1, 1)), x, name="conv1")
    x = builder.add(activation(8), x, name="act1")
    x = builder.add(MaxPool((2, 2), (2, 2)), x, name="pool")
    if fork:
        left = builder.add(Conv(random.integers(-3, 4, (1, 1, 8, 8)), (1, 1), (1, 1)), x, name="left")
        left = builder.add(activation(8), left, name="left_act")
        x = builder.add(Add(), left, x, name="sum")
    x = builder.add(Conv(random.integers(-3, 4, (3, 3, 8, 8)), (1, 1), (1, 1)), x, name="conv2")
    x = builder.add(activation(8), x, name="act2")
    weights = random.integers(-3, 4, (32, 10))
    if flat:
        x = builder.add(Dense(weights), builder.add(Reshape((32,)), x, name="flat"), name="fc")
    else:
        x = builder.add(Conv(weights.reshape(2, 2, 8, 10), (1, 1), (1, 1)), x, name="fc")
    builder.output(builder.add(ArgMax(), x, name="class"))
    return builder.build()


@pytest.mark.parametrize("fork", [False, True])
def test_the_steps_of_finns_builder_take_the_project(fork: bool, tmp_path: Path) -> None:
    """Those that need no tool of AMD, on the files as they were written: names, folding and FIFO depths are those of the build."""
    graph = digit_network(fork)
    whole = write(graph, tmp_path / "finn", cycles_per_frame=600)
    assert (whole["project"], whole["why"], whole["without"]) == ("project", "", {})
    project = tmp_path / "finn" / "project"
    (tmp_path / "work").mkdir()
    script = Path(__file__).with_name("finn_builder_steps.py")
    done = subprocess.run(
        [sys.executable, "-P", str(script), str(tmp_path / "work"), str(tmp_path / "found.json")],
        cwd=project, env={**os.environ, "HOME": str(tmp_path / "work")}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["steps"] == [
        "step_create_dataflow_partition",
        "step_specialize_layers",
        "step_apply_folding_config",
        "step_generate_estimate_reports",
    ]
    folding = json.loads((project / "folding.json").read_text())
    del folding["Defaults"]
    assert {name: {key: node[key] for key in folding[name]} for name, node in found["nodes"].items()} == folding
    assert {name.rsplit("_", 1)[0] for name in folding} == {
        "FMPadding_rtl", "ConvolutionInputGenerator_rtl", "MVAU_rtl", "Thresholding_rtl", "Pool_hls", "LabelSelect_hls",
        "Reshape_rtl", *(["DuplicateStreams_hls", "ElementwiseAdd_hls"] if fork else []),
    }  # fmt: skip
    # Sums as wide as they get, not FINN's 32 bits.
    assert all(node["word"] != "INT32" for node in found["nodes"].values())
    # Beside branches FINN's HLS nodes hold other amounts than the kernels that the depths were verified with.
    assert found["auto_fifo_depths"] == fork
    assert found["fifos"] == json.loads((project / "fifos.json").read_text())["fifo_depths"]
    request = json.loads((tmp_path / "finn" / "request.json").read_text())
    deep = {depth for depths in request["depths"].values() for depth in depths.values() if depth > 2}
    assert deep
    assert deep <= set(found["fifos"].values()) | {request["depths"]["output"]["before"]}
    cycles = json.loads((project / "output" / "report" / "estimate_layer_cycles.json").read_text())
    assert max(cycles.values()) <= 600


def test_the_project_computes_what_the_interpreter_does(tmp_path: Path) -> None:
    """The integer QONNX model and FINN's hardware graph, as FINN itself executes them."""
    onnx_exec = pytest.importorskip("qonnx.core.onnx_exec")
    from qonnx.core.modelwrapper import ModelWrapper

    graph = digit_network(fork=True, flat=False)
    write(graph, tmp_path / "finn")
    for name in ("network.onnx", "model.onnx"):
        onnx = ModelWrapper(str(tmp_path / "finn" / "project" / name))
        (source,), (sink,) = onnx.graph.input, onnx.graph.output
        for x in random_vectors(graph, 5, 1):
            found = onnx_exec.execute_onnx(onnx, {source.name: x[None].astype(np.float32)})[sink.name]
            assert found.ravel().tolist() == interpret(graph, x[None])["class"].ravel().tolist()


def many_operations() -> Graph:
    """What FINN has in HLS, around a table that falls, which it has not at all."""
    random = np.random.default_rng(2)
    builder = GraphBuilder("many")
    x = builder.add(Input((8, 8, 4), IntegerType(True, 3)), name="x")
    x = builder.add(Conv(random.integers(-3, 4, (3, 3, 1, 4)), (1, 1), (1, 1), 4), x, name="depthwise")
    x = builder.add(activation(4), x, name="act")
    x = builder.add(MaxPool((2, 2), (2, 2)), x, name="pool")
    falling = np.sort(random.integers(-4, 4, (1, 8)), axis=1)[:, ::-1]
    x = builder.add(Lookup(falling, 0), x, name="table")
    wide = builder.add(Upsample((2, 2, 1)), x, name="upsample")
    wide = builder.add(SumPool((2, 2), (2, 2)), wide, name="sums")
    wide = builder.add(activation(4), wide, name="sums_act")
    joined = builder.add(Concatenate(2), x, wide, name="joined")
    joined = builder.add(Slice((0, 1, 0), (3, 3, 8), (1, 1, 1)), joined, name="cut")
    spread = builder.add(InsertZeros((2, 2, 1)), joined, name="spread")
    product = builder.add(Multiply(), spread, spread, name="product")
    total = builder.add(SumPool((5, 3), (1, 1)), product, name="total")
    total = builder.add(activation(8), total, name="total_act")
    x = builder.add(Reshape((8,)), total, name="flat")
    x = builder.add(Dense(random.integers(-3, 4, (8, 5))), x, name="fc")
    builder.output(builder.add(ArgMax(), x, name="class"))
    return builder.build()


def test_each_node_that_finn_has_in_hls_gets_its_code(tmp_path: Path) -> None:
    """Also where FINN lacks another: then there is no project, for a reason with the operation's name."""
    whole = write(many_operations(), tmp_path / "finn")
    assert whole["project"] is None
    assert whole["why"] == "table (lookup): FINN has no node for operation 'lookup'"
    assert list(whole["without"]) == ["table"]
    assert {name.split("_hls")[0] for name in whole["hls"]} == {
        "VVAU", "Pool", "UpsampleNearestNeighbour", "DuplicateStreams", "StreamingConcat", "FMPadding_Pixel", "ElementwiseMul",
        "GlobalAccPool", "LabelSelect",
    }  # fmt: skip
    for name in whole["hls"]:
        code = tmp_path / "finn" / "hls" / name.split()[0]
        assert any("#pragma HLS" in path.read_text() for path in code.glob("*.cpp")), name
        assert list(code.glob("*.tcl")), name
    # A pool that gives a largest value, and one that gives sums.
    pools = sorted(name.split()[0] for name in whole["hls"] if name.startswith("Pool"))
    text = "".join(path.read_text() for name in pools for path in (tmp_path / "finn" / "hls" / name).glob("*.cpp"))
    assert "MaxPoolFunction" in text
    assert "AccPoolFunction" in text
    # The table's result has two readers.
    assert sum(name.startswith("DuplicateStreams") for name in whole["hls"]) == 2


@pytest.mark.full
@pytest.mark.parametrize("member", with_finn_nodes(image_members(range(12))), ids=lambda member: member.name)
def test_random_networks(member: Member, tmp_path: Path) -> None:
    """Whatever a network is made of, FINN's transformations take what is expressed of it."""
    whole = write(member.graph, tmp_path / "finn", member.cycles_per_frame)
    assert "in FINN's transformations" not in whole["why"]
    assert (whole["project"] is None) == bool(whole["without"])


def test_an_error_in_finns_transformations_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toolchain.backends.finn import whole

    def fails(model: object) -> None:
        raise ValueError("what FINN says")

    monkeypatch.setattr(whole, "hardware_of", fails)
    found = whole.write_whole(digit_network(), {"part": PART}, tmp_path)
    assert found["project"] is None
    assert found["why"] == "ValueError in FINN's transformations of the whole network (whole.log has all of it)"
    assert "ValueError: what FINN says" in (tmp_path / "whole.log").read_text()
