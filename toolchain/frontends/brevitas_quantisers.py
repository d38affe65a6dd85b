# SPDX-License-Identifier: Apache-2.0
"""Brevitas's quantisers where its export says something else than they do, and those that it cannot express."""

from __future__ import annotations

import ast
from typing import Any

from toolchain.errors import UnsupportedModel

#: Names of classes, anywhere among a quantiser's bases, whose results are no integers on one step, with what they are.
_REFUSED = {
    "FloatQuant": "quantises to small floating-point numbers (such as fp8), which are no integers on one step; use an integer "
    "quantiser (such as Int8ActPerTensorFloat)",
    "Groupwise": "has a scale for every few elements (MX), which is no integer arithmetic; use one scale, or one a channel",
    "DynamicActQuant": "takes its scale from the data at hand, so that every sample has another one; use a quantiser with a scale "
    "that training has fixed",
}


def refuse_quantisers(module: Any, where: str) -> None:
    """Raise UnsupportedModel for a quantiser that cannot become integer arithmetic, by its path in the module."""
    for path, part in module.named_modules():
        names = [cls.__name__ for cls in type(part).__mro__]
        if not any(name.endswith("QuantProxyFromInjectorBase") for name in names) or not part.is_quant_enabled:
            continue
        for kind, reason in _REFUSED.items():
            if any(name.startswith(kind) or f"{kind}Proxy" in name for name in names):
                raise UnsupportedModel(f"{where}: quantiser {path!r} {reason}")


def restore_bits(proto: Any, module: Any, where: str) -> None:
    """Put integer quantisers of one bit right, which Brevitas exports as if they gave -1 and +1.

    proto: as torch wrote it, with its notes of the module that each node belongs to. An unsigned quantiser of one bit gives 0 and
    1; a signed one, 0 and -1, has no counterpart in QONNX and is refused.
    """
    import numpy as np
    import onnx

    parts = dict(module.named_modules())
    for node in proto.graph.node:
        if node.op_type != "BipolarQuant":
            continue
        path = next((path for path in reversed(scopes_of(node)) if hasattr(parts.get(path), "quant_injector")), None)
        if path is None or any("BinaryQuant" in type(part).__name__ for part in parts[path].modules()):
            continue
        if parts[path].is_signed:
            raise UnsupportedModel(
                f"{where}: quantiser {path!r} gives 0 and -1 (one bit of a signed integer), which QONNX cannot say; use two bits, or "
                "a binary quantiser (SignedBinaryWeightPerTensorConst, SignedBinaryActPerTensorConst)"
            )
        names = [f"{path}/{part}" for part in ("zero point", "one bit")]
        for name, number in zip(names, (0, 1), strict=True):
            proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(number, np.float32), name))
        node.op_type = "Quant"
        node.input.extend(names)
        del node.attribute[:]
        options = {"signed": 0, "narrow": int(parts[path].is_narrow_range), "rounding_mode": parts[path].rounding_mode}
        node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in options.items())


def restore_weights(proto: Any, module: Any) -> None:
    """Put the quantised weights of each layer in the place of the raw ones, before they go through their Quant node.

    The node that Brevitas exports rounds to nearest, whatever the layer's own quantiser does (floor, rounding towards zero,
    learned rounding, weights within an accumulator's range); quantised weights stay what they are under it.
    """
    import onnx
    import torch

    parts = dict(module.named_modules())
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        path = next((p for p in reversed(scopes_of(node)) if p.endswith("weight_quant") and p in parts), None)
        if path is None or node.op_type not in ("Quant", "BipolarQuant") or node.input[0] not in constants:
            continue
        layer = parts[path.rpartition(".")[0]]
        with torch.no_grad():
            values = layer.quant_weight().value.cpu().numpy()
        raw = constants[node.input[0]]
        if tuple(raw.dims) == values.shape:
            raw.CopyFrom(onnx.numpy_helper.from_array(values, raw.name))


def scopes_of(node: Any) -> list[str]:
    """The paths of the modules that torch notes on a node, outermost first, and the node's own name at the end."""
    text = next((note.value for note in node.metadata_props if note.key == "pkg.torch.onnx.name_scopes"), "")
    try:
        scopes = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return []
    return [scope for scope in scopes if isinstance(scope, str)] if isinstance(scopes, list) else []
