# SPDX-License-Identifier: Apache-2.0
"""What a backend is: it says what it cannot express, and turns the rest into files. It runs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from toolchain.errors import UnsupportedModel, UsageError
from toolchain.ir import Graph, Node
from toolchain.plan import BuildPlan
from toolchain.target import Target


class Backend(Protocol):
    """The two functions that a backend's package exports."""

    def why_unsupported(self, node: Node, graph: Graph, target: Target) -> str | None:
        """None if the backend can express this node exactly for the target, else the reason and what to do."""

    def plan(self, graph: Graph, target: Target) -> BuildPlan:
        """All files of the build. Only called for a graph whose every node is supported."""


_BACKENDS = {
    "rtl": "toolchain.backends.rtl.streaming",
    "hls4ml": "toolchain.backends.hls4ml",
    "finn": "toolchain.backends.finn",
}


def backend_names() -> tuple[str, ...]:
    return tuple(_BACKENDS)


def find_backend(name: str) -> Backend:
    """The backend's package. Raises UsageError for a name that has none."""
    if name not in _BACKENDS:
        raise UsageError(f"backend {name!r} is not available; available: {', '.join(_BACKENDS)}")
    return import_module(_BACKENDS[name])  # type: ignore[return-value]


def refusals(backend: str, graph: Graph, target: Target) -> dict[Node, str]:
    """The nodes that the backend cannot express, each with the reason."""
    module = find_backend(backend)
    reasons = {node: module.why_unsupported(node, graph, target) for node in graph.nodes}
    return {node: reason for node, reason in reasons.items() if reason}


def require_supported(backend: str, graph: Graph, target: Target) -> None:
    """Raise UnsupportedModel, naming every node that the backend cannot express, with the reason and the backends that can."""
    refused = [
        f"{node}: {reason}. {_others(backend, node, graph, target)}"
        for node, reason in refusals(backend, graph, target).items()
    ]
    if refused:
        raise UnsupportedModel(f"backend {backend!r} cannot express this network exactly:\n  " + "\n  ".join(refused))


def _others(backend: str, node: Node, graph: Graph, target: Target) -> str:
    """Which of the other backends can express the node, as a sentence."""
    able = [
        name
        for name in _BACKENDS
        if name != backend and find_backend(name).why_unsupported(node, graph, target) is None
    ]
    if not able:
        return "No other backend can"
    return f"{'Backend' if len(able) == 1 else 'Backends'} that can: {', '.join(able)}"


def make_plan(backend: str, graph: Graph, target: Target) -> BuildPlan:
    """The backend's plan, or UnsupportedModel naming every node that it cannot express.

    Not for backend 'finn', between whose two halves FINN itself runs (toolchain.backends.finn).
    """
    require_supported(backend, graph, target)
    return find_backend(backend).plan(graph, target)
