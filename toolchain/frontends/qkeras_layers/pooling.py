# SPDX-License-Identifier: Apache-2.0
"""Pooling over windows and over everything, with QKeras's quantised reciprocals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.pooling import average_pool, max_pool
from toolchain.frontends.exact.shapes import Pairs, reshape
from toolchain.frontends.exact.values import Line, Site
from toolchain.frontends.qkeras_layers.convolution import padding_pairs
from toolchain.frontends.qkeras_layers.float32 import require_exact, rounded
from toolchain.frontends.qkeras_layers.functions import activated
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles, last_channels
from toolchain.frontends.qkeras_weights import framework_weights

_WINDOW = ("pool_size", "strides", "padding", "data_format")
_GLOBAL = ("data_format", "keepdims")


def _padding(layer: Any, line: Line, site: Site) -> Pairs:
    last_channels(layer, site)
    return padding_pairs(layer, line.shape, layer.pool_size, [1] * len(layer.pool_size), site)


@handles("MaxPooling1D", *_WINDOW)
@handles("MaxPooling2D", *_WINDOW)
def _maximum(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    line = walk.line(value, site)
    padding = _padding(layer, line, site)
    return max_pool(walk, line, window=layer.pool_size, strides=layer.strides, padding=padding, site=site)


@handles("AveragePooling1D", *_WINDOW)
@handles("AveragePooling2D", *_WINDOW)
def _average(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    line = walk.line(value, site)
    return _mean(walk, line, layer.pool_size, layer.strides, _padding(layer, line, site), site)


@handles("GlobalMaxPooling1D", *_GLOBAL)
@handles("GlobalMaxPooling2D", *_GLOBAL)
def _global_maximum(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    last_channels(layer, site)
    line = walk.line(value, site)
    window = line.shape[:-1]
    line = max_pool(walk, line, window=window, strides=window, padding=[(0, 0)] * len(window), site=site)
    return _kept(walk, layer, line, site)


@handles("GlobalAveragePooling1D", *_GLOBAL)
@handles("GlobalAveragePooling2D", *_GLOBAL)
def _global_average(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    return _kept(walk, layer, _global_mean(walk, layer, walk.line(value, site), site), site)


@handles("QAveragePooling2D", *_WINDOW, "average_quantizer", "activation")
def _quantised_average(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    line = walk.line(value, site)
    mean = _mean(walk, line, layer.pool_size, layer.strides, _padding(layer, line, site), site)
    return _shared(walk, layer, mean, prod(layer.pool_size), site)


@handles("QGlobalAveragePooling2D", *_GLOBAL, "average_quantizer", "activation")
def _quantised_global_average(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    line = walk.line(value, site)
    area = prod(line.shape[:-1])
    return _shared(walk, layer, _kept(walk, layer, _global_mean(walk, layer, line, site), site), area, site)


def _mean(walk: KerasWalk, line: Line, window: Any, strides: Any, padding: Pairs, site: Site) -> Line:
    """The mean of each window over its real elements: the framework divides its sum, which rounds once."""
    line = walk.settled(line, site)
    largest = replace(line, scale=tuple(s * prod(window) for s in line.scale))
    require_exact(walk, largest, *(abs(s) for s in line.scale))
    line = average_pool(walk, line, window=window, strides=strides, padding=padding, counts_padding=False, site=site)
    return rounded(walk, line)


def _global_mean(walk: KerasWalk, layer: Any, line: Line, site: Site) -> Line:
    last_channels(layer, site)
    window = line.shape[:-1]
    return _mean(walk, line, window, window, [(0, 0)] * len(window), site)


def _kept(walk: KerasWalk, layer: Any, line: Line, site: Site) -> Line:
    if layer.keepdims:
        return line
    result = reshape(walk, line, line.shape[-1:], site.inner("squeeze"))
    assert isinstance(result, Line)
    return result


def _shared(walk: KerasWalk, layer: Any, mean: Line, area: int, site: Site) -> Value:
    """QKeras's quantised average: the mean times the window's area, times the quantised ``1 / area``.

    Each of the two products is rounded to float32.
    """
    if layer.average_quantizer_internal is not None:
        label = f"{site.label}: average_quantizer"
        share = framework_weights(layer.average_quantizer_internal, 1.0 / area, label)
        if share.size != 1:
            raise UnsupportedModel(f"{label} gave {share.shape} values for one")
        for factor in (Fraction(area), Fraction(float(np.float32(share.reshape(-1)[0])))):
            mean = rounded(walk, walk.scaled(mean, (factor,)))
            walk.sums_exact = bool(walk.sums_exact and not mean.functions)
    inner = Site(f"{site.name}/activation", site.source, f"{site.label}: activation")
    return activated(walk, mean, layer.activation, inner)
