# SPDX-License-Identifier: Apache-2.0
"""Bias correction: the mean error that quantisation causes in a channel goes into that channel's bias.

Layer after layer in the graph's order, each on what the quantised layers before it give, corrected already (as in Nagel et
al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, with means from samples).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from toolchain.frontends.post_training.places import Places, WeightedLayer
from toolchain.frontends.post_training.ranges import batches
from toolchain.frontends.post_training.runner import Run

#: Samples that means are taken over.
MAXIMUM_SAMPLES = 1024


def correctable(layer: WeightedLayer) -> bool:
    """Whether a layer has a bias, or can be given one."""
    return layer.bias_operand is not None or (layer.node.op_type != "MatMul" and len(layer.node.input) == 2)


def means(run: Run, tensors: Mapping[str, int], x: np.ndarray) -> dict[str, np.ndarray]:
    """The mean of each tensor over all but one axis. tensors: name -> that axis, batch included; -1 for the last."""
    totals: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for batch in batches(x):
        found = run(batch)
        for name, axis in tensors.items():
            array = np.moveaxis(np.asarray(found[name], np.float64), axis, -1)
            array = array.reshape(-1, array.shape[-1])
            totals[name] = totals.get(name, 0) + array.sum(axis=0)
            counts[name] = counts.get(name, 0) + len(array)
    return {name: total / counts[name] for name, total in totals.items()}


def corrected_biases(
    places: Places,
    constants: Mapping[str, np.ndarray],
    float_run: Callable[[list[str]], Run],
    quantised_run: Callable[[dict[str, np.ndarray], list[str]], Run],
    x: np.ndarray,
    say: Callable[[float], None],
) -> dict[str, np.ndarray]:
    """New real biases by layer name.

    float_run: tensors -> the float model up to them. quantised_run: the same for the model that is quantised with some new
    biases. say: gets the share of the work that is done.
    """
    x = x[:MAXIMUM_SAMPLES]
    layers = [layer for layer in places.layers if correctable(layer)]
    axes = {layer.result: 1 if layer.node.op_type in ("Conv", "ConvTranspose") else -1 for layer in layers}
    wanted = means(float_run(list(axes)), axes, x)
    biases: dict[str, np.ndarray] = {}
    for number, layer in enumerate(layers, start=1):
        tensor = layer.result
        found = means(quantised_run(biases, [tensor]), {tensor: axes[tensor]}, x)[tensor]
        biases[layer.node.name] = _bias(layer, constants, found.size) + (wanted[tensor] - found)
        say(number / len(layers))
    return biases


def _bias(layer: WeightedLayer, constants: Mapping[str, np.ndarray], outputs: int) -> Any:
    if layer.bias_operand is None:
        return np.zeros(outputs)
    # One bias for all outputs becomes one for each.
    return np.broadcast_to(
        constants[layer.bias_node.input[layer.bias_operand]].astype(np.float64).reshape(-1), (outputs,)
    )
