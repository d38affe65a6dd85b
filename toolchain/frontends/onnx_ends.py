# SPDX-License-Identifier: Apache-2.0
"""Where an ONNX file ends: functions such as a softmax that, as the last thing before an output, stay on the host."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

#: Functions that, as the last operation before an output, stay on the host.
HOST_FUNCTIONS = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid", "Tanh": "tanh"}
#: Those that stay there even where the file quantises their result again, since the graph has no operation for them.
_ALSO_QUANTISED = ("Softmax", "LogSoftmax")


@dataclass(frozen=True)
class Ending:
    """The end of one output: the graph gives `tensor`, from which the host computes `node`.

    skipped: results of the nodes that the graph leaves out. is_rounded: whether the file quantises the function's result.
    """

    node: Any
    tensor: str
    skipped: tuple[str, ...]
    is_rounded: bool

    @property
    def function(self) -> str:
        return HOST_FUNCTIONS[self.node.op_type]


def endings(graph: Any) -> dict[str, Ending]:
    """By output name, for the outputs that a host function ends; what else reads a tensor on the way keeps it in the graph."""
    makers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    found = {}
    for output in graph.output:
        name, skipped = output.name, []
        while (node := makers.get(name)) is not None and uses[name] == 1:
            skipped.append(name)
            is_rounded = len(skipped) > 1
            if node.op_type in (_ALSO_QUANTISED if is_rounded else HOST_FUNCTIONS):
                found[output.name] = Ending(node, node.input[0], tuple(skipped), is_rounded)
            if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
                break
            name = node.input[0]
    return found
