# SPDX-License-Identifier: Apache-2.0
"""The integer graph as a list of hls4ml layers with every precision set. Data only; hls4ml is not imported here.

hls4ml's own layers are used where they compute exactly this. All else is a layer of the project's own, whose C++ is in
`hls_templates/hls4ml`. Which is which for an operation is said in the file that lowers it.
"""

from __future__ import annotations

from toolchain.backends.hls4ml import combine, elementwise, movement, sums, windows  # noqa: F401  # they register themselves
from toolchain.backends.hls4ml.lowering import LOWERINGS, Layer, Lowered, Lowering, Options
from toolchain.ir import Graph, Operation

#: The operations that have a lowering.
LOWERED: tuple[type[Operation], ...] = tuple(LOWERINGS)

__all__ = ["LOWERED", "Layer", "Lowered", "Options", "lower"]


def lower(graph: Graph, options: Options) -> Lowered:
    """Every node that an output needs, and every input, as layers."""
    return Lowering(graph, options).run()
