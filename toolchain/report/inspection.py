# SPDX-License-Identifier: Apache-2.0
"""What a model is as an integer graph, in figures: types, accumulators, weights, products, bit operations, memory.

Nothing here is an estimate of hardware: every figure follows from the graph and its constants alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Any

import numpy as np

from toolchain.ir import Add, AddBias, Graph, Input, Node, Operation, SumPool
from toolchain.ir.products import WeightedSums
from toolchain.ir.types import IntegerType, TensorType, bits_for

#: The version of `inspect.json` and of `bitwright inspect --json`.
SCHEMA = 1
#: Operations whose result is an exact sum, of products or of values.
_SUMS = (WeightedSums, Add, AddBias, SumPool)

BIT_OPERATIONS = "MACs * (b_w * b_a + b_w + b_a + log2 n)"
BIT_OPERATIONS_SOURCE = "Baskin et al., UNIQ, arXiv:1804.10969"


@dataclass(frozen=True)
class ConstantFigures:
    """One constant array of an operation.

    field: its name in the operation. bits: the narrowest width that holds all of it, sign included. multiplied: whether it
    is weights, one factor of products, and not a bias, thresholds, a table or a constant tensor.
    digest: equal for arrays of the same shape and values.
    """

    field: str
    count: int
    zeros: int
    bits: int
    multiplied: bool
    digest: str

    @property
    def memory_bits(self) -> int:
        return self.count * self.bits


@dataclass(frozen=True)
class NodeFigures:
    """One node of the graph.

    source: the layer of the user's model, as the frontend names it; '' for none. accumulator_bits: width of the exact sum, for
    operations that add; else None. products: multiplications in one sample (for sums of products their MACs).
    bit_operations: see `bit_operations`.
    """

    name: str
    source: str
    operation: str
    inputs: tuple[str, ...]
    input_types: tuple[TensorType, ...]
    type: TensorType
    accumulator_bits: int | None
    constants: tuple[ConstantFigures, ...]
    products: int
    bit_operations: int

    @property
    def weights(self) -> int:
        return sum(c.count for c in self.constants if c.multiplied)

    @property
    def zero_weights(self) -> int:
        return sum(c.zeros for c in self.constants if c.multiplied)

    @property
    def other_constants(self) -> int:
        return sum(c.count for c in self.constants if not c.multiplied)

    @property
    def memory_bits(self) -> int:
        return sum(c.memory_bits for c in self.constants)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "source": self.source,
            "operation": self.operation,
            "inputs": list(self.inputs),
            "input_types": [str(t.element) for t in self.input_types],
            "shape": list(self.type.shape),
            "type": str(self.type.element),
            "accumulator_bits": self.accumulator_bits,
            "weights": self.weights,
            "zero_weights": self.zero_weights,
            "zero_share": share(self.zero_weights, self.weights),
            "macs": self.products,
            "bit_operations": self.bit_operations,
            "memory_bits": self.memory_bits,
            "constants": [
                {
                    "field": c.field,
                    "count": c.count,
                    "zeros": c.zeros,
                    "bits": c.bits,
                    "multiplied": c.multiplied,
                    "memory_bits": c.memory_bits,
                }
                for c in self.constants
            ],
        }


@dataclass(frozen=True)
class Totals:
    """Sums over nodes. distinct_weights, distinct_memory_bits: arrays of equal shape and values counted once, as they are
    shared by the steps of an unrolled recurrent network."""

    nodes: int
    weights: int
    zero_weights: int
    other_constants: int
    macs: int
    bit_operations: int
    memory_bits: int
    distinct_weights: int
    distinct_memory_bits: int

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return values | {"zero_share": share(self.zero_weights, self.weights)}


def totals(nodes: Iterable[NodeFigures]) -> Totals:
    """The sums over any nodes of one graph."""
    rows = list(nodes)
    distinct = {c.digest: c for row in rows for c in row.constants}.values()
    weights = {c.digest: c for row in rows for c in row.constants if c.multiplied}.values()
    return Totals(
        len(rows),
        sum(row.weights for row in rows),
        sum(row.zero_weights for row in rows),
        sum(row.other_constants for row in rows),
        sum(row.products for row in rows),
        sum(row.bit_operations for row in rows),
        sum(row.memory_bits for row in rows),
        sum(c.count for c in weights),
        sum(c.memory_bits for c in distinct),
    )


@dataclass(frozen=True)
class Inspection:
    """A graph in figures. framework: name and version, '' if the model came as a graph file that does not say it.

    inputs, outputs: the JSON rows of `input_rows` and `output_rows`.
    files: names of what was written (see toolchain.pipeline.inspection), by what they are; notes: what a reader has to know.
    """

    model: str
    framework: str
    digest: str
    metadata: dict[str, str]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any], ...]
    nodes: tuple[NodeFigures, ...]
    files: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def totals(self) -> Totals:
        return totals(self.nodes)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "model": self.model,
            "framework": self.framework,
            "graph_digest": self.digest,
            "framework_sums_exact": self.metadata.get("framework_sums_exact"),
            "metadata": self.metadata,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "nodes": [node.to_json() for node in self.nodes],
            "totals": self.totals.to_json(),
            "bit_operations": {"formula": BIT_OPERATIONS, "source": BIT_OPERATIONS_SOURCE},
            "files": self.files,
            "notes": list(self.notes),
        }


def share(part: int, whole: int) -> float | None:
    """part / whole, None of nothing."""
    return part / whole if whole else None


def inspect_graph(graph: Graph, *, model: str = "", framework: str = "") -> Inspection:
    """The figures of a checked graph. model: a name to show, by default the graph's own."""
    metadata = {str(key): str(value) for key, value in graph.metadata.items()}
    return Inspection(
        model or graph.name,
        framework or metadata.get("framework", ""),
        graph.digest,
        metadata,
        tuple(_input_row(graph, node) for node in graph.inputs),
        tuple(_output_rows(graph)),
        tuple(_node_figures(graph, node) for node in graph.nodes),
    )


def _input_row(graph: Graph, node: Node) -> dict[str, Any]:
    """How the host makes an input's integers: round((x - offset) / scale * 2**fraction). `sample_shape` is the user's order."""
    operation: Any = node.operation
    assert isinstance(operation, Input)
    return {
        "name": node.name,
        "source": node.source,
        "shape": list(operation.shape),
        "sample_shape": list(operation.sample_shape),
        "axes": list(operation.axes),
        "type": str(operation.element),
        "fraction": operation.element.fraction,
        "scale": operation.scale,
        "offset": operation.offset,
        "rounding": operation.rounding.value,
        "out_of_range": operation.out_of_range.value,
    }


def _output_rows(graph: Graph) -> Iterator[dict[str, Any]]:
    """What an output's integers stand for: scale * (integer * 2**-fraction) + offset, then the host's function."""
    for output in graph.outputs:
        result = graph.types[output.tensor]
        yield {
            "name": output.name,
            "tensor": output.tensor,
            "shape": list(result.shape),
            "sample_shape": list(output.shape(graph)),
            "axes": list(output.axes),
            "type": str(result.element),
            "fraction": result.element.fraction,
            "scale": list(output.scale),
            "offset": list(output.offset),
            "host_function": output.host_function,
        }


def _node_figures(graph: Graph, node: Node) -> NodeFigures:
    operation, types, result = node.operation, graph.input_types(node), graph.types[node.name]
    products = operation.multiplications(*types)
    constants = tuple(_constants(operation, products))
    adds = isinstance(operation, _SUMS) or products > result.size
    return NodeFigures(
        node.name,
        node.source,
        operation.kind,
        node.inputs,
        types,
        result,
        result.element.width if adds else None,
        constants,
        products,
        bit_operations(products, result.size, *_factor_widths(types, constants)) if products else 0,
    )


def _constants(operation: Operation, products: int) -> Iterator[ConstantFigures]:
    """The constants of any operation: the arrays among its fields. An operation that multiplies holds no others than weights."""
    for entry in dataclasses.fields(operation):  # type: ignore[arg-type]
        values = getattr(operation, entry.name)
        if isinstance(values, np.ndarray):
            _, width = bits_for(int(values.min()), int(values.max()))
            zeros = int(values.size - np.count_nonzero(values))
            yield ConstantFigures(entry.name, values.size, zeros, width, products > 0, _digest(values))


def _digest(values: np.ndarray) -> str:
    content = repr(values.tolist()).encode() if values.dtype == object else np.ascontiguousarray(values).data
    return hashlib.sha256(f"{values.dtype} {values.shape} ".encode() + bytes(content)).hexdigest()


def _factor_widths(types: tuple[TensorType, ...], constants: tuple[ConstantFigures, ...]) -> tuple[int, int]:
    """Widths of the two factors of an operation's products: weights and activations, or two tensors."""
    widths = [t.element.width for t in types]
    weights = [c.bits for c in constants if c.multiplied]
    first = max(weights) if weights else widths[0]
    return first, widths[0] if weights else widths[-1]


def bit_operations(products: int, results: int, weight_bits: int, activation_bits: int) -> int:
    """Bit operations (BOPs) of `products` multiplications that are summed into `results` values.

    The usual figure of the field, from Baskin et al., "UNIQ: Uniform Noise Injection for Non-Uniform Quantization of Neural
    Networks" (arXiv:1804.10969): a layer with n products a result costs ``MACs * (b_w * b_a + b_w + b_a + log2 n)``. b_w * b_a are the bit products of one multiplication, the rest is
    the width of the accumulator, to which each product is added. n = products / results. Where nothing is added (n = 1) only
    the bit products count. b_w is the narrowest width that holds all weights of the node, sign included, b_a the width of its
    input's type. Zero weights count in full. The total is rounded to an integer once.
    QONNX's inference cost calls the first term alone, ``MACs * b_w * b_a``, total_bops.
    """
    multiply = products * weight_bits * activation_bits
    if products <= results:
        return multiply
    return multiply + products * (weight_bits + activation_bits) + round(products * log2(products / results))


def short_type(element: IntegerType) -> str:
    """The type without its interval, for places where that does not fit."""
    return f"{'' if element.signed else 'u'}fixed<{element.width},{element.width - element.fraction}>"


def shape_text(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def ends_text(values: Sequence[float]) -> str:
    """One value as it is, several as their range."""
    if len(set(values)) == 1:
        return repr(values[0])
    return f"{min(values)!r} to {max(values)!r} by channel"
