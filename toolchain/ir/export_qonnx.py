# SPDX-License-Identifier: Apache-2.0
"""The integer graph as a QONNX file that qonnx executes to exactly the same integers, for Netron, FINN and hls4ml.

A tensor of the file holds the real value ``integer * 2**-fraction`` as float32 (free scales stay outside, in the file's
metadata), so every Quant node has a power-of-two scale. float32 is exact for magnitudes up to 2**24 steps; a graph that
needs more anywhere is refused, naming the node.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from toolchain.errors import ToolNotFound, UnsupportedModel
from toolchain.ir.graph import Graph, Node
from toolchain.ir.operation import FLOAT32_EXACT, Operation
from toolchain.ir.ops.add_bias import AddBias
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.dense import Dense
from toolchain.ir.ops.input import Input
from toolchain.ir.ops.relu import Relu
from toolchain.ir.ops.requantise import Requantise
from toolchain.ir.ops.reshape import Reshape
from toolchain.ir.ops.threshold import Threshold
from toolchain.ir.rounding import Overflow, Rounding
from toolchain.ir.types import IntegerType, TensorType

QONNX_DOMAIN = "qonnx.custom_op.general"
#: Where the file says what its numbers stand for outside: JSON, see `_describe_ends`.
METADATA_KEY = "bitwright"
#: FINN reads up to this version of ONNX's operations.
_OPSET = 18
_IR_VERSION = 9
#: Steps finer or coarser than 2**-+this come near the ends of float32's exponents.
_MAXIMUM_FRACTION = 64

#: The modes that QONNX has, by its names; the others are built from standard operations.
_QONNX_ROUNDING = {
    Rounding.HALF_EVEN: "ROUND",
    Rounding.TRUNCATE: "FLOOR",
    Rounding.CEILING: "CEIL",
    Rounding.TRUNCATE_ZERO: "DOWN",
    Rounding.AWAY: "UP",
    Rounding.HALF_AWAY: "HALF_UP",
    Rounding.HALF_ZERO: "HALF_DOWN",
}
#: Modes that are computed by adding or subtracting half a step in float32.
_ADDS_HALF = (Rounding.HALF_AWAY, Rounding.HALF_ZERO, Rounding.HALF_UP, Rounding.HALF_DOWN, Rounding.HALF_DPU)


def export_qonnx(graph: Graph, path: str | os.PathLike[str], *, batch: int = 1) -> Path:
    """Write the graph as a QONNX file and return its path.

    batch: samples in one execution of the file. The file's inputs and outputs are float32 tensors of shape (batch, *shape)
        named as the graph's nodes; a value is ``integer * 2**-fraction``. Node names are the graph's, except that a node which
        takes several operations adds '/what' to the inner ones; the user's layers are in the doc_strings.
    Raises UnsupportedModel where float32 cannot hold every integer exactly, ToolNotFound without onnx.
    """
    try:
        import onnx
    except ImportError as error:
        raise ToolNotFound(
            f"onnx cannot be imported ({error}); install it with: pip install 'bitwright[qonnx]'"
        ) from None
    path = Path(path)
    emitter = _Emitter(graph, batch)
    for node in graph.nodes:
        emitter.lower(node)
    model = emitter.model()
    onnx.checker.check_model(model)
    onnx.save_model(model, path)
    return path


def _describe_ends(graph: Graph) -> str:
    """JSON: for each input and output its fraction, and the free scale and offset that the file leaves out."""
    inputs = []
    for node in graph.inputs:
        operation: Any = node.operation
        entry = {
            "name": node.name,
            "fraction": operation.element.fraction,
            "scale": operation.scale,
            "offset": operation.offset,
        }
        inputs.append(entry)
    outputs = [
        {
            "name": output.name,
            "tensor": output.tensor,
            "fraction": graph.types[output.tensor].element.fraction,
            "scale": list(output.scale),
            "offset": list(output.offset),
            "host_function": output.host_function,
        }
        for output in graph.outputs
    ]
    return json.dumps({"graph_digest": graph.digest, "inputs": inputs, "outputs": outputs})


def _utf8(name: str) -> str:
    """The name as protobuf can hold it: lone surrogates replaced, everything else unchanged."""
    return name.encode("utf-8", "replace").decode("utf-8")


class _Emitter:
    """Collects ONNX nodes, constants and shapes. One graph node at a time; `_node` is the current one."""

    def __init__(self, graph: Graph, batch: int) -> None:
        self._graph, self._batch = graph, batch
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._shapes: list[Any] = []
        self._inputs: list[Any] = []
        self._taken = {_utf8(node.name) for node in graph.nodes}
        #: Graph node name -> tensor of the file.
        self._tensors: dict[str, str] = {}
        self._node: Node = graph.nodes[0]

    def lower(self, node: Node) -> None:
        self._node = node
        result = self._graph.types[node.name]
        self._require_exact(result.element.magnitude, "its results")
        self._require_fraction(result.element.fraction)
        if isinstance(node.operation, Input):
            self._tensors[node.name] = self._input(result)
            return
        lowering = _LOWERINGS.get(type(node.operation))
        if lowering is None:
            known = ", ".join(sorted(cls.kind for cls in LOWERED))
            raise UnsupportedModel(f"{node}: operation {node.operation.kind!r} has no form in QONNX here; {known} have")
        operands = [self._tensors[name] for name in node.inputs]
        self._tensors[node.name] = lowering(self, node.operation, operands, self._graph.input_types(node), result)

    def _input(self, result: TensorType) -> str:
        from onnx import TensorProto, helper

        name = _utf8(self._node.name)
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [self._batch, *result.shape]))
        return self.quantise(name, result, result.element, "ROUND", "quantised", final=False)

    def model(self) -> Any:
        from onnx import TensorProto, helper

        outputs = []
        for tensor in dict.fromkeys(output.tensor for output in self._graph.outputs):
            shape = [self._batch, *self._graph.types[tensor].shape]
            outputs.append(helper.make_tensor_value_info(self._tensors[tensor], TensorProto.FLOAT, shape))
        names = {value.name for value in (*outputs, *self._inputs)}
        graph = helper.make_graph(
            self._nodes,
            _utf8(self._graph.name) or "graph",
            self._inputs,
            outputs,
            self._constants,
            value_info=[value for value in self._shapes if value.name not in names],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(QONNX_DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="bitwright", ir_version=_IR_VERSION)
        helper.set_model_props(model, {METADATA_KEY: _describe_ends(self._graph)})
        return model

    def _require_exact(self, magnitude: int, what: str) -> None:
        if magnitude > FLOAT32_EXACT:
            raise UnsupportedModel(
                f"{self._node}: {what} reach {magnitude} steps, and float32, in which QONNX computes, is exact up to "
                f"{FLOAT32_EXACT} only; use fewer bits, or the graph file itself"
            )

    def _require_fraction(self, fraction: int) -> None:
        if abs(fraction) > _MAXIMUM_FRACTION:
            raise UnsupportedModel(
                f"{self._node}: its binary point is at {fraction}; float32, in which QONNX computes, allows "
                f"-{_MAXIMUM_FRACTION} to {_MAXIMUM_FRACTION} here"
            )

    # What lowerings use.

    def refuse(self, reason: str) -> NoReturn:
        raise UnsupportedModel(f"{self._node}: {reason}")

    def require_exact(self, magnitude: int, what: str) -> None:
        self._require_exact(magnitude, what)

    def unique(self, what: str) -> str:
        """A name that starts with the current node's and is not taken."""
        base = f"{_utf8(self._node.name)}/{what}"
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name

    def constant(self, values: Any, what: str) -> str:
        """A float32 constant that must be exact. int64 arrays stay int64 (shapes)."""
        from onnx import numpy_helper

        array = np.asarray(values)
        if array.dtype != np.int64:
            exact = array.astype(np.float64)
            array = exact.astype(np.float32)
            assert (array.astype(np.float64) == exact).all(), "constants are checked before they come here"
        name = self.unique(what)
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def add(
        self, kind: str, inputs: list[str], shape: tuple[int, ...], what: str, *, final: bool = False, element: int | None = None,
        **attributes: Any,
    ) -> str:  # fmt: skip
        """A node with one result. final: it is the graph node's own result and takes its name. element: ONNX's type number."""
        from onnx import TensorProto, helper

        name = _utf8(self._node.name) if final else self.unique(what)
        domain = QONNX_DOMAIN if kind in ("Quant", "MultiThreshold") else ""
        node = helper.make_node(
            kind, inputs, [name], name=name, domain=domain, doc_string=_utf8(self._node.source), **attributes
        )
        self._nodes.append(node)
        type_number = TensorProto.FLOAT if element is None else element
        self._shapes.append(helper.make_tensor_value_info(name, type_number, [self._batch, *shape]))
        return name

    def quantise(
        self, tensor: str, tensor_type: TensorType, target: IntegerType, mode: str, what: str, *, final: bool
    ) -> str:
        """Quant to `target`, and a Clip where its interval is not one of those that QONNX can say."""
        # QONNX takes one signed bit for -1 and +1; -1 and 0 need two bits and a Clip.
        width = 2 if target.signed and target.width == 1 else target.width
        full = IntegerType(target.signed, width)
        symmetric = IntegerType(True, width, minimum=-full.maximum) if target.signed and width > 1 else None
        interval = (target.minimum, target.maximum)
        narrow = symmetric is not None and interval == (symmetric.minimum, symmetric.maximum)
        clip = not narrow and interval != (full.minimum, full.maximum)
        step = 2.0**-target.fraction
        constants = [
            self.constant(step, f"{what}_scale"),
            self.constant(0.0, f"{what}_zero_point"),
            self.constant(float(width), f"{what}_bits"),
        ]
        shape = tensor_type.shape
        attributes: dict[str, Any] = {"signed": int(target.signed), "narrow": int(narrow), "rounding_mode": mode}
        result = self.add("Quant", [tensor, *constants], shape, what, final=final and not clip, **attributes)
        if clip:
            ends = [
                self.constant(v * step, f"{what}_{end}")
                for v, end in zip(interval, ("minimum", "maximum"), strict=True)
            ]
            result = self.add("Clip", [result, *ends], shape, f"{what}_interval", final=final)
        return result

    def quantised_constant(self, integers: np.ndarray, element: IntegerType, what: str) -> str:
        """Integers as a constant and the Quant node that tells their type (and leaves them as they are)."""
        self._require_exact(max(1, int(np.abs(integers).max())), f"its {what}")
        self._require_fraction(element.fraction)
        values = np.ldexp(integers.astype(np.float64), -element.fraction)
        name = self.constant(values, what)
        from onnx import TensorProto, helper

        width = 2 if element.signed and element.width == 1 else element.width
        constants = [
            self.constant(2.0**-element.fraction, f"{what}_scale"),
            self.constant(0.0, f"{what}_zero_point"),
            self.constant(float(width), f"{what}_bits"),
        ]
        result = self.unique(f"{what}_quantised")
        node = helper.make_node(
            "Quant", [name, *constants], [result], name=result, domain=QONNX_DOMAIN, doc_string=_utf8(self._node.source),
            signed=int(element.signed), narrow=0, rounding_mode="ROUND",
        )  # fmt: skip
        self._nodes.append(node)
        self._shapes.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, list(values.shape)))
        return result


Lowering = Callable[[_Emitter, Any, list[str], tuple[TensorType, ...], TensorType], str]


def _dense(emit: _Emitter, op: Dense, x: list[str], types: tuple[TensorType, ...], result: TensorType) -> str:
    largest = max(sum(abs(int(w)) for w in column) for column in op.weights.T) * types[0].element.magnitude
    emit.require_exact(largest, "its partial sums")
    weights = emit.quantised_constant(op.weights, op.weight_type, "weights")
    return emit.add("MatMul", [x[0], weights], result.shape, "", final=True)


def _add_bias(emit: _Emitter, op: AddBias, x: list[str], types: tuple[TensorType, ...], result: TensorType) -> str:
    element = IntegerType.spanning(int(op.bias.min()), int(op.bias.max()), op.bias_fraction)
    bias = emit.quantised_constant(op.bias, element, "bias")
    return emit.add("Add", [x[0], bias], result.shape, "", final=True)


def _relu(emit: _Emitter, op: Relu, x: list[str], types: tuple[TensorType, ...], result: TensorType) -> str:
    bounded = op.upper_bound is not None
    if op.negative_slope_shift is None:
        tensor = emit.add("Relu", x, result.shape, "relu", final=not bounded)
    else:
        slope = 2.0**-op.negative_slope_shift
        tensor = emit.add("LeakyRelu", x, result.shape, "relu", final=not bounded, alpha=slope)
    if op.upper_bound is None:
        return tensor
    # A bound that no value reaches may be too large for float32; it does nothing, at whatever value beyond.
    bound = min(op.upper_bound, FLOAT32_EXACT)
    limit = emit.constant(np.ldexp(float(bound), -result.element.fraction), "upper_bound")
    return emit.add("Min", [tensor, limit], result.shape, "", final=True)


def _threshold(emit: _Emitter, op: Threshold, x: list[str], types: tuple[TensorType, ...], result: TensorType) -> str:
    element = types[0].element
    layout = {1: "NC", 2: "NWC", 3: "NHWC"}.get(len(result.shape))
    if layout is None:
        emit.refuse(f"QONNX has thresholds on up to 3 axes, the input has shape {types[0].shape}; reshape it before")
    # Thresholds outside the input's interval are always or never reached, wherever exactly they are.
    table = np.minimum(np.maximum(op.thresholds, element.minimum), element.maximum + 1)
    emit.require_exact(int(np.abs(table).max()), "its thresholds")
    emit.require_exact(abs(op.offset) + op.thresholds.shape[1], "its results")
    thresholds = emit.constant(np.ldexp(table.astype(np.float64), -element.fraction), "thresholds")
    word = IntegerType.spanning(op.offset, op.offset + op.thresholds.shape[1])
    step = 2.0**-op.fraction
    return emit.add(
        "MultiThreshold", [x[0], thresholds], result.shape, "", final=True,
        out_scale=step, out_bias=op.offset * step, out_dtype=f"{'INT' if word.signed else 'UINT'}{word.width}",
        data_layout=layout,
    )  # fmt: skip


def _reshape(emit: _Emitter, op: Reshape, x: list[str], types: tuple[TensorType, ...], result: TensorType) -> str:
    shape = emit.constant(np.array([0, *op.shape], dtype=np.int64), "shape")  # 0: the batch as it is
    return emit.add("Reshape", [x[0], shape], result.shape, "", final=True)


def _argmax(emit: _Emitter, op: ArgMax, x: list[str], types: tuple[TensorType, ...], result: TensorType) -> str:
    from onnx import TensorProto

    index = emit.add("ArgMax", x, result.shape, "index", element=TensorProto.INT64, axis=-1, keepdims=1)
    return emit.add("Cast", [index], result.shape, "", final=True, to=TensorProto.FLOAT)


def _requantise(emit: _Emitter, op: Requantise, x: list[str], types: tuple[TensorType, ...], result: TensorType) -> str:
    (x_type,) = types
    shift = op.shift(x_type.element)
    if op.rounding in _ADDS_HALF and shift > 0:
        emit.require_exact(x_type.element.magnitude + (1 << (shift - 1)), "values with half a step added")
    rounded = (
        Requantise(IntegerType(True, 4096, op.target.fraction), op.rounding, Overflow.SATURATE).infer(x_type).element
    )
    emit.require_exact(rounded.magnitude, "rounded values")
    fits = op.target.minimum <= rounded.minimum and rounded.maximum <= op.target.maximum
    mode = _QONNX_ROUNDING.get(op.rounding)
    if mode is not None and (fits or op.overflow is Overflow.SATURATE):
        return emit.quantise(x[0], x_type, op.target, mode, "quantise", final=True)
    word = IntegerType.spanning(rounded.minimum, rounded.maximum, op.target.fraction)
    word = IntegerType(word.signed, word.width, word.fraction)
    tensor = (
        emit.quantise(x[0], x_type, word, mode, "round", final=False)
        if mode is not None
        else _round(emit, op.rounding, x[0], x_type, op.target.fraction)
    )
    if not fits and op.overflow is not Overflow.SATURATE:
        tensor = _overflow(emit, op, tensor, x_type.shape, rounded)
    return emit.quantise(tensor, x_type, op.target, "ROUND", "quantise", final=True)


def _round(emit: _Emitter, rounding: Rounding, x: str, x_type: TensorType, fraction: int) -> str:
    """The rounding modes that QONNX has no name for, from standard operations; the result is real again."""
    shape = x_type.shape
    half = emit.constant(0.5, "half")
    steps = emit.add("Mul", [x, emit.constant(2.0**fraction, "steps_per_unit")], shape, "steps")

    def half_up() -> str:
        return emit.add("Floor", [emit.add("Add", [steps, half], shape, "plus_half")], shape, "half_up")

    if rounding is Rounding.HALF_UP:
        whole = half_up()
    elif rounding is Rounding.HALF_DOWN:
        whole = emit.add("Ceil", [emit.add("Sub", [steps, half], shape, "minus_half")], shape, "half_down")
    else:
        assert rounding is Rounding.HALF_DPU
        negative = emit.add("Less", [steps, emit.constant(0.0, "zero")], shape, "is_negative", element=_BOOL)
        whole = emit.add(
            "Where", [negative, half_up(), emit.add("Round", [steps], shape, "half_even")], shape, "half_dpu"
        )
    return emit.add("Mul", [whole, emit.constant(2.0**-fraction, "unit")], shape, "rounded")


#: ONNX's number for booleans (onnx.TensorProto.BOOL), without importing onnx for it.
_BOOL = 9


def _overflow(emit: _Emitter, op: Requantise, x: str, shape: tuple[int, ...], rounded: IntegerType) -> str:
    """The overflow modes other than saturation, on whole steps; the result is real again."""
    target = op.target
    steps = emit.add(
        "Mul", [x, emit.constant(2.0**target.fraction, "overflow_steps_per_unit")], shape, "overflow_steps"
    )
    if op.overflow is Overflow.SATURATE_ZERO:
        low, high = (
            emit.constant(float(v), end) for v, end in ((target.minimum, "lowest"), (target.maximum, "highest"))
        )
        at_least = emit.add("GreaterOrEqual", [steps, low], shape, "at_least", element=_BOOL)
        at_most = emit.add("LessOrEqual", [steps, high], shape, "at_most", element=_BOOL)
        inside = emit.add("And", [at_least, at_most], shape, "inside", element=_BOOL)
        whole = emit.add("Where", [inside, steps, emit.constant(0.0, "outside")], shape, "saturated")
    else:
        emit.require_exact(rounded.magnitude + (1 << target.width), "values on their way round the word")
        modulus = emit.constant(float(1 << target.width), "modulus")
        lowest = emit.constant(float(target.lowest), "lowest")
        from_lowest = emit.add("Sub", [steps, lowest], shape, "from_lowest")
        turns = emit.add("Floor", [emit.add("Div", [from_lowest, modulus], shape, "turns_and_rest")], shape, "turns")
        whole = emit.add("Sub", [steps, emit.add("Mul", [turns, modulus], shape, "turned")], shape, "wrapped")
        if op.overflow is Overflow.WRAP_SIGN_MAGNITUDE:
            whole = _invert_where_signs_differ(emit, steps, whole, modulus, shape)
    return emit.add("Mul", [whole, emit.constant(2.0**-target.fraction, "overflow_unit")], shape, "in_range")


def _invert_where_signs_differ(emit: _Emitter, steps: str, wrapped: str, modulus: str, shape: tuple[int, ...]) -> str:
    """-1 - wrapped where the bit above the word differs from the word's sign bit."""
    above = emit.add("Floor", [emit.add("Div", [steps, modulus], shape, "above_and_rest")], shape, "above")
    two, zero, minus_one = (emit.constant(v, n) for v, n in ((2.0, "two"), (0.0, "wrap_zero"), (-1.0, "minus_one")))
    pairs = emit.add("Floor", [emit.add("Div", [above, two], shape, "pairs_and_rest")], shape, "pairs")
    bit = emit.add("Sub", [above, emit.add("Mul", [pairs, two], shape, "even_part")], shape, "bit_above")
    is_set = emit.add("Greater", [bit, zero], shape, "bit_is_set", element=_BOOL)
    is_negative = emit.add("Less", [wrapped, zero], shape, "sign_is_set", element=_BOOL)
    differ = emit.add("Xor", [is_set, is_negative], shape, "differ", element=_BOOL)
    inverted = emit.add("Sub", [minus_one, wrapped], shape, "inverted")
    return emit.add("Where", [differ, inverted, wrapped], shape, "sign_magnitude")


_LOWERINGS: dict[type[Operation], Lowering] = {
    AddBias: _add_bias,
    ArgMax: _argmax,
    Dense: _dense,
    Relu: _relu,
    Requantise: _requantise,
    Reshape: _reshape,
    Threshold: _threshold,
}

#: The operations that have a form in QONNX.
LOWERED: tuple[type[Operation], ...] = (Input, *_LOWERINGS)
