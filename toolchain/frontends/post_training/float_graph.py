# SPDX-License-Identifier: Apache-2.0
"""Float ONNX graphs made ready: batch norms folded, constants named, rectifiers before pooling."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolNotFound, UnsupportedModel

#: Per-channel DequantizeLinear begins with this version of ONNX's operations, 16-bit integers with the other.
_PER_CHANNEL_OPSET, _WIDE_OPSET = 13, 21
_MAXIMUM_OPSET = 21


def constants_of(graph: Any) -> dict[str, np.ndarray]:
    """The graph's constants by name."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def opset_of(proto: Any) -> int:
    return max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def prepared(proto: Any, where: str, *, wide: bool) -> Any:
    """A copy of a float model with batch norms folded and constants evaluated.

    wide: whether integers of more than 8 bits will be written. Raises InputError for what ONNX Runtime cannot load,
    UnsupportedModel for a version of ONNX that does not convert.
    """
    from onnx import version_converter

    needed = _WIDE_OPSET if wide else _PER_CHANNEL_OPSET
    found = opset_of(proto)
    if found < needed or found > _MAXIMUM_OPSET:
        try:
            proto = version_converter.convert_version(proto, max(needed, min(found, _MAXIMUM_OPSET)))
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise UnsupportedModel(
                f"{where}: uses version {found} of ONNX's operations, and quantising needs {needed} to {_MAXIMUM_OPSET}; it cannot "
                f"be converted ({reason}). Export it with such a version"
            ) from None
    result = _optimised(proto, where)
    name_nodes(result.graph)
    _constants_as_initializers(result.graph)
    _rectify_before_pooling(result.graph)
    _require_one_real_input(result.graph, where)
    return result


def _optimised(proto: Any, where: str) -> Any:
    """The model after ONNX Runtime's basic optimisations, which keep to ONNX's operations: batch norms and additions become
    part of the layers before them, constants are evaluated."""
    import onnx

    try:
        import onnxruntime
    except ImportError as error:
        raise ToolNotFound(
            f"onnxruntime cannot be imported ({error}); install it with: pip install 'bitwright[post-training]'"
        ) from None
    # Its own function for this, quant_pre_process, throws the result away where it is not to infer symbolic shapes (1.25).
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3  # errors
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class in common
            reason = str(error).strip().partition("\n")[0][:300]
            raise InputError(f"{where}: ONNX Runtime cannot load it: {reason}") from None
        result = onnx.load_model(path)
    # It names every set of operations that it knows.
    used = {node.domain for node in result.graph.node} | {""}
    kept = [onnx.helper.make_opsetid(e.domain, e.version) for e in result.opset_import if e.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(kept)
    return result


def _require_one_real_input(graph: Any, where: str) -> None:
    from onnx import TensorProto

    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs)
        raise UnsupportedModel(f"{where}: has {len(inputs)} inputs ({names}); one is supported for quantisation")
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        raise UnsupportedModel(
            f"{where}: input {inputs[0].name!r} is of type {TensorProto.DataType.Name(kind)}; supported is FLOAT (the type in "
            "hardware is named with --input-type)"
        )
    for name, array in constants_of(graph).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UnsupportedModel(f"{where}: constant {name!r} holds NaN or infinity; all constants must be finite")


def name_nodes(graph: Any) -> None:
    """A name of its own for every node."""
    taken: set[str] = set()
    for node in graph.node:
        name = node.name or node.output[0]
        number = 1
        while name in taken:
            number += 1
            name = f"{node.name or node.output[0]}_{number}"
        node.name = name
        taken.add(name)


def _constants_as_initializers(graph: Any) -> None:
    from onnx import helper, numpy_helper

    kept = []
    for node in graph.node:
        values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            kept.append(type(node).FromString(node.SerializeToString()))
            continue
        if "value" in values:
            array = numpy_helper.to_array(values["value"])
        else:
            ((name, plain),) = values.items()
            array = np.array(plain, dtype=np.int64 if name.startswith("value_int") else np.float32)
        graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)


def _rectify_before_pooling(graph: Any) -> None:
    """Let a Relu that alone reads a MaxPool come before it: the result is the same, and what is pooled has fewer bits."""
    outputs = {value.name for value in graph.output}
    for pool in graph.node:
        readers = [node for node in graph.node if pool.output[0] in node.input]
        if pool.op_type != "MaxPool" or len(pool.output) > 1 or len(readers) != 1 or pool.output[0] in outputs:
            continue
        (relu,) = readers
        if relu.op_type != "Relu":
            continue
        # The nodes change what they do and keep their places and the tensors between them.
        first, second = pool.SerializeToString(), relu.SerializeToString()
        source, between, result = pool.input[0], pool.output[0], relu.output[0]
        pool.ParseFromString(second)
        relu.ParseFromString(first)
        pool.input[0], pool.output[0], relu.input[0], relu.output[0] = source, between, between, result
    # Shapes noted for the tensors between them no longer hold.
    del graph.value_info[:]
