# SPDX-License-Identifier: Apache-2.0
"""ONNX's and ONNX Runtime's operators on quantised tensors, one at a time: every operand, ties, axes, types, endings."""

from __future__ import annotations

import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

sys.path.insert(0, str(Path(__file__).parent))
from onnx_int8_bench import CODES, LIMITS, U  # noqa: E402
from onnx_int8_files import File, assert_equal, graph_result  # noqa: E402

from toolchain.frontends.onnx_session import execute, session, with_alike_weights  # noqa: E402

TensorProto, numpy_helper = onnx.TensorProto, onnx.numpy_helper


def round_half_even(numerators: np.ndarray, denominator: int) -> np.ndarray:
    """Integers over one denominator, rounded exactly."""
    whole = numerators // denominator
    rest = 2 * (numerators - whole * denominator)
    return whole + np.where(rest == denominator, whole % 2 == 1, rest > denominator)


# ---- rounding --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("zero", [64, 63])
@pytest.mark.parametrize(
    "scales", [(0.25, 0.5, 2.0), (0.0371, 0.0193, 0.0527), (0.1, 0.3, 1.4400003)], ids=["powers", "free", "ties"]
)
@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
def test_every_pair_of_operands(operator: str, kind: str, scales: tuple[float, ...], zero: int, tmp_path: Path) -> None:
    """All 65536 pairs, also on ties. A sum is exact, and ONNX Runtime's within its float32 bound; a product is ONNX Runtime's.

    The last scales make ratios of about 1/48, so that many products are as near to a tie as float32 can tell.
    """
    low, high = LIMITS[kind]
    zeros, (sa, sb, sc) = (17, 90), (np.float32(s) for s in scales)
    file = File(a=(CODES[kind], ["N", 256]), b=(CODES[kind], ["N", 256]))
    za, zb, zc = (np.array(z, kind) for z in (*zeros, zero))
    model = file.load(tmp_path, **{file.node(operator, "a", sa, za, "b", sb, zb, sc, zc): (CODES[kind], ["N", 256])})
    a, b = np.meshgrid(np.arange(low, high + 1), np.arange(low, high + 1))
    found = graph_result(model, {"a": a, "b": b})
    fa, fb = (Fraction(float(s)) / Fraction(float(sc)) for s in (sa, sb))
    da, db = a.astype(object) - zeros[0], b.astype(object) - zeros[1]
    if operator == "QLinearAdd":
        denominator = fa.denominator * fb.denominator
        numerators = da * (fa.numerator * fb.denominator) + db * (fb.numerator * fa.denominator)
    else:
        factor = fa * Fraction(float(sb))
        denominator, numerators = factor.denominator, da * db * factor.numerator
    # These two kernels add the zero point before they round.
    exact = np.clip(round_half_even(numerators + zero * denominator, denominator), low, high).astype(np.int64)
    assert model.run is not None
    theirs = model.run({"a": a, "b": b})
    assert (found == (exact if operator == "QLinearAdd" else theirs)).all()
    off = theirs - exact
    if scales[0] == 0.25:
        assert not off.any()
        ties = (2 * numerators // denominator) * denominator == 2 * numerators
        assert (ties & (numerators % denominator != 0) & (exact > low) & (exact < high)).sum() > 500
        return
    assert (off != 0).sum() > 20 or operator == "QLinearAdd" or scales[0] != 0.1
    # Eight roundings of sums that are at most 256 of each scale and the zero point.
    bound = 8 * U * (float(fa) * 346 + float(fb) * 346 + 64) if operator == "QLinearAdd" else 5 * U * 1000
    distance = abs(numerators / denominator - np.floor((numerators / denominator).astype(float)) - 0.5)
    assert abs(off).max() <= 1
    assert (distance[off != 0] <= bound).all()


FOLLOWED = [
    "QLinearConv", "QLinearMatMul", "QGemm", "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearConcat",
]  # fmt: skip


@pytest.mark.parametrize("ratio", [48, 64])
@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("operator", FOLLOWED)
def test_float32_arithmetic_is_followed(
    operator: str, kind: str, ratio: int, random: np.random.Generator, tmp_path: Path
) -> None:
    """Ratios of about 1/48 or 1/64: sums are ties but for the rounding of scales, and the graph still equals ONNX Runtime.

    1/64 is a power of two in float32, while the exact ratio of the scales (of x, w and y) is not.
    """
    x_scale, w_scale = np.float32(0.0393), np.float32([0.0117] * 3 if ratio == 64 else [0.0117, 0.0131, 0.0093])
    zero, end = (np.array(z, kind) for z in (60, 27))
    y_scale = np.float32(np.float32(x_scale * w_scale[0]) * np.float32(ratio))
    weights = random.integers(-20, 21, (3, 8)).astype(np.int8)
    parts = (w_scale, np.zeros(3, np.int8))
    bias = random.integers(-500, 500, 3).astype(np.int32)
    shape, result, count = {
        "QLinearConv": ((1, 8, 30), (3, 1, 30), 400),
        "QLinearGlobalAveragePool": ((3, 4, ratio // 8), (3, 1, 1), 3000),
        "QLinearLeakyRelu": ((8,), (8,), 300),
        "QLinearConcat": ((8,), (8,), 300),
    }.get(operator, ((8,), (3,), 3000))
    file = File(x=(CODES[kind], ["N", *shape]))
    first = ("x", x_scale, zero)
    operands: dict[str, tuple[object, ...]] = {
        "QLinearConv": (*first, weights.reshape(3, 1, 8, 1), *parts, y_scale, end, bias),
        "QLinearMatMul": (*first, weights.T.copy(), *parts, y_scale, end),
        "QGemm": (*first, weights.T.copy(), *parts, bias, y_scale, end),
        "QLinearGlobalAveragePool": (*first, x_scale * np.float32(2), end),
        "QLinearLeakyRelu": (*first, x_scale * np.float32(ratio // 16), end),
        "QLinearConcat": (x_scale * np.float32(ratio // 8), end, *first),
    }
    settings: dict[str, object] = {"QLinearLeakyRelu": {"alpha": 0.1}, "QLinearConcat": {"axis": 1}}.get(operator, {})  # type: ignore[assignment]
    output = file.node(operator, *operands[operator], **settings)
    model = file.load(tmp_path, **{output: (CODES[kind], ["N", *result])})
    low, high = LIMITS[kind]
    x = random.integers(low, high + 1, (count, *shape))
    assert_equal(model, x)
    if operator in ("QLinearMatMul", "QGemm"):
        # The exact rational value would not be equal.
        sums = (x - 60) @ weights.T.astype(np.int64) + (bias if operator == "QGemm" else 0)
        ratios = [Fraction(float(x_scale)) * Fraction(float(w)) / Fraction(float(y_scale)) for w in w_scale]
        steps = [
            round_half_even(sums[:, channel].astype(object) * r.numerator, r.denominator)
            for channel, r in enumerate(ratios)
        ]
        exact = np.clip(np.stack(steps, axis=1) + 27, low, high)
        assert (exact != graph_result(model, x)).any()


def test_sums_that_float32_does_not_hold(random: np.random.Generator, tmp_path: Path) -> None:
    """Beyond 2**26 only every eighth integer is a float32: with scales that are powers of two, sums next to a tie become one."""
    half, zero = np.float32(0.5), np.array(0, np.uint8)
    weights = random.integers(-2, 3, (8, 3)).astype(np.int8)
    bias = np.int32([(1 << 26) + (1 << 18), (1 << 26) + 3 * (1 << 18), 99])
    file = File(x=(TensorProto.UINT8, ["N", 8]))
    operands = ("x", half, np.array(128, np.uint8), weights, half, np.array(0, np.int8), bias)
    output = file.node("QGemm", *operands, np.float32(0.25 * 2**19), zero)
    model = file.load(tmp_path, **{output: (TensorProto.UINT8, ["N", 3])})
    x = random.integers(120, 136, (3000, 8))
    assert_equal(model, x)
    exact = round_half_even((x - 128) @ weights.astype(np.int64) + bias, 1 << 19)
    assert (exact != graph_result(model, x))[:, :2].sum(axis=0).min() > 20


@pytest.mark.parametrize("target", ["uint8", "int8"])
@pytest.mark.parametrize("source", ["uint8", "int8"])
def test_requantisation_of_every_integer(source: str, target: str, random: np.random.Generator, tmp_path: Path) -> None:
    """DequantizeLinear and QuantizeLinear, one after the other: exact ties (3/2), the same scale but other limits, free scales."""
    low, high = LIMITS[source]
    x = np.arange(low, high + 1)[:, None]
    for scale, step in [(0.75, 0.5), (0.5, 1.0), (0.3, 0.3), *random.uniform(0.01, 0.2, (6, 2))]:
        s, t = np.float32(scale), np.float32(step)
        zx, zy = (np.array(random.integers(*LIMITS[k], endpoint=True), k) for k in (source, target))
        zx = zx * np.array(scale != step, source)  # integers on the same step already
        file = File(x=(CODES[source], ["N", 1]))
        output = file.node("QuantizeLinear", file.node("DequantizeLinear", "x", s, zx), t, zy)
        model = file.load(tmp_path, **{output: (CODES[target], ["N", 1])})
        ratio = Fraction(float(s)) / Fraction(float(t))
        exact = round_half_even((x.astype(object) - int(zx)) * ratio.numerator, ratio.denominator) + int(zy)
        exact = np.clip(exact, *LIMITS[target]).astype(np.int64)
        assert (graph_result(model, x) == exact).all()
        assert model.run is not None
        off = model.run(x) - exact
        steps = (x - int(zx)) * float(ratio)
        near = abs(steps - np.floor(steps) - 0.5) <= 3 * U * abs(steps)
        assert abs(off).max() <= 1
        assert near[off != 0].all()


@pytest.mark.parametrize("zero", [7, 8])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_ties_of_averages(form: str, zero: int, random: np.random.Generator, tmp_path: Path) -> None:
    """Four integers on one scale: every second sum is a tie, or on a quarter. The scale is free, and the graph exact."""
    scale, z = np.float32(0.0371), np.array(zero, np.uint8)
    file = File(x=(TensorProto.UINT8, ["N", 3, 2, 2]))
    settings = {"kernel_shape": [2, 2]}
    if form == "QDQ":
        mean = file.node("AveragePool", file.node("DequantizeLinear", "x", scale, z), **settings)
        output = file.node("QuantizeLinear", mean, scale, z)
    else:
        output = file.node("QLinearAveragePool", "x", scale, z, scale, z, **settings)
    model = file.load(tmp_path, **{output: (TensorProto.UINT8, ["N", 3, 1, 1])})
    x = random.integers(0, 256, (2000, 3, 2, 2))
    sums = x.sum(axis=(2, 3), keepdims=True)
    # ONNX Runtime's kernel adds the zero point before it rounds, QuantizeLinear after it has.
    exact = round_half_even(sums, 4) if form == "QOperator" else round_half_even(sums - 4 * zero, 4) + zero
    assert (graph_result(model, x) == exact).all()
    assert model.run is not None
    off = model.run(x) - exact
    assert abs(off).max() <= 1
    assert (sums % 4 == 2)[off != 0].all()


@pytest.mark.parametrize("opset", [21, 23])
def test_sixteen_bits(opset: int, random: np.random.Generator, tmp_path: Path) -> None:
    """Too many steps for thresholds: powers of two are a shift and exact, free scales a multiplier that is exact here too."""
    x = random.integers(-(1 << 15), 1 << 15, (400, 4))
    for scale, step in [(2.0**-9, 2.0**-7), (0.0113, 0.0271)]:
        file = File(opset, 10, x=(TensorProto.INT16, ["N", 4]))
        real = file.node("DequantizeLinear", "x", np.float32(scale), np.array(11, np.int16))
        output = file.node("QuantizeLinear", real, np.float32(step), np.array(-300, np.int16))
        model = file.load(tmp_path, **{output: (TensorProto.INT16, ["N", 4])})
        ratio = Fraction(float(np.float32(scale))) / Fraction(float(np.float32(step)))
        exact = round_half_even((x.astype(object) - 11) * ratio.numerator, ratio.denominator) - 300
        assert (graph_result(model, x) == exact.astype(np.int64)).all()
        assert "approximations" not in model.graph.metadata
        if scale == 2.0**-9:
            assert_equal(model, x)


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
