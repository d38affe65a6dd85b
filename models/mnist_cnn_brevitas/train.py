# SPDX-License-Identifier: Apache-2.0
"""Trains a Brevitas convolutional network for MNIST: 28x28 pixels of 8 bits, 4-bit weights and activations, float scales.

    python models/mnist_cnn_brevitas/train.py --data mnist.npz --out DIR

Every choice of the recipe was made with ``--validate``, which trains on a part of the training images and scores the rest of
them; the 10,000 test images are only read once, at the end, for the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from toolchain import data_sets, training
from toolchain.frontends.brevitas import export_module

NAME = "mnist_cnn_brevitas"
CLASS_NAMES = tuple(str(digit) for digit in range(10))
INPUT_SHAPE = (1, 28, 28)
#: Of each convolution: filters, padding on each side, and whether a 2x2 maximum follows it. Sides: 28, 14, 7, 5.
CONVOLUTIONS = ((8, 1, True), (16, 1, True), (16, 0, False))
FEATURES = 16 * 5 * 5
BITS = 4
RECIPE = training.Recipe(epochs=4, batch=100, learning_rate=1e-2)
#: Pixels that a training image is moved by at most, in any direction.
LARGEST_SHIFT = 1
VALIDATION_FRACTION = 1 / 6
SPLIT_SEED = 20240101
SEED = 1


def load_data(data: Path | None, download: str = data_sets.KERAS) -> data_sets.DataSet:
    """Pixels / 255 as float32 of shape (samples, 1, 28, 28), and labels. data: a file, or None to `download` it."""
    raw = data_sets.mnist(data, download)
    x_train, x_test = ((part[:, None] / 255.0).astype(np.float32) for part in (raw.x_train, raw.x_test))
    return data_sets.DataSet(x_train, raw.y_train, x_test, raw.y_test)


def build_model() -> Any:
    """The untrained torch module. Its result is the logits."""
    import torch
    from brevitas.core.scaling import ScalingImplType
    from brevitas.inject.enum import RestrictValueType
    from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
    from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat

    class MnistCnn(torch.nn.Module):
        """Pixels (samples, 1, 28, 28) in [0, 1] to logits (samples, 10)."""

        def __init__(self) -> None:
            super().__init__()
            # 1 is the highest of 256 levels, so that every pixel k/255 is the integer k.
            self.quantise_pixels = QuantIdentity(
                act_quant=Uint8ActPerTensorFloat,
                bit_width=8,
                scaling_impl_type=ScalingImplType.CONST,
                restrict_scaling_type=RestrictValueType.FP,
                scaling_init=1.0,
            )
            # One learned scale for each filter; the normalisation and the rectifier behind it become thresholds.
            channels = 1
            blocks: list[Any] = []
            for filters, padding, pooled in CONVOLUTIONS:
                convolution = QuantConv2d(
                    channels,
                    filters,
                    3,
                    padding=padding,
                    bias=False,
                    weight_quant=Int8WeightPerChannelFloat,
                    weight_bit_width=BITS,
                )
                layers = [convolution, torch.nn.BatchNorm2d(filters), QuantReLU(bit_width=BITS)]
                blocks.append(torch.nn.Sequential(*layers, *[torch.nn.MaxPool2d(2)] * pooled))
                channels = filters
            self.blocks = torch.nn.Sequential(*blocks)
            # One scale and no bias: the logits are comparable as integers.
            self.logits = QuantLinear(
                FEATURES, len(CLASS_NAMES), False, weight_quant=Int8WeightPerTensorFloat, weight_bit_width=BITS
            )

        def forward(self, x: Any) -> Any:
            return self.logits(self.blocks(self.quantise_pixels(x)).flatten(1))

    return MnistCnn()


def shifted(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image moved by up to LARGEST_SHIFT pixels."""
    return training.shift_images(images, random, LARGEST_SHIFT, (2, 3))


def trained(data: data_sets.DataSet, recipe: training.Recipe, seed: int, progress: training.Progress) -> Any:
    """A module that has learnt from the training part."""
    training.start_torch(seed)
    model = build_model()
    training.fit_torch(model, data.x_train, data.y_train, recipe, seed, progress, augment=shifted)
    return model


def train(run: training.Run, progress: training.Progress = training.no_progress) -> str:
    """Train and write model.onnx, model.pt (tensors only), vectors.npz, metrics.json, model.toml, provenance.json into `run.out`."""
    import torch

    training.require_folder(run.out)
    data, recipe = load_data(run.data, run.download), run.recipe(RECIPE)
    model = trained(data, recipe, run.seed, progress)
    logits = training.torch_outputs(model, data.x_test)
    torch.save(model.state_dict(), run.out / "model.pt")
    export_module(model, INPUT_SHAPE, run.out / "model.onnx")
    training.write_vectors(run.out / "vectors.npz", data.x_test, data.y_test, logits)
    metrics = training.accuracy_metrics("brevitas", data.y_test, logits.argmax(axis=1), CLASS_NAMES)
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
        ("brevitas", "torch", "qonnx", "onnx", "numpy"),
    )
    return f"accuracy on the held-out part: {100 * metrics['accuracy']:.2f} %"


def validate(run: training.Run, progress: training.Progress = training.no_progress) -> str:
    """Score the recipe on a validation part of the training images."""
    data = load_data(run.data, run.download).for_validation(VALIDATION_FRACTION, SPLIT_SEED)
    model = trained(data, run.recipe(RECIPE), run.seed, progress)
    found = training.torch_outputs(model, data.x_test).argmax(axis=1)
    return f"accuracy on the validation part: {100 * (found == data.y_test).mean():.2f} %"


main = training.recipe_command(
    "mnist_cnn_brevitas (Brevitas)",
    Path(__file__).parent,
    SEED,
    train,
    validate,
    data="MNIST as Keras ships it: an .npz file with x_train, y_train, x_test, y_test (default: downloaded).",
    downloads=(data_sets.KERAS, data_sets.OPENML),
)

if __name__ == "__main__":
    main()
