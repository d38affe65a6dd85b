# SPDX-License-Identifier: Apache-2.0
"""Keras files are untrusted: only known classes and plain values get past the description. No framework runs here."""

import copy
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from toolchain.errors import InputError, ToolchainError, UnsupportedModel
from toolchain.frontends.qkeras_config import safe_model_config, safe_quantiser_text
from toolchain.frontends.qkeras_file import read_config
from toolchain.frontends.qkeras_layers.registry import layers
from toolchain.frontends.qkeras_quantisers import unsupported_quantiser

WHERE = "m.h5"


def quantiser(**settings: Any) -> dict[str, Any]:
    return {"class_name": "quantized_bits", "config": {"bits": 6, "integer": 0, "alpha": 1, **settings}}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    first = {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": [None, 4], "dtype": "float32"}}
    return {"class_name": "Sequential", "config": {"name": "net", "layers": [first, *layers]}}


def dense(**changes: Any) -> dict[str, Any]:
    config = {
        "name": "fc",
        "dtype": "float32",
        "units": 3,
        "activation": "linear",
        "use_bias": True,
        "kernel_quantizer": quantiser(),
        "bias_quantizer": quantiser(),
        "kernel_initializer": {"class_name": "evil>Thing", "config": {}, "module": "os"},
        "kernel_constraint": {"class_name": "__lambda__", "config": {"value": "x"}},
    }
    return {"class_name": "QDense", "config": {**config, **changes}}


def refusal(layer: dict[str, Any]) -> str:
    with pytest.raises(ToolchainError) as caught:
        safe_model_config(sequential(layer), WHERE)
    return str(caught.value)


def test_only_what_matters_for_inference_is_kept() -> None:
    config = safe_model_config(sequential(dense()), WHERE)
    assert config == {
        "class_name": "Sequential",
        "config": {
            "name": "net",
            "layers": [
                {"class_name": "InputLayer", "config": {"name": "in", "batch_input_shape": (None, 4)}},
                {
                    "class_name": "QDense",
                    "config": {
                        "name": "fc",
                        "units": 3,
                        "activation": "linear",
                        "use_bias": True,
                        "kernel_quantizer": quantiser(),
                        "bias_quantizer": quantiser(),
                    },
                },
            ],
        },
    }


def test_the_input_is_not_changed() -> None:
    description = sequential(dense())
    before = copy.deepcopy(description)
    safe_model_config(description, WHERE)
    assert description == before


def test_hostile_layer_names_pass_unchanged() -> None:
    name = "a b'\";$(touch x)/../é☃"
    config = safe_model_config(sequential(dense(name=name)), WHERE)
    assert config["config"]["layers"][1]["config"]["name"] == name


SUPPORTED = ", ".join(layers())
KNOWN = unsupported_quantiser("", "").partition("; ")[2]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            {"class_name": "Lambda", "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {}}}},
            "m.h5: layer 'l' (Lambda): layers of this class are not supported and would run code from the file; "
            f"supported are {SUPPORTED}",
        ),
        (
            {"class_name": "PruneLowMagnitude", "config": {"name": "p", "layer": {}}},
            "m.h5: layer 'p' (PruneLowMagnitude): layers of this class are not supported (take the wrappers off with "
            f"tensorflow_model_optimization.sparsity.keras.strip_pruning and save again); supported are {SUPPORTED}",
        ),
        (
            {"class_name": "Dense", "config": {"name": "d", "units": 2}},
            "m.h5: layer 'd' (Dense): its weights are not quantised; use QDense with a quantiser for each of its weights",
        ),
        (
            {"class_name": "ConvLSTM2D", "config": {"name": "r"}},
            f"m.h5: layer 'r' (ConvLSTM2D): layers of this class are not supported; supported are {SUPPORTED}",
        ),
        (
            {
                "class_name": "Sequential",
                "config": {"name": "inner", "layers": [{"class_name": "GRU", "config": {"name": "g"}}]},
            },
            "m.h5: layer 'inner/g' (GRU): its weights are not quantised; use QGRU with a quantiser for each of its weights",
        ),
        (
            {**dense(), "registered_name": "Lambda"},
            "m.h5: layer 'fc' (QDense): the file says that its class is registered as 'Lambda'; expected its name",
        ),
        (dense(dtype="float16"), "m.h5: layer 'fc' (QDense): computes in 'float16'; supported is float32"),
        (
            dense(dtype={"class_name": "Policy", "config": {"name": "mixed_float16"}}),
            "m.h5: layer 'fc' (QDense): computes in 'mixed_float16'; supported is float32",
        ),
        (
            dense(kernel_quantizer={"class_name": "__lambda__", "config": {"value": "x"}}),
            f"m.h5: layer 'fc' (QDense): kernel_quantizer is '__lambda__'; {KNOWN}",
        ),
        (
            dense(kernel_quantizer=quantiser(alpha={"class_name": "__numpy__", "config": {}})),
            "m.h5: layer 'fc' (QDense): kernel_quantizer quantized_bits has alpha = {'class_name': '__numpy__', 'config': {}}; "
            "expected a plain value with numbers up to 9999",
        ),
        (
            dense(kernel_quantizer=quantiser(bits=10**9)),
            "m.h5: layer 'fc' (QDense): kernel_quantizer quantized_bits has bits = 1000000000; "
            "expected a plain value with numbers up to 9999",
        ),
        (dense(units=1 << 40), "m.h5: layer 'fc' (QDense): units must be 1 to 1048576, found 1099511627776"),
        (
            dense(use_bias={"class_name": "Lambda"}),
            "m.h5: layer 'fc' (QDense): use_bias must be a plain value, found {'class_name': 'Lambda'}",
        ),
    ],
)
def test_layers_that_are_refused(layer: dict[str, Any], message: str) -> None:
    assert refusal(layer) == message


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch x')",
        "quantized_bits(6,0)(1)",
        "quantized_bits(__import__('os'))",
        "quantized_bits(6,0);import os",
        "quantized_bits(6,\n0)",
        "quantized_bits(6,0,alpha=[1])",
        "quantized_bits(6,0,lambda:1)",
        "K.clear_session()",
        "quantized_relu(9999999999,0)",
        "quantized_relu(" + "1," * 200 + "1)",
        "",
    ],
)
def test_texts_that_are_no_plain_call_are_refused(text: str) -> None:
    with pytest.raises(UnsupportedModel, match="a quantiser is written as NAME or NAME"):
        safe_quantiser_text(text, "layer 'x': activation", functions=True)


@pytest.mark.parametrize(
    "text", ["get_quantizer('quantized_bits')", "tf", "np", "deserialize_keras_object(x)", "relu(6)", "sys"]
)
def test_texts_that_name_anything_else_are_refused(text: str) -> None:
    """QKeras would look the name up among all that its module holds."""
    with pytest.raises(UnsupportedModel, match="supported are the quantisers binary, quantized_"):
        safe_quantiser_text(text, "layer 'x': activation", functions=True)


def test_the_whole_message_of_a_hostile_text() -> None:
    layer = {"class_name": "QActivation", "config": {"name": "a", "activation": "eval('1')+quantized_relu(4)"}}
    assert refusal(layer) == (
        "m.h5: layer 'a' (QActivation): activation is the text \"eval('1')+quantized_relu(4)\"; a quantiser is written as NAME "
        "or NAME(arguments), with numbers of up to four digits and words as arguments, for example 'quantized_relu(6,2)'"
    )


@pytest.mark.parametrize(
    "text",
    [
        "quantized_relu(6,2)",
        "quantized_bits(6, 0, alpha=1)",
        "quantized_relu",
        "quantized_relu(4,0,negative_slope=0.125)",
    ],
)
def test_plain_texts_pass(text: str) -> None:
    assert safe_quantiser_text(text, "", functions=False) == text


def test_weights_may_not_be_plain_functions() -> None:
    assert "kernel_quantizer is 'relu'" in refusal(dense(kernel_quantizer="relu"))


def functional(inbound: Any) -> dict[str, Any]:
    first = {"class_name": "InputLayer", "name": "in", "config": {"name": "in", "batch_input_shape": [None, 4]}}
    second = {"class_name": "Flatten", "name": "f", "config": {"name": "f"}, "inbound_nodes": inbound}
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [["f", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "net", "layers": [first, second], **ends}}


def test_functional_models_keep_their_edges() -> None:
    config = safe_model_config(functional([[["in", 0, 0, {}]]]), WHERE)
    assert config["config"]["layers"][1]["inbound_nodes"] == [[["in", 0, 0, {}]]]
    assert config["config"]["output_layers"] == [["f", 0, 0]]


@pytest.mark.parametrize(
    "inbound", [[[["in", 0, 0, {"x": {"class_name": "Lambda"}}]]], [["in"]], "in", [[[7, 0, 0, {}]]]]
)
def test_calls_with_arguments_are_refused(inbound: Any) -> None:
    with pytest.raises(UnsupportedModel, match="is called in a way that is not supported"):
        safe_model_config(functional(inbound), WHERE)


def test_other_model_classes_are_refused() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        safe_model_config({"class_name": "MyModel", "config": {}}, WHERE)
    assert str(caught.value) == "m.h5: the model is of class 'MyModel'; supported are Sequential and functional models"


def test_keras_archives_need_their_members(tmp_path: Path) -> None:
    file = tmp_path / "m.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", json.dumps(sequential()))
        archive.writestr("model.weights.npz", b"")
    with pytest.raises(InputError) as caught:
        read_config(file)
    assert str(caught.value) == (
        f"{file}: not a Keras model file (ValueError: the archive must hold config.json and model.weights.h5)"
    )


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", io.BytesIO().getvalue()])
def test_files_that_are_not_models(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("h5py")
    for name in ("m.h5", "m.keras"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"m\.(h5|keras): not a Keras model file \("):
            read_config(tmp_path / name)


def test_weights_alone_are_not_a_model(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    file = tmp_path / "w.h5"
    h5py.File(file, "w").close()
    with pytest.raises(InputError) as caught:
        read_config(file)
    assert str(caught.value) == (
        f"{file}: not a Keras model file (ValueError: it holds no model_config: it may hold weights alone; save the whole model "
        "with model.save('model.h5'), or give the architecture as a .json file beside it)"
    )


def test_deeply_nested_descriptions_do_not_overflow(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    file = tmp_path / "deep.h5"
    with h5py.File(file, "w") as content:
        content.attrs["model_config"] = "[" * 20000
    with pytest.raises(InputError, match="not a Keras model file"):
        read_config(file)


def nested(inner: dict[str, Any]) -> dict[str, Any]:
    return sequential({"class_name": "Sequential", "config": {"name": "block", "layers": [inner]}})


def test_models_in_models_are_rebuilt_like_the_outer_one() -> None:
    inner = functional([["in", 0, 0, {}]])["config"]
    outer = {
        "class_name": "Functional",
        "name": "block",
        "config": {**inner, "name": "block", "keras_version": "2"},
        "inbound_nodes": [[["a", 0, 0, {"training": None}], ["b", 0, 0, {"mask": None}]]],
    }
    start = {"class_name": "InputLayer", "name": "a", "config": {"name": "a", "batch_input_shape": [None, 4]}}
    second = {**start, "name": "b", "config": {**start["config"], "name": "b"}}
    ends = {"input_layers": [["a", 0, 0], ["b", 0, 0]], "output_layers": ["block", 1, 0]}
    config = safe_model_config(
        {"class_name": "Functional", "config": {"name": "net", "layers": [start, second, outer], **ends}}, WHERE
    )
    block = config["config"]["layers"][2]
    assert block["inbound_nodes"] == [[["a", 0, 0, {}], ["b", 0, 0, {}]]]
    assert (block["config"]["name"], len(block["config"]["layers"]), "keras_version" in block["config"]) == (
        "block",
        2,
        False,
    )
    assert block["config"]["layers"][1]["inbound_nodes"] == [["in", 0, 0, {}]]
    assert config["config"]["output_layers"] == [["block", 1, 0]]


def test_what_is_wrong_inside_a_model_is_named_with_its_path() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        safe_model_config(nested(dense(kernel_quantizer="os.system")), WHERE)
    assert str(caught.value).startswith("m.h5: layer 'block/fc' (QDense): kernel_quantizer is the text 'os.system'; ")
    lambda_inside = {"class_name": "Lambda", "config": {"name": "l", "function": {}}}
    with pytest.raises(UnsupportedModel, match=r"m\.h5: layer 'block/l' \(Lambda\): .* would run code from the file"):
        safe_model_config(nested(lambda_inside), WHERE)


def test_models_nested_without_end_are_refused() -> None:
    layer: dict[str, Any] = dense()
    for _ in range(20):
        layer = {"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}}
    with pytest.raises(UnsupportedModel) as caught:
        safe_model_config(sequential(layer), WHERE)
    assert str(caught.value) == "m.h5: has models in models, more than 16 deep"


@pytest.mark.parametrize("ends", [None, [], "f", [["f", 0]], [["f", 0, "0"]], [["f", -1, 0]], {"f": 3}])
def test_ends_that_name_no_layers_are_refused(ends: Any) -> None:
    config = functional([[["in", 0, 0, {}]]])
    config["config"]["output_layers"] = ends
    with pytest.raises(UnsupportedModel) as caught:
        safe_model_config(config, WHERE)
    assert str(caught.value) == f"m.h5: output_layers must name layers of the model, found {ends!r}"


def convolution(**changes: Any) -> dict[str, Any]:
    config = {
        "name": "c",
        "filters": 3,
        "kernel_size": [3, 3],
        "padding": "same",
        "strides": [1, 1],
        "activation": "relu",
    }
    return {"class_name": "QConv2D", "config": {**config, **changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filters": 0}, "filters must be 1 to 1048576, found 0"),
        ({"filters": True}, "filters must be 1 to 1048576, found True"),
        ({"groups": 2.0}, "groups must be 1 to 1048576, found 2.0"),
        ({"kernel_size": [3, 1 << 30]}, f"kernel_size must hold numbers up to 1048576, found {[3, 1 << 30]}"),
        ({"strides": [[[1]]]}, "strides must be a plain value, found [[[1]]]"),
        ({"padding": {"class_name": "Lambda"}}, "padding must be a plain value, found {'class_name': 'Lambda'}"),
    ],
)
def test_sizes_that_are_refused(changes: dict[str, Any], message: str) -> None:
    assert refusal(convolution(**changes)) == f"m.h5: layer 'c' (QConv2D): {message}"


def test_inputs_of_more_than_a_sample_can_hold_are_refused() -> None:
    config = sequential()
    config["config"]["layers"][0]["config"]["batch_input_shape"] = [None, 1 << 20, 1 << 20]
    with pytest.raises(
        InputError, match=r"layer 'in' \(InputLayer\): its input shape .* has more than 268435456 elements"
    ):
        safe_model_config(config, WHERE)
    config["config"]["layers"][0]["config"] = {"name": "in", "batch_input_shape": [None, 4], "sparse": True}
    with pytest.raises(UnsupportedModel) as caught:
        safe_model_config(config, WHERE)
    assert str(caught.value) == "m.h5: layer 'in' (InputLayer): is sparse or ragged; supported are dense inputs"


def test_scales_a_channel_are_plain_lists() -> None:
    """Keras writes an array as an object that it would make again; here it stays a list until the quantiser is made."""
    array = {"class_name": "__numpy__", "config": {"value": [0.5, 1.0, 2.0], "dtype": "float32"}}
    config = safe_model_config(sequential(dense(kernel_quantizer=quantiser(alpha=array))), WHERE)
    kept = config["config"]["layers"][1]["config"]["kernel_quantizer"]
    assert kept == quantiser(alpha=[0.5, 1.0, 2.0])
    other = {"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}}
    assert "has alpha = {'class_name': '__numpy__'" in refusal(dense(kernel_quantizer=quantiser(alpha=other)))
    assert "has bits = [4]" in refusal(dense(kernel_quantizer=quantiser(bits=[4])))


def test_json_descriptions(tmp_path: Path) -> None:
    file = tmp_path / "m.json"
    file.write_text(json.dumps({**sequential(dense()), "keras_version": "2.4.0", "backend": "tensorflow"}))
    assert read_config(file)["class_name"] == "Sequential"
    for content in ("", "[]", "{}", '{"class_name": "Sequential", "config": 3}', "\xff"):
        file.write_text(content, encoding="latin-1")
        with pytest.raises(InputError, match=r"m\.json: not a Keras model file \("):
            read_config(file)


def test_descriptions_of_many_megabytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.frontends.qkeras_file._MAXIMUM_JSON_BYTES", 100)
    file = tmp_path / "m.json"
    file.write_text(json.dumps(sequential(dense())))
    with pytest.raises(InputError, match=r"\(ValueError: its description takes more than 100 bytes\)"):
        read_config(file)
    archive = tmp_path / "m.keras"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("config.json", json.dumps(sequential(dense())))
        content.writestr("model.weights.h5", b"")
    with pytest.raises(InputError, match=r"\(ValueError: its description takes more than 100 bytes\)"):
        read_config(archive)
