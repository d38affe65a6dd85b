# SPDX-License-Identifier: Apache-2.0
"""The integer graph as an ONNX model of standard operators on floats that hold integers.

Exact within the bound that `float_exactness` checks first. It is what a processor runs fast; the exact exchange of a
graph with other tools is QONNX and no part of this package. Tensors are (batch, *shape); channels are the last axis. How an
operation is written is a function under ``@lowers(...)`` in one of the modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolchain.ir import Graph, Input, TensorType
from toolchain.measure.onnx_lowering import arithmetic, moving, requantise, selecting, windows
from toolchain.measure.onnx_lowering.writer import LOWERINGS, Writer

if TYPE_CHECKING:
    import onnx

__all__ = ["LOWERINGS", "onnx_model"]

#: The modules that register lowerings when they are imported.
_MODULES = (arithmetic, moving, requantise, selecting, windows)
_OPSET = 17
_IR_VERSION = 8


def onnx_model(graph: Graph, dtype: str) -> onnx.ModelProto:
    """A model with float inputs `input_<i>` and outputs `output_<i>`, in the graph's order, of any batch size.

    dtype: 'float32' or 'float64', as `float_exactness.float_precision` found.
    """
    import onnx
    from onnx import helper

    writer = Writer(dtype)
    element = helper.np_dtype_to_tensor_dtype(writer.dtype)

    def described(name: str, tensor: TensorType) -> Any:
        return helper.make_tensor_value_info(name, element, ["batch", *tensor.shape])

    names: dict[str, str] = {}
    inputs: list[Any] = []
    outputs: list[Any] = []
    for node in graph.nodes:
        if isinstance(node.operation, Input):
            names[node.name] = f"input_{len(inputs)}"
            inputs.append(described(names[node.name], graph.types[node.name]))
    for node in graph.nodes:
        if not isinstance(node.operation, Input):
            operands = [names[name] for name in node.inputs]
            result = LOWERINGS[type(node.operation)](node.operation, graph.input_types(node), writer, *operands)
            # A constant is one sample, the same for the whole batch.
            names[node.name] = result if operands else _repeated(writer, result, graph.types[node.name])
    for index, output in enumerate(graph.outputs):
        writer.nodes.append(helper.make_node("Identity", [names[output.tensor]], [f"output_{index}"]))
        outputs.append(described(f"output_{index}", graph.types[output.tensor]))
    body = helper.make_graph(writer.nodes, "integer_graph", inputs, outputs, writer.constants)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="bitwright"
    )
    onnx.checker.check_model(model)
    return model


def _repeated(writer: Writer, sample: str, tensor: TensorType) -> str:
    """One sample as often as the first input has samples."""
    batch = writer.node("Shape", "input_0", start=0, end=1)
    return writer.node("Expand", sample, writer.node("Concat", batch, writer.whole(tensor.shape), axis=0))
