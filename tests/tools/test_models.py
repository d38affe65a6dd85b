# SPDX-License-Identifier: Apache-2.0
"""The networks under models/: the committed ones load and have the accuracy that they state, and every recipe runs on small data."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from toolchain import training
from toolchain.data_folders import MODELS
from toolchain.frontends import LoadedModel, load_model, load_vectors
from toolchain.ir import ArgMax, Graph, interpret, quantise_input, real_inputs
from toolchain.pipeline.graph_stage import predictions
from toolchain.verify.framework import compare_framework
from toolchain.verify.vectors import random_vectors

#: Data sets lie in the folder `shared` beside this repository, if they are there.
_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Small:
    """A recipe, with a data set of random numbers that it can be tried on: of which shape, kind and number of classes."""

    name: str
    shape: tuple[int, ...]
    classes: int
    pixels: bool = True

    def write(self, path: Path, random: np.random.Generator, samples: int = 20) -> Path:
        arrays: dict[str, np.ndarray] = {}
        for part in ("train", "test"):
            size = (samples, *self.shape)
            x = random.integers(0, 256, size) if self.pixels else random.normal(-3, 2, size)
            arrays[f"x_{part}"] = x.astype(np.uint8 if self.pixels else np.float32)
            arrays[f"y_{part}"] = np.arange(samples) % self.classes
        np.savez(path, **arrays)  # type: ignore[arg-type]
        return path


SMALL = [
    Small("mnist_cnn", (28, 28), 10),
    Small("mnist_cnn_brevitas", (28, 28), 10),
    Small("keyword_dscnn", (49, 10), 10, pixels=False),
    Small("image_resnet8", (32, 32, 3), 10),
    Small("anomaly_autoencoder", (640,), 2, pixels=False),
]
UNTRAINED = ("anomaly_autoencoder", "image_resnet8")
#: Committed models, with the file of their data set and the least accuracy that they are there for.
TRAINED = [
    ("mnist_cnn", "mnist.npz", 0.985),
    ("mnist_cnn_brevitas", "mnist.npz", 0.985),
    ("keyword_dscnn", "fsdd_mfcc_49x10.npz", 0.97),
]


def recipe(name: str) -> ModuleType:
    """models/<name>/train.py as a module."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", MODELS / name / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def random_inputs(graph: Graph, count: int) -> np.ndarray:
    """Real inputs on the steps of the graph's input, corners first."""
    return real_inputs(graph.inputs[0], random_vectors(graph, count, seed=1)).astype(np.float32)


def require_equal(model: LoadedModel, x: np.ndarray) -> None:
    """Rung 1 on `x`: no difference, or none but decisions of float32 that are reproduced one by one."""
    comparison = compare_framework(model, x)
    assert comparison.vectors == len(x)
    assert comparison.first_mismatch is None, comparison


# ---- committed models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, _, _ in TRAINED])
def test_a_committed_model_computes_what_its_framework_does(name: str) -> None:
    model = load_model(name)
    assert model.quantises_input
    assert model.graph.outputs[0].scale == (model.graph.outputs[0].scale[0],)
    assert set(model.graph.outputs[0].offset) == {0}
    require_equal(model, random_inputs(model.graph, 600))


@pytest.mark.parametrize(("name", "file", "least"), TRAINED)
def test_a_committed_model_has_the_accuracy_that_it_states(name: str, file: str, least: float) -> None:
    if not (_DATA / file).is_file():
        pytest.skip(f"needs data: {file} in {_DATA.parent.name}/{_DATA.name} beside the repository")
    module, model = recipe(name), load_model(name)
    data = module.load_data(_DATA / file)
    if name == "keyword_dscnn":
        data, normalise = module.normalised(data)
        provenance = json.loads((MODELS / name / "provenance.json").read_text())
        assert normalise.mean.tolist() == provenance["feature_mean"]
        assert normalise.deviation.tolist() == provenance["feature_standard_deviation"]
    integers = quantise_input(model.graph.inputs[0], data.x_test).integers
    found = predictions(model.graph, interpret(model.graph, integers)[model.graph.outputs[0].tensor])
    metrics = json.loads((MODELS / name / "metrics.json").read_text())
    assert metrics == training.accuracy_metrics(metrics["framework"], data.y_test, found, module.CLASS_NAMES)
    assert metrics["accuracy"] >= least
    require_equal(model, data.x_test[:500])


@pytest.mark.full
@pytest.mark.parametrize("name", ["mnist_cnn_brevitas", "keyword_dscnn"])
def test_the_committed_tensors_are_those_of_the_committed_graph(name: str) -> None:
    """model.pt, loaded into the class of train.py, gives the same integer graph as model.onnx."""
    module = recipe(name)
    given = load_model(module.build_model(), input_shape=module.INPUT_SHAPE, weights=MODELS / name / "model.pt").graph
    committed = load_model(name).graph
    assert [node.operation.kind for node in given.nodes] == [node.operation.kind for node in committed.nodes]
    for mine, theirs in zip(given.nodes, committed.nodes, strict=True):
        for field in ("weights", "thresholds"):
            if hasattr(mine.operation, field):
                assert (getattr(mine.operation, field) == getattr(theirs.operation, field)).all()


@pytest.mark.full
def test_a_network_trained_anew_reaches_its_accuracy(tmp_path: Path) -> None:
    name, file, least = TRAINED[-1]
    if not (_DATA / file).is_file():
        pytest.skip(f"needs data: {file} in {_DATA.parent.name}/{_DATA.name} beside the repository")
    recipe(name).train(training.Run(tmp_path, _DATA / file, seed=2))
    assert json.loads((tmp_path / "metrics.json").read_text())["accuracy"] >= least
    require_equal(load_model(tmp_path), load_vectors(tmp_path / "vectors.npz").x)


@pytest.mark.parametrize("name", [small.name for small in SMALL])
def test_the_files_of_a_folder_are_small_and_no_data_set_is_among_them(name: str) -> None:
    sizes = {path.name: path.stat().st_size for path in (MODELS / name).iterdir() if path.is_file()}
    ignored = (MODELS / name / ".gitignore").read_text().split()
    kept = {file: size for file, size in sizes.items() if f"/{file}" not in ignored}
    assert "/vectors.npz" in ignored
    assert {"train.py", "model.toml", "README.md"} <= set(kept)
    assert ("metrics.json" in kept) == (name not in UNTRAINED)
    assert max(kept.values()) < 300_000


# ---- recipes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "small",
    [pytest.param(s, marks=[pytest.mark.full] if s.name == "image_resnet8" else [], id=s.name) for s in SMALL],
)
def test_a_recipe_runs_and_leaves_a_model_folder(small: Small, tmp_path: Path, random: np.random.Generator) -> None:
    """One epoch on random numbers, through the command line: what it leaves loads, states what it was and equals its framework."""
    data, out = small.write(tmp_path / "data.npz", random), tmp_path / "model"
    arguments = ["--data", str(data), "--out", str(out), "--epochs", "1", "--date", "2026-01-02"]
    result = CliRunner().invoke(recipe(small.name).main, arguments)
    assert result.exit_code == 0, result.output
    assert "on the held-out part: " in result.output
    model = load_model(out)
    assert model.folder is not None
    assert model.folder.vectors == out / "vectors.npz"
    vectors = load_vectors(out / "vectors.npz")
    assert len(vectors.x) == 20
    assert (vectors.y_true is None) == (small.name == "anomaly_autoencoder")
    require_equal(model, vectors.x)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["held_out_samples"] == 20
    provenance: dict[str, Any] = json.loads((out / "provenance.json").read_text())
    assert provenance["date"] == "2026-01-02"
    assert provenance["command"] == f"python models/{small.name}/train.py --data data.npz --seed 1 --epochs 1"
    assert provenance["recipe"]["epochs"] == 1
    assert str(tmp_path) not in json.dumps(provenance)


def test_validation_writes_nothing(tmp_path: Path, random: np.random.Generator) -> None:
    (small,) = (small for small in SMALL if small.name == "keyword_dscnn")
    data, out = small.write(tmp_path / "data.npz", random, samples=40), tmp_path / "model"
    arguments = ["--data", str(data), "--out", str(out), "--epochs", "1", "--validate"]
    result = CliRunner().invoke(recipe("keyword_dscnn").main, arguments)
    assert result.exit_code == 0, result.output
    assert "accuracy on the validation part: " in result.output
    assert not out.exists()


def scrambled(model: Any, random: np.random.Generator) -> Any:
    """A Keras model whose biases and moving statistics are not what they start as, so that each of them counts."""
    for weight in model.weights:
        kind = weight.name.rpartition("/")[2].partition(":")[0]
        if kind in ("moving_mean", "bias", "beta"):
            weight.assign(random.normal(0, 0.2, weight.shape))
        elif kind in ("moving_variance", "gamma"):
            weight.assign(random.uniform(0.3, 1.5, weight.shape))
    return model


@pytest.mark.parametrize("name", UNTRAINED)
def test_an_untrained_network_is_exact(name: str, random: np.random.Generator) -> None:
    """500 vectors through random weights: every sum fits float32, so that framework and graph have to agree in every bit."""
    model = load_model(scrambled(recipe(name).build_model(), random))
    x = random_inputs(model.graph, 500)
    comparison = compare_framework(model, x)
    assert (comparison.vectors, comparison.differing_values, comparison.remark) == (500, 0, "")
    outputs = interpret(model.graph, quantise_input(model.graph.inputs[0], x).integers)[model.graph.outputs[0].tensor]
    assert len(np.unique(outputs.reshape(500, -1), axis=0)) > 400  # not a network that is dead or saturated throughout


def test_the_branches_of_the_residual_network_meet_in_one_scale() -> None:
    graph = load_model(recipe("image_resnet8").build_model()).graph
    additions = [node for node in graph.nodes if node.operation.kind == "add"]
    assert len(additions) == 3
    for node in additions:
        fractions = {graph.types[name].element.fraction for name in node.inputs}
        assert fractions == {4}
    assert not any(isinstance(node.operation, ArgMax) for node in graph.nodes)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mnist_cnn", {"x_test": None}, "holds no array 'x_test' (found ['x_train', 'y_test', 'y_train'])"),
        (
            "mnist_cnn",
            {"x_train": np.zeros((20, 28, 27))},
            "x_train must hold numbers of shape (samples, 28, 28), found float64 of shape (20, 28, 27)",
        ),
        ("keyword_dscnn", {"x_test": np.full((20, 49, 10), np.nan)}, "x_test holds values that are not finite"),
        ("image_resnet8", {"y_train": np.zeros(20)}, "y_train must hold 20 integers, found float64 of shape (20,)"),
        ("image_resnet8", {"y_test": np.arange(20)}, "y_test must lie in 0 to 9, found 0 to 19"),
        (
            "anomaly_autoencoder",
            {"y_train": np.ones(20, int)},
            "y_train names no normal sample (0); the network learns from those alone",
        ),
        (
            "anomaly_autoencoder",
            {"y_test": np.zeros(20, int)},
            "y_test must name both normal (0) and anomalous (1) samples",
        ),
    ],
)
def test_data_that_does_not_fit(
    name: str, change: dict[str, Any], message: str, tmp_path: Path, random: np.random.Generator
) -> None:
    (small,) = (small for small in SMALL if small.name == name)
    data = small.write(tmp_path / "data.npz", random)
    with np.load(data) as file:
        arrays = {**file, **change}
    np.savez(data, **{key: array for key, array in arrays.items() if array is not None})
    result = CliRunner().invoke(recipe(name).main, ["--data", str(data), "--out", str(tmp_path / "model")])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"error: --data {data}: {message}"
    assert not (tmp_path / "model" / "model.h5").exists()


def test_data_that_is_no_data(tmp_path: Path) -> None:
    main = recipe("keyword_dscnn").main
    file = tmp_path / "data.npz"
    result = CliRunner().invoke(main, ["--data", str(file)])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, f"error: --data {file}: no such file")
    file.write_bytes(b"something else")
    result = CliRunner().invoke(main, ["--data", str(file)])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(
        f"error: --data {file}: not a readable .npz file of plain arrays ("
    )
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Missing option '--data'" in result.stderr
    result = CliRunner().invoke(main, ["--data", str(file), "--epochs", "0"])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "error: --epochs must be at least 1, found 0")
