# SPDX-License-Identifier: Apache-2.0
"""Trains a QKeras convolutional network for MNIST: 28x28 pixels of 8 bits, 5-bit weights, 4-bit activations.

    python models/mnist_cnn/train.py --data mnist.npz --out DIR

Every choice of the recipe was made with ``--validate``, which trains on a part of the training images and scores the rest of
them; the 10,000 test images are only read once, at the end, for the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolchain import data_sets, training

NAME = "mnist_cnn"
CLASS_NAMES = tuple(str(digit) for digit in range(10))
#: Of each convolution: filters, padding, and whether a 2x2 maximum follows it. Sides: 28, 14, 7, 5.
CONVOLUTIONS = ((8, "same", True), (16, "same", True), (16, "valid", False))
RECIPE = training.Recipe(epochs=10, batch=100, learning_rate=4e-3)
#: Pixels that a training image is moved by at most, in any direction.
LARGEST_SHIFT = 1
VALIDATION_FRACTION = 1 / 6
SPLIT_SEED = 20240101
SEED = 1


def load_data(data: Path | None, download: str = data_sets.KERAS) -> data_sets.DataSet:
    """Pixels / 255 as float32 of shape (samples, 28, 28, 1), and labels. data: a file, or None to `download` it."""
    raw = data_sets.mnist(data, download)
    x_train, x_test = ((part[..., None] / 255.0).astype(np.float32) for part in (raw.x_train, raw.x_test))
    return data_sets.DataSet(x_train, raw.y_train, x_test, raw.y_test)


def build_model() -> Any:
    """The untrained tf_keras Sequential model; its last layer is softmax, its last but one gives the logits."""
    from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras

    qkeras, layers = import_qkeras(), import_tf_keras().layers
    # Weights in steps of 1/16 in [-1, 1); biases in steps of 1/16 in [-2, 2); activations in steps of 1/8 in [0, 2).
    quantisers = {
        "kernel_quantizer": qkeras.quantized_bits(5, 0, alpha=1),
        "bias_quantizer": qkeras.quantized_bits(6, 1, alpha=1),
    }
    stack = [
        layers.Input((28, 28, 1), name="pixels"),
        # Steps of 1/256 up to 255/256. pixel / 255 is never close to a tie between two of them.
        qkeras.QActivation("quantized_relu(8,0)", name="quantise_pixels"),
    ]
    for number, (filters, padding, pooled) in enumerate(CONVOLUTIONS, start=1):
        stack.append(qkeras.QConv2D(filters, 3, padding=padding, name=f"conv_{number}", **quantisers))
        stack.append(qkeras.QActivation("quantized_relu(4,1)", name=f"relu_{number}"))
        if pooled:
            stack.append(layers.MaxPooling2D(2, name=f"pool_{number}"))
    stack.append(layers.Flatten(name="flatten"))
    stack.append(qkeras.QDense(len(CLASS_NAMES), name="logits", **quantisers))
    return import_tf_keras().Sequential([*stack, layers.Activation("softmax", name="softmax")], name=NAME)


def shifted(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image moved by up to LARGEST_SHIFT pixels."""
    return training.shift_images(images, random, LARGEST_SHIFT, (1, 2))


def trained(data: data_sets.DataSet, recipe: training.Recipe, seed: int, progress: training.Progress) -> Any:
    """A model that has learnt from the training part."""
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    training.start_keras(seed)
    model = build_model()
    loss = import_tf_keras().losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    truth = np.eye(len(CLASS_NAMES), dtype=np.float32)[data.y_train]
    training.fit_keras(model, data.x_train, truth, loss, recipe, seed, progress, augment=shifted)
    return model


def train(run: training.Run, progress: training.Progress = training.no_progress) -> str:
    """Train and write model.h5, vectors.npz, metrics.json, model.toml and provenance.json into `run.out`."""
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    training.require_folder(run.out)
    data, recipe = load_data(run.data, run.download), run.recipe(RECIPE)
    model = trained(data, recipe, run.seed, progress)
    to_logits = import_tf_keras().Model(model.input, model.get_layer("logits").output)
    logits = to_logits.predict(data.x_test, batch_size=500, verbose=0)
    training.save_keras(model, run.out / "model.h5")
    training.write_vectors(run.out / "vectors.npz", data.x_test, data.y_test, logits)
    metrics = training.accuracy_metrics("qkeras", data.y_test, logits.argmax(axis=1), CLASS_NAMES)
    training.write_json(run.out / "metrics.json", metrics)
    training.copy_description(Path(__file__).parent, run.out)
    training.write_provenance(
        run,
        NAME,
        recipe,
        training.mnist_provenance(run),
        {
            "held_out": "the data set's own test part",
            "training_samples": len(data.x_train),
            "held_out_samples": len(data.x_test),
        },
        ("qkeras", "tensorflow", "tf_keras", "numpy"),
    )
    return f"accuracy on the held-out part: {100 * metrics['accuracy']:.2f} %"


def validate(run: training.Run, progress: training.Progress = training.no_progress) -> str:
    """Score the recipe on a validation part of the training images."""
    data = load_data(run.data, run.download).for_validation(VALIDATION_FRACTION, SPLIT_SEED)
    model = trained(data, run.recipe(RECIPE), run.seed, progress)
    found = model.predict(data.x_test, batch_size=500, verbose=0).argmax(axis=1)
    return f"accuracy on the validation part: {100 * (found == data.y_test).mean():.2f} %"


main = training.recipe_command(
    "mnist_cnn (QKeras)",
    Path(__file__).parent,
    SEED,
    train,
    validate,
    data="MNIST as Keras ships it: an .npz file with x_train, y_train, x_test, y_test (default: downloaded).",
    downloads=(data_sets.KERAS, data_sets.OPENML),
)

if __name__ == "__main__":
    main()
