# SPDX-License-Identifier: Apache-2.0
"""Trains the Brevitas digits network: 8x8 pixels, 64-32-32-10, 4-bit pixels, weights and activations, float scales.

    python models/digits_brevitas/train.py --out DIR

Every choice of the recipe was made with ``--validate``, which trains on a part of the training data and scores the rest
of it; the held-out part is only read once, at the end, for the figures.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from toolchain import data_sets, training
from toolchain.errors import ToolchainError
from toolchain.frontends.brevitas import export_module

CLASS_NAMES = tuple(str(digit) for digit in range(10))
HIDDEN = 32
BITS = 4
EPOCHS = 60
BATCH = 64
LEARNING_RATE = 2e-2  # falls to 0 along a half cosine
LABEL_SMOOTHING = 0.1
HELD_OUT_FRACTION = 0.2
VALIDATION_FRACTION = 0.25  # of the training part, with --validate only
SPLIT_SEED = 20240101
SEED = 1
#: Real value of the highest of the 16 pixel levels. A little above 1, so that no pixel k/16 lies on or next to a tie
#: between two levels, where float32 division could decide either way.
PIXEL_MAXIMUM = 1.02


def load_data() -> tuple[np.ndarray, np.ndarray]:
    """Images of shape (1797, 64), pixels / 16 in [0, 1] as float32, and labels (1797,)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16.0).astype(np.float32).reshape(-1, 64), data.target.astype(np.int64)


def build_model() -> Any:
    """The untrained torch module. Its result is the logits."""
    import torch
    from brevitas.core.scaling import ScalingImplType
    from brevitas.inject.enum import RestrictValueType
    from brevitas.nn import QuantIdentity, QuantLinear, QuantReLU
    from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat, Int32Bias, Uint8ActPerTensorFloat

    class Digits(torch.nn.Module):
        """Pixels (samples, 64) in [0, 1] to logits (samples, 10)."""

        def __init__(self) -> None:
            super().__init__()
            self.quantise_pixels = QuantIdentity(
                act_quant=Uint8ActPerTensorFloat,
                bit_width=BITS,
                scaling_impl_type=ScalingImplType.CONST,
                restrict_scaling_type=RestrictValueType.FP,
                scaling_init=PIXEL_MAXIMUM,
            )
            # The first layer has one learned scale, the second one for each output, the last one again: the logits
            # need a common scale to be comparable as integers, and a bias on their own steps.
            self.dense_1 = QuantLinear(64, HIDDEN, True, weight_quant=Int8WeightPerTensorFloat, weight_bit_width=BITS)
            self.relu_1 = QuantReLU(bit_width=BITS)
            self.dense_2 = QuantLinear(
                HIDDEN, HIDDEN, True, weight_quant=Int8WeightPerChannelFloat, weight_bit_width=BITS
            )
            # The last layer's bias takes its scale from this result, so its type has to come along.
            self.relu_2 = QuantReLU(bit_width=BITS, return_quant_tensor=True)
            self.logits = QuantLinear(
                HIDDEN,
                len(CLASS_NAMES),
                True,
                weight_quant=Int8WeightPerTensorFloat,
                weight_bit_width=BITS,
                bias_quant=Int32Bias,
            )

        def forward(self, x: Any) -> Any:
            x = self.relu_1(self.dense_1(self.quantise_pixels(x)))
            return self.logits(self.relu_2(self.dense_2(x)))

    return Digits()


def fit(model: Any, images: np.ndarray, labels: np.ndarray, progress: training.Progress) -> None:
    """Train in place. images: (samples, 64) float32; labels: (samples,)."""
    import torch

    x, y = torch.tensor(images), torch.tensor(labels)
    steps = EPOCHS * -(-len(x) // BATCH)
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    model.train()
    for epoch in range(EPOCHS):
        losses = []
        order = torch.randperm(len(x))
        for start in range(0, len(x), BATCH):
            batch = order[start : start + BATCH]
            optimiser.zero_grad()
            loss = loss_of(model(x[batch]), y[batch])
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        progress(epoch + 1, EPOCHS, f"loss {np.mean(losses):.4f}")
    model.eval()


def logits_of(model: Any, images: np.ndarray) -> np.ndarray:
    """The module's own forward on (samples, 64) float32."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(images)).numpy()


def start_torch(seed: int) -> None:
    """Fix all random numbers. One thread: the layers are far too small for more to pay."""
    import torch

    # Brevitas 0.13 calls torch functions that torch 2.13 announces to retire; nothing a user can act on.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch|brevitas")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.set_num_threads(1)
    torch.manual_seed(seed)


def train(
    out: Path,
    seed: int = SEED,
    progress: training.Progress = training.no_progress,
    date: str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Train and write model.onnx, model.pt (tensors only), vectors.npz, metrics.json and provenance.json into `out`."""
    import torch

    training.require_folder(out)
    images, labels = load_data()
    split = data_sets.stratified_split(labels, HELD_OUT_FRACTION, SPLIT_SEED)
    start_torch(seed)
    model = build_model()
    fit(model, images[split.train], labels[split.train], progress)
    x, y_true = images[split.held_out], labels[split.held_out]
    logits = logits_of(model, x)
    torch.save(model.state_dict(), out / "model.pt")
    export_module(model, (64,), out / "model.onnx")
    training.write_vectors(out / "vectors.npz", x, y_true, logits)
    metrics = training.accuracy_metrics("brevitas", y_true, logits.argmax(axis=1), CLASS_NAMES)
    training.write_json(out / "metrics.json", metrics)
    training.copy_description(Path(__file__).parent, out)
    training.write_json(
        out / "provenance.json",
        {
            "data_set": "Optical Recognition of Handwritten Digits (UCI), the 1,797 test images that scikit-learn ships",
            "data_source": "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
            "data_licence": "CC BY 4.0",
            "date": date or training.creation_date(),
            "command": command,
            "seed": seed,
            "split": {
                "seed": SPLIT_SEED,
                "held_out_fraction": HELD_OUT_FRACTION,
                "stratified": True,
                "training_samples": len(split.train),
                "held_out_samples": len(split.held_out),
            },
            "recipe": {
                "epochs": EPOCHS,
                "batch": BATCH,
                "learning_rate": LEARNING_RATE,
                "label_smoothing": LABEL_SMOOTHING,
            },
            "versions": training.versions(("brevitas", "torch", "qonnx", "onnx", "scikit-learn", "numpy")),
        },
    )
    return metrics


def validate(seed: int = SEED, progress: training.Progress = training.no_progress) -> float:
    """Accuracy on a validation part of the training data, for choosing the recipe; never touches the held-out part."""
    images, labels = load_data()
    usable = data_sets.stratified_split(labels, HELD_OUT_FRACTION, SPLIT_SEED).train
    part = data_sets.stratified_split(labels[usable], VALIDATION_FRACTION, SPLIT_SEED)
    learn, check = usable[part.train], usable[part.held_out]
    start_torch(seed)
    model = build_model()
    fit(model, images[learn], labels[learn], progress)
    return float((logits_of(model, images[check]).argmax(axis=1) == labels[check]).mean())


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Folder for the results.")
@click.option("--seed", default=SEED, show_default=True, help="Of the initial weights and the order of the batches.")
@click.option("--date", default=None, help="Date for provenance.json (default: today, or SOURCE_DATE_EPOCH).")
@click.option("--validate", "validation", is_flag=True, help="Score the recipe on validation data; write nothing.")
def main(out: Path, seed: int, date: str | None, validation: bool) -> None:
    """Train the Brevitas digits network and write the model, its held-out vectors, metrics and provenance."""
    try:
        with training.progress_bar("digits (Brevitas)") as progress:
            if validation:
                accuracy = validate(seed, progress)
            else:
                command = f"python models/digits_brevitas/train.py --seed {seed}"
                accuracy = train(out, seed, progress, date, command)["accuracy"]
    except ToolchainError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    click.echo(f"accuracy on the {'validation' if validation else 'held-out'} part: {100 * accuracy:.2f} %")


if __name__ == "__main__":
    main()
