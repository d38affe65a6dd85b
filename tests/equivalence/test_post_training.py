# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation: what it writes equals the integer graph, bit for bit, and is what was asked for."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.equivalence.float_networks import FloatNet, convolutional, everything
from toolchain import build_hardware, evaluate, load_model
from toolchain.cli import main
from toolchain.errors import InputError, ToolchainError, UnsupportedModel, UsageError
from toolchain.frontends import LoadedModel, loaded_from, read_model_folder
from toolchain.frontends.post_training import Calibration, QuantisedModel, quantise
from toolchain.frontends.post_training.runner import runner
from toolchain.frontends.post_training.steps import Format
from toolchain.ir import IntegerType
from toolchain.report.report import read_report
from toolchain.verify.framework import compare_framework

pytest.importorskip("onnxruntime")


def samples(*shape: int, count: int = 100, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1, (count, *shape)).astype(np.float32)


def quantised(net: FloatNet, folder: Path, x: np.ndarray | None = None, **settings: Any) -> QuantisedModel:
    data = samples(*net.shape) if x is None else x
    return quantise(net.save(folder / "float.onnx"), Calibration(data, **settings))


def assert_equal(model: LoadedModel, x: np.ndarray) -> None:
    comparison = compare_framework(model, x)
    assert (comparison.differing_values, comparison.first_mismatch) == (0, None)


SETTINGS = [
    {},
    {"method": "minmax", "per_channel": True},
    {"method": "percentile", "percentile": 99.5},
    {"weight_bits": 4, "activation_bits": 4, "bias_correction": True},
    {"weight_bits": 2, "activation_bits": 3, "input_bits": 5, "per_channel": True},
    {"weight_bits": 6, "activation_bits": 10, "input_bits": 12},
    {"weight_bits": 5, "input_type": "fixed<7,4> saturate"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: " ".join(f"{k}={v}" for k, v in settings.items()))
@pytest.mark.parametrize("network", [convolutional, everything])
def test_the_integer_graph_is_what_onnx_runtime_computes(
    network: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Steps are powers of two, so the framework's float32 is exact too; samples that the calibration has not seen."""
    model = quantised(network(), tmp_path, **settings)
    assert_equal(loaded_from(model), 2 * samples(*network().shape, count=60, seed=9))
    kinds = {node.operation.kind for node in model.imported.graph.nodes}
    assert "threshold" not in kinds or network is everything, "requantising is a shift"


def test_any_step_is_followed_too(tmp_path: Path) -> None:
    """Float32 steps: thresholds in the graph. ONNX Runtime rounds its sums, so a value next to a tie may differ by a step."""
    model = quantised(convolutional(), tmp_path, power_of_two=False, per_channel=True)
    x = samples(2, 8, 8, count=60, seed=9)
    loaded = loaded_from(model)
    comparison = compare_framework(loaded, x)
    assert (comparison.mismatches, comparison.first_mismatch) == (0, None)
    assert comparison.explained_ties <= 2
    steps = [entry["step"] for entry in model.record["activations"]]
    assert any(np.log2(step) != int(np.log2(step)) for step in steps)


def test_weights_biases_and_steps_in_the_file(tmp_path: Path) -> None:
    """Against plain arithmetic: integers are the rounded quotients, biases lie on the sum's own step."""
    net = FloatNet(4).dense(4, 3).node("Relu").dense(3, 2)
    x = samples(4)
    model = quantised(net, tmp_path, x, method="minmax", weight_bits=5, activation_bits=6)
    arrays = {tensor.name: onnx_array(tensor) for tensor in model.proto.graph.initializer}
    float_arrays = {tensor.name: onnx_array(tensor) for tensor in net.constants}
    hidden = np.maximum(x @ float_arrays["constant0"] + float_arrays["constant1"], 0)

    def step(values: np.ndarray, lowest: int, highest: int) -> float:
        power = 2.0**-20
        while values.max() / power > highest + 0.5 or values.min() / power < lowest - 0.5:
            power *= 2
        return power

    x_step, hidden_step = step(x, -128, 127), step(hidden, 0, 63)
    first, second = (step(float_arrays[name], -15, 15) for name in ("constant0", "constant2"))
    assert [entry["step"] for entry in model.record["activations"]] == [x_step, hidden_step]
    assert [entry["steps"] for entry in model.record["weights"]] == [[first], [second]]
    assert np.array_equal(arrays["gemm0/weights/integers"], np.rint(float_arrays["constant0"] / first))
    assert arrays["gemm0/weights/integers"].dtype == np.int8
    assert np.array_equal(arrays["gemm0/bias/integers"], np.rint(float_arrays["constant1"] / (x_step * first)))
    assert np.array_equal(arrays["gemm2/bias/integers"], np.rint(float_arrays["constant3"] / (hidden_step * second)))
    graph = model.imported.graph
    assert graph.types["x"].element == IntegerType(True, 8, -int(np.log2(x_step)))
    assert [entry["clipped_share"] for entry in model.record["activations"]] == [0.0, 0.0]
    # The last layer's exact value for one sample, with fractions.
    output = graph.outputs[0]
    given = evaluate(loaded_from(model), vectors=save(tmp_path / "v.npz", x=x[:1]))["arrays"]["y"][0]
    q = [Fraction(int(np.clip(np.rint(v / x_step), -128, 127))) * Fraction(x_step) for v in x[0]]
    for layer, (scale, bias_scale) in (("gemm0", (first, x_step * first)), ("gemm2", (second, hidden_step * second))):
        w, b = arrays[f"{layer}/weights/integers"].astype(int), arrays[f"{layer}/bias/integers"].astype(int)
        q = [
            sum(v * int(w[i, o]) for i, v in enumerate(q)) * Fraction(scale) + int(b[o]) * Fraction(bias_scale)
            for o in range(w.shape[1])
        ]
        if layer == "gemm0":
            steps = [round(v / Fraction(hidden_step)) for v in q]  # Python rounds ties to even too
            q = [min(max(n, 0), 63) * Fraction(hidden_step) for n in steps]
    assert [Fraction(v) for v in given.tolist()] == q
    assert output.host_function == ""


def onnx_array(tensor: Any) -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_the_last_layer_has_one_step_and_the_others_one_a_channel(tmp_path: Path) -> None:
    model = quantised(convolutional(), tmp_path, per_channel=True, method="minmax")
    counts = {entry["layer"]: len(entry["steps"]) for entry in model.record["weights"]}
    *others, last = counts.values()
    assert last == 1
    assert max(others) > 1
    assert len(set(model.imported.graph.outputs[0].scale)) == 1
    plain = quantised(convolutional(), tmp_path, method="minmax")
    assert {len(entry["steps"]) for entry in plain.record["weights"]} == {1}
    errors = [[e["root_mean_square_error"] for e in m.record["weights"]] for m in (model, plain)]
    assert sum(errors[0]) < sum(errors[1])


def test_what_is_concatenated_shares_one_step(tmp_path: Path) -> None:
    """Signed where one of them is; then the layer behind it reads one format, and nothing is rounded again."""
    net = FloatNet(6)
    left = net.dense(6, 4).node("Relu").last
    net.node("Gemm", "x", net.weights(6, 3, spread=4.0), net.weights(3))
    net.node("Concat", left, net.last, axis=1).dense(7, 2)
    model = quantised(net, tmp_path)
    entries = {
        entry["tensor"]: (entry["step"], entry["signed"], entry["highest"]) for entry in model.record["activations"]
    }
    assert set(entries) == {"x", "relu1", "gemm2"}
    assert entries["relu1"][:2] == entries["gemm2"][:2]
    assert entries["gemm2"][1]
    assert entries["relu1"][2] < entries["gemm2"][2] / 2, "alone it would have had a finer step"
    assert_equal(loaded_from(model), samples(6, seed=8))


def test_percentiles_are_onnx_runtimes(tmp_path: Path) -> None:
    from onnxruntime.quantization.calibrate import HistogramCollector

    net, x = FloatNet(6).dense(6, 4).node("Relu").dense(4, 2), samples(6, count=64)
    model = quantised(net, tmp_path, x, method="percentile", percentile=97.0, power_of_two=False, input_bits=6)
    collector = HistogramCollector(
        "percentile", symmetric=False, num_bins=2048, num_quantized_bins=128, percentile=97.0, scenario="same"
    )
    hidden = runner(net.proto(), ["relu1_out"])(x)["relu1_out"]
    collector.collect({"x": x, "hidden": hidden})
    ends = collector.compute_collection_result()
    low, high = (float(v) for v in ends["x"][:2])
    steps = [entry["step"] for entry in model.record["activations"]]
    assert steps == pytest.approx([max(low / -32, high / 31), float(ends["hidden"][1]) / 255], rel=1e-6)
    clipped = model.record["activations"][0]["clipped_share"]
    assert 0 < clipped < 0.04


def test_entropy_clips_a_tail_that_minmax_keeps(tmp_path: Path) -> None:
    x = samples(6, count=640)
    x[0, 0] = 60.0
    net = FloatNet(6).dense(6, 4).node("Relu").dense(4, 2)
    steps = {
        method: quantised(net, tmp_path, x, method=method, input_bits=6).record["activations"][0]["step"]
        for method in ("minmax", "entropy", "mse")
    }
    assert_equal(loaded_from(quantised(net, tmp_path, x, method="entropy")), x)
    assert steps["entropy"] < steps["minmax"]
    assert steps["mse"] < steps["minmax"]


def test_the_least_error_is_the_least(tmp_path: Path) -> None:
    """Among all powers of two, for weights (each channel) and activations."""
    net, x = FloatNet(5).dense(5, 7).node("Relu").dense(7, 2), samples(5, count=300)
    x[0] *= 20
    model = quantised(net, tmp_path, x, weight_bits=3, activation_bits=4, input_bits=4, per_channel=True)

    def least(values: np.ndarray, lowest: int, highest: int) -> float:
        def error(step: float) -> float:
            return float(np.square(np.clip(np.rint(values / step), lowest, highest) * step - values).sum())

        return min((2.0**k for k in range(-16, 8)), key=lambda step: (error(step), -step))

    assert model.record["activations"][0]["step"] == least(x.astype(np.float64), -8, 7)
    weights = onnx_array(net.constants[0]).astype(np.float64)
    arrays = {tensor.name: onnx_array(tensor) for tensor in model.proto.graph.initializer}
    assert arrays["gemm0/weights/step"].tolist() == [least(weights[:, o], -3, 3) for o in range(7)]


@pytest.mark.full
def test_the_least_error_is_not_above_that_of_brevitas(random: np.random.Generator) -> None:
    """Brevitas searches any step by Fibonacci sections; here a fixed number of steps is tried."""
    qnn = pytest.importorskip("brevitas.nn")
    import torch
    from brevitas.quant.scaled_int import Int8WeightPerTensorFloatMSE

    from toolchain.frontends.post_training.steps import best_step

    for bits in (2, 3, 4, 8):
        values = random.normal(size=(16, 40)).astype(np.float32)
        values[0, 0] = 5
        layer = qnn.QuantLinear(40, 16, bias=False, weight_quant=Int8WeightPerTensorFloatMSE, weight_bit_width=bits)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(values))
        scale = float(layer.quant_weight().scale)
        kind = Format(bits, signed=True, is_symmetric=True)
        found = best_step(kind, values, power_of_two=False)
        assert kind.squared_error(values, found) <= 1.02 * kind.squared_error(values, scale)


def test_bias_correction_removes_the_mean_error(tmp_path: Path) -> None:
    """On the calibration samples every channel's mean is the float model's, up to half a step of its sum in each layer."""
    net = convolutional()
    net.nodes.pop()  # the softmax: then the logits are the output
    net.last = net.nodes[-1].output[0]
    x = samples(2, 8, 8)
    means = {}
    for corrected in (False, True):
        model = quantised(net, tmp_path, x, weight_bits=3, activation_bits=4, bias_correction=corrected)
        outputs = [
            runner(p, [net.last])(x)[net.last].mean(axis=0, dtype=np.float64) for p in (net.proto(), model.proto)
        ]
        means[corrected] = np.abs(outputs[0] - outputs[1]).max()
    last = model.record["weights"][-1]["steps"][0] * model.record["activations"][-1]["step"]
    assert means[True] <= last / 2 * 1.001
    assert means[False] > 4 * means[True]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained float network on real data, with calibration and held-out samples."""
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.neural_network import MLPClassifier

    folder = tmp_path_factory.mktemp("digits")
    data = datasets.load_digits()
    x, y = (data.data / 16).astype(np.float32), data.target
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1400], order[1400:]
    network = MLPClassifier((24, 16), random_state=0, max_iter=60).fit(x[train], y[train])
    net = FloatNet(64)
    for number, (weights, bias) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        operands = [net.constant(array.astype(np.float32)) for array in (weights, bias)]
        net.node("Gemm", net.last, *operands, name=f"fc{number}")
        if number < 2:
            net.node("Relu")
    net.node("Softmax", axis=-1).save(folder / "digits.onnx")
    save(folder / "train.npz", x=x[train], y_true=y[train])
    save(folder / "test.npz", x=x[test], y_true=y[test])
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def test_from_a_float_network_to_a_report(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command line, on real data: accuracy before and after, the folder, and the report of its build."""
    out = tmp_path / "quantised"
    command = (
        "quantise",
        digits / "digits.onnx",
        "--calibration",
        digits / "train.npz",
        "--vectors",
        digits / "test.npz",
    )
    status, text, err = run(capsys, *command, "--out", out)
    assert status == 0, err
    assert sorted(path.name for path in out.iterdir()) == [
        "model.onnx", "model.toml", "quantisation.json", "vectors.npz",
    ]  # fmt: skip
    record = json.loads((out / "quantisation.json").read_text())
    before, after = record["accuracy"]["before"], record["accuracy"]["after"]
    assert before > 0.95
    assert abs(before - after) <= 0.01
    assert f"accuracy {100 * before:.2f} % before, {100 * after:.2f} % after, on 397 held-out samples" in text
    with np.load(digits / "test.npz") as vectors:
        x, y = vectors["x"], vectors["y_true"]
    probabilities = runner(load_proto(digits / "digits.onnx"), ["softmax5_out"])(x)["softmax5_out"]
    assert before == float((probabilities.argmax(axis=1) == y).mean())
    folder = read_model_folder(out)
    assert (folder.quantisation["accuracy_before"], folder.quantisation["accuracy_after"]) == (before, after)
    assert evaluate(out, vectors=folder.vectors)["accuracy"] == after
    result = build_hardware(out, until="graph", out=tmp_path / "build")
    report = read_report(result.folder)
    assert report.accuracy == after
    assert report.quantisation == folder.quantisation
    assert report.ladder[0]["mismatches"] == 0
    assert report.notes == [
        "Quantised after training (mse, 8-bit weights per tensor, 8-bit activations): accuracy "
        f"{100 * before:.2f} % before, {100 * after:.2f} % after, on 397 held-out samples."
    ]
    # Again, with other settings, over the earlier result; the same command gives the same bytes.
    status, text, err = run(capsys, *command, "--out", out, "--weight-bits", 4, "--json")
    assert (status, json.loads(text)["settings"]["weight_bits"]) == (0, 4), err
    first = (out / "model.onnx").read_bytes()
    assert run(capsys, *command, "--out", out, "--weight-bits", 4)[0] == 0
    assert (out / "model.onnx").read_bytes() == first


def load_proto(path: Path) -> Any:
    import onnx

    return onnx.load(path)


def test_the_python_interface(digits: Path, tmp_path: Path) -> None:
    calibration = Calibration(digits / "train.npz", weight_bits=6)
    model = quantise(digits / "digits.onnx", calibration)
    assert model.record["accuracy"]["on"] == "calibration samples"
    folder = model.save(tmp_path / "q")
    assert not (folder / "vectors.npz").exists()
    # Vectors of an earlier result do not stay beside a later one that has none.
    held_out = Calibration(digits / "train.npz", vectors=digits / "test.npz", weight_bits=6)
    quantise(digits / "digits.onnx", held_out).save(folder)
    assert read_model_folder(folder).vectors == folder / "vectors.npz"
    model.save(folder)
    assert (read_model_folder(folder).vectors, (folder / "vectors.npz").exists()) == (None, False)
    loaded = load_model(digits / "digits.onnx", calibration=calibration)
    assert loaded.graph.digest == load_model(folder).graph.digest
    assert dict(loaded.quantisation) == read_model_folder(folder).quantisation
    with pytest.raises(UsageError) as caught:
        load_model(digits / "digits.onnx", calibration=calibration, input_type="uint8")
    assert str(caught.value) == "with calibration the input's type belongs into it: Calibration(..., input_type=...)"


@pytest.mark.parametrize(
    ("function", "settings"), [("LeakyRelu", {"alpha": 0.1}), ("Tanh", {}), ("Relu", {}), ("Sigmoid", {}), ("Elu", {})]
)
def test_functions_at_the_end(function: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """What cannot be computed exactly is quantised although only an output follows, or stays on the host."""
    net = FloatNet(4).dense(4, 3).node("Relu").dense(3, 2).node(function, **settings)
    model = quantised(net, tmp_path)
    last = {"LeakyRelu": ["x", "relu1", "leakyrelu3"], "Elu": ["x", "relu1", "gemm2", "elu3"]}.get(
        function, ["x", "relu1"]
    )
    assert [entry["tensor"] for entry in model.record["activations"]] == last
    host = {"Tanh": "tanh", "Sigmoid": "sigmoid"}.get(function, "")
    assert model.imported.graph.outputs[0].host_function == host
    assert model.record["accuracy"]["signal_to_noise_db"] > 25
    assert_equal(loaded_from(model), samples(4, seed=8))


@pytest.mark.parametrize("power_of_two", [True, False])
def test_a_leaky_rectifier_with_16_bits(power_of_two: bool, tmp_path: Path) -> None:
    """Its slope is no power of two, and its result has too many steps for thresholds."""
    net = FloatNet(6).dense(6, 5).node("LeakyRelu", alpha=0.3).dense(5, 3)
    model = quantised(net, tmp_path, weight_bits=16, activation_bits=16, power_of_two=power_of_two)
    assert any(node.name.endswith("/leaky") for node in model.imported.graph.nodes)
    comparison = compare_framework(loaded_from(model), samples(6, seed=8, count=400))
    assert (comparison.mismatches, comparison.first_mismatch) == (0, None)
    assert model.record["accuracy"]["signal_to_noise_db"] > 60


def refusal(source: Any, calibration: Any, **settings: Any) -> tuple[type[ToolchainError], str]:
    with pytest.raises(ToolchainError) as caught:
        quantise(source, Calibration(calibration, **settings))
    return type(caught.value), str(caught.value)


def test_samples_that_cannot_be_used(tmp_path: Path) -> None:
    file = FloatNet(4).dense(4, 2).save(tmp_path / "m.onnx")
    good = samples(4)
    nan = good.copy()
    nan[3, 1] = np.nan
    few, missing, wrong = save(tmp_path / "few.npz", x=good[:5]), tmp_path / "absent.npz", samples(5)
    assert refusal(file, missing) == (InputError, f"{missing}: no such file")
    assert refusal(file, few) == (
        InputError,
        f"{few}: holds 5 samples; at least 16 are needed to find ranges from, and a few hundred are usual",
    )
    assert refusal(file, save(tmp_path / "nan.npz", x=nan)) == (
        InputError, f"{tmp_path / 'nan.npz'}: 'x' holds nan in sample 3 at index [1]; all must be finite",
    )  # fmt: skip
    assert refusal(file, nan) == (
        InputError, "calibration array: holds nan in sample 3 at index [1]; all must be finite"
    )  # fmt: skip
    assert refusal(file, wrong) == (
        InputError, "calibration array: samples have shape (5,), the model's input has (4,)"
    )  # fmt: skip
    assert refusal(file, good, vectors=wrong) == (
        InputError, "calibration array: samples have shape (5,), the model's input has (4,)"
    )  # fmt: skip
    other = save(tmp_path / "other.npz", inputs=good)
    assert refusal(file, other)[1].startswith(f"{other}: holds no array 'x' (found ['inputs'])")
    overflowing = FloatNet(4).dense(4, 2).node("Relu").then("Mul", np.float32(3e38)).then("Mul", np.float32(3e38))
    kind, message = refusal(overflowing.dense(2, 2).save(tmp_path / "o.onnx"), good)
    assert (kind, "gives NaN or infinity" in message) == (InputError, True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight_bits": 1}, "weight_bits (--weight-bits) must be 2 to 16, found 1"),
        ({"activation_bits": 17}, "activation_bits (--activation-bits) must be 2 to 16, found 17"),
        ({"method": "max"}, "method 'max' is not known; allowed: mse, minmax, percentile, entropy"),
        ({"percentile": 20.0}, "percentile must be 50 to 100, found 20"),
        (
            {"input_type": "uint8", "input_bits": 8},
            "give input_type or input_bits, not both: the type says how many bits the input has",
        ),
        (
            {"input_type": "fixed<20,4>"},
            "input 'x': type fixed<20,4> has 20 bits; a file of quantised layers holds up to 16",
        ),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = FloatNet(4).dense(4, 2).save(tmp_path / "m.onnx")
    assert refusal(file, samples(4), **settings) == (UsageError, message)


def test_models_that_are_refused(tmp_path: Path) -> None:
    x = samples(4)
    once = quantised(FloatNet(4).dense(4, 2), tmp_path, x).save(tmp_path / "once")
    assert refusal(once, x) == (
        UnsupportedModel,
        f"{once / 'model.onnx'}: is quantised already (node 'gemm0/weights/dequantise', DequantizeLinear); build it as it is",
    )
    odd = (
        FloatNet(4)
        .dense(4, 2)
        .node("Cosh", name="curve")
        .node("Sinh", name="other")
        .dense(2, 2)
        .save(tmp_path / "odd.onnx")
    )
    kind, message = refusal(odd, x)
    assert kind is UnsupportedModel
    assert message.startswith(
        f"{odd}: cannot be quantised for hardware: 'curve' (Cosh), 'other' (Sinh): operations that are not supported here. "
        "Supported are Abs, Add,"
    )
    weights = tmp_path / "m.pth"
    weights.write_bytes(b"PK")
    assert refusal(weights, x) == (
        UsageError,
        f"{weights}: a PyTorch file holds weights, or code that would run when it is opened, and no graph. Export the model to "
        "ONNX (torch.onnx.export), or quantise the module in Python: toolchain.quantise(module, Calibration(...))",
    )
    two = FloatNet(4).dense(4, 2)
    proto = two.proto()
    proto.graph.input.append(type(proto.graph.input[0]).FromString(proto.graph.input[0].SerializeToString()))
    proto.graph.input[1].name = "z"
    proto.graph.node[0].input[2] = "z"
    (tmp_path / "two.onnx").write_bytes(proto.SerializeToString())
    assert refusal(tmp_path / "two.onnx", x) == (
        UnsupportedModel, f"{tmp_path / 'two.onnx'}: has 2 inputs ('x', 'z'); one is supported for quantisation"
    )  # fmt: skip
    damaged = FloatNet(4).dense(4, 2)
    damaged.constants[0].CopyFrom(
        __import__("onnx").numpy_helper.from_array(np.full((4, 2), np.inf, np.float32), "constant0")
    )
    kind, message = refusal(damaged.save(tmp_path / "inf.onnx"), x)
    assert (kind, "holds NaN or infinity; all constants must be finite" in message) == (UnsupportedModel, True)


def test_folders_that_hold_something_else_are_left_alone(digits: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    command = ("quantise", digits / "digits.onnx", "--calibration", digits / "train.npz", "--out")
    status, _, err = run(capsys, *command, tmp_path)
    assert (status, "holds something else than a model that was quantised here" in err) == (2, True)
    status, _, err = run(capsys, *command, tmp_path / "notes.txt")
    assert (status, "--out takes a folder" in err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_old_version_of_onnx_is_converted(tmp_path: Path) -> None:
    """Per-channel steps need version 13, 16-bit integers 21."""
    net = FloatNet(2, 5, 5, opset=11).conv(2, 3).node("Relu").conv(3, 2).node("GlobalAveragePool").node("Flatten")
    model = quantised(net, tmp_path, per_channel=True, activation_bits=9)
    assert max(entry.version for entry in model.proto.opset_import) == 21
    assert_equal(loaded_from(model), samples(2, 5, 5, seed=4))
