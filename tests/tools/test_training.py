# SPDX-License-Identifier: Apache-2.0
"""The training scripts of the bundled models: trained anew, each reaches its accuracy and leaves a model that builds read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from toolchain import training
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
    data = training.DataSet(np.arange(100.0), labels, np.full(9, -1.0), np.zeros(9, int))
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
    data = training.keras_data_set("cifar10", None, (2, 2), 10)
    assert data.y_train.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (data.x_test.shape, data.y_test.shape) == ((3, 2, 2), (3,))

    def fail() -> None:
        raise OSError("URL fetch failure\nmore of it")

    monkeypatch.setattr(source, "load_data", fail)
    message = "tf_keras.datasets.cifar10 cannot be downloaded (URL fetch failure); name a copy with --data FILE.npz"
    with pytest.raises(InputError) as caught:
        training.keras_data_set("cifar10", None, (2, 2), 10)
    assert str(caught.value) == message
