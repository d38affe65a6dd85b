# SPDX-License-Identifier: Apache-2.0
"""Published QONNX networks: the integers are those of the recorded outputs, and the accuracy is the published one.

The files and data lie in the folder `shared` beside this repository; without it these tests are skipped.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.reference_models import reference_model
from toolchain.frontends import LoadedModel, load_model
from toolchain.ir import interpret, quantise_input
from toolchain.verify.framework import compare_framework

pytest.importorskip("onnx")
pytest.importorskip("qonnx")

_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def data(name: str) -> dict[str, np.ndarray]:
    """A data set's arrays; skips the test where it is not there."""
    file = _DATA / name
    if not file.is_file():
        pytest.skip(f"needs data: {name} in {_DATA.parent.name}/{_DATA.name} beside the repository")
    with np.load(file) as stored:
        return {key: stored[key] for key in stored.files}


def recorded(folder: Path, name: str = "ref.npz") -> dict[str, np.ndarray]:
    with np.load(folder / name) as stored:
        return {key: stored[key] for key in stored.files}


def assert_recorded(model: LoadedModel, x: np.ndarray, y: np.ndarray) -> None:
    """The recorded outputs stand for the interpreter's integers, every one."""
    result = compare_framework(replace(model, run=lambda _: y), x)
    assert (result.vectors, result.differing_values, result.first_mismatch) == (len(x), 0, None)


def scores(model: LoadedModel, x: np.ndarray) -> np.ndarray:
    """The integers of each sample's classes; one scale and offset serve them all."""
    (output,) = model.graph.outputs
    assert (len(output.scale), len(output.offset)) == (1, 1)
    integers = quantise_input(model.graph.inputs[0], x).integers
    return interpret(model.graph, integers)[output.tensor].reshape(len(x), -1)


def test_tfc_w2a2() -> None:
    folder = reference_model("qonnx_tfc_w2a2")
    model, stored = load_model(folder / "TFC_2W2A.onnx"), recorded(folder)
    assert_recorded(model, stored["x"], stored["y"])
    live = compare_framework(model, stored["x"][:20])
    assert (live.vectors, live.differing_values) == (20, 0)


def test_tfc_w2a2_on_mnist() -> None:
    folder, images = reference_model("qonnx_tfc_w2a2"), data("mnist.npz")
    model = load_model(folder / "TFC_2W2A.onnx")
    x = (images["x_test"][:1000, None] / np.float32(255)).astype(np.float32)
    assert_recorded(model, x, recorded(folder, "ref_mnist1000.npz")["y"])
    assert (scores(model, x).argmax(axis=1) == images["y_test"][:1000]).mean() == 0.966


def test_kws_w3a3() -> None:
    folder = reference_model("qonnx_kws_w3a3_mlperf")
    model, stored = load_model(folder / "QONNX_model.onnx"), recorded(folder)
    assert_recorded(model, stored["x"], stored["y"])
    live = compare_framework(model, stored["x"][:20])
    assert (live.vectors, live.differing_values) == (20, 0)


def test_kws_w3a3_on_speech_commands() -> None:
    """All 12,000 integers are the recorded ones. Two samples have two equal largest integers, which float32 sums tell apart in
    their last bit: there the published class is one of the two, and the graph's, the lower index, the other.
    """
    folder, sounds = reference_model("qonnx_kws_w3a3_mlperf"), data("kws_mfcc_int8.npz")
    model, stored = load_model(folder / "QONNX_model.onnx"), recorded(folder, "ref_kws1000.npz")
    order = np.argsort(np.concatenate([sounds["idx_train"], sounds["idx_test"]]))
    whole, labels, published = (
        np.concatenate([sounds[f"{name}_train"], sounds[f"{name}_test"]])[order] for name in ("x", "y", "finn_pred")
    )
    x = whole.astype(np.float32) * stored["input_scale"]
    assert_recorded(model, x, stored["y"])
    integers = scores(model, x)
    largest = integers == integers.max(axis=1, keepdims=True)
    is_tied = largest.sum(axis=1) > 1
    found = integers.argmax(axis=1)
    assert (stored["pred"] == published).all()
    assert largest[np.arange(1000), published].all()
    assert np.flatnonzero(found != published).tolist() == np.flatnonzero(is_tied).tolist() == [515, 886]
    assert (published == labels).mean() == 0.826
    assert (found == labels).mean() == 0.825


def test_jet_tagger() -> None:
    """It does not quantise its inputs; the recorded ones are multiples of 2**-10."""
    folder = reference_model("qonnx_jettag_w6a6")
    model = load_model(folder / "qkeras_jettagging.onnx", input_type="fixed<16,6>")
    stored = recorded(folder)
    x = stored["x"]
    assert (x * 1024 == np.rint(x * 1024)).all()
    live = compare_framework(model, x)
    assert (live.vectors, live.differing_values) == (len(x), 0)
    output = model.graph.outputs[0]
    logits = interpret(model.graph, quantise_input(model.graph.inputs[0], x).integers)[output.tensor]
    if output.host_function == "softmax":
        step = np.array(output.scale) * 2.0 ** -model.graph.types[output.tensor].element.fraction
        powers = np.exp(logits * step - (logits * step).max(axis=1, keepdims=True))
        assert np.abs(powers / powers.sum(axis=1, keepdims=True) - stored["y"]).max() < 1e-6
    else:
        assert_recorded(model, x, stored["y"])
