# SPDX-License-Identifier: Apache-2.0
"""Convolutions: plain, depthwise, separable and transposed, over one or two spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.linear import convolution, transposed_convolution
from toolchain.frontends.exact.values import Line, Site, Weights
from toolchain.frontends.qkeras_layers.dense import PRODUCT, finished, layer_bias, layer_weights
from toolchain.frontends.qkeras_layers.float32 import require_exact_sums
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles, last_channels
from toolchain.frontends.qkeras_weights import Quantised

#: What all convolutions share.
WINDOW = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", *PRODUCT)


def padding_pairs(
    layer: Any, sizes: Sequence[int], window: Sequence[int], dilation: Sequence[int], site: Site
) -> list[tuple[int, int]]:
    """Zeros (before, after) along each spatial axis for the layer's `padding`, as TensorFlow places them."""
    padding = str(layer.padding).lower()
    reach = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    if padding == "valid":
        return [(0, 0)] * len(reach)
    if padding == "causal" and len(reach) == 1:
        return [(reach[0] - 1, 0)]
    if padding != "same":
        raise UnsupportedModel(f"{site.label}: padding is {layer.padding!r}; supported are 'valid' and 'same'")
    pairs = []
    for size, span, stride in zip(sizes[: len(reach)], reach, layer.strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        pairs.append((total // 2, total - total // 2))
    return pairs


def convolved(walk: KerasWalk, layer: Any, line: Line, weights: Weights, groups: int, site: Site) -> Line:
    """The layer's window over a line."""
    last_channels(layer, site)
    line = walk.settled(line, site)
    window = weights.integers.shape[:-2]
    product = convolution(
        walk,
        line,
        weights,
        strides=layer.strides,
        dilation=layer.dilation_rate,
        padding=padding_pairs(layer, line.shape, window, layer.dilation_rate, site),
        groups=groups,
        site=site,
    )
    return require_exact_sums(walk, line, weights, groups, product)


@handles("QConv1D", "filters", "groups", "kernel_quantizer", *WINDOW)
@handles("QConv2D", "filters", "groups", "kernel_quantizer", *WINDOW)
def _convolution(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    kernel = layer_weights(walk, layer, "kernel", layer.kernel, site).weights()
    bias = layer_bias(layer, site)
    line = walk.line(value, site)
    groups = line.channels // kernel.integers.shape[-2]
    return finished(walk, layer, convolved(walk, layer, line, kernel, groups, site), bias, site)


@handles("QDepthwiseConv2D", "depth_multiplier", "depthwise_quantizer", *WINDOW)
def _depthwise(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    kernel = layer_weights(walk, layer, "depthwise", layer.depthwise_kernel, site)
    bias = layer_bias(layer, site)
    line = depthwise(walk, layer, walk.line(value, site), kernel, site)
    return finished(walk, layer, line, bias, site)


def depthwise(walk: KerasWalk, layer: Any, line: Line, kernel: Quantised, site: Site) -> Line:
    """A kernel of shape (window..., channels, multiplier): each channel on its own; output ``channel * multiplier + i``."""
    *window, channels, multiplier = kernel.integers.shape
    weights = kernel.reshaped(*window, 1, channels * multiplier).weights()
    return convolved(walk, layer, line, weights, channels, site)


@handles("QSeparableConv1D", "filters", "depth_multiplier", "depthwise_quantizer", "pointwise_quantizer", *WINDOW)
@handles("QSeparableConv2D", "filters", "depth_multiplier", "depthwise_quantizer", "pointwise_quantizer", *WINDOW)
def _separable(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    if str(layer.padding).lower() == "causal":
        raise UnsupportedModel(
            f"{site.label}: padding is 'causal', with which QKeras 0.9.0 itself fails; supported are 'valid' and 'same'"
        )
    first = layer_weights(walk, layer, "depthwise", layer.depthwise_kernel, site)
    second = layer_weights(walk, layer, "pointwise", layer.pointwise_kernel, site).weights()
    bias = layer_bias(layer, site)
    inner = site.inner("depthwise")
    line = walk.settled(depthwise(walk, layer, walk.line(value, site), first, inner), inner)
    spatial = len(line.shape) - 1
    ones, none = [1] * spatial, [(0, 0)] * spatial
    product = convolution(walk, line, second, strides=ones, dilation=ones, padding=none, groups=1, site=site)
    line = require_exact_sums(walk, line, second, 1, product)
    return finished(walk, layer, line, bias, site)


@handles("QConv2DTranspose", "filters", "kernel_quantizer", "output_padding", *WINDOW)
def _transposed(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    """QKeras gives its parent class no output_padding, so there is none whatever the layer was made with."""
    last_channels(layer, site)
    if max(layer.strides) > 1 and max(layer.dilation_rate) > 1:
        raise UnsupportedModel(f"{site.label}: has both strides and dilation above 1; supported is one of them")
    # The framework's kernel is (window..., outputs, inputs), and a learned scale belongs to the inputs.
    kernel = layer_weights(walk, layer, "kernel", layer.kernel, site).transposed(0, 1, 3, 2).weights()
    bias = layer_bias(layer, site)
    line = walk.settled(walk.line(value, site), site)
    cropping = []
    for k, stride, rate in zip(kernel.integers.shape, layer.strides, layer.dilation_rate, strict=False):
        excess = (k - 1) * rate + 1 - stride
        if str(layer.padding).lower() == "valid":
            cropping.append((0, min(excess, 0)))
        else:
            cropping.append((max(excess, 0) // 2, excess - max(excess, 0) // 2))
    product = transposed_convolution(
        walk,
        line,
        kernel,
        strides=layer.strides,
        dilation=layer.dilation_rate,
        cropping=cropping,
        groups=1,
        site=site,
    )
    return finished(walk, layer, require_exact_sums(walk, line, kernel, 1, product), bias, site)
