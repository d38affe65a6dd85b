# SPDX-License-Identifier: Apache-2.0
"""Executing a model with ONNX Runtime as it is written: on the CPU, one thread, no graph optimisations.

One thing is written differently. Where a tensor and its weights are of different signedness, ONNX Runtime's kernels for x86
processors with AVX2 or AVX-512 but without VNNI add pairs of products in 16 bits and saturate there (64 products of 255 and 127
gave 1048544 instead of 2072640), so that the result is not the operator's. Such weights are handed over in the tensor's type, 128
more or less with a zero point that is 128 more or less: the same numbers, and kernels that are exact on every processor.

Another kernel is left as it is: QuantizeLinear of float16 tensors cuts towards zero on the CPU (version 1.25), where ONNX and the
graph round to nearest. A comparison shows that difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from toolchain.errors import InputError

#: ONNX Runtime's names of the types that an input may have.
_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(uint16)": np.uint16, "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
}  # fmt: skip
#: Operators that multiply integers: the operands (tensor's zero point, weights, weights' zero point).
_PRODUCTS = {
    "QLinearConv": (2, 3, 5), "QLinearMatMul": (2, 3, 5), "QGemm": (2, 3, 5), "ConvInteger": (2, 1, 3), "MatMulInteger": (2, 1, 3),
}  # fmt: skip


def session(proto: Any) -> Any:
    """An ONNX Runtime session for a model. Raises InputError for one that it does not take."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    try:
        data = with_alike_weights(proto).SerializeToString()
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own in common
        raise InputError(f"ONNX Runtime cannot execute the model: {_first_line(error)}") from None


def execute(loaded: Any, feeds: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
    """The tensors `outputs` of a session for inputs by name, which are cast to the types that the model declares."""
    kinds = {value.name: _TYPES.get(value.type, np.float32) for value in loaded.get_inputs()}
    names = list(dict.fromkeys(outputs))
    try:
        results = loaded.run(names, {name: array.astype(kinds[name]) for name, array in feeds.items() if name in kinds})
    except Exception as error:
        raise InputError(f"ONNX Runtime cannot execute the model: {_first_line(error)}") from None
    by_name = dict(zip(names, results, strict=True))
    return [np.asarray(by_name[name]) for name in outputs]


def float32_operator(kind: str, x: np.ndarray) -> np.ndarray:
    """ONNX Runtime's own values of an operator without attributes, element by element: float64 -> float32 -> float64."""
    return execute(_operator_session(kind), {"x": x.reshape(-1)}, ["y"])[0].astype(np.float64).reshape(x.shape)


@cache
def _operator_session(kind: str) -> Any:
    from onnx import TensorProto, helper

    x, y = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])] for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node(kind, ["x"], ["y"])], kind, x, y)
    return session(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def with_alike_weights(proto: Any) -> Any:
    """A copy of the model in which 8-bit weights are of the type of the tensor they meet; `proto` itself without products."""
    import onnx
    from onnx import TensorProto

    if not any(node.op_type in _PRODUCTS for node in proto.graph.node):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(copy).graph
    codes = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    codes.update({name: tensor.data_type for name, tensor in constants.items()})
    for node in graph.node:
        if node.op_type not in _PRODUCTS:
            continue
        zero, weights, weights_zero = _PRODUCTS[node.op_type]
        names = [*node.input, *[""] * (weights_zero + 1 - len(node.input))]
        kinds = codes.get(names[zero] or names[0]), codes.get(names[weights])
        if set(kinds) != {TensorProto.UINT8, TensorProto.INT8}:
            continue
        kind, shift = (np.uint8, 128) if kinds[0] == TensorProto.UINT8 else (np.int8, -128)
        if names[weights] not in constants or (names[weights_zero] and names[weights_zero] not in constants):
            continue
        for place in (weights, weights_zero):
            tensor = constants.get(names[place])
            integers = np.zeros(()) if tensor is None else onnx.numpy_helper.to_array(tensor)
            names[place] = f"{names[place]}/{node.output[0]}/{place}/alike"
            shifted = (integers.astype(np.int16) + shift).astype(kind)
            graph.initializer.append(onnx.numpy_helper.from_array(shifted, names[place]))
        del node.input[:]
        node.input.extend(names)
    return copy
