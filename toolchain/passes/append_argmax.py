# SPDX-License-Identifier: Apache-2.0
"""Append an ArgMax to a classifier, so that the hardware gives the class instead of its scores."""

from __future__ import annotations

from toolchain.errors import UnsupportedModel
from toolchain.ir import ArgMax, Graph, Node, Output, check

#: Functions on the host that do not change which of the channels is the largest.
_ORDER_PRESERVING = ("", "linear", "sigmoid", "softmax", "tanh")


def append_argmax(graph: Graph) -> Graph:
    """The graph with its one output replaced by the index of the largest channel (ties: the lowest index).

    Integers are compared, so all channels must stand for real values in the same way: one scale and one offset; and the
    host's function must keep their order. Raises UnsupportedModel with the reason where the index would not be that of
    the largest real value.
    """
    if len(graph.outputs) != 1:
        raise UnsupportedModel(f"argmax needs a network with one output; found {len(graph.outputs)}")
    (output,) = graph.outputs
    channels = graph.types[output.tensor].channels
    where = f"output {output.name!r} ({graph.by_name[output.tensor]})"
    if isinstance(graph.by_name[output.tensor].operation, ArgMax):
        raise UnsupportedModel(f"{where}: it is an argmax already; build it without argmax")
    if channels < 2:
        raise UnsupportedModel(f"{where}: argmax needs at least 2 channels; found {channels}")
    for label, values in (("scale", output.scale), ("offset", output.offset)):
        if len(set(values)) > 1:
            raise UnsupportedModel(
                f"{where}: its channels have {len(set(values))} different values of {label}, so the largest integer need not "
                f"be the largest score; build it without argmax, or train with one output {label} for all channels"
            )
    if output.host_function not in _ORDER_PRESERVING:
        raise UnsupportedModel(
            f"{where}: the host's function {output.host_function!r} is not known to keep the order of the channels; "
            f"known are {', '.join(repr(name) for name in _ORDER_PRESERVING)}; build it without argmax"
        )
    name, number = "argmax", 1
    while name in graph.by_name:
        number += 1
        name = f"argmax_{number}"
    node = Node(name, ArgMax(), (output.tensor,), graph.by_name[output.tensor].source)
    return check(
        Graph(graph.name, (*graph.nodes, node), (Output(output.name, name, axes=output.axes),), graph.metadata)
    )
