# SPDX-License-Identifier: Apache-2.0
"""Pooling windows and whole planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import pooling
from toolchain.frontends.exact.values import Line
from toolchain.frontends.onnx_nodes.products import window_numbers, window_padding
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Value,
    axes_of,
    channels_first,
    channels_last,
    file_shape,
    handles,
    reshaped,
    sample_axis,
    with_axis_last,
)


@handles("MaxPool", "AveragePool")
def _pool(reader: Reader, node: NodeView) -> Value:
    line = channels_last(reader, reader.line(node.value(0), node), node)
    count = len(line.shape) - 1
    window = window_numbers(node, "kernel_shape", count)
    strides, dilation = window_numbers(node, "strides", count), window_numbers(node, "dilations", count)
    padding = window_padding(node, line.shape[:-1], window, strides, dilation)
    if any(max(pair) >= w for pair, w in zip(padding, window, strict=True)):
        raise UnsupportedModel(
            f"{node.label}: pads {padding} for windows of {window}, which may then lie in padding only"
        )
    if node.integer("ceil_mode", 0):
        _require_no_ceiling(line, window, strides, dilation, padding, node)
    if len(node.outputs) > 1:
        raise UnsupportedModel(f"{node.label}: gives the indices of the maxima; supported are the maxima")
    axes = channels_first(count + 1)
    if node.kind == "MaxPool":
        result = pooling.max_pool(
            reader.walk, line, window=window, strides=strides, padding=padding, dilation=dilation, site=node.site
        )
        return replace(result, axes=axes)
    if set(dilation) != {1}:
        raise UnsupportedModel(f"{node.label}: averages with dilation {dilation}; supported is 1")
    result = pooling.average_pool(
        reader.walk,
        line,
        window=window,
        strides=strides,
        padding=padding,
        counts_padding=bool(node.integer("count_include_pad", 0)),
        site=node.site,
    )
    return replace(result, axes=axes)


def _require_no_ceiling(
    line: Line,
    window: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[tuple[int, int]],
    node: NodeView,
) -> None:
    """ceil_mode is refused where it would make another shape."""
    for size, w, s, d, (before, after) in zip(line.shape, window, strides, dilation, padding, strict=False):
        if (size + before + after - (w - 1) * d - 1) % s:
            raise UnsupportedModel(
                f"{node.label}: ceil_mode makes a last window that reaches past the edge; supported is ceil_mode = 0, or sizes "
                "that the strides divide"
            )


@handles("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(reader: Reader, node: NodeView) -> Value:
    line = channels_last(reader, reader.line(node.value(0), node), node)
    rank = len(line.shape)
    whole = (*line.shape[:-1], 1)
    return replace(_over(reader, line, whole, node, is_maximum=node.kind == "GlobalMaxPool"), axes=channels_first(rank))


def _over(reader: Reader, line: Line, window: Sequence[int], node: NodeView, *, is_maximum: bool) -> Line:
    """The maximum or mean over windows that tile the sample; window: one size for each of the graph's axes, 1 for the channels."""
    spatial = list(window[:-1])
    none, site = [(0, 0)] * len(spatial), node.site
    if is_maximum:
        return pooling.max_pool(reader.walk, line, window=spatial, strides=spatial, padding=none, site=site)
    return pooling.average_pool(
        reader.walk, line, window=spatial, strides=spatial, padding=none, counts_padding=True, site=site
    )


@handles("ReduceMean", "ReduceMax", "ReduceSum")
def _reduce(reader: Reader, node: NodeView) -> Value:
    """Over some axes of a sample: a pool whose window is as large as they are."""
    line = reader.line(node.value(0), node)
    raw = node.numbers(1, "the axes") if node.has(1) else [int(a) for a in node.attributes.get("axes", [])]
    if not raw:
        if node.integer("noop_with_empty_axes", 0):
            return line
        raise UnsupportedModel(
            f"{node.label}: reduces over the whole sample and the batch; supported are a sample's axes"
        )
    reduced = {sample_axis(axis, line, node) for axis in raw}
    before = file_shape(line)
    rank = len(before)
    kept = [axis for axis in range(rank) if axis not in reduced]
    if not kept or rank not in (2, 3):
        raise UnsupportedModel(
            f"{node.label}: reduces over axes {raw} of a sample of shape {before}; supported are samples with 2 or 3 axes of which "
            "one is kept"
        )
    if rank - 1 not in (axes_of(line)[axis] for axis in kept):
        line = with_axis_last(reader, line, kept[-1], node)
    places = {axes_of(line)[axis] for axis in reduced}
    window = [size if place in places else 1 for place, size in enumerate(line.shape)]
    result = _over(reader, line, window, node, is_maximum=node.kind == "ReduceMax")
    if node.kind == "ReduceSum":
        result = reader.walk.scaled(result, [Fraction(prod(window))])
    if node.integer("keepdims", 1):
        return result
    shape = tuple(before[axis] for axis in kept)
    return reshaped(reader, result, shape, node.inner("shape"))
