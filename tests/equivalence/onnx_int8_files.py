# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files with integer operators for the tests, built node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx_int8_bench import MICROSOFT

from toolchain.frontends import LoadedModel, load_model
from toolchain.ir import interpret, quantise_input, real_values
from toolchain.verify.framework import compare_framework

helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto
#: Operators of ONNX itself whose names are like those of ONNX Runtime's domain.
OF_ONNX = ("QLinearConv", "QLinearMatMul")
Shape = Sequence[int | str]


class File:
    """A file, node by node: arrays among the operands become constants."""

    def __init__(self, opset: int = 17, ir_version: int = 8, **inputs: tuple[int, Shape]) -> None:
        self.opset, self.ir_version, self.inputs = opset, ir_version, inputs
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, *operands: Any, domain: str = "", **settings: Any) -> str:
        names = []
        for operand in operands:
            if isinstance(operand, str):
                names.append(operand)
                continue
            names.append(f"c{len(self.constants)}")
            self.constants.append(numpy_helper.from_array(np.asarray(operand), names[-1]))
        output = f"t{len(self.nodes)}"
        is_microsoft = kind == "QGemm" or (kind.startswith("QLinear") and kind not in OF_ONNX)
        domain = domain or (MICROSOFT if is_microsoft else "")
        self.nodes.append(
            helper.make_node(kind, names, [output], name=f"n{len(self.nodes)}", domain=domain, **settings)
        )
        return output

    def proto(self, **outputs: tuple[int, Shape]) -> Any:
        ends = [
            [helper.make_tensor_value_info(name, *kind) for name, kind in values.items()]
            for values in (self.inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "file", *ends, self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=self.ir_version)

    def load(self, folder: Path, **outputs: tuple[int, Shape]) -> LoadedModel:
        path = folder / "file.onnx"
        onnx.save_model(self.proto(**outputs), path)
        return load_model(path)


def graph_result(model: LoadedModel, x: Any) -> np.ndarray:
    """The one output's real values for one array, or for several inputs by name."""
    feeds = x if isinstance(x, dict) else {model.graph.inputs[0].name: x}
    integers = {node.name: quantise_input(node, feeds[node.name]).integers for node in model.graph.inputs}
    (output,) = model.graph.outputs
    element = model.graph.types[output.tensor].element
    return real_values(output, element, interpret(model.graph, integers)[output.tensor])


def assert_equal(model: LoadedModel, x: Any) -> None:
    result = compare_framework(model, x)
    assert (result.differing_values, result.first_mismatch) == (0, None)
