# SPDX-License-Identifier: Apache-2.0
"""The float model and the integer graph on the same samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.imported import ImportedModel
from toolchain.frontends.model_folder import Vectors
from toolchain.frontends.post_training.sources import FloatModel
from toolchain.ir import interpret, quantise_input, real_values

#: Samples that before and after are compared on.
MAXIMUM_SAMPLES = 10_000
_CHUNK = 256


def compare_models(
    model: FloatModel, imported: ImportedModel, vectors: Vectors, *, on_calibration: bool
) -> dict[str, Any]:
    """What quantising changed, as plain values.

    vectors: how many samples were compared; on: which. before, after: the share of samples whose largest output is the labelled
    class, None without labels. agreement: the share for which both name the same class, None for one output. signal_to_noise_db:
    of the float outputs against the difference, None where there is none of either.
    """
    graph = imported.graph
    if len(graph.outputs) != 1:
        raise UnsupportedModel(f"{model.where}: has {len(graph.outputs)} outputs; supported for quantisation is one")
    output = graph.outputs[0]
    x, logits = vectors.x[:MAXIMUM_SAMPLES], model.logits(output.name)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(x), _CHUNK):
        chunk = x[start : start + _CHUNK]
        integers = interpret(graph, quantise_input(graph.inputs[0], chunk).integers)[output.tensor]
        after = real_values(output, graph.types[output.tensor].element, integers)
        parts.append((logits(chunk).reshape(after.shape), after))
    before, after = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    flat = [array.reshape(len(array), -1) for array in (before, after)]
    outputs = flat[0].shape[1]
    classes = [array.argmax(axis=1) for array in flat]
    labels = None if vectors.y_true is None else vectors.y_true[: len(x)]
    is_classifier = labels is not None and outputs > 1 and labels.min() >= 0 and int(labels.max()) < outputs
    noise = float(np.square(before - after).mean())
    signal = float(np.square(before).mean())
    return {
        "vectors": len(x),
        "on": "calibration samples" if on_calibration else "held-out samples",
        "before": float((classes[0] == labels).mean()) if is_classifier else None,
        "after": float((classes[1] == labels).mean()) if is_classifier else None,
        "agreement": float((classes[0] == classes[1]).mean()) if outputs > 1 else None,
        "signal_to_noise_db": round(10 * float(np.log10(signal / noise)), 2) if noise and signal else None,
        "largest_difference": float(np.abs(before - after).max()),
    }
