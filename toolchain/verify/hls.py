# SPDX-License-Identifier: Apache-2.0
"""Rung 2 of the ladder: the HLS C++, compiled and run on the CPU, equals the interpreter on every vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.build.tools.hls4ml import Csim, open_csim
from toolchain.errors import Mismatch
from toolchain.ir import Graph, interpret

_EXACT_IN_DOUBLE = 1 << 53


@dataclass(frozen=True)
class HlsMismatch:
    """The first value that differs, and the first layer in order that differs for that vector ('' if not found)."""

    node: str
    vector: int
    index: tuple[int, ...]
    expected: int
    found: int
    first_layer: str


@dataclass(frozen=True)
class HlsComparison:
    """How many vectors were run, how many output values differed, and where the first did (by vector)."""

    vectors: int
    mismatches: int
    first_mismatch: HlsMismatch | None

    def require(self) -> None:
        """Raise Mismatch unless everything was equal."""
        first = self.first_mismatch
        if first is not None:
            layer = f"; the first layer that differs is {first.first_layer!r}" if first.first_layer else ""
            raise Mismatch(
                f"rung 2 (HLS C++ on the CPU), output {first.node!r}{layer}",
                vector=first.vector,
                index=first.index,
                expected=first.expected,
                found=first.found,
                count=self.mismatches,
            )


def verify_csim(
    graph: Graph,
    library: Path,
    plan_folder: Path,
    facts: Mapping[str, Any],
    x: np.ndarray | Mapping[str, np.ndarray],
    *,
    flow: str = "vitis",
) -> HlsComparison:
    """Compare the compiled project with the interpreter, value by value as integers.

    library: what `compile_csim` built from the plan in `plan_folder`, whose facts are `facts`. x: integers as for
    `interpret`. Raises InputError for vectors that the graph does not accept.
    """
    inputs = x if isinstance(x, Mapping) else {graph.inputs[0].name: np.asarray(x)}
    expected = interpret(graph, inputs)
    with open_csim(library, plan_folder, facts, flow) as csim:
        found = csim.run(inputs)
        count = 0
        first: tuple[int, str, tuple[int, ...]] | None = None
        for node in expected:
            different = np.asarray(found[node] != expected[node], dtype=bool)
            count += int(different.sum())
            if different.any():
                vector, *index = (int(i) for i in np.argwhere(different)[0])
                if first is None or vector < first[0]:
                    first = (vector, node, tuple(index))
        vectors = len(next(iter(expected.values())))
        if first is None:
            return HlsComparison(vectors, count, None)
        vector, node, position = first
        one = {name: np.asarray(values)[vector : vector + 1] for name, values in inputs.items()}
        layer = _first_layer(graph, csim, one)
        wanted, got = (int(array[node][(vector, *position)]) for array in (expected, found))
        return HlsComparison(vectors, count, HlsMismatch(node, vector, position, wanted, got, layer))


def _first_layer(graph: Graph, csim: Csim, one: Mapping[str, np.ndarray]) -> str:
    """The node of the first layer whose traced result differs from the interpreter's, as far as doubles can tell."""
    traced = csim.trace(one)
    expected = interpret(graph, one, record={node for node, _ in traced})
    for node, real in traced:
        element = graph.types[node].element
        if element.magnitude <= _EXACT_IN_DOUBLE:
            values = np.ldexp(expected[node][0].astype(np.float64), -element.fraction)
            if not np.array_equal(values, real):
                return node
    return ""
