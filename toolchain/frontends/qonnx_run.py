# SPDX-License-Identifier: Apache-2.0
"""QONNX's own execution of a file: the framework side of the comparison."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolNotFound

#: Samples in one execution.
_CHUNK_SAMPLES = 1024


def version() -> str:
    """'qonnx 1.0.0'."""
    try:
        return f"qonnx {importlib.metadata.version('qonnx')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise ToolNotFound("qonnx is not installed; install it with: pip install 'bitwright[qonnx]'") from error


def framework_run(proto: Any, input_name: str, output_name: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from real inputs (samples, *shape) to the real values of tensor `output_name`, executed by qonnx.

    The file is executed with all samples of a chunk as one batch; one by one where a Reshape in it fixes the batch.
    proto: a checked ModelProto; only operations that the frontend knows are in it.
    """
    one_by_one = any(node.op_type == "Reshape" for node in proto.graph.node)

    def run(x: np.ndarray) -> np.ndarray:
        real = np.asarray(x, dtype=np.float32)
        step = 1 if one_by_one else _CHUNK_SAMPLES
        parts = []
        models: dict[int, Any] = {}
        for start in range(0, len(real), step):
            chunk = real[start : start + step]
            if len(chunk) not in models:
                models[len(chunk)] = _with_batch(proto, input_name, output_name, len(chunk))
            parts.append(_execute(models[len(chunk)], input_name, output_name, chunk))
        if not parts:
            raise InputError(f"input {input_name!r}: no samples")
        return np.concatenate(parts)

    return run


def _with_batch(proto: Any, input_name: str, output_name: str, batch: int) -> Any:
    """A qonnx ModelWrapper that ends at `output_name`, with all shapes worked out for a batch."""
    import onnx
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    last = max(i for i, node in enumerate(graph.node) if output_name in node.output)
    del graph.node[last + 1 :]
    del graph.value_info[:]
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(output_name, onnx.TensorProto.FLOAT, None))
    for value in graph.input:
        if value.name == input_name:
            value.type.tensor_type.shape.dim[0].Clear()
            value.type.tensor_type.shape.dim[0].dim_value = batch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ModelWrapper(copy).transform(InferShapes())


def _execute(model: Any, input_name: str, output_name: str, chunk: np.ndarray) -> np.ndarray:
    from qonnx.core.onnx_exec import execute_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(execute_onnx(model, {input_name: chunk})[output_name])
