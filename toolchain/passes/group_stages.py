# SPDX-License-Identifier: Apache-2.0
"""Group the nodes of a network into stages, each of which one piece of hardware computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.errors import UnsupportedModel
from toolchain.ir import AddBias, Conv, Dense, Graph, Input, Node, Operation, Reshape, TensorType

#: Operations into which an AddBias behind them is absorbed.
_TAKES_BIAS = (Dense, Conv)


@dataclass(frozen=True)
class Stage:
    """Consecutive nodes that are computed together: a node and what was absorbed into it.

    nodes: the node that gives the stage its name, then absorbed ones (the AddBias behind a Dense or Conv; a Reshape costs
        nothing anywhere, since it keeps the order of the elements).
    sources: for each operand the name of the stage, or of the input node, whose result it is.
    input_types, output_type: of the tensors before and behind the stage.
    """

    nodes: tuple[Node, ...]
    sources: tuple[str, ...]
    input_types: tuple[TensorType, ...]
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
    def input_type(self) -> TensorType:
        """Of the first operand."""
        return self.input_types[0]

    @property
    def result(self) -> str:
        """The node whose result leaves the stage, Reshape aside: same integers in the same order."""
        return self.nodes[-1].name

    @property
    def bias(self) -> AddBias | None:
        """The bias absorbed into a Dense or Conv."""
        operation = self.nodes[-1].operation
        return operation if len(self.nodes) > 1 and isinstance(operation, AddBias) else None

    @property
    def vectors(self) -> int:
        """How many vectors (rows along the last axis) a frame has."""
        return self.input_type.size // self.input_type.channels

    def __str__(self) -> str:
        return str(self.node)


def why_not_streamed(node: Node, graph: Graph) -> str | None:
    """None if `node` fits into a network of stages from the graph's one input to its one output, else the reason."""
    if len(graph.outputs) != 1 and any(output.tensor == node.name for output in graph.outputs):
        names = ", ".join(output.name for output in graph.outputs)
        return f"the network must have one output; found {len(graph.outputs)} ({names})"
    if isinstance(node.operation, Input) and graph.inputs[0] != node:
        return f"the network must have one input; found {len(graph.inputs)}"
    uses = len(graph.consumers(node.name)) + sum(output.tensor == node.name for output in graph.outputs)
    if uses == 0:
        return "its result is not used; remove the node"
    return None


def source_of(name: str, graph: Graph) -> str:
    """The node that computes the integers of a tensor: `name` itself, or what stands before its Reshapes."""
    node = graph.by_name[name]
    while isinstance(node.operation, Reshape):
        node = graph.by_name[node.inputs[0]]
    return node.name


def group_stages(graph: Graph) -> tuple[Stage, ...]:
    """The stages of a network in the graph's order, the Input node left out.

    Raises UnsupportedModel, with every reason, for a network that has not one input and one output, or results without use.
    """
    reasons = [f"{node}: {reason}" for node in graph if (reason := why_not_streamed(node, graph))]
    if reasons:
        raise UnsupportedModel("the network cannot be built as connected stages:\n  " + "\n  ".join(reasons))
    stages: dict[str, Stage] = {}
    stage_of: dict[str, str] = {}  # a node that computes: the stage that holds it
    for node in graph:
        if isinstance(node.operation, Input):
            stage_of[node.name] = node.name
            continue
        if isinstance(node.operation, Reshape):
            continue
        output_type = graph.types[node.name]
        before = stages.get(node.inputs[0]) if node.inputs else None
        if isinstance(node.operation, AddBias) and before is not None and _absorbs(before, graph):
            stages[before.name] = Stage((before.node, node), before.sources, before.input_types, output_type)
            stage_of[node.name] = before.name
            continue
        sources = tuple(stage_of[source_of(name, graph)] for name in node.inputs)
        stages[node.name] = Stage((node,), sources, graph.input_types(node), output_type)
        stage_of[node.name] = node.name
    return tuple(stages.values())


def _absorbs(stage: Stage, graph: Graph) -> bool:
    """Whether an AddBias that takes the stage's result can become part of it."""
    name = stage.name
    uses = len(graph.consumers(name)) + sum(output.tensor == name for output in graph.outputs)
    return isinstance(stage.operation, _TAKES_BIAS) and len(stage.nodes) == 1 and uses == 1


def result_stage(stages: Sequence[Stage], graph: Graph) -> str:
    """The stage, or the input node, whose result is the network's output."""
    source = source_of(graph.outputs[0].tensor, graph)
    return next((stage.name for stage in stages if stage.result == source), source)
