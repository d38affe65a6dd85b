# SPDX-License-Identifier: Apache-2.0
"""Rung 1 for files of ONNX Runtime's quantize_static, in which ties are frequent: an average of four values is one every fourth time.

ONNX Runtime averages and convolves in float32, in an order of its own, and decides such ties either way. All of them have to be
explained, however many vectors there are.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
onnx = pytest.importorskip("onnx")
quantization = pytest.importorskip("onnxruntime.quantization")
from test_onnx_int8 import float_network  # noqa: E402

from toolchain.frontends import LoadedModel, load_model  # noqa: E402
from toolchain.ir import Threshold, interpret, quantise_input  # noqa: E402
from toolchain.verify.framework import compare_framework  # noqa: E402


def quantised(proto: Any, x: np.ndarray, folder: Path, **settings: Any) -> LoadedModel:
    """The file that quantize_static makes of a float model, with its usual settings but for `settings`."""
    batches = iter([{"x": x}, None])
    reader = type("Reader", (quantization.CalibrationDataReader,), {"get_next": lambda self: next(batches)})()
    onnx.save_model(proto, folder / "float.onnx")
    logging.disable(logging.WARNING)
    try:
        quantization.quantize_static(str(folder / "float.onnx"), str(folder / "int.onnx"), reader, **settings)
    finally:
        logging.disable(logging.NOTSET)
    return load_model(folder / "int.onnx")


def test_two_thousand_vectors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    model = quantised(float_network(random), random.normal(0, 1, (16, 3, 6, 6)).astype(np.float32), tmp_path)
    x = random.normal(0, 1, (2000, 3, 6, 6)).astype(np.float32)
    result = compare_framework(model, x)
    assert (result.vectors, result.mismatches, result.unexamined_vectors) == (2000, 0, 0)
    assert result.first_mismatch is None
    assert 1000 < result.explained_ties < 1500  # of 10,000 values
    # The same file with one threshold off by one: the values that meet it differ, and nothing explains them.
    name = "y_QuantizeLinear"
    operation = model.graph.by_name[name].operation
    begins, (before,) = model.ties[name].begins, model.graph.by_name[name].inputs
    assert isinstance(operation, Threshold)
    assert begins is not None
    sums = interpret(model.graph, quantise_input(model.graph.inputs[0], x).integers, record=[before])[before]
    hits = np.array([[(sums[..., c] == t).sum() for t in row] for c, row in enumerate(operation.thresholds)])
    channel, step = np.unravel_index(np.argmax(hits * (operation.thresholds - begins > 0.01)), hits.shape)
    table = operation.thresholds.copy()
    table[channel, step] += 1
    nodes = [
        dataclasses.replace(node, operation=dataclasses.replace(operation, thresholds=table))
        if node.name == name
        else node
        for node in model.graph.nodes
    ]
    wrong = dataclasses.replace(model, graph=model.graph.replace_nodes(tuple(nodes)))
    changed = compare_framework(wrong, x)
    assert changed.mismatches > 0
    assert changed.first_mismatch is not None


def test_a_leaky_rectifier_with_16_bits(tmp_path: Path) -> None:
    """A slope of 0.3 before 65,536 steps: a second multiplier, exact for every sum that can occur."""
    random, helper = np.random.default_rng(1), onnx.helper
    shapes = {"w1": (8, 6), "b1": (6,), "w2": (6, 4)}
    constants = [
        onnx.numpy_helper.from_array(random.normal(0, 0.4, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["d"]),
        helper.make_node("LeakyRelu", ["d"], ["l"], alpha=0.3),
        helper.make_node("MatMul", ["l", "w2"], ["y"]),
    ]
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", size])]
        for name, size in (("x", 8), ("y", 4))
    ]
    graph = helper.make_graph(nodes, "leaky", *ends, constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = random.normal(0, 1, (2000, 8)).astype(np.float32)
    kinds = {"activation_type": quantization.QuantType.QUInt16, "weight_type": quantization.QuantType.QInt8}
    model = quantised(proto, x[:64], tmp_path, **kinds)
    assert any(node.name.endswith("/leaky") for node in model.graph.nodes)
    assert "approximations" not in model.graph.metadata
    result = compare_framework(model, x)
    assert (result.mismatches, result.first_mismatch, result.unexamined_vectors) == (0, None, 0)
    assert result.explained_ties < 800  # of 8,000 values, each a sum that float32 rounds
