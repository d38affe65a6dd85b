# SPDX-License-Identifier: Apache-2.0
"""The harness on real devices of this machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from toolchain.errors import InputError, Mismatch, ToolchainError, UsageError
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Relu,
    Requantise,
    Rounding,
)
from toolchain.measure import engines as engines_module
from toolchain.measure.processor import available_devices, measure_device, measure_processors
from toolchain.measure.record import Kind


@pytest.fixture(scope="module")
def graph() -> Graph:
    random = np.random.default_rng(11)
    builder = GraphBuilder("two_heads")
    x = builder.add(Input((16,), IntegerType(True, 8, 4)), name="x")
    x = builder.add(Dense(random.integers(-15, 16, (16, 24)), 4), x, name="hidden")
    x = builder.add(AddBias(random.integers(-99, 99, 24), 8), x, name="hidden_bias")
    x = builder.add(Relu(), x, name="rectified")
    x = builder.add(Requantise(IntegerType(False, 6, 3), Rounding.HALF_EVEN, Overflow.SATURATE), x, name="narrow")
    logits = builder.add(Dense(random.integers(-15, 16, (24, 5)), 4), x, name="logits")
    builder.output(logits, name="logits")
    builder.output(builder.add(ArgMax(), logits, name="class"), name="class")
    return builder.build()


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(12).integers(-128, 128, (1001, 16))


def test_the_processor_itself_is_always_there() -> None:
    reasons = {device.name: device.why_not for device in available_devices()}
    assert reasons["cpu-onnxruntime"] == ""
    assert reasons["cpu-torch"] == ""


# A GPU is hardware, not a tool that could be installed: where there is none, there is no test of it.
@pytest.mark.parametrize("device", [device.name for device in available_devices() if not device.why_not])
def test_figures_of_a_device(device: str, graph: Graph, vectors: np.ndarray) -> None:
    info = {known.name: known for known in available_devices()}[device]
    lines: list[str] = []
    records = measure_device(graph, vectors, device, (1, 64, 1500), 0.1, lines.append)
    found = {record.name: record for record in records}
    for batch in (1, 64, 1500):
        latency, throughput = found[f"latency_p50_batch_{batch}"], found[f"throughput_batch_{batch}"]
        assert found[f"compared_vectors_batch_{batch}"].value == 1001
        assert latency.unit == "us"
        assert latency.value > 0
        assert throughput.value > 0
        calls = found[f"timed_calls_batch_{batch}"].value
        assert calls >= 10
        assert (f"latency_p99_batch_{batch}" in found) == (calls >= 100)
        assert (f"latency_p99_9_batch_{batch}" in found) == (calls >= 1000)
        if calls >= 100:
            assert found[f"latency_p99_batch_{batch}"].value >= latency.value
    assert {record.kind for record in records} == {Kind.MEASURED}
    assert {record.device for record in records} == {info.description}
    assert all(record.tool_version for record in records)
    assert len(lines) == 6


def test_a_device_that_differs_is_an_error(graph: Graph, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """One logit of one vector, one too large: found at its place, and nothing is timed."""
    real = engines_module._onnxruntime
    fault = {"amount": 1.0}

    def faulty(*arguments: object) -> Iterator:
        for call in real(*arguments):  # type: ignore[arg-type]
            calls = iter(range(10**9))

            def wrong(inputs: list, call=call, calls=calls) -> list:
                logits, classes = call(inputs)
                if next(calls) == 3:
                    logits = logits.copy()
                    logits[7, 2] += fault["amount"]
                return [logits, classes]

            yield wrong

    monkeypatch.setattr(engines_module, "_onnxruntime", faulty)
    with pytest.raises(Mismatch) as caught:
        measure_device(graph, vectors, "cpu-onnxruntime", (64,), 0.01)
    error = caught.value
    assert (error.vector, error.index, error.count) == (3 * 64 + 7, (2,), 1)
    assert error.found == error.expected + 1
    assert "cpu-onnxruntime, batch 64, output 'logits'" in str(error)
    fault["amount"] = 0.25
    with pytest.raises(ToolchainError, match="which is no integer"):
        measure_device(graph, vectors, "cpu-onnxruntime", (64,), 0.01)


def test_arguments_are_checked(graph: Graph, vectors: np.ndarray) -> None:
    with pytest.raises(UsageError, match="batch sizes must be positive whole numbers, found 0"):
        measure_device(graph, vectors, "cpu-onnxruntime", (0,))
    with pytest.raises(UsageError, match="seconds_per_point must be a positive number"):
        measure_device(graph, vectors, "cpu-onnxruntime", (1,), float("nan"))
    with pytest.raises(InputError, match="there are no vectors to measure with"):
        measure_device(graph, vectors[:0], "cpu-onnxruntime")


def test_torch_settings_are_put_back(graph: Graph, vectors: np.ndarray) -> None:
    import torch

    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.is_inference_mode_enabled()
    with pytest.raises(InputError):
        measure_device(graph, vectors + 10_000, "cpu-torch", (1,), 0.01)
    measure_device(graph, vectors, "cpu-torch", (1,), 0.01)
    after = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.is_inference_mode_enabled()
    assert after == before


def test_absent_devices_become_notes(graph: Graph, vectors: np.ndarray) -> None:
    records, notes = measure_processors(graph, vectors[:50], None, (1,), 0.02)
    absent = [device for device in available_devices() if device.why_not]
    assert len([note for note in notes if note.startswith("Not measured: ")]) == len(absent)
    assert len({(record.device, record.tool) for record in records}) == len(available_devices()) - len(absent)
