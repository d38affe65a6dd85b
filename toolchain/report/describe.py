# SPDX-License-Identifier: Apache-2.0
"""Parts of a report that are made from a graph and from predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.errors import InputError
from toolchain.ir import Graph
from toolchain.ir.products import WeightedSums


def describe_graph(graph: Graph) -> list[dict[str, Any]]:
    """The report's `graph` list: one row a node, with the type of the sums of a matrix product or convolution as accumulator."""
    rows: list[dict[str, Any]] = []
    for node in graph.nodes:
        result = graph.types[node.name]
        row: dict[str, Any] = {
            "name": node.name,
            "operation": node.operation.kind,
            "source": node.source,
            "shape": list(result.shape),
            "type": str(result.element),
        }
        if isinstance(node.operation, WeightedSums):
            row["accumulator"] = str(result.element)
        rows.append(row)
    return rows


def quantisation_note(quantisation: Mapping[str, Any]) -> str:
    """A sentence for people on what post-training quantisation did: the report's `quantisation`, in words."""
    did = (
        f"Quantised after training ({quantisation['method']}, {quantisation['weight_bits']}-bit weights "
        f"{quantisation['weights']}, {quantisation['activation_bits']}-bit activations"
        f"{', biases corrected' * quantisation['bias_correction']})"
    )
    where = f"on {quantisation['vectors']} {quantisation['vectors_are']}"
    if "accuracy_before" in quantisation:
        before, after = (100 * quantisation[f"accuracy_{when}"] for when in ("before", "after"))
        return f"{did}: accuracy {before:.2f} % before, {after:.2f} % after, {where}."
    if "signal_to_noise_db" in quantisation:
        ratio = quantisation["signal_to_noise_db"]
        return f"{did}: {ratio:g} dB between the float outputs and the difference, {where}."
    return f"{did}; compared {where}."


def confusion_matrix(labels: Sequence[str], classes: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    """The report's `confusion_matrix`: counts[i][j] are the vectors of class i that were classified as j.

    classes, predictions: integers of shape (vectors,), indices into `labels`. Raises InputError for others.
    """
    size = len(labels)
    for label, values in (("classes", classes), ("predictions", predictions)):
        if (
            values.ndim != 1
            or values.shape != classes.shape
            or (values.size and not 0 <= values.min() <= values.max() < size)
        ):
            raise InputError(f"{label} must be one index below {size} for each vector, found shape {values.shape}")
    counts = np.bincount(classes.astype(np.int64) * size + predictions.astype(np.int64), minlength=size * size)
    return {"labels": [str(label) for label in labels], "counts": counts.reshape(size, size).tolist()}
