# SPDX-License-Identifier: Apache-2.0
"""Data sets that recipes under models/ learn from: files that the user names, and the usual downloaders.

A leaf, like `toolchain.training`. A library that downloads is imported by the function that uses it alone.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.errors import InputError, ToolchainError, ToolNotFound


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


@dataclass(frozen=True)
class DataSet:
    """A data set with its own held-out part: samples of shape (samples, *sample shape), labels (samples,) int64.

    The test part is for the figures at the end; nothing is learnt from it or chosen by it.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    def for_validation(self, fraction: float, seed: int) -> DataSet:
        """The training part alone, with a stratified `fraction` of it in the place of the test part."""
        part = stratified_split(self.y_train, fraction, seed)
        chosen = ((self.x_train[index], self.y_train[index]) for index in (part.train, part.held_out))
        return DataSet(*(array for pair in chosen for array in pair))


def read_data_set(path: Path, sample_shape: tuple[int, ...], classes: int) -> DataSet:
    """An .npz file with x_train, y_train, x_test and y_test, as Keras ships its data sets; nothing in it is run.

    Samples keep their element type. Labels may be of shape (samples,) or (samples, 1). Raises InputError for a file that does not
    hold these arrays, samples of another shape or that are not finite, or labels outside 0 to classes - 1.
    """
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise InputError(f"--data {path}: holds no array {missing[0]!r} (found {sorted(file)})")
            arrays = [file[name] for name in names]
    except FileNotFoundError:
        raise InputError(f"--data {path}: no such file") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"--data {path}: not a readable .npz file of plain arrays ({error})") from None
    for part in (0, 2):
        x, y = arrays[part], arrays[part + 1]
        if x.ndim != 1 + len(sample_shape) or x.shape[1:] != sample_shape or x.dtype.kind not in "fiu" or len(x) == 0:
            wanted = ", ".join(("samples", *map(str, sample_shape)))
            raise InputError(
                f"--data {path}: {names[part]} must hold numbers of shape ({wanted}), found {x.dtype} of shape {x.shape}"
            )
        if not np.isfinite(x).all():
            raise InputError(f"--data {path}: {names[part]} holds values that are not finite")
        if y.dtype.kind not in "iu" or y.shape not in ((len(x),), (len(x), 1)):
            raise InputError(
                f"--data {path}: {names[part + 1]} must hold {len(x)} integers, found {y.dtype} of shape {y.shape}"
            )
        if y.min() < 0 or y.max() >= classes:
            raise InputError(
                f"--data {path}: {names[part + 1]} must lie in 0 to {classes - 1}, found {y.min()} to {y.max()}"
            )
        arrays[part + 1] = y.reshape(-1).astype(np.int64)
    return DataSet(*arrays)


def keras_data_set(name: str, data: Path | None, sample_shape: tuple[int, ...], classes: int) -> DataSet:
    """`data` if it is given, else the data set that tf_keras.datasets calls `name`, which downloads it once.

    Raises InputError where the file does not fit or the download fails.
    """
    if data is not None:
        return read_data_set(data, sample_shape, classes)
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    try:
        (x_train, y_train), (x_test, y_test) = getattr(import_tf_keras().datasets, name).load_data()
    except ToolchainError:
        raise
    except Exception as error:  # Keras passes on whatever its download raises
        raise InputError(
            f"tf_keras.datasets.{name} cannot be downloaded ({str(error).strip().partition(chr(10))[0]}); name a copy with --data FILE.npz"
        ) from None
    return DataSet(x_train, y_train.reshape(-1).astype(np.int64), x_test, y_test.reshape(-1).astype(np.int64))


#: Who downloads a data set that no file gives: tf_keras.datasets, or scikit-learn from openml.org.
KERAS, OPENML = "keras", "openml"


@dataclass(frozen=True)
class OpenMlSet:
    """A data set of openml.org whose rows are pixels of 8 bits, the training part first.

    training_samples: of that part. held_out_counts: samples of each class in the rest, which tell whether the order is the known one.
    """

    name: str
    version: int
    training_samples: int
    held_out_counts: tuple[int, ...]


#: The data set that Keras calls 'mnist', in the same order.
OPENML_MNIST = OpenMlSet("mnist_784", 1, 60_000, (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009))


def openml_data_set(source: OpenMlSet, sample_shape: tuple[int, ...]) -> DataSet:
    """The data set as scikit-learn downloads it, once; samples are bytes of `sample_shape`, as Keras has them.

    Raises ToolNotFound without scikit-learn, InputError where the download fails or is not the data set that is known.
    """
    try:
        from sklearn.datasets import fetch_openml
    except ImportError as error:
        raise ToolNotFound(
            f"scikit-learn cannot be imported ({error}); install it with: pip install 'bitwright[models]'"
        ) from None

    named = f"data set {source.name!r} (version {source.version}) of openml.org"
    try:
        # Its other parser needs pandas.
        found = fetch_openml(source.name, version=source.version, as_frame=False, parser="liac-arff")
    except Exception as error:  # scikit-learn passes on whatever its download or its parser raises
        raise InputError(
            f"{named} cannot be downloaded ({str(error).strip().partition(chr(10))[0]}); name a copy with --data FILE.npz"
        ) from None
    x, y = np.asarray(found.data), np.asarray(found.target)
    pixels = x.astype(np.uint8) if x.dtype.kind == "f" and x.size and x.min() >= 0 and x.max() <= 255 else x[:0]
    labels = np.array([int(label) if str(label).isdecimal() else -1 for label in y.tolist()], np.int64)
    held_out = labels[source.training_samples :]
    if pixels.shape != (len(x), int(np.prod(sample_shape))) or (pixels != x).any():
        raise InputError(
            f"{named} must hold rows of {int(np.prod(sample_shape))} whole numbers of 0 to 255, found {x.dtype} of shape {x.shape}; "
            "name a copy with --data FILE.npz"
        )
    expected = np.repeat(np.arange(len(source.held_out_counts)), source.held_out_counts)
    if not np.array_equal(np.sort(held_out), expected) or labels.min() < 0 or labels.max() > expected[-1]:
        raise InputError(
            f"the rows of {named} behind the first {source.training_samples:,} are not its known held-out part, of "
            f"{', '.join(map(str, source.held_out_counts))} samples a class; name a copy with --data FILE.npz"
        )
    images = pixels.reshape(-1, *sample_shape)
    first = source.training_samples
    return DataSet(images[:first], labels[:first], images[first:], held_out)


def mnist(data: Path | None, download: str = KERAS) -> DataSet:
    """MNIST: bytes of shape (samples, 28, 28) and labels, from the file `data`, else by `download`, KERAS or OPENML."""
    if data is None and download == OPENML:
        return openml_data_set(OPENML_MNIST, (28, 28))
    return keras_data_set("mnist", data, (28, 28), 10)
