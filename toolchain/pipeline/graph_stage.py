# SPDX-License-Identifier: Apache-2.0
"""Stage `graph`: the model becomes the integer graph, and rung 1 compares that with the framework itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.build.folder import BuildFolder, StageResult, file_digest, package_versions, source_digest
from toolchain.errors import InputError, Mismatch, ToolchainError, UnsupportedModel
from toolchain.frontends.model_folder import load_vectors
from toolchain.ir import Graph, interpret, load_graph, quantise_input, real_inputs, real_values, save_graph
from toolchain.ir.operation import storage_dtype
from toolchain.passes.absorb_transpose import absorb_transpose
from toolchain.pipeline.request import Request
from toolchain.report.describe import confusion_matrix, quantisation_note
from toolchain.verify.vectors import random_vectors

_FRAMEWORKS = ("numpy", "qkeras", "tensorflow", "tf-keras", "brevitas", "torch", "qonnx", "onnx", "onnxruntime")
#: Vectors of rung 1 where the user gives none.
_RANDOM_VECTORS = 1000


@dataclass(frozen=True)
class GraphStage:
    """The finished stage. x_integers: all vectors as integers of the graph's input; y_true: labels or None."""

    result: StageResult
    graph: Graph
    x_integers: np.ndarray
    y_true: np.ndarray | None

    @property
    def facts(self) -> dict[str, Any]:
        return self.result.facts


def run_graph_stage(folder: BuildFolder, request: Request, loaded: Any, say: Callable[[str], None]) -> GraphStage:
    """Load, convert, compare; or take all of it from an earlier run.

    loaded: a LoadedModel that the caller has already, or None.
    """
    key = {
        "files": {str(path.name): file_digest(path) for path in request.files},
        "graph": loaded.graph.digest if loaded is not None else None,
        "declared": repr(replace(request.folder, path=Path(), file=Path(), vectors=None)) if request.folder else None,
        "vectors": file_digest(request.vectors) if request.vectors and request.vectors.is_file() else None,
        "input_types": request.input_types.identity,
        "sources": source_digest(
            "ir",
            "frontends",
            "passes/absorb_transpose.py",
            "verify/float32.py",
            "verify/framework.py",
            "verify/near_ties.py",
            "verify/vectors.py",
            "pipeline/graph_stage.py",
        ),
        "versions": package_versions(*_FRAMEWORKS),
    }
    # A missing or damaged vector file is an error even where an earlier run could answer.
    vectors = load_vectors(request.vectors) if request.vectors else None
    result = folder.stage("graph", key, lambda work: _work(work, request, loaded, vectors, say))
    graph = load_graph(result.folder / "graph.bitwright")
    with np.load(result.folder / "vectors.npz", allow_pickle=False) as arrays:
        y_true = arrays.get("y_true")
        return GraphStage(result, graph, arrays["x_integers"], y_true)


def _work(work: Path, request: Request, loaded: Any, vectors: Any, say: Callable[[str], None]) -> dict[str, Any]:
    if loaded is None:
        from toolchain.frontends import load_model

        say("loading the framework and the model")
        origin = request.folder.path if request.folder else request.source
        loaded = load_model(origin, input_type=request.input_types, weights=request.weights)
    graph = absorb_transpose(loaded.graph)
    loaded = replace(loaded, graph=graph)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InputError(
            f"{request.name}: has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; builds take one of each so far"
        )
    if storage_dtype(graph.types[graph.inputs[0].name].element) is object:
        raise UnsupportedModel(
            f"{graph.inputs[0]}: inputs of more than 63 bits cannot be built, found {graph.types[graph.inputs[0].name].element}"
        )
    save_graph(graph, work / "graph.bitwright")
    quantisation = dict(loaded.quantisation)
    notes = [_sentence(remark) for remark in loaded.input_remarks]
    notes += [quantisation_note(quantisation)] if quantisation else []
    notes += [f"Not exact: {line}." for line in graph.metadata.get("approximations", "").splitlines()]
    try:
        from toolchain.ir.export_qonnx import export_qonnx

        export_qonnx(graph, work / "graph.onnx")
    except (ToolchainError, ImportError) as error:
        notes.append(f"No QONNX file: {error}")

    source = graph.inputs[0]
    if vectors is not None:
        quantised = quantise_input(source, vectors.x)
        x_integers, saturated, y_true = quantised.integers, quantised.saturated, vectors.y_true
        x_real = vectors.x
    else:
        x_integers, saturated, y_true = random_vectors(graph, _RANDOM_VECTORS, seed=0), 0, None
        x_real = real_inputs(source, x_integers)
        notes.append(f"No vectors were given: {_RANDOM_VECTORS} random inputs are used, and there is no accuracy.")
    if saturated:
        notes.append(f"{saturated} of {x_real.size} input values were saturated by the model's own input quantiser.")
    rung, checks = None, []
    if loaded.run is None:
        notes.append("Rung 1 is missing: a graph file alone has no framework to compare with.")
    else:
        say("rung 1: the framework against the interpreter")
        rung = {"rung": 1, **_compare(loaded, x_real, f"{loaded.framework} = interpreter")}
        if vectors is not None and vectors.y_framework is not None:
            recorded = replace(loaded, run=lambda _: vectors.y_framework)
            checks.append(_compare(recorded, x_real, "outputs recorded by the training framework = interpreter"))
    arrays = {"x_integers": x_integers}
    if y_true is not None:
        arrays["y_true"] = y_true
    np.savez_compressed(work / "vectors.npz", **arrays)  # type: ignore[arg-type]
    return {
        "graph_digest": graph.digest,
        "framework": loaded.framework,
        "rung": rung,
        "checks": checks,
        "notes": notes,
        "saturated": saturated,
        "quantisation": quantisation,
        **_accuracy(graph, x_integers, y_true, request),
    }


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _compare(loaded: Any, x_real: np.ndarray, name: str) -> dict[str, Any]:
    """Compare a framework's real outputs with the interpreter's integers; raises Mismatch if any differs without explanation."""
    from toolchain.verify.framework import compare_framework

    started = time.monotonic()
    comparison = compare_framework(loaded, x_real)
    first = comparison.first_mismatch
    if first is not None:
        raise Mismatch(
            f"rung 1 ({name})",
            vector=first.vector,
            index=first.index,
            expected=first.expected,
            found=first.found,
            count=comparison.mismatches,
        )
    return {
        "name": name,
        "vectors": comparison.vectors,
        "mismatches": comparison.mismatches,
        "explained_ties": comparison.explained_ties,
        "seconds": round(time.monotonic() - started, 3),
    }


def predictions(graph: Graph, integers: np.ndarray) -> np.ndarray:
    """The class of each sample: the index itself if the graph ends in argmax, else the largest real output.

    integers: of the graph's output, axes in the graph's order.
    """
    output = graph.outputs[0]
    if graph.by_name[output.tensor].operation.kind == "argmax":
        return integers.reshape(len(integers), -1)[:, 0].astype(np.int64)
    real = real_values(output, graph.types[output.tensor].element, integers)
    return real.reshape(len(real), -1).argmax(axis=1)


def _accuracy(graph: Graph, x: np.ndarray, y_true: np.ndarray | None, request: Request) -> dict[str, Any]:
    if y_true is None:
        return {"accuracy": None, "confusion_matrix": None}
    output = graph.outputs[0]
    classes = graph.types[output.tensor].size
    predicted = predictions(graph, interpret(graph, x)[output.tensor])
    if y_true.ndim != 1 or y_true.min() < 0 or int(y_true.max()) >= classes:
        return {"accuracy": None, "confusion_matrix": None}
    names = request.folder.class_names if request.folder and request.folder.class_names else ()
    labels = list(names) if len(names) == classes else [str(number) for number in range(classes)]
    return {
        "accuracy": float((predicted == y_true).mean()),
        "confusion_matrix": confusion_matrix(labels, y_true, predicted),
    }
