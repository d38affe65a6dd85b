# SPDX-License-Identifier: Apache-2.0
"""Every operation's samples, as float models in onnxruntime and torch, equal the interpreter."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tests.sample_graphs import sample_graph, samples
from tests.sample_networks import feeds_for, random_network, residual_classifier, steps
from toolchain.errors import UnsupportedModel
from toolchain.ir import (
    Add,
    AddBias,
    Concatenate,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    MaxPool,
    Operation,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Rounding,
    Scale,
    SumPool,
    TensorType,
    Threshold,
    Transpose,
    Upsample,
    interpret,
    operations,
)
from toolchain.measure import float_exactness, onnx_lowering, torch_lowering
from toolchain.measure.engines import engines
from toolchain.measure.float_exactness import LOWERED, float_precision
from toolchain.measure.processor import measure_device
from toolchain.measure.torch_lowering import windows as torch_windows
from toolchain.measure.torch_lowering.registry import Constants

DEVICES = ("cpu-onnxruntime", "cpu-torch")


def values_for(tensor: TensorType, count: int, random: np.random.Generator) -> np.ndarray:
    """Both ends, values around zero and random ones of a type's interval; as many as fit of a short one of one element."""
    low, high = tensor.element.minimum, tensor.element.maximum
    if tensor.size == 1 and high - low < 4096:
        every = np.arange(low, high + 1)
        return every[np.arange(count) % len(every)].reshape(-1, *tensor.shape)
    if max(-low, high) >= 1 << 62:
        pick = [low + int(v) * (high - low) // 1000 for v in random.integers(0, 1001, count * tensor.size)]
        return np.array(pick, dtype=object).reshape(count, *tensor.shape)
    values = random.integers(low, high + 1, (count, *tensor.shape))
    values[0], values[1] = low, high
    near = np.clip(np.arange(-tensor.size, tensor.size)[: tensor.size], low, high)
    values[2] = near.reshape(tensor.shape)
    return values


def vectors_for(graph: Graph, count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    return {node.name: values_for(graph.types[node.name], count, random) for node in graph.inputs}


def run_on(device: str, graph: Graph, vectors: Mapping[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """The results by graph node."""
    batch = len(next(iter(vectors.values())))
    calls = engines()[device].prepare(graph, dtype, batch)
    results = next(calls)([np.ascontiguousarray(vectors[node.name].astype(dtype)) for node in graph.inputs])
    calls.close()  # type: ignore[attr-defined]
    assert {result.dtype for result in results} == {np.dtype(dtype)}
    return {output.tensor: result for output, result in zip(graph.outputs, results, strict=True)}


def assert_equal_to_the_interpreter(
    device: str, graph: Graph, vectors: Mapping[str, np.ndarray], dtypes: Sequence[str] = ("float32", "float64")
) -> None:
    expected = interpret(graph, vectors)
    for dtype in dtypes:
        found = run_on(device, graph, vectors, dtype)
        assert set(found) == set(expected)
        for name, values in found.items():
            assert values.shape == expected[name].shape
            np.testing.assert_array_equal(values.astype(np.float64), expected[name].astype(np.float64), err_msg=name)


def test_what_is_declared_has_lowerings() -> None:
    assert set(onnx_lowering.LOWERINGS) == set(LOWERED) - {Input}
    assert set(torch_lowering.LOWERINGS) == set(LOWERED) - {Input}
    assert set(LOWERED) == set(operations().values())


@pytest.mark.parametrize("device", DEVICES)
def test_what_has_no_lowering_is_refused_by_name(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(float_exactness._BOUNDS, Upsample)
    graph = sample_graph(*next(Upsample.samples()))
    zeros = {"x": np.zeros((3, *graph.types["x"].shape), dtype=int)}
    with pytest.raises(
        UnsupportedModel, match=r"y \(upsample from the layer\): operation 'upsample' has no floating-point lowering"
    ):
        measure_device(graph, zeros, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("operation", "types"), list(samples(LOWERED)))
def test_sample_equals_the_interpreter(
    device: str, operation: Operation, types: tuple[TensorType, ...], random: np.random.Generator
) -> None:
    graph = sample_graph(operation, types)
    vectors = vectors_for(graph, 50, random)
    precision = float_precision(graph)
    if not precision.dtype:
        assert precision.largest >= 1 << 53
        with pytest.raises(UnsupportedModel, match="it would only be approximated"):
            measure_device(graph, vectors, device)
        return
    dtypes = ("float32", "float64") if precision.dtype == "float32" else ("float64",)
    assert_equal_to_the_interpreter(device, graph, vectors, dtypes)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("number", range(10))
def test_random_networks(number: int, device: str, random: np.random.Generator) -> None:
    graph = random_network(random)
    assert float_precision(graph).dtype == "float32"
    assert_equal_to_the_interpreter(device, graph, feeds_for(graph, 5, random))


@pytest.mark.parametrize("device", DEVICES)
def test_a_classifier_with_branches(device: str, random: np.random.Generator) -> None:
    graph = residual_classifier(random)
    feeds = feeds_for(graph, 40, random)
    assert len(np.unique(interpret(graph, feeds)["class"])) > 1
    assert_equal_to_the_interpreter(device, graph, feeds)
    records = measure_device(graph, feeds, device, (1, 16), 0.02)
    assert {record.value for record in records if record.name.startswith("compared_vectors")} == {40}


def far_from_float32(axes: int, groups: int, random: np.random.Generator) -> Graph:
    """A convolution of 16-bit values and weights: float64, with sums of all magnitudes."""
    window = (3, 2)[:axes]
    weights = random.integers(-(1 << 15), 1 << 15, (*window, 8 // groups, 16))
    operation = Conv(weights, (2, 1)[:axes], (1, 2)[:axes], groups)
    return sample_graph(operation, (TensorType((*(9, 7)[:axes], 8), IntegerType(True, 16)),))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("axes", [1, 2])
def test_convolutions_in_float64(axes: int, groups: int, device: str, random: np.random.Generator) -> None:
    graph = far_from_float32(axes, groups, random)
    assert float_precision(graph).dtype == "float64"
    assert_equal_to_the_interpreter(device, graph, vectors_for(graph, 20, random), ("float64",))


@pytest.mark.parametrize("device", DEVICES)
def test_products_between_other_operations_in_float64(device: str, random: np.random.Generator) -> None:
    """ONNX Runtime fuses such rows of operators, and has not all of the results in float64."""
    builder = GraphBuilder("fused")
    x = builder.add(Input((4, 6), IntegerType(True, 20)), name="x")
    x = builder.add(Dense(random.integers(-99, 99, (4, 5))), builder.add(Transpose((1, 0)), x, name="turned"), name="a")
    x = builder.add(Relu(), builder.add(AddBias(random.integers(-9, 9, 5)), x, name="biased"), name="relu")
    x = builder.add(
        Dense(random.integers(-9, 9, (5, 5))), builder.add(Scale(np.array([4])), x, name="scaled"), name="b"
    )
    builder.output(builder.add(Scale(np.array([2])), x, name="y"))
    graph = builder.build()
    assert float_precision(graph).dtype == "float64"
    assert_equal_to_the_interpreter(device, graph, vectors_for(graph, 9, random), ("float64",))


@pytest.mark.parametrize("device", DEVICES)
def test_constants_beyond_any_float_that_do_nothing(device: str) -> None:
    """A shift of what is always 0, and the value of a border that is nowhere: neither may be made into a float."""
    nothing, x = TensorType((3,), IntegerType(True, 4, 0, 0, 0)), TensorType((3,), IntegerType(True, 4, 2000))
    vectors = {"x": np.zeros((4, 3), dtype=int), "x_2": np.arange(-6, 6).reshape(4, 3)}
    for operation in (Add(), Add(True), Concatenate(0)):
        assert_equal_to_the_interpreter(device, sample_graph(operation, (nothing, x)), vectors)
    for operation, types in ((AddBias(np.arange(3), 2000), (nothing,)), (Pad(((0, 0),), 1 << 2000), (x,))):
        assert_equal_to_the_interpreter(device, sample_graph(operation, types), {"x": vectors["x"]})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(6, 5, 4), (12, 4)])
def test_convolutions_at_the_edge_of_float32(device: str, shape: tuple[int, ...], random: np.random.Generator) -> None:
    """The largest partial sum is just below 2**24, reached by alternating signs and by equal ones."""
    *spatial, channels = shape
    window = tuple(3 for _ in spatial)
    ones = np.ones((*window, channels, 8), dtype=np.int64)
    taps = 3 ** len(spatial) * channels
    weight = ((1 << 24) - 1) // (255 * taps)
    signs = np.where(random.integers(0, 2, ones.shape), 1, -1)
    operation = Conv(np.where(np.arange(8) < 4, ones, signs) * weight, window, tuple(1 for _ in spatial))
    graph = sample_graph(operation, (TensorType(shape, IntegerType(False, 8)),))
    assert float_precision(graph).dtype == "float32"
    assert float_precision(graph).largest > (1 << 24) - 255 * taps
    assert_equal_to_the_interpreter(device, graph, vectors_for(graph, 64, random), ("float32",))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("window", "strides", "outputs"), [((3, 2), (1, 2), 1), ((1, 4), (1, 3), 2), ((2, 2), (2, 1), 3)]
)
def test_convolutions_of_one_channel(
    window: tuple[int, ...], strides: tuple[int, ...], outputs: int, device: str, random: np.random.Generator
) -> None:
    """Frameworks cannot tell from the strides of such a tensor where its channels are."""
    operation = Conv(random.integers(-4, 5, (*window, 1, outputs)), strides, (1, 1))
    graph = sample_graph(operation, (TensorType((6, 5, 1), IntegerType(True, 8)),))
    assert_equal_to_the_interpreter(device, graph, vectors_for(graph, 16, random))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "pool",
    [
        MaxPool((2, 1, 2, 2), (1, 1, 2, 1)),
        MaxPool((2, 1, 2, 2), (1, 1, 1, 1), (1, 3, 2, 2)),
        SumPool((2, 1, 2, 3), (1, 1, 2, 1)),
    ],
)
def test_pools_over_more_axes_than_frameworks_have(
    pool: MaxPool | SumPool, device: str, random: np.random.Generator
) -> None:
    graph = sample_graph(pool, (TensorType((3, 2, 4, 5, 2), IntegerType(True, 4)),))
    assert_equal_to_the_interpreter(device, graph, vectors_for(graph, 5, random))


@pytest.mark.parametrize(("operation", "types"), list(samples([Conv])))
def test_products_of_patches_are_convolutions(
    operation: Conv, types: tuple[TensorType, ...], random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU gets instead of cuDNN's choice of algorithm; here on the CPU, for whole batches and in parts."""
    import torch

    graph = sample_graph(operation, types)
    dtype = float_precision(graph).dtype
    if not dtype:
        return
    vectors = vectors_for(graph, 7, random)
    expected = interpret(graph, vectors)["y"].astype(np.float64)
    for elements in (1 << 28, 3 * types[0].size):
        monkeypatch.setattr(torch_windows, "_PATCH_ELEMENTS", elements)
        step = torch_windows.product_conv(operation, types, Constants(dtype, "cpu"))
        found = step(torch.from_numpy(vectors["x"].astype(dtype))).numpy().astype(np.float64)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shape", "width", "rows", "count", "by_table"),
    [
        ((40, 30, 8), 6, 8, 12, True),
        ((40, 30, 8), 6, 1, 12, True),
        ((40, 30, 8), 6, 8, 3, False),
        ((40, 30, 8), 6, 1, 3, False),
        ((4, 1100, 5), 22, 5, 7, False),
    ],
)
def test_thresholds_of_images(
    shape: tuple[int, ...], width: int, rows: int, count: int, by_table: bool, device: str, random: np.random.Generator
) -> None:
    """Too many comparisons to make all at once: by a table, or one threshold after the other."""
    x = TensorType(shape, IntegerType(True, width))
    operation = Threshold(steps(x.element, count, rows, random), -3)
    assert not float_exactness.compares_at_once(operation, x)
    assert (float_exactness.as_lookup(operation, x) is not None) == by_table
    graph = sample_graph(operation, (x,))
    assert_equal_to_the_interpreter(device, graph, vectors_for(graph, 4, random))


REQUANTISE_CASES = [
    pytest.param(
        rounding, overflow, signed, id=f"{rounding.value}-{overflow.value}-{'signed' if signed else 'unsigned'}"
    )
    for rounding, overflow, signed in itertools.product(Rounding, Overflow, (True, False))
    if signed or overflow is not Overflow.WRAP_SIGN_MAGNITUDE
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("rounding", "overflow", "signed"), REQUANTISE_CASES)
def test_requantise_exhaustively(device: str, rounding: Rounding, overflow: Overflow, signed: bool) -> None:
    """All 10-bit inputs through every rounding and overflow, dropping 0, 1, 3, 9 and far too many bits."""
    for fraction, width in ((6, 4), (5, 4), (3, 5), (-3, 2), (-90, 3), (8, 6)):
        operation = Requantise(IntegerType(signed, width, fraction), rounding, overflow)
        graph = sample_graph(operation, (TensorType((1,), IntegerType(True, 10, 6)),))
        assert_equal_to_the_interpreter(device, graph, {"x": np.arange(-512, 512).reshape(-1, 1)})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rounding", list(Rounding), ids=lambda r: r.value)
def test_requantise_at_the_edge_of_float32(device: str, rounding: Rounding) -> None:
    """The widest inputs that the bound lets into float32 still round exactly, next to every tie."""
    for shift in (1, 2, 11, 22, 23):
        operation = Requantise(IntegerType(True, 30, -shift), rounding, Overflow.SATURATE)
        high = (1 << 24) - 1 - (1 << (shift - 1))
        graph = sample_graph(operation, (TensorType((1,), IntegerType(True, 25, 0, -high, high)),))
        assert float_precision(graph).dtype == "float32"
        beyond = sample_graph(operation, (TensorType((1,), IntegerType(True, 25, 0, -high, high + 1)),))
        assert float_precision(beyond).dtype == "float64"
        half = 1 << (shift - 1)
        centres = [0, high, -high, *(sign * (high // half - k) * half for sign in (1, -1) for k in range(4))]
        near = {centre + d for centre in centres for d in (-2, -1, 0, 1, 2)}
        vectors = np.array(sorted(v for v in near if abs(v) <= high)).reshape(-1, 1)
        assert_equal_to_the_interpreter(device, graph, {"x": vectors}, ("float32",))
