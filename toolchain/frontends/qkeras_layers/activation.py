# SPDX-License-Identifier: Apache-2.0
"""Layers that apply a function to each value: quantisers, rectifiers, softmax."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import RECTIFIER, Clip, Float32, Function, HalfLine, Leaky, Reals
from toolchain.frontends.exact.values import Site
from toolchain.frontends.qkeras_layers.functions import activated
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles
from toolchain.frontends.qkeras_quantisers import quantise
from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras


@handles("QActivation", "activation")
def _quantised(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    return activated(walk, value, layer.quantizer, _of_activation(site))


@handles("Activation", "activation")
def _plain(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    return activated(walk, value, layer.activation, _of_activation(site))


def _of_activation(site: Site) -> Site:
    return Site(site.name, site.source, f"{site.label}: activation")


@handles(
    "QAdaptiveActivation",
    "activation", "total_bits", "current_step", "symmetric", "quantization_delay", "ema_freeze_delay", "ema_decay",
    "per_channel", "po2_rounding", "relu_neg_slope", "relu_upper_bound",
)  # fmt: skip
def _adaptive(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    """The quantiser with the integer bits that the moving averages give. The layer itself uses those from its second call
    on: each call quantises with the bits that the call before has left."""
    quantiser = layer.quantizer
    bits = import_qkeras().qlayers._get_integer_bits(
        min_value=layer.ema_min,
        max_value=layer.ema_max,
        bits=layer.total_bits,
        symmetric=layer.symmetric,
        keep_negative=layer.keep_negative,
        is_clipping=layer.po2_rounding,
    )
    quantiser.integer.assign(bits)
    quantiser.update_qnoise_factor(1.0)
    return quantise(walk, value, quantiser, _of_activation(site))


@handles("LeakyReLU", "alpha")
def _leaky(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    slope = Fraction(float(layer.alpha))
    if slope < 0:
        raise UnsupportedModel(f"{site.label}: alpha is {float(slope):g}; supported are 0 and positive slopes")
    line = walk.line(value, site)
    return replace(line, functions=(*line.functions, *_with_slope(slope)))


def _with_slope(slope: Fraction) -> tuple[Function, ...]:
    if slope == 0:
        return (RECTIFIER,)
    if slope == 1:
        return ()
    # A power of two keeps all bits; another product is rounded.
    exact = slope.numerator & (slope.numerator - 1) == 0
    return (Leaky((slope,)),) if exact else (Leaky((slope,)), Float32())


@handles("ReLU", "max_value", "negative_slope", "threshold")
def _relu(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    slope, threshold = Fraction(float(layer.negative_slope)), Fraction(float(layer.threshold))
    line = walk.line(value, site)
    functions: tuple[Function, ...] = _with_slope(slope)
    if threshold:
        functions = (Above(threshold, slope), Float32()) if slope else (Above(threshold, slope),)
    if layer.max_value is not None:
        functions = (*functions, Clip(None, Fraction(float(layer.max_value))))
    return replace(line, functions=(*line.functions, *functions))


@dataclass(frozen=True)
class Above(Function):
    """Keras's rectifier with a threshold t > 0: ``v`` for v > t, else ``slope * (v - t)``."""

    threshold: Fraction
    slope: Fraction

    def preimage(self, half: HalfLine, channel: int) -> Reals:
        # The values at and below the threshold reach up to 0, the others begin above it.
        if half.bound > 0 or (half.bound == 0 and half.inclusive != half.upward):
            split = HalfLine(self.threshold, not half.upward, half.upward)
            return half if half.bound > self.threshold else split
        if self.slope == 0:
            return half.upward
        return HalfLine(self.threshold + half.bound / self.slope, half.inclusive, half.upward)

    def value(self, v: Fraction, channel: int) -> Fraction:
        return v if v > self.threshold else self.slope * (v - self.threshold)


@handles("Softmax", "axis")
def _softmax(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if list(axes) not in ([-1], [len(value.shape)]):
        raise UnsupportedModel(f"{site.label}: axis is {layer.axis}; supported is the last one")
    return activated(walk, value, import_tf_keras().activations.softmax, site)
