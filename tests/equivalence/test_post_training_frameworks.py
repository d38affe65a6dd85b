# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation of Keras and torch models: the same network from every form, and what is refused."""

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.errors import InputError, ToolchainError, UnsupportedModel, UsageError
from toolchain.frontends import loaded_from
from toolchain.frontends.post_training import Calibration, QuantisedModel, quantise
from toolchain.verify.framework import compare_framework

X = np.random.default_rng(4).normal(0.2, 1, (80, 6, 6, 2)).astype(np.float32)


def assert_equal(model: QuantisedModel, x: np.ndarray) -> None:
    comparison = compare_framework(loaded_from(model), x)
    assert (comparison.differing_values, comparison.first_mismatch) == (0, None)


def refusal(source: Any, x: np.ndarray, **options: Any) -> tuple[type[ToolchainError], str]:
    with pytest.raises(ToolchainError) as caught:
        quantise(source, Calibration(x), **options)
    return type(caught.value), str(caught.value)


# ---- Keras -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def keras() -> Any:
    if (
        find_spec("tf2onnx") is None
    ):  # not importorskip: it would start TensorFlow before QKeras's settings are in place
        pytest.skip("needs tf2onnx")
    from toolchain.frontends.qkeras_runtime import import_tf_keras

    return import_tf_keras()


@pytest.fixture(scope="module")
def network(keras: Any) -> Any:
    """Every layer with float weights, a branch, and what moves values."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    pixels = layers.Input((6, 6, 2), name="pixels")
    value = layers.Conv2D(4, 3, padding="same", name="first")(pixels)
    value = layers.BatchNormalization(name="norm")(value)
    value = branch = layers.ReLU()(value)
    value = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(value)
    value = layers.Add()([value, branch])
    value = layers.SeparableConv2D(3, 3, activation="relu", name="separable")(value)
    value = layers.Conv2DTranspose(3, 2, strides=2, name="transpose")(value)
    value = layers.MaxPooling2D()(value)
    value = layers.UpSampling2D()(value)
    value = layers.Concatenate()([value, layers.LeakyReLU(0.25)(value)])
    value = layers.GlobalAveragePooling2D()(value)
    value = layers.Dense(5, activation="sigmoid", name="hidden")(value)
    model = keras.Model(pixels, layers.Dense(3, activation="softmax", name="scores")(value), name="mixed")
    norm = model.get_layer("norm")
    norm.set_weights(
        [np.array(values) for values in ([1, 2, 0.5, 1], [0, 0.5, -0.5, 0], [0.5, 0, 0, -0.5], [1, 2, 0.5, 1])]
    )
    return model


def test_a_keras_model_from_every_form(network: Any, tmp_path: Path) -> None:
    model = quantise(network, Calibration(X))
    assert model.source.framework.startswith("tf_keras 2.")
    assert model.name == "mixed"
    assert model.imported.graph.outputs[0].host_function == "softmax"
    assert {entry["layer"].partition("/")[0] for entry in model.record["weights"]} == {
        "first", "depthwise", "separable", "transpose", "hidden", "scores",
    }  # fmt: skip
    assert model.record["accuracy"]["signal_to_noise_db"] > 25
    assert_equal(model, 2 * X[:40])
    network.save(tmp_path / "m.keras")
    network.save(tmp_path / "m.h5")
    network.save(tmp_path / "saved", save_format="tf")
    for form in ("m.keras", "m.h5", "saved"):
        again = quantise(tmp_path / form, Calibration(X))
        assert again.name == form.partition(".")[0]
        renamed = replace(again.imported.graph, name="mixed")
        assert renamed.digest == model.imported.graph.digest, form


def keras3_file(
    path: Path, activation: str = "relu", names: tuple[str, str] = ("a", "b")
) -> tuple[Path, list[np.ndarray]]:
    """A .keras file as Keras 3 writes it: x -> Conv2D -> LeakyReLU -> Add(x') -> Flatten -> Dense, and the arrays in it."""
    import h5py

    random = np.random.default_rng(1)
    shapes = [(3, 3, 2, 2), (2,), (72, 3), (3,)]
    arrays = [random.normal(size=shape).astype(np.float32) for shape in shapes]

    def tensor(name: str) -> dict[str, Any]:
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None], "dtype": "float32", "keras_history": [name, 0, 0]},
        }

    def layer(kind: str, name: str, inputs: list[str], **config: Any) -> dict[str, Any]:
        policy = {
            "module": "keras",
            "class_name": "DTypePolicy",
            "config": {"name": "float32"},
            "registered_name": None,
        }
        given = [tensor(item) for item in inputs]
        calls = [{"args": [given if len(given) > 1 else given[0]], "kwargs": {"mask": None}}] if given else []
        config = {"name": name, "trainable": True, "dtype": policy, **config}
        return {
            "module": "keras.layers", "class_name": kind, "config": config, "registered_name": None, "name": name,
            "inbound_nodes": calls,
        }  # fmt: skip

    window = {"filters": 2, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "data_format": "channels_last"}
    config = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "functional",
            "layers": [
                layer("InputLayer", "x", [], batch_shape=[None, 6, 6, 2], sparse=False, ragged=False),
                layer(
                    "Conv2D",
                    "a",
                    ["x"],
                    activation=activation,
                    use_bias=True,
                    groups=1,
                    dilation_rate=[1, 1],
                    **window,
                ),
                layer("LeakyReLU", "leaky", ["a"], negative_slope=0.25),
                layer("Add", "sum", ["leaky", "x"]),
                layer("Flatten", "flat", ["sum"], data_format="channels_last"),
                layer("Dense", "b", ["flat"], units=3, activation="linear", use_bias=True),
            ],
            "input_layers": ["x", 0, 0],
            "output_layers": ["b", 0, 0],
        },
    }
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for group, name, parts in (("conv2d", "a", arrays[:2]), ("dense", "b", arrays[2:])):
            variables = file.create_group(f"layers/{group}/vars")
            variables.attrs["name"] = name
            for number, array in enumerate(parts):
                variables[str(number)] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path, arrays


def test_a_file_of_keras_3(keras: Any, tmp_path: Path) -> None:
    """Its weights arrive in their layers: the float model against NumPy."""
    path, (kernel, bias, matrix, shift) = keras3_file(tmp_path / "k3.keras", "linear")
    model = quantise(path, Calibration(X))
    padded = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    convolved = np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias
    real = np.where(convolved > 0, convolved, 0.25 * convolved) + X
    wanted = real.reshape(len(X), -1) @ matrix + shift
    assert np.abs(model.source.function(model.source.proto.graph.output[0].name)(X) - wanted).max() < 1e-3
    assert_equal(model, X)
    # The frontend of quantised models still refuses it, and says why.
    from toolchain import load_model

    with pytest.raises(InputError, match=r"saved by Keras 3\.15\.1"):
        load_model(path)


def test_what_keras_3_computes_otherwise_is_refused(keras: Any, tmp_path: Path) -> None:
    path, _ = keras3_file(tmp_path / "k3.keras", "hard_sigmoid")
    assert refusal(path, X) == (
        UnsupportedModel,
        f"{path}: layer 'a' (Conv2D): activation 'hard_sigmoid' of Keras 3 is another function than that of Keras 2, with which "
        "the model is read; export the model to ONNX and quantise that",
    )


@pytest.mark.full
def test_files_that_keras_3_itself_writes(network: Any, tmp_path: Path) -> None:
    """In a process of its own, since TensorFlow runs with one Keras only."""
    code = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "0"
import keras, numpy as np
keras.utils.set_random_seed(3)
layers = keras.layers
x = layers.Input((6, 6, 2))
inner = keras.Sequential([layers.Input((6, 6, 3)), layers.Conv2D(3, 3, padding="same", name="inner_conv")], name="inner")
y = layers.SeparableConv2D(3, 3, padding="same", name="separable")(x)
y = inner(layers.BatchNormalization(name="norm")(y))
y = layers.Flatten()(layers.LeakyReLU(negative_slope=0.5)(y))
model = keras.Model(x, layers.Dense(4, activation="silu", name="last")(y))
model.get_layer("norm").set_weights([np.array(v) for v in ([1, 2, 3], [0, 1, 0], [0.5, 0, 0], [1, 2, 1])])
model.save(sys.argv[1] + "/m.keras"); model.save(sys.argv[1] + "/m.h5")
np.save(sys.argv[1] + "/y.npy", model(np.load(sys.argv[1] + "/x.npy")))
"""
    np.save(tmp_path / "x.npy", X)
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    for form in ("m.keras", "m.h5"):
        model = quantise(tmp_path / form, Calibration(X))
        found = model.source.function(model.source.proto.graph.output[0].name)(X)
        assert np.abs(found - np.load(tmp_path / "y.npy")).max() < 1e-4
        assert_equal(model, X)


def test_keras_models_that_are_refused(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    lambda_file = tmp_path / "lambda.h5"
    keras.Sequential([layers.Input((4,)), layers.Lambda(lambda v: v * 2), layers.Dense(2)]).save(lambda_file)
    x = X.reshape(len(X), -1)[:, :4]
    kind, message = refusal(lambda_file, x)
    assert (kind, message.startswith(f"{lambda_file}: layer 'lambda' (Lambda): is not supported; supported are ")) == (
        UnsupportedModel, True,
    )  # fmt: skip
    recurrent = keras.Sequential([layers.Input((3, 4)), layers.LSTM(2, name="memory")])
    recurrent.save(tmp_path / "lstm.keras")
    assert "layer 'memory' (LSTM): is not supported" in refusal(tmp_path / "lstm.keras", X[:, :3, 0].repeat(2, 2))[1]
    import qkeras

    low = qkeras.QDense(2, name="q", kernel_quantizer="quantized_bits(4,0,1)")
    assert refusal(keras.Sequential([layers.Input((4,)), low], name="low"), x) == (
        UnsupportedModel, "model 'low': is quantised already (layer 'q', QDense); build it as it is"
    )  # fmt: skip
    keras.Sequential([layers.Input((4,)), low], name="low").save(tmp_path / "low.h5")
    assert refusal(tmp_path / "low.h5", x) == (
        UnsupportedModel,
        f"{tmp_path / 'low.h5'}: layer 'q' (QDense): is a layer of QKeras, so the model is quantised already; build it as it is",
    )
    two = keras.Model([a := layers.Input((4,)), b := layers.Input((4,))], layers.Add()([a, b]), name="two")
    assert refusal(two, x) == (
        UnsupportedModel, "model 'two': has 2 inputs and 1 outputs; supported for quantisation is one each"
    )  # fmt: skip
    assert refusal(keras.Sequential([layers.Dense(2)], name="bare"), x)[1].startswith("model 'bare': is not built")
    assert refusal(network_of(layers, keras), x, weights=Path("w.h5")) == (
        UsageError, "weights belongs to a torch module; load a Keras model's weights with its own load_weights"
    )  # fmt: skip


def network_of(layers: Any, keras: Any) -> Any:
    return keras.Sequential([layers.Input((4,)), layers.Dense(2)])


# ---- torch -----------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def module() -> Any:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Residual(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(2, 4, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(4)
            self.grouped = torch.nn.Conv2d(4, 4, 3, padding=1, groups=2)
            self.scores = torch.nn.Linear(36, 3)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.norm(self.conv((x - 0.5) * 2)))
            x = torch.nn.functional.max_pool2d(torch.relu(self.grouped(x) + x), 2)
            return self.scores(torch.flatten(x, 1))

    torch.manual_seed(5)
    return Residual()


def test_a_torch_module_with_its_state_dict(module: Any, tmp_path: Path) -> None:
    import torch

    x = np.ascontiguousarray(X.transpose(0, 3, 1, 2))
    other = type(module)()
    torch.save(other.state_dict(), tmp_path / "state.pt")
    module.train()
    model = quantise(module, Calibration(x, per_channel=True), weights=tmp_path / "state.pt")
    assert module.training, "the module is left as it was"
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), other.parameters(), strict=True))
    assert (model.name, model.source.framework.split()[0]) == ("Residual", "torch")
    assert [entry["operation"] for entry in model.record["weights"]] == ["Conv", "Conv", "Gemm"]
    # The affine step before the first layer is the host's: it is part of how the input becomes integers.
    assert model.imported.graph.inputs[0].operation.offset == 0.5  # type: ignore[attr-defined]
    with torch.no_grad():
        wanted = other.eval()(torch.tensor(x)).numpy()
    found = model.source.function(model.source.proto.graph.output[0].name)(x)
    assert np.abs(found - wanted).max() < 1e-5
    assert model.record["accuracy"]["signal_to_noise_db"] > 25
    assert_equal(model, 2 * x[:40])
    assert model.save(tmp_path / "q").joinpath("model.onnx").is_file()


def test_torch_modules_that_are_refused(module: Any, tmp_path: Path) -> None:
    import torch

    x = X.reshape(len(X), -1)[:, :4]
    kind, message = refusal(module, X)
    assert (kind, message.startswith("module Residual: cannot be evaluated on samples of shape (6, 6, 2) (RuntimeError: ")) == (
        InputError, True,
    )  # fmt: skip
    norm = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    kind, message = refusal(norm, x)
    assert (kind, "cannot be quantised for hardware: '1' (LayerNormalization)" in message) == (UnsupportedModel, True)
    qnn = pytest.importorskip("brevitas.nn")
    assert refusal(torch.nn.Sequential(qnn.QuantLinear(4, 4, True)), x) == (
        UnsupportedModel, "module Sequential: is quantised already (layer '0', QuantLinear); load it as it is"
    )  # fmt: skip
    (tmp_path / "state.pt").write_bytes(b"not a checkpoint")
    kind, message = refusal(norm, x, weights=tmp_path / "state.pt")
    assert (kind, "not a checkpoint of tensors only" in message) == (InputError, True)
