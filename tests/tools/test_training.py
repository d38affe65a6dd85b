# SPDX-License-Identifier: Apache-2.0
"""The training scripts of the bundled models: trained anew, each reaches its accuracy and leaves a model that builds read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert (comparison.vectors, comparison.mismatches) == (364, 0)


@pytest.mark.parametrize("name", ["digits", "digits_brevitas"])
def test_a_training_script_refuses_a_wrong_option(name: str) -> None:
    command = [sys.executable, str(MODELS / name / "train.py"), "--ouut", "x"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2
    assert "--ouut" in result.stderr
    assert "Traceback" not in result.stderr
