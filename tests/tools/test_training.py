# SPDX-License-Identifier: Apache-2.0
"""The training scripts of the bundled models: trained anew, each reaches its accuracy and leaves a model that builds read."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.tools.test_models import recipe
from toolchain import data_sets, training
from toolchain.errors import InputError
from toolchain.frontends import load_model, load_vectors
from toolchain.verify.framework import compare_framework

MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.full
@pytest.mark.parametrize("name", ["digits", "digits_brevitas"])
def test_training_reaches_its_accuracy_and_leaves_a_model_folder(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(MODELS / name / "train.py"), "--out", str(tmp_path / "model")]
    subprocess.run(command, check=True, capture_output=True, timeout=600)  # a script of this project
    metrics = json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert metrics["accuracy"] >= 0.96
    loaded = load_model(tmp_path / "model")
    assert loaded.folder is not None
    assert loaded.folder.vectors is not None
    vectors = load_vectors(loaded.folder.vectors)
    comparison = compare_framework(loaded, vectors.x)
    assert (comparison.vectors, comparison.differing_values) == (364, 0)


@pytest.mark.parametrize("name", ["digits", "digits_brevitas"])
def test_a_training_script_refuses_a_wrong_option(name: str) -> None:
    command = [sys.executable, str(MODELS / name / "train.py"), "--ouut", "x"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "--ouut" in result.stderr
    assert "Traceback" not in result.stderr


def test_images_are_moved_by_whole_pixels_and_nothing_is_lost_within() -> None:
    random = np.random.default_rng(1)
    images = random.random((200, 5, 4, 2)).astype(np.float32)
    moved = training.shift_images(images, np.random.default_rng(2), 1, (1, 2))
    assert moved.shape == images.shape
    seen = set()
    for before, after in zip(images, moved, strict=True):
        padded = np.pad(before, [(1, 1), (1, 1), (0, 0)])
        places = [(t, c) for t in range(3) for c in range(3) if np.array_equal(padded[t : t + 5, c : c + 4], after)]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 9
    channels_first = training.shift_images(images.transpose(0, 3, 1, 2), np.random.default_rng(2), 1, (2, 3))
    assert np.array_equal(channels_first.transpose(0, 2, 3, 1), moved)


def test_the_area_under_the_curve_counts_pairs() -> None:
    random = np.random.default_rng(3)
    score, positive = random.integers(0, 12, 60).astype(float), random.random(60) < 0.3
    pairs = [(p > n) + (p == n) / 2 for p in score[positive] for n in score[~positive]]
    assert training.area_under_curve(positive, score) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert training.area_under_curve(score > 6, score) == 1.0
    assert training.area_under_curve(score < 6, score) == 0.0


def test_validation_never_sees_the_test_part() -> None:
    labels = np.arange(100) % 4
    data = data_sets.DataSet(np.arange(100.0), labels, np.full(9, -1.0), np.zeros(9, int))
    inner = data.for_validation(0.25, seed=5)
    assert sorted([*inner.x_train, *inner.x_test]) == list(range(100))
    assert np.bincount(inner.y_test).tolist() == [7, 7, 7, 7]  # a quarter of 25, rounded up
    for x, y in ((inner.x_train, inner.y_train), (inner.x_test, inner.y_test)):
        assert np.array_equal(labels[x.astype(int)], y)


def test_a_description_names_the_vectors_that_lie_beside_it(tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe", tmp_path / "out"
    out.mkdir()
    recipe.mkdir()
    text = '[model]\nname = "n"\nfile = "model.h5"\ndescription = "d"\n'
    (recipe / "model.toml").write_text(text)
    training.copy_description(recipe, out)
    named = '[model]\nname = "n"\nfile = "model.h5"\nvectors = "vectors.npz"\ndescription = "d"\n'
    assert (out / "model.toml").read_text() == named
    (recipe / "model.toml").write_text(named)
    training.copy_description(recipe, out)
    assert (out / "model.toml").read_text() == named
    (recipe / "model.toml").write_text(text)
    training.copy_description(recipe, recipe)
    assert (recipe / "model.toml").read_text() == text


def test_a_data_set_that_keras_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    parts = [(np.full((count, 2, 2), count, np.uint8), np.arange(count)[:, None] % 10) for count in (12, 3)]
    source = import_tf_keras().datasets.cifar10
    monkeypatch.setattr(source, "load_data", lambda: tuple(parts))
    data = data_sets.keras_data_set("cifar10", None, (2, 2), 10)
    assert data.y_train.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (data.x_test.shape, data.y_test.shape) == ((3, 2, 2), (3,))

    def fail() -> None:
        raise OSError("URL fetch failure\nmore of it")

    monkeypatch.setattr(source, "load_data", fail)
    message = "tf_keras.datasets.cifar10 cannot be downloaded (URL fetch failure); name a copy with --data FILE.npz"
    with pytest.raises(InputError) as caught:
        data_sets.keras_data_set("cifar10", None, (2, 2), 10)
    assert str(caught.value) == message


def keep_openml_answers(folder: Path, name: str, x: np.ndarray, labels: list[str]) -> None:
    """What openml.org would answer about a data set, where scikit-learn keeps what it has downloaded."""
    pixels = [f"pixel{column}" for column in range(x.shape[1])]
    classes = ",".join(f"'{label}'" for label in sorted(set(labels)))
    lines = [f"@RELATION {name}", *(f"@ATTRIBUTE {pixel} NUMERIC" for pixel in pixels)]
    lines += [f"@ATTRIBUTE class {{{classes}}}", "@DATA"]
    lines += [",".join([*(f"{value:g}" for value in row), f"'{label}'"]) for row, label in zip(x, labels, strict=True)]
    arff = ("\n".join(lines) + "\n").encode()
    flags = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    features = [
        {"index": str(index), "name": pixel, "data_type": "numeric", "is_target": "false", **flags}
        for index, pixel in enumerate(pixels)
    ]
    features.append({"index": str(len(pixels)), "name": "class", "data_type": "nominal", "is_target": "true", **flags})
    description = {
        "id": "7",
        "name": name,
        "version": "1",
        "format": "ARFF",
        "status": "active",
        "description": "d",
        "url": f"https://api.openml.org/data/v1/download/7/{name}.arff",
        "md5_checksum": hashlib.md5(arff).hexdigest(),  # noqa: S324 (openml.org's own choice)
    }
    api = "api/v1/json/data"
    answers: dict[str, Any] = {
        f"{api}/list/data_name/{name}/limit/2/data_version/1": {"data": {"dataset": [{"did": 7}]}},
        f"{api}/7": {"data_set_description": description},
        f"{api}/features/7": {"data_features": {"feature": features}},
        f"{api}/qualities/7": {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(len(x))}]}},
    }
    contents = {path: json.dumps(answer).encode() for path, answer in answers.items()}
    for path, content in {**contents, f"data/v1/download/7/{name}.arff": arff}.items():
        kept = folder / "openml" / "openml.org" / f"{path}.gz"
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(gzip.compress(content))


#: Five samples to learn from; behind them one of class 0 and two of class 1.
TINY = data_sets.OpenMlSet("tiny_pixels", 1, 5, (1, 2))
TINY_LABELS = ["0", "1", "1", "0", "1", "1", "0", "1"]


def test_a_data_set_that_openml_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator
) -> None:
    """As scikit-learn reads it, from answers that lie in its folder: bytes as Keras has them, split where the data set is."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    x = random.integers(0, 256, (8, 6))
    x[0, :2] = 0, 255
    keep_openml_answers(tmp_path, TINY.name, x, TINY_LABELS)
    data = data_sets.openml_data_set(TINY, (2, 3))
    assert (data.x_train.dtype, data.y_train.dtype) == (np.uint8, np.int64)
    assert np.array_equal(data.x_train, x[:5].reshape(5, 2, 3))
    assert np.array_equal(data.x_test, x[5:].reshape(3, 2, 3))
    assert (data.y_train.tolist(), data.y_test.tolist()) == ([0, 1, 1, 0, 1], [1, 0, 1])


ORDER = (
    "the rows of data set 'tiny_pixels' (version 1) of openml.org behind the first 5 are not its known held-out part, of 1, 2 samples "
    "a class; name a copy with --data FILE.npz"
)
PIXELS = (
    "data set 'tiny_pixels' (version 1) of openml.org must hold rows of 6 whole numbers of 0 to 255, found float64 of shape {shape}; "
    "name a copy with --data FILE.npz"
)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.zeros((8, 6)), sorted(TINY_LABELS), ORDER),
        (np.zeros((9, 6)), [*TINY_LABELS, "1"], ORDER),
        (np.zeros((8, 6)), ["2", *TINY_LABELS[1:]], ORDER),
        (np.zeros((8, 6)), ["some", *TINY_LABELS[1:]], ORDER),
        (np.full((8, 6), 0.5), TINY_LABELS, PIXELS.format(shape=(8, 6))),
        (np.full((8, 6), 256), TINY_LABELS, PIXELS.format(shape=(8, 6))),
        (np.zeros((8, 5)), TINY_LABELS, PIXELS.format(shape=(8, 5))),
    ],
    ids=["another order", "one too many", "a third class", "no number", "halves", "too large", "another size"],
)
def test_a_data_set_of_openml_that_is_another_one(
    x: np.ndarray, labels: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    keep_openml_answers(tmp_path, TINY.name, x, labels)
    with pytest.raises(InputError) as caught:
        data_sets.openml_data_set(TINY, (2, 3))
    assert str(caught.value) == message


def test_openml_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.datasets

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host\nmore of it")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fail)
    with pytest.raises(InputError) as caught:
        data_sets.mnist(None, data_sets.OPENML)
    assert str(caught.value) == (
        "data set 'mnist_784' (version 1) of openml.org cannot be downloaded (no route to host); name a copy with --data FILE.npz"
    )


def test_the_known_held_out_part_is_that_of_mnist() -> None:
    file = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist.npz"
    if not file.is_file():
        pytest.skip("needs data: mnist.npz in shared/data beside the repository")
    data = data_sets.mnist(file, data_sets.OPENML)
    assert len(data.x_train) == data_sets.OPENML_MNIST.training_samples
    assert tuple(np.bincount(data.y_test)) == data_sets.OPENML_MNIST.held_out_counts


def test_where_the_data_came_from_is_recorded() -> None:
    run = training.Run(Path("out"), None, seed=3)
    openml = replace(run, download=data_sets.OPENML)
    file = replace(openml, data=Path("folder/mnist.npz"))
    commands = [given.command("mnist_cnn").partition("train.py")[2] for given in (run, openml, file)]
    assert commands == [" --seed 3", " --download openml --seed 3", " --data mnist.npz --seed 3"]
    sources = [training.mnist_provenance(given)["data_source"] for given in (run, openml, file)]
    assert sources[1] == "https://www.openml.org/d/554"
    assert sources[0] == sources[2] == "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"


@pytest.mark.parametrize("name", ["mnist_cnn", "mnist_cnn_brevitas"])
def test_the_option_reaches_the_download(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[Path | None, str]] = []

    def mnist(data: Path | None, download: str) -> data_sets.DataSet:
        asked.append((data, download))
        raise InputError("asked")

    monkeypatch.setattr(data_sets, "mnist", mnist)
    for arguments in ([], ["--download", "openml"], ["--download", "openml", "--validate"], ["--data", "x.npz"]):
        result = CliRunner().invoke(recipe(name).main, [*arguments, "--out", str(tmp_path)])
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "error: asked")
    assert asked == [(None, "keras"), (None, "openml"), (None, "openml"), (Path("x.npz"), "keras")]
    result = CliRunner().invoke(recipe(name).main, ["--download", "elsewhere"])
    assert result.exit_code == 2
    assert "'elsewhere' is not one of 'keras', 'openml'" in result.stderr


def test_a_recipe_without_a_choice_has_no_such_option() -> None:
    assert "--download" not in CliRunner().invoke(recipe("image_resnet8").main, ["--help"]).output
