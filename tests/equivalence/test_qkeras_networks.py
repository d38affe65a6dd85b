# SPDX-License-Identifier: Apache-2.0
"""Whole QKeras networks: branches, models in models, shared layers, several inputs and outputs, every file format, refusals."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.equivalence.qkeras_bench import (
    assert_same,
    bits,
    dense,
    half_steps,
    inputs_of,
    keras,
    layers,
    qkeras,
    quantised,
    randomised,
    refusal,
    relu,
    sequential,
    weighted,
)
from tests.reference_models import reference_model
from toolchain.errors import InputError, UnsupportedModel, UsageError
from toolchain.frontends import LoadedModel, load_model
from toolchain.ir import Conv, Dense, interpret, quantise_input, real_values
from toolchain.pipeline.evaluation import evaluate
from toolchain.pipeline.request import make_request
from toolchain.verify.framework import compare_framework


def residual() -> Any:
    """Two branches of different widths that meet, strides, a pooling, a mean over everything."""
    x = layers.Input((8, 8, 3), name="x")
    q = quantised(bits(6, 2))(x)
    a = weighted("Conv2D", 4, 3, padding="same", name="a")(q)
    b = quantised(relu(4, 3), "act")(a)
    c = weighted("DepthwiseConv2D", 3, padding="same", name="depth")(b)
    total = layers.Add(name="sum")([a, c])
    y = quantised(relu(5, 3), "again")(total)
    y = layers.MaxPooling2D(2, name="pool")(y)
    y = layers.Concatenate(name="join")([y, weighted("Conv2D", 2, 2, strides=2, name="side")(b)])
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    return randomised(keras.Model(x, dense(3, name="last")(quantised(bits(8, 3), "mean_q")(y)), name="residual"))


def nested() -> Any:
    """A Sequential and a functional model as layers, the functional one twice and with a model of its own inside."""
    block = keras.Sequential(
        [layers.Input((6, 6, 2)), weighted("Conv2D", 3, 3, name="conv"), quantised(relu(4, 2), "act")], name="block"
    )
    start = layers.Input((4, 4, 3), name="start")
    deeper = keras.Sequential([layers.Input((4, 4, 3)), weighted("Conv2D", 3, 1, name="point")], name="deeper")
    inner = keras.Model(
        start, layers.Add(name="plus")([start, quantised(bits(5, 2), "q")(deeper(start))]), name="inner"
    )
    x = layers.Input((6, 6, 2), name="x")
    y = block(quantised(bits(5, 1), "q0")(x))
    y = inner(inner(y))
    return randomised(keras.Model(x, dense(2, name="out")(layers.Flatten()(y)), name="nested"))


def several_ends() -> Any:
    """Two inputs of different shapes and quantisers, a layer that both go through, three outputs."""
    x, y = layers.Input((5,), name="x"), layers.Input((3, 5), name="y")
    shared = dense(4, name="shared")
    a = shared(quantised(bits(6, 2), "qx")(x))
    b = shared(quantised(relu(5, 2), "qy")(y))
    first = layers.Multiply(name="gate")([b, layers.Reshape((1, 4))(quantised(bits(4, 1), "qa")(a))])
    last = layers.Softmax(name="probabilities")(dense(3, name="head")(quantised(bits(5, 3), "qb")(a)))
    return randomised(keras.Model([x, y], [first, last, a], name="ends"))


def test_residual() -> None:
    model = residual()
    loaded = assert_same(model)
    assert compare_framework(loaded, inputs_of(model)).differing_values == 0


def test_models_in_models() -> None:
    loaded = assert_same(nested())
    sources = [(node.name, node.source) for node in loaded.graph.nodes if isinstance(node.operation, Conv)]
    assert sources == [
        ("block/conv", "'block/conv' (QConv2D)"),
        ("inner/deeper/point", "'inner/deeper/point' (QConv2D)"),
        ("inner/deeper/point_2", "'inner/deeper/point' (QConv2D)"),
    ]


def test_several_inputs_and_outputs() -> None:
    model = several_ends()
    loaded = assert_same(model)
    graph = loaded.graph
    assert [node.name for node in graph.inputs] == ["x", "y"]
    assert [(output.name, output.host_function) for output in graph.outputs] == [
        ("gate", ""),
        ("probabilities", "softmax"),
        ("shared", ""),
    ]
    assert len([node for node in graph.nodes if isinstance(node.operation, Dense)]) == 3
    x = inputs_of(model)
    assert compare_framework(loaded, x).differing_values == 0
    assert loaded.run is not None
    with pytest.raises(InputError, match=r"the model has inputs \['x', 'y'\]: give one array for each, by name"):
        loaded.run(x["x"])
    with pytest.raises(InputError, match=r"the model has inputs \['x', 'y'\], found \['x', 'z'\]"):
        loaded.run({"x": x["x"], "z": x["y"]})


def test_declared_types_of_several_inputs() -> None:
    """Named types: the model's own quantisers are steps of the graph then, and the values between them on the declared steps."""

    def types(loaded: LoadedModel) -> dict[str, str]:
        return {node.name: str(loaded.graph.types[node.name].element) for node in loaded.graph.inputs}

    model = several_ends()
    loaded = assert_same(model, input_type=["x=fixed<10,4>", "y=fixed<9,5>"])
    assert types(loaded) == {"x": "fixed<10,4>", "y": "fixed<9,5>"}
    own = load_model(model)
    # A type without a name is for inputs that the model does not quantise itself, and here it does both.
    plain = assert_same(model, input_type="fixed<10,4>")
    assert plain.graph.digest == own.graph.digest
    assert plain.quantises_input
    mixed = assert_same(model, input_type=["fixed<16,4>", "y=fixed<9,5>"])
    assert types(mixed) == {"x": types(own)["x"], "y": "fixed<9,5>"}


def one_of_two_quantised() -> Any:
    """Input `raw` goes into a layer as it is, behind a reshape; `own` has a quantiser."""
    raw, own = layers.Input((2, 3), name="raw"), layers.Input((4,), name="own")
    a = dense(4, name="a")(layers.Reshape((6,), name="flat")(raw))
    total = layers.Add(name="sum")([quantised(bits(6, 2), "qa")(a), quantised(bits(6, 2), "qo")(own)])
    return randomised(keras.Model([raw, own], dense(3, name="head")(total), name="mixed"))


def test_a_type_for_the_input_that_needs_one() -> None:
    model = one_of_two_quantised()
    with pytest.raises(UsageError, match="--input-type on the command line; raw=TYPE where there are several inputs"):
        load_model(model)
    plain = assert_same(model, input_type="fixed<8,4>")
    assert {node.name: str(plain.graph.types[node.name].element) for node in plain.graph.inputs} == {
        "raw": "fixed<8,4>",
        "own": "fixed<6,3>",
    }
    assert load_model(model, input_type="raw=fixed<8,4>").graph.digest == plain.graph.digest
    with pytest.raises(UsageError) as caught:
        load_model(model, input_type=["fixed<8,4>", "side=uint8"])
    assert str(caught.value) == (
        "model 'mixed': has no input 'side', for which an input type is named; its inputs: 'raw', 'own'"
    )


def test_one_input_that_is_quantised_twice() -> None:
    x = layers.Input((4,), name="x")
    same = [dense(2, name=f"d{i}")(quantised(bits(5, 2), f"q{i}")(x)) for i in range(2)]
    loaded = assert_same(randomised(keras.Model(x, same)))
    assert len(loaded.graph.inputs) == 1
    other = [dense(2, name=f"e{i}")(quantised(bits(5 + i, 2), f"p{i}")(x)) for i in range(2)]
    model = randomised(keras.Model(x, other, name="twice"))
    assert "is quantised in two different ways; give its type (--input-type)" in refusal(model)
    assert_same(model, half_steps((40, 4), 2.0**-5, 3.5), input_type="fixed<9,3>")


def test_a_sigmoid_that_goes_on() -> None:
    """A gate: the sigmoid's values, quantised, times the others."""
    x = layers.Input((4,), name="x")
    q = quantised(bits(4, 1))(x)
    gate = quantised(relu(5, 0), "gq")(dense(3, activation="sigmoid", name="gate")(q))
    assert_same(randomised(keras.Model(x, layers.Multiply()([gate, dense(3, name="value")(q)]))))
    both = dense(3, activation="sigmoid", name="both")(q)
    model = randomised(keras.Model(x, [both, quantised(relu(5, 0), "then")(both)], name="net"))
    assert refusal(model) == (
        "layer 'both' (QDense): 'sigmoid' is an output and goes on into other layers; supported is one of them"
    )


def test_mobilenet_blocks_of_qkeras() -> None:
    """QKeras's own helper makes a depthwise and a pointwise layer with an activation in between."""
    x = layers.Input((7, 7, 3), name="x")
    y = qkeras.QMobileNetSeparableConv2D(
        5, (3, 3), padding="same", depthwise_activation="quantized_relu(4,2)", activation=quantised(relu(4, 3), "end"),
        depthwise_quantizer=bits(4, 1), pointwise_quantizer=bits(4, 1), bias_quantizer=bits(5, 1), name="m",
    )(quantised(bits(4, 1))(x))  # fmt: skip
    assert_same(randomised(keras.Model(x, y)))


# ---- files -------------------------------------------------------------------------------------------------------------
def everything() -> Any:
    """All kinds of configuration entries in one model."""
    import tensorflow

    x, side = layers.Input((8, 8, 2), name="x"), layers.Input((3,), name="side")
    q = qkeras.QActivation("quantized_bits(6,2,alpha=1)", name="q")(x)
    y = weighted(
        "SeparableConv2D", 4, (3, 2), padding="same", kernel=lambda: qkeras.quantized_bits(4, 0), activation=bits(6, 3), name="s"
    )(q)  # fmt: skip
    y = layers.BatchNormalization(name="bn")(y)
    y = quantised(relu(4, 2, negative_slope=0.25), "r")(layers.ZeroPadding2D(((1, 0), (0, 1)))(y))
    y = weighted("Conv2DBatchnorm", 3, 3, strides=(2, 2), name="folded")(y)
    y = qkeras.QAdaptiveActivation(
        "quantized_relu", 5, current_step=tensorflow.Variable(7, dtype=tensorflow.int64), name="ada"
    )(y)
    y = qkeras.QAveragePooling2D((2, 2), average_quantizer=bits(4, 0), activation=bits(5, 2), name="avg")(y)
    block = keras.Sequential(
        [layers.Input((2, 2, 3)), layers.Cropping2D(((0, 1), (1, 0))), layers.Flatten()], name="cut"
    )
    y = quantised(bits(5, 2), "r2")(block(y))
    scale = np.array([0.5, 0.75, 2.0], np.float32)
    y = dense(3, kernel=lambda: bits(4, 0, alpha=scale), bias="quantized_bits(6,2,alpha=1)", name="d")(y)
    y = layers.Average(name="mean")([y, quantised(bits(6, 2), "qs")(side)])
    norm = qkeras.QBatchNormalization(name="qbn")
    outputs = [layers.Softmax(name="soft")(y), quantised(bits(6, 2), "o")(norm(quantised(bits(6, 2), "o2")(y)))]
    model = randomised(keras.Model([x, side], outputs, name="everything"))
    model.get_layer("ada").ema_max.assign([5.0])
    return model


def saved(model: Any, kind: str, folder: Path) -> Path:
    if kind == "json":
        (folder / "m.json").write_text(model.to_json())
        model.save_weights(folder / "m_weights.h5")
        return folder / "m.json"
    path = folder / {"h5": "m.h5", "keras": "m.keras", "saved_model": "saved"}[kind]
    model.save(path, **({"save_format": "tf"} if kind == "saved_model" else {}))
    return path


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {make.__name__: make() for make in (everything, nested, several_ends)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, kind) for name in ("everything", "nested", "several_ends") for kind in ("h5", "keras", "json")),
        ("everything", "saved_model"),
        pytest.param("nested", "saved_model", marks=pytest.mark.full),
        pytest.param("several_ends", "saved_model", marks=pytest.mark.full),
    ],
)
def test_every_file_format_gives_the_same_graph(models: dict[str, Any], name: str, kind: str, tmp_path: Path) -> None:
    model = models[name]
    expected = load_model(model).graph
    path = saved(model, kind, tmp_path)
    loaded = load_model(path)
    assert loaded.graph.digest == expected.digest
    assert path in loaded.files or path.is_dir()
    if kind == "h5":
        assert compare_framework(loaded, inputs_of(model, samples=20)).differing_values == 0


def test_weights_from_another_file(tmp_path: Path) -> None:
    """A checkpoint for a saved model, and an architecture whose weights are elsewhere; in both of Keras's formats."""
    inside = keras.Sequential([layers.Input((4,)), dense(3, name="d")], name="inside")
    model = sequential((4,), quantised(), inside, layers.BatchNormalization(name="n"), name="net")
    model.save(tmp_path / "first.h5")
    (tmp_path / "plain.json").write_text(model.to_json())
    randomised(model, seed=9)
    expected = load_model(model).graph.digest
    model.save_weights(tmp_path / "later.h5")
    model.save_weights(tmp_path / "newer.weights.h5")
    model.save(tmp_path / "whole.keras")
    assert load_model(tmp_path / "first.h5").graph.digest != expected
    for weights in ("later.h5", "newer.weights.h5", "whole.keras"):
        for architecture in ("first.h5", "plain.json"):
            loaded = load_model(tmp_path / architecture, weights=tmp_path / weights)
            assert loaded.graph.digest == expected
            assert loaded.files == (tmp_path / architecture, tmp_path / weights)
    np.savez(tmp_path / "v.npz", x=half_steps((9, 4), 0.25, 3.0))
    named = {"vectors": tmp_path / "v.npz", "weights": tmp_path / "later.h5"}
    assert evaluate(tmp_path / "plain.json", **named)["graph_digest"] == expected
    request = make_request(tmp_path / "plain.json", out=tmp_path / "build", until="graph", **named)
    assert (request.files[1:], request.weights) == ((tmp_path / "later.h5",), tmp_path / "later.h5")
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "plain.json")
    assert str(caught.value) == (
        f"{tmp_path / 'plain.json'}: describes a model without its weights; put them beside it as plain_weights.h5 or "
        "plain.weights.h5, or name their file (--weights)"
    )
    with pytest.raises(InputError, match=r"none\.h5: no such file"):
        load_model(tmp_path / "plain.json", weights=tmp_path / "none.h5")
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"weights \(--weights\) belongs to Keras files and to a framework's object"):
        load_model(tmp_path / "m.onnx", weights=tmp_path / "later.h5")


def test_the_reference_network() -> None:
    """Published weights, loaded from its architecture and weight files: every recorded value before the softmax."""
    folder = reference_model("keras_qkeras_3layer")
    loaded = load_model(folder / "qkeras_3layer.json", input_type="fixed<16,6>")
    assert [path.name for path in loaded.files] == ["qkeras_3layer.json", "qkeras_3layer_weights.h5"]
    assert loaded.graph.metadata["framework_sums_exact"] == "yes"
    assert loaded.graph.outputs[0].host_function == "softmax"
    with np.load(folder / "ref.npz") as reference:
        x, before_softmax = reference["x"], reference["y_prelast"]
    assert compare_framework(loaded, x).differing_values == 0
    output = loaded.graph.outputs[0]
    integers = interpret(loaded.graph, quantise_input(loaded.graph.inputs[0], x).integers)[output.tensor]
    found = real_values(output, loaded.graph.types[output.tensor].element, integers)
    assert found.shape == (100, 5)
    assert (found == before_softmax).all()


def test_one_network_through_two_frontends() -> None:
    """The jet tagger as QKeras trained it and as its QONNX export: the same types at both ends, equal integers."""
    pytest.importorskip("qonnx")
    trained, exported = reference_model("keras_qkeras_3layer"), reference_model("qonnx_jettag_w6a6")
    models = [
        load_model(trained / "qkeras_3layer.json", input_type="fixed<16,6>"),
        load_model(exported / "qkeras_jettagging.onnx", input_type="fixed<16,6>"),
    ]
    # What both recorded, and values all over the input's range.
    random = np.random.default_rng(11)
    x = [random.integers(-(1 << bits), 1 << bits, (2000, 16)) / 1024 for bits in (15, 12)]
    for folder in (trained, exported):
        with np.load(folder / "ref.npz") as stored:
            x.append(stored["x"])
    ends, found = [], []
    for model in models:
        (source,), (output,) = model.graph.inputs, model.graph.outputs
        types = [str(model.graph.types[name].element) for name in (source.name, output.tensor)]
        ends.append((types, output.scale, output.offset, output.host_function))
        integers = quantise_input(source, np.concatenate(x)).integers
        found.append(interpret(model.graph, integers)[output.tensor].reshape(-1, 5))
    assert ends[0] == ends[1]
    assert found[0].shape == (4200, 5)
    assert np.array_equal(*found)
    assert len(np.unique(found[0])) > 1000


# ---- files that are refused --------------------------------------------------------------------------------------------
def changed(path: Path, old: str, new: str, target: Path) -> Path:
    """A copy of a .keras file with its description edited."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for member in source.namelist():
            content = source.read(member)
            if member == "config.json":
                assert old in content.decode()
                content = content.decode().replace(old, new).encode()
            copy.writestr(member, content)
    return target


def test_a_model_that_asks_for_more_weights_than_its_file_holds(tmp_path: Path) -> None:
    """It would take 64 GB: building it stops before."""
    model = sequential((4,), quantised(), dense(7, name="d"), dense(3, name="e"))
    path = saved(model, "keras", tmp_path)
    huge = changed(path, '"units": 7', '"units": 1000000', tmp_path / "huge.keras")
    huge = changed(huge, '"units": 3', '"units": 16000', tmp_path / "huger.keras")
    with pytest.raises(InputError) as caught:
        load_model(huge)
    assert str(caught.value) == f"{huge}: describes more weights than {huge} holds"


def test_weights_that_expand_to_too_much_or_are_elsewhere(tmp_path: Path) -> None:
    import h5py

    model = sequential((4,), quantised(), dense(7, name="d"))
    path = saved(model, "h5", tmp_path)
    bomb = tmp_path / "bomb.h5"
    shutil.copy(path, bomb)
    with h5py.File(bomb, "a") as file:
        file.create_dataset("model_weights/d/more", shape=(1 << 33,), dtype="f4", chunks=(1 << 20,), compression="gzip")
    with pytest.raises(InputError, match=r"bomb\.h5: its weights cannot be read \(ValueError: it holds more than the "):
        load_model(bomb)
    link = tmp_path / "link.h5"
    shutil.copy(path, link)
    with h5py.File(link, "a") as file:
        file["model_weights/d/outside"] = h5py.ExternalLink(str(path), "/model_weights/d")
    with pytest.raises(InputError, match=r"link\.h5: its weights cannot be read \(ValueError: 'outside' is a link to "):
        load_model(link)
    external = tmp_path / "external.h5"
    shutil.copy(path, external)
    with h5py.File(external, "a") as file:
        file.create_dataset("model_weights/d/e", (4,), "f4", external=[("/etc/hostname", 0, 16)])
    with pytest.raises(
        InputError, match=r"external\.h5: its weights cannot be read \(ValueError: 'e' is stored in another"
    ):
        load_model(external)


@pytest.mark.parametrize("kind", ["h5", "keras", "json"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files(kind: str, share: float, tmp_path: Path) -> None:
    path = saved(sequential((4,), quantised(), dense(7, name="d")), kind, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"m\.(h5|keras|json): "):
        load_model(path)


def test_damaged_weights(tmp_path: Path) -> None:
    """Any byte of the file: a message or a model, never another error."""
    path = saved(sequential((4,), quantised(), dense(3, name="d")), "h5", tmp_path)
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 20):
            damaged[position] = int(random.integers(256))
        path.write_bytes(damaged)
        try:
            load_model(path)
        except (InputError, UnsupportedModel):
            continue


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(sequential((4,), quantised(), dense(7, name="d")), "saved_model", tmp_path_factory.mktemp("whole"))


DATA, INDEX, METADATA = "variables/variables.data-00000-of-00001", "variables/variables.index", "keras_metadata.pb"


def test_a_saved_model_without_its_layers(saved_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved_model, tmp_path / "sm"))
    (folder / METADATA).unlink()
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert str(caught.value) == (
        f"{folder}: a TensorFlow SavedModel without keras_metadata.pb, so it holds what was traced and not the model's layers and "
        "quantisers (tf.saved_model.save and the export of Keras 3 write such a folder); save the model by tf_keras, "
        "model.save('model.h5') or model.save('folder', save_format='tf')"
    )


@pytest.mark.parametrize("part", [DATA, INDEX, METADATA])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_truncated_saved_models(saved_model: Path, part: str, share: float, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved_model, tmp_path / "sm"))
    content = (folder / part).read_bytes()
    (folder / part).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError) as caught:
        load_model(folder)
    told = str(caught.value)
    if part == METADATA:
        assert told.startswith(f"{folder}: not a Keras model file (ValueError: ")
    else:
        assert told.startswith(f"{folder}: its weights cannot be read, variables/variables.* is damaged (")
        assert told.endswith("); save the model again")


@pytest.mark.parametrize("part", [DATA, INDEX, METADATA])
def test_damaged_saved_models(saved_model: Path, part: str, tmp_path: Path) -> None:
    """Any bytes of the file: a message, or the same model where the bytes do not count; never another error."""
    whole = load_model(saved_model)
    folder = Path(shutil.copytree(saved_model, tmp_path / "sm"))
    content, random, refused = (folder / part).read_bytes(), np.random.default_rng(1), 0
    for _ in range(8):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 10):
            damaged[position] = int(random.integers(256))
        (folder / part).write_bytes(damaged)
        try:
            loaded = load_model(folder)
        except (InputError, UnsupportedModel):
            refused += 1
            continue
        # The weights have check sums.
        assert part == METADATA or loaded.graph.digest == whole.graph.digest
    assert refused > 4


def test_folders_as_weights(saved_model: Path, tmp_path: Path) -> None:
    path = saved(sequential((4,), quantised(), dense(7, name="d")), "h5", tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    half = Path(shutil.copytree(saved_model, tmp_path / "half"))
    (half / INDEX).unlink()
    for folder in (empty, half):
        with pytest.raises(InputError) as caught:
            load_model(path, weights=folder)
        assert str(caught.value) == (
            f"{folder}: a folder without weights: a SavedModel folder keeps them in variables/variables.index and "
            "variables/variables.data-*; give such a folder, or an .h5 or .keras file"
        )
    assert load_model(path, weights=saved_model).graph.nodes


def test_files_of_several_gigabytes(saved_model: Path, tmp_path: Path) -> None:
    """Each limit says so, before anything of that size is read: the files are sparse, or only claim the size."""
    import h5py

    beyond = (4 << 30) + 1
    folder = Path(shutil.copytree(saved_model, tmp_path / "sm"))
    os.truncate(folder / DATA, beyond)
    assert input_refusal(folder) == (
        f"{folder}: its weights cannot be read (ValueError: it holds 4294967297 bytes of weights, more than the 4294967296 allowed)"
    )
    os.truncate(folder / METADATA, (64 << 20) + 1)
    described = "not a Keras model file (ValueError: its description takes more than 67108864 bytes)"
    assert input_refusal(folder) == f"{folder}: {described}"
    text = saved(sequential((4,), quantised(), dense(7, name="d")), "json", tmp_path)
    os.truncate(text, (64 << 20) + 1)
    assert input_refusal(text) == f"{text}: {described}"

    archive = saved(sequential((4,), quantised(), dense(7, name="d")), "keras", tmp_path)
    for member, told in (
        ("model.weights.h5", "its weights cannot be read (ValueError: it expands to 4294967297 bytes of weights, more than the 4294967296 allowed)"),
        ("config.json", described),
    ):  # fmt: skip
        claiming = tmp_path / f"{member}.keras"
        with zipfile.ZipFile(archive) as source, zipfile.ZipFile(claiming, "w") as copy:
            for name in source.namelist():
                copy.writestr(name, source.read(name))
            copy.getinfo(member).file_size = beyond  # the directory at the end is written from this
        assert input_refusal(claiming) == f"{claiming}: {told}"

    weights = saved(sequential((4,), quantised(), dense(7, name="d")), "h5", tmp_path)
    with h5py.File(weights, "a") as file:
        file.create_dataset("model_weights/d/huge", (1 << 30, 1), "f4")  # takes no space until it is written
        assert weights.stat().st_size < 1 << 20
    assert input_refusal(weights) == (
        f"{weights}: its weights cannot be read (ValueError: it holds more than the 4294967296 bytes of weights that are allowed)"
    )


def input_refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["keras", "h5", "json"])
def test_files_of_keras_3_are_named(kind: str, tmp_path: Path) -> None:
    path = saved(sequential((4,), quantised(), dense(7, name="d")), kind, tmp_path)
    if kind == "h5":
        import h5py

        with h5py.File(path, "a") as file:
            file.attrs["keras_version"] = "3.4.1"
    elif kind == "json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "keras_version": "3.4.1"}))
    else:
        other = tmp_path / "three.keras"
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as copy:
            for member in source.namelist():
                content = source.read(member)
                copy.writestr(member, content if member != "metadata.json" else b'{"keras_version": "3.4.1"}')
        path = other
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert str(caught.value) == (
        f"{path}: saved by Keras 3.4.1; QKeras 0.9.0 works with Keras 2 (tf_keras), and what Keras 3 ports of QKeras compute "
        "differs. Build the model with tf_keras and QKeras, load its weights and save it again"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"class_name": "QDenseBatchnorm"},
            "layer 'd' (QDenseBatchnorm): qkeras 0.9.0, which is installed, has no layer of this class, so what it computes is not "
            "known; use QDense and a QBatchNormalization behind it; supported are Activation, ",
        ),
        (
            {"class_name": "QMobileBlock"},
            "layer 'd' (QMobileBlock): qkeras 0.9.0, which is installed, has no layer of this class, so what it computes is not known; "
            "supported are Activation, ",
        ),
        (
            {"kernel_quantizer": {"class_name": "quantized_linear", "config": {"bits": 4}}},
            "layer 'd' (QDense): kernel_quantizer is 'quantized_linear', which qkeras 0.9.0, the installed one, does not have, so what "
            "it computes is not known (quantized_bits is what it has instead); supported are the quantisers binary, ",
        ),
        (
            {"kernel_quantizer": "quantized_linear(4,0)"},
            "layer 'd' (QDense): kernel_quantizer is 'quantized_linear(4,0)', which qkeras 0.9.0, the installed one, does not have, so "
            "what it computes is not known (quantized_bits is what it has instead); supported are the quantisers binary, ",
        ),
        (
            {"activation": "quantized_softsign(4)"},
            "layer 'd' (QDense): activation is 'quantized_softsign(4)', which qkeras 0.9.0, the installed one, does not have, so what it "
            "computes is not known; supported are the quantisers binary, ",
        ),
    ],
)
def test_what_the_installed_version_does_not_have(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Layers and quantisers of other versions of QKeras."""
    path = saved(sequential((4,), quantised(), dense(7, name="d")), "json", tmp_path)
    description = json.loads(path.read_text())
    layer = description["config"]["layers"][-1]
    layer["class_name"] = settings.pop("class_name", "QDense")
    layer["registered_name"] = layer["class_name"]
    layer["config"].update(settings)
    path.write_text(json.dumps(description))
    with pytest.raises(UnsupportedModel) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: {message}")


# ---- models that are refused -------------------------------------------------------------------------------------------
class Doubling(keras.layers.Layer):  # type: ignore[misc, name-defined]
    def call(self, x: Any) -> Any:
        return x * 2


class OwnCall(keras.Model):  # type: ignore[misc, name-defined]
    def call(self, x: Any) -> Any:
        return x


LAYER_REFUSALS: dict[str, tuple[Any, str]] = {
    "float": (lambda: layers.Conv2D(2, 3, name="c"), "layer 'c' (Conv2D): its weights are not quantised; use QConv2D with a quantiser for each of its weights"),
    "channels_first": (lambda: layers.MaxPooling2D(2, data_format="channels_first", name="p"), "layer 'p' (MaxPooling2D): data_format is 'channels_first'; supported is 'channels_last'"),
    "channels_first_conv": (lambda: weighted("Conv2D", 2, 3, data_format="channels_first", name="c"), "layer 'c' (QConv2D): data_format is 'channels_first'; supported is 'channels_last'"),
    "bilinear": (lambda: layers.UpSampling2D(2, interpolation="bilinear", name="u"), "layer 'u' (UpSampling2D): interpolation is 'bilinear'; supported is 'nearest'"),
    "batch_norm_axis": (lambda: layers.BatchNormalization(axis=1, name="b"), "layer 'b' (BatchNormalization): axis is [1]; supported is the last one"),
    "softmax_axis": (lambda: layers.Softmax(axis=1, name="s"), "layer 's' (Softmax): axis is 1; supported is the last one"),
    "no_bias_quantiser": (lambda: qkeras.QConv2D(2, 3, kernel_quantizer=bits(4, 0), name="c"), "layer 'c' (QConv2D): bias_quantizer is None, so its bias is not quantised; give it a quantiser, for example bias_quantizer=quantized_bits(6, 0, alpha=1)"),
    "no_pointwise_quantiser": (lambda: qkeras.QSeparableConv2D(2, 3, depthwise_quantizer=bits(4, 0), use_bias=False, name="c"), "layer 'c' (QSeparableConv2D): pointwise_quantizer is None, so its pointwise is not quantised; give it a quantiser, for example pointwise_quantizer=quantized_bits(6, 0, alpha=1)"),
    "leaky": (lambda: layers.LeakyReLU(-0.5, name="l"), "layer 'l' (LeakyReLU): alpha is -0.5; supported are 0 and positive slopes"),
    "auto_on_activations": (lambda: qkeras.QAveragePooling2D(2, activation=qkeras.quantized_bits(4, 0, alpha="auto"), name="p"), "layer 'p' (QAveragePooling2D): activation: quantized_bits with alpha = 'auto'; supported is a number or None on activations (a scale computed from the data is not fixed)"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(LAYER_REFUSALS))
def test_layers_that_are_refused(name: str) -> None:
    make, message = LAYER_REFUSALS[name]
    x = layers.Input((6, 6, 3), name="x")
    assert refusal(keras.Model(x, make()(quantised()(x)))) == message
    # The same inside another model, with its path.
    start = layers.Input((6, 6, 3))
    inner = keras.Model(start, make()(start), name="block")
    layer = message.split("'")[1]
    assert refusal(keras.Model(x, inner(quantised()(x)))) == message.replace(f"'{layer}'", f"'block/{layer}'", 1)


def test_unknown_layers_calls_and_models() -> None:
    x = layers.Input((4,), name="x")
    q = quantised()(x)
    assert refusal(keras.Model(x, Doubling(name="own")(q))).startswith(
        "layer 'own' (Doubling): layers of this class are not supported; supported are "
    )
    assert refusal(keras.Model(x, q + q)).startswith(
        "layer 'tf.__operators__.add' (TFOpLambda): layers of this class are not supported and would run code from the file "
        "(operators between tensors make them: use layers such as Add instead); supported are "
    )
    assert refusal(keras.Model(x, layers.Dropout(0.5, name="d")(q, training=True))) == (
        "layer 'd' (Dropout): is called with training=True; give it its inputs only"
    )
    model = OwnCall(name="own")
    model(np.zeros((1, 4), np.float32))
    assert refusal(model) == (
        "model 'own': is of class 'OwnCall' with a call of its own; supported are Sequential and functional models"
    )
    wrapped = OwnCall(name="inside")
    assert refusal(keras.Model(x, wrapped(q))) == (
        "layer 'inside' (OwnCall): is of class 'OwnCall' with a call of its own; supported are Sequential and functional models"
    )
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    assert refusal(keras.Model([a, b], dense(2, name="d")(quantised(name="q2")(a)), name="half")) == (
        "model 'half': its input 'b' reaches no output"
    )
    half = layers.ReLU(dtype="float16", name="h")
    assert refusal(keras.Model(x, half(q))) == "layer 'h' (ReLU): computes in 'float16'; supported is float32"
    pixels = layers.Input((4,), dtype="uint8", name="pixels")
    assert refusal(keras.Model(pixels, dense(2, name="f")(quantised(name="q4")(pixels)))) == (
        "layer 'pixels' (InputLayer): takes uint8, to which Keras casts what it is given; supported is float32. Make the input "
        "without a dtype, and say with the input type what hardware gets"
    )
    dynamic = layers.Input((None, 4), name="t")
    assert refusal(keras.Model(dynamic, dense(2, name="e")(quantised(name="q3")(dynamic)))) == (
        "layer 't' (InputLayer): has shape (None, 4); every size but the batch must be fixed"
    )


def test_padding_and_pooling_of_unquantised_inputs_ask_for_a_type() -> None:
    for layer in (
        layers.MaxPooling2D(2, name="p"),
        layers.ZeroPadding2D(1, name="p"),
        layers.BatchNormalization(name="p"),
    ):
        model = sequential((4, 4, 2), layer, quantised(), dense(2, name="d"))
        assert "'p' (" in refusal(model)
        assert "works on inputs that the model has not quantised" in refusal(model)


# ---- speed -------------------------------------------------------------------------------------------------------------
def test_small_models_convert_in_under_a_second() -> None:
    model = residual()
    load_model(model)
    start = time.perf_counter()
    load_model(model)
    assert time.perf_counter() - start < 1.0


@pytest.mark.full
def test_a_network_of_a_million_and_a_half_weights() -> None:
    """CNV's shape, with batch norm, 4-bit weights and 8-bit activations: conversion within 20 s, equal on the framework's layers."""
    stack: list[Any] = [quantised(bits(8, 0), "q0")]
    for number, (filters, pooled) in enumerate([(64, 0), (64, 1), (128, 0), (128, 1), (256, 0), (256, 0)]):
        stack += [weighted("Conv2D", filters, 3, name=f"c{number}"), layers.BatchNormalization(name=f"n{number}")]
        stack += [quantised(relu(8, 3), f"a{number}")] + [layers.MaxPooling2D(2, name=f"p{number}")] * pooled
    stack += [layers.Flatten(name="flat")]
    for number, units in enumerate([512, 512]):
        stack += [dense(units, name=f"d{number}"), quantised(relu(8, 3), f"b{number}")]
    model = sequential((32, 32, 3), *stack, dense(10, name="last"), name="cnv")
    assert model.count_params() > 1_500_000
    random = np.random.default_rng(1)
    for weight in model.weights:
        values = (
            np.abs(random.normal(1, 0.3, weight.shape))
            if "variance" in weight.name
            else random.normal(0, 0.4, weight.shape)
        )
        weight.assign(values.astype(np.float32))
    start = time.process_time()
    loaded = load_model(model)
    assert time.process_time() - start < 20
    x = half_steps((8, 32, 32, 3), 2.0**-7, 1.0)
    assert compare_framework(loaded, x).differing_values == 0
