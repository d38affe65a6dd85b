# SPDX-License-Identifier: Apache-2.0
"""Every operation's samples, as float models in onnxruntime and torch, equal the interpreter."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest

from tests.sample_graphs import sample_graph, samples
from toolchain.errors import UnsupportedModel
from toolchain.ir import (
    Graph,
    Input,
    IntegerType,
    Operation,
    Overflow,
    Requantise,
    Rounding,
    TensorType,
    interpret,
    operations,
)
from toolchain.measure import onnx_lowering, torch_lowering
from toolchain.measure.engines import engines
from toolchain.measure.float_exactness import LOWERED, float_precision
from toolchain.measure.processor import measure_device

DEVICES = ("cpu-onnxruntime", "cpu-torch")


def vectors_for(graph: Graph, count: int, seed: str) -> np.ndarray:
    """Both ends, values around zero and random ones of the input's interval."""
    tensor = graph.types[graph.inputs[0].name]
    low, high = tensor.element.minimum, tensor.element.maximum
    random = np.random.default_rng(zlib.crc32(seed.encode()))
    if tensor.size == 1 and high - low < 4096:
        return np.arange(low, high + 1).reshape(-1, *tensor.shape)
    if max(-low, high) >= 1 << 62:
        pick = [low + int(v) * (high - low) // 1000 for v in random.integers(0, 1001, count * tensor.size)]
        return np.array(pick, dtype=object).reshape(count, *tensor.shape)
    values = random.integers(low, high + 1, (count, *tensor.shape))
    values[0], values[1] = low, high
    near = np.clip(np.arange(-tensor.size, tensor.size)[: tensor.size], low, high)
    values[2] = near.reshape(tensor.shape)
    return values


def run_on(device: str, graph: Graph, vectors: np.ndarray, dtype: str) -> np.ndarray:
    calls = engines()[device].prepare(graph, dtype, len(vectors))
    results = next(calls)([np.ascontiguousarray(vectors.astype(dtype))])
    calls.close()  # type: ignore[attr-defined]
    assert results[0].dtype == np.dtype(dtype)
    return results[0]


def test_what_is_declared_has_lowerings() -> None:
    assert set(onnx_lowering.LOWERINGS) == set(LOWERED) - {Input}
    assert set(torch_lowering.LOWERINGS) == set(LOWERED) - {Input}


UNSUPPORTED = set(operations().values()) - set(LOWERED)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cls", sorted(UNSUPPORTED, key=lambda cls: cls.kind), ids=lambda cls: cls.kind)
def test_what_has_no_lowering_is_refused_by_name(cls: type[Operation], device: str) -> None:
    operation, types = next(iter(cls.samples()))
    graph = sample_graph(operation, types)
    zeros = {
        node.name: np.full((3, *graph.types[node.name].shape), graph.types[node.name].element.minimum)
        for node in graph.inputs
    }
    with pytest.raises(
        UnsupportedModel, match=rf"y \({cls.kind} from the layer\): operation '{cls.kind}' has no floating"
    ):
        measure_device(graph, zeros, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("operation", "types"), list(samples(LOWERED)))
def test_sample_equals_the_interpreter(
    device: str, operation: Operation, types: tuple[TensorType, ...], request: pytest.FixtureRequest
) -> None:
    graph = sample_graph(operation, types)
    vectors = vectors_for(graph, 300, request.node.name)
    precision = float_precision(graph)
    if not precision.dtype:
        assert precision.largest >= 1 << 53
        with pytest.raises(UnsupportedModel, match="it would only be approximated"):
            measure_device(graph, vectors, device)
        return
    expected = interpret(graph, vectors)[graph.outputs[0].tensor]
    for dtype in ("float32", "float64"):
        if dtype == "float32" and precision.dtype == "float64":
            continue
        found = run_on(device, graph, vectors, dtype)
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found.astype(np.float64), expected.astype(np.float64))


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
        vectors = vectors_for(graph, 0, "")
        assert len(vectors) == 1024
        expected = interpret(graph, vectors)["y"]
        for dtype in ("float32", "float64"):
            found = run_on(device, graph, vectors, dtype)
            np.testing.assert_array_equal(found.astype(np.int64), expected)


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
        found = run_on(device, graph, vectors, "float32")
        np.testing.assert_array_equal(found.astype(np.int64), interpret(graph, vectors)["y"])
