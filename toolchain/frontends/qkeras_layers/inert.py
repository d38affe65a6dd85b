# SPDX-License-Identifier: Apache-2.0
"""Layers that do nothing at inference."""

from __future__ import annotations

from typing import Any

from toolchain.frontends.exact.values import Site
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles


@handles("Dropout", "rate")
@handles("AlphaDropout", "rate")
@handles("GaussianDropout", "rate")
@handles("GaussianNoise", "stddev")
@handles("SpatialDropout1D", "rate")
@handles("SpatialDropout2D", "rate", "data_format")
@handles("ActivityRegularization")
def _unchanged(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    return value
