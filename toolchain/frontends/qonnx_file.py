# SPDX-License-Identifier: Apache-2.0
"""QONNX files, opened safely: plain protobuf data, checked before anything interprets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolchain.errors import InputError, ToolNotFound, UnsupportedModel

#: Protobuf itself cannot hold more; models with their weights in separate files are refused.
MAXIMUM_BYTES = (2 << 30) - 1
#: QONNX looks custom operations up by importing a Python module of the domain's name, so no other domain may pass.
DOMAINS = (
    "", "ai.onnx", "qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general", "com.microsoft",
    "qonnx.custom_op.channels_last",
)  # fmt: skip
#: QONNX's operations, which old files put among ONNX's own, and other names that their domain has gone by.
_QONNX_OPERATIONS = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold")
_OLD_DOMAINS = ("onnx.brevitas", "finn.custom_op.general")


def import_onnx() -> Any:
    """The module `onnx`. Raises ToolNotFound where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise ToolNotFound(
            f"onnx cannot be imported ({error}); install it with: pip install 'bitwright[qonnx]'"
        ) from None
    return onnx


def _name_version_of_trunc(model: Any) -> None:
    """The one operation of QONNX that has two versions: which is meant, its operands tell better than files of old exporters."""
    operands = {len(node.input) for node in model.graph.node if node.op_type == "Trunc" and node.domain == DOMAINS[2]}
    if len(operands) == 1:
        for entry in model.opset_import:
            if entry.domain == DOMAINS[2]:
                entry.version = 2 if operands == {6} else 1


def _texts(model: Any) -> Iterator[str | bytes]:
    """Every name in the file that something looks at."""
    graph = model.graph
    yield graph.name
    for entry in model.opset_import:
        yield entry.domain
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.domain, node.op_type, node.name, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def load_onnx(path: Path) -> Any:
    """The ModelProto in a file.

    Raises InputError for what is missing, too large, not ONNX or against ONNX's rules; UnsupportedModel for weights in
    other files, functions, and operation sets other than ONNX's and QONNX's.
    """
    onnx = import_onnx()
    from google.protobuf.message import DecodeError

    try:
        size = path.stat().st_size
        if size > MAXIMUM_BYTES:
            raise InputError(f"{path}: {size} bytes, more than the {MAXIMUM_BYTES} allowed for an ONNX file")
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except DecodeError as error:
        raise InputError(f"{path}: not an ONNX file ({error})") from None
    if not model.graph.node:
        raise InputError(f"{path}: not an ONNX file, or one without operations")
    for text in _texts(model):
        if isinstance(text, bytes):  # what protobuf gives for text that cannot be decoded
            raise InputError(f"{path}: holds a name that is no UTF-8 text, {text[:40]!r}; the file is damaged")
    tensors = list(model.graph.initializer)
    tensors += [a.t for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.TENSOR]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise UnsupportedModel(
                f"{path}: tensor {tensor.name!r} is kept in another file; save the model as one file"
            )
    domains = sorted({str(entry.domain) for entry in (*model.graph.node, *model.opset_import)})
    unknown = [domain for domain in domains if domain not in DOMAINS]
    if unknown:
        raise UnsupportedModel(
            f"{path}: uses operations of domain {unknown[0]!r}; supported are ONNX's own and {DOMAINS[2]!r} (QONNX)"
        )
    if model.functions:
        raise UnsupportedModel(f"{path}: defines functions of its own ({model.functions[0].name!r}); inline them first")
    for node in model.graph.node:
        if node.domain in _OLD_DOMAINS or (node.op_type in _QONNX_OPERATIONS and node.domain in ("", "ai.onnx")):
            node.domain = DOMAINS[2]
    imported = {entry.domain for entry in model.opset_import}
    for domain in {node.domain for node in model.graph.node} - imported - {"ai.onnx"}:
        # Exporters of QONNX leave the version of its operations out.
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1 if domain else 18))
    _name_version_of_trunc(model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: not a valid ONNX model: {reason}") from None
    return model
