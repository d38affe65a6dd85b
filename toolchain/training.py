# SPDX-License-Identifier: Apache-2.0
"""What every training recipe under models/ shares: the split, the progress bar, and the files that a recipe leaves.

A leaf without a framework: recipes import it, nothing else in the toolchain does.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UsageError

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


@dataclass(frozen=True)
class Split:
    """Indices of a data set: `train` to learn from, `held_out` never used for learning or for any choice."""

    train: np.ndarray
    held_out: np.ndarray


def stratified_split(labels: np.ndarray, held_out_fraction: float, seed: int) -> Split:
    """Split so that every class gives the same fraction (rounded up) to the held-out part.

    labels: integers of shape (samples,). Fixed by `seed` and NumPy's PCG64 generator alone, which is stable across
    NumPy versions (a requirement that a generator seeded through the legacy interface does not meet for permutations).
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    held_out = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        # Sorting by random keys: the keys come straight from the bit stream, so no shuffling algorithm is involved.
        order = members[np.argsort(generator.integers(0, 1 << 62, len(members)), kind="stable")]
        held_out.append(order[: -(-len(members) * round(held_out_fraction * 1000) // 1000)])
    chosen = np.sort(np.concatenate(held_out))
    return Split(np.setdiff1d(np.arange(len(labels)), chosen), chosen)


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


def write_vectors(path: Path, x: np.ndarray, y_true: np.ndarray, y_framework: np.ndarray) -> None:
    """Held-out vectors: x (samples, ...) float32, y_true (samples,) int64, y_framework (samples, outputs) float32."""
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            x=x.astype(np.float32),
            y_true=y_true.astype(np.int64),
            y_framework=y_framework.astype(np.float32),
        )


def copy_description(recipe: Path, out: Path) -> None:
    """Put the recipe's model.toml beside the trained model, so that `out` is a model folder of its own."""
    if out.resolve() != recipe.resolve():
        shutil.copyfile(recipe / "model.toml", out / "model.toml")


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
