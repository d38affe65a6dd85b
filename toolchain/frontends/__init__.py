# SPDX-License-Identifier: Apache-2.0
"""From a framework's model, as a file or an object, to the integer graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolchain.errors import InputError, UsageError
from toolchain.frontends.exact.ties import Ties
from toolchain.frontends.imported import Inner
from toolchain.frontends.input_samples import SampledType
from toolchain.frontends.input_types import InputTypes, input_types
from toolchain.frontends.model_folder import (
    TORCH_SUFFIXES,
    ModelFolder,
    Vectors,
    bundled_models,
    declared_range,
    load_vectors,
    locate,
    model_files,
    read_model_folder,
)
from toolchain.ir import Graph, Input, host_order, load_graph
from toolchain.ir.serialise import SUFFIX as GRAPH_SUFFIX

if TYPE_CHECKING:
    from toolchain.frontends.imported import ImportedModel
    from toolchain.frontends.post_training import Calibration, QuantisedModel

__all__ = [
    "LoadedModel", "ModelFolder", "Vectors", "bundled_models", "load_model", "load_vectors", "model_files",
    "read_model_folder",
]  # fmt: skip

KERAS_SUFFIXES = (".h5", ".hdf5", ".keras", ".json")
QONNX_SUFFIXES = (".onnx",)

#: Called with a short text when a step of loading begins.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class LoadedModel:
    """A model as the integer graph, with the framework it came from still at hand.

    framework: e.g. 'qkeras 0.9.0'; '' for a graph file.
    files: the files that define the model, for hashing; () for an object in memory.
    run: the framework's own forward: real inputs (samples, *input shape) -> real values of the graph's output, float32 or
        float64; None for a graph file. Where a softmax stays on the host these are the logits. For several inputs or outputs
        see `ImportedModel`.
    folder: what model.toml says, or None without one.
    quantises_input: whether the model rounds its real inputs itself. If not, framework and graph agree on inputs that lie
        on the steps of the declared input type only.
    sampled_inputs: by input, its type and what that does to the samples that were given for it; {} without samples.
    quantisation: what post-training quantisation did and what it cost, as in model.toml; {} for other models.
    ties, deviations, inner: what the frontend knows of the framework's own float32 arithmetic; see `ImportedModel`.
    """

    name: str
    graph: Graph
    framework: str
    files: tuple[Path, ...]
    run: Callable[[Any], Any] | None
    folder: ModelFolder | None = None
    quantises_input: bool = True
    sampled_inputs: Mapping[str, SampledType] = field(default_factory=dict)
    quantisation: Mapping[str, Any] = field(default_factory=dict)
    ties: Mapping[str, Ties] = field(default_factory=dict)
    deviations: Mapping[str, np.ndarray] = field(default_factory=dict)
    inner: Inner | None = None

    @property
    def input_remarks(self) -> list[str]:
        """What is known of the inputs' types from samples, a line for each input."""
        several = len(self.graph.inputs) > 1
        return [
            f"input {name!r}: {sampled}" if several else str(sampled) for name, sampled in self.sampled_inputs.items()
        ]


def load_model(
    source: Any,
    *,
    input_type: InputTypes | str | Sequence[str] | None = None,
    input_samples: Any = None,
    input_bits: int | None = None,
    input_shape: Sequence[int] | Sequence[Sequence[int]] | None = None,
    weights: Path | None = None,
    calibration: Calibration | None = None,
    progress: Progress | None = None,
) -> LoadedModel:
    """Read a model and convert it to the integer graph.

    source: a file (.h5, .hdf5, .keras, .onnx, an architecture in .json with its weights beside it, or a graph file), a
        SavedModel folder, a folder with model.toml, the name of a bundled model, or a framework's object (tf_keras model, torch
        module of Brevitas layers).
    input_type: the inputs' type in hardware, for a model that does not quantise its own inputs: 'fixed<16,6>', 'uint8',
        'uint8*1/255' (whole numbers and the real value of one), each with ' saturate' after it where values beyond the type
        become its ends instead of being refused. Where it is left out, [input] type in model.toml counts. For several inputs
        a list of 'NAME=TYPE'; a type without a name then counts for all others that the model does not quantise itself.
    input_samples: instead, inputs to choose the type from: an .npz file with an array `x`, or one for each input by its name or
        x_NAME; or the array; beside a named type they say what that does to them. input_bits: the widest type that may be chosen (16 where left out); see
        `toolchain.frontends.input_samples.choose_input_type` for the rule.
    input_shape: for a torch module, which does not know it: the shape of one sample, or a list of one for each of its inputs.
    weights: a checkpoint of tensors to load into a framework's object, or a Keras file of weights for the model in another
        Keras file, before it is converted.
    calibration: samples and settings (`toolchain.Calibration`) to quantise a plain float model with, which `source` is then.
    Raises InputError, UnsupportedModel or UsageError with what is wrong, where, and what to do.
    """
    report = progress or (lambda step: None)
    if calibration is not None:
        if (input_type, input_samples, input_bits) != (None, None, None):
            raise UsageError("with calibration the input's type belongs into it: Calibration(..., input_type=...)")
        from toolchain.frontends.post_training import quantise

        quantised = quantise(
            source,
            calibration,
            input_shape=input_shape,  # type: ignore[arg-type]
            weights=weights,
            progress=lambda step, share: None if share else report(step),
        )
        return loaded_from(quantised)
    types = input_types(input_type, input_samples, input_bits)
    if not isinstance(source, (str, os.PathLike)):
        return _load_object(source, types, input_shape, weights, report)
    if input_shape is not None:
        raise UsageError(f"input_shape belongs to a framework's object; {source} is a file, which holds its own")
    file, folder = locate(source)
    is_keras = file.is_dir() or file.suffix.lower() in KERAS_SUFFIXES
    if weights is not None and not is_keras:
        raise UsageError(
            f"weights (--weights) belongs to Keras files and to a framework's object; {source} holds its own"
        )
    files = model_files(source, weights)
    real_range = declared_range(folder)
    if folder is not None and folder.input_type and types.every is None and not types.samples:
        types = replace(types, every=InputTypes.of(folder.input_type).every)
    suffix = file.suffix.lower()
    if suffix == GRAPH_SUFFIX:
        if types:
            raise UsageError(f"{file}: a graph file already says its input type; leave input_type out")
        graph = load_graph(file)
        return LoadedModel(folder.name if folder else graph.name, graph, "", files, None, folder)
    if is_keras:
        report("starting TensorFlow and QKeras")
        from toolchain.frontends import qkeras

        imported = qkeras.import_file(file, input_type=types, input_range=real_range, weights=weights)
    elif suffix in QONNX_SUFFIXES:
        report("reading QONNX")
        from toolchain.frontends import qonnx

        imported = qonnx.import_file(file, input_type=types, input_range=real_range)
    elif suffix in TORCH_SUFFIXES:
        raise UsageError(
            f"{file}: a PyTorch file holds weights, or code that would run when it is opened, and no graph. Of a Brevitas module give "
            "the export (brevitas.export.export_qonnx), or the module itself in Python: toolchain.load_model(module, "
            f"input_shape=(...), weights={file.name!r}). A plain float module is quantised first (bitwright quantise, "
            "toolchain.quantise)"
        )
    else:
        known = ", ".join((*KERAS_SUFFIXES, *QONNX_SUFFIXES, GRAPH_SUFFIX))
        raise InputError(
            f"{file}: not a model file; allowed are {known}, a SavedModel folder or a folder with model.toml"
        )
    _check_class_names(folder, imported.graph)
    name = folder.name if folder else file.stem
    graph = imported.graph
    if graph.name in _EXPORTERS_NAMES:
        graph = replace(graph, name=name)
    done = folder.quantisation if folder else {}
    return LoadedModel(
        name, graph, imported.framework, files, imported.run, folder, imported.quantises_input,
        _checked_samples(imported), done, imported.ties, imported.deviations, imported.inner,
    )  # fmt: skip


#: What PyTorch's exporters call every graph. Hardware of such a graph is better called after the model's file or folder.
_EXPORTERS_NAMES = ("main_graph", "torch-jit-export", "torch_jit", "graph", "model")


def loaded_from(quantised: QuantisedModel) -> LoadedModel:
    """What post-training quantisation gives as `load_model` does."""
    imported, source = quantised.imported, quantised.source
    return LoadedModel(
        quantised.name, imported.graph, imported.framework, source.files, imported.run, source.folder,
        imported.quantises_input, quantisation=quantised.summary, ties=imported.ties,
        deviations=imported.deviations, inner=imported.inner,
    )  # fmt: skip


def _checked_samples(imported: ImportedModel) -> dict[str, SampledType]:
    """The inputs' types as samples know them. Raises InputError for samples of another shape than the input.

    Those are samples of another model, and would choose a type that does not suit this one.
    """
    found = {}
    for node in imported.graph.inputs:
        given = imported.input_types.get(node.name)
        if given is None or given.sampled is None:
            continue
        assert isinstance(node.operation, Input)
        shape = host_order(node.operation, np.empty((1, *node.operation.shape), np.int8)).shape[1:]
        if given.sampled.shape and given.sampled.shape != shape:
            raise InputError(
                f"input_samples (--input-samples) are of shape {given.sampled.shape} each; input {node.name!r} takes {shape}: give "
                "samples of this model's inputs"
            )
        found[node.name] = given.sampled
    return found


def _check_class_names(folder: ModelFolder | None, graph: Graph) -> None:
    if folder is None or not folder.class_names:
        return
    outputs = graph.types[graph.outputs[0].tensor].channels
    if len(folder.class_names) != outputs:
        raise InputError(
            f"{folder.toml}: [model] class_names has {len(folder.class_names)} entries, the model has {outputs} outputs"
        )


def _load_object(
    source: Any,
    types: InputTypes,
    input_shape: Sequence[int] | Sequence[Sequence[int]] | None,
    weights: Path | None,
    report: Progress,
) -> LoadedModel:
    """Recognise the framework by the modules that the object's classes come from; neither is imported to find out."""
    origins = {cls.__module__.partition(".")[0] for cls in type(source).__mro__}
    imported: Any
    if "torch" in origins:
        report("exporting from Brevitas")
        from toolchain.frontends.brevitas import import_module, load_weights

        if weights is not None:
            load_weights(source, weights)
        imported = import_module(source, input_shape, input_type=types)
    elif origins & {"tf_keras", "keras"}:
        from toolchain.frontends import qkeras

        if weights is not None:
            qkeras.load_weights(source, weights)
        imported = qkeras.import_model(source, input_type=types)
    else:
        raise UsageError(
            f"cannot read a model from an object of class {type(source).__name__!r}; "
            "give a path, a tf_keras model or a torch module of Brevitas layers"
        )
    files = (Path(weights),) if weights is not None else ()
    name = imported.graph.name
    return LoadedModel(
        name,
        imported.graph,
        imported.framework,
        files,
        imported.run,
        None,
        imported.quantises_input,
        _checked_samples(imported),
        ties=imported.ties,
        deviations=imported.deviations,
        inner=imported.inner,
    )
