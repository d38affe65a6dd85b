# SPDX-License-Identifier: Apache-2.0
"""What the HLS equivalence tests share: graphs of many small operations, vectors that reach their corners, one build."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from toolchain.backends.hls4ml import plan, why_unsupported
from toolchain.build.tools.hls4ml import compile_csim
from toolchain.ir import Graph, GraphBuilder, Input, IntegerType, Operation, TensorType
from toolchain.ir.operation import storage_dtype
from toolchain.target import Target
from toolchain.verify.hls import HlsComparison, verify_csim

#: Types with no more values than this are run through all of them, at every element.
EXHAUSTIVE = 1 << 10


def side_by_side(cases: Iterable[tuple[Operation, tuple[TensorType, ...]]], name: str = "cases") -> Graph:
    """A graph in which every case is alone between an input and an output: one compilation tests them all."""
    builder = GraphBuilder(name)
    for number, (operation, types) in enumerate(cases):
        if isinstance(operation, Input):
            result = builder.add(operation, name=f"{operation.kind} {number}")
        else:
            inputs = [builder.add(Input(t.shape, t.element), name=f"in {number} {i}") for i, t in enumerate(types)]
            result = builder.add(operation, *inputs, name=f"{operation.kind} {number}")
        builder.output(result, name=f"out {number}")
    return builder.build()


def integers(tensor: TensorType, count: int, random: np.random.Generator) -> np.ndarray:
    """(count, *shape) integers of the type: the ends first, then all values if they are few, else random ones and such
    as lie at, just below and just above a multiple of a power of two, where rounding has its ties."""
    element = tensor.element
    size = element.maximum - element.minimum + 1
    if size <= min(EXHAUSTIVE, count - 2):
        # A cycle through all values; each element starts it elsewhere.
        starts = random.integers(0, size, tensor.size)
        cycle = (np.arange(count)[:, None] + starts[None, :]) % size
        flat = cycle.astype(storage_dtype(element)) + element.minimum
    else:
        flat = np.array([_wide(element, random) for _ in range(count * tensor.size)], dtype=object)
    values = flat.reshape(count, *tensor.shape).astype(storage_dtype(element))
    values[0], values[1] = element.minimum, element.maximum
    return values


def _wide(element: IntegerType, random: np.random.Generator) -> int:
    span = element.maximum - element.minimum
    digits = int.from_bytes(random.bytes(span.bit_length() // 8 + 8), "little")
    value = element.minimum + digits % (span + 1)
    kind = int(random.integers(0, 4))
    if kind:
        shift = int(random.integers(0, element.width))
        value = (value >> shift << shift) + kind - 2
    return min(max(value, element.minimum), element.maximum)


def compare(
    graph: Graph, folder: Path, *, io_type: str = "io_parallel", flow: str = "vitis", count: int = 1100, seed: int = 1,
    optimisation: str = "-O0", inputs: dict[str, np.ndarray] | None = None, strategy: str = "latency",
    target: Target | None = None,
) -> HlsComparison:  # fmt: skip
    """Plan, compile and run the graph, and compare it with the interpreter."""
    target = target or Target()
    made = plan(graph, target, io_type, strategy=strategy, flows=[flow])
    assert [why_unsupported(node, graph, target) for node in graph.nodes] == [None] * len(graph.nodes)
    made.write(folder)
    library = compile_csim(
        folder, made.facts, folder / "csim.so", log=folder / "link.log", flow=flow, optimisation=optimisation
    )
    if inputs is None:
        random = np.random.default_rng(seed)
        inputs = {node.name: integers(graph.types[node.name], count, random) for node in graph.inputs}
    return verify_csim(graph, library.path, folder, made.facts, inputs, flow=flow)
