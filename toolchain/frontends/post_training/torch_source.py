# SPDX-License-Identifier: Apache-2.0
"""Float torch modules as ONNX, by torch's own exporter."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, ToolchainError, ToolNotFound, UnsupportedModel, UsageError

#: 16-bit integers need this version of ONNX's operations.
_OPSET = 21


def from_module(
    module: Any, input_shape: tuple[int, ...], weights: Path | None
) -> tuple[str, Any, Callable[[np.ndarray], np.ndarray]]:
    """(framework, ModelProto, the module's own forward) of a float torch module, evaluated as model.eval().

    Raises UnsupportedModel where it is quantised already or torch cannot export it.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  # what torch exports with
        import torch
    except ImportError as error:
        raise ToolNotFound(
            f"exporting from torch needs {error.name}; install it with: pip install 'bitwright[brevitas]'"
        ) from None
    from toolchain.frontends.brevitas import _name_nodes, _quiet, _require_finite, load_weights

    name = type(module).__name__
    for path, part in module.named_modules():
        origin = type(part).__module__
        if origin.startswith("brevitas.") or origin.startswith(("torch.ao.nn", "torch.ao.quantization")):
            raise UnsupportedModel(
                f"module {name}: is quantised already (layer {path or name!r}, {type(part).__name__}); load it as it is"
            )
    if weights is not None:
        load_weights(module, weights)
    _require_finite(module)
    was_training = module.training
    module.eval()
    try:
        example = torch.zeros((2, *input_shape))
        _require_runs(module, example, name)
        with _quiet(), _unlogged():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=_OPSET,
                input_names=["x"],
                dynamic_shapes=[{0: torch.export.Dim("batch")}],
                verbose=False,
            )
    except ToolchainError:
        raise
    except Exception as error:  # the exporter runs the user's module, which may fail in any way
        # Its own message says how to go on with torch; what it met stands behind that.
        reason = str(error.__cause__ or error).strip().partition("\n")[0][:300]
        raise UnsupportedModel(
            f"module {name}: torch cannot export it to ONNX for samples of shape {tuple(input_shape)} "
            f"({type(error).__name__}: {reason})"
        ) from None
    finally:
        module.train(was_training)
    if program is None:
        raise UsageError(f"module {name}: torch gave no ONNX model")
    proto = onnx.ModelProto.FromString(program.model_proto.SerializeToString())
    _name_nodes(proto)
    return f"torch {torch.__version__.partition('+')[0]}", proto, _forward(module)


def _forward(module: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The module's own result for samples, evaluated as model.eval()."""

    def run(x: np.ndarray) -> np.ndarray:
        import torch

        was_training = module.training
        module.eval()
        try:
            with torch.no_grad():
                return np.asarray(module(torch.tensor(np.asarray(x, np.float32))))
        finally:
            module.train(was_training)

    return run


def _require_runs(module: Any, example: Any, name: str) -> None:
    import torch

    try:
        with torch.no_grad():
            module(example)
    except Exception as error:  # the user's own code
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"module {name}: cannot be evaluated on samples of shape {tuple(example.shape[1:])} ({type(error).__name__}: {reason})"
        ) from None


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Without what torch logs while it exports; what stops it is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
