# SPDX-License-Identifier: Apache-2.0
"""Random QKeras networks: branches, widths, strides, groups of layers in any order; the framework equals the interpreter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.equivalence.qkeras_bench import (
    assert_same,
    bits,
    half_steps,
    keras,
    layers,
    qkeras,
    randomised,
    relu,
    weighted,
)

#: Quantisers between layers: few bits, so that float32 holds what two layers in a row make of them.
ACTIVATIONS = (
    lambda: bits(4, 1),
    lambda: bits(3, 2, 1),
    lambda: bits(4, 0, alpha=0.75),
    lambda: relu(3, 1),
    lambda: relu(4, 2, negative_slope=0.25),
    lambda: qkeras.binary(alpha=1),
    lambda: qkeras.ternary(alpha=1, threshold=0.4),
    lambda: qkeras.quantized_tanh(4),
    lambda: "quantized_relu(2,1)",
)
KERNELS = (
    lambda: bits(3, 0),
    lambda: qkeras.quantized_bits(3, 0),
    lambda: qkeras.binary(alpha=1),
    lambda: qkeras.ternary(alpha="auto_po2"),
    lambda: qkeras.quantized_po2(3, max_value=1),
)


class Growing:
    """A network that grows by one drawn step after the other. `sums`: weighted layers since the last quantiser.

    What comes first in a list is drawn most often. `grouped`: kinds of the convolutions with more than one group.
    """

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.axes = draw(st.sampled_from([2, 1, 0]))
        shape = (*(draw(st.integers(4, 7)) for _ in range(self.axes)), draw(st.sampled_from([4, 3, 6, 2, 1])))
        self.grouped: list[str] = []
        self.start = layers.Input(shape, name="x")
        self.value = self.quantiser(self.start)
        self.sums = 0

    def quantiser(self, value: Any) -> Any:
        plain = value is self.start
        make = bits(4, 1) if plain else self.draw(st.sampled_from(ACTIVATIONS))()
        return qkeras.QActivation(make)(value)

    def quantise(self) -> None:
        self.value, self.sums = self.quantiser(self.value), 0

    def product(self, value: Any, channels: int, *, keep: bool = False) -> Any:
        """A layer with weights. keep: whether the sizes must stay."""
        kernel = self.draw(st.sampled_from(KERNELS))
        kinds = [
            [],
            ["Conv1D"],
            ["Conv2D", "Conv2DBatchnorm", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"],
        ][self.axes]
        kinds = [*kinds, "Dense"]
        kind = self.draw(st.sampled_from(kinds))
        use_bias = self.draw(st.booleans())
        if kind == "Dense" or (keep and kind == "Conv2DTranspose"):
            return weighted("Dense", channels, kernel=kernel, use_bias=use_bias)(value)
        window = self.draw(st.integers(1, 3))
        padding = (
            "same" if keep else self.draw(st.sampled_from(["same", "valid", *(["causal"] if kind == "Conv1D" else [])]))
        )
        stride = 1 if keep else self.draw(st.integers(1, 2))
        dilation = self.draw(st.integers(1, 2)) if stride == 1 and kind in ("Conv1D", "Conv2D") else 1
        if min(value.shape[1:-1]) < (window - 1) * dilation + 1:
            return weighted("Dense", channels, kernel=kernel, use_bias=use_bias)(value)
        if kind == "DepthwiseConv2D":
            if keep and channels != value.shape[-1]:
                return weighted("Dense", channels, kernel=kernel, use_bias=use_bias)(value)
            return weighted(kind, window, kernel=kernel, padding=padding, strides=(stride, stride), use_bias=use_bias)(
                value
            )
        more = {}
        if kind in ("Conv1D", "Conv2D", "Conv2DBatchnorm"):
            inputs = value.shape[-1]
            groups = self.draw(st.sampled_from([g for g in range(inputs, 0, -1) if inputs % g == 0]))
            if keep and channels % groups:
                groups = 1
            more["groups"], channels = groups, -(-channels // groups) * groups
            self.grouped += [kind] * (groups > 1)
        return weighted(
            kind, channels, window, kernel=kernel, padding=padding, strides=stride, dilation_rate=dilation, use_bias=use_bias, **more
        )(value)  # fmt: skip

    def step(self) -> None:
        kinds = ["product", "branch", "quantise", "rectify", "move"] + ["pool"] * (self.axes > 0)
        kind = self.draw(st.sampled_from(kinds))
        if self.sums >= 2 or (kind == "branch" and self.sums):
            self.quantise()
        getattr(self, f"_{kind}")()

    def _product(self) -> None:
        self.value, self.sums = self.product(self.value, self.draw(st.integers(1, 4))), self.sums + 1

    def _quantise(self) -> None:
        self.quantise()

    def _rectify(self) -> None:
        if self.draw(st.booleans()):
            self.value = layers.ReLU()(self.value)
        else:
            self.value = layers.LeakyReLU(0.5)(self.value)

    def _branch(self) -> None:
        channels = self.draw(st.integers(1, 3))
        arms = [self.product(self.value, channels, keep=True) for _ in range(2)]
        if self.draw(st.booleans()):
            arms[0] = self.quantiser(arms[0])
        join = self.draw(
            st.sampled_from([layers.Add, layers.Subtract, layers.Concatenate, layers.Average, layers.Multiply])
        )
        self.value, self.sums = join()(arms), 2

    def _pool(self) -> None:
        if min(self.value.shape[1:-1]) < 3:
            return
        kind = self.draw(st.sampled_from(["Max", "Average"]))
        pooling = getattr(layers, f"{kind}Pooling{self.axes}D")
        self.value = pooling(
            2, strides=self.draw(st.integers(1, 2)), padding=self.draw(st.sampled_from(["same", "valid"]))
        )(self.value)
        self.sums += kind == "Average"

    def _move(self) -> None:
        if self.axes == 0:
            self.value = layers.Reshape((1, self.value.shape[-1]))(self.value)
            self.value = layers.Flatten()(self.value)
            return
        moves = [getattr(layers, f"{name}{self.axes}D") for name in ("UpSampling", "ZeroPadding")]
        if max(self.value.shape[1:-1]) < 9:
            self.value = self.draw(st.sampled_from(moves))()(self.value)
        elif min(self.value.shape[1:-1]) > 3:
            self.value = getattr(layers, f"Cropping{self.axes}D")()(self.value)

    def finished(self) -> Any:
        if self.axes and self.draw(st.booleans()):
            self.quantise()
            self.value = layers.Flatten()(self.value)
            self.value = weighted("Dense", 3)(self.value)
        if self.value.shape[1:] == self.start.shape[1:] and "q_activation" in self.value.name:
            self.value = weighted("Dense", 2)(self.value)
        return keras.Model(self.start, self.value, name="random")


def check(data: st.DataObject) -> list[str]:
    """Compare one network; the kinds of its layers with groups."""
    growing = Growing(data.draw)
    for _ in range(data.draw(st.integers(2, 7))):
        growing.step()
    model = randomised(growing.finished(), seed=data.draw(st.integers(0, 1000)))
    assert_same(model, half_steps((12, *model.input_shape[1:]), 0.25, 2.5), varies=False)
    return growing.grouped


_SETTINGS: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}


def test_random_networks() -> None:
    grouped: list[str] = []

    @settings(max_examples=12, derandomize=True, **_SETTINGS)
    @given(st.data())
    def networks(data: st.DataObject) -> None:
        grouped.extend(check(data))

    networks()
    assert grouped, "no network of the draw has a convolution with groups"


@pytest.mark.full
@settings(max_examples=400, **_SETTINGS)
@given(st.data())
def test_many_random_networks(data: st.DataObject) -> None:
    check(data)
