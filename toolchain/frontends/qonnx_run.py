# SPDX-License-Identifier: Apache-2.0
"""The file's own execution: the framework side of the comparison.

Files with QONNX's operations are executed by qonnx, all others by ONNX Runtime as they are written: without graph optimisations,
which would replace operations by others that round elsewhere.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolNotFound, UnsupportedModel
from toolchain.frontends import onnx_session
from toolchain.frontends.onnx_batch import free_batch

#: Samples in one execution.
_CHUNK_SAMPLES = 1024


#: qonnx's own domains, and ONNX Runtime's.
QONNX_DOMAINS = ("qonnx.custom_op.general", "qonnx.custom_op.channels_last")
_MICROSOFT = "com.microsoft"


def version(proto: Any, where: str = "model") -> str:
    """The framework that executes a model: 'qonnx 1.0.0' or 'onnxruntime 1.25.1'.

    Raises UnsupportedModel for a file that mixes the operations of both, ToolNotFound where it is not installed.
    """
    domains = {node.domain for node in proto.graph.node}
    is_qonnx = not domains.isdisjoint(QONNX_DOMAINS)
    if is_qonnx and _MICROSOFT in domains:
        raise UnsupportedModel(
            f"{where}: uses operations of QONNX and of ONNX Runtime ({_MICROSOFT}), and no framework executes both; export the "
            "model with those of one"
        )
    name = "qonnx" if is_qonnx else "onnxruntime"
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError as error:
        raise ToolNotFound(f"{name} is not installed; install it with: pip install 'bitwright[qonnx]'") from error


Real = np.ndarray | Mapping[str, np.ndarray]
#: Of a tensor, None for the batch.
Shape = tuple[int | None, ...]


def framework_run(
    proto: Any, inputs: Sequence[str], results: Mapping[str, str], shapes: Mapping[str, Shape]
) -> Callable[[Real], Any]:
    """A function from real inputs to the real values of the file's outputs, executed by the framework of `version`.

    It takes one array (samples, *shape), or one by name where there are several inputs, and returns one array, or one by name
    where there are several outputs. The file is executed with all samples of a chunk as one batch; one by one where an
    operation in it may fix the batch.
    results: for each output's name the tensor whose values are wanted. shapes: of every tensor.
    proto: a checked ModelProto; only operations that the frontend knows are in it.
    """
    proto, one_by_one = free_batch(proto)
    with_qonnx = any(node.domain in QONNX_DOMAINS for node in proto.graph.node)
    models: dict[int, Any] = {}
    outputs = list(results.values())

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
            if not with_qonnx:
                if not models:
                    models[0] = onnx_session.session(_ending_at(proto, inputs, outputs))
                parts.append(onnx_session.execute(models[0], chunk, outputs))
                continue
            size = len(next(iter(chunk.values())))
            if size not in models:
                models[size] = _with_batch(proto, inputs, outputs, size, shapes)
            parts.append(_execute(models[size], chunk, outputs))
        whole = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return whole[0] if len(whole) == 1 else dict(zip(results, whole, strict=True))

    return run


def _ending_at(proto: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """A copy of the model that ends at `outputs`, with a batch of any size and no other shape fixed in it."""
    import onnx

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
        if name in kinds:
            graph.output.append(onnx.helper.make_tensor_value_info(name, kinds[name], None))
        else:
            graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    for value in graph.input:
        if value.name in inputs:
            value.type.tensor_type.shape.dim[0].Clear()
    return copy


def _with_batch(
    proto: Any, inputs: Sequence[str], outputs: Sequence[str], batch: int, shapes: Mapping[str, Shape]
) -> Any:
    """A qonnx ModelWrapper that ends at `outputs`, with all shapes worked out for a batch."""
    import onnx
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    copy = _ending_at(proto, inputs, outputs)
    for value in copy.graph.output:
        value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
    for value in copy.graph.input:
        if value.name in inputs:
            value.type.tensor_type.shape.dim[0].dim_value = batch
    # qonnx works out shapes in one pass, in which its own operations need those of their operands.
    ends = {value.name for value in (*copy.graph.input, *copy.graph.output, *copy.graph.initializer)}
    own = [node for node in copy.graph.node if node.domain in QONNX_DOMAINS]
    for name in dict.fromkeys(name for node in own for name in (*node.input, *node.output)):
        if name in shapes and name not in ends:
            shape = [batch if size is None else size for size in shapes[name]]
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            copy.graph.value_info.append(value)
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
        try:
            results = execute_onnx(model, feeds)
        except Exception as error:  # qonnx and the runtime below it raise many kinds
            reason = str(error).strip().partition("\n")[0][:300]
            raise InputError(f"qonnx cannot execute the model ({type(error).__name__}: {reason})") from error
    return [np.asarray(results[name]) for name in outputs]
