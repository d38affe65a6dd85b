# SPDX-License-Identifier: Apache-2.0
"""Rung 1 for QKeras: the framework's own output equals the interpreter's, integer by integer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.errors import InputError, ToolchainError, ToolNotFound, UnsupportedModel, UsageError
from toolchain.frontends import LoadedModel, load_model, load_vectors
from toolchain.frontends.qkeras_layers.registry import layers as known_layers
from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras
from toolchain.ir import Dense, Graph, Input, OutOfRange, Requantise, Rounding, quantise_input
from toolchain.verify.framework import SUMS_REMARK, FrameworkMismatch, compare_framework

try:
    qkeras = import_qkeras()
except ToolNotFound as error:
    pytest.skip(str(error), allow_module_level=True)
keras = import_tf_keras()
SAMPLES = 600


def bits(*arguments: Any, **settings: Any) -> Any:
    return qkeras.quantized_bits(*arguments, **{"alpha": 1, **settings})


def dense(units: int, name: str, kernel: Any = None, bias: Any = None, **settings: Any) -> Any:
    kernel = bits(5, 1) if kernel is None else kernel
    return qkeras.QDense(units, kernel_quantizer=kernel, bias_quantizer=bias or bits(7, 2), name=name, **settings)


def network(*layers: Any, inputs: int = 6, name: str = "net", seed: int = 3) -> Any:
    """A Sequential model with random weights that reach past the quantisers' ranges."""
    model = keras.Sequential([keras.layers.Input((inputs,), name="x"), *layers], name=name)
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(0, 0.9, w.shape).astype(np.float32) for w in model.get_weights()])
    return model


def half_steps(shape: tuple[int, ...], step: float, span: float, seed: int = 5) -> np.ndarray:
    """Reals on multiples of half of `step` (every other one a tie) out to +-span, and some in between."""
    random = np.random.default_rng(seed)
    x = random.integers(-2 * span / step, 2 * span / step + 1, shape) * (step / 2)
    between = random.random(shape) < 0.2
    return np.where(between, x + random.normal(0, step / 3, shape), x).astype(np.float32)


def assert_equal(model: LoadedModel, x: np.ndarray) -> None:
    result = compare_framework(model, x)
    assert result.vectors == len(x)
    assert (result.differing_values, result.first_mismatch) == (0, None)


def test_digits_on_the_whole_held_out_part() -> None:
    model = load_model("digits")
    assert model.folder is not None
    assert model.folder.vectors is not None
    vectors = load_vectors(model.folder.vectors)
    assert model.framework.startswith("qkeras ")
    assert model.graph.metadata["framework_sums_exact"] == "yes"
    assert_equal(model, vectors.x)
    # The stored logits are the same numbers, and the accuracy in metrics.json is theirs.
    with np.load(model.folder.vectors) as stored:
        assert (model.run(vectors.x) == stored["y_framework"]).all()  # type: ignore[misc]
        found = stored["y_framework"].argmax(axis=1)
    metrics = json.loads((model.folder.path / "metrics.json").read_text())
    assert metrics["accuracy"] == (found == vectors.y_true).mean()
    assert metrics["accuracy"] >= 0.96
    assert metrics["held_out_samples"] == len(vectors.x) >= 360


def test_digits_refuses_pixels_out_of_range() -> None:
    model = load_model("digits")
    source = model.graph.inputs[0]
    operation = source.operation
    assert isinstance(operation, Input)
    assert (str(operation.element), operation.out_of_range) == ("ufixed<5,1>[0..16]", OutOfRange.REFUSE)
    with pytest.raises(InputError, match=r"1 of 64 values lie outside \[0, 1\]"):
        quantise_input(source, np.full((1, 64), 1.0) + np.eye(1, 64))


def test_a_wrong_graph_is_noticed() -> None:
    """One weight off by one, one rounding mode off: the comparison must say where."""
    model = load_model("digits")
    assert model.folder is not None
    assert model.folder.vectors is not None
    x = load_vectors(model.folder.vectors).x

    def changed(kind: type, change: Any) -> Graph:
        nodes = list(model.graph.nodes)
        position = next(i for i, node in enumerate(nodes) if isinstance(node.operation, kind))
        nodes[position] = dataclasses.replace(nodes[position], operation=change(nodes[position].operation))
        return model.graph.replace_nodes(tuple(nodes))

    weights_off = changed(
        Dense, lambda op: dataclasses.replace(op, weights=op.weights + np.eye(64, 32, dtype=np.int64))
    )
    rounding_off = changed(Requantise, lambda op: dataclasses.replace(op, rounding=Rounding.TRUNCATE))
    for graph in (weights_off, rounding_off):
        result = compare_framework(dataclasses.replace(model, graph=graph), x)
        assert result.mismatches > 0
        assert isinstance(result.first_mismatch, FrameworkMismatch)
        assert result.first_mismatch.expected != result.first_mismatch.found


def test_zero_weights_and_no_bias() -> None:
    model = network(qkeras.QActivation(bits(4, 1), name="q"), dense(3, "fc", use_bias=False))
    model.set_weights([np.zeros((6, 3), np.float32)])
    loaded = load_model(model)
    assert [node.name for node in loaded.graph.nodes] == ["x", "fc"]
    assert_equal(loaded, half_steps((50, 6), 0.25, 2.0))


def test_plain_and_inline_activations_and_rearrangements() -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((2, 3), name="x"),
            layers.Dropout(0.5, name="drop"),
            layers.Flatten(name="flat"),
            qkeras.QActivation("quantized_bits(7,3,alpha=1)", name="q"),
            dense(8, "fc1", activation=qkeras.quantized_relu(5, 1)),
            layers.Reshape((2, 4), name="pairs"),
            dense(4, "fc2"),
            layers.ReLU(max_value=2.0, negative_slope=0.25, name="clipped"),
            qkeras.QActivation(bits(6, 2), name="q2"),
            dense(3, "fc3", activation="relu"),
            layers.Activation("linear", name="nothing"),
            layers.Flatten(name="flat2"),
            dense(5, "fc4"),
            layers.Softmax(name="softmax"),
        ]
    )
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.7, w.shape).astype(np.float32) for w in model.get_weights()])
    loaded = load_model(model)
    assert loaded.graph.outputs[0].host_function == "softmax"
    assert loaded.graph.inputs[0].operation.infer().shape == (2, 3)
    assert_equal(loaded, half_steps((SAMPLES, 2, 3), 2.0**-3, 9.0))


def test_softmax_inside_the_last_layer_stays_on_the_host() -> None:
    model = network(qkeras.QActivation(bits(6, 2), name="q"), dense(5, "fc", activation="softmax"))
    loaded = load_model(model)
    assert loaded.graph.outputs[0].host_function == "softmax"
    x = half_steps((50, 6), 2.0**-3, 4.0)
    assert_equal(loaded, x)
    logits = loaded.run(x).astype(np.float64)  # type: ignore[misc]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(model(x), expected, atol=1e-6)


@pytest.fixture
def trained() -> Any:
    return network(
        qkeras.QActivation("quantized_bits(6,2,alpha=1)", name="q"),
        dense(7, "fc1"),
        qkeras.QActivation(qkeras.quantized_relu(5, 1, negative_slope=0.5), name="act"),
        dense(4, "fc2", kernel=qkeras.quantized_bits(4, 0)),
        keras.layers.Activation("softmax", name="softmax"),
    )


@pytest.mark.parametrize("kind", ["h5", "keras", "saved_model"])
@pytest.mark.parametrize("functional", [False, True], ids=["sequential", "functional"])
def test_every_file_format_gives_the_same_graph(trained: Any, kind: str, functional: bool, tmp_path: Path) -> None:
    model = trained
    if functional:
        tensor = start = keras.layers.Input((6,), name="x")
        for layer in trained.layers:
            tensor = layer(tensor)
        model = keras.Model(start, tensor, name="net")
    file = tmp_path / {"h5": "m.h5", "keras": "m.keras", "saved_model": "saved"}[kind]
    if kind == "saved_model":
        model.save(file, save_format="tf")
    else:
        model.save(file)
    loaded = load_model(file)
    assert loaded.graph.digest == load_model(trained).graph.digest
    assert_equal(loaded, half_steps((100, 6), 2.0**-3, 5.0))


def test_a_compiled_model_with_its_optimiser(trained: Any, tmp_path: Path) -> None:
    trained.compile("adam", "mse")
    trained.fit(np.zeros((4, 6)), np.zeros((4, 4)), verbose=0)
    trained.save(tmp_path / "m.h5")
    trained.save(tmp_path / "m.keras")
    assert load_model(tmp_path / "m.h5").graph.digest == load_model(tmp_path / "m.keras").graph.digest


def test_input_type_for_a_model_that_does_not_quantise_its_input() -> None:
    model = network(dense(4, "fc"))
    with pytest.raises(UsageError) as caught:
        load_model(model)
    assert str(caught.value).startswith(
        "layer 'fc' (QDense) works on inputs that the model has not quantised: give the type that the inputs have in hardware with "
        "input_type (--input-type on the command line; x=TYPE where there are several inputs), for example 'fixed<16,6>', 'uint8' or 'uint8*1/255', "
        "or samples to choose it from with input_samples (--input-samples FILE.npz), "
    )
    loaded = load_model(model, input_type="fixed<10,3>")
    assert not loaded.quantises_input
    assert_equal(loaded, half_steps((SAMPLES, 6), 2.0**-7, 3.0))
    with pytest.raises(InputError, match="values lie outside"):
        compare_framework(loaded, np.full((1, 6), 4.0))


def test_a_wrong_input_type() -> None:
    with pytest.raises(UsageError) as caught:
        load_model(network(dense(4, "fc")), input_type="fixed<16>")
    assert str(caught.value) == (
        "input type: type 'fixed<16>' is not understood; write 'fixed<WIDTH,INTEGER_BITS>', 'ufixed<WIDTH,INTEGER_BITS>', "
        "'int<WIDTH>' or 'uint<WIDTH>', for example 'fixed<16,6>'; with a scale: 'uint8*1/255'"
    )


def test_wide_sums_are_marked() -> None:
    model = network(dense(4, "fc", kernel=bits(16, 0)))
    assert load_model(model, input_type="fixed<12,4>").graph.metadata["framework_sums_exact"] == "no"
    assert load_model(model, input_type="fixed<4,4>").graph.metadata["framework_sums_exact"] == "yes"


def refusal(*layers: Any, **settings: Any) -> str:
    with pytest.raises(ToolchainError) as caught:
        load_model(network(qkeras.QActivation(bits(6, 2), name="q"), *layers), **settings)
    return str(caught.value)


def test_layers_that_are_refused_by_name() -> None:
    layers = keras.layers
    supported = ", ".join(known_layers())
    assert refusal(layers.Dense(3, name="d")) == (
        "layer 'd' (Dense): its weights are not quantised; use QDense with a quantiser for each of its weights"
    )
    assert refusal(layers.LayerNormalization(name="ln")) == (
        f"layer 'ln' (LayerNormalization): layers of this class are not supported; supported are {supported}"
    )
    assert refusal(qkeras.QDense(3, bias_quantizer=bits(4), name="d")) == (
        "layer 'd' (QDense): kernel_quantizer is None, so its kernel is not quantised; give it a quantiser, for example "
        "kernel_quantizer=quantized_bits(6, 0, alpha=1)"
    )
    assert refusal(qkeras.QDense(3, kernel_quantizer=bits(4), name="d")) == (
        "layer 'd' (QDense): bias_quantizer is None, so its bias is not quantised; give it a quantiser, for example "
        "bias_quantizer=quantized_bits(6, 0, alpha=1)"
    )
    assert refusal(layers.Activation("softmax", name="s"), dense(3, "fc")) == (
        "layer 'fc' (QDense): comes after 'softmax', which is supported as the last layer only"
    )

    def doubled(x: Any) -> Any:
        return x * 2

    assert refusal(layers.Activation(doubled, name="t")) == (
        "layer 't' (Activation): activation is 'doubled'; supported are the quantisers binary, quantized_bits, quantized_hswish, "
        "quantized_po2, quantized_relu, quantized_relu_po2, quantized_sigmoid, quantized_tanh, quantized_ulaw, "
        "stochastic_binary, stochastic_ternary, ternary and, as an activation, linear, relu, softmax, elu, exponential, gelu, "
        "hard_sigmoid, mish, selu, sigmoid, softplus, softsign, swish, tanh, hard_tanh, smooth_sigmoid, smooth_tanh, "
        "binary_sigmoid, binary_tanh"
    )


def test_a_class_of_the_same_name_is_not_taken_for_the_real_one() -> None:
    class QDense(qkeras.QDense):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            return super().call(inputs) * 3

    layer = QDense(3, kernel_quantizer=bits(4), bias_quantizer=bits(4), name="d")
    assert refusal(layer).startswith("layer 'd' (QDense): layers of this class are not supported")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bits(6, 0, qnoise_factor=0.5), "quantized_bits with qnoise_factor = 0.5; supported is 1 (less mixes in values that are not quantised)"),
        (lambda: bits(6, 0, alpha="auto_po2"), "quantized_bits with alpha = 'auto_po2'; supported is a number or None on activations (a scale computed from the data is not fixed)"),
        (lambda: qkeras.binary(alpha="auto"), "binary with alpha = 'auto'; supported is a number or None on activations (a scale computed from the data is not fixed)"),
        (qkeras.bernoulli, "bernoulli draws random numbers at inference too, so it has no fixed result; use binary(use_01=True)"),
        (lambda: bits(30, 0), "quantized_bits with bits = 30; supported is a whole number from 1 to 24"),
        (lambda: bits(6, 65), "quantized_bits with integer = 65; supported is a whole number from 0 to 30, which is what QKeras itself computes with"),
        (lambda: bits(6, -1), "quantized_bits with integer = -1; supported is a whole number from 0 to 30, which is what QKeras itself computes with"),
        (lambda: bits(6, 0, symmetric=0.5), "quantized_bits with symmetric = 0.5; supported is 0 or 1"),
        (lambda: qkeras.quantized_relu(3, 1, negative_slope=0.125), "quantized_relu with negative_slope = 0.125; supported is at least 0.25, so that the lowest value is on a step"),
        (lambda: qkeras.quantized_relu(3, 1, relu_upper_bound=-2.0, is_quantized_clip=False), "quantized_relu with relu_upper_bound = -2.0; supported is a positive number"),
    ],
)  # fmt: skip
def test_activation_settings_that_are_refused(make: Any, message: str) -> None:
    found = refusal(qkeras.QActivation(make(), name="a"))
    joint = " " if message.startswith("is ") else ": "
    assert found == f"layer 'a' (QActivation): activation{joint}{message}"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    model = network(qkeras.QActivation(bits(6, 2), name="q"), dense(3, "fc"))
    kernel, bias = model.get_weights()
    bias[1] = value
    model.set_weights([kernel, bias])
    with pytest.raises(UnsupportedModel) as caught:
        load_model(model)
    assert str(caught.value) == (f"layer 'fc' (QDense): bias holds {value} at index [1]; all weights must be finite")


def test_a_model_that_is_not_built_or_quantises_nothing() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        load_model(keras.Sequential([dense(3, "fc")], name="open"))
    assert str(caught.value) == ("model 'open': is not built: its input shape is unknown; begin it with an Input layer")
    with pytest.raises(UnsupportedModel) as caught:
        load_model(network(keras.layers.Flatten(name="f"), name="idle"))
    assert str(caught.value) == "model 'idle' quantises nothing; there is no integer arithmetic in it"


@pytest.mark.parametrize("kind", ["h5", "keras", "saved_model"])
def test_a_lambda_in_a_file_is_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    """The layer would create a file when it is built from the description."""
    target = tmp_path / "ran"
    path = str(target)

    def touch(x: Any) -> Any:
        Path(path).touch()
        return x

    model = network(keras.layers.Lambda(touch, name="evil"), qkeras.QActivation(bits(6, 2), name="q"), dense(3, "fc"))
    file = tmp_path / {"h5": "m.h5", "keras": "m.keras", "saved_model": "saved"}[kind]
    if kind == "saved_model":
        model.save(file, save_format="tf")
    else:
        model.save(file)
    target.unlink(missing_ok=True)
    with pytest.raises(UnsupportedModel) as caught:
        load_model(file)
    assert str(caught.value) == (
        f"{file}: layer 'evil' (Lambda): layers of this class are not supported and would run code from the file; supported are "
        f"{', '.join(known_layers())}"
    )
    assert not target.exists()


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_hostile_names_are_kept(kind: str, tmp_path: Path) -> None:
    """The worst that TensorFlow accepts as the name of a layer. (In HDF5 a slash is a path, so Keras cannot store that.)"""
    names = ["..", "a>b.c", "-rf"[1:] + "-", "module"] + (["../../etc/passwd", "x\\y"] if kind == "keras" else [])
    layers = [
        layer
        for i, name in enumerate(names)
        for layer in (dense(3, name), qkeras.QActivation(bits(6, 2), name=f"q{i}"))
    ]
    model = network(qkeras.QActivation(bits(6, 2), name="q"), *layers)
    model.save(tmp_path / f"m.{kind}")
    for loaded in (load_model(model), load_model(tmp_path / f"m.{kind}")):
        nodes = [node for node in loaded.graph.nodes if isinstance(node.operation, Dense)]
        assert [node.name for node in nodes] == names
        assert [node.source for node in nodes] == [f"{name!r} (QDense)" for name in names]
        assert_equal(loaded, half_steps((50, 6), 2.0**-3, 4.0))


@pytest.mark.parametrize("name", ["a b", "$(touch ran)", "é", "'; import os", ""])
def test_names_that_tensorflow_refuses(trained: Any, name: str, tmp_path: Path) -> None:
    import h5py

    file = tmp_path / "m.h5"
    trained.save(file)
    with h5py.File(file, "r+") as content:
        text = content.attrs["model_config"]
        assert '"name": "fc1"' in text
        content.attrs["model_config"] = text.replace('"name": "fc1"', f'"name": {json.dumps(name)}')
    with pytest.raises(InputError) as caught:
        load_model(file)
    reason = (
        "Keras cannot build the model that the file describes: ValueError: "
        if name
        else "a layer of class 'QDense' has no name"
    )
    assert str(caught.value).startswith(f"{file}: {reason}")


def test_weights_that_do_not_fit_the_description(trained: Any, tmp_path: Path) -> None:
    import h5py

    file = tmp_path / "m.h5"
    trained.save(file)
    with h5py.File(file, "r+") as content:
        text = content.attrs["model_config"]
        assert '"units": 7' in text
        content.attrs["model_config"] = text.replace('"units": 7', '"units": 8')
    with pytest.raises(InputError, match=r"m\.h5: the weights do not fit the layers of the file: ValueError: "):
        load_model(file)


def test_a_checkpoint_for_an_object(trained: Any, tmp_path: Path) -> None:
    expected = load_model(trained).graph.digest
    trained.save_weights(tmp_path / "w.h5")
    trained.set_weights([np.zeros_like(w) for w in trained.get_weights()])
    assert load_model(trained).graph.digest != expected
    loaded = load_model(trained, weights=tmp_path / "w.h5")
    assert loaded.graph.digest == expected
    assert loaded.files == (tmp_path / "w.h5",)
    with pytest.raises(InputError) as caught:
        load_model(trained, weights=tmp_path / "none.h5")
    assert str(caught.value) == f"{tmp_path / 'none.h5'}: no such file"


def test_the_comparison_says_when_the_framework_itself_rounds() -> None:
    model = load_model(network(dense(4, "fc", kernel=bits(16, 0))), input_type="fixed<12,4>")
    assert compare_framework(model, half_steps((20, 6), 2.0**-8, 7.0)).remark.startswith(SUMS_REMARK)
    assert compare_framework(load_model("digits"), np.zeros((1, 64))).remark == ""
