# SPDX-License-Identifier: Apache-2.0
"""ONNX's and ONNX Runtime's operators on quantised tensors, how they round: every operand, ties, near ties, float32 arithmetic."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

sys.path.insert(0, str(Path(__file__).parent))
from onnx_int8_bench import CODES, LIMITS, U  # noqa: E402
from onnx_int8_files import File, assert_equal, graph_result  # noqa: E402

TensorProto = onnx.TensorProto


def round_half_even(numerators: np.ndarray, denominator: int) -> np.ndarray:
    """Integers over one denominator, rounded exactly."""
    whole = numerators // denominator
    rest = 2 * (numerators - whole * denominator)
    return whole + np.where(rest == denominator, whole % 2 == 1, rest > denominator)


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
