# SPDX-License-Identifier: Apache-2.0
"""Whole networks as HLS C++ on the CPU: random ones in both styles, the shipped models, and a fault that must be found."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hls4ml_bench import compare, integers

from tests.equivalence.rtl_images import image_members
from tests.reference_models import reference_model
from toolchain.backends.base import make_plan
from toolchain.build.tools.hls4ml import compile_csim
from toolchain.data_folders import MODELS
from toolchain.errors import InputError, Mismatch
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Relu,
    Requantise,
    Rounding,
    Threshold,
)
from toolchain.target import Target
from toolchain.verify.hls import verify_csim
from toolchain.verify.vectors import random_vectors

IO_TYPES = ("io_parallel", "io_stream")
SIZES = (16, 64, 32, 32, 10)


def requantise_network(sizes: tuple[int, ...] = SIZES, seed: int = 5) -> Graph:
    """Dense, bias, rectifier, requantisation: the form of a QKeras model."""
    random = np.random.default_rng(seed)
    builder = GraphBuilder("requantise style")
    x = builder.add(Input((sizes[0],), IntegerType(True, 8, 6)), name="x")
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        x = builder.add(Dense(random.integers(-31, 32, (inputs, outputs)), 5), x, name=f"dense_{layer}")
        x = builder.add(AddBias(random.integers(-31, 32, outputs), 5), x, name=f"bias_{layer}")
        if layer < len(sizes) - 2:
            x = builder.add(Relu(), x, name=f"relu_{layer}")
            target = IntegerType(False, 6, 3)
            x = builder.add(Requantise(target, Rounding.HALF_EVEN, Overflow.SATURATE), x, name=f"quantise_{layer}")
    builder.output(x, host_function="softmax")
    return builder.build()


def threshold_network(sizes: tuple[int, ...] = SIZES, seed: int = 6) -> Graph:
    """Dense, thresholds, and the index of the largest: the form of a Brevitas model with float scales."""
    random = np.random.default_rng(seed)
    builder = GraphBuilder("threshold style")
    x = builder.add(Input((sizes[0],), IntegerType(True, 8, 0)), name="x")
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        x = builder.add(Dense(random.integers(-7, 8, (inputs, outputs)), 0), x, name=f"dense_{layer}")
        if layer < len(sizes) - 2:
            reach = builder.type(x).element.maximum // 6
            thresholds = np.sort(random.integers(-reach, reach, (outputs, 15)), axis=1)
            x = builder.add(Threshold(thresholds, -8 * (layer % 2)), x, name=f"threshold_{layer}")
    builder.output(x, name="logits")
    builder.output(builder.add(ArgMax(), x, name="class"), name="class")
    return builder.build()


@pytest.mark.parametrize("network", [requantise_network, threshold_network])
@pytest.mark.parametrize("flow", ["vitis", "vivado"])
def test_random_networks(network: type[Graph], flow: str, tmp_path: Path) -> None:
    graph = network()  # type: ignore[call-arg]
    io_type = "io_stream" if flow == "vivado" else "io_parallel"  # both of each, without their product
    inputs = {"x": random_vectors(graph, 3000, 1)}
    compare(graph, tmp_path, io_type=io_type, flow=flow, optimisation="-O1", inputs=inputs).require()


def images(seeds: range) -> Graph:
    """Random networks on images side by side in one graph: one compilation tests them all."""
    builder = GraphBuilder("images")
    for member in image_members(seeds):
        named = {}
        for node in member.graph.nodes:
            inputs = (named[name] for name in node.inputs)
            named[node.name] = builder.add(node.operation, *inputs, name=f"{member.name} {node.name}")
        for output in member.graph.outputs:
            builder.output(named[output.tensor], name=f"{member.name} {output.name}")
    return builder.build()


def compare_images(seeds: range, io_type: str, folder: Path) -> None:
    graph = images(seeds)
    random = np.random.default_rng(seeds.start)
    inputs = {node.name: integers(graph.types[node.name], 40, random) for node in graph.inputs}
    compare(graph, folder, io_type=io_type, inputs=inputs).require()


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_random_networks_on_images(io_type: str, tmp_path: Path) -> None:
    compare_images(range(6), io_type, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("start", range(100, 220, 20))
@pytest.mark.parametrize("io_type", IO_TYPES)
def test_more_random_networks_on_images(io_type: str, start: int, tmp_path: Path) -> None:
    compare_images(range(start, start + 20), io_type, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("io_type", IO_TYPES)
@pytest.mark.parametrize("number", range(3))
def test_random_networks_on_images_in_the_accelerator(number: int, io_type: str, tmp_path: Path) -> None:
    """That flow takes one input and one output, so each network is compiled alone."""
    (member,) = image_members(range(number, number + 1))
    random = np.random.default_rng(number)
    inputs = {node.name: integers(member.graph.types[node.name], 40, random) for node in member.graph.inputs}
    compare(member.graph, tmp_path, io_type=io_type, flow="vivado_accelerator", inputs=inputs).require()


def compare_network(graph: Graph, folder: Path, io_type: str, flow: str, count: int) -> None:
    inputs = {graph.inputs[0].name: random_vectors(graph, count, 1)}
    result = compare(graph, folder, io_type=io_type, flow=flow, optimisation="-O1", inputs=inputs)
    result.require()
    assert result.vectors == count


@pytest.mark.parametrize("io_type", IO_TYPES)
def test_recurrent_networks(io_type: str, tmp_path: Path) -> None:
    """Unrolled in the integer graph: a step is one more stretch of layers in the project."""
    from tests.equivalence.test_qkeras_recurrent import network, recurrent
    from toolchain.frontends import load_model

    model = network(recurrent("SimpleRNN", 3, return_sequences=True, name="first"), recurrent("LSTM", 2), shape=(3, 2))
    graph = load_model(model).graph
    assert {"first/step2", "rnn/step2"} <= {"/".join(node.name.split("/")[:2]) for node in graph.nodes}
    compare(graph, tmp_path, io_type=io_type, inputs={graph.inputs[0].name: random_vectors(graph, 500, 1)}).require()


#: Network of models/, flow, port, vectors. The first two are quick.
SHIPPED = [
    ("digits", "vitis", "io_parallel", 2000),
    ("digits_brevitas", "vivado", "io_parallel", 2000),
    *(
        pytest.param(name, flow, "io_stream", 300, marks=pytest.mark.full)
        for name, flow in (
            ("mnist_cnn", "vitis"),
            ("mnist_cnn", "quartus"),
            ("mnist_cnn_brevitas", "vivado"),
            ("mnist_cnn_brevitas", "catapult"),
            ("keyword_dscnn", "vitis"),
        )
    ),
]


@pytest.mark.parametrize(("name", "flow", "io_type", "count"), SHIPPED)
def test_shipped_models(name: str, flow: str, io_type: str, count: int, tmp_path: Path) -> None:
    from toolchain.frontends import load_model

    compare_network(load_model(MODELS / name).graph, tmp_path, io_type, flow, count)


#: Published network, its file, the type of an input that it does not quantise itself, flow and port.
PUBLISHED = [
    ("keras_qkeras_3layer", "qkeras_3layer.json", "fixed<16,6>", "vitis", "io_parallel"),
    ("qonnx_jettag_w6a6", "qkeras_jettagging.onnx", "fixed<16,6>", "catapult", "io_parallel"),
    *(
        pytest.param(*network, marks=pytest.mark.full)
        for network in (
            ("qonnx_jettag_w6a6", "qkeras_jettagging.onnx", "fixed<16,6>", "quartus", "io_stream"),
            ("qonnx_tfc_w2a2", "TFC_2W2A.onnx", None, "vivado", "io_stream"),
            ("qonnx_kws_w3a3_mlperf", "QONNX_model.onnx", None, "vitis", "io_stream"),
        )
    ),
]


@pytest.mark.parametrize(("name", "file", "input_type", "flow", "io_type"), PUBLISHED)
def test_published_networks(
    name: str, file: str, input_type: str | None, flow: str, io_type: str, tmp_path: Path
) -> None:
    from toolchain.frontends import load_model

    graph = load_model(reference_model(name) / file, input_type=input_type).graph
    compare_network(graph, tmp_path, io_type, flow, 500)


def test_a_wrong_constant_is_found_and_its_layer_named(tmp_path: Path) -> None:
    graph = requantise_network((4, 6, 5, 3))
    plan = make_plan("hls4ml", graph, Target())
    plan.write(tmp_path)
    library = compile_csim(tmp_path, plan.facts, tmp_path / "csim.so", log=tmp_path / "log", optimisation="-O0")
    x = random_vectors(graph, 200, 1)
    assert verify_csim(graph, library.path, tmp_path, plan.facts, x).mismatches == 0

    biases = sorted((tmp_path / "vitis/firmware/weights").glob("b*.txt"), key=lambda path: int(path.stem[1:]))
    values = biases[1].read_text().split(", ")
    values[2] = str(float(values[2]) + (-0.25 if float(values[2]) > 0 else 0.25))
    biases[1].write_text(", ".join(values))
    result = verify_csim(graph, library.path, tmp_path, plan.facts, x)
    assert result.mismatches > 0
    assert result.first_mismatch is not None
    assert result.first_mismatch.first_layer == "bias_1"
    with pytest.raises(Mismatch, match=r"the first layer that differs is 'bias_1'.*values differ from the interpreter"):
        result.require()

    biases[1].unlink()
    with pytest.raises(
        InputError, match=rf"constants \['{biases[1].stem}'\] of the HLS project are missing; build it again"
    ):
        verify_csim(graph, library.path, tmp_path, plan.facts, x)
