# SPDX-License-Identifier: Apache-2.0
"""The integer graph as an ONNX model of standard operators on floats that hold integers: one entry an operation.

Exact within the bound that `float_exactness` checks first. It is what a processor runs fast; the exact exchange of a
graph with other tools is QONNX and no part of this module. Tensors are (batch, *shape); channels are the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    Input,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    TensorType,
    Threshold,
)
from toolchain.measure.float_exactness import clipped_thresholds, plan_requantise

if TYPE_CHECKING:
    import onnx

_OPSET = 17
_IR_VERSION = 8

Lowering = TypeVar("Lowering", bound=Callable[..., str])
LOWERINGS: dict[type[Operation], Callable[..., str]] = {}


def lowers(kind: type[Operation]) -> Callable[[Lowering], Lowering]:
    def register(function: Lowering) -> Lowering:
        LOWERINGS[kind] = function
        return function

    return register


class Writer:
    """Collects ONNX nodes and constants; every value gets a name of its own making (model names are untrusted)."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._shared: dict[float, str] = {}

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def array(self, values: np.ndarray) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def constant(self, values: np.ndarray) -> str:
        """Integers, as the model's float type."""
        return self.array(values.astype(np.float64).astype(self.dtype))

    def scalar(self, value: float) -> str:
        if value not in self._shared:
            self._shared[value] = self.array(np.array(value, dtype=self.dtype))
        return self._shared[value]

    def cast(self, value: str) -> str:
        from onnx import helper

        return self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(self.dtype))

    def clip(self, value: str, low: float | None, high: float | None) -> str:
        if low is not None:
            value = self.node("Max", value, self.scalar(low))
        return value if high is None else self.node("Min", value, self.scalar(high))


@lowers(Dense)
def dense(operation: Dense, x_type: TensorType, writer: Writer, x: str) -> str:
    return writer.node("MatMul", x, writer.constant(operation.weights))


@lowers(AddBias)
def add_bias(operation: AddBias, x_type: TensorType, writer: Writer, x: str) -> str:
    input_shift, bias_shift = operation.shifts(x_type.element)
    # An input that is always 0 may be shifted by any amount, also by more than a float holds.
    if input_shift and x_type.element.magnitude:
        x = writer.node("Mul", x, writer.scalar(float(1 << input_shift)))
    return writer.node("Add", x, writer.constant(operation.bias.astype(object) << bias_shift))


@lowers(Relu)
def relu(operation: Relu, x_type: TensorType, writer: Writer, x: str) -> str:
    shift = operation.negative_slope_shift
    if shift is None:
        y = writer.node("Relu", x)
    else:
        # 2**shift * x is the larger of the two exactly where x >= 0.
        y = writer.node("Max", writer.node("Mul", x, writer.scalar(float(1 << shift))), x)
    highest = x_type.element.maximum << (shift or 0)
    if operation.upper_bound is not None and operation.upper_bound < highest:
        y = writer.clip(y, None, operation.upper_bound)
    return y


@lowers(Threshold)
def threshold(operation: Threshold, x_type: TensorType, writer: Writer, x: str) -> str:
    axis = writer.array(np.array([-1], dtype=np.int64))
    column = writer.node("Unsqueeze", x, axis)
    reached = writer.node("GreaterOrEqual", column, writer.constant(clipped_thresholds(operation, x_type)))
    count = writer.node("ReduceSum", writer.cast(reached), axis, keepdims=0)
    return writer.node("Add", count, writer.scalar(float(operation.offset))) if operation.offset else count


@lowers(ArgMax)
def argmax(operation: ArgMax, x_type: TensorType, writer: Writer, x: str) -> str:
    return writer.cast(writer.node("ArgMax", x, axis=-1, keepdims=1, select_last_index=0))


@lowers(Reshape)
def reshape(operation: Reshape, x_type: TensorType, writer: Writer, x: str) -> str:
    return writer.node("Reshape", x, writer.array(np.array([-1, *operation.shape], dtype=np.int64)))


@lowers(Requantise)
def requantise(operation: Requantise, x_type: TensorType, writer: Writer, x: str) -> str:
    plan = plan_requantise(operation, x_type)
    if plan.scale_exponent:
        x = writer.node("Mul", x, writer.scalar(2.0**plan.scale_exponent))
    if plan.scale_exponent < 0:
        x = _round(operation.rounding, writer, x)
    return _fit(operation, writer, x) if plan.leaves_target else x


def _round(rounding: Rounding, writer: Writer, quotient: str) -> str:
    """Round exact quotients to integers. A tie is where the quotient equals floor + 1/2, which is exact too."""

    def half_up() -> str:
        return writer.node("Floor", writer.node("Add", quotient, writer.scalar(0.5)))

    def half_down() -> str:
        return writer.node("Ceil", writer.node("Sub", quotient, writer.scalar(0.5)))

    def by_sign(negative: Callable[[], str], other: Callable[[], str]) -> str:
        return writer.node("Where", writer.node("Less", quotient, writer.scalar(0.0)), negative(), other())

    def plain(operator: str) -> Callable[[], str]:
        return lambda: writer.node(operator, quotient)

    choices: dict[Rounding, Callable[[], str]] = {
        Rounding.TRUNCATE: plain("Floor"),
        Rounding.CEILING: plain("Ceil"),
        Rounding.TRUNCATE_ZERO: lambda: by_sign(plain("Ceil"), plain("Floor")),
        Rounding.AWAY: lambda: by_sign(plain("Floor"), plain("Ceil")),
        Rounding.HALF_EVEN: plain("Round"),  # ties to even, by the operator's definition
        Rounding.HALF_UP: half_up,
        Rounding.HALF_DOWN: half_down,
        Rounding.HALF_ZERO: lambda: by_sign(half_up, half_down),
        Rounding.HALF_AWAY: lambda: by_sign(half_down, half_up),
        Rounding.HALF_DPU: lambda: by_sign(half_up, plain("Round")),
    }
    return choices[rounding]()


def _fit(operation: Requantise, writer: Writer, y: str) -> str:
    target = operation.target
    if operation.overflow is Overflow.SATURATE:
        return writer.clip(y, target.minimum, target.maximum)
    if operation.overflow is Overflow.SATURATE_ZERO:
        below = writer.node("Less", y, writer.scalar(target.minimum))
        above = writer.node("Greater", y, writer.scalar(target.maximum))
        return writer.node("Where", writer.node("Or", below, above), writer.scalar(0.0), y)
    modulus = float(1 << target.width)
    quotient = _floor_quotient(writer, y, modulus)
    unsigned = writer.node("Sub", y, writer.node("Mul", quotient, writer.scalar(modulus)))
    if not target.signed:
        return unsigned
    upper_half = writer.node("GreaterOrEqual", unsigned, writer.scalar(modulus / 2))
    wrapped = writer.node("Where", upper_half, writer.node("Sub", unsigned, writer.scalar(modulus)), unsigned)
    if operation.overflow is Overflow.WRAP:
        return wrapped
    even = writer.node("Mul", _floor_quotient(writer, quotient, 2.0), writer.scalar(2.0))
    bit_above = writer.node("Greater", quotient, even)
    differs = writer.node("Xor", bit_above, writer.node("Less", wrapped, writer.scalar(0.0)))
    return writer.node("Where", differs, writer.node("Sub", writer.scalar(-1.0), wrapped), wrapped)


def _floor_quotient(writer: Writer, value: str, divisor: float) -> str:
    """``floor(value / divisor)`` for a power of two, exact."""
    return writer.node("Floor", writer.node("Mul", value, writer.scalar(1.0 / divisor)))


def onnx_model(graph: Graph, dtype: str) -> onnx.ModelProto:
    """A model with float inputs `input_<i>` and outputs `output_<i>`, in the graph's order, of any batch size.

    dtype: 'float32' or 'float64', as `float_exactness.float_precision` found.
    """
    import onnx
    from onnx import helper

    writer = Writer(dtype)
    element = helper.np_dtype_to_tensor_dtype(writer.dtype)

    def described(name: str, tensor: TensorType) -> Any:
        return helper.make_tensor_value_info(name, element, ["batch", *tensor.shape])

    names: dict[str, str] = {}
    inputs: list[Any] = []
    outputs: list[Any] = []
    for node in graph.nodes:
        if isinstance(node.operation, Input):
            names[node.name] = f"input_{len(inputs)}"
            inputs.append(described(names[node.name], graph.types[node.name]))
        else:
            lower = LOWERINGS[type(node.operation)]
            names[node.name] = lower(node.operation, graph.input_types(node)[0], writer, names[node.inputs[0]])
    for index, output in enumerate(graph.outputs):
        writer.nodes.append(helper.make_node("Identity", [names[output.tensor]], [f"output_{index}"]))
        outputs.append(described(f"output_{index}", graph.types[output.tensor]))
    body = helper.make_graph(writer.nodes, "integer_graph", inputs, outputs, writer.constants)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION, producer_name="bitwright"
    )
    onnx.checker.check_model(model)
    return model
