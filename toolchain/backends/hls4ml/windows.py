# SPDX-License-Identifier: Apache-2.0
"""Lowerings of pools, and what every sliding window has in common.

hls4ml's own pooling is used for the largest value without dilation. Its average divides and rounds, so sums are an
extension layer.
"""

from __future__ import annotations

from math import prod
from typing import Any

from toolchain.backends.hls4ml.lowering import Lowering, lowers
from toolchain.backends.hls4ml.words import fixed_word, precision, signed_spanning
from toolchain.ir import MaxPool, Node, SumPool, TensorType


@lowers(MaxPool)
def _(lowering: Lowering, node: Node, operation: MaxPool) -> None:
    (x,) = lowering.graph.input_types(node)
    if lowering.append_own(node, accum=precision(x.element)):
        return
    parameters = window_parameters(x, lowering.type(node), operation.window, operation.strides, operation.steps)
    lowering.extend(node, "BitwrightPool", {**parameters, "kernel": "largest_of", "accum_t": fixed_word(x.element)})


@lowers(SumPool)
def _(lowering: Lowering, node: Node, operation: SumPool) -> None:
    (x,) = lowering.graph.input_types(node)
    ones = (1,) * len(operation.window)
    parameters = window_parameters(x, lowering.type(node), operation.window, operation.strides, ones)
    bound = x.element.magnitude * prod(operation.window)
    total = signed_spanning(-bound, bound, x.element.fraction)
    if lowering.append_own(node, accum=precision(total)):
        return
    lowering.extend(node, "BitwrightPool", {**parameters, "kernel": "total_of", "accum_t": fixed_word(total)})


def window_parameters(
    x: TensorType, y: TensorType, window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> dict[str, Any]:
    """Values for the configuration struct of a sliding window. Lines of one spatial axis are images of one row."""
    axes = len(window)
    plane = [(1, 1, 1, 1)] * (2 - axes) + list(zip(x.shape[:-1], window, strides, dilation, strict=True))
    # On streams, more than two axes are not slid over but kept as a whole.
    (height, window_height, stride_height, dilation_height), (width, window_width, stride_width, dilation_width) = (
        plane if axes <= 2 else [(1, 1, 1, 1)] * 2
    )
    return {
        "n_channels": x.channels,
        "n_outputs": y.channels,
        "n_positions": prod(y.shape[:-1]),
        "n_taps": prod(window),
        "n_axes": axes,
        "positions": y.shape[:-1],
        "window": window,
        "strides": strides,
        "dilation": dilation,
        "source_stride": tuple(prod(x.shape[axis + 1 :]) for axis in range(axes)),
        "whole_tensor": axes > 2,
        "height": height,
        "width": width,
        "span_height": (window_height - 1) * dilation_height + 1,
        "span_width": (window_width - 1) * dilation_width + 1,
        "stride_height": stride_height,
        "stride_width": stride_width,
        "window_width": window_width,
        "dilation_height": dilation_height,
        "dilation_width": dilation_width,
        "reuse_factor": 1,
    }
