# SPDX-License-Identifier: Apache-2.0
"""The bound below which floats compute a graph without rounding."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from toolchain.errors import ToolNotFound, UsageError
from toolchain.ir import Dense, Graph, GraphBuilder, Input, IntegerType
from toolchain.measure.float_exactness import float_precision, plan_requantise
from toolchain.measure.processor import available_devices, measure_device


def dense_graph(weights: np.ndarray, element: IntegerType) -> Graph:
    builder = GraphBuilder("dense")
    x = builder.add(Input((weights.shape[0],), element), name="x")
    builder.output(builder.add(Dense(weights), x, name="y", source="layer"))
    return builder.build()


def test_the_sum_of_absolute_products_decides() -> None:
    element = IntegerType(False, 8)  # up to 255
    # 255 * (32896 + 32896) = 16776960 < 2**24, though the true sums cancel to nearly nothing.
    weights = np.array([[32896], [-32896]])
    assert float_precision(dense_graph(weights, element)).dtype == "float32"
    precision = float_precision(dense_graph(weights + np.array([[1], [-1]]), element))
    assert precision.dtype == "float64"
    assert precision.largest == 255 * 2 * 32897


def test_beyond_float64_the_node_is_named() -> None:
    precision = float_precision(dense_graph(np.array([[1 << 30]]), IntegerType(False, 30)))
    assert precision.dtype == ""
    assert precision.why_not == (
        "y (dense from layer): integers of up to 60 bits occur, float64 is exact below 54 bits; "
        "it would only be approximated"
    )


def test_an_unknown_device_is_named_with_the_nearest() -> None:
    graph = dense_graph(np.array([[1]]), IntegerType(False, 3))
    with pytest.raises(UsageError, match=r"^device 'cpu-onnx-runtime' is not known; did you mean 'cpu-onnxruntime'\?"):
        measure_device(graph, np.zeros((1, 1), dtype=int), "cpu-onnx-runtime")


def test_a_device_that_is_absent_gives_its_reason() -> None:
    graph = dense_graph(np.array([[1]]), IntegerType(False, 3))
    absent = [device for device in available_devices() if device.why_not]
    for device in absent:
        with pytest.raises(ToolNotFound) as caught:
            measure_device(graph, np.zeros((1, 1), dtype=int), device.name)
        assert str(caught.value) == f"device {device.name}: {device.why_not}"
    names = {device.name for device in available_devices()}
    assert {"cpu-onnxruntime", "cpu-torch", "cuda-torch", "cuda-torch-graph"} <= names


def test_without_torch_its_devices_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolchain.measure import engines

    found = engines.find_spec
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "torch" else found(name))
    reasons = {device.name: device.why_not for device in available_devices()}
    for name in ("cpu-torch", "cuda-torch", "cuda-torch-graph"):
        assert reasons[name] == "needs the package torch; install the extra 'measure'"


def test_importing_the_harness_loads_no_framework() -> None:
    import subprocess

    code = (
        "import sys, toolchain.measure.processor, toolchain.measure.fpga; "
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'tensorflow') if m in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_far_apart_binary_points_keep_a_representable_power_of_two() -> None:
    from toolchain.ir import Requantise, TensorType

    x = TensorType((1,), IntegerType(True, 9, 2000))
    plan = plan_requantise(Requantise(IntegerType(True, 4, -2000)), x)
    assert plan.scale_exponent == -10
    assert (plan.low, plan.high) == (-1, 0)
