# SPDX-License-Identifier: Apache-2.0
"""Every QKeras quantiser with its options, on activations and on weights: the framework's output is the interpreter's."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.equivalence.qkeras_bench import (
    assert_same,
    bits,
    dense,
    half_steps,
    keras,
    layers,
    qkeras,
    quantised,
    randomised,
    refusal,
    relu,
    sequential,
)
from toolchain.frontends import load_model
from toolchain.frontends.qkeras_weights import quantised_weights
from toolchain.ir import Dense, Lookup, Requantise, Threshold, interpret, quantise_input, real_values

Make = Callable[[], Any]
TENSOR = np.array([0.5, 2.0, 0.25, 1.5, 1.0, 0.75], np.float32)

ACTIVATIONS: dict[str, Make] = {
    # clip(round(x / step))
    "bits": lambda: bits(5, 1),
    "bits_symmetric": lambda: bits(4, 0, 1),
    "bits_unsigned": lambda: bits(4, 1, keep_negative=False),
    "bits_no_alpha": lambda: qkeras.quantized_bits(6, 2),
    "bits_coarse": lambda: bits(3, 4),
    "bits_without_estimator": lambda: bits(5, 1, use_ste=False),
    "bits_wide": lambda: bits(12, 3),
    "bits_wider_than_the_sum": lambda: bits(18, 7),
    "bits_alpha": lambda: bits(5, 1, alpha=2.0),
    "bits_alpha_of_three_quarters": lambda: bits(5, 1, alpha=0.75),
    "bits_alpha_a_channel": lambda: bits(5, 1, alpha=TENSOR),
    "bits_stochastic_in_training": lambda: bits(5, 1, use_stochastic_rounding=True),
    "sign": lambda: bits(1, 0),
    "sign_alpha": lambda: bits(1, 0, alpha=0.5),
    "one_bit_unsigned": lambda: bits(1, 1, keep_negative=False),
    "relu": lambda: relu(5, 1),
    "relu_one_bit": lambda: relu(1, 1),
    "relu_more_integer_than_bits": lambda: relu(3, 5),
    "relu_unclipped_estimator": lambda: relu(5, 1, is_quantized_clip=False),
    "relu_slope": lambda: relu(6, 2, negative_slope=0.25),
    "relu_slope_of_one": lambda: relu(5, 2, negative_slope=1.0),
    "relu_slope_coarsest": lambda: relu(4, 2, negative_slope=0.125),
    "relu_bound_above": lambda: relu(5, 1, relu_upper_bound=6, is_quantized_clip=False),
    "relu_slope_of_two": lambda: relu(6, 2, negative_slope=2.0),
    "relu_bound": lambda: relu(6, 2, relu_upper_bound=2.5, is_quantized_clip=False),
    "relu_bound_off_the_grid": lambda: relu(6, 2, relu_upper_bound=2.3, is_quantized_clip=False),
    "relu_sigmoid": lambda: relu(6, 2, use_sigmoid=1),
    "relu_sigmoid_slope": lambda: relu(5, 1, use_sigmoid=1, negative_slope=0.5),
    # signs
    "binary": qkeras.binary,
    "binary_alpha": lambda: qkeras.binary(alpha=0.5),
    "binary_alpha_a_channel": lambda: qkeras.binary(alpha=TENSOR),
    "binary_01": lambda: qkeras.binary(use_01=True, alpha=2.0),
    "stochastic_binary": lambda: qkeras.stochastic_binary(alpha=1.0),
    "ternary": qkeras.ternary,
    "ternary_threshold": lambda: qkeras.ternary(alpha=1.0, threshold=1.125),
    "ternary_threshold_off_the_grid": lambda: qkeras.ternary(alpha=2.0, threshold=0.7),
    "ternary_threshold_zero": lambda: qkeras.ternary(alpha=1.0, threshold=0.0),
    "stochastic_ternary": lambda: qkeras.stochastic_ternary(alpha=0.5, threshold=0.6),
    # curves
    "tanh": lambda: qkeras.quantized_tanh(6),
    "tanh_symmetric": lambda: qkeras.quantized_tanh(4, symmetric=True),
    "tanh_real": lambda: qkeras.quantized_tanh(7, use_real_tanh=True),
    "sigmoid": lambda: qkeras.quantized_sigmoid(5),
    "sigmoid_symmetric": lambda: qkeras.quantized_sigmoid(4, symmetric=True),
    "sigmoid_real": lambda: qkeras.quantized_sigmoid(7, use_real_sigmoid=True),
    "powers": lambda: qkeras.quantized_po2(4),
    "powers_bound": lambda: qkeras.quantized_po2(4, max_value=2),
    "powers_quadratic": lambda: qkeras.quantized_po2(4, max_value=4, quadratic_approximation=True),
    "powers_floor": lambda: qkeras.quantized_po2(4, log2_rounding="floor"),
    "relu_powers": lambda: qkeras.quantized_relu_po2(4, max_value=4),
    "relu_powers_slope": lambda: qkeras.quantized_relu_po2(4, max_value=8, negative_slope=0.25),
    "ulaw": lambda: qkeras.quantized_ulaw(4, 1),
    "ulaw_symmetric": lambda: qkeras.quantized_ulaw(5, 2, symmetric=1, u=15.0),
    "hswish": lambda: qkeras.quantized_hswish(6, 2, alpha=1),
    "hswish_settings": lambda: qkeras.quantized_hswish(5, 1, 1, relu_shift=2, relu_upper_bound=4),
    # as text
    "text_relu": lambda: "quantized_relu(5,1)",
    "text_bits": lambda: "quantized_bits(6,2,alpha=1)",
    "text_default": lambda: "quantized_relu",
    "text_tanh": lambda: "quantized_tanh(5)",
    "text_ternary": lambda: "ternary(alpha=1,threshold=0.5)",
    "binary_tanh": lambda: "binary_tanh",
    "binary_sigmoid": lambda: "binary_sigmoid",
    "hard_tanh_then": lambda: "hard_tanh",
}


def side_by_side(names: list[str], **sums: Any) -> Any:
    """One model: sums of a layer, and each quantiser on them as an output."""
    x = layers.Input((5,), name="x")
    wide = quantised(bits(7, 3))(x)
    total = dense(6, name="d", **sums)(wide)
    outputs = []
    for name in names:
        value = qkeras.QActivation(ACTIVATIONS[name](), name=name)(total)
        if name == "hard_tanh_then":
            value = quantised(bits(4, 0), "after")(value)
        outputs.append(value)
    return randomised(keras.Model(x, outputs, name="net"))


def test_activations_on_sums() -> None:
    """Ties, saturation and everything between; the bias is on the sums' grid."""
    loaded = assert_same(side_by_side(list(ACTIVATIONS)), half_steps((400, 5), 1 / 8, 9.0))
    kinds = {node.source.split("'")[1]: type(node.operation) for node in loaded.graph.nodes}
    # A shift where one is exact, thresholds where the result only rises, a table elsewhere.
    assert {kinds[name] for name in ("bits", "bits_wide", "relu", "relu_bound", "text_relu")} == {Requantise}
    assert {kinds[name] for name in ("binary", "ternary", "tanh_real", "sigmoid")} == {Threshold}
    assert {kinds[name] for name in ("ulaw", "hswish")} == {Lookup}


def test_activations_on_sums_with_a_bias_off_their_grid() -> None:
    names = [name for name in ACTIVATIONS if name not in ("bits_wider_than_the_sum",)]
    model = side_by_side(names, bias=bits(12, 1))
    assert_same(model, half_steps((200, 5), 1 / 8, 9.0))


def test_activations_on_sums_with_steps_a_channel() -> None:
    """Scales of channels that are no powers of two: each product is exact, and the quantisers' steps fall where they do."""
    names = [name for name in ACTIVATIONS if name not in ("bits_wider_than_the_sum",)]
    kernel = lambda: bits(4, 1, alpha=np.array([0.75, 1.0, 1.5, 0.625, 2.0, 1.25], np.float32))  # noqa: E731
    assert_same(side_by_side(names, kernel=kernel), half_steps((200, 5), 1 / 8, 9.0))


PLAIN = [
    name for name in ACTIVATIONS
    if name.startswith(("bits", "relu", "text_relu", "text_bits", "text_default", "one_bit"))
    and "slope" not in name and "sigmoid" not in name and "off_the_grid" not in name and "powers" not in name
]  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_activations_on_real_inputs(name: str) -> None:
    """The model's own input quantiser, decided by the host as by the framework."""
    model = sequential((6,), quantised(ACTIVATIONS[name](), "q"), dense(4, name="d"))
    if name == "bits_alpha_a_channel":
        assert_same(model, half_steps((300, 6), 1 / 8, 8.0))
        return
    source = load_model(model).graph.inputs[0].operation
    step = 2.0**-source.element.fraction  # type: ignore[attr-defined]
    assert_same(model, half_steps((300, 6), step, 1.5 * source.element.magnitude * step))  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["sign", "binary", "ternary", "tanh", "relu_slope", "powers", "hswish"])
def test_other_activations_on_real_inputs_ask_for_a_type(name: str) -> None:
    model = sequential((6,), quantised(ACTIVATIONS[name](), "q"), dense(4, name="d"))
    assert "layer 'q' (QActivation): activation works on inputs that the model has not quantised" in refusal(model)
    x = half_steps((300, 6), 1 / 16, 7.0)
    assert_same(model, x, input_type="fixed<9,4>")


def test_a_curve_on_a_wide_sum_becomes_thresholds() -> None:
    """Values of 17 bits are all evaluated; where the result only rises a table of that size is not needed."""
    x = layers.Input((5,), name="x")
    total = dense(3, kernel=lambda: bits(8, 1), use_bias=False, name="d")(quantised(bits(9, 3))(x))
    outputs = [
        qkeras.QActivation(make(), name=name)(total)
        for name, make in {
            "tanh": lambda: qkeras.quantized_tanh(8, use_real_tanh=True),
            "relu_powers": lambda: qkeras.quantized_relu_po2(5, max_value=16),
        }.items()
    ]
    loaded = assert_same(randomised(keras.Model(x, outputs, name="net")), half_steps((300, 5), 1 / 16, 9.0))
    assert loaded.graph.types["d"].element.width >= 17


def test_a_curve_that_falls_on_a_wide_sum_is_refused() -> None:
    stack = [quantised(bits(9, 3)), dense(3, kernel=lambda: bits(8, 1), use_bias=False, name="d")]
    model = sequential((5,), *stack, quantised(qkeras.quantized_hswish(6, 2, alpha=1), "h"))
    assert refusal(model).startswith("layer 'h' (QActivation): activation: needs a table of ")


# ---- weights -----------------------------------------------------------------------------------------------------------
CHANNELS = np.array([0.5, 2.0, 0.75, 1.5], np.float32)
KERNELS: dict[str, Make] = {
    "bits": lambda: bits(4, 0),
    "bits_symmetric": lambda: bits(4, 1, 1),
    "bits_unsigned": lambda: bits(3, 0, keep_negative=False),
    "one_bit": lambda: bits(1, 0),
    "alpha": lambda: bits(5, 0, alpha=0.5),
    "alpha_of_three_quarters": lambda: bits(5, 0, alpha=0.75),
    "alpha_a_channel": lambda: bits(5, 0, alpha=CHANNELS),
    "alpha_tensor": lambda: bits(5, 0, alpha=keras.backend.constant(CHANNELS)),
    "alpha_none_is_learned": lambda: qkeras.quantized_bits(4, 0),
    "auto_po2": lambda: qkeras.quantized_bits(5, 1, alpha="auto_po2"),
    "auto_po2_by_row": lambda: qkeras.quantized_bits(5, 1, alpha="auto_po2", scale_axis=0),
    "stochastic_in_training": lambda: qkeras.quantized_bits(5, 1, alpha="auto_po2", use_stochastic_rounding=True),
    "binary": lambda: qkeras.binary(alpha=1),
    "binary_01": lambda: qkeras.binary(use_01=True, alpha=1),
    "binary_auto_po2": qkeras.binary,
    "stochastic_binary": lambda: qkeras.stochastic_binary(alpha="auto_po2"),
    "ternary": lambda: qkeras.ternary(alpha=1),
    "ternary_threshold": lambda: qkeras.ternary(alpha=1, threshold=0.9),
    "ternary_auto_po2": qkeras.ternary,
    "ternary_unrolled": lambda: qkeras.ternary(alpha="auto_po2", number_of_unrolls=2),
    "stochastic_ternary": lambda: qkeras.stochastic_ternary(alpha="auto_po2"),
    "powers": lambda: qkeras.quantized_po2(4),
    "powers_bound": lambda: qkeras.quantized_po2(3, max_value=1),
    "powers_quadratic": lambda: qkeras.quantized_po2(4, quadratic_approximation=True),
    "relu_powers": lambda: qkeras.quantized_relu_po2(3, max_value=4),
    "tanh": lambda: qkeras.quantized_tanh(5),
    "tanh_real": lambda: qkeras.quantized_tanh(4, use_real_tanh=True),
    "relu": lambda: relu(4, 1),
    "text": lambda: "quantized_bits(4,0,alpha=1)",
    "text_ternary": lambda: "ternary(alpha='auto_po2')",
    "text_stochastic": lambda: "stochastic_ternary('auto_po2')",
}


def test_weight_quantisers() -> None:
    """One layer for each, side by side; the bias goes through the same quantiser where that takes one axis."""
    x = layers.Input((6,), name="x")
    q = quantised(bits(5, 2))(x)
    outputs = []
    for name, make in KERNELS.items():
        by_channel = "channel" in name or name in ("alpha_tensor", "auto_po2_by_row") or "stochastic_in" in name
        bias = bits(6, 2) if by_channel else make()
        outputs.append(dense(4, kernel=make, bias=bias, name=name)(q))
    assert_same(randomised(keras.Model(x, outputs, name="net")), half_steps((100, 6), 1 / 8, 5.0))


FLOAT_SCALES: dict[str, Make] = {
    "auto": lambda: qkeras.quantized_bits(4, 0, alpha="auto"),
    "alpha": lambda: bits(4, 0, alpha=0.3),
    "binary": lambda: qkeras.binary(alpha="auto"),
    "ternary": lambda: qkeras.ternary(alpha="auto"),
    "channels": lambda: bits(4, 1, alpha=np.array([0.3, 0.7, 1.1, 0.9], np.float32)),
}


@pytest.mark.parametrize("name", list(FLOAT_SCALES))
def test_float_scales_on_weights(name: str) -> None:
    """The graph keeps the integers and each channel's float32 scale exactly; the framework rounds every product of the two, its
    straight-through estimator, and its sums. Each of 6 products of up to 32 * 2**3 is off by at most 2**-22 of itself."""
    model = sequential((6,), quantised(bits(5, 2)), dense(4, kernel=FLOAT_SCALES[name], name="d"))
    loaded = load_model(model)
    assert loaded.graph.metadata["framework_sums_exact"] == "no"
    (node,) = [node for node in loaded.graph.nodes if isinstance(node.operation, Dense)]
    assert np.abs(node.operation.weights).max() <= 8  # type: ignore[attr-defined]
    x = half_steps((200, 6), 1 / 8, 5.0)
    integers = interpret(loaded.graph, quantise_input(loaded.graph.inputs[0], x).integers)
    output = loaded.graph.outputs[0]
    found = real_values(output, loaded.graph.types[output.tensor].element, integers[output.tensor])
    expected = np.asarray(model(x), np.float64)
    kernel = np.abs(np.asarray(model.get_layer("d").kernel_quantizer_internal(model.get_layer("d").kernel)))
    bound = (np.abs(np.asarray(model.layers[0](x))) @ kernel + 2.0) * 8 * 2.0**-22
    assert (np.abs(found - expected) <= bound).all()
    assert np.ptp(found) > 1


@pytest.mark.parametrize("name", list(FLOAT_SCALES))
def test_float_scales_before_a_quantiser(name: str) -> None:
    """Thresholds in place of the scales: only a value within the framework's rounding of a tie may differ, by one step."""
    stack = [quantised(bits(5, 2)), dense(4, kernel=FLOAT_SCALES[name], name="d"), quantised(bits(6, 3), "then")]
    model = sequential((6,), *stack)
    loaded = load_model(model)
    x = half_steps((500, 6), 1 / 8, 5.0)
    integers = interpret(loaded.graph, quantise_input(loaded.graph.inputs[0], x).integers)
    output = loaded.graph.outputs[0]
    found = real_values(output, loaded.graph.types[output.tensor].element, integers[output.tensor])
    different = found != np.asarray(model(x), np.float64)
    sums = np.asarray(keras.Model(model.inputs, model.get_layer("d").output)(x), np.float64)
    to_tie = np.abs(np.abs(sums * 4 - np.floor(sums * 4)) - 0.5) / 4
    assert (to_tie[different] <= 2.0**-18).all()
    assert different.mean() < 0.01


def test_a_float_scale_of_few_bits_is_exact() -> None:
    """Weights that are multiples of 3/4 learn the scale 3/4, which float32 multiplies exactly."""
    model = sequential((6,), quantised(bits(5, 2)), dense(4, kernel=FLOAT_SCALES["auto"], name="d"))
    random = np.random.default_rng(0)
    kernel = random.integers(-7, 8, (6, 4)) * 0.75
    kernel[0] = 7 * 0.75
    layer = model.get_layer("d")
    layer.kernel.assign(kernel.astype(np.float32))
    assert (np.asarray(layer.kernel_quantizer_internal(layer.kernel)) == kernel).all()
    assert_same(model)


def test_weights_far_beyond_the_range_keep_the_value_that_float32_gives() -> None:
    """At 2**23 the straight-through estimator loses the quantiser's step; the framework's weight counts."""
    layer = dense(3, use_bias=False, name="d")
    model = sequential((2,), quantised(bits(4, 1)), layer)
    layer.kernel.assign(np.array([[2.0**23 + 1, 0.5, -1.0], [3e6, 0.25, 9e6]], np.float32))
    found = np.asarray(layer.kernel_quantizer_internal(layer.kernel))
    assert found[0, 0] != 1.75  # what the quantiser means
    assert_same(model)


def test_weights_of_zero() -> None:
    for make in (lambda: bits(4, 0), lambda: qkeras.quantized_bits(4, 0), lambda: qkeras.ternary(alpha="auto_po2")):
        layer = dense(3, kernel=make, name="d")
        model = sequential((2,), quantised(bits(4, 1)), layer, name="net")
        layer.kernel.assign(np.zeros((2, 3), np.float32))
        loaded = load_model(model)
        bias = np.asarray(layer.bias_quantizer_internal(layer.bias), np.float64)
        output = loaded.graph.outputs[0]
        results = interpret(loaded.graph, np.array([[3, -2]]))[output.tensor]
        assert (real_values(output, loaded.graph.types[output.tensor].element, results) == bias).all()


def test_steps_of_weights_are_exact_fractions() -> None:
    values = np.random.default_rng(1).normal(0, 1, (5, 3)).astype(np.float32)
    learned = quantised_weights(qkeras.quantized_bits(4, 0, alpha="auto_po2"), values, "w")
    assert learned.exact
    assert 4 <= np.abs(learned.integers).max() <= 7
    assert (np.log2(learned.steps) % 1 == 0).all()
    found = quantised_weights(qkeras.quantized_bits(4, 0, alpha="auto"), values, "w")
    weights = found.weights()
    assert not found.exact
    assert weights.integers.shape == (5, 3)
    assert np.abs(weights.integers).max() == 7
    scale = np.abs(values).max(axis=0) * 2 / 14  # by the largest value of each channel
    assert [float(step) for step in weights.steps] == pytest.approx(scale.tolist(), rel=1e-6)
    assert all(Fraction(float(np.float32(float(step)))) == step for step in weights.steps)


def test_a_bias_off_the_grid_of_the_sums_stays_on_the_host_or_becomes_part_of_the_next_sum() -> None:
    model = sequential((4,), quantised(bits(4, 1)), dense(3, bias=bits(14, 1), name="d"))
    assert any(assert_same(model).graph.outputs[0].offset)
    assert_same(sequential((4,), quantised(bits(4, 1)), dense(3, bias=bits(14, 1), name="d"), dense(3, name="e")))


@pytest.mark.parametrize(
    ("quantiser", "message"),
    [
        (lambda: qkeras.bernoulli(alpha=1), "bernoulli draws random numbers at inference too, so it has no fixed result; use binary(use_01=True)"),
        (lambda: bits(4, 0, qnoise_factor=0.5), "quantized_bits with qnoise_factor = 0.5; supported is 1 (less mixes in values that are not quantised)"),
        (lambda: bits(25, 0), "quantized_bits with bits = 25; supported is a whole number from 1 to 24"),
        (lambda: qkeras.quantized_bits(1, 0, alpha="auto"), "quantized_bits with alpha = 'auto'; supported is a number where bits is 1 (there is no level to scale to)"),
        (lambda: qkeras.quantized_po2(8), "its weights span 67 bits, from 2**-64 to 2**3; supported are 64. Fewer bits in the quantiser bound the exponents"),
    ],
)  # fmt: skip
def test_weight_quantisers_that_are_refused(quantiser: Make, message: str) -> None:
    layer = dense(3, kernel=quantiser, name="d")
    model = sequential((4,), quantised(), layer)
    layer.kernel.assign(np.array([[0.0, 1, 4], [0.5, 0.25, 1], [1, 1, 1], [2, 2, 2]], np.float32))
    assert refusal(model) == f"layer 'd' (QDense): kernel_quantizer: {message}"


def test_a_quantiser_of_another_class_is_refused() -> None:
    class quantized_bits(qkeras.quantized_bits):  # type: ignore[misc, name-defined]  # noqa: N801
        def __call__(self, x: Any) -> Any:
            return super().__call__(x) * 3

    message = refusal(sequential((4,), quantised(quantized_bits(4, 0, alpha=1)), dense(3, name="d")))
    assert message.startswith(
        "layer 'q' (QActivation): activation is 'quantized_bits'; supported are the quantisers binary, "
    )
    assert refusal(sequential((4,), quantised(), dense(3, kernel=lambda: quantized_bits(4, 0), name="d"))).startswith(
        "layer 'd' (QDense): kernel_quantizer is 'quantized_bits'; supported are "
    )
