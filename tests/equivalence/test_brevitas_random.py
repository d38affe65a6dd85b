# SPDX-License-Identifier: Apache-2.0
"""Random Brevitas networks: branches, widths, strides, groups of layers in any order; the module equals the interpreter.

On power-of-two scales nothing may differ. On scales that data gave, float32 may miss a tie, and each difference has to be
reproduced by such ties.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolchain.frontends import load_model
from toolchain.verify.framework import compare_framework

torch = pytest.importorskip("torch")
pytest.importorskip("brevitas")
import brevitas.nn as qnn  # noqa: E402
from brevitas import quant as q  # noqa: E402
from brevitas.quant_tensor import QuantTensor  # noqa: E402
from torch import nn  # noqa: E402

#: Samples of one comparison.
SAMPLES = 24
WEIGHTS = {True: q.Int8WeightPerTensorFixedPoint, False: q.Int8WeightPerTensorFloat}
FEW_VALUED_WEIGHTS = (q.SignedBinaryWeightPerTensorConst, q.SignedTernaryWeightPerTensorConst)
BIASES = {True: q.Int8BiasPerTensorFixedPointInternalScaling, False: q.Int8BiasPerTensorFloatInternalScaling}


def plain(x: Any) -> Any:
    return x.value if isinstance(x, QuantTensor) else x


class Plain(nn.Module):
    """Quantised tensors as tensors, which may be added whatever their scales are."""

    def forward(self, x: Any) -> Any:
        return plain(x)


class Branches(nn.Module):
    """Two arms on one value, joined; an empty arm makes a residual connection.

    shared: the quantiser of both results, or None.
    """

    def __init__(self, arms: list[Any], join: str, shared: Any) -> None:
        super().__init__()
        self.arms, self.join = nn.ModuleList(arms), join
        self.shared = shared

    def forward(self, x: Any) -> Any:
        left, right = (arm(x) for arm in self.arms)
        if self.shared is not None:
            left, right = self.shared(left), self.shared(right)
        else:
            left, right = plain(left), plain(right)
        if self.join == "concatenate":
            return torch.cat([left, right], dim=1)
        if self.join == "subtract":
            return left - right
        return left * right if self.join == "multiply" else left + right


class Growing:
    """A network that grows by one drawn step after the other.

    is_fixed: whether all scales are powers of two. shape: of the value so far, (channels, sizes ...).
    sums: weighted layers since the last quantiser. is_quantised: whether the value carries its scale, as biases on it need.
    """

    def __init__(self, draw: Any, *, is_fixed: bool) -> None:
        self.draw, self.is_fixed = draw, is_fixed
        self.axes = draw(st.integers(0, 2))
        self.shape: tuple[int, ...] = (draw(st.integers(1, 4)), *(draw(st.integers(4, 7)) for _ in range(self.axes)))
        self.start_shape = self.shape
        self.start = self.identity(draw(st.integers(4, 6)))
        self.layers: list[Any] = [self.start]
        self.sums, self.is_quantised = 0, True

    # ---- quantisers ------------------------------------------------------------------------------------------------------
    def identity(self, bits: int) -> Any:
        kind = q.Int8ActPerTensorFixedPoint if self.is_fixed else q.Int8ActPerTensorFloat
        return qnn.QuantIdentity(act_quant=kind, bit_width=bits, return_quant_tensor=True)

    def quantiser(self) -> Any:
        bits = self.draw(st.integers(2, 5))
        if self.draw(st.booleans()):
            return self.identity(bits)
        kind = q.Uint8ActPerTensorFixedPoint if self.is_fixed else q.Uint8ActPerTensorFloat
        return qnn.QuantReLU(act_quant=kind, bit_width=bits, return_quant_tensor=True)

    def quantise(self) -> None:
        self.layers.append(self.quantiser())
        self.sums, self.is_quantised = 0, True

    # ---- layers with weights ---------------------------------------------------------------------------------------------
    def options(self) -> dict[str, Any]:
        few = self.draw(st.integers(0, 4)) == 0
        found: dict[str, Any] = {"weight_quant": WEIGHTS[self.is_fixed]}
        if few:
            found["weight_quant"] = self.draw(st.sampled_from(FEW_VALUED_WEIGHTS))
            found["weight_scaling_const"] = 0.125 if self.is_fixed else 0.1
        else:
            found["weight_bit_width"] = self.draw(st.integers(2, 4))
            found["weight_scaling_per_output_channel"] = self.draw(st.booleans())
        biases = ["none", "own step"] + ["sum's step"] * self.is_quantised
        bias = self.draw(st.sampled_from(biases))
        return {
            **found,
            "bias": bias != "none",
            "bias_quant": {"none": None, "own step": BIASES[self.is_fixed], "sum's step": q.Int16Bias}[bias],
        }

    def product(self, shape: tuple[int, ...], channels: int, *, keep: bool = False) -> tuple[Any, tuple[int, ...]]:
        """A layer with weights, and the shape of its result. keep: whether the sizes must stay."""
        options = self.options()
        sizes = shape[1:]
        if not sizes:
            return qnn.QuantLinear(shape[0], channels, **options), (channels,)
        window = self.draw(st.integers(1, 3))
        if keep:
            window = 2 * (window // 2) + 1
        stride = 1 if keep else self.draw(st.integers(1, 2))
        is_transposed = not keep and self.draw(st.integers(0, 4)) == 0 and max(sizes) < 8
        dilation = self.draw(st.integers(1, 2))
        reach = (window - 1) * dilation
        padding = reach // 2 if keep else self.draw(st.integers(0, min(window - 1, 1)))
        if min(sizes) <= reach:
            window, stride, dilation, reach, padding = 1, 1, 1, 0, 0
        groups = self.draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
        channels = -(-channels // groups) * groups if not keep else channels
        groups = groups if channels % groups == 0 else 1
        if is_transposed and groups > 1 and "weight_scaling_per_output_channel" in options:
            options["weight_scaling_per_output_channel"] = False  # fails in Brevitas itself
        common = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, **options}
        if is_transposed:
            layer = getattr(qnn, f"QuantConvTranspose{self.axes}d")(shape[0], channels, window, **common)
            results = tuple((n - 1) * stride - 2 * padding + reach + 1 for n in sizes)
        else:
            layer = getattr(qnn, f"QuantConv{self.axes}d")(shape[0], channels, window, **common)
            results = tuple((n + 2 * padding - reach - 1) // stride + 1 for n in sizes)
        return layer, (channels, *results)

    # ---- steps -----------------------------------------------------------------------------------------------------------
    def step(self) -> None:
        kinds = ["product", "product", "branch", "quantise", "rectify", "move"] + ["pool"] * (self.axes > 0)
        kind = self.draw(st.sampled_from(kinds))
        most = 2 if self.is_fixed else 1
        if self.sums >= most or (kind == "branch" and self.sums):
            self.quantise()
        getattr(self, f"_{kind}")()

    def _product(self) -> None:
        layer, self.shape = self.product(self.shape, self.draw(st.integers(1, 4)))
        self.layers += [layer] if self.sums == 0 else [Plain(), layer]
        self.sums, self.is_quantised = self.sums + 1, False
        if not self.is_fixed and self.draw(st.booleans()):
            norm = getattr(nn, f"BatchNorm{max(1, self.axes)}d")
            self.layers.append(norm(self.shape[0]))

    def _quantise(self) -> None:
        self.quantise()

    def _rectify(self) -> None:
        self.layers += [Plain(), self.draw(st.sampled_from([nn.ReLU, nn.ReLU6]))()]
        self.is_quantised = False
        if isinstance(self.layers[-1], nn.ReLU6):
            self.quantise()

    def arm(self, channels: int, *, is_residual: bool) -> tuple[Any, int]:
        """A way to a value of the same sizes, and its weighted layers since a quantiser."""
        if is_residual:
            return nn.Identity(), 0
        layer, shape = self.product(self.shape, channels, keep=True)
        if self.draw(st.booleans()):
            return nn.Sequential(layer), 1
        kept, self.is_quantised = self.is_quantised, True
        last, _ = self.product(shape, channels, keep=True)
        self.is_quantised = kept
        return nn.Sequential(layer, self.quantiser(), last), 1

    def _branch(self) -> None:
        is_residual = self.draw(st.booleans())
        join = self.draw(st.sampled_from(["add", "subtract", "concatenate", "multiply"]))
        channels = self.shape[0] if is_residual else self.draw(st.integers(1, 4))
        arms = [self.arm(channels, is_residual=False)[0], self.arm(channels, is_residual=is_residual)[0]]
        # Sums on steps that have nothing in common are refused, and float32 does not hold the product of two sums.
        is_shared = not self.is_fixed or join == "multiply" or self.draw(st.booleans())
        shared = self.identity(self.draw(st.integers(3, 5))) if is_shared else None
        self.layers.append(Branches(arms, join, shared))
        self.shape = (channels * (2 if join == "concatenate" else 1), *self.shape[1:])
        self.sums, self.is_quantised = 2, False
        self.quantise()

    def _pool(self) -> None:
        if not self.axes or min(self.shape[1:]) < 3:
            return
        stride = self.draw(st.integers(1, 2))
        if self.draw(st.booleans()):
            padding = self.draw(st.integers(0, 1))
            self.layers += [Plain(), getattr(nn, f"MaxPool{self.axes}d")(2, stride=stride, padding=padding)]
        else:
            padding = 0
            self.layers += [Plain(), getattr(nn, f"AvgPool{self.axes}d")(2, stride=stride)]
        self.is_quantised = False
        self.shape = (self.shape[0], *((n + 2 * padding - 2) // stride + 1 for n in self.shape[1:]))
        if isinstance(self.layers[-1], (nn.AvgPool1d, nn.AvgPool2d)):
            self.quantise()

    def _move(self) -> None:
        if not self.axes or max(self.shape[1:]) > 7:
            return
        if self.draw(st.booleans()):
            self.layers += [Plain(), nn.Upsample(scale_factor=2, mode="nearest")]
            self.shape = (self.shape[0], *(2 * n for n in self.shape[1:]))
        else:
            pads = [self.draw(st.integers(0, 2)) for _ in range(2 * self.axes)]
            self.layers += [Plain(), nn.ConstantPad1d(pads, 0.0) if self.axes == 1 else nn.ConstantPad2d(pads, 0.0)]
            sizes = [
                n + sum(pads[2 * i : 2 * i + 2]) for i, n in zip(range(self.axes)[::-1], self.shape[1:], strict=True)
            ]
            self.shape = (self.shape[0], *sizes)
        self.is_quantised = False

    def finished(self) -> Any:
        if self.axes and self.draw(st.booleans()):
            self.quantise()
            self.layers.append(nn.Flatten())
            self.layers.append(qnn.QuantLinear(int(np.prod(self.shape)), 3, **self.options()))
        return nn.Sequential(*self.layers)


def trained(module: Any, shape: tuple[int, ...], seed: int) -> Any:
    """Random weights, and a few steps in training mode, so that scales are those of data."""
    torch.manual_seed(seed)
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1 or name.endswith("bias"):
            nn.init.normal_(parameter, std=0.4 if parameter.dim() > 1 else 0.1)
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(2 * torch.randn(16, *shape))
        for part in module.modules():
            if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                part.weight.copy_(torch.randn_like(part.weight))
                part.bias.copy_(torch.randn_like(part.bias))
    return module.eval()


def has_powers_of_two_only(module: Any) -> bool:
    """Whether the scales of all quantisers of values are powers of two. Brevitas' fixed-point ones are, with one exception: a
    quantiser that saw nothing but zeros keeps the smallest scale, 1e-10, and float32 adds no bias to a value on such steps exactly."""
    scales = [float(part.act_quant.scale()) for part in module.modules() if hasattr(part, "act_quant")]
    return all(np.frexp(scale)[0] == 0.5 for scale in scales)


def check(data: st.DataObject, *, is_fixed: bool) -> None:
    growing = Growing(data.draw, is_fixed=is_fixed)
    for _ in range(data.draw(st.integers(2, 6))):
        growing.step()
    shape = growing.start_shape
    seed = data.draw(st.integers(0, 1000))
    module = trained(growing.finished(), shape, seed)
    step = float(growing.start.act_quant.scale())
    reach = int(2.5 / step) if step < 0.5 else 20
    random = np.random.default_rng(seed)
    if is_fixed:  # ties of the first quantiser, and its saturation
        x = random.integers(-2 * reach, 2 * reach + 1, (SAMPLES, *shape)) * (step / 2)
    else:
        x = random.uniform(-5, 5, (SAMPLES, *shape))
    model = load_model(module, input_shape=shape)
    result = compare_framework(model, x.astype(np.float32))
    assert result.first_mismatch is None
    assert result.vectors == SAMPLES
    assert result.mismatches == 0
    if is_fixed and has_powers_of_two_only(module):
        assert result.explained_ties == 0


_SETTINGS: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


@pytest.mark.parametrize("is_fixed", [True, False], ids=["power-of-two scales", "scales of data"])
@settings(max_examples=8, derandomize=True, **_SETTINGS)
@given(st.data())
def test_random_networks(is_fixed: bool, data: st.DataObject) -> None:
    check(data, is_fixed=is_fixed)


@pytest.mark.full
@pytest.mark.parametrize("is_fixed", [True, False], ids=["power-of-two scales", "scales of data"])
@settings(max_examples=100, **_SETTINGS)
@given(st.data())
def test_many_random_networks(is_fixed: bool, data: st.DataObject) -> None:
    check(data, is_fixed=is_fixed)


def test_a_quantiser_that_saw_only_zeros_has_steps_finer_than_float32_tells_apart() -> None:
    """Found by the random networks: on power-of-two scales, and still float32 rounds the last sum."""
    rectify = qnn.QuantReLU(act_quant=q.Uint8ActPerTensorFixedPoint, bit_width=2, return_quant_tensor=True)
    last = qnn.QuantLinear(4, 3, weight_quant=WEIGHTS[True], weight_bit_width=4, bias_quant=BIASES[True])
    first = qnn.QuantLinear(4, 4, weight_quant=WEIGHTS[True], weight_bit_width=4, bias=False)
    start = qnn.QuantIdentity(act_quant=q.Uint8ActPerTensorFixedPoint, bit_width=4, return_quant_tensor=True)
    torch.manual_seed(1)
    module = nn.Sequential(start, first, rectify, last)
    with torch.no_grad():
        for layer in (first, last):
            layer.weight.copy_(-torch.rand(layer.weight.shape) - 0.1)
        last.bias.copy_(torch.tensor([-0.128, 0.0595, 0.125]))
        module.train()
        for _ in range(3):
            module(torch.rand(16, 4))
    assert not has_powers_of_two_only(module.eval())
    with torch.no_grad():
        first.weight.neg_()  # the rectifier's input was negative while its scale was found, and is positive now
    x = np.random.default_rng(3).uniform(0, 1, (SAMPLES, 4)).astype(np.float32)
    result = compare_framework(load_model(module, input_shape=(4,)), x)
    assert (result.vectors, result.mismatches, result.first_mismatch) == (SAMPLES, 0, None)
    assert result.explained_ties > 0


@pytest.mark.parametrize("join", ["add", "subtract", "concatenate", "multiply"])
def test_each_join_of_two_different_arms(join: str) -> None:
    """Few random networks hold every join; an order of arms or channels that is wrong shows where the arms differ."""

    def identity() -> Any:
        return qnn.QuantIdentity(act_quant=q.Int8ActPerTensorFixedPoint, bit_width=5, return_quant_tensor=True)

    arms = [qnn.QuantLinear(4, 3, bias=False, weight_quant=WEIGHTS[True], weight_bit_width=4) for _ in range(2)]
    module = trained(nn.Sequential(identity(), Branches(arms, join, identity()), identity()), (4,), seed=3)
    x = np.random.default_rng(3).uniform(-4, 4, (SAMPLES, 4)).astype(np.float32)
    result = compare_framework(load_model(module, input_shape=(4,)), x)
    assert (result.vectors, result.differing_values) == (SAMPLES, 0)
