# SPDX-License-Identifier: Apache-2.0
"""What every training recipe under models/ shares: data, split, progress bar, training loops and the files that a recipe leaves.

A leaf: recipes import it, nothing else in the toolchain does. A framework is imported by the functions that train with it alone.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from toolchain import data_sets
from toolchain.errors import ToolchainError, UsageError

#: Called after every epoch with (epochs done, epochs in all, short status such as a loss).
Progress = Callable[[int, int, str], None]


def no_progress(done: int, total: int, status: str) -> None:
    """A `Progress` that shows nothing."""


@contextmanager
def progress_bar(description: str) -> Iterator[Progress]:
    """A `Progress` drawn by rich on standard error, so that standard output stays for results."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=None, status="")
        yield lambda done, total, status: bar.update(task, completed=done, total=total, status=status)


def confusion_matrix(y_true: np.ndarray, y_found: np.ndarray, classes: int) -> np.ndarray:
    """Counts of shape (classes, classes): row = true class, column = class found."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (y_true, y_found), 1)
    return matrix


def creation_date() -> str:
    """Today in UTC, or the date of SOURCE_DATE_EPOCH where that is set, as YYYY-MM-DD."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch else datetime.datetime.now(datetime.UTC)
    return moment.date().isoformat()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions of distributions, for provenance (a local part such as '+cpu' left out)."""
    return {name: importlib.metadata.version(name).partition("+")[0] for name in packages}


def require_folder(out: Path) -> Path:
    """Create the output folder. Raises UsageError where that cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be used as a folder ({error.strerror}); name a folder") from None
    return out


def write_vectors(path: Path, x: np.ndarray, y_true: np.ndarray | None, y_framework: np.ndarray) -> None:
    """Held-out vectors: x (samples, ...) float32, y_true (samples,) int64, y_framework (samples, outputs) float32.

    y_true: None for a network whose outputs are no classes.
    """
    arrays = {"x": x.astype(np.float32), "y_framework": y_framework.astype(np.float32)}
    if y_true is not None:
        arrays["y_true"] = y_true.astype(np.int64)
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def copy_description(recipe: Path, out: Path) -> None:
    """Put the recipe's model.toml beside the trained model, so that `out` is a model folder of its own, with its vectors.

    The recipe's own folder names no vectors where the data set's licence or size keeps them out of it.
    """
    if out.resolve() == recipe.resolve():
        return
    lines = (recipe / "model.toml").read_text(encoding="utf-8").splitlines(keepends=True)
    if not any(line.startswith("vectors = ") for line in lines):
        position = next(number for number, line in enumerate(lines) if line.startswith("file = "))
        lines.insert(position + 1, 'vectors = "vectors.npz"\n')
    (out / "model.toml").write_text("".join(lines), encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Indented JSON with a final newline, keys in the order given."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def accuracy_metrics(
    framework: str, y_true: np.ndarray, y_found: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """The content of metrics.json: accuracy (a fraction of 1) and confusion matrix on the held-out part."""
    return {
        "framework": framework,
        "held_out_samples": len(y_true),
        "accuracy": float((y_true == y_found).mean()),
        "class_names": list(class_names),
        "confusion_matrix_rows_true_columns_found": confusion_matrix(y_true, y_found, len(class_names)).tolist(),
    }


def mnist_provenance(run: Run) -> dict[str, str]:
    """Of what `mnist` gives, for provenance.json."""
    keras = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
    return {
        "data_set": "MNIST handwritten digits (LeCun, Cortes, Burges)",
        "data_source": "https://www.openml.org/d/554"
        if run.data is None and run.download == data_sets.OPENML
        else keras,
        "data_licence": "CC BY-SA 3.0",
    }


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: Adam, with a learning rate that falls to 0 along a half cosine over all batches."""

    epochs: int
    batch: int
    learning_rate: float
    label_smoothing: float = 0.0


#: Called with each batch of samples before it is learnt from; returns it changed at random, in the same shape.
Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def shift_images(images: np.ndarray, random: np.random.Generator, largest: int, axes: tuple[int, int]) -> np.ndarray:
    """Each image moved by up to `largest` pixels along both axes of height and width, with zeros where nothing was.

    images: (samples, ...); axes: of height and width, counted with the axis of samples.
    """
    moved = np.moveaxis(images, axes, (1, 2))
    height, width = moved.shape[1:3]
    border = [(0, 0), (largest, largest), (largest, largest), *[(0, 0)] * (moved.ndim - 3)]
    padded = np.pad(moved, border)
    tops, lefts = random.integers(0, 2 * largest + 1, (2, len(images)))
    rows = tops[:, None] + np.arange(height)
    columns = lefts[:, None] + np.arange(width)
    shifted = padded[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(np.moveaxis(shifted, (1, 2), axes))


def _batches(
    x: np.ndarray, y: np.ndarray, batch: int, random: np.random.Generator, augment: Augment | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All samples once, in random order; the last batch may be smaller."""
    order = random.permutation(len(x))
    for start in range(0, len(x), batch):
        chosen = order[start : start + batch]
        yield x[chosen] if augment is None else augment(x[chosen], random), y[chosen]


def start_keras(seed: int) -> None:
    """Fix all random numbers of NumPy, Python and TensorFlow. Build the model after this: its weights follow from the seed."""
    from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras

    import_qkeras()
    import_tf_keras().utils.set_random_seed(seed)


def fit_keras(
    model: Any,
    x: np.ndarray,
    y: np.ndarray,
    loss: Any,
    recipe: Recipe,
    seed: int,
    progress: Progress = no_progress,
    augment: Augment | None = None,
) -> None:
    """Train a tf_keras model in place. x: (samples, *sample shape) float32; y: what `loss` (a tf_keras loss) takes as the truth."""
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    optimizers = import_tf_keras().optimizers
    steps = recipe.epochs * -(-len(x) // recipe.batch)
    model.compile(optimizers.Adam(optimizers.schedules.CosineDecay(recipe.learning_rate, steps)), loss)
    random = np.random.default_rng(seed)
    for epoch in range(recipe.epochs):
        total = 0.0
        for part, truth in _batches(x, y, recipe.batch, random, augment):
            total += len(part) * float(model.train_on_batch(part, truth))
        progress(epoch + 1, recipe.epochs, f"loss {total / len(x):.4f}")


def save_keras(model: Any, path: Path) -> None:
    """The model as .h5 without its optimiser's state."""
    with warnings.catch_warnings():
        # Keras recommends its newer format; this one is what QKeras users have.
        warnings.simplefilter("ignore", UserWarning)
        model.save(path, include_optimizer=False)


def start_torch(seed: int) -> None:
    """Fix all random numbers of torch. One thread, so that sums do not depend on how many processors there are."""
    import torch

    # Brevitas 0.13 calls torch functions that torch 2.13 announces to retire; nothing a user can act on.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch|brevitas")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.set_num_threads(1)
    torch.manual_seed(seed)


def fit_torch(
    model: Any,
    x: np.ndarray,
    y: np.ndarray,
    recipe: Recipe,
    seed: int,
    progress: Progress = no_progress,
    augment: Augment | None = None,
) -> None:
    """Train a torch classifier in place; it is left in evaluation mode. x: (samples, *sample shape) float32; y: (samples,)."""
    import torch

    optimiser = torch.optim.Adam(model.parameters(), recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs * -(-len(x) // recipe.batch))
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    random = np.random.default_rng(seed)
    model.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        for part, truth in _batches(x, y, recipe.batch, random, augment):
            optimiser.zero_grad()
            loss = loss_of(model(torch.from_numpy(part)), torch.from_numpy(truth))
            loss.backward()
            optimiser.step()
            schedule.step()
            total += len(part) * loss.item()
        progress(epoch + 1, recipe.epochs, f"loss {total / len(x):.4f}")
    model.eval()


def torch_outputs(model: Any, x: np.ndarray, batch: int = 500) -> np.ndarray:
    """The module's own forward on (samples, *sample shape) float32, `batch` samples at a time."""
    import torch

    with torch.no_grad():
        parts = [model(torch.from_numpy(x[start : start + batch])).numpy() for start in range(0, len(x), batch)]
    return np.concatenate(parts)


def area_under_curve(is_positive: np.ndarray, score: np.ndarray) -> float:
    """Area under the receiver operating characteristic: how likely a positive sample scores above a negative one (ties: half).

    is_positive: booleans (samples,), of both kinds; score: (samples,). By the Mann-Whitney statistic, from the scores' mean ranks.
    """
    _, position, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[position]
    positives = int(is_positive.sum())
    wins = float(ranks[is_positive].sum()) - positives * (positives + 1) / 2
    return wins / (positives * (len(score) - positives))


@dataclass(frozen=True)
class Run:
    """What the user asked of a training script.

    data: the file named, or None. epochs: instead of the recipe's own number, or None. date: for provenance, or None for today's.
    download: who fetches the data set where no file is named, `data_sets.KERAS` or `data_sets.OPENML`.
    """

    out: Path
    data: Path | None
    seed: int
    epochs: int | None = None
    date: str | None = None
    download: str = data_sets.KERAS

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with the user's number of epochs."""
        return recipe if self.epochs is None else replace(recipe, epochs=self.epochs)

    def command(self, name: str) -> str:
        """The command that does the same again; of the data file only its name, since folders differ between machines."""
        data = f" --download {self.download}" if self.download != data_sets.KERAS else ""
        data = f" --data {self.data.name}" if self.data is not None else data
        epochs = f" --epochs {self.epochs}" if self.epochs is not None else ""
        return f"python models/{name}/train.py{data} --seed {self.seed}{epochs}"


def write_provenance(
    run: Run, name: str, recipe: Recipe, data: Mapping[str, Any], split: Mapping[str, Any], packages: Sequence[str]
) -> None:
    """provenance.json in `run.out`. data: origin and licence; split: sizes and seeds; packages: distributions that took part."""
    written = {"date": run.date or creation_date(), "command": run.command(name), "seed": run.seed}
    content = {**data, **written, "split": dict(split), "recipe": asdict(recipe), "versions": versions(packages)}
    write_json(run.out / "provenance.json", content)


def recipe_command(
    title: str,
    folder: Path,
    seed: int,
    train: Callable[[Run, Progress], str],
    validate: Callable[[Run, Progress], str] | None = None,
    *,
    data: str,
    needs_data: bool = False,
    downloads: Sequence[str] = (),
) -> click.Command:
    """The command line of a training script. Both functions return a line for standard output.

    folder: the recipe's own, where results go unless the user names another. seed: the default. validate: trains and scores without the
    held-out part and writes nothing; None where nothing was chosen. data: help for --data. needs_data: whether there is no other source.
    downloads: who can fetch the data set, the default first, where there is a choice.
    """

    def main(validation: bool = False, **given: Any) -> None:
        run = Run(**given)
        try:
            if run.epochs is not None and run.epochs < 1:
                raise UsageError(f"--epochs must be at least 1, found {run.epochs}")
            with progress_bar(title) as progress:
                line = validate(run, progress) if validation and validate is not None else train(run, progress)
        except ToolchainError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_status)
        click.echo(line)

    path = click.Path(path_type=Path)
    options = [
        click.Option(["--out"], type=path, default=folder, help="Folder for the results."),
        click.Option(["--data"], type=path, required=needs_data, help=data),
        click.Option(["--seed"], default=seed, show_default=True, help="Of initial weights and order of the batches."),
        click.Option(["--epochs"], type=int, help="Instead of the recipe's own number."),
        click.Option(["--date"], help="Date for provenance.json (default: today, or SOURCE_DATE_EPOCH)."),
    ]
    if downloads:
        explanation = (
            "Who downloads the data set where --data names no file: tf_keras.datasets, or scikit-learn from openml.org."
        )
        choice = click.Choice(list(downloads))
        options.append(
            click.Option(["--download"], type=choice, default=downloads[0], show_default=True, help=explanation)
        )
    if validate is not None:
        explanation = "Score the recipe on validation data; write nothing."
        options.append(click.Option(["--validate", "validation"], is_flag=True, help=explanation))
    return click.Command(
        title, callback=main, params=list(options), help=f"Train {title} and write the model and what belongs to it."
    )
