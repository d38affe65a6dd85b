# SPDX-License-Identifier: Apache-2.0
"""Float models of every framework as an ONNX graph."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, UnsupportedModel, UsageError
from toolchain.frontends.model_folder import TORCH_SUFFIXES, ModelFolder, locate
from toolchain.frontends.onnx_ends import endings
from toolchain.frontends.post_training.runner import runner
from toolchain.frontends.qonnx_file import load_onnx

_ONNX_SUFFIXES = (".onnx",)
_KERAS_SUFFIXES = (".h5", ".hdf5", ".keras", ".json")
#: Samples that a conversion is compared with its framework on, and how far float32 arithmetic in another order may lead.
_COMPARED = 16
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class FloatModel:
    """A float model as ONNX.

    where: for messages. framework: of the source, e.g. 'torch 2.13.0'. input_shape: of one sample. files: that define it.
    digest: SHA-256 of the ONNX graph. folder: what model.toml says, or None.
    """

    name: str
    where: str
    framework: str
    proto: Any
    input_shape: tuple[int, ...]
    files: tuple[Path, ...] = ()
    folder: ModelFolder | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.proto.SerializeToString(deterministic=True)).hexdigest()

    def logits(self, output: str) -> Callable[[np.ndarray], np.ndarray]:
        """An output's float values for samples, before a softmax or the like that would stay on the host."""
        ending = endings(self.proto.graph).get(output)
        return self.function(output if ending is None else ending.tensor)

    def function(self, tensor: str) -> Callable[[np.ndarray], np.ndarray]:
        """A tensor's float values for samples."""
        run = runner(self.proto, [tensor])
        return lambda x: np.asarray(run(x)[tensor], np.float64)


def open_source(source: Any, *, input_shape: tuple[int, ...], weights: Path | None = None) -> FloatModel:
    """The float model behind a path, a bundled name or a framework's object.

    input_shape: of one sample, for a torch module. weights: of a torch module. Raises InputError, UnsupportedModel, UsageError.
    """
    if not isinstance(source, (str, os.PathLike)):
        return _from_object(source, input_shape, weights)
    if weights is not None:
        raise UsageError(f"weights belongs to a torch module; {source} is a file, which holds its own")
    file, folder = locate(source)
    suffix = file.suffix.lower()
    name = folder.name if folder else file.stem
    if suffix in _ONNX_SUFFIXES:
        proto = load_onnx(file)
        return _float_model(name, str(file), f"onnx {importlib.metadata.version('onnx')}", proto, (file,), folder)
    if file.is_dir() or suffix in _KERAS_SUFFIXES:
        from toolchain.frontends.post_training.keras_source import from_file

        framework, proto, run = from_file(file)
        model = _float_model(name, str(file), framework, proto, (file,), folder)
        return _agreeing(model, run)
    if suffix in TORCH_SUFFIXES:
        raise UsageError(
            f"{file}: a PyTorch file holds weights, or code that would run when it is opened, and no graph. Export the model to "
            "ONNX (torch.onnx.export), or quantise the module in Python: toolchain.quantise(module, Calibration(...))"
        )
    known = ", ".join((*_ONNX_SUFFIXES, *_KERAS_SUFFIXES))
    raise InputError(f"{file}: not a float model; allowed are {known}, a SavedModel folder or a folder with model.toml")


def _float_model(
    name: str, where: str, framework: str, proto: Any, files: tuple[Path, ...] = (), folder: ModelFolder | None = None
) -> FloatModel:
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    if not inputs:
        raise UnsupportedModel(f"{where}: has no input")
    dimensions = inputs[0].type.tensor_type.shape.dim
    shape = tuple(int(d.dim_value) if d.HasField("dim_value") else 0 for d in dimensions)[1:]
    if not shape or 0 in shape:
        raise UnsupportedModel(
            f"{where}: input {inputs[0].name!r} has shape {('batch', *shape)}; every size but the batch must be fixed"
        )
    return FloatModel(name, where, framework, proto, shape, files, folder)


def _from_object(source: Any, input_shape: tuple[int, ...], weights: Path | None) -> FloatModel:
    origins = {cls.__module__.partition(".")[0] for cls in type(source).__mro__}
    if "torch" in origins:
        from toolchain.frontends.post_training.torch_source import from_module

        framework, proto, run = from_module(source, input_shape, weights)
        name = type(source).__name__
        return _agreeing(_float_model(name, f"module {name}", framework, proto), run)
    if origins & {"tf_keras", "keras"}:
        if weights is not None:
            raise UsageError(
                "weights belongs to a torch module; load a Keras model's weights with its own load_weights"
            )
        from toolchain.frontends.post_training.keras_source import from_model

        framework, proto, run = from_model(source)
        return _agreeing(_float_model(source.name, f"model {source.name!r}", framework, proto), run)
    raise UsageError(
        f"cannot read a model from an object of class {type(source).__name__!r}; give a path, a tf_keras model or a torch module"
    )


def _agreeing(model: FloatModel, run: Callable[[np.ndarray], np.ndarray]) -> FloatModel:
    """The model, if the conversion to ONNX gives what the framework itself gives."""
    x = np.random.default_rng(0).normal(size=(_COMPARED, *model.input_shape)).astype(np.float32)
    wanted = np.asarray(run(x), np.float64)
    found = model.function(model.proto.graph.output[0].name)(x)
    allowed = _TOLERANCE * max(1.0, float(np.abs(wanted).max(initial=0)))
    if found.shape != wanted.shape or not np.abs(found - wanted).max(initial=0) <= allowed:
        distance = "shape " + str(found.shape) if found.shape != wanted.shape else f"{np.abs(found - wanted).max():g}"
        raise UnsupportedModel(
            f"{model.where}: its conversion to ONNX does not compute what {model.framework} does (off by {distance}); export the "
            "model to ONNX yourself, check it, and quantise that"
        )
    return model
