# SPDX-License-Identifier: Apache-2.0
"""ONNX's and ONNX Runtime's operators on quantised tensors, one at a time: integers, axes, types, endings."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

sys.path.insert(0, str(Path(__file__).parent))
from onnx_int8_bench import CODES, LIMITS  # noqa: E402
from onnx_int8_files import File, assert_equal, graph_result  # noqa: E402

from toolchain.frontends.onnx_session import execute, session, with_alike_weights  # noqa: E402

TensorProto = onnx.TensorProto


# ---- integers in the file --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("with_zeros", [False, True])
def test_matrix_product_of_integers(with_zeros: bool, random: np.random.Generator, tmp_path: Path) -> None:
    """MatMulInteger, and what exporters write after it: Cast, Mul by the scales, Add of a bias."""
    weights = random.integers(-128, 128, (20, 6)).astype(np.int8)
    zeros = (np.array(131, np.uint8), random.integers(-5, 6, 6).astype(np.int8)) if with_zeros else ()
    x = np.concatenate([random.integers(0, 256, (200, 20)), np.full((1, 20), 255), np.zeros((1, 20), np.int64)])
    file = File(x=(TensorProto.UINT8, ["N", 20]))
    product = file.node("MatMulInteger", "x", weights, *zeros)
    model = file.load(tmp_path, **{product: (TensorProto.INT32, ["N", 6])})
    expected = (x - int(zeros[0] if zeros else 0)) @ (weights.astype(np.int64) - (zeros[1] if zeros else 0))
    assert (graph_result(model, x) == expected).all()
    assert_equal(model, x)
    real = file.node("Cast", product, to=TensorProto.FLOAT)
    scales = (2.0 ** -random.integers(3, 9, 6)).astype(np.float32)
    real = file.node("Add", file.node("Mul", real, scales), random.integers(-9, 9, 6).astype(np.float32) / 8)
    quantised = file.node("QuantizeLinear", file.node("Relu", real), np.float32(4), np.array(3, np.uint8))
    assert_equal(file.load(tmp_path, **{real: (TensorProto.FLOAT, ["N", 6])}), x)
    assert_equal(file.load(tmp_path, **{quantised: (TensorProto.UINT8, ["N", 6])}), x)


@pytest.mark.parametrize("is_quantised", [False, True])
def test_dense_layer_with_a_factor(is_quantised: bool, random: np.random.Generator, tmp_path: Path) -> None:
    """QGemm with alpha, which also scales the bias; without a scale of its result that is real."""
    weights, scales = random.integers(-128, 128, (4, 7)).astype(np.int8), np.float32([0.5, 0.25, 0.125, 1.0])
    bias = random.integers(-9999, 9999, 4).astype(np.int32)
    end = (np.float32(64), np.array(100, np.uint8)) if is_quantised else ()
    file = File(x=(TensorProto.UINT8, ["N", 7]))
    operands = ("x", np.float32(0.5), np.array(7, np.uint8), weights, scales, np.zeros(4, np.int8), bias, *end)
    output = file.node("QGemm", *operands, alpha=0.375, transB=1)
    model = file.load(tmp_path, **{output: (TensorProto.UINT8 if is_quantised else TensorProto.FLOAT, ["N", 4])})
    x = random.integers(0, 256, (300, 7))
    assert_equal(model, x)
    if not is_quantised:
        assert (graph_result(model, x) == 0.375 * 0.5 * scales * ((x - 7) @ weights.T.astype(np.int64) + bias)).all()


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_convolution_of_integers(kind: str, random: np.random.Generator, tmp_path: Path) -> None:
    """ConvInteger in two groups; padding is with the zero point, so the border sees real zeros."""
    weights, zero = random.integers(0, 256, (4, 2, 3, 3)).astype(np.uint8), np.array(3, np.uint8)
    low, high = LIMITS[kind]
    file = File(x=(CODES[kind], ["N", 4, 5, 5]))
    settings = {"pads": [1, 0, 1, 2], "group": 2, "strides": [2, 1]}
    product = file.node("ConvInteger", "x", weights, np.array(low + 77, kind), zero, **settings)
    model = file.load(tmp_path, **{product: (TensorProto.INT32, ["N", 4, 3, 5])})
    assert_equal(model, random.integers(low, high + 1, (50, 4, 5, 5)))
    assert_equal(model, np.full((1, 4, 5, 5), high))


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("operator", ["MatMulInteger", "ConvInteger"])
def test_weights_are_handed_over_in_the_tensor_s_type(
    operator: str, kind: str, random: np.random.Generator, tmp_path: Path
) -> None:
    """The rewriting for processors without VNNI changes no result; without it such a processor gives other integers here."""
    other = "int8" if kind == "uint8" else "uint8"
    (low, high), (lowest, highest) = LIMITS[kind], LIMITS[other]
    weights = random.integers(highest - 27, highest + 1, (64, 3))
    x = random.integers(high - 55, high + 1, (40, 64))
    is_conv = operator == "ConvInteger"
    turned = weights.T.reshape(3, 64, 1) if is_conv else weights
    zeros = [np.array(low, kind), np.array(lowest + 3, other)]
    for count in range(3):
        file = File(x=(CODES[kind], ["N", 64, 1] if is_conv else ["N", 64]))
        output = file.node(operator, "x", turned.astype(other), *zeros[:count])
        ends = {output: (TensorProto.INT32, ["N", 3, 1] if is_conv else ["N", 3])}
        changed = with_alike_weights(file.proto(**ends))
        kinds = {tensor.name: tensor.data_type for tensor in changed.graph.initializer}
        assert [kinds[changed.graph.node[0].input[i]] for i in (1, 3)] == [CODES[kind]] * 2
        expected = (x - low * (count > 0)) @ (weights - (lowest + 3) * (count > 1))
        model = file.load(tmp_path, **ends)
        assert model.run is not None
        assert (model.run(x.reshape(40, 64, 1) if is_conv else x).reshape(40, 3) == expected).all()
    file = File(x=(CODES[kind], ["N", 64]))
    proto = file.proto(**{file.node("MatMulInteger", "x", weights.astype(kind)): (TensorProto.INT32, ["N", 3])})
    assert with_alike_weights(proto).graph.node[0].input[1] == "c0"


# ---- axes, types and versions ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("axis", [1, -3])
def test_scales_a_channel_on_computed_tensors(axis: int, random: np.random.Generator, tmp_path: Path) -> None:
    """A quantiser with a scale a channel, and a dequantisation with a zero point a channel too."""
    scales, zeros = (2.0 ** -random.integers(1, 5, 3)).astype(np.float32), random.integers(90, 150, 3).astype(np.uint8)
    file = File(x=(TensorProto.UINT8, ["N", 3, 4, 2]))
    real = file.node("DequantizeLinear", "x", scales, zeros, axis=axis)
    steps = (2.0 ** -random.integers(0, 3, 3)).astype(np.float32)
    quantised = file.node("QuantizeLinear", real, steps, np.full(3, 9, np.uint8), axis=axis)
    again = file.node("DequantizeLinear", quantised, steps, np.full(3, 9, np.uint8), axis=axis)
    x = random.integers(0, 256, (60, 3, 4, 2))
    assert_equal(file.load(tmp_path, **{again: (TensorProto.FLOAT, ["N", 3, 4, 2])}), x)
    kernel = random.integers(-8, 9, (2, 3, 2, 2)).astype(np.int8)
    weights = file.node("DequantizeLinear", kernel, np.float32([0.5, 0.25]), np.zeros(2, np.int8), axis=0)
    result = file.node("Conv", again, weights, pads=[1, 1, 0, 0])
    assert_equal(file.load(tmp_path, **{result: (TensorProto.FLOAT, ["N", 2, 4, 2])}), x)


@pytest.mark.parametrize("opset", [10, 13, 19, 21, 23])
def test_versions(opset: int, random: np.random.Generator, tmp_path: Path) -> None:
    """From the first version of the operators on; the result's type as an attribute came with 21."""
    file = File(opset, {10: 5, 13: 7, 19: 9, 21: 10, 23: 11}[opset], x=(TensorProto.FLOAT, ["N", 8]))
    quarter, zero = np.float32(0.25), np.array(0, np.int8)
    first = file.node("QuantizeLinear", "x", quarter, zero)
    weights = random.integers(-128, 128, (8, 5)).astype(np.int8)
    product = file.node(
        "MatMul",
        file.node("DequantizeLinear", first, quarter, zero),
        file.node("DequantizeLinear", weights, np.float32(0.125)),
    )
    kind = TensorProto.INT8 if opset >= 21 else TensorProto.UINT8
    settings = {"output_dtype": kind} if opset >= 21 else {}
    last = file.node("QuantizeLinear", product, np.float32(16), **settings)
    model = file.load(tmp_path, **{last: (kind, ["N", 5])})
    assert_equal(model, (random.integers(-600, 600, (300, 8)) / 8).astype(np.float32))
    assert model.graph.types[model.graph.outputs[0].tensor].element.minimum == (-128 if opset >= 21 else 0)


def test_half_precision_scales(random: np.random.Generator, tmp_path: Path) -> None:
    """The scale is the fraction that the float16 is. What the graph rounds is compared with ONNX's definition, to even on
    ties: ONNX Runtime's float16 kernel on the CPU (1.25) cuts towards zero instead."""
    step, zero = np.float16(0.1), np.array(100, np.uint8)
    file = File(19, 9, x=(TensorProto.UINT8, ["N", 6]))
    weights = file.node("DequantizeLinear", np.full((6, 2), 3, np.int8), np.float16(0.5))
    product = file.node("MatMul", file.node("DequantizeLinear", "x", np.float16(0.25), zero), weights)
    assert_equal(file.load(tmp_path, **{product: (TensorProto.FLOAT16, ["N", 2])}), random.integers(90, 110, (50, 6)))
    file = File(19, 9, x=(TensorProto.FLOAT16, ["N", 6]))
    output = file.node("QuantizeLinear", "x", step, zero)
    model = file.load(tmp_path, **{output: (TensorProto.UINT8, ["N", 6])})
    x = np.concatenate([random.normal(0, 8, (100, 6)), np.arange(-60, 60).reshape(-1, 6) * 0.5 * float(step)])
    x = x.astype(np.float16)
    expected = np.clip(np.rint(x.astype(np.float64) / float(step)) + 100, 0, 255)
    assert (graph_result(model, x) == expected).all()


@pytest.mark.parametrize(("low", "high"), [(0, 7), (-3, 3), (-8, 7)])
def test_fewer_than_eight_bits(low: int, high: int, random: np.random.Generator, tmp_path: Path) -> None:
    """A clip of the integers narrows the type in the graph, and of weights their values."""
    kind = "uint8" if low == 0 else "int8"
    bounds, zero = (np.array(low, kind), np.array(high, kind)), np.array(0, kind)
    file = File(x=(TensorProto.FLOAT, ["N", 8]))
    half = np.float32(0.5)

    def quantised(tensor: str) -> str:
        clipped = file.node("Clip", file.node("QuantizeLinear", tensor, half, zero), *bounds)
        return file.node("DequantizeLinear", clipped, half, zero)

    first = quantised("x")
    values = random.normal(0, 2, (8, 4)).astype(np.float32)
    clipped = file.node(
        "Clip",
        file.node("QuantizeLinear", values, half, np.array(0, np.int8)),
        np.array(-3, np.int8),
        np.array(3, np.int8),
    )
    weights = file.node("DequantizeLinear", clipped, half, np.array(0, np.int8))
    last = quantised(file.node("Relu", file.node("MatMul", first, weights)))
    x = (random.integers(-40, 40, (300, 8)) / 4).astype(np.float32)
    model = file.load(tmp_path, **{last: (TensorProto.FLOAT, ["N", 4])})
    assert_equal(model, x)
    inside = [model.graph.types[node.name].element for node in model.graph.nodes]
    assert (inside[0].minimum, inside[0].maximum) == (low, high)
    assert (inside[-1].minimum, inside[-1].maximum) == (0, high)
    dense = next(node.operation for node in model.graph.nodes if node.operation.kind == "dense")
    assert (dense.weights.min(), dense.weights.max()) == (-3, 3)
    # Another reader of the integers before the clip sees them unclipped.
    before = file.nodes[0].output[0]
    both = file.load(tmp_path, **{last: (TensorProto.FLOAT, ["N", 4]), before: (CODES[kind], ["N", 8])})
    assert_equal(both, x)


def test_a_residual_network_pads_with_the_zero_point(random: np.random.Generator, tmp_path: Path) -> None:
    """Pad and a maximum on integers as they are; the value of the padding is that of real zero."""
    file = File(x=(TensorProto.UINT8, ["N", 2, 5]))
    scale, zero = np.float32(0.5), np.array(128, np.uint8)
    padded = file.node("Pad", "x", np.array([0, 0, 1, 0, 0, 2]), zero)
    kernel = random.integers(-128, 128, (3, 2, 3)).astype(np.int8)
    weights = (kernel, np.float32(0.25), np.array(0, np.int8))
    result = file.node("QLinearConv", padded, scale, zero, *weights, np.float32(64), np.array(101, np.uint8))
    largest = file.node("MaxPool", result, kernel_shape=[2], pads=[1, 0])
    model = file.load(tmp_path, **{largest: (TensorProto.UINT8, ["N", 3, 6])})
    assert_equal(model, random.integers(0, 256, (100, 2, 5)))


def test_nothing_is_turned_before_the_first_convolution(random: np.random.Generator, tmp_path: Path) -> None:
    """The host hands the samples over as the graph wants them, also through operators that work element by element."""
    file = File(x=(TensorProto.UINT8, ["N", 3, 4, 5]))
    one, last = (np.float32(0.5), np.array(7, np.uint8)), (np.float32(1 / 256), np.array(0, np.uint8))
    gate = file.node("QLinearSigmoid", "x", *one, *last)
    both = file.node("QLinearConcat", *one, "x", *one, gate, *last, axis=1)
    kernel = random.integers(-128, 128, (2, 6, 2, 1)).astype(np.int8)
    result = file.node(
        "QLinearConv", both, *one, kernel, np.float32(0.25), np.array(0, np.int8), np.float32(64), one[1]
    )
    model = file.load(tmp_path, **{result: (TensorProto.UINT8, ["N", 2, 3, 5])})
    assert "transpose" not in [node.operation.kind for node in model.graph.nodes]
    assert_equal(model, random.integers(0, 256, (50, 3, 4, 5)))


# ---- the end of a file -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["float", "QDQ", "QOperator", "integers"])
def test_a_softmax_stays_on_the_host(form: str, random: np.random.Generator, tmp_path: Path) -> None:
    """Also where the file quantises it again, which is said: the graph ends with the logits."""
    file = File(x=(TensorProto.UINT8, ["N", 6]))
    scale, zero, last = np.float32(0.125), np.array(120, np.uint8), (np.float32(1 / 256), np.array(0, np.uint8))
    weights = (random.integers(-128, 128, (6, 4)).astype(np.int8), np.float32(0.25), np.array(0, np.int8))
    logits = file.node("QLinearMatMul", "x", scale, zero, *weights, scale, zero)
    if form in ("float", "QDQ"):
        output = file.node("Softmax", file.node("DequantizeLinear", logits, scale, zero), axis=-1)
    else:
        output = file.node("QLinearSoftmax", logits, scale, zero, *last, axis=-1, opset=17)
    if form == "QDQ":
        output = file.node("QuantizeLinear", output, *last)
    if form in ("QDQ", "QOperator"):
        output = file.node("DequantizeLinear", output, *last)
    kind = TensorProto.UINT8 if form == "integers" else TensorProto.FLOAT
    model = file.load(tmp_path, **{output: (kind, ["N", 4])})
    assert model.graph.outputs[0].host_function == "softmax"
    expected = f"output {output!r}: the file rounds its softmax; on the host it is not rounded"
    assert model.graph.metadata.get("approximations", "") == (expected if form != "float" else "")
    x = random.integers(0, 256, (200, 6))
    assert_equal(model, x)
    whole = session(onnx.load_model(str(tmp_path / "file.onnx")))
    probabilities = execute(whole, {"x": x}, [output])[0] / (256 if form == "integers" else 1)
    powers = np.exp(graph_result(model, x))
    # Rounded to 1/256, by a table for QLinearSoftmax.
    assert abs(powers / powers.sum(axis=1, keepdims=True) - probabilities).max() < 2 / 256


def test_a_softmax_that_something_else_reads_is_refused(tmp_path: Path) -> None:
    file = File(x=(TensorProto.UINT8, ["N", 6]))
    softmax = file.node("Softmax", file.node("DequantizeLinear", "x", np.float32(1), np.array(0, np.uint8)))
    total = file.node("Add", softmax, np.float32(1))
    with pytest.raises(Exception, match=r"node 'n1' \(Softmax\): this operation is not supported"):
        file.load(tmp_path, **{total: (TensorProto.FLOAT, ["N", 6]), softmax: (TensorProto.FLOAT, ["N", 6])})


def test_names_of_all_layers_reach_the_graph(tmp_path: Path) -> None:
    file = File(x=(TensorProto.UINT8, ["N", 3]))
    one = np.float32(0.3), np.array(0, np.uint8)
    sigmoid = file.node("QLinearSigmoid", "x", *one, np.float32(1 / 256), np.array(0, np.uint8))
    model = file.load(tmp_path, **{sigmoid: (TensorProto.UINT8, ["N", 3])})
    assert [node.source for node in model.graph.nodes] == ["input 'x'", "'n0' (QLinearSigmoid)"]
    assert all(a <= b for a, b in pairwise(graph_result(model, np.arange(256)[:, None].repeat(3, 1))[:, 0]))
