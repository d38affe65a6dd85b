# SPDX-License-Identifier: Apache-2.0
"""Trains a QKeras residual network of ResNet-8's shape for CIFAR-10: 8-bit pixels and weights, 6-bit activations.

    python models/image_resnet8/train.py --data cifar10.npz --out DIR

The recipe is MLPerf Tiny's (Adam, 1e-3, random shifts and flips) with a falling learning rate. The 10,000 test images are only
read once, at the end, for the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolchain import data_sets, training

NAME = "image_resnet8"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
INPUT_SHAPE = (32, 32, 3)
#: Of each residual stack: filters and stride.
STACKS = ((16, 1), (32, 2), (64, 2))
#: Steps of 1/16. Where two branches meet, both are signed with these steps, so that their sum is one of integers.
RECTIFIER = "quantized_relu(6,2)"
BRANCH = "quantized_bits(7,2,alpha=1)"
RECIPE = training.Recipe(epochs=200, batch=32, learning_rate=1e-3)
#: Pixels that a training image is moved by at most, in any direction.
LARGEST_SHIFT = 4
VALIDATION_FRACTION = 0.2
SPLIT_SEED = 20240101
SEED = 1


def load_data(data: Path | None) -> data_sets.DataSet:
    """Pixels / 255 as float32 of shape (samples, 32, 32, 3), and labels. data: a file, or None to download it."""
    raw = data_sets.keras_data_set("cifar10", data, INPUT_SHAPE, len(CLASS_NAMES))
    x_train, x_test = ((part / 255.0).astype(np.float32) for part in (raw.x_train, raw.x_test))
    return data_sets.DataSet(x_train, raw.y_train, x_test, raw.y_test)


def build_model() -> Any:
    """The untrained tf_keras model; its last layer is softmax, its last but one gives the logits."""
    from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras

    qkeras, tf_keras = import_qkeras(), import_tf_keras()
    layers = tf_keras.layers

    def convolution(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        """With a batch normalisation folded into its weights: in steps of 1/128, the bias in steps of 1/128 in [-8, 8)."""
        return qkeras.QConv2DBatchnorm(
            filters,
            kernel,
            strides=stride,
            padding="same",
            kernel_initializer="he_normal",
            kernel_quantizer=qkeras.quantized_bits(8, 0, alpha=1),
            bias_quantizer=qkeras.quantized_bits(11, 3, alpha=1),
            name=name,
        )(x)

    def activation(x: Any, quantiser: str, name: str) -> Any:
        return qkeras.QActivation(quantiser, name=name)(x)

    pixels = layers.Input(INPUT_SHAPE, name="pixels")
    # Steps of 1/256 up to 255/256. pixel / 255 is never close to a tie between two of them.
    x = activation(pixels, "quantized_relu(8,0)", "quantise_pixels")
    x = activation(convolution(x, 16, 3, 1, "conv_0"), RECTIFIER, "relu_0")
    for number, (filters, stride) in enumerate(STACKS, start=1):
        name = f"stack_{number}"
        y = activation(convolution(x, filters, 3, stride, f"{name}_conv_1"), RECTIFIER, f"{name}_relu_1")
        y = activation(convolution(y, filters, 3, 1, f"{name}_conv_2"), BRANCH, f"{name}_branch")
        # Without a convolution the shortcut is what a rectifier gave, which already is in the same steps.
        if stride != 1:
            x = activation(convolution(x, filters, 1, stride, f"{name}_shortcut_conv"), BRANCH, f"{name}_shortcut")
        x = activation(layers.Add(name=f"{name}_add")([x, y]), RECTIFIER, f"{name}_relu_2")
    x = layers.AveragePooling2D(8, name="average")(x)
    x = qkeras.QDense(
        len(CLASS_NAMES),
        kernel_quantizer=qkeras.quantized_bits(8, 0, alpha=1),
        bias_quantizer=qkeras.quantized_bits(8, 0, alpha=1),
        name="logits",
    )(layers.Flatten(name="flatten")(x))
    return tf_keras.Model(pixels, layers.Activation("softmax", name="softmax")(x), name=NAME)


def changed(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image moved by up to LARGEST_SHIFT pixels, and every other one mirrored."""
    images = training.shift_images(images, random, LARGEST_SHIFT, (1, 2))
    mirrored = random.random(len(images)) < 0.5
    images[mirrored] = images[mirrored, :, ::-1]
    return images


def trained(data: data_sets.DataSet, recipe: training.Recipe, seed: int, progress: training.Progress) -> Any:
    """A model that has learnt from the training part."""
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    training.start_keras(seed)
    model = build_model()
    truth = np.eye(len(CLASS_NAMES), dtype=np.float32)[data.y_train]
    loss = import_tf_keras().losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    training.fit_keras(model, data.x_train, truth, loss, recipe, seed, progress, augment=changed)
    return model


def train(run: training.Run, progress: training.Progress = training.no_progress) -> str:
    """Train and write model.h5, vectors.npz, metrics.json, model.toml and provenance.json into `run.out`."""
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    training.require_folder(run.out)
    data, recipe = load_data(run.data), run.recipe(RECIPE)
    model = trained(data, recipe, run.seed, progress)
    to_logits = import_tf_keras().Model(model.input, model.get_layer("logits").output)
    logits = to_logits.predict(data.x_test, batch_size=200, verbose=0)
    training.save_keras(model, run.out / "model.h5")
    training.write_vectors(run.out / "vectors.npz", data.x_test, data.y_test, logits)
    metrics = training.accuracy_metrics("qkeras", data.y_test, logits.argmax(axis=1), CLASS_NAMES)
    training.write_json(run.out / "metrics.json", metrics)
    training.copy_description(Path(__file__).parent, run.out)
    training.write_provenance(
        run,
        NAME,
        recipe,
        {
            "data_set": "CIFAR-10 (Krizhevsky)",
            "data_source": "https://www.cs.toronto.edu/~kriz/cifar.html",
            "data_licence": "none stated",
        },
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
    data = load_data(run.data).for_validation(VALIDATION_FRACTION, SPLIT_SEED)
    model = trained(data, run.recipe(RECIPE), run.seed, progress)
    found = model.predict(data.x_test, batch_size=200, verbose=0).argmax(axis=1)
    return f"accuracy on the validation part: {100 * (found == data.y_test).mean():.2f} %"


main = training.recipe_command(
    "image_resnet8 (QKeras)",
    Path(__file__).parent,
    SEED,
    train,
    validate,
    data="CIFAR-10: an .npz file with x_train, x_test of shape (samples, 32, 32, 3), y_train, y_test (default: downloaded by Keras).",
)

if __name__ == "__main__":
    main()
