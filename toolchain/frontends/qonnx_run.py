# SPDX-License-Identifier: Apache-2.0
"""The file's own execution, by qonnx and ONNX Runtime: the framework side of the comparison."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolNotFound

#: Samples in one execution.
_CHUNK_SAMPLES = 1024
#: Operations that may fix the batch's size.
_FIXES_BATCH = ("Reshape", "Expand", "Tile", "Resize")


def version() -> str:
    """'qonnx 1.0.0'."""
    try:
        return f"qonnx {importlib.metadata.version('qonnx')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise ToolNotFound("qonnx is not installed; install it with: pip install 'bitwright[qonnx]'") from error


Real = np.ndarray | Mapping[str, np.ndarray]


def framework_run(proto: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Callable[[Real], Any]:
    """A function from real inputs to the real values of the tensors `outputs`, executed by qonnx.

    It takes one array (samples, *shape), or one by name where there are several inputs, and returns one array, or a list of
    arrays where there are several outputs. The file is executed with all samples of a chunk as one batch; one by one where an
    operation in it may fix the batch.
    proto: a checked ModelProto; only operations that the frontend knows are in it.
    """
    one_by_one = any(node.op_type in _FIXES_BATCH for node in proto.graph.node)
    models: dict[int, Any] = {}

    def run(x: Real) -> Any:
        feeds = dict(x) if isinstance(x, Mapping) else {inputs[0]: x}
        arrays = {name: np.asarray(array) for name, array in feeds.items()}
        samples = len(next(iter(arrays.values())))
        if not samples:
            raise InputError(f"input {inputs[0]!r}: no samples")
        step = 1 if one_by_one else _CHUNK_SAMPLES
        parts = []
        for start in range(0, samples, step):
            chunk = {name: array[start : start + step] for name, array in arrays.items()}
            size = len(next(iter(chunk.values())))
            if size not in models:
                models[size] = _with_batch(proto, inputs, outputs, size)
            parts.append(_execute(models[size], chunk, outputs))
        results = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return results[0] if len(outputs) == 1 else results

    return run


def _with_batch(proto: Any, inputs: Sequence[str], outputs: Sequence[str], batch: int) -> Any:
    """A qonnx ModelWrapper that ends at `outputs`, with all shapes worked out for a batch."""
    import onnx
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    kept.reverse()
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    del graph.output[:]
    for name in dict.fromkeys(outputs):
        kind = kinds.get(name) or onnx.TensorProto.FLOAT
        graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    for value in graph.input:
        if value.name in inputs:
            value.type.tensor_type.shape.dim[0].Clear()
            value.type.tensor_type.shape.dim[0].dim_value = batch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ModelWrapper(copy).transform(InferShapes())


def _execute(model: Any, chunk: dict[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
    import onnx
    from qonnx.core.onnx_exec import execute_onnx

    feeds = {}
    for value in model.model.graph.input:
        if value.name in chunk:
            kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            feeds[value.name] = chunk[value.name].astype(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = execute_onnx(model, feeds)
    return [np.asarray(results[name]) for name in outputs]
