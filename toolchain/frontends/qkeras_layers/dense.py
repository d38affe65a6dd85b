# SPDX-License-Identifier: Apache-2.0
"""QDense, and what every layer with weights does."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.linear import dense, with_bias
from toolchain.frontends.exact.values import Fractions, Line, Site, compact, fractions_of
from toolchain.frontends.qkeras_layers.float32 import require_exact_sums, rounded
from toolchain.frontends.qkeras_layers.functions import activated
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles
from toolchain.frontends.qkeras_weights import Quantised, framework_weights, quantised_weights

#: Entries that all layers with weights share.
PRODUCT = ("use_bias", "activation", "bias_quantizer")


@handles("QDense", "units", "kernel_quantizer", *PRODUCT)
def _dense(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    kernel = layer_weights(walk, layer, "kernel", layer.kernel, site).weights()
    bias = layer_bias(layer, site)
    line = walk.settled(walk.line(value, site), site)
    product = require_exact_sums(walk, line, kernel, 1, dense(walk, line, kernel, site))
    return finished(walk, layer, product, bias, site)


def layer_weights(walk: KerasWalk, layer: Any, what: str, values: Any, site: Site) -> Quantised:
    """One of the layer's weights, quantised. `what`: 'kernel', 'depthwise', 'pointwise'."""
    quantiser = required_quantiser(layer, what, site)
    quantised = quantised_weights(quantiser, finite(values, what, site), f"{site.label}: {what}_quantizer")
    walk.sums_exact = bool(walk.sums_exact and quantised.exact)
    return quantised


def layer_bias(layer: Any, site: Site) -> Fractions | None:
    """The layer's quantised bias, exactly as the framework adds it; None without one."""
    if not layer.use_bias:
        return None
    quantiser = required_quantiser(layer, "bias", site)
    return bias_values(framework_weights(quantiser, finite(layer.bias, "bias", site), f"{site.label}: bias_quantizer"))


def bias_values(values: np.ndarray) -> Fractions:
    return tuple(fractions_of(values))


def required_quantiser(layer: Any, what: str, site: Site) -> Any:
    quantiser = getattr(layer, f"{what}_quantizer_internal")
    if quantiser is None:
        raise UnsupportedModel(
            f"{site.label}: {what}_quantizer is None, so its {what} is not quantised; give it a quantiser, for example "
            f"{what}_quantizer=quantized_bits(6, 0, alpha=1)"
        )
    return quantiser


def finite(values: Any, what: str, site: Site) -> np.ndarray:
    """Stored weights as a float32 array. Raises UnsupportedModel for NaN and infinity."""
    array = np.asarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise UnsupportedModel(
            f"{site.label}: {what} holds {array[tuple(index)]} at index {index}; all weights must be finite"
        )
    return array


def finished(walk: KerasWalk, layer: Any, line: Line, bias: Fractions | None, site: Site) -> Value:
    """A layer's product with its bias and its activation."""
    if bias is not None:
        line = rounded(walk, with_bias(walk, line, compact(bias)))
    inner = Site(f"{site.name}/activation", site.source, f"{site.label}: activation")
    return activated(walk, line, layer.activation, inner)
