# SPDX-License-Identifier: Apache-2.0
"""In which order an ONNX file's input has its axes: the graph has the channels last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolchain.frontends.onnx_nodes.reader import channels_first

#: Operations whose samples have the channels first.
_CHANNELS_FIRST = frozenset((
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "QLinearConv", "ConvInteger",
    "QLinearAveragePool", "QLinearGlobalAveragePool", "BatchNormalization", "InstanceNormalization", "DepthToSpace",
))  # fmt: skip
#: The domain and the operations that have them last.
CHANNELS_LAST_DOMAIN = "qonnx.custom_op.channels_last"
_CHANNELS_LAST = frozenset(("MaxPoolNHWC",))
#: Operations that work element by element or along any axis, whatever the order of the axes is.
_NEUTRAL = frozenset((
    "Quant", "IntQuant", "BipolarQuant", "Trunc", "QuantizeLinear", "DequantizeLinear", "Identity", "Cast", "Relu", "LeakyRelu",
    "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Add", "Sub", "Mul", "Div", "Neg", "Dropout", "MultiThreshold",
    "Sum", "Mean", "Min", "Max", "Abs", "Elu", "Resize", "Upsample", "Pad", "Slice", "Split", "Concat", "Gather",
    "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearConcat",
))  # fmt: skip
#: Operations on the last axis.
_LAST_AXIS = frozenset(("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "Flatten", "Reshape"))


def input_axes(
    name: str, rank: int, consumers: Mapping[str, Sequence[Any]], constants: Mapping[str, tuple[int, ...]]
) -> tuple[int, ...]:
    """Axis i of the file's sample is axis ``result[i]`` of the graph's tensor; () for the same order.

    That is the order in which the first operation that is bound to one wants it, so that nothing has to be turned on the way;
    where none is, the channels are what a constant (a scale, a bias) differs along.
    rank: axes of a sample. consumers: the nodes that read each tensor. constants: the shapes of those that are known.
    """
    hint: tuple[int, ...] = ()
    if rank not in (2, 3):
        return ()
    waiting: list[tuple[str, tuple[int, ...]]] = [(name, tuple(range(rank)))]
    seen = {name}
    while waiting:
        tensor, order = waiting.pop(0)  # axis j of the tensor is the input's axis order[j]
        for node in consumers.get(tensor, ()):
            if node is None:
                continue
            hint = hint or _along(order, rank, [constants[i] for i in node.input[1:] if i in constants])
            if node.op_type == "Transpose":
                moved = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), tuple(range(rank, -1, -1)))
                if sorted(moved) != list(range(rank + 1)) or moved[0] != 0:
                    return ()
                following = tuple(order[axis - 1] for axis in moved[1:])
            elif node.domain == CHANNELS_LAST_DOMAIN or node.op_type in _CHANNELS_LAST:
                return _wanted(order, tuple(range(rank)))
            elif node.op_type in _CHANNELS_FIRST:
                return _wanted(order, channels_first(rank))
            elif node.op_type in _NEUTRAL:
                following = order
            elif node.op_type in _LAST_AXIS:
                return ()
            else:
                continue
            for output in node.output:
                if output and output not in seen:
                    seen.add(output)
                    waiting.append((output, following))
    return hint


def _along(order: tuple[int, ...], rank: int, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The axes that put the one last along which a constant of these shapes differs; () where there is none."""
    for shape in shapes:
        sizes = (1,) * (rank + 1 - len(shape)) + shape
        wide = [axis for axis, size in enumerate(sizes) if size > 1]
        if len(sizes) == rank + 1 and len(wide) == 1 and wide[0] > 0:
            others = [axis for axis in range(rank) if axis != wide[0] - 1]
            places = [0] * rank
            for place, axis in enumerate((*others, wide[0] - 1)):
                places[axis] = place
            return _wanted(order, tuple(places))
    return ()


def _wanted(order: tuple[int, ...], places: tuple[int, ...]) -> tuple[int, ...]:
    axes = [0] * len(order)
    for place, axis in zip(places, order, strict=True):
        axes[axis] = place
    return () if axes == list(range(len(axes))) else tuple(axes)
