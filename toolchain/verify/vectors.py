# SPDX-License-Identifier: Apache-2.0
"""Test vectors for a graph's input: the user's own first, then corners, then random integers."""

from __future__ import annotations

import numpy as np

from toolchain.errors import UsageError
from toolchain.ir import Graph
from toolchain.ir.operation import storage_dtype

#: Single elements that are set apart from the others, at each end of the interval; more say little and cost much.
_MOST_ONE_HOT = 64


def random_vectors(graph: Graph, count: int, seed: int) -> np.ndarray:
    """`count` integer vectors of shape (count, *input shape) for a graph with one input.

    First come corner vectors, as far as `count` allows: all at the interval's minimum, all at its maximum, alternating
    between both in the two ways, all at the value nearest to 0, and one element after the other (64 at most) at the
    maximum, then at the minimum, with the others nearest to 0. The rest is uniform over the interval. The same arguments
    always give the same vectors.
    """
    if len(graph.inputs) != 1:
        raise UsageError(f"random vectors are made for a graph with one input; found {len(graph.inputs)}")
    if count < 1:
        raise UsageError(f"the number of vectors must be at least 1, found {count}")
    tensor = graph.types[graph.inputs[0].name]
    low, high = tensor.element.minimum, tensor.element.maximum
    dtype = storage_dtype(tensor.element)
    corners = _corners(tensor.size, low, high)[:count]
    random = np.random.default_rng(seed)
    missing = (count - len(corners), tensor.size)
    rest: np.ndarray
    if dtype is object:
        width = (high - low).bit_length() + 64  # 64 bits more than the interval: no visible bias
        digits = random.integers(0, 1 << 16, (*missing, -(-width // 16)), dtype=np.int64).astype(object)
        weights = np.array([1 << (16 * place) for place in range(digits.shape[-1])], dtype=object)
        rest = low + (digits * weights).sum(axis=-1) % (high - low + 1)
    else:
        rest = random.integers(low, high, missing, dtype=np.int64, endpoint=True)
    flat = np.concatenate([np.array(corners, dtype=dtype).reshape(len(corners), tensor.size), rest.astype(dtype)])
    return flat.reshape(count, *tensor.shape)


def _corners(size: int, low: int, high: int) -> list[list[int]]:
    middle = min(max(0, low), high)
    vectors = [[low] * size, [high] * size, [middle] * size]
    vectors += [[(low, high)[(position + phase) % 2] for position in range(size)] for phase in range(2)]
    for value in (high, low):
        for position in range(min(size, _MOST_ONE_HOT)):
            vectors.append([value if place == position else middle for place in range(size)])
    return vectors


def mixed_vectors(graph: Graph, own: np.ndarray | None, count: int, seed: int) -> np.ndarray:
    """`count` vectors: the user's own integers first (as many as fit), then those of `random_vectors`."""
    if own is None or len(own) == 0:
        return random_vectors(graph, count, seed)
    if len(own) >= count:
        return own[:count]
    return np.concatenate([own, random_vectors(graph, count - len(own), seed)])
