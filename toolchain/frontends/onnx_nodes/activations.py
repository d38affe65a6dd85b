# SPDX-License-Identifier: Apache-2.0
"""Element-by-element functions: exact ones stay exact, curves wait for the quantiser that follows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import erf, sqrt

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import RECTIFIER, Affine, Clip, Curve, Function, Leaky
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import RealInput
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Value,
    fractions_on_channels,
    handles,
    with_channels_of,
)


def _apply(reader: Reader, node: NodeView, *functions: Function) -> Value:
    value = node.value(0)
    if isinstance(value, RealInput) and len(functions) == 1 and isinstance(functions[0], Clip):
        clip = functions[0]
        low = clip.low if value.low is None else value.low if clip.low is None else max(value.low, clip.low)
        high = clip.high if value.high is None else value.high if clip.high is None else min(value.high, clip.high)
        return replace(value, low=low, high=high)
    line = reader.line(value, node)
    return replace(line, functions=(*line.functions, *functions))


@handles("Relu")
def _relu(reader: Reader, node: NodeView) -> Value:
    return _apply(reader, node, RECTIFIER)


@handles("Clip")
def _clip(reader: Reader, node: NodeView) -> Value:
    bounds: list[Fraction | None] = []
    for index, name in ((1, "min"), (2, "max")):
        value = node.attributes.get(name)
        if node.has(index):
            value = float(node.constant(index, f"its {name}").values.reshape(-1)[0])
        bounds.append(None if value is None or abs(value) > 3e38 else Fraction(float(value)))
    if bounds == [None, None]:
        return node.value(0)
    first = node.value(0)
    if isinstance(first, Constant) and first.integers is not None:
        return _clipped_constant(first, bounds, node)
    return _apply(reader, node, Clip(bounds[0], bounds[1]))


@handles("Max", "Min")
def _bound(reader: Reader, node: NodeView) -> Value:
    """With a constant: a clip."""
    values = [node.value(i) for i in range(len(node.operands))]
    constants = [v for v in values if isinstance(v, Constant)]
    if len(values) != 2 or len(constants) != 1 or constants[0].values.size != 1:
        raise UnsupportedModel(f"{node.label}: supported is the larger or smaller of a tensor and one constant")
    line = reader.line(next(v for v in values if not isinstance(v, Constant)), node)
    bound = Fraction(float(constants[0].values.reshape(-1)[0]))
    clip = Clip(bound, None) if node.kind == "Max" else Clip(None, bound)
    return replace(line, functions=(*line.functions, clip))


def _clipped_constant(constant: Constant, bounds: list[Fraction | None], node: NodeView) -> Constant:
    """Quantised weights clipped to fewer values than their integer type has."""
    assert constant.integers is not None
    assert constant.scale is not None
    if not (constant.scale == 1).all():
        raise UnsupportedModel(f"{node.label}: clips dequantised weights; supported is a clip of their integers")
    low, high = (float(b) if b is not None else None for b in bounds)
    integers = np.clip(constant.integers, low, high).astype(np.int64)
    return Constant(integers.astype(constant.values.dtype), integers, constant.scale)


@handles("LeakyRelu", "PRelu")
def _leaky(reader: Reader, node: NodeView) -> Value:
    line = reader.line(node.value(0), node)
    if node.kind == "LeakyRelu":
        slopes: tuple[Fraction, ...] = (Fraction(float(np.float32(node.attributes.get("alpha", 0.01)))),)
    else:
        values = node.constant(1, "the slope").values
        line = with_channels_of(reader, line, values, node)
        slopes = fractions_on_channels(line, values, node, "a slope")
    if min(slopes) < 0 or (min(slopes) == 0 and len(set(slopes)) > 1):
        raise UnsupportedModel(
            f"{node.label}: slope {float(min(slopes)):g}; supported are positive slopes, or 0 for all"
        )
    return _apply(reader, node, RECTIFIER if min(slopes) == 0 else Leaky(slopes))


@handles("HardSigmoid")
def _hard_sigmoid(reader: Reader, node: NodeView) -> Value:
    alpha, beta = (float(np.float32(node.attributes.get(k, d))) for k, d in (("alpha", 0.2), ("beta", 0.5)))
    affine = Affine((Fraction(alpha),), (Fraction(beta),))
    return _apply(reader, node, affine, Clip(Fraction(0), Fraction(1)))


def _float32(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The curve as float32 frameworks give it: of the float32 argument, rounded to float32."""

    def values(x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return function(x.astype(np.float32).astype(np.float64)).astype(np.float32).astype(np.float64)

    return values


def _hard_swish(x: np.ndarray) -> np.ndarray:
    return x * np.clip(x / 6 + 0.5, 0, 1)


#: Curves by operation. Each is evaluated in float64 and rounded to float32, which is within one float32 step of any framework.
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "HardSwish": _hard_swish,
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Abs": np.abs,
    "Erf": np.vectorize(erf, otypes=[np.float64]),
}


#: Those that never fall.
_RISING = {"Sigmoid", "Tanh", "Softplus", "Softsign", "Erf"}


@handles("Sigmoid", "Tanh", "HardSwish", "Softplus", "Softsign", "Abs", "Erf")
def _curve(reader: Reader, node: NodeView) -> Value:
    return _apply(reader, node, Curve(node.kind, _float32(CURVES[node.kind]), rises=node.kind in _RISING))


@handles("Elu", "Selu", "Celu", "Gelu", "Mish", "ThresholdedRelu")
def _parametric_curve(reader: Reader, node: NodeView) -> Value:
    alpha, gamma = (node.attributes.get(k) for k in ("alpha", "gamma"))
    return _apply(reader, node, Curve(node.kind, _float32(_parametric(node, alpha, gamma))))


def _parametric(node: NodeView, alpha: float | None, gamma: float | None) -> Callable[[np.ndarray], np.ndarray]:
    def elu(x: np.ndarray, a: float, g: float) -> np.ndarray:
        return g * np.where(x > 0, x, a * np.expm1(np.minimum(x, 0)))

    if node.kind == "Elu":
        return lambda x: elu(x, 1.0 if alpha is None else alpha, 1.0)
    if node.kind == "Selu":
        return lambda x: elu(
            x, 1.6732631921768188 if alpha is None else alpha, 1.0507009873554805 if gamma is None else gamma
        )
    if node.kind == "Celu":
        a = 1.0 if alpha is None else alpha
        return lambda x: np.maximum(x, 0) + np.minimum(0, a * np.expm1(np.minimum(x, 0) / a))
    if node.kind == "ThresholdedRelu":
        a = 1.0 if alpha is None else alpha
        return lambda x: np.where(x > a, x, 0.0)
    if node.kind == "Mish":
        return lambda x: x * np.tanh(np.logaddexp(x, 0))
    node.require("approximate", ("none",), "none")
    normal = np.vectorize(lambda v: 0.5 * (1 + erf(v / sqrt(2))), otypes=[np.float64])
    return lambda x: x * normal(x)


@handles("Identity", "Dropout")
def _identity(reader: Reader, node: NodeView) -> Value:
    if node.kind == "Dropout" and node.has(2) and node.constant(2, "training mode").values.any():
        raise UnsupportedModel(f"{node.label}: is in training mode; export the model for inference")
    return node.value(0)


#: ONNX's floating-point types that hold every value of a quantised network.
_WIDE_FLOATS = ("float32", "float64")


@handles("Cast")
def _cast(reader: Reader, node: NodeView) -> Value:
    from onnx import helper

    value = node.value(0)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(node.integer("to", 1)))
    if isinstance(value, Constant):
        if dtype.kind == "f":
            return Constant(value.values.astype(dtype), value.integers, value.scale)
        return Constant(value.values.astype(dtype))
    if dtype.name in _WIDE_FLOATS:
        return value
    if dtype.kind not in "iu":
        raise UnsupportedModel(f"{node.label}: casts to {dtype}; supported are {', '.join(_WIDE_FLOATS)} and integers")
    line = reader.walk.emitted(reader.line(value, node), node.site)
    element = reader.walk.element(line)
    parts = list(zip(line.spread(line.scale), line.spread(line.offset), strict=True))
    ends = [scale * end + offset for scale, offset in parts for end in (element.minimum, element.maximum)]
    limits = np.iinfo(dtype)
    if (
        line.functions
        or any(part.denominator != 1 for pair in parts for part in pair)
        or not (limits.min <= min(ends) and max(ends) <= limits.max)
    ):
        raise UnsupportedModel(
            f"{node.label}: casts values from {float(min(ends)):g} to {float(max(ends)):g} to {dtype}, which are not all whole "
            "numbers of it; quantise them instead"
        )
    return line
