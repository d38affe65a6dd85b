# SPDX-License-Identifier: Apache-2.0
"""Brevitas modules to the integer graph, by way of their QONNX export."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import logging
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolchainError, ToolNotFound, UnsupportedModel, UsageError
from toolchain.frontends.brevitas_cells import readers
from toolchain.frontends.brevitas_quantisers import refuse_quantisers, restore_bits, restore_weights, scopes_of
from toolchain.frontends.brevitas_recurrent import can_be_exported, recurrent_layers, taken_directly
from toolchain.frontends.brevitas_run import forward_of
from toolchain.frontends.imported import ImportedModel
from toolchain.frontends.input_types import InputTypes
from toolchain.frontends.qonnx import import_proto
from toolchain.frontends.qonnx_file import load_onnx

#: A checkpoint's tensors, as they expand.
MAXIMUM_CHECKPOINT_BYTES = 4 << 30

#: The shape of one sample; for a module with several inputs one for each, in the order of its arguments.
InputShape = Sequence[int] | Sequence[Sequence[int]]


def import_module(
    module: Any,
    input_shape: InputShape | None,
    *,
    input_type: InputTypes | str | Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
) -> ImportedModel:
    """Convert a torch module of Brevitas layers.

    module: in evaluation mode or not; it is evaluated as model.eval() and its mode is put back.
    input_shape: the shape of one sample, without the batch; one for each argument where the module takes several. Other parameters
        and errors as for the other frontends.
    """
    if input_shape is None:
        raise UsageError("a torch module does not know its input's shape: give input_shape, for example (64,)")
    _require_finite(module)
    name = type(module).__name__
    where = f"module {name}"
    with tempfile.TemporaryDirectory() as folder, recurrent_layers(module, where) as layers:
        path = Path(folder) / "model.onnx"
        export_module(module, input_shape, path)
        proto = load_onnx(path)
        taken_directly(proto, layers, where)
        own = readers(layers)
        imported = import_proto(proto, input_type=input_type, input_range=input_range, where=where, own=own)
    graph = replace(imported.graph, name=name, metadata={**imported.graph.metadata, "framework": version()})
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value.name for value in proto.graph.input if value.name not in constants]
    ends = {output.name: output.host_function for output in graph.outputs if output.host_function}
    run = forward_of(module, inputs, [output.name for output in graph.outputs], ends, where)
    run(
        dict(zip(inputs, (np.zeros((1, *shape)) for shape in _shapes(input_shape)), strict=True))
    )  # what it cannot do is said here
    # A file's own execution rounds as the module does, but for where it sums in another order.
    inner = None if own else imported.inner
    return replace(imported, graph=graph, framework=version(), run=run, inner=inner)


def _shapes(input_shape: InputShape) -> list[tuple[int, ...]]:
    """One shape for each input."""
    shapes: Any = [input_shape] if all(isinstance(size, (int, np.integer)) for size in input_shape) else input_shape
    try:
        found = [tuple(int(size) for size in shape) for shape in shapes]
    except (TypeError, ValueError):
        found = []
    if not found or any(size < 1 for shape in found for size in shape):
        raise UsageError(
            f"input_shape is {input_shape!r}; give the shape of one sample, for example (3, 32, 32), or a list of one for each input"
        )
    return found


def export_module(module: Any, input_shape: InputShape, path: Path) -> None:
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
    if not can_be_exported(module):
        raise UnsupportedModel(
            f"module {type(module).__name__}: QONNX has no operation for its recurrent layers; import the module itself"
        )
    where = f"module {type(module).__name__}"
    refuse_quantisers(module, where)
    was_training = module.training
    module.eval()
    try:
        with _quiet():
            device = next((tensor.device for tensor in module.state_dict().values()), torch.device("cpu"))
            examples = tuple(torch.zeros((1, *shape), device=device) for shape in _shapes(input_shape))
            export_qonnx(module, args=examples, export_path=str(path), external_data=False)
    except ToolchainError:
        raise
    except Exception as error:  # the exporter runs the user's module, which may fail in any way
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise UnsupportedModel(f"{where}: {_why_not_exported(module, cause)}") from None
    else:
        proto = onnx.load_model(path)
        restore_bits(proto, module, where)
        restore_weights(proto, module)
    finally:
        module.train(was_training)
    _name_nodes(proto)
    onnx.save_model(proto, path)


#: Layers with which Brevitas itself fails, and what computes the same.
_INSTEAD = {"QuantCat": "join the tensors with torch.cat and put a QuantIdentity behind it"}


def _why_not_exported(module: Any, error: BaseException) -> str:
    """What to say of an export that failed: the layer, where the error came from the code of one of Brevitas's."""
    first_line = str(error).strip().partition("\n")[0]
    reason = f"{type(error).__name__}: {first_line}"
    names = {id(part): name for name, part in module.named_modules()}
    within = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [part for part in within if id(part) in names and type(part).__module__.startswith("brevitas.nn")]
    if not own:
        return f"{version()} cannot export it to QONNX ({reason})"
    kind = type(own[-1]).__name__
    label = f"layer {names[id(own[-1])]!r} ({kind}): {version()}"
    if kind in _INSTEAD:
        return f"{label}, which is installed, fails on this layer itself ({reason}); {_INSTEAD[kind]}"
    return f"{label} cannot export it to QONNX ({reason})"


#: The parts of a Brevitas layer that quantise something; what follows them in a module's path is Brevitas's own.
_QUANTISERS = ("act_quant", "weight_quant", "bias_quant", "input_quant", "output_quant")


def _name_nodes(proto: Any) -> None:
    """Names from the module paths that torch notes on each node, and nothing else of its notes."""
    taken: set[str] = set()
    for node in proto.graph.node:
        name = _module_path(scopes_of(node), node.op_type)
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
    if len(proto.graph.output) > 1:
        _name_outputs(proto.graph)


def _name_outputs(graph: Any) -> None:
    """Several outputs are told apart by the layers that compute them; torch numbers its tensors."""
    producers = {output: node.name for node in graph.node for output in node.output}
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    new: dict[str, str] = {}
    for output in graph.output:
        name = producers.get(output.name, output.name)
        if name not in used and name not in new.values():
            new[output.name] = name
            output.name = name
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]


def _module_path(scopes: Sequence[str], operation: str) -> str:
    """'' where torch noted no path. scopes: see `scopes_of`."""
    if len(scopes) < 2 or not scopes[-2]:
        return ""
    layer: list[str] = []
    for part in scopes[-2].split("."):
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
    """Load a state_dict that holds tensors only (torch.load with weights_only: nothing in the file can run).

    Raises InputError for a file that is missing, larger than MAXIMUM_CHECKPOINT_BYTES or no such checkpoint, and for weights
    that do not fit.
    """
    import torch

    try:
        size = _expanded_bytes(path)
        if size > MAXIMUM_CHECKPOINT_BYTES:
            raise InputError(f"{path}: {size} bytes, more than the {MAXIMUM_CHECKPOINT_BYTES} allowed for a checkpoint")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except Exception as error:  # torch raises many kinds for a file that is damaged or holds objects
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: not a checkpoint of tensors only ({type(error).__name__}: {reason})") from None
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: does not fit module {type(module).__name__}: {reason}") from None


def _expanded_bytes(path: Path) -> int:
    """The size of a file, or what an archive, such as torch writes, expands to."""
    size = Path(path).stat().st_size
    if size <= MAXIMUM_CHECKPOINT_BYTES and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(member.file_size for member in archive.infolist()))
    return size


def _require_finite(module: Any) -> None:
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UnsupportedModel(
                f"module {type(module).__name__}: tensor {name!r} holds NaN or infinity; all must be finite"
            )


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the exporter's progress on standard output and its notes on optional packages."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
