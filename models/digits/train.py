# SPDX-License-Identifier: Apache-2.0
"""Trains the QKeras digits network: 8x8 pixels, 64-32-32-10, 5-bit pixels, 6-bit weights and activations.

    python models/digits/train.py --out DIR

Every choice of the recipe (epochs, learning rate, smoothing, binary points) was made with ``--validate``, which trains on a
part of the training data and scores the rest of it; the held-out part is only read once, at the end, for the figures.
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

CLASS_NAMES = tuple(str(digit) for digit in range(10))
HIDDEN = (32, 32)
EPOCHS = 100
BATCH = 32
LEARNING_RATE = 2e-3  # falls to 0 along a half cosine
LABEL_SMOOTHING = 0.1
HELD_OUT_FRACTION = 0.2
VALIDATION_FRACTION = 0.25  # of the training part, with --validate only
SPLIT_SEED = 20240101
SEED = 1


def load_data() -> tuple[np.ndarray, np.ndarray]:
    """Images of shape (1797, 8, 8), pixels / 16 in [0, 1] as float32 (all on steps of 1/16), and labels (1797,)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16.0).astype(np.float32), data.target.astype(np.int64)


def build_model() -> Any:
    """The untrained tf_keras Sequential model; its last layer is softmax, its last but one gives the logits."""
    from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras

    qkeras, tf_keras = import_qkeras(), import_tf_keras()
    QActivation, QDense, quantized_bits = qkeras.QActivation, qkeras.QDense, qkeras.quantized_bits  # noqa: N806
    layers = tf_keras.layers
    # Unsigned, 5 bits, 4 of them fraction: steps of 1/16 up to 31/16, so every pixel of 0/16 to 16/16 is exact.
    stack = [layers.Input((64,), name="pixels"), QActivation("quantized_relu(5,1)", name="quantise_pixels")]
    for number, units in enumerate((*HIDDEN, len(CLASS_NAMES)), start=1):
        last = number > len(HIDDEN)
        stack.append(
            QDense(
                units,
                kernel_quantizer=quantized_bits(6, 1, alpha=1),
                bias_quantizer=quantized_bits(6, 1, alpha=1),
                name="logits" if last else f"dense_{number}",
            )
        )
        if not last:
            stack.append(QActivation("quantized_relu(6,2)", name=f"relu_{number}"))
    return tf_keras.Sequential([*stack, layers.Activation("softmax", name="softmax")], name="digits")


def fit(
    model: Any, images: np.ndarray, labels: np.ndarray, seed: int, progress: training.Progress, epochs: int = EPOCHS
) -> None:
    """Train in place. images: (samples, 8, 8); labels: (samples,)."""
    import tf_keras

    class Report(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            progress(epoch + 1, epochs, f"loss {(logs or {}).get('loss', float('nan')):.4f}")

    x = images.reshape(-1, 64)
    y = np.eye(len(CLASS_NAMES), dtype=np.float32)[labels]
    steps = epochs * -(-len(x) // BATCH)
    model.compile(
        tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)),
        tf_keras.losses.CategoricalCrossentropy(label_smoothing=LABEL_SMOOTHING),
    )
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[Report()])


def train(
    out: Path,
    seed: int = SEED,
    progress: training.Progress = training.no_progress,
    date: str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Train and write model.h5, vectors.npz, metrics.json and provenance.json into `out`; returns the metrics."""
    model = build_model()
    import tf_keras

    training.require_folder(out)
    images, labels = load_data()
    split = data_sets.stratified_split(labels, HELD_OUT_FRACTION, SPLIT_SEED)
    tf_keras.utils.set_random_seed(seed)
    model = build_model()  # again: the initial weights follow from the seed
    fit(model, images[split.train], labels[split.train], seed, progress)
    x, y_true = images[split.held_out].reshape(-1, 64), labels[split.held_out]
    logits = tf_keras.Model(model.input, model.get_layer("logits").output).predict(x, verbose=0)
    with warnings.catch_warnings():
        # Keras recommends its newer format; this one is what QKeras users have.
        warnings.simplefilter("ignore", UserWarning)
        model.save(out / "model.h5", include_optimizer=False)
    training.write_vectors(out / "vectors.npz", x, y_true, logits)
    metrics = training.accuracy_metrics("qkeras", y_true, logits.argmax(axis=1), CLASS_NAMES)
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
            "versions": training.versions(("qkeras", "tensorflow", "tf_keras", "scikit-learn", "numpy")),
        },
    )
    return metrics


def validate(seed: int = SEED, progress: training.Progress = training.no_progress) -> float:
    """Accuracy on a validation part of the training data, for choosing the recipe; never touches the held-out part."""
    build_model()
    import tf_keras

    images, labels = load_data()
    usable = data_sets.stratified_split(labels, HELD_OUT_FRACTION, SPLIT_SEED).train
    part = data_sets.stratified_split(labels[usable], VALIDATION_FRACTION, SPLIT_SEED)
    learn, check = usable[part.train], usable[part.held_out]
    tf_keras.utils.set_random_seed(seed)
    model = build_model()
    fit(model, images[learn], labels[learn], seed, progress)
    found = model.predict(images[check].reshape(-1, 64), verbose=0).argmax(axis=1)
    return float((found == labels[check]).mean())


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path(__file__).parent, help="Folder for the results.")
@click.option("--seed", default=SEED, show_default=True, help="Of the initial weights, the order of the batches.")
@click.option("--date", default=None, help="Date for provenance.json (default: today, or SOURCE_DATE_EPOCH).")
@click.option("--validate", "validation", is_flag=True, help="Score the recipe on validation data; write nothing.")
def main(out: Path, seed: int, date: str | None, validation: bool) -> None:
    """Train the QKeras digits network and write the model, its held-out vectors, metrics and provenance."""
    try:
        with training.progress_bar("digits (QKeras)") as progress:
            if validation:
                accuracy = validate(seed, progress)
            else:
                command = f"python models/digits/train.py --seed {seed}"
                accuracy = train(out, seed, progress, date, command)["accuracy"]
    except ToolchainError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)
    click.echo(f"accuracy on the {'validation' if validation else 'held-out'} part: {100 * accuracy:.2f} %")


if __name__ == "__main__":
    main()
