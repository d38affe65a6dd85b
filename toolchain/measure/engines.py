# SPDX-License-Identifier: Apache-2.0
"""The processors that can run a graph: which there are, what they are called, and how one call of each is made.

An engine is made for a graph and a batch size; a call takes float arrays in host memory, in the graph's input order,
and returns float arrays in host memory, in the graph's output order. Copies to and from an accelerator are inside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.ir import Graph
from toolchain.measure.onnx_lowering import onnx_model
from toolchain.measure.torch_lowering import torch_function

Call = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class DeviceInfo:
    """A processor configuration.

    name: what the command line and `measure_device` take. description: processor and configuration, as figures carry
    it. why_not: '' if it can be used here, else the reason.
    """

    name: str
    description: str
    why_not: str = ""


@dataclass(frozen=True)
class Engine:
    """How a device runs a graph. `prepare` gives a context in which calls of one batch size can be made."""

    info: DeviceInfo
    tool: str
    tool_version: str
    prepare: Callable[[Graph, str, int], Iterator[Call]]


@cache
def processor_name() -> str:
    """The processor's model name, without host name or other identification."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for label in ("model name", "Model", "Hardware", "cpu model"):
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == label and value.strip():
                return " ".join(value.replace("(R)", "").replace("(TM)", "").split())
    import platform

    return platform.machine() or "unknown processor"


@cache
def core_count() -> int:
    """Logical cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_description(threads: int) -> str:
    cores = core_count()
    return f"{processor_name()}, {threads} of {cores} {'core' if cores == 1 else 'cores'}"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _missing(*modules: str) -> str:
    absent = [module for module in modules if find_spec(module) is None]
    return f"needs the package {' and '.join(absent)}; install the extra 'measure'" if absent else ""


def engines() -> dict[str, Engine]:
    """All engines by name, usable here or not."""
    cores = core_count()
    onnxruntime, torch = _version("onnxruntime"), _version("torch")
    no_onnx, no_torch = _missing("onnxruntime", "onnx"), _missing("torch")
    same = "" if cores > 1 else "only one core: the same as the configuration with all cores"
    gpu, no_gpu = ("CUDA device", no_torch) if no_torch else _cuda()
    listed = [
        Engine(
            DeviceInfo("cpu-onnxruntime", _cpu_description(cores), no_onnx),
            "onnxruntime", onnxruntime, lambda graph, dtype, batch: _onnxruntime(graph, dtype, cores),
        ),
        Engine(
            DeviceInfo("cpu-onnxruntime-1-thread", _cpu_description(1), no_onnx or same),
            "onnxruntime", onnxruntime, lambda graph, dtype, batch: _onnxruntime(graph, dtype, 1),
        ),
        Engine(
            DeviceInfo("cpu-torch", _cpu_description(cores), no_torch),
            "torch eager", torch, lambda graph, dtype, batch: _torch_cpu(graph, dtype, cores),
        ),
        Engine(
            DeviceInfo("cpu-torch-1-thread", _cpu_description(1), no_torch or same),
            "torch eager", torch, lambda graph, dtype, batch: _torch_cpu(graph, dtype, 1),
        ),
        Engine(DeviceInfo("cuda-torch", gpu, no_gpu), "torch eager", torch, _torch_cuda),
        Engine(DeviceInfo("cuda-torch-graph", gpu, no_gpu), "torch CUDA graph", torch, _torch_cuda_graph),
    ]  # fmt: skip
    return {engine.info.name: engine for engine in listed}


def available_devices() -> list[DeviceInfo]:
    """Every device that this harness knows, with the reason where one cannot be used here."""
    return [engine.info for engine in engines().values()]


def _cuda() -> tuple[str, str]:
    """(name of the GPU, why it cannot be used)."""
    import torch

    if not torch.cuda.is_available():
        built = "this build of torch has no CUDA" if torch.version.cuda is None else "no CUDA device is present"
        return "CUDA device", built
    return f"{torch.cuda.get_device_name(0)} (CUDA)", ""


def _onnxruntime(graph: Graph, dtype: str, threads: int) -> Iterator[Call]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if dtype == "float64":
        # Beyond these it fuses operators into its own ones, some of which it has in float32 only (FusedMatMul).
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    model = onnx_model(graph, dtype).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [f"input_{index}" for index in range(len(graph.inputs))]

    def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        result: list[np.ndarray] = session.run(None, dict(zip(names, inputs, strict=True)))
        return result

    yield call


@contextmanager
def _exact_torch(threads: int | None) -> Iterator[None]:
    """Full float32 products (no TF32, no bfloat16 passes), convolutions without transforms of their inputs (NNPACK's), no
    autograd; settings are put back afterwards."""
    import torch

    precision, before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    onednn: Any = torch.backends.mkldnn
    convolutions = onednn.conv.fp32_precision
    torch.set_float32_matmul_precision("highest")
    onednn.conv.fp32_precision = "ieee"
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.backends.nnpack.flags(enabled=False), torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        onednn.conv.fp32_precision = convolutions
        torch.set_num_threads(before)


def _torch_cpu(graph: Graph, dtype: str, threads: int) -> Iterator[Call]:
    import torch

    names = [node.name for node in graph.inputs]
    with _exact_torch(threads):
        function = torch_function(graph, dtype, "cpu")

        def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            feeds = {name: torch.from_numpy(array) for name, array in zip(names, inputs, strict=True)}
            return [tensor.numpy() for tensor in function(feeds).values()]

        yield call


def _torch_cuda(graph: Graph, dtype: str, batch: int) -> Iterator[Call]:
    import torch

    names = [node.name for node in graph.inputs]
    with _exact_torch(None):
        function = torch_function(graph, dtype, "cuda")

        def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            feeds = {name: torch.from_numpy(array).to("cuda") for name, array in zip(names, inputs, strict=True)}
            return [tensor.cpu().numpy() for tensor in function(feeds).values()]  # .cpu() waits for the device

        yield call


def _torch_cuda_graph(graph: Graph, dtype: str, batch: int) -> Iterator[Call]:
    """Copies in, kernels and copies out are captured once and replayed by one launch, between pinned host buffers."""
    import torch

    element = {"float32": torch.float32, "float64": torch.float64}[dtype]
    with _exact_torch(None):
        function = torch_function(graph, dtype, "cuda")
        shapes = {node.name: (batch, *graph.types[node.name].shape) for node in graph.inputs}
        host_in = {name: torch.zeros(shape, dtype=element, pin_memory=True) for name, shape in shapes.items()}
        device_in = {name: tensor.to("cuda") for name, tensor in host_in.items()}
        host_out = [
            torch.zeros((batch, *graph.types[output.tensor].shape), dtype=element, pin_memory=True)
            for output in graph.outputs
        ]

        def body() -> None:
            for name, tensor in device_in.items():
                tensor.copy_(host_in[name], non_blocking=True)
            for host, tensor in zip(host_out, function(device_in).values(), strict=True):
                host.copy_(tensor, non_blocking=True)

        # Capture needs warm libraries (cuBLAS work spaces), on a stream that is not the default one.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                body()
        torch.cuda.current_stream().wait_stream(stream)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            body()
        views_in = [tensor.numpy() for tensor in host_in.values()]
        views_out = [tensor.numpy() for tensor in host_out]

        def call(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            for view, array in zip(views_in, inputs, strict=True):
                view[...] = array
            captured.replay()
            torch.cuda.synchronize()
            return [view.copy() for view in views_out]

        yield call
