# SPDX-License-Identifier: Apache-2.0
"""Small QONNX files for the tests, built node by node, and the comparison of their execution with the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.errors import ToolchainError
from toolchain.frontends import LoadedModel, load_model
from toolchain.ir import Input
from toolchain.verify.framework import compare_framework

onnx = pytest.importorskip("onnx")
pytest.importorskip("qonnx")

helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto

GENERAL = "qonnx.custom_op.general"
CHANNELS_LAST = "qonnx.custom_op.channels_last"
#: Operations of qonnx's domain.
_GENERAL = {
    "Quant",
    "IntQuant",
    "BipolarQuant",
    "Trunc",
    "MultiThreshold",
    "FloatQuant",
    "MaxPoolNHWC",
    "QuantAvgPool2d",
}


class Net:
    """Builds small QONNX files. A node works on the current tensor, `last`, unless another is named, and gives the next one."""

    def __init__(self, *shape: int, seed: int = 3, opset: int = 18) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.versions = {GENERAL: 1}
        #: Name -> shape of a sample.
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.batch: int | str = 1
        #: Tensor -> ONNX's element type; the last tensor is the output where none is named.
        self.outputs: dict[str, int] = {}
        self.kinds: dict[str, int] = {}
        self.input("x", *(shape or (6,)))

    def input(self, name: str, *shape: int, kind: int = TensorProto.FLOAT) -> Net:
        self.inputs[name] = shape
        self.kinds[name] = kind
        self.last = name
        self.shape = shape
        return self

    def output(self, tensor: str | None = None, kind: int = TensorProto.FLOAT) -> Net:
        self.outputs[tensor or self.last] = kind
        return self

    def constant(self, values: Any) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(values)
        array = array if array.dtype.kind in "ib" and array.dtype != np.int32 else array.astype(np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(
        self,
        kind: str,
        *inputs: Any,
        name: str = "",
        tensor: str | None = None,
        domain: str | None = None,
        results: int = 1,
        **attributes: Any,
    ) -> Net:
        """inputs: names of tensors, '' for one that is left out, or constants."""
        domain = (GENERAL if kind in _GENERAL else "") if domain is None else domain
        names = [tensor or self.last] + [i if isinstance(i, str) else self.constant(i) for i in inputs]
        outputs = [f"t{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(results)]
        name = name or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, outputs, name=name, domain=domain, **attributes))
        self.last = outputs[0]
        return self

    def at(self, tensor: str) -> Net:
        """Go on from a tensor."""
        self.last = tensor
        return self

    def quant(
        self,
        scale: Any,
        bits: float,
        *,
        zero: Any = 0,
        signed: int = 1,
        narrow: int = 0,
        mode: str = "ROUND",
        **more: Any,
    ) -> Net:
        zero, bits = np.asarray(zero, np.float32), np.float32(bits)
        return self.node("Quant", scale, zero, bits, signed=signed, narrow=narrow, rounding_mode=mode, **more)

    def quantised(self, values: Any, scale: Any, bits: float = 4, **more: Any) -> str:
        """A quantised constant; the current tensor stays."""
        kept = self.last
        self.quant(scale, bits, narrow=1, tensor=self.constant(values), **more)
        result, self.last = self.last, kept
        return result

    def weights(self, shape: int | tuple[int, ...], scale: Any, bits: float = 4, **more: Any) -> str:
        """Quantised random weights, of shape (inputs, shape) where one number is given."""
        shape = (self.shape[-1], shape) if isinstance(shape, int) else shape
        return self.quantised(self.random.normal(0, 3 * np.mean(scale), shape), scale, bits, **more)

    def dense(self, outputs: int, scale: Any = 0.11, bits: float = 4) -> Net:
        self.node("MatMul", self.weights(outputs, scale, bits), name=f"dense{len(self.nodes)}")
        self.shape = (*self.shape[:-1], outputs)
        return self

    def proto(self) -> Any:
        sources = [
            helper.make_tensor_value_info(name, self.kinds[name], [self.batch, *shape])
            for name, shape in self.inputs.items()
        ]
        outputs = self.outputs or {self.last: TensorProto.FLOAT}
        results = [helper.make_tensor_value_info(name, kind, [self.batch, "outputs"]) for name, kind in outputs.items()]
        graph = helper.make_graph(self.nodes, "net", sources, results, self.constants)
        opsets = [helper.make_opsetid("", self.opset)]
        opsets += [helper.make_opsetid(domain, version) for domain, version in self.versions.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def save(self, folder: Path) -> Path:
        path = folder / "net.onnx"
        onnx.save_model(self.proto(), path)
        return path


def assert_equal(model: LoadedModel, x: Any) -> None:
    result = compare_framework(model, x)
    assert (result.differing_values, result.first_mismatch) == (0, None)
    assert result.vectors == len(next(iter(x.values())) if isinstance(x, dict) else x)


def half_steps(
    shapes: dict[str, tuple[int, ...]], step: float, span: float, samples: int, seed: int = 7
) -> dict[str, np.ndarray]:
    """For each input random multiples of half a step from -2 * span to 2 * span: ties and saturation are among them."""
    random = np.random.default_rng(seed)
    count = int(2 * span / step)
    return {
        name: (random.integers(-count, count + 1, (samples, *shape)) * (step / 2)).astype(np.float32)
        for name, shape in shapes.items()
    }


def check(
    net: Net,
    folder: Path,
    step: float | None = 0.25,
    span: float = 6.0,
    *,
    samples: int = 500,
    **settings: Any,
) -> LoadedModel:
    """Zero mismatches on inputs that are multiples of half of `step`, so that input ties are included.

    step None: inputs anywhere, for an input scale on whose ties float32 division decides by its own rounding error.
    """
    model = load_model(net.save(folder), **settings)
    if step is None:
        random = np.random.default_rng(7)
        feeds = {
            name: random.uniform(-span, span, (samples, *shape)).astype(np.float32)
            for name, shape in net.inputs.items()
        }
    else:
        feeds = half_steps(net.inputs, step, span, samples)
    assert_equal(model, feeds if len(feeds) > 1 else feeds["x"])
    for node in model.graph.inputs:
        assert isinstance(node.operation, Input)
        assert node.operation.sample_shape == net.inputs[node.name]
    return model


def kinds(model: LoadedModel) -> list[str]:
    return [node.operation.kind for node in model.graph.nodes]


def refusal(net: Net, folder: Path, **settings: Any) -> str:
    """What loading the file says, without the file's name."""
    file = net.save(folder)
    with pytest.raises(ToolchainError) as caught:
        load_model(file, **settings)
    return str(caught.value).removeprefix(f"{file}: ")


def size(shape: Sequence[int]) -> int:
    return prod(shape)
