# SPDX-License-Identifier: Apache-2.0
"""Trains a QKeras autoencoder for anomalous machine sounds: 640 features of 8 bits, 6-bit weights and activations.

    python models/anomaly_autoencoder/train.py --data features.npz --out DIR

It learns to repeat features of normal sounds; how far its output lies from its input tells how unusual a sound is. Nothing but
normal sounds is learnt from: the labels of the test part only serve the figure at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain import data_sets, training
from toolchain.errors import InputError

NAME = "anomaly_autoencoder"
FEATURES = 640
HIDDEN = (128, 128, 128, 128, 8, 128, 128, 128, 128)
NORMAL, ANOMALOUS = 0, 1
RECIPE = training.Recipe(epochs=100, batch=512, learning_rate=2e-3)
SEED = 1


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of all features of the training part, as one number each."""

    mean: float
    deviation: float

    @staticmethod
    def of(x: np.ndarray) -> Normalisation:
        return Normalisation(float(x.mean(dtype=np.float64)), max(float(x.std(dtype=np.float64)), 1e-6))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Features to the network's input, float32; most of it lies in [-4, 4), and the input quantiser clips the rest."""
        return ((x - self.mean) / self.deviation).astype(np.float32)


def load_data(data: Path | None) -> data_sets.DataSet:
    """Features (samples, 640) as they are in the file, and labels: 0 normal, 1 anomalous, with both kinds in the test part."""
    assert data is not None, "the command line requires --data"
    found = data_sets.read_data_set(data, (FEATURES,), 2)
    if not (found.y_train == NORMAL).any():
        raise InputError(
            f"--data {data}: y_train names no normal sample ({NORMAL}); the network learns from those alone"
        )
    if len(np.unique(found.y_test)) < 2:
        raise InputError(f"--data {data}: y_test must name both normal ({NORMAL}) and anomalous ({ANOMALOUS}) samples")
    return found


def build_model() -> Any:
    """The untrained tf_keras Sequential model. Its result is the input again, as far as the network can tell."""
    from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras

    qkeras, tf_keras = import_qkeras(), import_tf_keras()
    stack = [
        tf_keras.layers.Input((FEATURES,), name="features"),
        # 8 bits in steps of 1/32 in [-4, 4).
        qkeras.QActivation("quantized_bits(8,2,alpha=1)", name="quantise_features"),
    ]
    for number, units in enumerate((*HIDDEN, FEATURES), start=1):
        last = number > len(HIDDEN)
        stack.append(
            qkeras.QDense(
                units,
                kernel_initializer="he_normal",
                kernel_quantizer=qkeras.quantized_bits(6, 0, alpha=1),
                bias_quantizer=qkeras.quantized_bits(8, 2, alpha=1),
                name="reconstruction" if last else f"dense_{number}",
            )
        )
        if not last:
            stack.append(qkeras.QActivation("quantized_relu(6,2)", name=f"relu_{number}"))
    return tf_keras.Sequential(stack, name=NAME)


def train(run: training.Run, progress: training.Progress = training.no_progress) -> str:
    """Train and write model.h5, vectors.npz, metrics.json, model.toml and provenance.json into `run.out`."""
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    training.require_folder(run.out)
    data, recipe = load_data(run.data), run.recipe(RECIPE)
    normal = data.x_train[data.y_train == NORMAL]
    normalise = Normalisation.of(normal)
    x, x_test = normalise(normal), normalise(data.x_test)
    training.start_keras(run.seed)
    model = build_model()
    training.fit_keras(model, x, x, import_tf_keras().losses.MeanSquaredError(), recipe, run.seed, progress)
    found = model.predict(x_test, batch_size=500, verbose=0)
    error = np.square(found - x_test).mean(axis=1)
    training.save_keras(model, run.out / "model.h5")
    training.write_vectors(run.out / "vectors.npz", x_test, None, found)
    area = training.area_under_curve(data.y_test == ANOMALOUS, error)
    training.write_json(
        run.out / "metrics.json",
        {
            "framework": "qkeras",
            "held_out_samples": len(x_test),
            "held_out_anomalous_samples": int((data.y_test == ANOMALOUS).sum()),
            "area_under_curve": area,
            "mean_squared_error_of_normal_samples": float(error[data.y_test == NORMAL].mean()),
            "mean_squared_error_of_anomalous_samples": float(error[data.y_test == ANOMALOUS].mean()),
        },
    )
    training.copy_description(Path(__file__).parent, run.out)
    training.write_provenance(
        run,
        NAME,
        recipe,
        {
            "data_set": "features named by the user",
            "feature_mean": normalise.mean,
            "feature_standard_deviation": normalise.deviation,
        },
        {"held_out": "the test part of the file", "training_samples": len(x), "held_out_samples": len(x_test)},
        ("qkeras", "tensorflow", "tf_keras", "numpy"),
    )
    return f"area under the curve on the held-out part: {area:.4f}"


main = training.recipe_command(
    "anomaly_autoencoder (QKeras)",
    Path(__file__).parent,
    SEED,
    train,
    data="Features: an .npz file with x_train, x_test of shape (samples, 640), y_train, y_test (0 normal, 1 anomalous).",
    needs_data=True,
)

if __name__ == "__main__":
    main()
