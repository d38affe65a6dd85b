# SPDX-License-Identifier: Apache-2.0
"""Pooling windows and whole planes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact import pooling, shapes
from toolchain.frontends.exact.values import Line
from toolchain.frontends.onnx_nodes.products import window_numbers, window_padding
from toolchain.frontends.onnx_nodes.reader import (
    NodeView,
    Reader,
    Value,
    axes_of,
    channels_first,
    channels_last,
    handles,
    in_file_order,
    laid_out,
    sample_axis,
)


@handles("MaxPool", "AveragePool")
def _pool(reader: Reader, node: NodeView) -> Value:
    line = channels_last(reader, reader.line(node.value(0), node), node)
    count = len(line.shape) - 1
    window = window_numbers(node, "kernel_shape", count)
    strides, dilation = window_numbers(node, "strides", count), window_numbers(node, "dilations", count)
    padding = window_padding(node, line.shape[:-1], window, strides, dilation)
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


def _require_no_ceiling(line, window, strides, dilation, padding, node):  # type: ignore[no-untyped-def]
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
    count = len(line.shape) - 1
    pool = _whole_average if node.kind == "GlobalAveragePool" else _whole_maximum
    return replace(pool(reader, line, node), axes=channels_first(count + 1))


def _whole_average(reader: Reader, line: Line, node: NodeView) -> Line:
    window, none = line.shape[:-1], [(0, 0)] * (len(line.shape) - 1)
    return pooling.average_pool(
        reader.walk, line, window=window, strides=[1] * len(window), padding=none, counts_padding=True, site=node.site
    )


def _whole_maximum(reader: Reader, line: Line, node: NodeView) -> Line:
    window, none = line.shape[:-1], [(0, 0)] * (len(line.shape) - 1)
    return pooling.max_pool(reader.walk, line, window=window, strides=[1] * len(window), padding=none, site=node.site)


@handles("ReduceMean", "ReduceMax", "ReduceSum")
def _reduce(reader: Reader, node: NodeView) -> Value:
    """Over all spatial axes of a channels-first sample (a global pool by another name)."""
    line = reader.line(node.value(0), node)
    raw = node.numbers(1, "the axes") if node.has(1) else [int(a) for a in node.attributes.get("axes", [])]
    rank = len(line.shape)
    reduced = sorted(sample_axis(axis, line, node) for axis in raw)
    if not reduced:
        raise UnsupportedModel(f"{node.label}: reduces over the whole sample; supported are all axes but the channels")
    kept = [axis for axis in range(rank) if axis not in reduced]
    if len(kept) != 1 or rank not in (2, 3):
        raise UnsupportedModel(
            f"{node.label}: reduces over axes {raw} of a sample with {rank} axes; supported is all but one"
        )
    if axes_of(line)[kept[0]] != rank - 1:
        order = [axis for axis in range(rank) if axis != kept[0]]
        axes = [0] * rank
        for place, axis in enumerate((*order, kept[0])):
            axes[axis] = place
        line = laid_out(reader, line, tuple(axes), node)
    axes_before = axes_of(line)
    result = _whole_maximum(reader, line, node) if node.kind == "ReduceMax" else _whole_average(reader, line, node)
    if node.kind == "ReduceSum":
        result = reader.walk.scaled(result, [Fraction(prod(line.shape[:-1]))])
    result = replace(result, axes=axes_before)
    if node.integer("keepdims", 1):
        return result
    flat = shapes.reshape(reader.walk, in_file_order(reader, result, node), (line.channels,), node.site.inner("shape"))
    return replace(flat, axes=())
