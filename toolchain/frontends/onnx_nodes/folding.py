# SPDX-License-Identifier: Apache-2.0
"""Nodes that compute on constants only, evaluated once by onnx's own reference implementation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.quantiser import Constant

#: Operations of ONNX itself that are evaluated. None of them runs code of the file or grows without bound.
_FOLDABLE = {
    "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Reciprocal", "Neg", "Abs", "Exp", "Log", "Cast", "Concat", "Gather", "Slice",
    "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Shape", "Range", "ConstantOfShape", "Floor", "Ceil", "Round",
    "Min", "Max", "ReduceProd", "ReduceSum", "ReduceMean", "ReduceMax", "MatMul", "Identity", "Clip", "Equal", "Where", "Expand",
    "Tile", "Split", "Size", "Mod", "Greater", "Less", "Not", "And", "Or", "Relu", "Sigmoid", "Tanh", "Softmax", "BatchNormalization",
}  # fmt: skip
#: Elements that an evaluated constant may have: more is no constant of a real network.
_MAXIMUM_ELEMENTS = 1 << 28
#: Operations whose result's size is a value in the file.
_SIZED_BY_VALUES = {"Range", "ConstantOfShape", "Expand", "Tile"}


def is_foldable(node: Any) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in _FOLDABLE


def folded(node: Any, operands: Sequence[Constant | Any], opset: int, label: str) -> dict[str, Constant]:
    """The node's results by name; opset: the version of ONNX's operations that the file uses. Raises UnsupportedModel where it cannot be evaluated."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    arrays = [None if value is None else value.values for value in operands]
    if node.op_type in _SIZED_BY_VALUES:
        numbers = [float(np.abs(a).max(initial=0)) for a in arrays if a is not None]
        sizes = [prod(max(1, int(v)) for v in a.reshape(-1)) for a in arrays if a is not None and a.dtype.kind in "iu"]
        if max([*numbers, *sizes, 0]) > _MAXIMUM_ELEMENTS:
            raise UnsupportedModel(f"{label}: would make a constant of more than {_MAXIMUM_ELEMENTS} elements")
    names = [name for name in node.input if name]
    given = {name: array for name, array in zip(node.input, arrays, strict=True) if name and array is not None}
    inputs = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(given[name].dtype), given[name].shape
        )
        for name in dict.fromkeys(names)
    ]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "constant", inputs, outputs), opset_imports=[onnx.helper.make_opsetid("", opset)]
    )
    try:
        results = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # the evaluator raises many kinds for operands that do not fit
        reason = str(error).strip().partition("\n")[0][:200]
        raise UnsupportedModel(
            f"{label}: cannot be evaluated on its constants ({type(error).__name__}: {reason})"
        ) from None
    found = {}
    for output, result in zip(outputs, results, strict=True):
        array = np.asarray(result)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UnsupportedModel(f"{label}: gives NaN or infinity on its constants")
        found[output.name] = Constant(array)
    return found
