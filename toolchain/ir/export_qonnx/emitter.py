# SPDX-License-Identifier: Apache-2.0
"""What lowerings write with: nodes, constants, shapes and names of the file, and the order of axes that tensors have in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import Any, NoReturn, TypeVar

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.ir.graph import Graph, Node
from toolchain.ir.operation import FLOAT32_EXACT
from toolchain.ir.ops.input import Input
from toolchain.ir.types import IntegerType, TensorType

QONNX_DOMAIN = "qonnx.custom_op.general"
#: FINN reads up to this version of ONNX's operations.
_OPSET = 18
_IR_VERSION = 9
#: Steps finer or coarser than 2**-+this come near the ends of float32's exponents.
_MAXIMUM_FRACTION = 64
#: Numbers of element types in ONNX (onnx.TensorProto.FLOAT and so on), without importing onnx for them.
FLOAT, INT64, BOOL = 1, 7, 9

T = TypeVar("T")


class Layout(Enum):
    """The order in which the file has the axes of a sample: the graph's, or the channels before all others."""

    LAST = "channels_last"
    FIRST = "channels_first"

    def order(self, axes: int) -> tuple[int, ...]:
        """Which of the graph's axes stands at each place of the file's sample."""
        last = (axes - 1,)
        return (*range(axes),) if self is Layout.LAST else (*last, *range(axes - 1))


def utf8(name: str) -> str:
    """The name as protobuf can hold it: lone surrogates replaced, everything else unchanged."""
    return name.encode("utf-8", "replace").decode("utf-8")


class Emitter:
    """Collects ONNX nodes, constants and shapes, one graph node at a time.

    node: the current one. layout: the order of axes that its operands were taken in and that its result has.
    """

    def __init__(self, graph: Graph, batch: int, left_out: Collection[str] = ()) -> None:
        """left_out: names of nodes that are part of others in the file and get none of their own."""
        self.graph, self.batch = graph, batch
        self.node: Node = graph.nodes[0]
        self.layout = Layout.LAST
        self._left_out = left_out
        self._wanted = {output.tensor for output in graph.outputs}
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._shapes: list[Any] = []
        self._inputs: list[Any] = []
        self._taken: set[str] = set()
        #: Graph node -> its name in the file: another one only where two names are equal there.
        self._names = {node.name: self._free(utf8(node.name)) for node in graph.nodes}
        #: Graph node -> tensors of the file that hold its result, the one that was made first at the front.
        self._held: dict[str, dict[Layout, str]] = {}

    def emit(self, node: Node, lowering: Callable[..., str] | None) -> None:
        """Write a node by its lowering; None: an input."""
        self.node, self.layout = node, Layout.LAST
        result = self.graph.types[node.name]
        self.require_exact(result.element.magnitude, "its results")
        self.require_fraction(result.element.fraction)
        if node.name in self._left_out:
            return
        if lowering is None:
            tensor = self._input(result)
        else:
            tensor = lowering(self, node.operation, self.graph.input_types(node), result)
        self._held[node.name] = {self._layout_of(result, self.layout): tensor}
        if node.name in self._wanted:
            self.held(node.name, Layout.LAST)

    def _input(self, result: TensorType) -> str:
        from onnx import helper

        assert isinstance(self.node.operation, Input)
        name = self._names[self.node.name]
        self._inputs.append(helper.make_tensor_value_info(name, FLOAT, [self.batch, *result.shape]))
        return self.quantise(name, result, result.element, "ROUND", "quantised", final=False)

    @property
    def is_output(self) -> bool:
        """Whether the current node's result leaves the graph."""
        return self.node.name in self._wanted

    def is_left_out(self, name: str) -> bool:
        """Whether a graph node has no node of its own in the file."""
        return name in self._left_out

    def model(self, metadata_key: str, metadata: str) -> Any:
        """The finished file as an onnx.ModelProto."""
        from onnx import helper

        outputs = []
        for tensor in dict.fromkeys(output.tensor for output in self.graph.outputs):
            shape = [self.batch, *self.graph.types[tensor].shape]
            outputs.append(helper.make_tensor_value_info(self.held(tensor, Layout.LAST), FLOAT, shape))
        names = {value.name for value in (*outputs, *self._inputs)}
        graph = helper.make_graph(
            self._nodes,
            utf8(self.graph.name) or "graph",
            self._inputs,
            outputs,
            self._constants,
            value_info=[value for value in self._shapes if value.name not in names],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(QONNX_DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="bitwright", ir_version=_IR_VERSION)
        helper.set_model_props(model, {metadata_key: metadata})
        return model

    # Refusals.

    def refuse(self, reason: str) -> NoReturn:
        raise UnsupportedModel(f"{self.node}: {reason}")

    def require_exact(self, magnitude: int, what: str) -> None:
        """Refuse integers that float32 cannot hold."""
        if magnitude > FLOAT32_EXACT:
            self.refuse(
                f"{what} reach {magnitude} steps, and float32, in which QONNX computes, is exact up to {FLOAT32_EXACT} only; "
                "use fewer bits, or the graph file itself"
            )

    def require_fraction(self, fraction: int) -> None:
        """Refuse binary points at which a step comes near the ends of float32's exponents."""
        if abs(fraction) > _MAXIMUM_FRACTION:
            self.refuse(
                f"its binary point is at {fraction}; float32, in which QONNX computes, allows -{_MAXIMUM_FRACTION} to "
                f"{_MAXIMUM_FRACTION} here"
            )

    # Operands and the order of their axes.

    def operands(self, layout: Layout | None = None) -> list[str]:
        """The tensors of the current node's operands, all in one layout, which the result has then too.

        layout: None takes them as they come: channels first if one of them was made so.
        """
        if layout is None:
            made = {next(iter(self._held[name])) for name in self.node.inputs}
            layout = Layout.FIRST if Layout.FIRST in made else Layout.LAST
        self.layout = layout
        return [self.held(name, layout) for name in self.node.inputs]

    def held(self, name: str, layout: Layout) -> str:
        """The tensor that holds a graph node's result in a layout, through a Transpose if there is none yet."""
        tensors, result = self._held[name], self.graph.types[name]
        layout = self._layout_of(result, layout)
        if layout not in tensors:
            source = next(iter(tensors))
            order = source.order(len(result.shape))
            places = [order.index(axis) + 1 for axis in layout.order(len(result.shape))]
            owner, tensor = self.graph.by_name[name], tensors[source]
            # An output has the graph node's name and the graph's order.
            plain = layout is Layout.LAST and name in self._wanted
            target = self._names[name] if plain else self._free(f"{self._names[name]}/{layout.value}")
            shape = [self.batch, *self._in_order(result.shape, layout)]
            self._append("Transpose", [tensor], [(target, FLOAT, shape)], owner, perm=[0, *places])
            tensors[layout] = target
        return tensors[layout]

    @staticmethod
    def _layout_of(tensor: TensorType, layout: Layout) -> Layout:
        """With the channels as the only axis both layouts are one."""
        return layout if len(tensor.shape) > 1 else Layout.LAST

    @staticmethod
    def _in_order(values: Sequence[T], layout: Layout) -> list[T]:
        return [values[axis] for axis in layout.order(len(values))]

    def in_file_order(self, values: Sequence[T]) -> list[T]:
        """One value for each axis of the graph's sample, in the order of the current layout."""
        return self._in_order(values, self.layout)

    def axis(self, axis: int, axes: int) -> int:
        """Where the file's tensor has an axis of the graph's sample with `axes` axes, the batch counted."""
        return self.layout.order(axes).index(axis) + 1

    def per_channel(self, values: np.ndarray, axes: int) -> np.ndarray:
        """Values of shape (channels or 1,) in a shape that is spread over samples of `axes` axes in the current layout."""
        first = self.layout is Layout.FIRST and axes > 1
        return values.reshape(1, -1, *(1,) * (axes - 1)) if first else values

    # Nodes and constants.

    def _free(self, base: str) -> str:
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name

    def unique(self, what: str) -> str:
        """A name that starts with the current node's and is not taken."""
        return self._free(f"{self._names[self.node.name]}/{what}")

    def _append(
        self, kind: str, inputs: list[str], results: Sequence[tuple[str, int, Sequence[int]]], owner: Node, **attributes: Any
    ) -> None:  # fmt: skip
        """A node. results: (tensor, ONNX's number of the element type, the shape with the batch) each."""
        from onnx import helper

        names = [name for name, _, _ in results]
        domain = QONNX_DOMAIN if kind in ("Quant", "MultiThreshold") else ""
        node = helper.make_node(
            kind, inputs, names, name=names[-1], domain=domain, doc_string=utf8(owner.source), **attributes
        )
        self._nodes.append(node)
        self._shapes += [helper.make_tensor_value_info(name, element, shape) for name, element, shape in results]

    def constant(self, values: Any, what: str) -> str:
        """A float32 constant that must be exact. int64 arrays stay int64 (shapes, indices)."""
        from onnx import numpy_helper

        array = np.asarray(values)
        if array.dtype != np.int64:
            exact = array.astype(np.float64)
            array = exact.astype(np.float32)
            assert (array.astype(np.float64) == exact).all(), "constants are checked before they come here"
        name = self.unique(what)
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def whole_numbers(self, values: Sequence[int], what: str) -> str:
        """An int64 constant of one axis: a shape, axes, pads."""
        return self.constant(np.array(values, dtype=np.int64), what)

    def add(
        self, kind: str, inputs: list[str], shape: Sequence[int], what: str = "", *, final: bool = False,
        element: int = FLOAT, file_shape: Sequence[int] | None = None, before: tuple[str, int] | None = None,
        **attributes: Any,
    ) -> str:  # fmt: skip
        """A node; returns its (last) result.

        shape: of a sample, in the graph's order of axes; it is written in the current layout. file_shape: what the file's tensor
            has instead, for one that is no sample of the graph, batch included.
        final: it is the graph node's own result and takes its name. element: ONNX's number of the element type.
        before: what the name says and the element type of another result, in front of this one.
        """
        full = [self.batch, *self.in_file_order(shape)] if file_shape is None else list(file_shape)
        if not final:
            name = self.unique(what)
        elif self.layout is Layout.LAST or len(shape) == 1 or not self.is_output:
            name = self._names[self.node.name]
        else:  # the output in the graph's order of axes follows and has the name
            name = self.unique(self.layout.value)
        others = [(self.unique(before[0]), before[1], full)] if before else []
        self._append(kind, inputs, [*others, (name, element, full)], self.node, **attributes)
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
        shape = tensor_type.shape
        attributes: dict[str, Any] = {"signed": int(target.signed), "narrow": int(narrow), "rounding_mode": mode}
        constants = self._quant_constants(step, width, what)
        result = self.add("Quant", [tensor, *constants], shape, what, final=final and not clip, **attributes)
        if clip:
            ends = [
                self.constant(v * step, f"{what}_{end}")
                for v, end in zip(interval, ("minimum", "maximum"), strict=True)
            ]
            result = self.add("Clip", [result, *ends], shape, f"{what}_interval", final=final)
        return result

    def _quant_constants(self, step: float, width: int, what: str) -> list[str]:
        return [
            self.constant(step, f"{what}_scale"),
            self.constant(0.0, f"{what}_zero_point"),
            self.constant(float(width), f"{what}_bits"),
        ]

    def quantised_constant(self, integers: np.ndarray, element: IntegerType, what: str, *, final: bool = False) -> str:
        """Integers of type `element` as a constant and the Quant node that tells their type (and leaves them as they are)."""
        self.require_exact(max(1, element.magnitude), f"its {what}")
        self.require_fraction(element.fraction)
        values = np.ldexp(integers.astype(np.float64), -element.fraction)
        name = self.constant(values, what)
        width = 2 if element.signed and element.width == 1 else element.width
        constants = self._quant_constants(2.0**-element.fraction, width, what)
        result = self._names[self.node.name] if final else self.unique(f"{what}_quantised")
        self._append(
            "Quant", [name, *constants], [(result, FLOAT, values.shape)], self.node,
            signed=int(element.signed), narrow=0, rounding_mode="ROUND",
        )  # fmt: skip
        return result
