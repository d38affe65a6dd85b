# SPDX-License-Identifier: Apache-2.0
"""Trains a Brevitas network of DS-CNN's shape on spoken digits: 49x10 features, 4-bit weights and activations, float scales.

    python models/keyword_dscnn/train.py --data features.npz --out DIR

The choices of the recipe were made with ``--validate``, which trains on a part of the training recordings and scores the rest
of them; the data set's test part is only read once, at the end, for the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain import data_sets, training
from toolchain.frontends.brevitas import export_module

NAME = "keyword_dscnn"
CLASS_NAMES = tuple(str(digit) for digit in range(10))
FRAMES, COEFFICIENTS = 49, 10
INPUT_SHAPE = (1, FRAMES, COEFFICIENTS)
WIDTH = 32
BLOCKS = 4
BITS = 4
#: Normalised features lie in [-LARGEST, LARGEST); rare ones beyond are clipped by the model's input quantiser.
LARGEST = 8.0
RECIPE = training.Recipe(epochs=15, batch=50, learning_rate=1e-2, label_smoothing=0.1)
#: Frames that a training sample is moved by at most, in either direction.
LARGEST_SHIFT = 4
VALIDATION_FRACTION = 0.2
SPLIT_SEED = 20240101
SEED = 1


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each of the 10 coefficients, over all frames of the training recordings."""

    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def of(x: np.ndarray) -> Normalisation:
        """x: (samples, frames, coefficients). Rounded to float32, since features are normalised in float32."""
        deviation = np.maximum(x.std(axis=(0, 1), dtype=np.float64), 1e-3)
        return Normalisation(x.mean(axis=(0, 1), dtype=np.float64).astype(np.float32), deviation.astype(np.float32))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Features (samples, frames, coefficients) to the network's input (samples, 1, frames, coefficients), float32."""
        return ((x.astype(np.float32) - self.mean) / self.deviation)[:, None]


def load_data(data: Path | None) -> data_sets.DataSet:
    """Features of shape (samples, 49, 10) as they are in the file, and labels."""
    assert data is not None, "the command line requires --data"
    return data_sets.read_data_set(data, (FRAMES, COEFFICIENTS), len(CLASS_NAMES))


def build_model() -> Any:
    """The untrained torch module. Its result is the logits."""
    import torch
    from brevitas.core.scaling import ScalingImplType
    from brevitas.inject.enum import RestrictValueType
    from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
    from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Int8WeightPerTensorFloat

    def convolution(inputs: int, outputs: int, kernel: Any, **settings: Any) -> Any:
        """A convolution with one scale for each filter; normalisation and rectifier behind it become thresholds."""
        layer = QuantConv2d(
            inputs,
            outputs,
            kernel,
            bias=False,
            weight_quant=Int8WeightPerChannelFloat,
            weight_bit_width=BITS,
            **settings,
        )
        return torch.nn.Sequential(layer, torch.nn.BatchNorm2d(outputs), QuantReLU(bit_width=BITS))

    class KeywordDsCnn(torch.nn.Module):
        """Normalised features (samples, 1, 49, 10) to logits (samples, 10)."""

        def __init__(self) -> None:
            super().__init__()
            # 8 bits in steps of 1/16: 128 steps are LARGEST.
            self.quantise_features = QuantIdentity(
                act_quant=Int8ActPerTensorFloat,
                bit_width=8,
                scaling_impl_type=ScalingImplType.CONST,
                restrict_scaling_type=RestrictValueType.POWER_OF_TWO,
                scaling_init=LARGEST,
                narrow_range=False,
            )
            self.first = convolution(1, WIDTH, (10, 4), stride=2, padding=(5, 1))  # 49x10 to 25x5
            self.depthwise = torch.nn.ModuleList(
                [convolution(WIDTH, WIDTH, 3, padding=1, groups=WIDTH) for _ in range(BLOCKS)]
            )
            self.pointwise = torch.nn.ModuleList([convolution(WIDTH, WIDTH, 1) for _ in range(BLOCKS)])
            self.average = torch.nn.AvgPool2d((25, 5))
            # One scale and no bias: the logits are comparable as integers. Their sums stay far below the 24 bits that float32
            # tells apart, so that rung 1 can look into every difference.
            self.logits = QuantLinear(
                WIDTH, len(CLASS_NAMES), False, weight_quant=Int8WeightPerTensorFloat, weight_bit_width=BITS
            )

        def forward(self, x: Any) -> Any:
            x = self.first(self.quantise_features(x))
            for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
                x = pointwise(depthwise(x))
            return self.logits(self.average(x).flatten(1))

    return KeywordDsCnn()


def shifted(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each sample moved in time by up to LARGEST_SHIFT frames; the frames that come free repeat the sample's edge."""
    moves = random.integers(-LARGEST_SHIFT, LARGEST_SHIFT + 1, len(x))
    frames = np.clip(np.arange(FRAMES) - moves[:, None], 0, FRAMES - 1)
    return x[np.arange(len(x))[:, None], :, frames].swapaxes(1, 2)


def trained(data: data_sets.DataSet, recipe: training.Recipe, seed: int, progress: training.Progress) -> Any:
    """A module that has learnt from the training part, which is normalised already."""
    training.start_torch(seed)
    model = build_model()
    training.fit_torch(model, data.x_train, data.y_train, recipe, seed, progress, augment=shifted)
    return model


def normalised(data: data_sets.DataSet) -> tuple[data_sets.DataSet, Normalisation]:
    """Both parts, normalised by what the training part shows."""
    normalise = Normalisation.of(data.x_train)
    return data_sets.DataSet(normalise(data.x_train), data.y_train, normalise(data.x_test), data.y_test), normalise


def train(run: training.Run, progress: training.Progress = training.no_progress) -> str:
    """Train and write model.onnx, model.pt (tensors only), vectors.npz, metrics.json, model.toml, provenance.json into `run.out`."""
    import torch

    training.require_folder(run.out)
    recipe = run.recipe(RECIPE)
    data, normalise = normalised(load_data(run.data))
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
        {
            "data_set": "Free Spoken Digit Dataset: 3,000 recordings of ten digits by six speakers, as 49x10 cepstral features",
            "data_source": "https://github.com/Jakobovski/free-spoken-digit-dataset",
            "data_licence": "CC BY-SA 4.0",
            "feature_mean": [float(value) for value in normalise.mean],
            "feature_standard_deviation": [float(value) for value in normalise.deviation],
        },
        {
            "held_out": "the data set's own test part: takes 0 to 4 of each speaker and digit; the speakers are those of the training part",
            "training_samples": len(data.x_train),
            "held_out_samples": len(data.x_test),
        },
        ("brevitas", "torch", "qonnx", "onnx", "numpy"),
    )
    return f"accuracy on the held-out part: {100 * metrics['accuracy']:.2f} %"


def validate(run: training.Run, progress: training.Progress = training.no_progress) -> str:
    """Score the recipe on a validation part of the training recordings."""
    data, _ = normalised(load_data(run.data).for_validation(VALIDATION_FRACTION, SPLIT_SEED))
    model = trained(data, run.recipe(RECIPE), run.seed, progress)
    found = training.torch_outputs(model, data.x_test).argmax(axis=1)
    return f"accuracy on the validation part: {100 * (found == data.y_test).mean():.2f} %"


main = training.recipe_command(
    "keyword_dscnn (Brevitas)",
    Path(__file__).parent,
    SEED,
    train,
    validate,
    data="Features: an .npz file with x_train, x_test of shape (samples, 49, 10), y_train, y_test.",
    needs_data=True,
)

if __name__ == "__main__":
    main()
