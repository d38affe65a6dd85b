# SPDX-License-Identifier: Apache-2.0
"""A network as an integer QONNX model that FINN's own transformations take: one function an operation. Imports QONNX.

Where FINN has no node for an operation, the model has a gap: the operation's result is an input of the model, and what it reads
an output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from toolchain.backends.finn.layers import canonical_thresholds, finn_shape, weight_matrix
from toolchain.ir import Graph, IntegerType, Node, TensorType
from toolchain.passes.folding_model import is_depthwise

QONNX_DOMAIN = "qonnx.custom_op.general"
HARDWARE_DOMAIN = "finn.custom_op.fpgadataflow"
#: FINN computes on float32 arrays, which hold every integer up to this magnitude.
_EXACT_IN_FLOAT32 = 1 << 24
#: FINN gives sums and products 32 bits at most.
_MOST_BITS = 32


class NotExpressible(Exception):
    """An operation that FINN has no node for; says what FINN lacks."""


@dataclass(frozen=True)
class Place:
    """A node of the graph that is to be expressed. inputs, output: its tensors' names; before, after: their types."""

    node: Node
    inputs: tuple[str, ...]
    output: str
    before: tuple[TensorType, ...]
    after: TensorType

    @property
    def operation(self) -> Any:
        return self.node.operation


Handler = Callable[["Writer", Place], None]
_HANDLERS: dict[str, Handler] = {}


def expresses(*kinds: str) -> Callable[[Handler], Handler]:
    """The function that writes operations of these kinds; it raises NotExpressible before it adds anything."""

    def register(handler: Handler) -> Handler:
        for kind in kinds:
            assert kind not in _HANDLERS
            _HANDLERS[kind] = handler
        return handler

    return register


class Writer:
    """The model as it grows. shapes, types: of its tensors, by name; arrays: its constants."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.types: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.indices: set[str] = set()
        self.windows: dict[str, list[int]] = {}

    def add(
        self, kind: str, inputs: Sequence[str], outputs: str | Sequence[str], domain: str = "", **attributes: Any
    ) -> None:
        outputs = [outputs] if isinstance(outputs, str) else list(outputs)
        name = f"{outputs[-1]}_{kind}"
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=name, domain=domain, **attributes))

    def hardware(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        """A node of FINN's hardware graph, where QONNX has none that FINN turns into it."""
        self.add(kind, inputs, output, HARDWARE_DOMAIN, backend="fpgadataflow", **attributes)

    def constant(self, name: str, values: Any, kind: Any = None) -> str:
        """A constant, of integers that float32 holds, where FINN keeps it. Raises NotExpressible for others."""
        exact = np.asarray(values)
        largest = int(np.abs(exact.astype(object)).max())
        if kind is not None and largest > _EXACT_IN_FLOAT32:
            raise NotExpressible(f"FINN keeps constants in float32, exact up to 2**24; found {largest}")
        self.arrays[name] = exact if kind is None else exact.astype(np.float32)
        if kind is not None:
            self.types[name] = kind
        return name

    def tensor(self, name: str, shape: Sequence[int], kind: Any) -> str:
        self.shapes[name], self.types[name] = tuple(shape), kind
        return name

    def windowed(
        self, place: Place, window: list[int], strides: list[int], dilation: list[int], depthwise: bool
    ) -> str:
        """The sliding windows of a place's input, as a tensor."""
        (source,) = place.inputs
        *positions, _ = self.shapes[place.output]
        channels = self.shapes[source][-1]
        windows = self.tensor(f"{place.output}_windows", (*positions, prod(window) * channels), self.types[source])
        self.add(
            "Im2Col", [source], windows, QONNX_DOMAIN, stride=strides, kernel_size=window, dilations=dilation,
            pad_amount=[0, 0, 0, 0], depthwise=int(depthwise), input_shape=str(self.shapes[source]),
        )  # fmt: skip
        return windows


def whole_model(graph: Graph) -> tuple[Any, dict[str, str]]:
    """The model, channels last, with one node or more for each of the graph's, and why there is none for some: name -> reason.

    Tensors are called t<number of the graph's node>; what stands before a node's result has its name and more.
    """
    writer = Writer()
    tensors = {node.name: f"t{number}" for number, node in enumerate(graph.nodes)}
    missing: dict[str, str] = {}
    for node in graph.nodes:
        result = graph.types[node.name]
        output = writer.tensor(tensors[node.name], (1, *finn_shape(result.shape)), word(result.element))
        if node.operation.kind == "input":
            continue
        inputs = tuple(tensors[name] for name in node.inputs)
        place = Place(node, inputs, output, tuple(graph.input_types(node)), result)
        try:
            if node.operation.kind not in _HANDLERS:
                raise NotExpressible(f"FINN has no node for operation {node.operation.kind!r}")
            _HANDLERS[node.operation.kind](writer, place)
        except NotExpressible as error:
            missing[node.name] = f"{node}: {error}"
    return _model(writer, [tensors[output.tensor] for output in graph.outputs]), missing


def _model(writer: Writer, results: Sequence[str]) -> Any:
    """The model of the writer's nodes. What no node gives is an input, what none reads is an output."""
    given = {name for node in writer.nodes for name in node.output}
    read = {name for node in writer.nodes for name in node.input if name not in writer.arrays}
    sources = [name for name in writer.shapes if name in read - given]
    sinks = [name for name in writer.shapes if name in given and (name not in read or name in results)]

    def info(name: str) -> Any:
        kind = TensorProto.INT64 if name in writer.indices else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, writer.shapes[name])

    inner = [info(name) for name in writer.shapes if name in given and name not in sinks]
    unread = {name for node in writer.nodes if node.op_type == "TopK" for name in node.output[:1]}
    graph = helper.make_graph(
        writer.nodes, "network", [info(name) for name in sources], [info(name) for name in sinks if name not in unread],
        value_info=[*inner, *(info(name) for name in unread)],
    )  # fmt: skip
    domains = (("", 18), (QONNX_DOMAIN, 1), (HARDWARE_DOMAIN, 1))
    model = ModelWrapper(
        helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains])
    )
    arrays = {name: array for name, array in writer.arrays.items() if any(name in node.input for node in writer.nodes)}
    for name, array in arrays.items():
        model.set_initializer(name, array)
    for name, kind in writer.types.items():
        if name in given | read | set(arrays):
            model.set_tensor_datatype(name, kind)
    for name, shape in writer.shapes.items():
        if len(shape) == 4 and name in given | read:
            model.set_tensor_layout(name, ["N", "H", "W", "C"])
    for name, window in writer.windows.items():
        assert name in arrays
        model.set_tensor_sparsity(name, {"dw": {"kernel_shape": window}})
    return model


def word(element: IntegerType) -> Any:
    """FINN's type of at least two bits that holds an element's interval."""
    if element.minimum >= 0:
        return DataType[f"UINT{max(2, element.maximum.bit_length())}"]
    return _spanning(element.minimum, element.maximum)


def _spanning(low: int, high: int) -> Any:
    """FINN's signed type of at least two bits from `low` to `high`."""
    return DataType["INT" + str(max(2, 1 + max((-low - 1).bit_length() if low < 0 else 0, max(high, 0).bit_length())))]


def _two(values: Sequence[int]) -> list[int]:
    """One entry for rows and columns of one for each spatial axis."""
    if len(values) > 2:
        raise NotExpressible(f"FINN has windows of two axes, not of {len(values)}")
    return [1] * (2 - len(values)) + [int(value) for value in values]


def _require_fitting(place: Place) -> None:
    width = word(place.after.element).bitwidth()
    if width > _MOST_BITS:
        raise NotExpressible(f"FINN's sums and products have up to {_MOST_BITS} bits, not {width}")


@expresses("reshape")
def _reshape(writer: Writer, place: Place) -> None:
    shape = writer.constant(f"{place.output}_shape", np.array(writer.shapes[place.output], np.int64))
    writer.add("Reshape", [*place.inputs, shape], place.output)


@expresses("dense", "conv")
def _matrix(writer: Writer, place: Place) -> None:
    operation, output, (source,) = place.operation, place.output, place.inputs
    _require_fitting(place)
    weights = weight_matrix(operation)
    limit = int(np.abs(weights.astype(object)).max())
    windows = _two(operation.window) if operation.kind == "conv" else [1, 1]
    matrix = writer.constant(f"{output}_weights", weights, DataType[f"INT{max(2, 1 + limit.bit_length())}"])
    if is_depthwise(operation):
        writer.windows[matrix] = windows
    if operation.kind == "conv" and (windows != [1, 1] or max(operation.strides) > 1):
        dilation = _two(operation.dilation)
        source = writer.windowed(place, windows, _two(operation.strides), dilation, is_depthwise(operation))
    writer.add("MatMul", [source, matrix], output)


@expresses("threshold")
def _threshold(writer: Writer, place: Place) -> None:
    element, result, output = place.before[0].element, place.after, place.output
    table, lowest, kind = canonical_thresholds(place.operation, element, result.element)
    table = np.broadcast_to(table, (result.channels, table.shape[1]))
    rows = writer.constant(f"{output}_thresholds", table, _spanning(int(table.min()) - 1, int(table.max())))
    writer.types[output] = DataType[kind.finn_name]
    writer.add(
        "MultiThreshold", [*place.inputs, rows], output, QONNX_DOMAIN, out_dtype=kind.finn_name, out_bias=float(lowest),
        data_layout="NHWC" if len(writer.shapes[output]) == 4 else "NC",
    )  # fmt: skip


@expresses("pad")
def _pad(writer: Writer, place: Place) -> None:
    *spatial, channels = place.operation.widths
    if place.operation.value != 0 or any(channels) or not 1 <= len(spatial) <= 2:
        raise NotExpressible("FINN pads images and lines with zeros, and not along the channels")
    (top, bottom), (left, right) = [(0, 0)] * (2 - len(spatial)) + spatial
    (source,) = place.inputs
    writer.hardware(
        "FMPadding", [source], place.output, ImgDim=list(writer.shapes[source][1:3]), Padding=[top, left, bottom, right],
        NumChannels=place.after.channels, SIMD=1, inputDataType=writer.types[place.output].name,
    )  # fmt: skip


@expresses("max_pool", "sum_pool")
def _pool(writer: Writer, place: Place) -> None:
    operation, output, (source,) = place.operation, place.output, place.inputs
    window, strides, sums = _two(operation.window), _two(operation.strides), operation.kind == "sum_pool"
    _, height, width, channels = writer.shapes[source]
    if sums and window == [height, width]:
        writer.hardware(
            "GlobalAccPool", [source], output, NumChannels=channels, PE=1, inputDataType=writer.types[source].name,
            numInputVectors=[1, height, width],
        )  # fmt: skip
        return
    if any(size < step for size, step in zip(window, strides, strict=True)):
        raise NotExpressible(
            f"FINN pools windows that reach their strides; found a window {window} and strides {strides}"
        )
    if not sums and set(operation.steps) == {1}:
        writer.add(
            "MaxPoolNHWC", [source], output, QONNX_DOMAIN, kernel_shape=window, strides=strides, pads=[0, 0, 0, 0]
        )
        return
    dilation = [1, 1] if sums else _two(operation.steps)
    windows = writer.windowed(place, window, strides, dilation, depthwise=True)
    if not sums:
        writer.types[output] = writer.types[source]
    writer.hardware(
        "Pool", [windows], output, InputDataType=writer.types[source].name, OutputDataType=writer.types[output].name,
        Channels=channels, PE=channels, KernelSize=window, Function="AccPool" if sums else "MaxPool",
        OutImgDims=list(writer.shapes[output][1:3]), AccumBits=writer.types[output].bitwidth() if sums else 0,
        cpp_interface="hls_vector",
    )  # fmt: skip


@expresses("upsample")
def _upsample(writer: Writer, place: Place) -> None:
    (source,) = place.inputs
    if place.operation.factors[-1] != 1 or len(writer.shapes[source]) != 4:
        raise NotExpressible("FINN repeats pixels, not channels")
    (_, rows_in, columns_in, channels), (_, rows, columns, _) = writer.shapes[source], writer.shapes[place.output]
    writer.hardware(
        "UpsampleNearestNeighbour", [source], place.output, SIMD=1, HO=rows, WO=columns, HI=rows_in, WI=columns_in,
        NumChannels=channels, inputDataType=writer.types[source].name, batchSize=1, cpp_interface="hls_vector",
        hls_style="freerunning",
    )  # fmt: skip


@expresses("insert_zeros")
def _insert_zeros(writer: Writer, place: Place) -> None:
    (source,), (*factors, channels) = place.inputs, place.operation.factors
    if channels != 1 or len(writer.shapes[source]) != 4:
        raise NotExpressible("FINN puts zeros between pixels, not between channels")
    writer.hardware(
        "FMPadding_Pixel", [source], place.output, ImgDim=list(writer.shapes[source][1:3]), Stride=_two(factors),
        NumChannels=place.after.channels, SIMD=1, inputDataType=writer.types[place.output].name,
    )  # fmt: skip


@expresses("slice")
def _slice(writer: Writer, place: Place) -> None:
    operation, (source,) = place.operation, place.inputs
    shape = place.before[0].shape
    bounds = list(zip(operation.starts, operation.stops, shape, strict=True))
    whole_channels = bounds[-1] == (0, shape[-1], shape[-1])
    if not whole_channels or set(operation.steps) != {1} or len(shape) not in (2, 3):
        raise NotExpressible("FINN cuts pixels from the edges of images and lines, without steps and with all channels")
    cut = [(start, size - stop) for start, stop, size in bounds[:-1]]
    (north, south), (west, east) = [(0, 0)] * (2 - len(cut)) + cut
    writer.hardware(
        "Crop", [source], place.output, DataType=writer.types[source].name, SIMD=1, ImgDim=list(writer.shapes[source][1:3]),
        NumChannels=shape[-1], CropNorth=north, CropEast=east, CropWest=west, CropSouth=south, numInputVectors=[1],
        cpp_interface="hls_vector", hls_style="freerunning",
    )  # fmt: skip


@expresses("add_bias")
def _add_bias(writer: Writer, place: Place) -> None:
    shift, bias_shift = place.operation.shifts(place.before[0].element)
    if shift:
        raise NotExpressible("FINN adds no bias with a finer binary point than the sums")
    _require_fitting(place)
    values = place.operation.bias.astype(np.int64) << bias_shift
    kind = _spanning(int(values.min()), int(values.max()))
    writer.add("Add", [*place.inputs, writer.constant(f"{place.output}_bias", values, kind)], place.output)


@expresses("scale")
def _scale(writer: Writer, place: Place) -> None:
    _require_fitting(place)
    factors = place.operation.factors
    kind = _spanning(int(factors.min()), int(factors.max()))
    constant = writer.constant(f"{place.output}_factors", factors, kind)
    writer.add("Mul", [*place.inputs, constant], place.output)


@expresses("relu")
def _relu(writer: Writer, place: Place) -> None:
    if place.operation.negative_slope_shift is not None or place.operation.upper_bound is not None:
        raise NotExpressible("FINN has the plain rectifier only, without a slope or an upper bound")
    writer.add("Relu", place.inputs, place.output)


@expresses("add", "multiply")
def _two_streams(writer: Writer, place: Place) -> None:
    _require_fitting(place)
    if place.operation.kind == "multiply":
        writer.add("Mul", place.inputs, place.output)
        return
    if len({tensor.element.fraction for tensor in place.before}) != 1:
        raise NotExpressible("FINN adds streams of one binary point")
    writer.add("Sub" if place.operation.subtract else "Add", place.inputs, place.output)


@expresses("concatenate")
def _concatenate(writer: Writer, place: Place) -> None:
    if place.operation.axis != len(place.after.shape) - 1:
        raise NotExpressible("FINN concatenates channels, not along other axes")
    if len({tensor.element.fraction for tensor in place.before}) != 1:
        raise NotExpressible("FINN concatenates streams of one binary point")
    writer.add("Concat", place.inputs, place.output, axis=len(writer.shapes[place.output]) - 1)


@expresses("argmax", "top_k")
def _label(writer: Writer, place: Place) -> None:
    k = writer.constant(f"{place.output}_k", np.array([getattr(place.operation, "k", 1)], np.int64))
    values = writer.tensor(f"{place.output}_values", writer.shapes[place.output], writer.types[place.inputs[0]])
    writer.add("TopK", [*place.inputs, k], [values, place.output], axis=-1)
    writer.indices.add(place.output)
