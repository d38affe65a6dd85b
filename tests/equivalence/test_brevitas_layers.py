# SPDX-License-Identifier: Apache-2.0
"""Brevitas's layers and quantisers: the module's own forward equals the interpreter, integer by integer.

Scales that training finds are free floats, on which float32 may miss a tie; rung 1 then says so by reproducing it (see
test_rung1_float32.py). With power-of-two scales all arithmetic is exact in float32, and nothing may differ.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.errors import InputError, ToolchainError, UsageError
from toolchain.frontends import LoadedModel, load_model
from toolchain.verify.framework import compare_framework

torch = pytest.importorskip("torch")
pytest.importorskip("brevitas")
import brevitas.nn as qnn  # noqa: E402
from brevitas import quant as q  # noqa: E402
from torch import nn  # noqa: E402

Shape = tuple[int, ...]


def identity(bits: int, **options: Any) -> Any:
    return qnn.QuantIdentity(bit_width=bits, return_quant_tensor=True, **options)


def settled(module: Any, *shapes: Shape, seed: int = 5) -> Any:
    """A few steps in training mode, so that scales and statistics are those of data; weights are random."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.4)
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(*(2 * torch.randn(16, *shape) for shape in shapes))
        for part in module.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                part.weight.copy_(torch.randn_like(part.weight))  # negative ones among them
                part.bias.copy_(torch.randn_like(part.bias))
    return module.eval()


def samples(shape: Shape, count: int, *, step: float | None = None, span: float = 5.0) -> np.ndarray:
    """Anywhere, or on multiples of half of a quantiser's step, saturation included."""
    random = np.random.default_rng(3)
    if step is None:
        return random.uniform(-span, span, (count, *shape)).astype(np.float32)
    reach = int(2 * span / step)
    return (random.integers(-reach, reach + 1, (count, *shape)) * (step / 2)).astype(np.float32)


def check(
    module: Any, shape: Shape, *, step: float | None = None, span: float = 5.0, count: int = 100, **settings: Any
) -> LoadedModel:
    """No difference at all where `step` is given; else none that float32 does not account for, and of those a few at most."""
    model = load_model(module, input_shape=shape, **settings)
    assert model.framework.startswith("brevitas ")
    x = samples(shape, count, step=step, span=span)
    result = compare_framework(model, x)
    assert result.first_mismatch is None
    assert result.vectors == count
    values = np.asarray(model.run(x)).size  # type: ignore[misc]
    assert result.mismatches == 0
    assert result.explained_ties <= (0 if step is not None else values // 20)
    return model


def kinds(model: LoadedModel) -> list[str]:
    return [node.operation.kind for node in model.graph.nodes]


# ---- power-of-two scales: exact ----------------------------------------------------------------------------------------
class FixedPoint(nn.Module):
    """Convolutions with strides, padding and groups, pools and dense layers, all on power-of-two scales."""

    def __init__(self) -> None:
        super().__init__()
        weights = {"weight_quant": q.Int8WeightPerTensorFixedPoint, "weight_bit_width": 4}
        signed, unsigned = {"act_quant": q.Int8ActPerTensorFixedPoint}, {"act_quant": q.Uint8ActPerTensorFixedPoint}
        self.start = identity(6, **signed)
        self.conv = qnn.QuantConv2d(2, 4, 3, padding=1, stride=(2, 1), bias=True, bias_quant=q.Int16Bias, **weights)
        self.relu = qnn.QuantReLU(bit_width=4, return_quant_tensor=True, **unsigned)
        self.pool = nn.MaxPool2d(2, stride=1)
        self.depthwise = qnn.QuantConv2d(4, 4, (2, 3), groups=4, dilation=(1, 2), bias=False, **weights)
        self.inner = identity(4, **signed)
        self.deconv = qnn.QuantConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1, bias=False, **weights)
        self.outer = qnn.QuantReLU(bit_width=4, return_quant_tensor=True, **unsigned)
        self.average = qnn.TruncAvgPool2d(2)
        self.joined = identity(5, **signed)
        self.dense = qnn.QuantLinear(
            30,
            5,
            bias=True,
            bias_quant=q.Int8BiasPerTensorFixedPointInternalScaling,
            weight_quant=q.Int8WeightPerTensorFixedPoint,
        )

    def forward(self, x: Any) -> Any:
        x = self.inner(self.depthwise(self.pool(self.relu(self.conv(self.start(x))))))
        x = self.joined(self.average(self.outer(self.deconv(x))))
        return self.dense(x.flatten(1))


def test_power_of_two_scales_are_equal_on_every_tie() -> None:
    shape = (2, 8, 10)
    module = settled(FixedPoint(), shape)
    step = float(module.start.act_quant.scale())
    assert np.frexp(step)[0] == 0.5
    model = check(module, shape, step=step, span=40 * step, count=150)
    assert "threshold" not in kinds(model)
    assert {"conv", "max_pool", "sum_pool", "insert_zeros", "requantise", "dense"} <= set(kinds(model))


MODULES: dict[str, tuple[Callable[[], Any], Shape]] = {}


def case(name: str, *shape: int) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(build: Callable[[], Any]) -> Callable[[], Any]:
        MODULES[name] = (build, shape)
        return build

    return register


@case("dense layers, biases of every kind, batch norm", 6)
def dense() -> Any:
    return nn.Sequential(
        identity(6), qnn.QuantLinear(6, 8, bias=True, bias_quant=q.Int32Bias), nn.BatchNorm1d(8),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True), nn.Dropout(),
        qnn.QuantLinear(8, 7, bias=True, weight_quant=q.Int8WeightPerChannelFloat, bias_quant=q.Int16Bias), identity(5),
        qnn.QuantLinear(7, 6, bias=True, bias_quant=q.Int8BiasPerTensorFloatInternalScaling), identity(5),
        qnn.QuantLinear(6, 5, bias=True, weight_bit_width=3), identity(4),
        qnn.QuantLinear(5, 4, bias=True, bias_quant=q.Int8Bias),
    )  # fmt: skip


@case("convolutions in two dimensions", 3, 8, 9)
def convolutions() -> Any:
    return nn.Sequential(
        identity(6), qnn.QuantConv2d(3, 4, 3, padding=1, bias=True, weight_bit_width=4), nn.BatchNorm2d(4),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True), nn.MaxPool2d(2, padding=1),
        qnn.QuantConv2d(4, 6, (3, 2), groups=2, stride=(2, 1), bias=False, weight_quant=q.Int8WeightPerChannelFloat),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        qnn.QuantConv2d(6, 6, 2, groups=6, dilation=(1, 2), bias=True, bias_quant=q.Int32Bias, weight_bit_width=3),
        nn.Flatten(),
    )  # fmt: skip


@case("convolutions in one dimension", 3, 16)
def one_dimension() -> Any:
    return nn.Sequential(
        identity(5), qnn.QuantConv1d(3, 4, 3, padding=2, dilation=2, bias=False, weight_quant=q.Int8WeightPerChannelFloat),
        nn.BatchNorm1d(4), nn.MaxPool1d(2), qnn.QuantReLU(bit_width=4, return_quant_tensor=True), nn.AvgPool1d(3), identity(5),
        qnn.QuantConvTranspose1d(4, 6, 3, stride=2, groups=2, padding=1, bias=False, weight_bit_width=4), identity(4),
    )  # fmt: skip


@case("transposed convolutions", 3, 5, 4)
def transposed() -> Any:
    return nn.Sequential(
        identity(5),
        qnn.QuantConvTranspose2d(
            3, 4, 3, stride=2, padding=1, output_padding=1, bias=True, weight_quant=q.Int8WeightPerChannelFloat
        ),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=True),
        qnn.QuantConvTranspose2d(4, 4, (2, 3), groups=4, dilation=2, bias=True, bias_quant=q.Int32Bias),
        identity(5),
    )  # fmt: skip


@case("hard tanh, tanh, sigmoid, hard swish", 6)
def functions() -> Any:
    return nn.Sequential(
        qnn.QuantHardTanh(bit_width=4, min_val=-1.0, max_val=1.0, return_quant_tensor=True),
        qnn.QuantLinear(6, 6, bias=False, weight_bit_width=4), qnn.QuantTanh(bit_width=5, return_quant_tensor=True),
        qnn.QuantLinear(6, 6, bias=False, weight_bit_width=4), qnn.QuantSigmoid(bit_width=5, return_quant_tensor=True),
        qnn.QuantLinear(6, 4, bias=True, weight_bit_width=4), qnn.QuantHardTanh(bit_width=3, min_val=-2.0, max_val=1.5),
    )  # fmt: skip


@case("torch's functions before a quantiser", 3, 6, 6)
def torch_functions() -> Any:
    return nn.Sequential(
        identity(5), qnn.QuantConv2d(3, 4, 3, bias=True, weight_bit_width=4), nn.PReLU(4), identity(5),
        qnn.QuantConv2d(4, 4, 1, bias=False, weight_bit_width=4), nn.LeakyReLU(0.3), identity(5),
        nn.Upsample(scale_factor=2, mode="nearest"), identity(4), qnn.QuantConv2d(4, 2, 2, bias=False, weight_bit_width=4),
        nn.Hardtanh(-1.0, 2.0), nn.ReLU6(), identity(4),
    )  # fmt: skip


@case("one bit and three values", 6)
def few_values() -> Any:
    return nn.Sequential(
        identity(4), qnn.QuantLinear(6, 8, bias=False, weight_quant=q.SignedBinaryWeightPerTensorConst),
        identity(1, act_quant=q.SignedBinaryActPerTensorConst),
        qnn.QuantLinear(8, 8, bias=False, weight_quant=q.SignedTernaryWeightPerTensorConst),
        identity(2, act_quant=q.SignedTernaryActPerTensorConst), qnn.QuantLinear(8, 6, bias=False, weight_bit_width=2),
        qnn.QuantReLU(bit_width=1, return_quant_tensor=True), qnn.QuantLinear(6, 4, bias=False, weight_bit_width=3),
    )  # fmt: skip


@case("zero points", 3, 6, 6)
def zero_points() -> Any:
    return nn.Sequential(
        identity(6, act_quant=q.ShiftedUint8ActPerTensorFloat),
        qnn.QuantConv2d(3, 4, 3, padding=1, bias=True, weight_quant=q.Int8WeightPerChannelFloat, bias_quant=q.Int32Bias),
        identity(5, act_quant=q.ShiftedUint8ActPerTensorFloat),
        qnn.QuantConv2d(4, 4, 2, bias=True, weight_quant=q.ShiftedUint8WeightPerTensorFloat),
        qnn.QuantReLU(act_quant=q.ShiftedUint8ActPerTensorFloat, bit_width=4, return_quant_tensor=True),
        qnn.QuantConv2d(4, 2, 2, bias=False, weight_quant=q.ShiftedUint8WeightPerChannelFloat),
    )  # fmt: skip


@case("weights that are quantised in other ways", 6)
def other_weights() -> Any:
    return nn.Sequential(
        identity(5), qnn.QuantLinear(6, 6, bias=False, weight_quant=q.Int8WeightNormL2PerChannelFixedPoint), identity(5),
        qnn.QuantLinear(6, 6, bias=False, weight_quant=q.Int8WeightPerChannelFloatDecoupled), identity(5),
        qnn.QuantLinear(6, 6, bias=False, weight_quant=q.Int4WeightPerTensorFloatDecoupled), identity(5),
        qnn.QuantLinear(6, 6, bias=False, weight_float_to_int_impl_type="FLOOR", weight_bit_width=4), identity(5),
        qnn.QuantLinear(6, 4, bias=False, weight_quant=q.Int8WeightPerTensorFloatMSE, weight_bit_width=4),
    )  # fmt: skip


@case("rounding modes", 6)
def rounding_modes() -> Any:
    layers: list[Any] = [identity(6)]
    for mode in ("FLOOR", "CEIL", "ROUND_TO_ZERO", "DPU", "ROUND"):
        layers += [qnn.QuantLinear(6, 6, bias=True, weight_bit_width=4), identity(5, float_to_int_impl_type=mode)]
    return nn.Sequential(*layers)


@case("a scale for every channel of an activation", 3, 5, 5)
def channel_scales() -> Any:
    options = {
        "scaling_per_output_channel": True,
        "per_channel_broadcastable_shape": (1, 3, 1, 1),
        "scaling_stats_permute_dims": (1, 0, 2, 3),
    }
    return nn.Sequential(
        identity(6), qnn.QuantConv2d(3, 3, 1, bias=False), identity(4, **options), qnn.QuantConv2d(3, 2, 2, bias=False, weight_bit_width=4),
        identity(4),
    )  # fmt: skip


@case("averages", 3, 8, 8)
def averages() -> Any:
    return nn.Sequential(
        identity(6), qnn.TruncAvgPool2d(2), qnn.QuantReLU(bit_width=5, return_quant_tensor=True),
        qnn.TruncAvgPool2d(3, stride=1, trunc_quant=q.RoundTo8bit), identity(5),
        nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False), identity(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), identity(6),
        qnn.QuantLinear(3, 2, bias=False),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = identity(5)
        self.first = qnn.QuantConv2d(3, 4, 3, padding=1, bias=False, weight_bit_width=4)
        self.relu = qnn.QuantReLU(bit_width=4, return_quant_tensor=True)
        self.second = qnn.QuantConv2d(4, 4, 3, padding=1, groups=4, bias=False, weight_bit_width=4)
        self.norm = nn.BatchNorm2d(4)
        self.shared = identity(5)
        self.add = qnn.QuantEltwiseAdd(return_quant_tensor=True)
        self.join = identity(5)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.dense = qnn.QuantLinear(12, 3, bias=True, weight_bit_width=4, bias_quant=q.Int32Bias)

    def forward(self, x: Any) -> Any:
        x = self.relu(self.first(self.start(x)))
        y = self.shared(self.norm(self.second(x)))
        z = self.relu(y + self.shared(x))
        w = self.add(z, y)
        v = torch.cat(
            [self.join(z), self.join(w), self.join(self.shared(self.norm(self.second(x))) - self.shared(x))], dim=1
        )
        return self.dense(self.join(self.pool(v)).flatten(1))


MODULES["residual, concatenated, branches on different scales"] = (Residual, (3, 5, 6))


class Turned(nn.Module):
    """Samples with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.start = identity(5)
        self.conv = qnn.QuantConv2d(3, 4, 3, padding=1, bias=False, weight_bit_width=4)
        self.relu = qnn.QuantReLU(bit_width=4)
        self.last = qnn.QuantIdentity(bit_width=5)

    def forward(self, x: Any) -> Any:
        first, second = self.relu(self.conv(self.start(x.permute(0, 3, 1, 2)))).chunk(2, dim=1)
        mean = first[:, :, ::2, 1:3].mean(dim=(2, 3), keepdim=True)
        return self.last(torch.cat([second, mean + second * 0.4], dim=1)).permute(0, 2, 3, 1)


MODULES["channels last, cut, averaged and joined"] = (Turned, (6, 5, 3))


@pytest.mark.parametrize("name", MODULES)
def test_layers(name: str) -> None:
    build, shape = MODULES[name]
    model = check(settled(build(), shape), shape)
    assert model.graph.inputs[0].operation.sample_shape == shape  # type: ignore[attr-defined]
    if "channels last" in name:
        assert "transpose" not in kinds(model)


# ---- several inputs and outputs, ends, checkpoints -----------------------------------------------------------------------
class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left_start, self.right_start = identity(5), identity(6)
        self.left = qnn.QuantLinear(6, 4, bias=False, weight_bit_width=4)
        self.right = qnn.QuantConv1d(2, 4, 5, bias=False, weight_bit_width=4)
        self.sum = qnn.QuantIdentity(bit_width=5)
        self.classes = qnn.QuantLinear(4, 3, bias=True, weight_bit_width=4)

    def forward(self, left: Any, right: Any) -> Any:
        a, b = self.left(self.left_start(left)), self.right(self.right_start(right)).flatten(1)
        total = self.sum(a + b)
        return {"sum": total, "classes": (torch.softmax(self.classes(self.sum(a)), dim=-1), a)}


def test_several_inputs_and_outputs() -> None:
    shapes = [(6,), (2, 5)]
    model = load_model(settled(Two(), *shapes), input_shape=shapes)
    assert [node.name for node in model.graph.inputs] == ["left", "right"]
    assert [output.host_function for output in model.graph.outputs] == ["", "softmax", ""]
    assert model.graph.outputs[0].name == "sum"
    x = {"left": samples(shapes[0], 100), "right": samples(shapes[1], 100)}
    result = compare_framework(model, x)
    assert (result.vectors, result.differing_values) == (100, 0)
    with pytest.raises(InputError, match="input 'right' is missing"):
        model.run({"left": x["left"]})  # type: ignore[misc]


class OneStart(nn.Module):
    """`left` has a quantiser, `right` goes into a layer as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.left_start = identity(5)
        self.left = qnn.QuantLinear(6, 4, bias=False, weight_bit_width=4)
        self.right = qnn.QuantLinear(5, 4, bias=False, weight_bit_width=4)
        self.sum = qnn.QuantIdentity(bit_width=5)

    def forward(self, left: Any, right: Any) -> Any:
        return self.sum(self.left(self.left_start(left)) + self.right(right))


def test_a_type_for_the_input_that_needs_one() -> None:
    shapes = [(6,), (5,)]
    module = settled(OneStart(), *shapes)
    with pytest.raises(UsageError, match="right=TYPE where there are several inputs"):
        load_model(module, input_shape=shapes)
    models = [load_model(module, input_shape=shapes, input_type=t) for t in ("fixed<12,4>", ["right=fixed<12,4>"])]
    assert models[0].graph.digest == models[1].graph.digest
    types = {node.name: str(models[0].graph.types[node.name].element) for node in models[0].graph.inputs}
    assert types["right"] == "fixed<12,4>"
    assert types["left"] == "fixed<5,5>"
    x = {"left": samples(shapes[0], 100), "right": np.clip(samples(shapes[1], 100), -8, 7.9)}
    assert compare_framework(models[0], x).mismatches == 0


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(identity(5), qnn.QuantLinear(6, 8, bias=True), qnn.QuantReLU(bit_width=4))
        self.head = qnn.QuantLinear(8, 3, bias=True)
        self.softmax = nn.LogSoftmax(dim=1)

    def forward(self, x: Any) -> Any:
        return self.softmax(self.head(self.body(x)))


def test_checkpoints_of_several_gigabytes(tmp_path: Path) -> None:
    """The limit says so before anything of that size is read: one file is sparse, the other one only claims the size."""
    module = settled(Classifier(), (6,))
    sparse, archive = tmp_path / "sparse.pt", tmp_path / "archive.pt"
    for path in (sparse, archive):
        torch.save(module.state_dict(), path)
    os.truncate(sparse, (4 << 30) + 1)
    with zipfile.ZipFile(sparse.with_suffix(".copy"), "w") as copy, zipfile.ZipFile(archive) as source:
        for name in source.namelist():
            copy.writestr(name, source.read(name))
        copy.getinfo(source.namelist()[0]).file_size = 4 << 30  # the directory at the end is written from this
    sparse.with_suffix(".copy").replace(archive)
    for path in (sparse, archive):
        with pytest.raises(InputError, match=r"\.pt: \d{10} bytes, more than the 4294967296 allowed for a checkpoint$"):
            load_model(module, input_shape=(6,), weights=path)


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start, self.join = identity(5), qnn.QuantCat(return_quant_tensor=True)
        self.head = qnn.QuantLinear(12, 3, bias=False)

    def forward(self, x: Any) -> Any:
        x = self.start(x)
        return self.head(self.join([x, x]))


def test_a_layer_with_which_brevitas_fails_itself() -> None:
    with pytest.raises(ToolchainError) as caught:
        load_model(Joined(), input_shape=(6,))
    assert str(caught.value) == (
        "module Joined: layer 'join' (QuantCat): brevitas 0.13.4, which is installed, fails on this layer itself (AttributeError: type "
        "object 'QuantTensor' has no attribute 'cat'); join the tensors with torch.cat and put a QuantIdentity behind it"
    )


def test_a_checkpoint_and_a_softmax_at_the_end(tmp_path: Path) -> None:
    trained = settled(Classifier(), (6,))
    torch.save(trained.state_dict(), tmp_path / "trained.pt")
    fresh = settled(Classifier(), (6,), seed=9)
    with torch.no_grad():
        assert (fresh(torch.ones(1, 6)) != trained(torch.ones(1, 6))).all()
    fresh.train()
    model = check(fresh, (6,), weights=tmp_path / "trained.pt")
    assert fresh.training
    assert model.graph.outputs[0].host_function == "log_softmax"
    assert model.graph.digest == load_model(trained, input_shape=(6,)).graph.digest
    x = samples((6,), 5)
    with torch.no_grad():
        expected = torch.log_softmax(torch.tensor(model.run(x)), dim=1)  # type: ignore[misc]
        assert torch.equal(expected, trained(torch.tensor(x)))


# ---- refusals --------------------------------------------------------------------------------------------------------
FLOATS = (
    "quantises to small floating-point numbers (such as fp8), which are no integers on one step; use an integer quantiser (such as "
    "Int8ActPerTensorFloat)"
)
REFUSED: dict[str, tuple[Callable[[], Any], Shape, str]] = {
    "fp8 activations": (
        lambda: nn.Sequential(
            qnn.QuantIdentity(act_quant=q.Fp8e4m3ActPerTensorFloat), qnn.QuantLinear(6, 3, bias=False)
        ),
        (6,),
        f"quantiser '0.act_quant' {FLOATS}",
    ),
    "fp8 weights": (
        lambda: nn.Sequential(
            identity(5), qnn.QuantLinear(6, 3, bias=False, weight_quant=q.Fp8e5m2WeightPerTensorFloat)
        ),
        (6,),
        f"quantiser '1.weight_quant' {FLOATS}",
    ),
    "a scale for every few weights": (
        lambda: nn.Sequential(identity(5), qnn.QuantLinear(32, 3, bias=False, weight_quant=q.MXInt8Weight)),
        (32,),
        "quantiser '1.weight_quant' has a scale for every few elements (MX), which is no integer arithmetic; use one scale, or one "
        "a channel",
    ),
    "one signed bit": (
        lambda: nn.Sequential(identity(5), qnn.QuantIdentity(bit_width=1)),
        (6,),
        "quantiser '1.act_quant' gives 0 and -1 (one bit of a signed integer), which QONNX cannot say; use two bits, or a binary "
        "quantiser (SignedBinaryWeightPerTensorConst, SignedBinaryActPerTensorConst)",
    ),
    "float weights": (
        lambda: nn.Sequential(identity(5), nn.Linear(6, 3)),
        (6,),
        "node '1' (Gemm): its weights are not quantised; use a quantised layer, or quantise the model after training",
    ),
    "a forward that fails": (
        lambda: nn.Sequential(identity(5), qnn.QuantLinear(6, 3, bias=False)),
        (7,),
        "layer '1' (QuantLinear): brevitas 0.13.4 cannot export it to QONNX (RuntimeError: mat1 and mat2 shapes ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    build, shape, text = REFUSED[name]
    with pytest.raises(ToolchainError) as caught:
        load_model(settled(build(), shape if name != "a forward that fails" else (6,)), input_shape=shape)
    assert str(caught.value).startswith(f"module Sequential: {text}")


@pytest.mark.parametrize("shape", [(0,), (3, -1), "abc", [(3,), ("a",)], [[], 4]])
def test_shapes_that_are_none(shape: Any) -> None:
    with pytest.raises(UsageError, match="give the shape of one sample"):
        load_model(nn.Sequential(identity(5)), input_shape=shape)
