# SPDX-License-Identifier: Apache-2.0
"""What the stages of one build share: the request, the folder, the graph in hardware, and its plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np

from toolchain.backends.base import make_plan, require_supported
from toolchain.build.folder import BuildFolder, StageResult, source_digest
from toolchain.build.schedule import Progress
from toolchain.build.tool import distribution_version
from toolchain.errors import BuildFailed, Mismatch, UnsupportedModel
from toolchain.ir import Graph, interpret
from toolchain.passes.append_argmax import append_argmax
from toolchain.pipeline.graph_stage import GraphStage
from toolchain.pipeline.request import Request
from toolchain.plan import BuildPlan
from toolchain.verify.vectors import mixed_vectors


class Context:
    """One build. `graph_stage` is set when that stage has finished; everything else follows from it."""

    def __init__(self, request: Request, folder: BuildFolder, progress: Progress) -> None:
        self.request = request
        self.folder = folder
        self.progress = progress
        self.graph_stage: GraphStage | None = None
        self.cached: dict[str, bool] = {}
        self._lock = Lock()

    def say(self, stage: str) -> Callable[[str], None]:
        """A function that shows a line of text beside the stage's progress bar."""
        return lambda text: self.progress.started(stage, text)

    def stage(
        self, name: str, key: Mapping[str, Any], work: Callable[..., dict[str, Any]], **options: Any
    ) -> StageResult:
        """`BuildFolder.stage`, remembering whether an earlier run had done it."""
        result = self.folder.stage(name, key, work, **options)
        with self._lock:
            self.cached[name] = result.cached
        return result

    @property
    def model(self) -> GraphStage:
        assert self.graph_stage is not None
        return self.graph_stage

    @cached_property
    def gives_class(self) -> bool:
        """Whether the hardware ends in an argmax: asked for, or the model is a classifier for which it is possible."""
        graph = self.model.graph
        ends_in_argmax = graph.by_name[graph.outputs[0].tensor].operation.kind == "argmax"
        if self.request.output == "logits" or ends_in_argmax:
            return ends_in_argmax
        if self.request.output == "class":
            return True
        folder = self.request.folder
        classifier = (
            self.model.facts["accuracy"] is not None
            or bool(folder and folder.class_names)
            or graph.outputs[0].host_function == "softmax"
        )
        if not classifier:
            return False
        try:
            append_argmax(graph)
        except UnsupportedModel:
            return False
        return True

    @cached_property
    def hardware_graph(self) -> Graph:
        """The graph that becomes RTL: the model's, with an argmax at its end where classes are given out."""
        graph = self.model.graph
        ends_in_argmax = graph.by_name[graph.outputs[0].tensor].operation.kind == "argmax"
        return append_argmax(graph) if self.gives_class and not ends_in_argmax else graph

    @property
    def rtl_plan(self) -> BuildPlan:
        with self._lock:
            return self._rtl_plan

    @cached_property
    def _rtl_plan(self) -> BuildPlan:
        return make_plan("rtl", self.hardware_graph, self.request.target)

    @property
    def finn_design(self) -> Any:
        """What is decided of a FINN build before FINN runs (toolchain.backends.finn.Design)."""
        with self._lock:
            return self._finn_design

    @cached_property
    def _finn_design(self) -> Any:
        from toolchain.backends.finn import design

        require_supported("finn", self.hardware_graph, self.request.target)
        return design(self.hardware_graph, self.request.target)

    def rtl_key(self) -> dict[str, Any]:
        """What the RTL depends on."""
        target = self.request.target
        return {
            "graph": self.hardware_graph.digest,
            "cycles_per_frame": self.request.target.cycles_per_frame,
            **({"loadable_weights": True} if target.loadable_weights else {}),
            **({"dsp_from_bits": target.dsp_from_bits} if target.dsp_from_bits is not None else {}),
            "latency_cycles": self.request.target.latency_cycles,
            "budget": dict(self.request.target.budget),
            "clock_mhz": self.request.target.clock_mhz if self.request.target.latency_cycles else None,
            "device": self.request.target.device.part if self.request.target.device else None,
            "resources": dict(target.device.resources) if target.device else {},
            **(
                {"folding": {name: given.to_json() for name, given in target.folding.items()}} if target.folding else {}
            ),
            "sources": source_digest("ir", "passes", "backends/rtl", "backends/base.py", "identifiers.py"),
            **(
                {
                    "part": target.device.part if target.device else None,
                    "clock_mhz": target.clock_mhz,
                    "finn": source_digest("backends/finn"),
                }
                if self.request.backend == "finn"
                else {}
            ),
        }

    def vectors(self, count: int, seed: int) -> np.ndarray:
        """`count` integer vectors: the user's own first, then corners, then random ones."""
        return mixed_vectors(self.model.graph, self.model.x_integers, count, seed)

    def expected(self, x: np.ndarray) -> np.ndarray:
        """What the hardware has to give for integer vectors: the interpreter's answer."""
        graph = self.hardware_graph
        return interpret(graph, x)[graph.outputs[0].tensor]


def rung(number: int, name: str, vectors: int, mismatches: int, seconds: float) -> dict[str, Any]:
    """An entry of the report's ladder."""
    return {"rung": number, "name": name, "vectors": vectors, "mismatches": mismatches, "seconds": round(seconds, 3)}


def refuse_mismatch(where: str, mismatches: int, first: Any) -> None:
    """Raise Mismatch if there is one, with what is known of the first."""
    if not mismatches:
        return
    if first is None:
        raise BuildFailed(f"{where}: {mismatches} vectors differ from the interpreter")
    layer = getattr(first, "layer", "") or getattr(first, "node", "")
    raise Mismatch(
        f"{where}{f', first at layer {layer!r}' if layer else ''}",
        vector=first.vector,
        index=tuple(first.index),
        expected=first.expected,
        found=first.found,
        count=mismatches,
        note=first.notes if hasattr(first, "notes") else (),
    )


def versions(*distributions: str) -> dict[str, str | None]:
    return {name: distribution_version(name) for name in distributions}
