# SPDX-License-Identifier: Apache-2.0
"""Lowerings of two tensors that are combined element by element.

hls4ml's own merge layer where both have the same shape and the result has what it writes; else an extension layer, which
repeats an operand along the axes where its size is 1.
"""

from __future__ import annotations

from itertools import product
from math import prod

from toolchain.backends.hls4ml.lowering import Lowering, lowers
from toolchain.ir import Add, Multiply, Node


@lowers(Add)
def _(lowering: Lowering, node: Node, operation: Add) -> None:
    _combine(lowering, node, "difference_of" if operation.subtract else "sum_of")


@lowers(Multiply)
def _(lowering: Lowering, node: Node, operation: Multiply) -> None:
    _combine(lowering, node, "product_of")


def _combine(lowering: Lowering, node: Node, element: str) -> None:
    if lowering.append_own(node):
        return
    a, b = lowering.graph.input_types(node)
    y = lowering.type(node)
    strides = [_strides(x.shape, y.shape) for x in (a, b)]
    depths = [
        _depth(s, y.shape, x.channels) if lowering.options.stream else 1 for s, x in zip(strides, (a, b), strict=True)
    ]
    parameters = {
        "n_a": a.size,
        "n_b": b.size,
        "n_out": y.size,
        "n_axes": len(y.shape),
        "size": y.shape,
        "stride_a": strides[0],
        "stride_b": strides[1],
        "depth_a": depths[0],
        "depth_b": depths[1],
        "element": element,
    }
    lowering.extend(node, "BitwrightCombine", parameters)


def _strides(shape: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, ...]:
    """Elements of the operand between neighbours along each axis of the result, 0 where it is repeated."""
    return tuple(
        0 if size == 1 and repeated > 1 else prod(shape[axis + 1 :])
        for axis, (size, repeated) in enumerate(zip(shape, result, strict=True))
    )


def _depth(strides: tuple[int, ...], result: tuple[int, ...], channels: int) -> int:
    """How many packets of the operand have to be kept because they are read again."""
    depth, taken = 1, 0
    for place in product(*map(range, result[:-1])):
        packet = sum(c * stride for c, stride in zip(place, strides, strict=False)) // channels
        taken = max(taken, packet + 1)
        depth = max(depth, taken - packet)
    return depth
