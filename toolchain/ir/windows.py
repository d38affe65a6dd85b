# SPDX-License-Identifier: Apache-2.0
"""Sliding windows over the spatial axes of a sample, which convolution and pooling share. No padding ('valid')."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from toolchain.errors import SpecViolation


def window_positions(
    shape: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...]:
    """How many places the window takes along each spatial axis of a sample of `shape` (channels last).

    Along one axis the window covers ``(window - 1) * dilation + 1`` elements, every `dilation`-th of which is used, and
    moves by `strides`. Raises SpecViolation for another number of axes and for a window that does not fit.
    """
    spatial = shape[:-1]
    if not window or len(window) != len(spatial):
        raise SpecViolation(
            f"a window of {len(window)} axes {window} needs an input of {len(window)} axes and channels, found {shape}"
        )
    for label, values in (("strides", strides), ("dilation", dilation)):
        if len(values) != len(window):
            raise SpecViolation(f"{label} {values} must have one entry for each of the window's axes {window}")
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
    if any(span > size for span, size in zip(spans, spatial, strict=True)):
        raise SpecViolation(f"a window that covers {tuple(spans)} does not fit into the input's {spatial}")
    return tuple((size - span) // step + 1 for size, span, step in zip(spatial, spans, strides, strict=True))


def window_taps(
    x: np.ndarray, window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """(index in the window, view (batch, *positions, channels) of the elements under it) for each element of the window."""
    positions = window_positions(x.shape[1:], window, strides, dilation)
    for index in product(*map(range, window)):
        places = (
            slice(i * d, i * d + (n - 1) * s + 1, s)
            for i, d, n, s in zip(index, dilation, positions, strides, strict=True)
        )
        yield index, x[(slice(None), *places)]


def window_patches(
    x: np.ndarray, window: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]
) -> np.ndarray:
    """A read-only view of shape (batch, *positions, *window, channels); reshaping it copies."""
    spans = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    count = len(window)
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(1, count + 1)))
    # The view is (batch, *all places, channels, *spans).
    view = view[
        (slice(None), *(slice(None, None, s) for s in strides), slice(None), *(slice(None, None, d) for d in dilation))
    ]
    return np.moveaxis(view, count + 1, -1)
