# SPDX-License-Identifier: Apache-2.0
"""Small float ONNX networks for the tests of post-training quantisation, built node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")


class FloatNet:
    """Builds a float ONNX graph. A node works on the current tensor, `last`, unless others are named, and gives the next one."""

    def __init__(self, *shape: int, seed: int = 5, opset: int = 18) -> None:
        self.random, self.opset, self.shape = np.random.default_rng(seed), opset, shape
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = "x"

    def constant(self, array: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def weights(self, *shape: int, spread: float = 0.5) -> str:
        return self.constant(self.random.normal(0, spread, shape).astype(np.float32))

    def node(self, kind: str, *operands: str, name: str = "", outputs: int = 1, **attributes: Any) -> FloatNet:
        name = name or f"{kind.lower()}{len(self.nodes)}"
        results = [f"{name}_out{i or ''}" for i in range(outputs)]
        self.nodes.append(onnx.helper.make_node(kind, list(operands) or [self.last], results, name, **attributes))
        self.last = results[0]
        return self

    def then(self, kind: str, *constants: Any, **attributes: Any) -> FloatNet:
        """A node on the current tensor and constants."""
        return self.node(kind, self.last, *(self.constant(value) for value in constants), **attributes)

    def conv(self, inputs: int, outputs: int, window: int = 3, *, bias: bool = True, **attributes: Any) -> FloatNet:
        groups = attributes.get("group", 1)
        operands = [self.last, self.weights(outputs, inputs // groups, window, window)]
        operands += [self.weights(outputs)] if bias else []
        return self.node("Conv", *operands, **{"pads": [window // 2] * 4, **attributes})

    def dense(self, inputs: int, outputs: int) -> FloatNet:
        return self.node("Gemm", self.last, self.weights(inputs, outputs), self.weights(outputs))

    def proto(self) -> Any:
        info, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self.nodes,
            "float",
            [info("x", kind, ["batch", *self.shape])],
            [info(self.last, kind, ["batch", None])],
            self.constants,
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", self.opset)], ir_version=10)

    def save(self, path: Path) -> Path:
        onnx.save(self.proto(), path)
        return path


def convolutional(seed: int = 5, opset: int = 18) -> FloatNet:
    """Convolutions with a batch norm, a branch, pools, a grouped convolution and two dense layers."""
    net = FloatNet(2, 8, 8, seed=seed, opset=opset).conv(2, 4)
    norm = (
        np.array([1.5, 0.5, 1, 2]),
        np.array([0, 0.25, -1, 1]),
        np.array([0.5, 0, -0.5, 1]),
        np.array([1, 2, 0.5, 3]),
    )
    net.then("BatchNormalization", *(values.astype(np.float32) for values in norm)).node("Relu")
    branch = net.last
    net.conv(4, 4, bias=False, group=2)
    net.node("Add", net.last, branch).node("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).node("Relu")
    net.conv(4, 6).node("LeakyRelu", alpha=0.125).node("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    net.node("Flatten").dense(24, 8).node("Relu").dense(8, 3)
    return net.node("Softmax", axis=-1)


def everything() -> FloatNet:
    """What else is quantised or moved: concatenation, functions, two-operand products, affine steps on the host and inside."""
    net = FloatNet(3, 6, 6)
    net.then("Sub", np.float32(0.5)).then("Div", np.float32(0.25))
    net.conv(3, 4).node("Sigmoid")
    left = net.last
    net.conv(4, 4).then("Clip", np.float32(-1), np.float32(2.5))
    net.node("Concat", left, net.last, axis=1)
    net.node("GlobalAveragePool").node("Flatten")
    net.then("Mul", np.float32(1.5)).then("Add", net.random.normal(size=8).astype(np.float32))
    net.node("MatMul", net.last, net.weights(8, 6)).then("Add", net.random.normal(size=6).astype(np.float32))
    gate = net.last
    net.node("Tanh").node("Mul", net.last, gate)
    return net.dense(6, 4)
