# SPDX-License-Identifier: Apache-2.0
"""For the tests of ONNX int8 files: networks in both formats, and what each quantised tensor may be.

The judge evaluates a file node by node in NumPy, in float64 on integers, with a bound on what a framework that computes
the same in float32 can be off by. It knows nothing of the frontend. U is the unit roundoff of float32: one operation's
result is its exact value times 1 + d with |d| <= U.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

U = 2.0**-24
#: Absolute error of ONNX Runtime's float32 sigmoid, a rational approximation; measured 1.8e-7 on 20 million points.
SIGMOID_ERROR = 2.0**-22
MICROSOFT = "com.microsoft"
LIMITS = {"uint8": (0, 255), "int8": (-128, 127)}
CODES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}


# ---- exact values with bounds ----------------------------------------------------------------------------------------
@dataclass
class Real:
    """Exact values in float64, and how far a float32 framework may be from them."""

    value: np.ndarray
    error: np.ndarray


def windows(x: np.ndarray, window: Sequence[int], settings: dict[str, Any], fill: float) -> np.ndarray:
    """(samples, channels, positions..., window...) of a channels-first array."""
    count = len(window)
    pads = settings.get("pads", [0] * (2 * count))
    strides, dilation = settings.get("strides", [1] * count), settings.get("dilations", [1] * count)
    widths = [(0, 0), (0, 0), *zip(pads[:count], pads[count:], strict=True)]
    x = np.pad(x, widths, constant_values=fill)
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, 2 + count)))
    places = tuple(slice(None, None, s) for s in strides)
    taps = tuple(slice(None, None, d) for d in dilation)
    return view[(slice(None), slice(None), *places, *taps)]


def convolve(x: np.ndarray, w: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    groups, count = settings.get("group", 1), w.ndim - 2
    view = windows(x, w.shape[2:], settings, 0.0)
    results = []
    for xs, ws in zip(np.split(view, groups, axis=1), np.split(w, groups), strict=True):
        axes = (1, *range(2 + count, 2 + 2 * count))
        results.append(np.moveaxis(np.tensordot(xs, ws, (axes, tuple(range(1, w.ndim)))), -1, 1))
    return np.concatenate(results, axis=1)


def product(kind: str, x: np.ndarray, w: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    if "Conv" in kind:
        return convolve(x, w, settings)
    return x @ (w.T if settings.get("transB") else w)


def averages(x: np.ndarray, settings: dict[str, Any]) -> tuple[np.ndarray, int]:
    """(means, largest number of elements in one)."""
    window = settings.get("kernel_shape", x.shape[2:])
    axes = tuple(range(-len(window), 0))
    sums = windows(x, window, settings, 0.0).sum(axis=axes)
    if settings.get("count_include_pad"):
        counts = np.full(sums.shape[2:], np.prod(window))
    else:
        counts = windows(np.ones_like(x[:1, :1]), window, settings, 0.0).sum(axis=axes)[0, 0]
    return sums / counts, int(np.prod(window))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def float_operator(kind: str, operands: list[Real], settings: dict[str, Any]) -> Real:
    """An operator on real tensors, as a framework computes it in float32: errors that came in, and its own."""
    x = operands[0]
    v, e = x.value, x.error
    if kind in ("Conv", "Gemm", "MatMul"):
        w = operands[1]
        terms = w.value[0].size if kind == "Conv" else v.shape[-1]
        magnitude = product(kind, abs(v) + e, abs(w.value) + w.error, settings)
        result = product(kind, v, w.value, settings)
        error = magnitude - product(kind, abs(v), abs(w.value), settings) + (terms + 1) * U * magnitude
        if len(operands) > 2:
            b = operands[2]
            shape = (-1, *(1,) * (v.ndim - 2)) if kind == "Conv" else (-1,)
            result = result + b.value.reshape(shape)
            error = error + b.error.reshape(shape) + U * (magnitude + abs(b.value).reshape(shape))
        return Real(result, error)
    if kind in ("Add", "Mul"):
        w = operands[1]
        result = v + w.value if kind == "Add" else v * w.value
        inner = e + w.error if kind == "Add" else abs(v) * w.error + e * (abs(w.value) + w.error)
        return Real(result, inner + U * (abs(result) + inner))
    if kind == "Concat":
        parts = ([getattr(o, f) for o in operands] for f in ("value", "error"))
        return Real(*(np.concatenate(p, axis=settings["axis"]) for p in parts))
    if kind in ("AveragePool", "GlobalAveragePool"):
        result, count = averages(v, settings)
        magnitude, _ = averages(abs(v) + e, settings)
        return Real(result, averages(e, settings)[0] + (count + 1) * U * magnitude)
    if kind == "MaxPool":
        axes = tuple(range(-len(settings["kernel_shape"]), 0))
        largest = windows(v, settings["kernel_shape"], settings, -np.inf).max(axis=axes)
        return Real(largest, windows(e, settings["kernel_shape"], settings, 0.0).max(axis=axes))
    if kind == "LeakyRelu":
        slope = float(np.float32(settings.get("alpha", 0.01)))
        return Real(np.where(v < 0, slope * v, v), np.where(v < 0, slope * e + U * abs(v), e))
    if kind == "Sigmoid":
        return Real(sigmoid(v), e / 4 + SIGMOID_ERROR)
    if kind == "Relu":
        return Real(np.maximum(v, 0), e)
    if kind == "Clip":
        low, high = (float(o.value) for o in operands[1:])
        return Real(np.clip(v, low, high), e)
    if kind == "Flatten":
        return Real(v.reshape(len(v), -1), e.reshape(len(v), -1))
    if kind == "Identity":
        return x
    raise AssertionError(f"the judge does not know {kind}")


@dataclass
class Steps:
    """What is rounded: in steps of the result, without its zero point. zero_is_rounded: see the kernels.

    is_followed: the graph computes the same float32 operations, so that it equals ONNX Runtime on the same operands.
    """

    value: np.ndarray
    error: np.ndarray
    zero: int
    limits: tuple[int, int]
    zero_is_rounded: bool = False
    is_followed: bool = False

    def rounded(self) -> np.ndarray:
        zero = float(self.zero)
        whole = np.rint(self.value + zero) if self.zero_is_rounded else np.rint(self.value) + zero
        return np.clip(whole, *self.limits)

    def near_tie(self, error: np.ndarray | float) -> np.ndarray:
        """Where the exact value lies within `error` of a tie (a zero point is whole and moves none)."""
        return abs(self.value - np.floor(self.value) - 0.5) <= error


@dataclass
class Judge:
    """Evaluates a file on given integers."""

    proto: Any
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.proto.graph.initializer}

    def quantised(self) -> list[str]:
        """The tensors of 8-bit integers that a node computes by rounding, in order."""
        return [
            node.output[0]
            for node in self.proto.graph.node
            if node.op_type == "QGemm"
            or node.op_type.startswith("QLinear")
            or (node.op_type == "QuantizeLinear" and node.input[0] not in self.constants)
        ]

    def steps(self, tensors: dict[str, np.ndarray]) -> dict[str, Steps]:
        """For every quantised tensor what is rounded to give it, from the integers in `tensors` (and the real inputs)."""
        reals: dict[str, Real] = {}
        found: dict[str, Steps] = {}
        for node in self.proto.graph.node:
            settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            result = self._node(node, settings, tensors, reals)
            if isinstance(result, Steps):
                found[node.output[0]] = result
            elif result is not None:
                reals[node.output[0]] = result
        return found

    def _integers(self, name: str, tensors: dict[str, np.ndarray]) -> np.ndarray:
        return np.asarray(tensors[name] if name in tensors else self.constants[name], dtype=np.float64)

    def _along(self, name: str, rank: int, axis: int) -> np.ndarray:
        values = self.constants[name].astype(np.float64)
        if values.size == 1:
            return values.reshape(())
        return values.reshape([-1 if i == axis % rank else 1 for i in range(rank)])

    def _dequantised(self, name: str, scale: str, zero: str, axis: int, tensors: dict[str, np.ndarray]) -> np.ndarray:
        q = self._integers(name, tensors)
        offset = self._along(zero, q.ndim, axis) if zero else 0.0
        return (q - offset) * self._along(scale, q.ndim, axis)

    def _node(self, node: Any, settings: dict[str, Any], tensors: Any, reals: dict[str, Real]) -> Real | Steps | None:
        names, kind = list(node.input), node.op_type
        if kind == "DequantizeLinear":
            zero = names[2] if len(names) > 2 else ""
            value = self._dequantised(names[0], names[1], zero, settings.get("axis", 1), tensors)
            return Real(value, U * abs(value))
        if kind == "QuantizeLinear":
            if names[0] in self.constants:
                return None
            x = reals[names[0]] if names[0] in reals else Real(self._integers(names[0], tensors), np.zeros(1))
            scale = self._along(names[1], x.value.ndim, settings.get("axis", 1))
            steps = x.value / scale
            return self._rounding(steps, x.error / scale + U * (abs(steps) + x.error / scale), names[2])
        if kind.startswith("QLinear") or kind == "QGemm":
            steps = self._kernel(kind, names, settings, tensors)
            return replace(steps, is_followed=kind not in ("QLinearAdd", "QLinearAveragePool"))
        if any(name in reals for name in names):
            exact = np.zeros(())
            return float_operator(
                kind,
                [reals[n] if n in reals else Real(self.constants[n].astype(np.float64), exact) for n in names],
                settings,
            )
        return self._on_integers(kind, names, settings, node.output[0], tensors)

    def _on_integers(self, kind: str, names: list[str], settings: dict[str, Any], output: str, tensors: Any) -> None:
        """Operators that pick or move integers; they are exact."""
        x = self._integers(names[0], tensors)
        operands = [Real(x, np.zeros_like(x)), *(Real(self.constants[n].astype(np.float64), x) for n in names[1:])]
        result = float_operator(kind, operands, settings).value
        if output in tensors:
            assert (tensors[output] == result).all(), f"{kind} {output!r}"
        tensors[output] = result

    def _rounding(self, value: np.ndarray, error: np.ndarray, zero: str, *, inside: bool = False) -> Steps:
        constant = self.constants[zero]
        return Steps(value, error, int(constant.reshape(-1)[0]), LIMITS[str(constant.dtype)], inside)

    def _kernel(self, kind: str, names: list[str], settings: dict[str, Any], tensors: Any) -> Steps:
        """ONNX Runtime's kernels: which of their operations round, and where the zero point is added."""

        def scale(index: int) -> float:
            return float(self.constants[names[index]].reshape(-1)[0])

        if kind == "QLinearConcat":
            y, zero = scale(0), names[1]
            parts = [
                self._dequantised(*names[i : i + 3], 1, tensors) / y  # type: ignore[call-arg]
                for i in range(2, len(names), 3)
            ]
            value = np.concatenate(parts, axis=settings["axis"])
            return self._rounding(value, 3 * U * abs(value), zero)
        x = self._dequantised(names[0], names[1], names[2], 1, tensors)
        if kind in ("QLinearConv", "QLinearMatMul", "QGemm"):
            axis = 0 if kind == "QLinearConv" or settings.get("transB") else 1
            w = self._dequantised(names[3], names[4], names[5], axis, tensors)
            place, bias = (7, names[6]) if kind == "QGemm" else (6, names[8] if len(names) > 8 else "")
            value = product(kind, x, w, settings)
            if bias:
                unit = self.constants[names[1]].astype(np.float64) * self.constants[names[4]].astype(np.float64)
                shape = (-1, *(1,) * (x.ndim - 2)) if kind == "QLinearConv" else (-1,)
                value = value + (self.constants[bias] * unit).reshape(shape)
            value = value * float(np.float32(settings.get("alpha", 1.0))) / scale(place)
            # The sum as float32, the product of two scales and alpha, the quotient by the third, and their product.
            return self._rounding(value, 6 * U * abs(value), names[place + 1])
        if kind in ("QLinearAdd", "QLinearMul"):
            z = self._dequantised(names[3], names[4], names[5], 1, tensors)
            y, zero = scale(6), abs(float(self.constants[names[7]].reshape(-1)[0]))
            if kind == "QLinearMul":
                value = x * z / y
                return self._rounding(value, 5 * U * (abs(value) + zero), names[7], inside=True)
            # a * r + b * s + (zero - (za * r + zb * s)), each product on its own.
            r, s = (
                scale(i) / y * (abs(self._integers(names[i - 1], tensors)) + abs(float(self.constants[names[i + 1]])))
                for i in (1, 4)
            )
            return self._rounding((x + z) / y, 8 * U * (r + s + zero), names[7], inside=True)
        y, zero = scale(3), abs(float(self.constants[names[4]].reshape(-1)[0]))
        if kind == "QLinearAveragePool":
            value, count = averages(x, settings)
            error = (count + 4) * U * (averages(abs(x), settings)[0] / y + zero)
            return self._rounding(value / y, error, names[4], inside=True)
        if kind == "QLinearGlobalAveragePool":
            value = averages(x, {})[0] / y
            return self._rounding(value, 5 * U * abs(value), names[4])
        if kind == "QLinearSigmoid":
            value = sigmoid(x) / y
            return self._rounding(value, (U * abs(x) / 4 + SIGMOID_ERROR) / y + 2 * U * value, names[4])
        if kind == "QLinearLeakyRelu":
            slope = float(np.float32(settings.get("alpha", 0.01)))
            value = np.where(x < 0, slope * x, x) / y
            return self._rounding(value, 4 * U * abs(value), names[4])
        raise AssertionError(f"the judge does not know {kind}")
