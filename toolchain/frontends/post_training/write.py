# SPDX-License-Identifier: Apache-2.0
"""The quantised model as an ONNX file: QuantizeLinear and DequantizeLinear around plain operations (QDQ).

A format of fewer bits than its integer type has a Clip: between the two nodes for activations of up to 8 bits, before the
first for wider ones, of which ONNX Runtime has no Clip. Weights and biases are integers with a DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.frontends.post_training.float_graph import constants_of
from toolchain.frontends.post_training.places import Places, WeightedLayer
from toolchain.frontends.post_training.ranges import Observed
from toolchain.frontends.post_training.steps import Format, best_step, covering_step

_BIAS_LIMIT = (1 << 31) - 1


@dataclass(frozen=True)
class QuantisedWeights:
    """A layer's weights.

    integers: in the node's own axes. steps: one, or one an output. kind: their format, with the largest step. error: root mean
    square of what quantising changed.
    """

    integers: np.ndarray
    steps: np.ndarray
    kind: Format
    error: float


def quantised_weights(
    layer: WeightedLayer, values: np.ndarray, bits: int, *, per_channel: bool, least_error: bool, power_of_two: bool
) -> QuantisedWeights:
    """The weights of a layer as integers."""
    kind = Format(bits, signed=True, is_symmetric=True)

    def step_of(part: np.ndarray) -> float:
        if least_error and part.any():
            return best_step(kind, part, power_of_two=power_of_two)
        return covering_step(kind, float(part.min()), float(part.max()), power_of_two=power_of_two)

    axis = layer.axis
    if not per_channel or axis is None or layer.is_last:
        steps = np.array([step_of(values)], np.float32)
        spread: np.ndarray = steps
    else:
        axis %= values.ndim
        steps = np.array([step_of(part) for part in np.moveaxis(values, axis, 0)], np.float32)
        spread = steps.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    integers = np.clip(np.rint(values.astype(np.float32) / spread), kind.lowest, kind.highest).astype(np.int64)
    error = float(np.sqrt(np.mean(np.square(integers * spread.astype(np.float64) - values))))
    return QuantisedWeights(integers, steps, Format(bits, True, float(steps.max()), True), error)


class Writer:
    """Writes the quantised model.

    biases: the real biases by layer name, where they differ from the float model's.
    """

    def __init__(
        self,
        proto: Any,
        places: Places,
        observed: Mapping[str, Observed],
        weights: Mapping[str, QuantisedWeights],
        biases: Mapping[str, np.ndarray],
    ) -> None:
        import onnx

        self.onnx = onnx
        self.places, self.observed, self.weights, self.biases = places, observed, weights, biases
        self.model = onnx.ModelProto()
        self.model.CopyFrom(proto)
        self.graph = self.model.graph
        self.constants = constants_of(self.graph)
        self.taken = {name for node in self.graph.node for name in (*node.input, *node.output, node.name)}
        #: Dequantised weights and biases, made before the nodes that read them.
        self.first: list[Any] = []

    def write(self) -> Any:
        """The quantised ModelProto, checked."""
        nodes = {node.name: node for node in self.graph.node}
        for layer in self.places.layers:
            self._write_layer(layer, nodes)
        renamed: dict[str, str] = {}
        outputs = {value.name for value in self.graph.output}
        written: list[Any] = list(self.first)
        (source,) = [value.name for value in self.graph.input if value.name not in self.constants]
        if source in self.observed:
            written += self._quantiser(source, source, renamed, source)
        for node in self.graph.node:
            for index, name in enumerate(node.input):
                if name in renamed:
                    node.input[index] = renamed[name]
            written.append(node)
            for number, name in enumerate(node.output):
                if name not in self.observed:
                    continue
                label = f"{node.name}{f':{number}' * (number > 0)}"
                if name in outputs:  # then the output is what has been quantised
                    node.output[number] = self._name(f"{label}/real")
                written += self._quantiser(name, label, renamed, node.output[number])
        copies = [self.onnx.NodeProto.FromString(node.SerializeToString()) for node in written]
        del self.graph.node[:]
        self.graph.node.extend(copies)
        self._drop_unused()
        del self.model.metadata_props[:]
        self.model.producer_name, self.model.producer_version, self.model.doc_string = "bitwright", "", ""
        self.onnx.checker.check_model(self.model)
        return self.model

    def _name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self.taken:
            number += 1
            name = f"{wanted}_{number}"
        self.taken.add(name)
        return name

    def _add(self, wanted: str, array: Any) -> str:
        name = self._name(wanted)
        self.graph.initializer.append(self.onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def _quantiser(self, tensor: str, label: str, renamed: dict[str, str], value: str) -> list[Any]:
        """The nodes that quantise a tensor, named by what makes it; what reads it then reads their result.

        value: the tensor's name in the file, another than its own where that goes to the quantised result, an output.
        """
        kind, make = self.observed[tensor].kind, self.onnx.helper.make_node
        step = self._add(f"{label}/step", np.float32(kind.step))
        zero = self._add(f"{label}/zero", np.zeros((), kind.storage))
        result = self._name(f"{label}/quantised") if value == tensor else tensor
        nodes = []
        full = kind.bits == np.dtype(kind.storage).itemsize * 8
        if not full and kind.bits > 8:
            ends = [self._add(f"{label}/{what}", np.float32(end * kind.step)) for what, end in _ends(kind)]
            nodes.append(make("Clip", [value, *ends], [self._name(f"{label}/clipped")], self._name(f"{label}/clip")))
            value = nodes[-1].output[0]
        names = [self._name(f"{label}/{what}") for what in ("quantise", "integers", "dequantise")]
        nodes.append(make("QuantizeLinear", [value, step, zero], [names[1]], names[0]))
        value = names[1]
        if not full and kind.bits <= 8:
            ends = [self._add(f"{label}/{what}", np.array(end, kind.storage)) for what, end in _ends(kind)]
            nodes.append(make("Clip", [value, *ends], [self._name(f"{label}/clipped")], self._name(f"{label}/clip")))
            value = nodes[-1].output[0]
        nodes.append(make("DequantizeLinear", [value, step, zero], [result], names[2]))
        renamed[tensor] = result
        return nodes

    def _dequantised(self, name: str, integers: np.ndarray, steps: np.ndarray, axis: int | None) -> str:
        """A constant of integers with a DequantizeLinear; its result's name."""
        quantised = self._add(f"{name}/integers", integers)
        step = self._add(f"{name}/step", steps if steps.size > 1 else np.float32(steps.reshape(-1)[0]))
        result = self._name(f"{name}/dequantised")
        settings: dict[str, Any] = {"axis": axis} if steps.size > 1 else {}
        node = self.onnx.helper.make_node(
            "DequantizeLinear", [quantised, step], [result], self._name(f"{name}/dequantise"), **settings
        )
        self.first.append(node)
        return result

    def _write_layer(self, layer: WeightedLayer, nodes: dict[str, Any]) -> None:
        node, weights = nodes[layer.node.name], self.weights[layer.node.name]
        storage = weights.kind.storage
        axis = None if layer.axis is None else layer.axis % weights.integers.ndim
        prefix = f"{node.name}/weights"
        node.input[1] = self._dequantised(prefix, weights.integers.astype(storage), weights.steps, axis)
        bias_node = nodes[layer.bias_node.name]
        bias = self.biases.get(node.name)
        if bias is None and layer.bias_operand is not None:
            bias = self.constants[bias_node.input[layer.bias_operand]]
        if bias is None:
            return
        name = self._bias(layer, node, weights, bias)
        if layer.bias_operand is None:
            bias_node.input.append(name)
        else:
            bias_node.input[layer.bias_operand] = name

    def _bias(self, layer: WeightedLayer, node: Any, weights: QuantisedWeights, bias: np.ndarray) -> str:
        """The bias as integers on the sum's own steps, where those are known and hold it; else as it is."""
        prefix = f"{node.name}/bias"
        tensor, factor = self.places.grids.get(layer.node.input[0], ("", 0.0))
        plain = _plain_gemm(node)
        if tensor and plain and (bias.ndim <= 1 or weights.steps.size == 1):
            step = np.float32(self.observed[tensor].kind.step) * np.float32(factor)
            steps = (weights.steps * step).astype(np.float32)
            if steps.size in (1, bias.size) and (steps > 0).all():
                integers = np.rint(bias.astype(np.float64) / steps.astype(np.float64))
                if np.abs(integers).max(initial=0) <= _BIAS_LIMIT:
                    return self._dequantised(prefix, integers.astype(np.int32), steps, 0)
        return self._add(prefix, bias.astype(np.float32))

    def _drop_unused(self) -> None:
        used = {name for node in self.graph.node for name in node.input}
        kept = [t for t in self.graph.initializer if t.name in used]
        copies = [self.onnx.TensorProto.FromString(t.SerializeToString()) for t in kept]
        del self.graph.initializer[:]
        self.graph.initializer.extend(copies)
        inputs = [v for v in self.graph.input if v.name not in self.constants]
        values = [self.onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in inputs]
        del self.graph.input[:]
        self.graph.input.extend(values)


def _ends(kind: Format) -> list[tuple[str, int]]:
    return [("lowest", kind.lowest), ("highest", kind.highest)]


def _plain_gemm(node: Any) -> bool:
    """Whether a node's product has no factors of its own."""
    if node.op_type != "Gemm":
        return True
    return all(a.f == 1.0 for a in node.attribute if a.name in ("alpha", "beta"))
