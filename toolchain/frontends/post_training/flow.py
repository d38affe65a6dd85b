# SPDX-License-Identifier: Apache-2.0
"""The steps of post-training quantisation in their order, and what is known afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.frontends.imported import ImportedModel
from toolchain.frontends.post_training.accuracy import compare_models
from toolchain.frontends.post_training.correction import corrected_biases
from toolchain.frontends.post_training.float_graph import constants_of, prepared
from toolchain.frontends.post_training.places import Places, find_places, require_float
from toolchain.frontends.post_training.ranges import Observed, observe
from toolchain.frontends.post_training.runner import runner
from toolchain.frontends.post_training.settings import Calibration
from toolchain.frontends.post_training.sources import FloatModel, open_source
from toolchain.frontends.post_training.write import QuantisedWeights, Writer, quantised_weights
from toolchain.frontends.qonnx import import_proto

#: Called with a step of the work, and the share of it that is done.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class QuantisedModel:
    """A model after post-training quantisation.

    proto: the quantised ONNX ModelProto. imported: its integer graph. record: what was done and what it cost, as plain JSON
    values (see `record_of`). source: the float model.
    """

    source: FloatModel
    settings: Calibration
    proto: Any
    imported: ImportedModel
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def summary(self) -> dict[str, Any]:
        """The record in a few plain entries, those that are known: the [quantisation] table of model.toml, and of reports."""
        settings, accuracy = self.record["settings"], self.record["accuracy"]
        entries = {
            "source": self.source.framework,
            **{key: settings[key] for key in ("method", "weight_bits", "activation_bits", "input", "weights", "steps")},
            "bias_correction": settings["bias_correction"],
            "calibration_samples": self.record["calibration_samples"],
            "vectors": accuracy["vectors"],
            "vectors_are": accuracy["on"],
            "accuracy_before": accuracy["before"],
            "accuracy_after": accuracy["after"],
            "agreement": accuracy["agreement"],
            "signal_to_noise_db": accuracy["signal_to_noise_db"],
        }
        return {key: value for key, value in entries.items() if value is not None}

    def save(self, folder: Path) -> Path:
        """Write a model folder: model.onnx, model.toml, quantisation.json, and vectors.npz where there are held-out samples."""
        from toolchain.frontends.post_training.folder import save_folder

        return save_folder(self, Path(folder))


def quantise(
    source: Any,
    calibration: Calibration,
    *,
    input_shape: tuple[int, ...] | None = None,
    weights: Path | None = None,
    progress: Progress | None = None,
) -> QuantisedModel:
    """Quantise a float model after its training.

    source: an ONNX or Keras file, a SavedModel folder, a model folder, a tf_keras model, or a torch module.
    input_shape: for a torch module, the shape of one sample. weights: for a torch module, a file of its state_dict.
    Raises InputError, UnsupportedModel or UsageError: samples that cannot be used, a model that is quantised already, layers
    that are not supported, by name.
    """
    say = progress or (lambda step, share: None)
    data = calibration.data()
    held_out = calibration.held_out()
    say("reading the float model", 0.0)
    model = open_source(source, input_shape=input_shape or data.x.shape[1:], weights=weights)
    require_float(model.proto.graph, model.where)
    calibration.require_shape(model.input_shape)
    say("preparing it", 0.0)
    wide = max(calibration.weight_bits, calibration.activation_bits, calibration.bits_of_input) > 8
    named = calibration.named_input
    proto = prepared(model.proto, model.where, wide=wide or (named is not None and named.element.width > 8))
    constants = constants_of(proto.graph)
    places = find_places(proto.graph, constants, model.where, fixed_input=named is not None)
    (input_name,) = [value.name for value in proto.graph.input if value.name not in constants]
    x = data.x.astype(np.float32)
    observed = observe(
        runner(proto, places.quantised), places, x, calibration, input_name, lambda share: say("calibrating", share)
    )
    quantised = {
        layer.node.name: quantised_weights(
            layer,
            constants[layer.node.input[1]],
            calibration.weight_bits,
            per_channel=calibration.per_channel,
            least_error=calibration.method == "mse",
            power_of_two=calibration.power_of_two,
        )
        for layer in places.layers
    }
    biases: dict[str, np.ndarray] = {}
    if calibration.bias_correction:
        biases = corrected_biases(
            places,
            constants,
            lambda tensors: runner(proto, tensors),
            lambda known, tensors: runner(Writer(proto, places, observed, quantised, known).write(), tensors),
            x,
            lambda share: say("correcting biases", share),
        )
    result = Writer(proto, places, observed, quantised, biases).write()
    result.graph.name = model.name
    say("converting to integers", 0.0)
    imported = import_proto(result, where=model.where)
    say("comparing before and after", 0.0)
    accuracy = compare_models(model, imported, held_out or data, on_calibration=held_out is None)
    record = record_of(model, proto.graph, calibration, len(x), places, observed, quantised, accuracy)
    return QuantisedModel(model, calibration, result, imported, record)


def record_of(
    model: FloatModel,
    graph: Any,
    settings: Calibration,
    samples: int,
    places: Places,
    observed: Mapping[str, Observed],
    weights: Mapping[str, QuantisedWeights],
    accuracy: dict[str, Any],
) -> dict[str, Any]:
    """What was done, as plain JSON values. graph: the float graph that was quantised; tensors go by the node that makes them."""
    makers = {name: node.name for node in graph.node for name in node.output}
    return {
        "schema": 1,
        "source": {"name": model.name, "framework": model.framework, "sha256": model.digest},
        "settings": settings.to_json(),
        "calibration_samples": samples,
        "accuracy": accuracy,
        "activations": [
            {
                "tensor": makers.get(tensor, tensor),
                "bits": found.kind.bits,
                "signed": found.kind.signed,
                "step": found.kind.step,
                "lowest": found.low,
                "highest": found.high,
                "clipped_share": found.clipped,
            }
            for tensor, found in observed.items()
        ],
        "weights": [
            {
                "layer": layer.node.name,
                "operation": layer.node.op_type,
                "bits": weights[layer.node.name].kind.bits,
                "steps": sorted(set(weights[layer.node.name].steps.tolist())),
                "root_mean_square_error": weights[layer.node.name].error,
            }
            for layer in places.layers
        ],
    }
