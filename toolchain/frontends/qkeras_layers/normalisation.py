# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation with its moving statistics, as the framework's float32 computes it.

Keras computes ``x * factor + offset`` with ``factor = gamma * rsqrt(variance + epsilon)`` and ``offset = beta - mean * factor``,
all in float32; factor and offset are taken from the framework itself, so that they are the same numbers. The product and
the sum are rounded to float32 one after the other, which the graph follows wherever a quantiser comes next. Where none
comes, the graph goes on with the exact value of ``x * factor + offset``.

On images Keras prefers a fused kernel, whose rounding differs with processor, channels and version of TensorFlow in the last
bit. The graph, and the forward that it is compared with, follow the form above, which Keras uses with ``fused=False``; a
result of the fused kernel may differ by one step of the next quantiser where a value lies within two float32 roundings
of a tie.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.values import Line, Site, compact, fractions_of
from toolchain.frontends.qkeras_layers.dense import finite
from toolchain.frontends.qkeras_layers.float32 import representable, rounded
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles
from toolchain.frontends.qkeras_weights import framework_weights

_PARAMETERS = ("gamma", "beta", "mean", "variance")


@handles("BatchNormalization", "axis", "epsilon", "center", "scale")
def _plain(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    return _normalised(walk, layer, value, site, parameters(layer, site))


@handles(
    "QBatchNormalization",
    "axis", "epsilon", "center", "scale", "gamma_quantizer", "beta_quantizer", "mean_quantizer", "variance_quantizer",
)  # fmt: skip
def _quantised(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    """QKeras quantises the four parameters; an activation given to this layer is never applied."""
    found = parameters(layer, site)
    for name, values in found.items():
        quantiser = getattr(layer, f"{name}_quantizer_internal")
        if values is not None and quantiser is not None:
            found[name] = framework_weights(quantiser, values, f"{site.label}: {name}_quantizer").astype(np.float32)
    return _normalised(walk, layer, value, site, found)


def parameters(layer: Any, site: Site) -> dict[str, np.ndarray | None]:
    """The layer's float32 parameters; None for gamma or beta that it does not have."""
    stored = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
    return {
        name: None if values is None else finite(values, name, site)
        for name, values in zip(_PARAMETERS, stored, strict=True)
    }


def factor_and_offset(layer: Any, found: dict[str, np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """What Keras multiplies with and adds, by its own operations in float32."""
    import tensorflow

    gamma, beta, mean, variance = (found[name] for name in _PARAMETERS)
    assert mean is not None and variance is not None  # noqa: PT018
    factor = tensorflow.math.rsqrt(variance + np.float32(layer.epsilon))
    if gamma is not None:
        factor = factor * gamma
    offset = -mean * factor if beta is None else beta - mean * factor
    return np.asarray(factor), np.asarray(offset)


def _normalised(walk: KerasWalk, layer: Any, value: Value, site: Site, found: dict[str, np.ndarray | None]) -> Line:
    line = walk.line(value, site)
    if list(layer.axis) != [len(line.shape)]:
        raise UnsupportedModel(f"{site.label}: axis is {list(layer.axis)}; supported is the last one")
    factor, offset = factor_and_offset(layer, found)
    if not (np.isfinite(factor).all() and np.isfinite(offset).all()):
        raise UnsupportedModel(f"{site.label}: its variance gives factors that are not finite")
    line = rounded(walk, walk.scaled(line, compact(fractions_of(factor))))
    line = walk.scaled(line, compact(fractions_of(np.ones(1))), compact(fractions_of(offset)))
    if not representable(walk, line):
        walk.note_inexact(line)  # a processor may multiply and add in one operation
    return rounded(walk, line)
