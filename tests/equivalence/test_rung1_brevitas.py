# SPDX-License-Identifier: Apache-2.0
"""Rung 1 for Brevitas and QONNX: the framework's own output equals the interpreter's, integer by integer."""

from __future__ import annotations

import importlib.util
import json
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from toolchain.data_folders import MODELS
from toolchain.errors import InputError, UnsupportedModel, UsageError
from toolchain.frontends import load_model, load_vectors
from toolchain.ir import AddBias, Input, OutOfRange, Requantise, Threshold, interpret, quantise_input
from toolchain.pipeline import build_hardware
from toolchain.pipeline.inspection import inspect_model

sys.path.insert(0, str(Path(__file__).parent))
from onnx_files import Net, assert_equal, check, helper, kinds, onnx


def recipe(name: str) -> ModuleType:
    """models/<name>/train.py as a module."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", MODELS / name / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_digits_on_the_whole_held_out_part_by_qonnx() -> None:
    model = load_model("digits_brevitas")
    assert model.folder is not None
    assert model.folder.vectors is not None
    vectors = load_vectors(model.folder.vectors)
    assert model.framework.startswith("qonnx ")
    assert_equal(model, vectors.x)
    assert [node.name for node in model.graph.nodes] == [
        "x", "dense_1", "relu_1", "dense_2", "relu_2", "logits", "logits/bias",
    ]  # fmt: skip
    # The integers' argmax gives the accuracy in metrics.json: one scale serves all logits.
    integers = quantise_input(model.graph.inputs[0], vectors.x).integers
    (logits,) = interpret(model.graph, integers).values()
    metrics = json.loads((model.folder.path / "metrics.json").read_text())
    assert metrics["accuracy"] == (logits.argmax(axis=1) == vectors.y_true).mean() >= 0.96
    assert len(model.graph.outputs[0].scale) == 1


def test_digits_on_the_whole_held_out_part_by_brevitas() -> None:
    """The class in train.py with the committed state_dict: the same graph as the committed QONNX file, and equal live."""
    pytest.importorskip("brevitas")
    module = recipe("digits_brevitas").build_model()
    folder = MODELS / "digits_brevitas"
    model = load_model(module, input_shape=(64,), weights=folder / "model.pt")
    assert model.framework.startswith("brevitas ")
    x = load_vectors(folder / "vectors.npz").x
    assert_equal(model, x)
    with np.load(folder / "vectors.npz") as stored:
        assert np.abs(model.run(x) - stored["y_framework"]).max() < 1e-5  # type: ignore[misc]
    committed = load_model("digits_brevitas").graph
    assert [n.name for n in model.graph.nodes] == [n.name for n in committed.nodes]
    for mine, theirs in zip(model.graph.nodes[1:], committed.nodes[1:], strict=True):
        for field in ("weights", "thresholds", "bias"):
            if hasattr(mine.operation, field):
                assert (getattr(mine.operation, field) == getattr(theirs.operation, field)).all()


def test_digits_refuses_pixels_out_of_range() -> None:
    source = load_model("digits_brevitas").graph.inputs[0]
    assert isinstance(source.operation, Input)
    assert source.operation.out_of_range is OutOfRange.REFUSE
    with pytest.raises(InputError, match="1 of 64 values lie outside"):
        quantise_input(source, np.full((1, 64), 1.0) + np.eye(1, 64))


FREE = 0.0731
MODES = ["ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN", "HALF_EVEN"]


@pytest.mark.parametrize("mode", MODES)
def test_power_of_two_scales_become_shifts_in_every_mode(mode: str, tmp_path: Path) -> None:
    net = Net().quant(0.25, 6, mode=mode).dense(5, 0.125).quant(0.5, 4, mode=mode).dense(3, 0.25)
    model = check(net, tmp_path, 0.25, 10.0)
    assert kinds(model) == ["input", "dense", "requantise", "dense"]
    assert model.graph.outputs[0].scale == (1.0,)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("relu", [False, True])
def test_free_scales_become_thresholds_in_every_mode(mode: str, relu: bool, tmp_path: Path) -> None:
    # The bias keeps sums of 0, which float32 does not always reach exactly, off the steps of CEIL, FLOOR and the like.
    net = Net().quant(0.25, 6).dense(5, FREE).node("Add", [0.013, -0.021, 0.2, -0.31, 0.007])
    net = net.node("Relu") if relu else net
    net = net.quant(0.61, 4, signed=int(not relu), mode=mode).dense(3, 0.19)
    model = check(net, tmp_path, 0.25, 10.0)
    assert kinds(model) == ["input", "dense", "threshold", "dense"]


@pytest.mark.parametrize("mode", ["ROUND", "HALF_UP", "HALF_DOWN", "DOWN", "UP"])
def test_exact_ties_in_thresholds(mode: str, tmp_path: Path) -> None:
    """Scales 3 * 2**-k: no shift, yet every tie is exact in float32 as well, so a wrong tie would show."""
    net = Net().quant(0.25, 6).dense(5, 0.25).quant(0.375, 5, mode=mode).dense(3, 0.25)
    model = check(net, tmp_path, 0.25, 10.0)
    assert isinstance(model.graph.nodes[2].operation, Threshold)


@pytest.mark.parametrize(("step", "kind"), [(0.5, "requantise"), (0.61, "threshold")])
def test_a_relu_before_a_signed_quantiser(step: float, kind: str, tmp_path: Path) -> None:
    """The steps up to 0 are reached whatever the sum is; what is left is an unsigned type."""
    net = Net().quant(0.25, 6).dense(5, 0.125).node("Relu").quant(step, 4, signed=1).dense(3, 0.19)
    model = check(net, tmp_path, 0.25, 10.0)
    assert model.graph.nodes[2].operation.kind == kind
    assert not model.graph.types[model.graph.nodes[2].name].element.signed


def test_negative_factors_flip_the_weights(tmp_path: Path) -> None:
    factors = np.array([1.3, -0.7, -2.1, 0.0, 0.4])
    net = Net().quant(0.25, 6).dense(5, FREE).node("Mul", factors).node("Add", [0.3, -0.2, 0.1, 0.25, 0.0])
    net.node("Relu").quant(0.31, 4, signed=0).dense(3, 0.19)
    assert kinds(check(net, tmp_path, 0.25)) == ["input", "dense", "threshold", "dense"]


def test_batch_norm_with_negative_gamma(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    net = Net().quant(0.25, 6).dense(5, [[0.1, 0.2, 0.07, 0.3, 0.11]])
    gamma, beta, mean = random.normal(0, 1, (3, 5))
    net.node("BatchNormalization", gamma, beta, mean, random.uniform(0.5, 2, 5), epsilon=1e-3)
    net.node("Relu").quant(0.31, 4, signed=0).dense(3, 0.19)
    assert kinds(check(net, tmp_path, 0.25)) == ["input", "dense", "threshold", "dense"]


def test_operands_in_either_order_and_every_arithmetic_node(tmp_path: Path) -> None:
    net = Net().quant(0.25, 6).dense(4, FREE)
    net.node("Div", [0.5, 2.0, 0.8, 4.0]).node("Sub", 0.37)
    kept = net.last
    net.node("Add", kept, tensor=net.constant(np.float32(0.11)))
    kept = net.last
    net.node("Mul", kept, tensor=net.constant([[1.0, 0.5, 3.0, 1.0]]))
    net.quant(0.4, 5).dense(3, 0.19)
    check(net, tmp_path, 0.25)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("zero", [0, 3])
def test_zero_points_and_narrow_ranges(zero: int, signed: int, tmp_path: Path) -> None:
    net = Net().quant(0.23, 5, zero=zero, signed=signed, narrow=1).dense(4, FREE)
    net.quant(0.37, 4, zero=zero, signed=signed, narrow=1).dense(3, 0.19).node("Add", [0.1, 0.2, 0.3])
    model = check(net, tmp_path, None)
    assert model.graph.outputs[0].offset != (0.0,)


def test_bipolar_weights_and_activations(tmp_path: Path) -> None:
    net = Net().quant(0.25, 6)
    kept = net.last
    net.node("BipolarQuant", np.float32(0.3), tensor=net.constant(net.random.normal(0, 1, (6, 5))))
    weights, net.last = net.last, kept
    net.node("MatMul", weights)
    net.shape = (5,)
    net.node("Add", [0.1, -0.2, 0.02, 0.04, 0.4]).node("BipolarQuant", np.float32(0.7)).dense(3, 0.19)
    assert kinds(check(net, tmp_path, 0.25)) == ["input", "dense", "threshold", "dense"]


def test_gemm_with_a_bias_on_the_accumulators_steps(tmp_path: Path) -> None:
    """The bias's scale is the float32 product of two others, as Brevitas writes it; it must count as integers."""
    net = Net().quant(np.float32(0.23), 5)
    weights = net.weights(4, np.float32(FREE))
    kept = net.last
    net.quant(np.float32(0.23) * np.float32(FREE), 16, tensor=net.constant(net.random.normal(0, 1, 4)))
    bias, net.last = net.last, kept
    net.node("Gemm", weights, bias, alpha=1.0, beta=1.0)
    model = check(net, tmp_path, None)
    assert kinds(model) == ["input", "dense", "add_bias"]
    assert model.graph.outputs[0].offset == (0.0,)
    assert isinstance(model.graph.nodes[2].operation, AddBias)


def test_gemm_transposed_weights_and_float_bias(tmp_path: Path) -> None:
    net = Net().quant(0.25, 5)
    kept = net.last
    net.quant([[0.1], [0.2], [0.07]], 4, narrow=1, tensor=net.constant(net.random.normal(0, 0.4, (3, 6))))
    weights, net.last = net.last, kept
    net.node("Gemm", weights, [0.1, 0.2, -0.3], transB=1).node("Relu").quant(0.21, 4, signed=0)
    net.shape = (3,)
    net.dense(2, 0.3)
    check(net, tmp_path, 0.25)


def test_flatten_reshape_identity_transpose_and_softmax(tmp_path: Path) -> None:
    net = Net().node("Flatten", axis=1).node("Identity").quant(0.25, 5)
    kept = net.last
    net.quant(0.1, 4, tensor=net.constant(net.random.normal(0, 0.4, (4, 6)))).node("Transpose", perm=[1, 0])
    weights, net.last = net.last, kept
    net.node("MatMul", weights).quant(0.317, 4).node("Reshape", np.array([1, 2, 2], dtype=np.int64))
    net.node("Reshape", np.array([1, -1], dtype=np.int64))
    net.shape = (4,)
    net.dense(3, 0.2).node("Softmax", axis=-1)
    model = load_model(net.save(tmp_path))
    assert model.graph.outputs[0].host_function == "softmax"
    assert_equal(model, (np.random.default_rng(1).integers(-40, 40, (40, 6)) / 8).astype(np.float32))


def test_an_input_that_the_model_does_not_quantise(tmp_path: Path) -> None:
    net = Net().dense(4, FREE).quant(0.37, 4).dense(3, 0.19)
    file = net.save(tmp_path)
    with pytest.raises(UsageError) as caught:
        load_model(file)
    assert str(caught.value) == (
        f"{file}: node 'dense1' (MatMul) works on inputs that the model has not quantised: give the type that the inputs have in "
        "hardware with input_type (--input-type on the command line; x=TYPE where there are several inputs), for example "
        "'fixed<16,6>', 'uint8' or 'uint8*1/255', or samples to choose it from with input_samples (--input-samples FILE.npz), or let the model begin with a quantiser "
        "(QActivation, QuantIdentity)"
    )
    check(net, tmp_path, 0.25, input_type="fixed<8,4>")


def test_many_levels_on_a_shift(tmp_path: Path) -> None:
    """16-bit activations with power-of-two scales and a bias off the accumulator's steps: a finer sum, no thresholds."""
    net = Net().quant(2.0**-6, 10).dense(4, 2.0**-5).node("Add", [0.3, -0.7, 0.11, 1.7]).quant(2.0**-9, 16)
    model = check(net, tmp_path, 2.0**-6)
    assert kinds(model) == ["input", "dense", "add_bias", "requantise"]
    assert isinstance(model.graph.nodes[3].operation, Requantise)


@pytest.mark.parametrize("bits", [14, 16])
def test_a_multiplier_and_shift_for_many_levels_on_a_free_scale(bits: int, tmp_path: Path) -> None:
    net = (
        Net()
        .quant(0.25, 6)
        .dense(4, FREE)
        .node("Add", [0.013, -0.021, 0.2, -0.31])
        .quant(FREE * 0.0137, bits)
        .dense(3, 0.5)
    )
    model = check(net, tmp_path, 0.25)
    assert kinds(model) == ["input", "dense", "scale", "add_bias", "requantise", "dense"]
    assert "approximations" not in model.graph.metadata


def test_a_negative_factor_before_a_product(tmp_path: Path) -> None:
    check(Net().quant(0.25, 6).node("Mul", -1.0).dense(3, 0.25), tmp_path)


def test_a_product_of_values_with_a_scale_a_channel(tmp_path: Path) -> None:
    """The scales have a step in common (2**-8 of the third), of which each is a whole multiple."""
    check(Net().quant(0.25, 6).dense(4, [[0.125, 0.375, 2.0**-8, 1.0]]).dense(3, 0.25), tmp_path)


def test_files_that_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    for content in (b"", b"hello there", b"\x00" * 50):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"net\.onnx: not an ONNX file"):
            load_model(file)
    proto = Net().quant(0.25, 6).dense(3).proto()
    proto.graph.node[-1].input[0] = "nowhere"
    onnx.save_model(proto, file)
    with pytest.raises(InputError, match=r"net\.onnx: not a valid ONNX model: "):
        load_model(file)
    onnx.save_model(
        Net().quant(0.25, 6).dense(3).proto(), file, save_as_external_data=True, location="weights", size_threshold=0
    )
    with pytest.raises(UnsupportedModel) as caught:
        load_model(file)
    assert str(caught.value) == f"{file}: tensor 'c0' is kept in another file; save the model as one file"


def test_a_domain_that_would_be_imported_is_refused(tmp_path: Path) -> None:
    """qonnx imports a Python module of the domain's name to look an operation up."""
    proto = Net().quant(0.25, 6).dense(3).proto()
    proto.graph.node[-1].domain = "this.module"
    proto.opset_import.append(helper.make_opsetid("this.module", 1))
    file = tmp_path / "net.onnx"
    onnx.save_model(proto, file)
    with pytest.raises(UnsupportedModel) as caught:
        load_model(file)
    assert str(caught.value) == (
        f"{file}: uses operations of domain 'this.module'; supported are ONNX's own and 'qonnx.custom_op.general' (QONNX)"
    )


def test_hostile_node_names_are_kept(tmp_path: Path) -> None:
    name = "a b'\";$(touch ran)/../é"
    net = Net().quant(0.25, 6).dense(3)
    proto = net.proto()
    proto.graph.node[-1].name = name
    file = tmp_path / "net.onnx"
    onnx.save_model(proto, file)
    model = load_model(file)
    assert model.graph.nodes[1].name == name
    assert model.graph.nodes[1].source == f"{name!r} (MatMul)"


class Bomb:
    """Creates a file if it is ever unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


def test_a_module_without_a_shape_and_bad_checkpoints(tmp_path: Path) -> None:
    pytest.importorskip("brevitas")
    import torch

    module = recipe("digits_brevitas").build_model()
    with pytest.raises(UsageError) as caught:
        load_model(module)
    assert str(caught.value) == "a torch module does not know its input's shape: give input_shape, for example (64,)"
    with pytest.raises(InputError) as missing:
        load_model(module, input_shape=(64,), weights=tmp_path / "none.pt")
    assert str(missing.value) == f"{tmp_path / 'none.pt'}: no such file"
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InputError, match=r"text\.pt: not a checkpoint of tensors only"):
        load_model(module, input_shape=(64,), weights=tmp_path / "text.pt")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: does not fit module Digits"):
        load_model(module, input_shape=(64,), weights=tmp_path / "other.pt")
    torch.save({"weights": Bomb(tmp_path / "exploded")}, tmp_path / "pickled.pt")
    with pytest.raises(InputError, match=r"pickled\.pt: not a checkpoint of tensors only"):
        load_model(module, input_shape=(64,), weights=tmp_path / "pickled.pt")
    assert not (tmp_path / "exploded").exists()


def test_a_module_with_nan_is_refused() -> None:
    pytest.importorskip("brevitas")
    import torch

    module = recipe("digits_brevitas").build_model()
    with torch.no_grad():
        module.dense_2.bias[3] = float("nan")
    with pytest.raises(UnsupportedModel) as caught:
        load_model(module, input_shape=(64,))
    assert str(caught.value) == "module Digits: tensor 'dense_2.bias' holds NaN or infinity; all must be finite"


def test_an_approximation_is_told_with_its_error_over_all_accumulator_values(tmp_path: Path) -> None:
    """A third has no multiplier that hits every tie: the graph says so, and inspect and the report of a build with it.

    What it states is what a run over every integer finds, against fractions. On the other inputs the framework is equal.
    """
    net = Net(2).quant(1.0, 16).node("Add", [1.5, 0.25]).quant(3.0, 15)
    file = net.save(tmp_path)
    model = load_model(file)
    assert kinds(model) == ["input", "scale", "add_bias", "requantise"]
    x = np.arange(-(1 << 15), 1 << 15)
    output = model.graph.outputs[0]
    integers = interpret(model.graph, np.stack([x, x], axis=1))[output.tensor]
    exact = [[round((Fraction(int(v)) + offset) / 3) for offset in (Fraction(3, 2), Fraction(1, 4))] for v in x]
    errors = np.abs(integers - np.array(exact))
    assert errors.max() == 1
    told = (
        "'n2' (Quant): a 48-bit multiplier and shift in place of the exact scale; the result differs by one step for "
        f"{int((errors > 0).sum())} of the 131072 accumulator values that can occur"
    )
    assert int((errors > 0).sum()) > 1000
    assert model.graph.metadata["approximations"] == told
    assert inspect_model(model).to_json()["metadata"]["approximations"] == told
    # Ties lie at the multiples of three.
    between = x[(x % 3 != 0) & (errors == 0).all(axis=1)][:2000]
    np.savez(tmp_path / "v.npz", x=np.stack([between, between], axis=1).astype(np.float32))
    built = build_hardware(file, out=tmp_path / "b", until="graph", vectors=tmp_path / "v.npz")
    assert f"Not exact: {told}." in built.report["notes"]
    assert told in (tmp_path / "b" / "report.html").read_text().replace("&#39;", "'")
