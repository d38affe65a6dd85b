# SPDX-License-Identifier: Apache-2.0
"""Small int8 networks with random weights, written in ONNX's QDQ format or in the QOperator format from the same calls."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from onnx_int8_bench import CODES, LIMITS, MICROSOFT, Real, float_operator

#: Operators on quantised tensors, by the operator that they stand for; those without an entry work on integers as they are.
QUANTISED = {
    "Conv": "QLinearConv", "MatMul": "QLinearMatMul", "Gemm": "QGemm", "Add": "QLinearAdd", "Mul": "QLinearMul",
    "Concat": "QLinearConcat", "AveragePool": "QLinearAveragePool", "GlobalAveragePool": "QLinearGlobalAveragePool",
    "Sigmoid": "QLinearSigmoid", "LeakyRelu": "QLinearLeakyRelu",
}  # fmt: skip
OF_ONNX = ("QLinearConv", "QLinearMatMul")


class Network:
    """Each call adds an operator and its quantisation, and returns the name of the quantised result.

    form: 'QDQ' or 'QOperator'. exact: scales are powers of two. kind: the activations' type. weight_kind, per_channel,
    weight_zero: of the weights. Scales are chosen so that a few percent of the values saturate.
    """

    def __init__(
        self,
        form: str,
        random: np.random.Generator,
        shape: tuple[int, ...],
        *,
        exact: bool = False,
        kind: str = "uint8",
        weight_kind: str = "int8",
        per_channel: bool = False,
        weight_zero: bool = False,
        real_input: bool = True,
        opset: int = 17,
    ) -> None:
        self.form, self.random, self.exact, self.kind, self.opset = form, random, exact, kind, opset
        self.weight_kind, self.per_channel, self.weight_zero = weight_kind, per_channel, weight_zero
        self.shape, self.real_input = shape, real_input
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.parameters: dict[str, tuple[str, str]] = {}
        self.values: dict[str, np.ndarray] = {}
        self.final = ""
        if real_input:
            self.first = self._quantised(random.normal(0, 1, (64, *shape)), "x", "x")
        else:
            low, high = LIMITS[kind]
            self.first = "x"
            scale, zero = self._scale(0.02), self._zero()
            self.parameters["x"] = (self.constant(np.float32(scale)), self.constant(np.array(zero, kind)))
            self.values["x"] = (random.integers(low, high + 1, (64, *shape)) - zero) * scale

    # ---- parts -------------------------------------------------------------------------------------------------------
    def constant(self, values: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, names: list[str], output: str, **settings: Any) -> str:
        domain = MICROSOFT if kind in QUANTISED.values() and kind not in OF_ONNX else ""
        self.nodes.append(helper.make_node(kind, names, [output], name=f"{output}:{kind}", domain=domain, **settings))
        return output

    def _scale(self, value: float) -> float:
        return 2.0 ** round(np.log2(value)) if self.exact else float(np.float32(value))

    def _zero(self) -> int:
        low, high = LIMITS[self.kind]
        return int(self.random.integers(low + 60, high - 60))

    def _quantised(self, value: np.ndarray, tensor: str, name: str) -> str:
        """The quantisation of a real tensor, or only its parameters where an operator brings it along."""
        low, high = LIMITS[self.kind]
        scale, zero = self._scale(float(np.quantile(abs(value), 0.98)) / 100), self._zero()
        self.values[f"{name}:q"] = (np.clip(np.rint(value / scale) + zero, low, high) - zero) * scale
        self.parameters[f"{name}:q"] = (self.constant(np.float32(scale)), self.constant(np.array(zero, self.kind)))
        if tensor:
            self.node("QuantizeLinear", [tensor, *self.parameters[f"{name}:q"]], f"{name}:q")
        return f"{name}:q"

    def _real(self, tensor: str) -> str:
        name = f"{tensor}:{len(self.nodes)}:real"
        return self.node("DequantizeLinear", [tensor, *self.parameters[tensor]], name)

    def _weights(self, shape: tuple[int, ...], axis: int) -> tuple[list[str], np.ndarray, np.ndarray]:
        """(integers, scale, zero point), the real weights, the scale of each output."""
        low, high = LIMITS[self.weight_kind]
        count = shape[axis] if self.per_channel else 1
        scales = np.array([self._scale(s) for s in self.random.uniform(0.004, 0.03, count)], np.float32)
        zero = int(self.random.integers(low + 100, high - 100)) if self.weight_zero else (low + high + 1) // 2
        integers = self.random.integers(low, high + 1, shape)
        place = [-1 if i == axis else 1 for i in range(len(shape))]
        real = (integers - zero) * scales.astype(np.float64).reshape(place if self.per_channel else [1] * len(shape))
        zeros = np.full(count, zero)
        parts = (integers.astype(self.weight_kind), scales, zeros.astype(self.weight_kind))
        names = [self.constant(part if part.size > 1 or self.per_channel else part.reshape(())) for part in parts]
        return names, real, scales

    # ---- operators ---------------------------------------------------------------------------------------------------
    def product(self, kind: str, tensor: str, shape: tuple[int, ...], **settings: Any) -> str:
        """Conv, MatMul or Gemm with random weights; Conv and Gemm with a bias."""
        axis = 0 if kind == "Conv" or settings.get("transB") else 1
        names, weights, scales = self._weights(shape, axis)
        x_scale = numpy_helper.to_array(self._constant(self.parameters[tensor][0]))
        operands = [Real(v, np.zeros_like(v)) for v in (self.values[tensor], weights)]
        value = float_operator(kind, operands, settings).value
        bias = []
        if kind != "MatMul":
            unit = (x_scale * scales).astype(np.float32)
            spread = np.abs(value).mean() / float(unit.mean())
            integers = self.random.normal(0, spread, shape[axis]).astype(np.int32)
            real = integers * unit.astype(np.float64)
            value = value + real.reshape((-1, *(1,) * (value.ndim - 2)))
            bias = [self.constant(integers), self.constant(unit if self.per_channel else unit.reshape(()))]
        output = f"{kind.lower()}{len(self.nodes)}"
        if self.form == "QDQ":
            real_weights = self.node("DequantizeLinear", names, f"{output}:w", axis=axis)
            reals = [self._real(tensor), real_weights]
            if bias:
                reals.append(self.node("DequantizeLinear", bias, f"{output}:b", axis=0))
            return self._quantised(value, self.node(kind, reals, output, **settings), output)
        result = self._quantised(value, "", output)
        operands = [tensor, *self.parameters[tensor], *names]
        tail = [*bias[:1], *self.parameters[result]] if kind == "Gemm" else [*self.parameters[result], *bias[:1]]
        return self.node(QUANTISED[kind], [*operands, *tail], result, **settings)

    def operator(self, kind: str, *tensors: str, **settings: Any) -> str:
        """Any other operator; those that only pick or move integers keep the parameters of their operand."""
        operands = [Real(self.values[t], np.zeros_like(self.values[t])) for t in tensors]
        value = float_operator(kind, operands, settings).value
        output = f"{kind.lower()}{len(self.nodes)}"
        if kind not in QUANTISED:
            self.parameters[output], self.values[output] = self.parameters[tensors[0]], value
            return self.node(kind, [tensors[0]], output, **settings)
        if self.form == "QDQ":
            reals = [self._real(t) for t in tensors]
            return self._quantised(value, self.node(kind, reals, output, **settings), output)
        result = self._quantised(value, "", output)
        names = [name for t in tensors for name in (t, *self.parameters[t])]
        own = list(self.parameters[result])
        return self.node(QUANTISED[kind], own + names if kind == "Concat" else names + own, result, **settings)

    def _constant(self, name: str) -> Any:
        return next(tensor for tensor in self.constants if tensor.name == name)

    def end(self, tensor: str, *, real: bool = True) -> Any:
        """The checked model. real: the result is dequantised; else it stays an integer tensor."""
        name, code = (self._real(tensor), TensorProto.FLOAT) if real else (tensor, CODES[self.kind])
        first = TensorProto.FLOAT if self.real_input else CODES[self.kind]
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", first, ["N", *self.shape])],
            [helper.make_tensor_value_info(name, code, ["N", *self.values[tensor].shape[1:]])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        checker.check_model(model, full_check=True)
        return model


# ---- the networks of the tests ---------------------------------------------------------------------------------------
def mlp(network: Network) -> str:
    hidden = network.product("Gemm", network.first, (24, 16), transB=1)
    hidden = network.operator("LeakyRelu", hidden, alpha=0.25)
    hidden = network.product("MatMul", hidden, (24, 12))
    return network.product("Gemm", network.operator("Sigmoid", hidden), (12, 5))


def residual(network: Network) -> str:
    """Grouped and depthwise convolutions, a sum, a product and a concatenation of branches, all kinds of pooling."""
    first = network.product("Conv", network.first, (6, 3, 3, 3), pads=[1, 1, 1, 1])
    deep = network.product("Conv", first, (6, 1, 3, 3), pads=[1, 1, 1, 1], group=6)
    total = network.operator("Add", deep, first)
    halves = network.product("Conv", total, (4, 3, 1, 2), pads=[0, 1, 0, 0], group=2, strides=[1, 1])
    small = network.operator("MaxPool", total, kernel_shape=[2, 2], strides=[2, 2])
    mean = network.operator("AveragePool", halves, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    joined = network.operator("Concat", small, mean, axis=1)
    gated = network.operator("Mul", joined, joined)
    pooled = network.operator("Flatten", network.operator("GlobalAveragePool", gated))
    return network.product("Gemm", pooled, (10, 4))


def sequence(network: Network) -> str:
    """Convolutions along one axis: strided, dilated, padded on one side."""
    wide = network.product("Conv", network.first, (5, 2, 4), strides=[2], pads=[3, 0])
    far = network.product("Conv", wide, (4, 5, 3), dilations=[2], pads=[2, 2])
    mean = network.operator("AveragePool", far, kernel_shape=[4], strides=[2], pads=[1, 1], count_include_pad=1)
    return network.product("MatMul", network.operator("Flatten", mean), (mean_size(network, mean), 3))


def mean_size(network: Network, tensor: str) -> int:
    return int(np.prod(network.values[tensor].shape[1:]))


SHAPES = {"mlp": (16,), "residual": (3, 6, 6), "sequence": (2, 15)}
NETWORKS = {"mlp": mlp, "residual": residual, "sequence": sequence}
