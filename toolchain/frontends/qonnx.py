# SPDX-License-Identifier: Apache-2.0
"""QONNX files (what Brevitas exports) to the integer graph.

A walk through the file carries, for every tensor, integers and the exact rational line that turns them into the real
values of the file: ``real = scale[c] * integer + offset[c]``, with the file's float32 constants taken as the fractions that
they are. Products with constants, biases and batch norms only change the line; a matrix product with quantised weights is
an integer product. Where a quantiser follows, the line decides: a power-of-two ratio is a shift (Requantise), anything
else becomes thresholds at the exact integers where the rational value passes from one step to the next.

What the framework does differently: it computes the same real values in float32, so its result can differ from the graph's
where the exact value lies within its rounding error (a few parts in 10**7) of a tie between two steps; on exact ties the
graph follows the file's rounding mode. A bias quantised on the accumulator's step (Brevitas Int32Bias and the like) is an
integer, although float32 stores its scale, the product of two others, rounded. A batch norm's ``gamma / sqrt(variance +
epsilon)`` is not rational; it is taken as its float64 value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel, UsageError
from toolchain.frontends.imported import ImportedModel
from toolchain.frontends.qonnx_file import load_onnx
from toolchain.frontends.qonnx_run import framework_run, version
from toolchain.frontends.qonnx_values import (
    Constant,
    Line,
    Quantiser,
    RealInput,
    fractions_of,
    quantised_constant,
)
from toolchain.frontends.qonnx_walk import Walk
from toolchain.frontends.real_input import parse_input_type
from toolchain.ir import Reshape, Rounding

#: Functions that, as the last operation, stay on the host.
HOST_FUNCTIONS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
#: QONNX's rounding modes. Its HALF_UP and HALF_DOWN work on magnitudes.
ROUNDING_MODES = {
    "ROUND": Rounding.HALF_EVEN,
    "HALF_EVEN": Rounding.HALF_EVEN,
    "CEIL": Rounding.CEILING,
    "FLOOR": Rounding.TRUNCATE,
    "UP": Rounding.AWAY,
    "DOWN": Rounding.TRUNCATE_ZERO,
    "ROUND_TO_ZERO": Rounding.TRUNCATE_ZERO,
    "HALF_UP": Rounding.HALF_AWAY,
    "HALF_DOWN": Rounding.HALF_ZERO,
}

Value = Constant | RealInput | Line
Handler = Callable[[Walk, Any, list[Value], str], Value]
_HANDLERS: dict[str, Handler] = {}


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register the function that reads nodes of these operations: (walk, node, operands, label) -> result."""

    def register(function: Handler) -> Handler:
        for kind in kinds:
            _HANDLERS[kind] = function
        return function

    return register


def import_file(
    path: Path, *, input_type: str | None = None, input_range: tuple[float, float] | None = None
) -> ImportedModel:
    """Read a .onnx file; see `import_proto`."""
    return import_proto(load_onnx(path), input_type=input_type, input_range=input_range, where=str(path))


def import_proto(
    proto: Any, *, input_type: str | None = None, input_range: tuple[float, float] | None = None, where: str = "model"
) -> ImportedModel:
    """Convert a checked ONNX ModelProto. Parameters and errors as for the other frontends."""
    graph = proto.graph
    constants = {tensor.name: Constant(_array(tensor, where)) for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UnsupportedModel(
            f"{where}: has {len(inputs)} inputs and {len(graph.output)} outputs; supported is one of each"
        )
    shape = _shape(inputs[0], where)
    walk = Walk(graph.name or "model", version(), inputs[0].name, shape, input_range, where)
    start: Value = RealInput(shape)
    if input_type is not None:
        start = walk.declared_input(parse_input_type(input_type))
    values: dict[str, Value] = {inputs[0].name: start, **constants}
    host_function, final = "", graph.output[0].name
    for position, node in enumerate(graph.node):
        label = _label(node, where)
        host = HOST_FUNCTIONS.get(node.op_type)
        if host and node.output[0] == final and position == len(graph.node) - 1:
            _require_last_axis(node, values[node.input[0]], label)
            host_function, final = host, node.input[0]
            break
        handler = _HANDLERS.get(node.op_type)
        if handler is None:
            known = ", ".join(sorted({*_HANDLERS, *HOST_FUNCTIONS}))
            raise UnsupportedModel(
                f"{label}: this operation is not supported; supported are {known} ({' and '.join(sorted(HOST_FUNCTIONS))} as the end only)"
            )
        if len(node.output) != 1:
            raise UnsupportedModel(f"{label}: has {len(node.output)} results; supported is one")
        operands = [values[name] for name in node.input if name]
        values[node.output[0]] = handler(walk, node, operands, label)
    result = values[final]
    if not isinstance(result, Line):
        raise UnsupportedModel(f"{where}: quantises nothing; there is no integer arithmetic in it")
    walk.finish(result, name=graph.output[0].name, host_function=host_function)
    run = framework_run(proto, inputs[0].name, final)
    return ImportedModel(walk.builder.build(), version(), run, quantises_input=input_type is None)


def _label(node: Any, where: str) -> str:
    return f"{where}: node {node.name or node.output[0]!r} ({node.op_type})"


def _array(tensor: Any, where: str) -> np.ndarray:
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnsupportedModel(f"{where}: constant {tensor.name!r} holds NaN or infinity; all constants must be finite")
    return array


def _shape(value: Any, where: str) -> tuple[int, ...]:
    dimensions = value.type.tensor_type.shape.dim
    sizes = tuple(int(d.dim_value) if d.HasField("dim_value") else 0 for d in dimensions)
    if len(sizes) < 2 or any(size < 1 for size in sizes[1:]):
        raise UnsupportedModel(
            f"{where}: input {value.name!r} has shape {sizes}; expected (batch, sizes...) with every size but the batch fixed"
        )
    return sizes[1:]


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _constant(value: Value, label: str, what: str) -> Constant:
    if not isinstance(value, Constant):
        raise UnsupportedModel(f"{label}: {what} must be a constant")
    return value


def _line(walk: Walk, value: Value, label: str) -> Line:
    if isinstance(value, Line):
        return value
    if isinstance(value, RealInput):
        raise UsageError(
            f"{label} works on inputs that the model has not quantised: give the type that the inputs have in hardware with "
            "input_type (--input-type on the command line), for example 'fixed<16,6>', or let the model begin with a "
            "QuantIdentity"
        )
    raise UnsupportedModel(f"{label}: works on constants only")


def _require_last_axis(node: Any, value: Value, label: str) -> None:
    axis = _attributes(node).get("axis", -1)
    rank = len(value.shape) + 1 if isinstance(value, Line) else 0
    if node.op_type == "Softmax" and axis not in (-1, rank - 1):
        raise UnsupportedModel(f"{label}: axis is {axis}; supported is the last one")


@handles("Constant")
def _constant_node(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    attributes = _attributes(node)
    if "value" not in attributes:
        raise UnsupportedModel(f"{label}: holds {sorted(attributes)}; supported is a tensor")
    return Constant(_array(attributes["value"], label))


@handles("Identity", "Dropout")
def _identity(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    return operands[0]


@handles("Quant", "IntQuant")
def _quant(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    if len(operands) != 4:
        raise UnsupportedModel(f"{label}: has {len(operands)} inputs; expected value, scale, zero point and bit width")
    scale, zero, bits = (
        _constant(v, label, w).values for v, w in zip(operands[1:], ("scale", "zero point", "bit width"), strict=True)
    )
    attributes = _attributes(node)
    mode = str(attributes.get("rounding_mode", "ROUND")).upper()
    if mode not in ROUNDING_MODES:
        raise UnsupportedModel(
            f"{label}: rounding mode {mode!r} is not known; supported are {', '.join(ROUNDING_MODES)}"
        )
    quantiser = Quantiser.read(
        scale,
        zero,
        bits,
        signed=bool(attributes.get("signed", 1)),
        narrow=bool(attributes.get("narrow", 1)),
        rounding=ROUNDING_MODES[mode],
        label=label,
    )
    return _apply(walk, node, operands[0], quantiser, label)


@handles("BipolarQuant")
def _bipolar(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    scale = _constant(operands[1], label, "scale").values
    return _apply(walk, node, operands[0], Quantiser.bipolar(scale, label), label)


def _apply(walk: Walk, node: Any, value: Value, quantiser: Quantiser, label: str) -> Value:
    if isinstance(value, Constant):
        return quantised_constant(value, quantiser, label)
    name = node.name or node.output[0]
    if isinstance(value, RealInput):
        return walk.quantised_input(quantiser, value, f"{name!r} ({node.op_type})", label)
    return walk.requantise(value, quantiser, name, f"{name!r} ({node.op_type})", label)


@handles("Relu")
def _relu(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    line = _line(walk, operands[0], label)
    return replace(line, rectified=True)


@handles("MatMul")
def _matmul(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    weights = _constant(operands[1], label, "the second operand")
    return walk.dense(_line(walk, operands[0], label), weights, node.name or node.output[0], _source(node), label)


@handles("Gemm")
def _gemm(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    attributes = _attributes(node)
    if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0 or attributes.get("transA", 0):
        raise UnsupportedModel(f"{label}: supported are alpha = 1, beta = 1 and transA = 0, found {attributes}")
    weights = _constant(operands[1], label, "the second operand")
    if attributes.get("transB", 0):
        weights = weights.transposed()
    result = walk.dense(_line(walk, operands[0], label), weights, node.name or node.output[0], _source(node), label)
    if len(operands) == 3:
        result = walk.add(result, _constant(operands[2], label, "the bias"), 1, label)
    return result


def _source(node: Any) -> str:
    return f"{node.name or node.output[0]!r} ({node.op_type})"


@handles("Add", "Sub", "Mul", "Div")
def _arithmetic(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    first, second = operands
    if isinstance(first, Constant) and isinstance(second, Line) and node.op_type in ("Add", "Mul"):
        first, second = second, first
    line, constant = _line(walk, first, label), _constant(second, label, "one operand")
    if node.op_type in ("Add", "Sub"):
        return walk.add(line, constant, 1 if node.op_type == "Add" else -1, label)
    factors = fractions_of(constant.per_channel(line.channels, label))
    if node.op_type == "Div":
        if any(factor == 0 for factor in factors):
            raise UnsupportedModel(f"{label}: divides by 0")
        factors = [1 / factor for factor in factors]
    return walk.multiply(line, factors, label)


@handles("BatchNormalization")
def _batch_norm(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    line = _line(walk, operands[0], label)
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        _constant(v, label, w).per_channel(line.channels, label).astype(np.float64)
        for v, w in zip(operands[1:5], names, strict=True)
    )
    if len(line.shape) != 1:
        raise UnsupportedModel(f"{label}: supported on (batch, channels) tensors only, found {line.shape} a sample")
    epsilon = float(_attributes(node).get("epsilon", 1e-5))
    factors = fractions_of(gamma / np.sqrt(variance + epsilon))
    shifts = [b - m * f for b, m, f in zip(fractions_of(beta), fractions_of(mean), factors, strict=True)]
    return walk.shift(walk.multiply(line, factors, label), shifts, label)


@handles("Flatten", "Reshape")
def _reshape(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    value = operands[0]
    if isinstance(value, Constant):
        raise UnsupportedModel(f"{label}: works on constants only")
    size = int(np.prod(value.shape))
    if node.op_type == "Flatten":
        if _attributes(node).get("axis", 1) != 1:
            raise UnsupportedModel(f"{label}: axis is {_attributes(node)['axis']}; supported is 1")
        shape: tuple[int, ...] = (size,)
    else:
        target = [int(v) for v in _constant(operands[1], label, "the shape").values.reshape(-1)]
        # The batch axis is kept where the file says 0 or 1 for it, or -1 with all other sizes given.
        sizes = target[1:]
        known = int(np.prod([v for v in sizes if v != -1]))
        shape = tuple(size // known if v == -1 and known else v for v in sizes)
        if not shape or target[0] not in (0, 1, -1) or any(v < 1 for v in shape) or int(np.prod(shape)) != size:
            raise UnsupportedModel(
                f"{label}: to shape {target}; supported are shapes that keep the batch as the first axis"
            )
    return walk.reshape(value, Reshape(shape), node.name or node.output[0], _source(node), label)


@handles("Transpose")
def _transpose(walk: Walk, node: Any, operands: list[Value], label: str) -> Value:
    constant = _constant(operands[0], label, "the operand")
    permutation = list(_attributes(node).get("perm", range(constant.values.ndim)[::-1]))
    if constant.values.ndim != 2 or permutation not in ([0, 1], [1, 0]):
        raise UnsupportedModel(f"{label}: permutation {permutation}; supported is that of a matrix")
    return constant.transposed() if permutation == [1, 0] else constant
