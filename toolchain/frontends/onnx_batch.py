# SPDX-License-Identifier: Apache-2.0
"""Files whose Reshape nodes name a batch of their own, so that they run with any."""

from __future__ import annotations

from typing import Any

#: Operations that may fix the batch's size.
_FIXES_BATCH = ("Reshape", "Expand", "Tile", "Resize", "Upsample", "Slice", "Concat")


def free_batch(proto: Any) -> tuple[Any, bool]:
    """(a copy of the model whose constant Reshape targets keep the batch of their data, whether another node may fix it).

    proto: a model that the frontend has read, in which every Reshape keeps the batch as the first axis.
    """
    import numpy as np
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    constants[node.output[0]] = attribute.t
    fixes = False
    for number, node in enumerate(graph.node):
        if node.op_type not in _FIXES_BATCH or node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Reshape" and len(node.input) == 2 and node.input[1] in constants:
            target = onnx.numpy_helper.to_array(constants[node.input[1]]).astype(np.int64)
            if node.input[0] in constants or target.size == 0:
                continue
            name = f"{node.input[1]}/any batch {number}"
            # 0 is the data's own size there.
            graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, *target[1:]], np.int64), name))
            node.input[1] = name
            for attribute in [a for a in node.attribute if a.name == "allowzero"]:
                node.attribute.remove(attribute)
        elif node.op_type == "Slice" and not _cuts_batch(node, constants):
            continue
        elif node.op_type == "Concat" and not any(name in constants for name in node.input):
            continue  # constants have a batch of 1
        elif node.op_type in ("Resize", "Upsample") and not (len(node.input) > 3 and node.input[3]):
            continue  # by factors, of which the batch's is 1
        else:
            fixes = True
    return copy, fixes


def _cuts_batch(node: Any, constants: dict[str, Any]) -> bool:
    """Whether a Slice names the first axis, or axes that are not known."""
    import onnx

    named = [list(a.ints) for a in node.attribute if a.name == "axes"]
    if len(node.input) > 3 and node.input[3]:
        if node.input[3] not in constants:
            return True
        named.append(onnx.numpy_helper.to_array(constants[node.input[3]]).reshape(-1).tolist())
    return not named or any(axis <= 0 for axis in named[0])
