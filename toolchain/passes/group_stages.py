# SPDX-License-Identifier: Apache-2.0
"""Group the nodes of a linear network into stages, each of which one piece of hardware computes."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.errors import UnsupportedModel
from toolchain.ir import AddBias, Dense, Graph, Input, Node, Operation, Reshape, TensorType


@dataclass(frozen=True)
class Stage:
    """Consecutive nodes that are computed together: a node and what was absorbed into it.

    nodes: the node that gives the stage its name, then absorbed ones (the AddBias behind a Dense; a Reshape costs
        nothing anywhere, since it keeps the order of the elements).
    input_type, output_type: of the tensors before and behind the stage.
    """

    nodes: tuple[Node, ...]
    input_type: TensorType
    output_type: TensorType

    @property
    def node(self) -> Node:
        return self.nodes[0]

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def operation(self) -> Operation:
        return self.node.operation

    @property
    def result(self) -> str:
        """The node whose result leaves the stage, Reshape aside: same integers in the same order."""
        return self.nodes[-1].name

    @property
    def bias(self) -> AddBias | None:
        """The bias absorbed into a Dense."""
        operation = self.nodes[-1].operation
        return operation if len(self.nodes) > 1 and isinstance(operation, AddBias) else None

    @property
    def vectors(self) -> int:
        """How many vectors (rows along the last axis) a frame has."""
        return self.input_type.size // self.input_type.channels

    def __str__(self) -> str:
        return str(self.node)


def why_not_linear(node: Node, graph: Graph) -> str | None:
    """None if `node` fits into one line of stages from the graph's input to its output, else the reason."""
    if len(graph.outputs) != 1 and any(output.tensor == node.name for output in graph.outputs):
        names = ", ".join(output.name for output in graph.outputs)
        return f"the network must have one output; found {len(graph.outputs)} ({names})"
    if isinstance(node.operation, Input) and graph.inputs[0] != node:
        return f"the network must have one input; found {len(graph.inputs)}"
    if not isinstance(node.operation, Input) and len(node.inputs) != 1:
        return f"it has {len(node.inputs)} operands; this backend takes networks in which every operation has one"
    uses = len(graph.consumers(node.name)) + sum(output.tensor == node.name for output in graph.outputs)
    if uses == 0:
        return "its result is not used; remove the node"
    if uses > 1:
        return f"its result is used {uses} times; this backend takes networks in which every result is used once"
    return None


def group_stages(graph: Graph) -> tuple[Stage, ...]:
    """The stages of a linear network from its input to its output, the Input node left out.

    Raises UnsupportedModel, with every reason, for a network that is not one line.
    """
    reasons = [f"{node}: {reason}" for node in graph if (reason := why_not_linear(node, graph))]
    if reasons:
        raise UnsupportedModel("the network is not one line of layers:\n  " + "\n  ".join(reasons))
    stages: list[Stage] = []
    for node in graph:
        if isinstance(node.operation, Input | Reshape):
            continue
        (input_type,) = graph.input_types(node)
        before = stages[-1] if stages else None
        if (
            isinstance(node.operation, AddBias)
            and before is not None
            and isinstance(before.operation, Dense)
            and node.inputs == (before.name,)
        ):
            stages[-1] = Stage((before.node, node), before.input_type, graph.types[node.name])
        else:
            stages.append(Stage((node,), input_type, graph.types[node.name]))
    return tuple(stages)
