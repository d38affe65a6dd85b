# SPDX-License-Identifier: Apache-2.0
"""The values of a graph's tensors for samples, executed by ONNX Runtime as the graph is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolNotFound
from toolchain.frontends.onnx_batch import free_batch

#: A function from samples (n, *input shape) to the values of tensors by name.
Run = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def runner(proto: Any, tensors: Sequence[str]) -> Run:
    """A function that gives the values of `tensors`.

    proto: a ModelProto with one real input, of plain ONNX operations. Raises InputError for what ONNX Runtime cannot execute.
    """
    constants = {tensor.name for tensor in proto.graph.initializer}
    (source,) = [value.name for value in proto.graph.input if value.name not in constants]
    # The input is given as it is: as an output, ONNX Runtime would hand back memory that is no longer its own.
    computed = [tensor for tensor in dict.fromkeys(tensors) if tensor != source]
    if not computed:
        return lambda x: {source: x}
    ending, one_by_one = free_batch(_ending_at(proto, computed))
    session = _session(ending)

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        real = np.asarray(x, np.float32)
        step = 1 if one_by_one else len(real)
        parts = []
        for start in range(0, len(real), step):
            try:
                parts.append(session.run(computed, {source: real[start : start + step]}))
            except Exception as error:  # its errors have no class in common
                raise InputError(f"ONNX Runtime cannot execute the model: {_first_line(error)}") from None
        values = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return {**dict(zip(computed, values, strict=True)), source: x}

    return run


def _ending_at(proto: Any, tensors: Sequence[str]) -> Any:
    """A copy of the model that ends at `tensors`, of any batch."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    needed, kept = set(tensors), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:], graph.value_info[:], graph.output[:]
    graph.node.extend(reversed(kept))
    graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    for value in graph.input:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].Clear()
    return copy


def _session(proto: Any) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ToolNotFound(
            f"onnxruntime cannot be imported ({error}); install it with: pip install 'bitwright[post-training]'"
        ) from None
    options = onnxruntime.SessionOptions()
    # Optimisations would replace operations by others that round elsewhere.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"ONNX Runtime cannot execute the model: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
