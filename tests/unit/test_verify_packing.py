# SPDX-License-Identifier: Apache-2.0
"""Packing integers into beats, and test vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import UsageError
from toolchain.ir import GraphBuilder, Input, IntegerType, Relu
from toolchain.verify.packing import pack_beats, unpack_beats
from toolchain.verify.vectors import mixed_vectors, random_vectors


@given(st.data())
def test_round_trip_and_definition(data: st.DataObject) -> None:
    lanes, width, signed = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 80)), data.draw(st.booleans())
    frames, beats = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    element = IntegerType(signed, width)
    count = frames * beats * lanes
    corner = st.sampled_from([element.lowest, element.highest, max(element.lowest, -1), 0])
    values = data.draw(
        st.lists(st.one_of(corner, st.integers(element.lowest, element.highest)), min_size=count, max_size=count)
    )
    dtype = object if width > (64 if signed else 63) else np.int64
    array = np.array(values, dtype=dtype).reshape(frames, beats * lanes)
    size = -(-lanes * width // 8) + data.draw(st.integers(0, 3))
    packed = pack_beats(array, lanes, width, size)
    assert packed.shape == (frames * beats, size)
    assert packed.dtype == np.uint8
    for row, beat in enumerate(packed):
        expected = sum(
            (v & ((1 << width) - 1)) << (i * width) for i, v in enumerate(values[row * lanes : (row + 1) * lanes])
        )
        assert int.from_bytes(beat.tobytes(), "little") == expected
    # What stands above the elements has no influence.
    noisy = packed.copy()
    for bit in range(lanes * width, size * 8):
        noisy[:, bit // 8] |= np.uint8(1 << bit % 8)
    found = unpack_beats(noisy, lanes, width, signed, beats * lanes)
    assert [int(v) for v in found.ravel()] == values


def graph_of(element: IntegerType, size: int = 6):
    builder = GraphBuilder("g")
    builder.output(builder.add(Relu(), builder.add(Input((2, size // 2), element), name="x"), name="y"))
    return builder.build()


@pytest.mark.parametrize(
    "element",
    [
        IntegerType(True, 4),
        IntegerType(False, 1),
        IntegerType(True, 8, 0, -100, 90),
        IntegerType(True, 80),
        IntegerType(False, 6, 0, 3, 40),
    ],
)
def test_random_vectors(element: IntegerType) -> None:
    graph = graph_of(element)
    x = random_vectors(graph, 300, seed=4)
    assert x.shape == (300, 2, 3)
    flat = [[int(v) for v in row] for row in x.reshape(300, 6)]
    low, high = element.minimum, element.maximum
    middle = min(max(0, low), high)
    assert all(low <= v <= high for row in flat for v in row)
    for corner in (
        [low] * 6,
        [high] * 6,
        [low, high] * 3,
        [high, low] * 3,
        [high] + [middle] * 5,
        [middle] * 5 + [low],
    ):
        assert corner in flat[:17]
    assert np.array_equal(x, random_vectors(graph, 300, seed=4))
    assert not np.array_equal(x, random_vectors(graph, 300, seed=5))
    assert np.array_equal(random_vectors(graph, 2, seed=4), x[:2])
    if element.width == 80:
        # Random ones fill the interval: their top bits differ.
        assert len({v >> 70 for row in flat[17:] for v in row}) > 100


def test_mixed_vectors() -> None:
    graph = graph_of(IntegerType(True, 4))
    own = np.full((5, 2, 3), 3, dtype=np.int64)
    assert np.array_equal(mixed_vectors(graph, own, 3, 1), own[:3])
    mixed = mixed_vectors(graph, own, 20, 1)
    assert np.array_equal(mixed[:5], own)
    assert np.array_equal(mixed[5:], random_vectors(graph, 15, 1))
    assert np.array_equal(mixed_vectors(graph, None, 20, 1), random_vectors(graph, 20, 1))


def test_no_vectors() -> None:
    with pytest.raises(UsageError, match="the number of vectors must be at least 1, found 0"):
        random_vectors(graph_of(IntegerType(True, 4)), 0, 1)
