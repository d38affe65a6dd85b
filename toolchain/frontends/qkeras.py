# SPDX-License-Identifier: Apache-2.0
"""QKeras models to the integer graph, exactly.

Layers are read by the functions of `qkeras_layers`, quantisers by `qkeras_quantisers` and `qkeras_weights`. Weights are the
quantiser's own result on the stored values, turned into integers without loss; sums keep their full width; values are
rounded only where the model has a quantiser.

The framework computes in float32. Its sums are exact, and so equal to the graph's, while every partial sum stays below
2**24 steps of the accumulator's binary point; the graph's metadata says whether that holds (`framework_sums_exact`). It says
'no' too where the framework rounds in a way that may differ from machine to machine (batch normalisation), and where a scale is
no power of two: the framework's own weights are not quite ``scale * integer`` then (see `qkeras_weights`). There the framework may
decide a tie otherwise, and rung 1 is given what it needs to prove that (`ImportedModel.ties`, `deviations`, `inner`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchain.errors import InputError, UnsupportedModel
from toolchain.frontends.exact.values import RealInput, Site, violations_named
from toolchain.frontends.imported import ImportedModel, Meaning, meaning_of
from toolchain.frontends.input_types import GivenType, InputTypes, read_with_types
from toolchain.frontends.qkeras_file import load_file, load_weights_file
from toolchain.frontends.qkeras_layers.registry import KerasWalk, OnHost, Value, call_reader, reader_of
from toolchain.frontends.qkeras_network import Call, Forward, require_network, sample_shape, traverse
from toolchain.frontends.qkeras_runtime import import_tf_keras, version


def import_file(
    path: Path,
    *,
    input_type: InputTypes | str | Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    weights: Path | None = None,
) -> ImportedModel:
    """Read an .h5 or .keras file, a SavedModel folder, or a .json architecture with its weights; see `import_model`."""
    return import_model(load_file(path, weights), input_type=input_type, input_range=input_range, where=str(path))


def import_model(
    model: Any,
    *,
    input_type: InputTypes | str | Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    where: str = "",
) -> ImportedModel:
    """Convert a tf_keras model of QKeras layers.

    model: Sequential or functional, built; branches, shared layers and models inside it are taken apart.
    input_type: the type of the inputs in hardware, e.g. 'fixed<16,6>'; needed where the model does not begin with a
        quantiser of its own; see `toolchain.frontends.input_types`. input_range: the real range that inputs are known to lie in; values outside are refused.
    where: for messages, the file. Raises UnsupportedModel naming the layer, UsageError for a missing or bad input_type.
    """
    named = f"model {model.name!r}"
    label = f"{where}: {named}" if where else named
    require_network(model, label)
    return read_with_types(
        InputTypes.of(input_type),
        model.input_names,
        label,
        lambda declared: _import(model, declared, input_range, where, named),
    )


def _import(
    model: Any,
    declared: Mapping[str, GivenType],
    input_range: tuple[float, float] | None,
    where: str,
    named: str,
) -> ImportedModel:
    """declared: the types of inputs that have one, by their names."""
    walk = KerasWalk(model.name, version(), where, input_range)
    inputs = [
        _input(walk, tensor, declared.get(name), where)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]
    bare: dict[tuple[int, ...], Callable[[Any], Any]] = {}
    meanings: dict[tuple[int, ...], Meaning] = {}

    def visit(call: Call, values: list[Value]) -> Value:
        site = call.site(where)
        with violations_named(site.label):
            result = call_reader(walk, call.layer, values, site)
        meaning = meaning_of(walk, result)
        if meaning is not None and meaning.node not in {known.node for known in meanings.values()}:
            meanings[call.key] = meaning
        return replace(result, call=call) if isinstance(result, OnHost) and result.call is None else result

    def accept(call: Call) -> None:
        reader_of(call.layer, call.site(where).label)

    outputs = traverse(model, inputs, visit, accept=accept, where=where)
    names = _unique(model.output_names)
    for name, tensor, value in zip(names, model.outputs, outputs, strict=True):
        if isinstance(value, OnHost):
            assert value.call is not None
            bare[value.call.key] = _without_activation(value.call.layer)
            if value.call.key in walk.continued:
                raise UnsupportedModel(
                    f"{value.call.site(where).label}: {value.function!r} is an output and goes on into other layers; supported "
                    "is one of them"
                )
        _output(walk, name, tensor._keras_history.layer, value, where, named)
    graph = walk.finish()
    tensors = []
    for name in model.input_names:
        tensor = walk.input_tensor(name)
        if tensor is None:
            raise UnsupportedModel(f"{where + ': ' if where else ''}{named}: its input {name!r} reaches no output")
        tensors.append(tensor)
    forward = Forward(model, tensors, names, bare, meanings)
    return ImportedModel(
        graph, version(), forward, not declared, walk.ties, walk.deviations, forward.inner, input_types=declared
    )


def _site(layer: Any, where: str) -> Site:
    return Call(layer, layer.name, ()).site(where)


def _input(walk: KerasWalk, tensor: Any, declared: GivenType | None, where: str) -> Value:
    site = _site(tensor._keras_history.layer, where)
    shape = sample_shape(tensor, site.label)
    if tensor.dtype.name != "float32":
        raise UnsupportedModel(
            f"{site.label}: takes {tensor.dtype.name}, to which Keras casts what it is given; supported is float32. Make the "
            "input without a dtype, and say with the input type what hardware gets"
        )
    value = RealInput(site.name, site.source, shape, shape)
    return value if declared is None else walk.declared_input(value, declared.type, walk.input_range)


def _output(walk: KerasWalk, name: str, layer: Any, value: Value, where: str, named: str) -> None:
    function = value.function if isinstance(value, OnHost) else ""
    line = value.line if isinstance(value, OnHost) else value
    if isinstance(line, RealInput):
        raise UnsupportedModel(
            f"{where + ': ' if where else ''}{named} quantises nothing; there is no integer arithmetic in it"
        )
    site = _site(layer, where)
    with violations_named(site.label):
        walk.output(line, name=name, host_function=function, site=site)


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        unique, number = name, 1
        while unique in found:
            number += 1
            unique = f"{name}_{number}"
        found.append(unique)
    return found


def _without_activation(layer: Any) -> Callable[[Any], Any]:
    """The layer's function without the activation that stays on the host, which is its last step."""

    def call(x: Any) -> Any:
        if not hasattr(layer, "activation") or not layer.weights:
            return x
        activation, layer.activation = layer.activation, import_tf_keras().activations.linear
        try:
            return layer(x, training=False) if layer._expects_training_arg else layer(x)
        finally:
            layer.activation = activation

    return call


def load_weights(model: Any, path: Path) -> None:
    """Load weights saved by ``model.save_weights`` (an .h5 file) or ``model.save`` into a built model."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    load_weights_file(model, Path(path), f"model {model.name!r}")
