# SPDX-License-Identifier: Apache-2.0
"""Which tensors of a float ONNX graph are quantised, and which layers have weights.

Every tensor that arithmetic reads lies on a grid: it is quantised behind the function (a rectifier, say) that follows its
sum, or it is made of quantised values by moving, choosing or repeating them. What only leads to an output stays as exact as
the sum behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.onnx_ends import HOST_FUNCTIONS, endings
from toolchain.frontends.onnx_nodes.folding import is_foldable
from toolchain.frontends.onnx_nodes.reader import handlers

#: Operations with constant weights as their second operand.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: Results are some of the operand's values, or zeros.
MOVING = {
    "Cast", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool", "Pad", "ReduceMax",
    "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Unsqueeze", "ArgMax",
}  # fmt: skip
#: The same where the attribute `mode` says that nothing is interpolated.
RESIZING = {"Resize", "Upsample"}
#: Functions of one tensor, element by element, piece by piece linear.
FUNCTIONS = {"Abs", "BatchNormalization", "Clip", "HardSigmoid", "LeakyRelu", "Neg", "PRelu", "Relu", "ThresholdedRelu"}
#: Functions that hardware looks up: their operand is quantised too, so that the table is short.
CURVES = {"Celu", "Elu", "Erf", "Gelu", "HardSwish", "Mish", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"}
#: Those whose results lie on the grid of their operand.
KEEPING = {"Abs", "Neg", "Relu"}
#: Functions when one operand is a constant.
WITH_CONSTANT = {"Add", "Div", "Max", "Min", "Mul", "Sub"}
_AFFINE = WITH_CONSTANT | {"BatchNormalization"}
#: Operations of quantised models.
QUANTISED = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Quant", "IntQuant", "FloatQuant", "BipolarQuant", "Trunc",
    "MultiThreshold", "MatMulInteger", "ConvInteger", "QGemm",
}  # fmt: skip


@dataclass(frozen=True)
class WeightedLayer:
    """A layer with constant weights.

    node: the ONNX node. axis: of the weights, along which the outputs lie; None where a step an output is not possible.
    bias_node, bias_operand: where its constant bias is (the node itself, or an Add behind it); bias_operand is None without one.
    result: the tensor behind the bias. is_last: whether its results reach an output without being quantised.
    """

    node: Any
    axis: int | None
    bias_node: Any
    bias_operand: int | None
    result: str
    is_last: bool


@dataclass
class Places:
    """Where quantisers go.

    quantised: tensors, in the graph's order. grids: for every tensor on a grid the quantised tensor that it comes from, and
    the constant that its values have been multiplied by. groups: quantised tensor -> the tensor whose step it shares.
    """

    layers: list[WeightedLayer] = field(default_factory=list)
    quantised: list[str] = field(default_factory=list)
    grids: dict[str, tuple[str, float]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def group(self, tensor: str) -> str:
        while self.groups[tensor] != tensor:
            tensor = self.groups[tensor]
        return tensor

    def join(self, tensors: Iterable[str]) -> None:
        """Let tensors share one step."""
        first, *others = [self.group(tensor) for tensor in tensors]
        for other in others:
            self.groups[self.group(other)] = self.group(first)


class Finder:
    """Walks through a graph and finds the places.

    fixed_input: whether the input's type is given, so that the input itself is quantised.
    """

    def __init__(self, graph: Any, constants: dict[str, np.ndarray], where: str, *, fixed_input: bool) -> None:
        self.graph, self.constants, self.where, self.fixed_input = graph, constants, where, fixed_input
        self.places = Places()
        self.outputs = {value.name for value in graph.output}
        skipped = {name for end in endings(graph).values() for name in end.skipped}
        self.nodes = [node for node in graph.node if not skipped & set(node.output)]
        self.ended = {end.tensor for end in endings(graph).values()}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        (self.input,) = [value.name for value in graph.input if value.name not in constants]
        self.flowing = {self.input}
        #: What is still a real number from the host: the input, and what affine functions make of it.
        self.real = {self.input}

    def find(self) -> Places:
        self._require_supported()
        self._decide(self.input)
        for node in self.nodes:
            if any(name in self.flowing for name in node.input) and node.op_type != "Shape":
                self.flowing.update(node.output)
                self._visit(node)
        return self.places

    def _require_supported(self) -> None:
        unknown = [
            node
            for node in self.nodes
            if node.op_type not in handlers() and not (is_foldable(node) and self._is_constant(node))
        ]
        if unknown:
            listed = ", ".join(f"{node.name!r} ({node.op_type})" for node in unknown[:8])
            known = ", ".join(sorted(name for name in {*handlers(), *HOST_FUNCTIONS} - QUANTISED if name[0] != "Q"))
            raise UnsupportedModel(
                f"{self.where}: cannot be quantised for hardware: {listed}{' and more' * (len(unknown) > 8)}: operations that are "
                f"not supported here. Supported are {known}"
            )

    def _is_constant(self, node: Any) -> bool:
        return all(name in self.constants for name in node.input if name)

    # ---- what a node does ----------------------------------------------------------------------------------------------
    def _kind(self, node: Any) -> str:
        kind = node.op_type
        if kind in WEIGHTED and node.input[1] in self.constants:
            return "weighted"
        if kind in MOVING or (kind in RESIZING and _attribute(node, "mode", b"nearest") == b"nearest"):
            zeros = kind != "Pad" or _attribute(node, "mode", b"constant") == b"constant"
            return "moving" if zeros else "join"
        if kind in FUNCTIONS:
            return "function"
        if kind in WITH_CONSTANT and any(name in self.constants for name in node.input):
            return "scale" if self._factor(node) is not None else "function"
        return "concat" if kind == "Concat" else "join"

    def _factor(self, node: Any) -> float | None:
        """The one constant that a node multiplies by, or None."""
        if node.op_type not in ("Mul", "Div") or (node.op_type == "Div" and node.input[1] not in self.constants):
            return None
        constant = self.constants[next(name for name in node.input if name in self.constants)]
        if constant.size != 1 or constant.reshape(-1)[0] <= 0:
            return None
        value = float(constant.reshape(-1)[0])
        return value if node.op_type == "Mul" else 1 / value

    def _visit(self, node: Any) -> None:
        kind, grids = self._kind(node), self.places.grids
        operands = [name for name in node.input if name in self.flowing]
        known = [grids[name] for name in operands if name in grids]
        is_whole = len(known) == len(operands)
        if kind == "weighted":
            self._layer(node)
        elif kind == "concat" and is_whole and all(factor == 1 for _, factor in known):
            self.places.join(tensor for tensor, _ in known)
            grids[node.output[0]] = known[0]
        elif kind == "moving" or (kind == "function" and node.op_type in KEEPING and is_whole):
            for name in node.output if is_whole else ():
                grids[name] = known[0]
        elif kind == "scale" and is_whole:
            factor = self._factor(node)
            assert factor is not None
            grids[node.output[0]] = (known[0][0], known[0][1] * factor)
        else:
            # Some functions cannot be computed on integers unless a quantiser follows, be it for an output.
            is_curve = node.op_type in CURVES or (kind == "function" and node.op_type not in {*KEEPING, *WITH_CONSTANT})
            if not known and self.real.issuperset(operands):
                self.real.update(node.output)
            for name in node.output:
                self._decide(name, at_once=is_curve)

    def _layer(self, node: Any) -> None:
        result, bias_node, operand = node.output[0], node, None
        if node.op_type != "MatMul":
            operand = 2 if len(node.input) > 2 and node.input[2] in self.constants else None
        elif (add := self._only_reader(result)) is not None and add.op_type == "Add":
            found = [i for i, name in enumerate(add.input) if name in self.constants]
            if found and self.constants[add.input[found[0]]].size <= np.shape(self.constants[node.input[1]])[-1]:
                result, bias_node, operand = add.output[0], add, found[0]
        self.places.layers.append(
            WeightedLayer(node, _output_axis(node), bias_node, operand, result, self._only_ends(result))
        )
        self._decide(node.output[0])

    # ---- whether a tensor is quantised ---------------------------------------------------------------------------------
    def _only_reader(self, tensor: str) -> Any | None:
        readers = self.readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def _decide(self, tensor: str, *, at_once: bool = False) -> None:
        """Quantise a tensor that lies on no grid, unless it is quantised later or nowhere."""
        fixed = tensor == self.input and self.fixed_input
        if not fixed and not at_once and (self._only_ends(tensor) or self._later(tensor)):
            return
        self.places.quantised.append(tensor)
        self.places.groups[tensor] = tensor
        self.places.grids[tensor] = (tensor, 1.0)

    def _later(self, tensor: str) -> bool:
        """Whether the quantiser goes behind the one function that reads the tensor."""
        reader = self._only_reader(tensor)
        if reader is None or tensor in self.ended:
            return False
        kind = self._kind(reader)
        if tensor in self.real:
            # The host can only do what is the same for every value.
            constants = [self.constants[name] for name in reader.input if name in self.constants]
            return kind == "scale" or (reader.op_type in ("Add", "Sub") and [c.size for c in constants] == [1])
        return kind in ("scale", "function")

    def _only_ends(self, tensor: str) -> bool:
        """Whether everything that reads a tensor hands its values to an output, exactly."""
        for reader in self.readers.get(tensor, []):
            kind = self._kind(reader)
            exact = kind in ("moving", "scale") or (
                kind == "function"
                and reader.op_type in {*KEEPING, *WITH_CONSTANT}
                and reader.op_type not in ("Max", "Min")
            )
            if not exact or not all(self._only_ends(name) for name in reader.output):
                return False
        return True


def _attribute(node: Any, name: str, default: Any) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _output_axis(node: Any) -> int | None:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if int(_attribute(node, "group", 1)) == 1 else None
    if node.op_type == "Gemm":
        return 0 if int(_attribute(node, "transB", 0)) else 1
    return -1


def require_float(graph: Any, where: str) -> None:
    """Raise UnsupportedModel for a graph that is quantised already."""
    for node in graph.node:
        if node.op_type in QUANTISED or node.op_type.startswith("QLinear"):
            raise UnsupportedModel(
                f"{where}: is quantised already (node {node.name or node.output[0]!r}, {node.op_type}); build it as it is"
            )


def find_places(graph: Any, constants: dict[str, np.ndarray], where: str, *, fixed_input: bool = False) -> Places:
    """Where a float graph with one input is quantised. Raises UnsupportedModel naming the nodes that cannot be."""
    return Finder(graph, constants, where, fixed_input=fixed_input).find()
