# SPDX-License-Identifier: Apache-2.0
"""Convolutions with a batch normalisation folded into their weights, as the layers themselves fold at inference.

At inference both folding modes use the moving statistics: the kernel is multiplied by
``gamma * rsqrt(moving_variance + epsilon)`` and the bias becomes ``that * (bias - moving_mean) + beta``, in the framework's
float32. The quantisers run on these. A bias without a quantiser is added as the float32 that it is.
"""

from __future__ import annotations

from typing import Any

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.values import Fractions, Site
from toolchain.frontends.qkeras_layers.convolution import WINDOW, convolved, depthwise
from toolchain.frontends.qkeras_layers.dense import bias_values, finished, finite, layer_weights
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles
from toolchain.frontends.qkeras_weights import framework_weights

_NORMALISATION = ("axis", "epsilon", "center", "scale", "folding_mode", "ema_freeze_delay")


@handles("QConv2DBatchnorm", "filters", "groups", "kernel_quantizer", *WINDOW, *_NORMALISATION)
def _convolution(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    folded, bias = _folded(layer, site)
    kernel = layer_weights(walk, layer, "kernel", folded, site).weights()
    line = walk.line(value, site)
    groups = line.channels // kernel.integers.shape[-2]
    return finished(walk, layer, convolved(walk, layer, line, kernel, groups, site), bias, site)


@handles("QDepthwiseConv2DBatchnorm", "depth_multiplier", "depthwise_quantizer", *WINDOW, *_NORMALISATION)
def _depthwise(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    folded, bias = _folded(layer, site)
    kernel = layer_weights(walk, layer, "depthwise", folded, site)
    line = depthwise(walk, layer, walk.line(value, site), kernel, site)
    return finished(walk, layer, line, bias, site)


def _folded(layer: Any, site: Site) -> tuple[Any, Fractions]:
    """(the folded kernel before its quantiser, the folded bias after its quantiser)."""
    normalisation = layer.batchnorm
    if list(normalisation.axis) not in ([-1], [3]):
        raise UnsupportedModel(f"{site.label}: axis is {list(normalisation.axis)}; supported is the last one")
    if normalisation.beta is None:
        raise UnsupportedModel(f"{site.label}: center is False, with which QKeras 0.9.0 itself fails; give it a beta")
    for what, weights in (("weights", layer.get_weights()), ("moving statistics", normalisation.get_weights())):
        for array in weights:
            finite(array, what, site)
    kernel, bias = layer.get_folded_weights()
    quantiser = layer.bias_quantizer_internal
    values = finite(bias, "folded bias", site)
    if quantiser is not None:
        values = framework_weights(quantiser, values, f"{site.label}: bias_quantizer")
    return kernel, bias_values(values)
