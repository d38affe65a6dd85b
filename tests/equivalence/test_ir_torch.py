# SPDX-License-Identifier: Apache-2.0
"""Convolution, pooling and upsampling mean what PyTorch means by them: small integers in float64, where all sums are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolchain.ir import (
    Conv,
    Graph,
    GraphBuilder,
    Input,
    InsertZeros,
    IntegerType,
    MaxPool,
    Operation,
    Pad,
    SumPool,
    TensorType,
    Upsample,
    interpret,
)  # fmt: skip

torch = pytest.importorskip("torch")
functional = torch.nn.functional
BATCH = 5


def channels_first(x: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).double()


def channels_last(y: Any) -> np.ndarray:
    return np.moveaxis(y.numpy(), 1, -1)


def run(operations: list[Operation], x: np.ndarray, element: IntegerType) -> tuple[Graph, np.ndarray]:
    builder = GraphBuilder("torch")
    tensor = builder.add(Input(x.shape[1:], element), name="x")
    for operation in operations:
        tensor = builder.add(operation, tensor, name="y")
    builder.output(tensor)
    graph = builder.build()
    return graph, interpret(graph, x)[tensor]


def geometry(random: np.random.Generator, rank: int) -> tuple[tuple[int, ...], ...]:
    """(sizes, window, strides, dilation) along `rank` axes that fit."""
    window, strides, dilation = (tuple(int(v) for v in random.integers(1, 4, rank)) for _ in range(3))
    spans = ((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    sizes = tuple(span + int(v) for span, v in zip(spans, random.integers(0, 5, rank), strict=True))
    return sizes, window, strides, dilation


@pytest.mark.parametrize("case", range(24))
def test_convolution(case: int, random: np.random.Generator) -> None:
    rank = 1 + case % 2
    sizes, window, strides, dilation = geometry(random, rank)
    groups, per_group, multiplier = (int(v) for v in random.integers(1, 4, 3))
    if case % 3 == 0:
        per_group = 1
    element = IntegerType(True, 5)
    pads = tuple(int(v) for v in random.integers(0, 3, rank))
    weights = random.integers(-7, 8, (*window, per_group, groups * multiplier))
    x = random.integers(-16, 16, (BATCH, *sizes, groups * per_group))
    pad = Pad((*((n, n) for n in pads), (0, 0)))
    graph, y = run([pad, Conv(weights, strides, dilation, groups)], x, element)
    # torch's kernels are (outputs, inputs of a group, window...).
    kernel = torch.from_numpy(np.moveaxis(weights, (-1, -2), (0, 1)).copy()).double()
    convolve = {1: functional.conv1d, 2: functional.conv2d}[rank]
    expected = convolve(channels_first(x), kernel, stride=strides, padding=pads, dilation=dilation, groups=groups)
    assert graph.types[graph.outputs[0].tensor].shape == y.shape[1:]
    np.testing.assert_array_equal(y, channels_last(expected))


@pytest.mark.parametrize("case", range(12))
def test_pooling(case: int, random: np.random.Generator) -> None:
    rank = 1 + case % 2
    sizes, window, strides, dilation = geometry(random, rank)
    x = random.integers(-16, 16, (BATCH, *sizes, 3))
    element = IntegerType(True, 5)
    largest = {1: functional.max_pool1d, 2: functional.max_pool2d}[rank]
    average = {1: functional.avg_pool1d, 2: functional.avg_pool2d}[rank]
    _, y = run([MaxPool(window, strides, dilation)], x, element)
    np.testing.assert_array_equal(y, channels_last(largest(channels_first(x), window, strides, 0, dilation)))
    _, y = run([SumPool(window, strides)], x, element)
    # The average is rounded, its product with the count is not: within a hundredth of the integer.
    mean = channels_last(average(channels_first(x), window, strides)) * np.prod(window)
    assert np.abs(mean - np.rint(mean)).max() < 0.01
    np.testing.assert_array_equal(y, np.rint(mean))


@pytest.mark.parametrize("case", range(12))
def test_transposed_convolution(case: int, random: np.random.Generator) -> None:
    """Zeros between neighbours, a border of window - 1, and the mirrored kernel."""
    rank = 1 + case % 2
    window, strides = (tuple(int(v) for v in random.integers(1, 4, rank)) for _ in range(2))
    sizes = tuple(int(v) for v in random.integers(1, 6, rank))
    weights = random.integers(-7, 8, (*window, 2, 3))
    x = random.integers(-16, 16, (BATCH, *sizes, 2))
    mirrored = np.flip(weights, tuple(range(rank)))
    steps: list[Operation] = [
        InsertZeros((*strides, 1)),
        Pad((*((k - 1, k - 1) for k in window), (0, 0))),
        Conv(mirrored, (1,) * rank, (1,) * rank),
    ]
    _, y = run(steps, x, IntegerType(True, 5))
    # torch's kernels are (inputs, outputs, window...) here.
    kernel = torch.from_numpy(np.moveaxis(weights, (-2, -1), (0, 1)).copy()).double()
    transposed = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d}[rank]
    np.testing.assert_array_equal(y, channels_last(transposed(channels_first(x), kernel, stride=strides)))


@pytest.mark.parametrize("factors", [(1, 1), (2, 3), (4, 1)])
def test_nearest_neighbour(factors: tuple[int, int], random: np.random.Generator) -> None:
    x = random.integers(-16, 16, (BATCH, 3, 4, 2))
    _, y = run([Upsample((*factors, 1))], x, IntegerType(True, 5))
    expected = functional.interpolate(channels_first(x), scale_factor=factors, mode="nearest")
    np.testing.assert_array_equal(y, channels_last(expected))
    assert Upsample((*factors, 1)).infer(TensorType((3, 4, 2), IntegerType(True, 5))).shape == y.shape[1:]
