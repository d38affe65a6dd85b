# SPDX-License-Identifier: Apache-2.0
"""Layers that move values around: other shapes and orders, borders added or taken off, repetition."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.shapes import crop, pad_zeros, reshape, transpose, upsample
from toolchain.frontends.exact.values import Line, RealInput, Site
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value, handles, last_channels


def _even(walk: KerasWalk, value: Value, site: Site) -> Line | RealInput:
    """The value; where its channels differ by a bias only, with that in its integers.

    Channels may become other axes: a bias a channel would become one for each element.
    """
    moved = walk.moved(value, site)
    return moved if isinstance(moved, RealInput) else walk.evened(moved, site)


@handles("Flatten", "data_format")
def _flatten(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    last_channels(layer, site)
    return reshape(walk, _even(walk, value, site), (int(np.prod(value.shape)),), site)


@handles("Reshape", "target_shape")
def _reshape(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    shape = tuple(int(size) for size in layer.target_shape)
    if -1 in shape:
        known = int(np.prod([size for size in shape if size != -1]))
        shape = tuple(int(np.prod(value.shape)) // known if size == -1 else size for size in shape)
    return reshape(walk, _even(walk, value, site), shape, site)


@handles("Permute", "dims")
def _permute(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    return transpose(walk, _even(walk, value, site), tuple(int(axis) - 1 for axis in layer.dims), site)


def _pairs(widths: Any) -> tuple[tuple[int, int], ...]:
    """(before, after) along each spatial axis, from one axis' (before, after) or one pair an axis; and none for channels."""
    pairs = (widths,) if isinstance(widths[0], int | np.integer) else widths
    return (*((int(before), int(after)) for before, after in pairs), (0, 0))


@handles("ZeroPadding1D", "padding")
@handles("ZeroPadding2D", "padding", "data_format")
def _pad(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    last_channels(layer, site)
    line = walk.settled(walk.line(value, site), site)
    return pad_zeros(walk, line, _pairs(layer.padding), site)


@handles("Cropping1D", "cropping")
@handles("Cropping2D", "cropping", "data_format")
def _crop(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    last_channels(layer, site)
    return crop(walk, walk.moved(value, site), _pairs(layer.cropping), site)


@handles("UpSampling1D", "size")
@handles("UpSampling2D", "size", "data_format", "interpolation")
def _upsample(walk: KerasWalk, layer: Any, value: Value, site: Site) -> Value:
    last_channels(layer, site)
    method = getattr(layer, "interpolation", "nearest")
    if method != "nearest":
        raise UnsupportedModel(f"{site.label}: interpolation is {method!r}; supported is 'nearest'")
    size = layer.size if isinstance(layer.size, tuple | list) else (layer.size,)
    return upsample(walk, walk.moved(value, site), (*(int(s) for s in size), 1), site)
