# SPDX-License-Identifier: Apache-2.0
"""QONNX files (what Brevitas exports), ONNX int8 files and FINN-ONNX files to the integer graph.

A walk through the file carries, for every tensor, integers and the exact rational meaning of each, with the file's float32
constants taken as the fractions that they are (`toolchain.frontends.exact`). How one operation is read stands in
`toolchain.frontends.onnx_nodes`.

What the framework does differently: it computes the same real values in float32, so its result can differ from the graph's
where the exact value lies within its rounding error (a few parts in 10**7) of a tie between two steps; on exact ties the
graph follows the file's rounding mode. A bias quantised on the accumulator's step (Brevitas Int32Bias and the like) is an
integer, although float32 stores its scale, the product of two others, rounded. A batch norm's ``gamma / sqrt(variance +
epsilon)`` is not rational; it is taken as its float64 value.

Axes: a channels-first file gets a graph with the channels last. The user's samples and results keep the file's order; the
graph's inputs and outputs say how their axes are permuted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, UnsupportedModel, UsageError
from toolchain.frontends.exact.quantiser import Constant
from toolchain.frontends.exact.values import Line, RealInput, Site, violations_named
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.imported import ImportedModel, Inner, Meaning, meaning_of
from toolchain.frontends.input_types import GivenType, InputTypes, read_with_types
from toolchain.frontends.onnx_ends import HOST_FUNCTIONS, endings
from toolchain.frontends.onnx_layout import CHANNELS_LAST_DOMAIN, input_axes
from toolchain.frontends.onnx_nodes.channels_last import read_channels_last
from toolchain.frontends.onnx_nodes.folding import folded, is_foldable
from toolchain.frontends.onnx_nodes.onnx_runtime_operators import DOMAIN, OPERATORS, REFUSALS, softmax_apart
from toolchain.frontends.onnx_nodes.quantisers import QONNX_REFUSALS
from toolchain.frontends.onnx_nodes.quantize_linear import INTEGER_TYPES
from toolchain.frontends.onnx_nodes.reader import Handler, NodeView, Reader, Value, file_shape, handlers
from toolchain.frontends.onnx_nodes.required_attributes import require_attributes
from toolchain.frontends.qonnx_file import load_onnx
from toolchain.frontends.qonnx_run import Shape, framework_run, version
from toolchain.frontends.real_input import InputType
from toolchain.ir import IntegerType

#: Operations that keep a quantised constant's integers; others make plain values of it.
_KEEP_QUANTISED = {
    "Cast", "Clip", "Concat", "Dropout", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip


def import_file(
    path: Path,
    *,
    input_type: InputTypes | str | Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
) -> ImportedModel:
    """Read a .onnx file; see `import_proto`."""
    return import_proto(load_onnx(path), input_type=input_type, input_range=input_range, where=str(path))


def import_proto(
    proto: Any,
    *,
    input_type: InputTypes | str | Sequence[str] | None = None,
    input_range: tuple[float, float] | None = None,
    where: str = "model",
    own: Mapping[str, Handler] | None = None,
) -> ImportedModel:
    """Convert a checked ONNX ModelProto. Parameters and errors as for the other frontends.

    own: what reads operations that only this model has.
    """
    proto = softmax_apart(proto)
    types = InputTypes.of(input_type)
    constants = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in constants]
    real = [value.name for value in inputs if _integer_type(value, where) is None]
    integers = next((value.name for value in inputs if value.name in types.named and value.name not in real), None)
    if integers is not None:
        raise UsageError(f"{where}: input {integers!r} holds integers already; leave its input type out")
    if inputs and not real and types:
        raise UsageError(f"{where}: its inputs are integers already; leave the input type out")
    return read_with_types(
        types, real, where, lambda declared: _import(proto, inputs, declared, input_range, where, own or {})
    )


def _import(
    proto: Any,
    inputs: Sequence[Any],
    declared: Mapping[str, GivenType],
    input_range: tuple[float, float] | None,
    where: str,
    own: Mapping[str, Handler],
) -> ImportedModel:
    """inputs: those of the file that are no constants. declared: the types of inputs that have one, by their names."""
    graph, framework = proto.graph, version(proto, where)
    walk = Walk(graph.name or "model", framework, where)
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=18)
    reader = Reader(walk, input_range, opset=opset, own=own)
    reader.values.update({tensor.name: _constant(tensor, where) for tensor in graph.initializer})
    for node in graph.node:
        for name in node.input:
            reader.consumers.setdefault(name, []).append(node)
    for value in graph.output:  # the user reads it too
        reader.consumers.setdefault(value.name, []).append(None)
    reader.batch = max((_batch(value) for value in inputs), default=1)
    if not inputs or not graph.output:
        raise UnsupportedModel(
            f"{where}: has {len(inputs)} inputs and {len(graph.output)} outputs; one of each is needed"
        )
    types = {value.name: _integer_type(value, where) for value in inputs}
    types |= {name: given.type for name, given in declared.items()}
    for value in inputs:
        start = _start(value, reader, where)
        element = types[value.name]
        reader.values[value.name] = start if element is None else walk.declared_input(start, element, input_range)
    hosts = endings(graph)
    skipped = {tensor for host in hosts.values() for tensor in host.skipped}
    for node in graph.node:
        if node.output[0] not in skipped:
            _read(reader, node, where)
    finals = {}
    for output in graph.output:
        host = hosts.get(output.name)
        tensor = output.name if host is None else host.tensor
        site = Site(output.name, f"output {output.name!r}", f"{where}: output {output.name!r}")
        result = _known(reader, tensor, site.label)
        if not isinstance(result, Line):
            raise UnsupportedModel(
                f"{where}: quantises nothing on the way to {output.name!r}; there is no integer arithmetic in it"
            )
        if host is not None:
            _require_last_axis(host.node, result, opset, site.label)
            if host.is_rounded:
                walk.notes.append(f"{site.source}: the file rounds its {host.function}; on the host it is not rounded")
        with violations_named(site.label):
            walk.output(result, name=output.name, host_function=host.function if host else "", site=site)
        finals[output.name] = tensor
    shapes: dict[str, Shape] = {
        name: value.values.shape if isinstance(value, Constant) else (None, *file_shape(value))
        for name, value in reader.values.items()
    }
    names = [value.name for value in inputs]
    run = framework_run(proto, names, finals, shapes)
    inner = _inner(proto, names, reader.meanings, shapes)
    quantises = not any(types.values())
    return ImportedModel(
        walk.finish(), framework, run, quantises, walk.ties, walk.deviations, inner, input_types=declared
    )


def _inner(proto: Any, inputs: list[str], meanings: Mapping[str, Meaning], shapes: Mapping[str, Shape]) -> Inner:
    """The file's execution up to every tensor whose meaning is known; made when it is first needed."""

    @cache
    def run() -> Callable[[Any], Any]:
        return framework_run(proto, inputs, {name: name for name in meanings}, shapes)

    def inner(x: Any) -> dict[str, np.ndarray]:
        if not meanings:
            return {}
        found = run()(x)
        arrays = found if len(meanings) > 1 else {next(iter(meanings)): found}
        return {meaning.node: meaning.integers(arrays[name]) for name, meaning in meanings.items()}

    return inner


def _read(reader: Reader, node: Any, where: str) -> None:
    """Read one node and note what its results are."""
    name = node.name or node.output[0]
    site = Site(name, f"{name!r} ({node.op_type})", f"{where}: node {name!r} ({node.op_type})")
    operands = tuple(_known(reader, tensor, site.label) if tensor else None for tensor in node.input)
    view = NodeView(node.op_type, operands, _attributes(node, site.label), tuple(node.output), site)
    handler = reader.own.get(node.op_type) or handlers().get(node.op_type)
    constants = [value for value in operands if isinstance(value, Constant)]
    is_constant = bool(constants) and len(constants) == sum(value is not None for value in operands)
    # Quantised constants keep their integers where a reader knows how; others are just evaluated.
    is_plain = node.op_type not in _KEEP_QUANTISED or all(value.integers is None for value in constants)
    if is_constant and is_foldable(node) and is_plain:
        reader.values.update(folded(node, operands, reader.opset, site.label))
        return
    refused = REFUSALS | QONNX_REFUSALS
    if node.op_type in refused:
        raise UnsupportedModel(f"{site.label}: {refused[node.op_type]}")
    if handler is None or (node.domain == DOMAIN and node.op_type not in OPERATORS):
        known = ", ".join(sorted({*handlers(), *HOST_FUNCTIONS}))
        ends = " and ".join(sorted(set(HOST_FUNCTIONS) - set(handlers())))
        raise UnsupportedModel(
            f"{site.label}: this operation is not supported; supported are {known} ({ends} as the end only)"
        )
    require_attributes(node.domain, view)
    is_channels_last = node.domain == CHANNELS_LAST_DOMAIN
    try:
        with violations_named(site.label):
            results = read_channels_last(reader, view) if is_channels_last else handler(reader, view)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # A damaged file may hold any attributes and operands; the functions that read them expect those of the operation.
        raise InputError(
            f"{site.label}: its operands or attributes do not fit together ({type(error).__name__}: {_first_line(error)})"
        ) from error
    for tensor, result in zip(node.output, results if isinstance(results, tuple) else (results,), strict=False):
        if tensor and result is not None:
            reader.values[tensor] = result
            meaning = meaning_of(reader.walk, result)
            if meaning is not None and meaning.node not in {known.node for known in reader.meanings.values()}:
                reader.meanings[tensor] = meaning


def _known(reader: Reader, tensor: str, label: str) -> Value:
    if tensor not in reader.values:
        raise UnsupportedModel(f"{label}: needs the result {tensor!r}, which is not supported or computed nowhere")
    return reader.values[tensor]


def _start(value: Any, reader: Reader, where: str) -> RealInput:
    sizes = _shape(value, where)
    constants = {name: known.values.shape for name, known in reader.values.items() if isinstance(known, Constant)}
    axes = input_axes(value.name, len(sizes), reader.consumers, constants)
    order = tuple(axes.index(place) for place in range(len(axes)))
    shape = tuple(sizes[axis] for axis in order) if axes else sizes
    return RealInput(value.name, f"input {value.name!r}", shape, shape, host_axes=order, axes=axes)


def _integer_type(value: Any, where: str) -> InputType | None:
    """The type of an input that the file itself declares to be integers, else None."""
    from onnx import helper

    try:
        kind = str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    except KeyError:
        raise InputError(f"{where}: input {value.name!r} has an element type that ONNX does not know") from None
    if kind in INTEGER_TYPES:
        return InputType(IntegerType.spanning(*INTEGER_TYPES[kind]))
    return None


def _constant(tensor: Any, where: str) -> Constant:
    array = _array(tensor, f"{where}: constant {tensor.name!r}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnsupportedModel(f"{where}: constant {tensor.name!r} holds NaN or infinity; all constants must be finite")
    return Constant(array)


def _array(tensor: Any, label: str) -> np.ndarray:
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor)
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{label}: damaged ({type(error).__name__}: {_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def _shape(value: Any, where: str) -> tuple[int, ...]:
    dimensions = value.type.tensor_type.shape.dim
    sizes = tuple(int(d.dim_value) if d.HasField("dim_value") else 0 for d in dimensions)
    if len(sizes) < 2 or any(size < 1 for size in sizes[1:]):
        raise UnsupportedModel(
            f"{where}: input {value.name!r} has shape {sizes}; expected (batch, sizes...) with every size but the batch fixed"
        )
    return sizes[1:]


def _batch(value: Any) -> int:
    """The size of an input's first axis, 1 where it is free."""
    dimensions = value.type.tensor_type.shape.dim
    return max(1, int(dimensions[0].dim_value)) if dimensions else 1


def _attributes(node: Any, label: str) -> dict[str, Any]:
    from onnx import AttributeProto, helper

    values: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            raise UnsupportedModel(f"{label}: holds a graph of its own (control flow); supported are plain operations")
        value = helper.get_attribute_value(attribute)
        if attribute.type == AttributeProto.TENSOR:
            value = _array(value, label)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise UnsupportedModel(f"{label}: holds NaN or infinity; all constants must be finite")
        values[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return values


def _require_last_axis(node: Any, value: Line, opset: int, label: str) -> None:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1 if opset >= 13 else 1)
    if node.op_type in ("Softmax", "LogSoftmax") and axis not in (-1, len(value.shape)):
        raise UnsupportedModel(f"{label}: a softmax along axis {axis}; supported is the last one")
