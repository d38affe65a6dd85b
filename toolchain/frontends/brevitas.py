# SPDX-License-Identifier: Apache-2.0
"""Brevitas modules to the integer graph, by way of their QONNX export."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import io
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolNotFound, UnsupportedModel, UsageError
from toolchain.frontends.imported import ImportedModel
from toolchain.frontends.qonnx import import_proto
from toolchain.frontends.qonnx_file import load_onnx


def import_module(
    module: Any,
    input_shape: tuple[int, ...] | None,
    *,
    input_type: str | None = None,
    input_range: tuple[float, float] | None = None,
) -> ImportedModel:
    """Convert a torch module of Brevitas layers.

    module: in evaluation mode or not; it is evaluated as model.eval() and its mode is put back.
    input_shape: the shape of one sample, without the batch. Other parameters and errors as for the other frontends.
    """
    if input_shape is None:
        raise UsageError("a torch module does not know its input's shape: give input_shape, for example (64,)")
    _require_finite(module)
    name = type(module).__name__
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_module(module, input_shape, path)
        proto = load_onnx(path)
    imported = import_proto(proto, input_type=input_type, input_range=input_range, where=f"module {name}")
    graph = replace(imported.graph, name=name, metadata={**imported.graph.metadata, "framework": version()})
    if graph.outputs[0].host_function:
        raise UnsupportedModel(
            f"module {name}: ends in {graph.outputs[0].host_function}; let the module return what comes before it"
        )
    return replace(imported, graph=graph, framework=version(), run=_framework_run(module))


def export_module(module: Any, input_shape: tuple[int, ...], path: Path) -> None:
    """Write a torch module of Brevitas layers as one QONNX file.

    Nodes are named by the module that they belong to: 'dense_1' for what QuantLinear 'dense_1' computes, 'relu_1' for the
    quantiser of QuantReLU 'relu_1', with what they do after a slash for the others. The exporter's notes on source files and
    line numbers are left out. Raises UnsupportedModel where Brevitas cannot export the module.
    """
    try:
        import onnx
        import torch
        from brevitas.export import export_qonnx
    except ImportError as error:
        raise ToolNotFound(
            f"Brevitas cannot be imported ({error}); install it with: pip install 'bitwright[brevitas]'"
        ) from None
    was_training = module.training
    module.eval()
    try:
        with _quiet():
            example = torch.zeros((1, *input_shape))
            export_qonnx(module, args=example, export_path=str(path), external_data=False)
    except Exception as error:  # the exporter runs the user's module, which may fail in any way
        reason = str(error).strip().partition("\n")[0]
        raise UnsupportedModel(
            f"module {type(module).__name__}: Brevitas cannot export it to QONNX ({type(error).__name__}: {reason})"
        ) from None
    finally:
        module.train(was_training)
    proto = onnx.load_model(path)
    _name_nodes(proto)
    onnx.save_model(proto, path)


#: The parts of a Brevitas layer that quantise something; what follows them in a module's path is Brevitas's own.
_QUANTISERS = ("act_quant", "weight_quant", "bias_quant", "input_quant", "output_quant")


def _name_nodes(proto: Any) -> None:
    """Names from the module paths that torch notes on each node, and nothing else of its notes."""
    taken: set[str] = set()
    for node in proto.graph.node:
        notes = {note.key: note.value for note in node.metadata_props}
        name = _module_path(notes.get("pkg.torch.onnx.name_scopes", ""), node.op_type)
        if name:
            unique, number = name, 1
            while unique in taken:
                number += 1
                unique = f"{name}_{number}"
            node.name = unique
        taken.add(node.name)
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]


def _module_path(scopes: str, operation: str) -> str:
    """'' where torch noted no path. scopes: a list of text literals, outermost first, the last the node's own name."""
    try:
        path = ast.literal_eval(scopes)[-2]
    except (ValueError, SyntaxError, IndexError, TypeError):
        return ""
    if not isinstance(path, str) or not path:
        return ""
    layer: list[str] = []
    for part in path.split("."):
        if part in _QUANTISERS:
            own = part == "act_quant"
            name = ".".join(layer)
            if own:
                return name if operation == "Quant" else f"{name}/{operation.lower()}"
            return f"{name}/{part}"
        layer.append(part)
    return ".".join(layer)


def version() -> str:
    """'brevitas 0.13.4'."""
    return f"brevitas {importlib.metadata.version('brevitas')}"


def load_weights(module: Any, path: Path) -> None:
    """Load a state_dict that holds tensors only (torch.load with weights_only: nothing in the file can run)."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds for a file that is damaged or holds objects
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: not a checkpoint of tensors only ({type(error).__name__}: {reason})") from None
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: does not fit module {type(module).__name__}: {reason}") from None


def _require_finite(module: Any) -> None:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UnsupportedModel(
                f"module {type(module).__name__}: tensor {name!r} holds NaN or infinity; all must be finite"
            )


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the exporter's progress on standard output and its notes on optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _framework_run(module: Any) -> Callable[[np.ndarray], np.ndarray]:
    def run(x: np.ndarray) -> np.ndarray:
        import torch

        was_training = module.training
        module.eval()
        try:
            with torch.no_grad():
                result = module(torch.tensor(np.asarray(x, dtype=np.float32)))
        finally:
            module.train(was_training)
        return np.asarray(getattr(result, "value", result))

    return run
