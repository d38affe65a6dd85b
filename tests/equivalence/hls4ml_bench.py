# SPDX-License-Identifier: Apache-2.0
"""What the HLS equivalence tests share: graphs of many small operations, vectors that reach their corners, one build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.backends.hls4ml import plan, why_unsupported
from toolchain.build.tools.hls4ml import compile_csim, open_csim
from toolchain.ir import Graph, GraphBuilder, Input, IntegerType, Operation, TensorType, interpret
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


def compile_flow(
    graph: Graph, folder: Path, *, io_type: str, flow: str, optimisation: str = "-O0", strategy: str = "latency",
    target: Target | None = None,
) -> tuple[Path, Mapping[str, Any]]:  # fmt: skip
    """Plan and compile the graph: the library, and the plan's facts."""
    target = target or Target()
    assert [why_unsupported(node, graph, target) for node in graph.nodes] == [None] * len(graph.nodes)
    made = plan(graph, target, io_type, strategy=strategy, flows=[flow])
    made.write(folder)
    library = compile_csim(
        folder, made.facts, folder / "csim.so", log=folder / "link.log", flow=flow, optimisation=optimisation
    )
    return library.path, made.facts


def random_inputs(graph: Graph, count: int, seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {node.name: integers(graph.types[node.name], count, random) for node in graph.inputs}


def compare(
    graph: Graph, folder: Path, *, io_type: str = "io_parallel", flow: str = "vitis", count: int = 1100, seed: int = 1,
    optimisation: str = "-O0", inputs: dict[str, np.ndarray] | None = None, strategy: str = "latency",
    target: Target | None = None,
) -> HlsComparison:  # fmt: skip
    """Plan, compile and run the graph, and compare it with the interpreter."""
    library, facts = compile_flow(
        graph, folder, io_type=io_type, flow=flow, optimisation=optimisation, strategy=strategy, target=target
    )
    if inputs is None:
        inputs = random_inputs(graph, count, seed)
    return verify_csim(graph, library, folder, facts, inputs, flow=flow)


@dataclass(frozen=True)
class Results:
    """What the compiled C++ and the interpreter gave, by output node, and the operation of each."""

    kinds: dict[str, str]
    found: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]

    def require(self, kind: str, samples: int) -> None:
        """So many samples of the operation are there, and every value of them is equal."""
        nodes = [node for node, of in self.kinds.items() if of == kind]
        assert len(nodes) == samples > 0
        for node in nodes:
            different = np.argwhere(self.found[node] != self.expected[node])
            assert not len(different), (
                f"{node}: {len(different)} values differ, the first at {different[0]}: found "
                f"{self.found[node][tuple(different[0])]}, expected {self.expected[node][tuple(different[0])]}"
            )


def run_cases(
    cases: Iterable[tuple[Operation, tuple[TensorType, ...]]], folder: Path, *, io_type: str, flow: str, count: int
) -> Results:
    """All cases in one compilation, to be judged operation by operation."""
    graph = side_by_side(cases)
    library, facts = compile_flow(graph, folder, io_type=io_type, flow=flow)
    inputs = random_inputs(graph, count, seed=1)
    with open_csim(library, folder, facts, flow) as csim:
        found = csim.run(inputs)
    kinds = {output.tensor: graph.by_name[output.tensor].operation.kind for output in graph.outputs}
    return Results(kinds, found, interpret(graph, inputs))
