# SPDX-License-Identifier: Apache-2.0
"""`bitwright evaluate`: what the integer graph of a model computes on the user's inputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.build.schedule import Progress, Silent
from toolchain.errors import InputError
from toolchain.frontends import load_model
from toolchain.frontends.model_folder import feeds_of, load_arrays
from toolchain.ir import Output, host_order, interpret, quantise_input, real_values
from toolchain.passes.absorb_transpose import absorb_transpose
from toolchain.pipeline.graph_stage import predictions


def evaluate(
    model: Any,
    *,
    vectors: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    input_type: str | Sequence[str] | None = None,
    input_samples: Any = None,
    input_bits: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the interpreter on the array `x` of an .npz file and, if `out` is given, write the results there.

    vectors: a network with several inputs takes an array for each, named as the input or x_NAME, instead of `x`.
    Arrays have their axes in the user's order, as the framework takes and gives them.
    model: a path or name as for `toolchain.load_model`, or the LoadedModel it returned.
    The result file holds, for a network with one output: `y` (float64, real values), `y_integer` (int64; decimal text past
    63 bits), `y_type` (text such as 'fixed<14,5>'), `y_scale` and `y_offset`; with several outputs each name is
    followed by '_' and the output's name. `y_true` and `y_class` are there where the vectors have labels.
    input_type, input_samples, input_bits, weights: as for `toolchain.load_model`.
    Returns a summary: vectors, graph_digest, types, accuracy, saturated_inputs, host_functions, input (what is known of the
    inputs' types from samples, as text with a line for each input, or None), and the arrays themselves
    under 'arrays' if `out` is None.
    """
    progress = progress or Silent()
    arrays_given = load_arrays(vectors)
    target = _writable(out)
    progress.started("load", "the framework and the model")
    loaded = model
    if not hasattr(model, "graph"):
        named = Path(weights) if weights is not None else None
        loaded = load_model(
            model, input_type=input_type, input_samples=input_samples, input_bits=input_bits, weights=named
        )
    graph = absorb_transpose(loaded.graph)  # as a build takes it, so that both name the same digest
    progress.finished("load")
    feeds = feeds_of(vectors, arrays_given, [node.name for node in graph.inputs])
    samples = len(next(iter(feeds.values())))
    progress.started("evaluate", f"{samples} vectors")
    quantised = {node.name: quantise_input(node, feeds[node.name]) for node in graph.inputs}
    results = interpret(graph, {name: found.integers for name, found in quantised.items()})
    arrays: dict[str, np.ndarray] = {}
    for output in graph.outputs:
        suffix = "" if len(graph.outputs) == 1 else f"_{output.name}"
        element = graph.types[output.tensor].element
        integers = host_order(output, results[output.tensor])
        arrays[f"y{suffix}"] = real_values(output, element, results[output.tensor])
        arrays[f"y_integer{suffix}"] = integers if integers.dtype != object else integers.astype(str)
        arrays[f"y_type{suffix}"] = np.array(str(element))
        arrays[f"y_scale{suffix}"] = _per_channel(output, output.scale)
        arrays[f"y_offset{suffix}"] = _per_channel(output, output.offset)
    accuracy, y_true = None, arrays_given.get("y_true")
    if y_true is not None and len(graph.outputs) == 1:
        arrays["y_true"] = y_true
        arrays["y_class"] = predictions(graph, results[graph.outputs[0].tensor])
        if y_true.shape == arrays["y_class"].shape:
            accuracy = float((arrays["y_class"] == y_true).mean())
    progress.finished("evaluate")
    summary: dict[str, Any] = {
        "model": loaded.name,
        "vectors": samples,
        "graph_digest": graph.digest,
        "types": {output.name: str(graph.types[output.tensor].element) for output in graph.outputs},
        "host_functions": {output.name: output.host_function for output in graph.outputs if output.host_function},
        "saturated_inputs": sum(found.saturated for found in quantised.values()),
        "input": "\n".join(loaded.input_remarks) or None,
        "accuracy": accuracy,
    }
    if target is None:
        summary["arrays"] = arrays
    else:
        _write(target, arrays)
    return summary


def _per_channel(output: Output, values: tuple[float, ...]) -> np.ndarray:
    """One value, or one a channel in a shape that broadcasts against samples whose axes are in the user's order."""
    array = np.array(values)
    if len(values) == 1 or not output.axes:
        return array
    return np.asarray(host_order(output, array.reshape(*(1,) * len(output.axes), -1))[0])


def _writable(out: str | os.PathLike[str] | None) -> Path | None:
    """`out` as a path that can be written; checked before the work, not after it."""
    if out is None:
        return None
    path = Path(out)
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: cannot be written (a folder, or no permission)")
    return path


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write the .npz whole or not at all."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".npz")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:  # a full disk, above all
        Path(temporary).unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
