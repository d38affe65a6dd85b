# SPDX-License-Identifier: Apache-2.0
"""The integer graph as PyTorch functions on floats that hold integers.

Exact within the bound that `float_exactness` checks first. Tensors are (batch, *shape); channels are the last axis. How an
operation is made is a function under ``@lowers(...)`` in one of the modules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from toolchain.ir import Graph, Input
from toolchain.measure.torch_lowering import arithmetic, moving, requantise, selecting, windows
from toolchain.measure.torch_lowering.registry import LOWERINGS, Constants, Step

if TYPE_CHECKING:
    import torch

__all__ = ["LOWERINGS", "torch_function"]

#: The modules that register lowerings when they are imported.
_MODULES = (arithmetic, moving, requantise, selecting, windows)


def torch_function(
    graph: Graph, dtype: str, device: str
) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """A function from graph inputs to graph outputs, both by name, as float tensors that hold integers.

    dtype: 'float32' or 'float64', as `float_exactness.float_precision` found; device: where the constants live.
    """
    constants = Constants(dtype, device)
    steps: list[tuple[str, tuple[str, ...], Step]] = []
    last_use = {name: node.name for node in graph.nodes for name in node.inputs}
    for node in graph.nodes:
        if not isinstance(node.operation, Input):
            step = LOWERINGS[type(node.operation)](node.operation, graph.input_types(node), constants)
            steps.append((node.name, node.inputs, step))
    wanted = {output.tensor for output in graph.outputs}

    def run(feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        live = dict(feeds)
        batch = len(next(iter(feeds.values())))
        for name, operands, step in steps:
            result = step(*(live[operand] for operand in operands))
            # A constant is one sample, the same for the whole batch.
            live[name] = result if operands else result.expand(batch, *result.shape[1:])
            for operand in set(operands):
                if last_use[operand] == name and operand not in wanted:
                    del live[operand]
        return {output.name: live[output.tensor] for output in graph.outputs}

    return run
