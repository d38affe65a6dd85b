# SPDX-License-Identifier: Apache-2.0
"""Every operation's samples, and the graph in which one of them stands alone, for all tests that run over operations."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pytest

from toolchain.ir import Graph, GraphBuilder, Input, IntegerType, Operation, TensorType, operations


def sample_graph(operation: Operation, types: tuple[TensorType, ...], name: str = "sample") -> Graph:
    """Inputs of these types, called x, x_2 ..., the operation, called y, and one output. An Input is x itself."""
    builder = GraphBuilder(name)
    if isinstance(operation, Input):
        builder.output(builder.add(operation, name="x"))
        return builder.build()
    inputs = [builder.add(Input(t.shape, t.element), name="x") for t in types]
    if not types:  # a graph has an input, even where the operation takes none
        builder.output(builder.add(Input((1,), IntegerType(True, 2)), name="x"), name="unused")
    builder.output(builder.add(operation, *inputs, name="y", source="the layer"))
    return builder.build()


def samples(supported: Collection[type[Operation]] | None = None) -> Iterator[Any]:
    """(operation, types) of every sample as a pytest parameter; only those of the `supported` classes where given."""
    for kind, cls in operations().items():
        if supported is None or cls in supported:
            for number, (operation, types) in enumerate(cls.samples()):
                yield pytest.param(operation, types, id=f"{kind}-{number}")
