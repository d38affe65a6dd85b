# SPDX-License-Identifier: Apache-2.0
"""Picking classes: ArgMax and TopK along the channels."""

from __future__ import annotations

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.values import ONE, ZERO, Line
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Result,
    Value,
    axes_of,
    file_shape,
    handles,
    ordered,
    reshaped,
    sample_axis,
    with_axis_last,
)
from toolchain.ir import ArgMax, TopK


def _comparable(reader: Reader, node: NodeView) -> tuple[Line, int]:
    """(the line with one meaning for all channels and the chosen axis last, that axis in the file)."""
    line = reader.line(node.value(0), node)
    axis = sample_axis(node.integer("axis", -1 if node.kind == "TopK" else 0), line, node)
    line = with_axis_last(reader, line, axis, node)
    why = "compares values whose scales have no common step; quantise them with one scale first"
    return reader.walk.uniform(line, node.site, why), axis


@handles("ArgMax")
def _argmax(reader: Reader, node: NodeView) -> Value:
    node.require("select_last_index", (0,), 0)
    line, axis = _comparable(reader, node)
    tensor = reader.walk.add(ArgMax(), line.tensor, site=node.site)
    result = Line(tensor, (*line.shape[:-1], 1), (ONE,), (ZERO,), axes=line.axes)
    if node.integer("keepdims", 1) or len(result.shape) == 1:
        return result
    kept = tuple(size for index, size in enumerate(file_shape(result)) if index != axis)
    return reshaped(reader, result, kept, node.inner("shape"))


@handles("TopK")
def _top_k(reader: Reader, node: NodeView) -> Result:
    """The indices; the largest values themselves are not computed."""
    node.require("largest", (1,), 1)
    node.require("sorted", (1,), 1)
    count = node.numbers(1, "k")[0]
    line, _ = _comparable(reader, node)
    if not 1 <= count <= line.channels:
        raise UnsupportedModel(f"{node.label}: the {count} largest of {line.channels}")
    tensor = reader.walk.add(TopK(count), line.tensor, site=node.site)
    indices = Line(tensor, (*line.shape[:-1], count), (ONE,), (ZERO,), axes=ordered(axes_of(line)))
    return (None, indices)
