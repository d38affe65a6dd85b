# SPDX-License-Identifier: Apache-2.0
"""model.toml, vector files and the search for a model's files: what is accepted, and the whole message for what is not."""

from pathlib import Path

import numpy as np
import pytest

from toolchain.data_folders import MODELS
from toolchain.errors import InputError, UsageError
from toolchain.frontends import load_model, load_vectors, model_files, read_model_folder
from toolchain.frontends.model_folder import bundled_models, declared_range, locate
from toolchain.ir import GraphBuilder, Input, IntegerType, save_graph

COMPLETE = """
[model]
name = "toy"
framework = "qkeras"
file = "model.h5"
vectors = "v.npz"
description = "a model"
class_names = ["a", "b"]

[input]
minimum = -1
maximum = 1.5

[data]
source = "somewhere"
licence = "CC0"
"""


def write_toml(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_complete_model_toml(tmp_path: Path) -> None:
    folder = read_model_folder(write_toml(tmp_path, COMPLETE))
    assert folder.name == "toy"
    assert folder.framework == "qkeras"
    assert folder.file == tmp_path / "model.h5"
    assert folder.vectors == tmp_path / "v.npz"
    assert folder.class_names == ("a", "b")
    assert declared_range(folder) == (-1.0, 1.5)
    assert (folder.data_source, folder.data_licence) == ("somewhere", "CC0")


def test_the_least_model_toml(tmp_path: Path) -> None:
    folder = read_model_folder(write_toml(tmp_path, '[model]\nname="t"\nframework="x"\nfile="m.h5"\n'))
    assert (folder.vectors, folder.class_names, declared_range(folder)) == (None, (), None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "toy"\n', "", "[model] name is missing; it must be a text"),
        ('name = "toy"', "name = 3", "[model] name must be a non-empty text, found 3"),
        (
            'file = "model.h5"',
            'file = "/etc/passwd"',
            "[model] file must be a path inside the folder, found '/etc/passwd'",
        ),
        ('file = "model.h5"', 'file = "../m.h5"', "[model] file must be a path inside the folder, found '../m.h5'"),
        ('class_names = ["a", "b"]', "class_names = [1]", "[model] class_names must be a list of texts, found [1]"),
        ("minimum = -1\n", "", "[input] minimum must be a finite number, found nothing"),
        ("maximum = 1.5", "maximum = nan", "[input] maximum must be a finite number, found nan"),
        ("maximum = 1.5", "maximum = -1.0", "[input] minimum must be below maximum, found -1 and -1"),
        ("[data]", "[datum]", "unknown table [datum]; allowed: [model], [input], [data], [quantisation]"),
        (
            'description = "a model"',
            "descripton = 'a'",
            "unknown entry 'descripton' in [model]; allowed: class_names, description, file, framework, name, vectors",
        ),
    ],
)
def test_a_wrong_model_toml(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in COMPLETE
    write_toml(tmp_path, COMPLETE.replace(old, new))
    with pytest.raises(InputError) as caught:
        read_model_folder(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'model.toml'}: {message}"


def test_not_toml(tmp_path: Path) -> None:
    write_toml(tmp_path, "name = ")
    with pytest.raises(InputError, match=r"model\.toml: cannot be read as TOML: Invalid value"):
        read_model_folder(tmp_path)


def test_bundled_models_are_found_by_name_with_their_files() -> None:
    assert {"digits", "digits_brevitas"} <= set(bundled_models())
    for name in ("digits", "digits_brevitas"):
        file, folder = locate(name)
        assert folder is not None
        assert folder.name == name
        assert set(model_files(name)) == {file, MODELS / name / "model.toml"}
        assert folder.vectors is not None
        vectors = load_vectors(folder.vectors)
        assert vectors.y_true is not None
        assert len(vectors.x) >= 360
        assert declared_range(folder) == (0.0, 1.0)


def test_a_file_that_model_toml_names_uses_it_and_others_do_not(tmp_path: Path) -> None:
    write_toml(tmp_path, COMPLETE)
    for name in ("model.h5", "other.h5"):
        (tmp_path / name).write_bytes(b"")
    assert locate(tmp_path / "model.h5")[1] == read_model_folder(tmp_path)
    assert locate(tmp_path / "other.h5")[1] is None


def test_nothing_there(tmp_path: Path) -> None:
    known = ", ".join(bundled_models())
    with pytest.raises(InputError) as caught:
        load_model("no-such-model")
    assert str(caught.value) == f"no-such-model: no such file, folder or bundled model; bundled models: {known}"
    with pytest.raises(InputError) as caught:
        load_model(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: not a model folder; it holds neither model.toml nor saved_model.pb (a TensorFlow SavedModel)"
    )
    write_toml(tmp_path, COMPLETE)
    with pytest.raises(InputError) as caught:
        load_model(tmp_path)
    assert (
        str(caught.value) == f"{tmp_path / 'model.toml'}: [model] file 'model.h5' does not exist; train the model first"
    )


def test_not_a_model_file(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    with pytest.raises(InputError) as caught:
        load_model(file)
    assert str(caught.value) == (
        f"{file}: not a model file; allowed are .h5, .hdf5, .keras, .json, .onnx, .bitwright, a SavedModel folder or a folder with "
        "model.toml"
    )


def test_not_a_model_object() -> None:
    with pytest.raises(UsageError) as caught:
        load_model(object())
    assert str(caught.value) == (
        "cannot read a model from an object of class 'object'; give a path, a tf_keras model or a torch module of Brevitas layers"
    )


def test_a_graph_file_is_a_model_without_a_framework(tmp_path: Path) -> None:
    builder = GraphBuilder("toy graph")
    builder.output(builder.add(Input((3,), IntegerType(True, 4)), name="x"))
    graph = builder.build()
    file = save_graph(graph, tmp_path / "toy.bitwright")
    model = load_model(file)
    assert (model.name, model.graph, model.framework, model.files, model.run) == ("toy graph", graph, "", (file,), None)
    with pytest.raises(UsageError) as caught:
        load_model(file, input_type="int8")
    assert str(caught.value) == f"{file}: a graph file already says its input type; leave input_type out"


def test_vectors_round_trip(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).random((5, 2, 3)), np.arange(5)
    np.savez(tmp_path / "v.npz", x=x, y_true=y, other=np.zeros(1))
    vectors = load_vectors(tmp_path / "v.npz")
    assert vectors.y_true is not None
    assert (vectors.x == x).all()
    assert (vectors.y_true == y).all()
    np.savez(tmp_path / "x.npz", x=x)
    assert load_vectors(tmp_path / "x.npz").y_true is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"inputs": np.ones((2, 2))},
            "holds no array 'x' (found ['inputs']); save it with numpy.savez(path, x=inputs)",
        ),
        ({"x": np.array([["a"]])}, "'x' must hold numbers, found an array of <U1"),
        ({"x": np.ones(3)}, "'x' must have shape (samples, ...) with at least one sample, found (3,)"),
        ({"x": np.ones((0, 3))}, "'x' must have shape (samples, ...) with at least one sample, found (0, 3)"),
        ({"x": np.array([[0.0, 1.0], [2.0, np.nan]])}, "'x' holds nan in sample 1 at index [1]; all must be finite"),
        ({"x": np.array([[np.inf]])}, "'x' holds inf in sample 0 at index [0]; all must be finite"),
        (
            {"x": np.ones((2, 2)), "y_true": np.ones(2)},
            "'y_true' must be one axis of integers, found float64 of shape (2,)",
        ),
        ({"x": np.ones((2, 2)), "y_true": np.arange(3)}, "'x' has 2 samples and 'y_true' has 3; they must agree"),
    ],
)
def test_wrong_vectors(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    file = tmp_path / "v.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        load_vectors(file)
    assert str(caught.value) == f"{file}: {message}"


def test_missing_and_damaged_vectors(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_vectors(tmp_path / "none.npz")
    assert str(caught.value) == f"{tmp_path / 'none.npz'}: no such file"
    (tmp_path / "text.npz").write_text("1,2,3")
    with pytest.raises(InputError, match=r"not a readable \.npz file of plain arrays"):
        load_vectors(tmp_path / "text.npz")


class Bomb:
    """Would create a file if it were ever unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_pickled_vectors_are_refused_and_not_run(tmp_path: Path) -> None:
    target = tmp_path / "exploded"
    np.savez(tmp_path / "v.npz", x=np.array([[Bomb(target)]], dtype=object))
    target.unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"not a readable \.npz file of plain arrays"):
        load_vectors(tmp_path / "v.npz")
    assert not target.exists()


def test_a_graph_that_an_exporter_named_is_called_after_its_folder() -> None:
    pytest.importorskip("qonnx")
    assert load_model("digits_brevitas").graph.name == "digits_brevitas"
    assert load_model(MODELS / "digits_brevitas" / "model.onnx").graph.name == "digits_brevitas"


def test_files_of_torch_are_named(tmp_path: Path) -> None:
    file = tmp_path / "net.pt"
    file.write_bytes(b"PK")
    with pytest.raises(UsageError) as caught:
        load_model(file)
    assert str(caught.value) == (
        f"{file}: a PyTorch file holds weights, or code that would run when it is opened, and no graph. Of a Brevitas module give the "
        "export (brevitas.export.export_qonnx), or the module itself in Python: toolchain.load_model(module, input_shape=(...), "
        "weights='net.pt'). A plain float module is quantised first (bitwright quantise, toolchain.quantise)"
    )
