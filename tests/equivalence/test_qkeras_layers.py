# SPDX-License-Identifier: Apache-2.0
"""Every QKeras and Keras layer that the frontend reads, with its options: the framework's output is the interpreter's."""

from __future__ import annotations

from collections.abc import Callable
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
    weighted,
)
from toolchain.frontends import load_model
from toolchain.ir import Conv, Dense, Graph, Scale, Threshold

Make = Callable[[], Any]


def operations(graph: Graph, kind: type) -> list[Any]:
    return [node.operation for node in graph.nodes if isinstance(node.operation, kind)]


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], Make]] = {
    "1d": ((9, 3), lambda: weighted("Conv1D", 4, 3, name="c")),
    "1d_same_strides": ((10, 3), lambda: weighted("Conv1D", 4, 4, strides=3, padding="same", name="c")),
    "1d_causal": ((8, 2), lambda: weighted("Conv1D", 3, 3, padding="causal", name="c")),
    "1d_causal_dilated": ((9, 2), lambda: weighted("Conv1D", 3, 3, padding="causal", dilation_rate=2, name="c")),
    "1d_dilated": ((11, 2), lambda: weighted("Conv1D", 3, 3, dilation_rate=3, name="c")),
    "2d": ((6, 5, 3), lambda: weighted("Conv2D", 4, (3, 2), name="c")),
    "2d_same": ((6, 5, 3), lambda: weighted("Conv2D", 4, (3, 2), padding="same", name="c")),
    "2d_same_strides": ((7, 6, 2), lambda: weighted("Conv2D", 4, 3, strides=2, padding="same", name="c")),
    "2d_strides_apart": ((7, 6, 2), lambda: weighted("Conv2D", 3, (2, 3), strides=(3, 1), name="c")),
    "2d_dilated_same": ((8, 7, 2), lambda: weighted("Conv2D", 3, 3, dilation_rate=2, padding="same", name="c")),
    "2d_point": ((4, 4, 5), lambda: weighted("Conv2D", 6, 1, name="c")),
    "2d_no_bias": ((5, 5, 2), lambda: weighted("Conv2D", 3, 3, use_bias=False, name="c")),
    "2d_window_wider_than_stride": ((9, 9, 1), lambda: weighted("Conv2D", 2, 2, strides=4, padding="same", name="c")),
    "depthwise": ((6, 5, 3), lambda: weighted("DepthwiseConv2D", 3, name="c")),
    "depthwise_multiplied": ((6, 5, 3), lambda: weighted("DepthwiseConv2D", (2, 3), depth_multiplier=2, name="c")),
    "depthwise_same": ((6, 8, 2), lambda: weighted("DepthwiseConv2D", 3, strides=(2, 2), padding="same", name="c")),
    "depthwise_dilated": ((7, 7, 2), lambda: weighted("DepthwiseConv2D", 3, dilation_rate=(2, 2), name="c")),
    "depthwise_dilated_same": (
        (7, 7, 2),
        lambda: weighted("DepthwiseConv2D", 3, dilation_rate=(2, 2), padding="same", name="c"),
    ),
    "separable": ((6, 5, 3), lambda: weighted("SeparableConv2D", 4, 3, name="c")),
    "separable_multiplied": (
        (7, 6, 2),
        lambda: weighted("SeparableConv2D", 4, (3, 2), depth_multiplier=3, padding="same", name="c"),
    ),
    "separable_strides": ((7, 7, 2), lambda: weighted("SeparableConv2D", 3, 3, strides=(2, 2), name="c")),
    "separable_1d": ((9, 3), lambda: weighted("SeparableConv1D", 4, 3, name="c")),
    "separable_1d_same": (
        (9, 3),
        lambda: weighted("SeparableConv1D", 4, 3, strides=2, padding="same", depth_multiplier=2, name="c"),
    ),
    "separable_1d_dilated": ((9, 3), lambda: weighted("SeparableConv1D", 4, 3, dilation_rate=2, name="c")),
    "transposed": ((4, 3, 2), lambda: weighted("Conv2DTranspose", 3, 3, name="c")),
    "transposed_strides": ((4, 3, 2), lambda: weighted("Conv2DTranspose", 3, (3, 2), strides=(2, 3), name="c")),
    "transposed_same": ((4, 3, 2), lambda: weighted("Conv2DTranspose", 3, 3, strides=2, padding="same", name="c")),
    "transposed_same_even": (
        (3, 4, 2),
        lambda: weighted("Conv2DTranspose", 3, 4, strides=(2, 1), padding="same", name="c"),
    ),
    "transposed_small_window": (
        (3, 4, 2),
        lambda: weighted("Conv2DTranspose", 3, 2, strides=3, padding="same", name="c"),
    ),
    "transposed_small_valid": ((3, 4, 2), lambda: weighted("Conv2DTranspose", 3, (1, 2), strides=3, name="c")),
    "transposed_dilated": ((5, 4, 2), lambda: weighted("Conv2DTranspose", 3, 3, dilation_rate=2, name="c")),
    "transposed_output_padding": (
        (3, 3, 2),
        lambda: weighted("Conv2DTranspose", 2, 3, strides=2, output_padding=1, padding="same", name="c"),
    ),
}


@pytest.mark.parametrize("name", list(CONVOLUTIONS))
def test_convolutions(name: str) -> None:
    shape, make = CONVOLUTIONS[name]
    loaded = assert_same(sequential(shape, quantised(), make()))
    assert operations(loaded.graph, Conv)


@pytest.mark.parametrize("kind", ["2d", "depthwise", "separable", "transposed", "1d"])
def test_an_activation_inside_the_layer(kind: str) -> None:
    shape, make = CONVOLUTIONS[kind]
    layer = make()
    layer.activation = relu(4, 2)
    assert_same(sequential(shape, quantised(), layer))


KERNELS: dict[str, Make] = {
    "auto_po2": lambda: qkeras.quantized_bits(4, 0),
    "tensor_alpha": lambda: bits(4, 0, alpha=np.array([0.5, 1.5, 4.0, 0.75], np.float32)),
    "binary": lambda: qkeras.binary(alpha=1),
    "ternary_auto": lambda: qkeras.ternary(alpha="auto_po2"),
    "powers": lambda: qkeras.quantized_po2(4, max_value=2),
}


@pytest.mark.parametrize("quantiser", list(KERNELS))
@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose", "Conv1D"])
def test_weight_quantisers_in_convolutions(kind: str, quantiser: str) -> None:
    shape = (6, 4) if kind == "Conv1D" else (5, 5, 4)
    arguments = (3,) if kind == "DepthwiseConv2D" else (4, 3)
    settings = {"depth_multiplier": 4} if kind == "DepthwiseConv2D" else {}
    layer = weighted(kind, *arguments, kernel=KERNELS[quantiser], name="c", **settings)
    if kind == "SeparableConv2D" and quantiser == "tensor_alpha":
        # The depthwise kernel's last axis is the multiplier.
        layer.depthwise_quantizer_internal.alpha = np.float32(0.75)
    assert_same(sequential(shape, quantised(), layer))


def test_groups() -> None:
    """Also where the learned scale is one an output, and a kernel sees a part of the channels only."""
    for kernel in (None, lambda: qkeras.quantized_bits(4, 0)):
        layer = weighted("Conv2D", 6, 3, groups=3, kernel=kernel, name="c")
        (conv,) = operations(assert_same(sequential((5, 5, 6), quantised(), layer)).graph, Conv)
        assert (conv.groups, conv.weights.shape) == (3, (3, 3, 2, 6))
    assert_same(sequential((9, 4), quantised(), weighted("Conv1D", 6, 3, groups=2, name="c")))


def test_dense_over_images_and_sequences() -> None:
    assert_same(sequential((3, 4, 5), quantised(), dense(6, name="d")))
    assert operations(assert_same(sequential((7, 5), quantised(), dense(6, name="d"))).graph, Dense)


POOLING: dict[str, tuple[tuple[int, ...], Make]] = {
    "max_1d": ((9, 3), lambda: layers.MaxPooling1D(2)),
    "max_1d_same": ((9, 3), lambda: layers.MaxPooling1D(4, strides=2, padding="same")),
    "max_2d": ((6, 7, 3), lambda: layers.MaxPooling2D((2, 3))),
    "max_2d_same": ((7, 7, 3), lambda: layers.MaxPooling2D(3, strides=2, padding="same")),
    "max_2d_overlap": ((6, 6, 2), lambda: layers.MaxPooling2D(3, strides=1)),
    "average_1d": ((9, 3), lambda: layers.AveragePooling1D(2)),
    "average_1d_same": ((9, 3), lambda: layers.AveragePooling1D(2, strides=2, padding="same")),
    "average_2d": ((6, 7, 3), lambda: layers.AveragePooling2D((2, 4))),
    "average_2d_same": ((7, 7, 3), lambda: layers.AveragePooling2D(2, strides=2, padding="same")),
    "global_max_1d": ((9, 3), layers.GlobalMaxPooling1D),
    "global_max_2d": ((4, 5, 3), layers.GlobalMaxPooling2D),
    "global_average_1d": ((8, 3), layers.GlobalAveragePooling1D),
    "global_average_2d": ((4, 4, 3), layers.GlobalAveragePooling2D),
    "global_max_kept": ((4, 5, 3), lambda: layers.GlobalMaxPooling2D(keepdims=True)),
    "global_average_kept": ((4, 2, 3), lambda: layers.GlobalAveragePooling2D(keepdims=True)),
    "global_average_1d_kept": ((4, 3), lambda: layers.GlobalAveragePooling1D(keepdims=True)),
}


@pytest.mark.parametrize("name", list(POOLING))
@pytest.mark.parametrize("before", ["quantised", "after_a_layer"])
def test_pooling(name: str, before: str) -> None:
    """Sizes that are powers of two, so that the mean itself is a float32."""
    shape, make = POOLING[name]
    stack = [quantised(bits(9, 5))]
    if before == "after_a_layer":
        stack += [dense(3, name="d"), layers.ReLU(name="r")]
    assert_same(sequential(shape, *stack, make()))


@pytest.mark.parametrize(
    ("shape", "make"),
    [
        ((9, 9, 3), lambda: layers.AveragePooling2D(3)),
        ((7, 7, 2), lambda: layers.AveragePooling2D((7, 5), strides=1)),
        ((7, 7, 2), lambda: layers.AveragePooling2D(3, strides=2, padding="same")),
        ((10, 2), lambda: layers.AveragePooling1D(3, strides=2, padding="same")),
        ((7, 7, 3), layers.GlobalAveragePooling2D),
        ((13, 3), layers.GlobalAveragePooling1D),
    ],
)
def test_means_whose_division_rounds_before_a_quantiser(shape: tuple[int, ...], make: Make) -> None:
    """The quotient is rounded to float32 and then quantised: ties in between must fall as in the framework."""
    stack = [quantised(bits(7, 2)), make(), quantised(bits(5, 2), "after")]
    random = np.random.default_rng(1)
    x = (random.integers(-128, 128, (400, *shape)) / 32).astype(np.float32)
    assert_same(sequential(shape, *stack), x)


QUANTISED_POOLING: dict[str, Make] = {
    "no_quantiser": lambda: qkeras.QAveragePooling2D((2, 2)),
    "eighth": lambda: qkeras.QAveragePooling2D((3, 3), strides=1, average_quantizer=bits(4, 0)),
    "exact": lambda: qkeras.QAveragePooling2D((2, 4), average_quantizer=bits(4, 0)),
    "same": lambda: qkeras.QAveragePooling2D((2, 2), padding="same", average_quantizer=bits(4, 0)),
    "activation": lambda: qkeras.QAveragePooling2D((4, 2), average_quantizer=bits(4, 0), activation=relu(4, 2)),
    "text": lambda: qkeras.QAveragePooling2D(
        (2, 2), average_quantizer="quantized_bits(6,0,1,alpha=1.0)", activation="quantized_bits(5,2,alpha=1)"
    ),
    "global": lambda: qkeras.QGlobalAveragePooling2D(average_quantizer=bits(7, 0)),
    "global_none": qkeras.QGlobalAveragePooling2D,
    "global_activation": lambda: qkeras.QGlobalAveragePooling2D(
        average_quantizer=bits(8, 0), activation=qkeras.quantized_relu(7, 1)
    ),
}


@pytest.mark.parametrize("name", list(QUANTISED_POOLING))
def test_quantised_pooling(name: str) -> None:
    """Areas that are powers of two, except for 'eighth' where the mean of nine is first rounded to float32."""
    layer = QUANTISED_POOLING[name]()
    layer._name = "pool"
    stack = [quantised(), layer]
    if name == "eighth":
        stack.append(quantised(bits(5, 2), "after"))
    assert_same(sequential((8, 8, 3), *stack), sums_exact="no" if name == "eighth" else "yes")


MERGES: dict[str, Callable[[list[Any]], Any]] = {
    "add": layers.Add(),
    "subtract": lambda v: layers.Subtract()(v[:2]),
    "multiply": layers.Multiply(),
    "average_two": lambda v: layers.Average()(v[:2]),
    "concatenate": layers.Concatenate(),
    "concatenate_rows": layers.Concatenate(axis=1),
    "concatenate_columns": layers.Concatenate(axis=-2),
    "same_twice": lambda v: layers.Add()([v[0], v[0]]),
}


@pytest.mark.parametrize("name", list(MERGES))
def test_branches_meet(name: str) -> None:
    """Three branches with steps of their own."""
    x = layers.Input((4, 3, 2), name="x")
    q = quantised()(x)
    a = quantised(relu(5, 3), "qa")(weighted("Conv2D", 3, 1, name="a")(q))
    b = weighted("Conv2D", 3, 1, kernel=lambda: bits(3, 2), name="b")(q)
    c = quantised(bits(4, 0), "qc")(weighted("Conv2D", 3, 1, name="c")(q))
    assert_same(randomised(keras.Model(x, MERGES[name]([a, b, c]), name="net")))


def test_mean_of_three_before_a_quantiser() -> None:
    x = layers.Input((5,), name="x")
    q = quantised(bits(8, 3))(x)
    parts = [quantised(bits(7, 2), f"q{n}")(dense(6, name=n)(q)) for n in "abc"]
    y = quantised(bits(5, 2), "last")(layers.Average()(parts))
    assert_same(randomised(keras.Model(x, y, name="net")), half_steps((300, 5), 1 / 16, 8.0))


@pytest.mark.parametrize("shape", [(1, 1, 3), (3,), (4, 1, 3), (4, 3, 1)])
def test_sizes_of_one_are_repeated(shape: tuple[int, ...]) -> None:
    """Fewer axes too: Keras puts the missing ones first."""
    x, y = layers.Input((4, 3, 3), name="x"), layers.Input(shape, name="y")
    a, b = quantised(bits(5, 2), "qx")(x), quantised(bits(6, 1), "qy")(y)
    outputs = [layers.Add()([a, b]), layers.Multiply()([a, b])]
    assert_same(keras.Model([x, y], outputs, name="net"))


REARRANGEMENTS: dict[str, tuple[tuple[int, ...], Make]] = {
    "flatten": ((3, 4, 2), layers.Flatten),
    "reshape": ((3, 4, 2), lambda: layers.Reshape((6, 4))),
    "reshape_open": ((3, 4, 2), lambda: layers.Reshape((2, -1))),
    "permute": ((3, 4, 2), lambda: layers.Permute((2, 3, 1))),
    "pad_1d": ((5, 2), lambda: layers.ZeroPadding1D((1, 2))),
    "pad_1d_number": ((5, 2), lambda: layers.ZeroPadding1D(2)),
    "pad_2d": ((3, 4, 2), lambda: layers.ZeroPadding2D(((0, 2), (3, 1)))),
    "pad_2d_pair": ((3, 4, 2), lambda: layers.ZeroPadding2D((1, 0))),
    "crop_1d": ((6, 2), lambda: layers.Cropping1D((1, 2))),
    "crop_2d": ((5, 6, 2), lambda: layers.Cropping2D(((1, 0), (2, 1)))),
    "up_1d": ((4, 2), lambda: layers.UpSampling1D(3)),
    "up_2d": ((3, 4, 2), lambda: layers.UpSampling2D((2, 3))),
}


@pytest.mark.parametrize("name", list(REARRANGEMENTS))
@pytest.mark.parametrize("place", ["before_the_quantiser", "after_a_bias"])
def test_rearrangements(name: str, place: str) -> None:
    """On real inputs, and on values that wait for a bias; then a layer that would notice a wrong order."""
    shape, make = REARRANGEMENTS[name]
    if place == "before_the_quantiser":
        if name.startswith("pad"):
            model = sequential(shape, make(), quantised(), dense(3, name="d"))
            assert "works on inputs that the model has not quantised" in refusal(model)
            return
        assert_same(sequential(shape, make(), quantised(), dense(3, name="d")))
        return
    stack = [quantised(), dense(shape[-1], name="first"), make(), quantised(relu(5, 2), "then"), dense(3, name="d")]
    assert_same(sequential(shape, *stack))


INERT = [
    lambda: layers.Dropout(0.5),
    lambda: layers.AlphaDropout(0.5),
    lambda: layers.GaussianDropout(0.5),
    lambda: layers.GaussianNoise(1.0),
    lambda: layers.SpatialDropout1D(0.5),
    lambda: layers.ActivityRegularization(l1=0.1),
    lambda: layers.Activation("linear"),
    lambda: qkeras.QActivation("linear"),
]


def test_layers_that_only_matter_for_training() -> None:
    stack = [layer for make in INERT for layer in (make(),)]
    loaded = assert_same(sequential((4, 3), stack[0], quantised(), *stack[1:], dense(3, name="d")))
    assert [node.name for node in loaded.graph.nodes] == ["x", "d", "d/bias"]
    assert_same(sequential((4, 4, 3), quantised(), layers.SpatialDropout2D(0.5), dense(3, name="d")))


RECTIFIERS: dict[str, Make] = {
    "relu": layers.ReLU,
    "relu_six": lambda: layers.ReLU(6.0),
    "relu_bound_off_the_grid": lambda: layers.ReLU(2.7),
    "relu_slope": lambda: layers.ReLU(negative_slope=0.25),
    "relu_slope_rounds": lambda: layers.ReLU(negative_slope=0.3, max_value=5.1),
    "relu_threshold": lambda: layers.ReLU(threshold=0.75),
    "relu_threshold_off_the_grid": lambda: layers.ReLU(threshold=0.3, max_value=3.0),
    "relu_threshold_slope": lambda: layers.ReLU(threshold=1.5, negative_slope=0.5),
    "relu_threshold_slope_rounds": lambda: layers.ReLU(threshold=1.25, negative_slope=0.1),
    "leaky": lambda: layers.LeakyReLU(0.125),
    "leaky_rounds": lambda: layers.LeakyReLU(0.3),
    "leaky_steep": lambda: layers.LeakyReLU(2.0),
    "leaky_none": lambda: layers.LeakyReLU(0.0),
    "activation": lambda: layers.Activation("relu"),
    "qactivation": lambda: qkeras.QActivation("relu"),
}


@pytest.mark.parametrize(
    "after", ["quantized_bits(5,2,alpha=1)", "quantized_relu(4,3)", "ternary(alpha=1,threshold=0.7)"]
)
def test_rectifiers_before_a_quantiser(after: str) -> None:
    """All of them side by side, each an output."""
    x = layers.Input((5,), name="x")
    sums = dense(6, name="d")(quantised(bits(7, 3))(x))
    outputs = [qkeras.QActivation(after, name=name)(make()(sums)) for name, make in RECTIFIERS.items()]
    assert_same(randomised(keras.Model(x, outputs)), half_steps((300, 5), 1 / 8, 9.0))


@pytest.mark.parametrize("name", ["relu", "relu_six", "relu_slope", "leaky", "activation"])
def test_rectifiers_without_a_quantiser(name: str) -> None:
    """Before a layer with weights: the exact value goes on."""
    assert_same(sequential((5,), quantised(), dense(6, name="d"), RECTIFIERS[name](), dense(3, name="e")))


def test_softmax_and_sigmoid_stay_on_the_host() -> None:
    for last in (layers.Softmax(), layers.Activation("softmax"), layers.Activation("sigmoid")):
        loaded = assert_same(sequential((4,), quantised(), dense(3, name="d"), last))
        assert loaded.graph.outputs[0].host_function in ("softmax", "sigmoid")
    inside = sequential((4, 4, 2), quantised(), weighted("Conv2D", 3, 2, activation="softmax", name="c"))
    loaded = assert_same(inside)
    assert loaded.graph.outputs[0].host_function == "softmax"
    # Dropout after it changes nothing; a second output ends before its own function.
    x = layers.Input((4,), name="x")
    q = quantised()(x)
    first = layers.Dropout(0.1)(layers.Softmax(name="s")(dense(3, name="d")(q)))
    second = dense(2, activation="sigmoid", name="e")(q)
    loaded = assert_same(randomised(keras.Model(x, [first, second])))
    assert [output.host_function for output in loaded.graph.outputs] == ["softmax", "sigmoid"]


CURVES = ("tanh", "softsign", "swish", "elu", "gelu", "sigmoid", "hard_sigmoid", "softplus", "exponential")


@pytest.mark.parametrize("after", ["quantized_bits(6,1,alpha=1)", "binary(alpha=1)", "ternary(alpha=1)"])
def test_curves_before_a_quantiser(after: str) -> None:
    """Keras's own float32 result for each value that can occur, and then the quantiser on it."""
    x = layers.Input((3,), name="x")
    sums = dense(4, name="d")(quantised(bits(4, 1))(x))
    curves = CURVES[:5] if after.startswith("binary") else CURVES  # the others have one sign only
    outputs = [qkeras.QActivation(after, name=f"{name}_")(layers.Activation(name)(sums)) for name in curves]
    assert_same(randomised(keras.Model(x, outputs)), half_steps((300, 3), 1 / 8, 3.0))


FOLDED: dict[str, tuple[tuple[int, ...], Make]] = {
    "conv": ((5, 5, 3), lambda: weighted("Conv2DBatchnorm", 4, 3, name="c")),
    "conv_no_bias": ((5, 5, 3), lambda: weighted("Conv2DBatchnorm", 4, 3, bias=bits(8, 3), name="c")),
    "conv_batch_mode": (
        (5, 5, 3),
        lambda: weighted("Conv2DBatchnorm", 4, 3, folding_mode="batch_stats_folding", padding="same", name="c"),
    ),
    "conv_no_scale": ((5, 5, 3), lambda: weighted("Conv2DBatchnorm", 4, 3, scale=False, strides=2, name="c")),
    "conv_activation": ((5, 5, 3), lambda: weighted("Conv2DBatchnorm", 4, 3, activation=relu(4, 2), name="c")),
    "conv_learned_scale": (
        (5, 5, 3),
        lambda: weighted("Conv2DBatchnorm", 4, 3, kernel=lambda: qkeras.quantized_bits(4, 0), name="c"),
    ),
    "conv_groups": ((5, 5, 6), lambda: weighted("Conv2DBatchnorm", 4, 3, groups=2, padding="same", name="c")),
    "depthwise": ((5, 5, 3), lambda: weighted("DepthwiseConv2DBatchnorm", 3, name="c")),
    "depthwise_multiplied": (
        (5, 5, 3),
        lambda: weighted("DepthwiseConv2DBatchnorm", 3, depth_multiplier=2, padding="same", name="c"),
    ),
}


@pytest.mark.parametrize("name", list(FOLDED))
@pytest.mark.parametrize("statistics", ["exact", "any"])
def test_folded_batch_norm(name: str, statistics: str) -> None:
    """The folded weights are the layer's own, whatever the statistics; a quantiser makes them integers again."""
    shape, make = FOLDED[name]
    model = sequential(shape, quantised(), make())
    if statistics == "any":
        random = np.random.default_rng(2)
        normalisation = model.get_layer("c").batchnorm
        for weight in normalisation.weights:
            low = 0.1 if "variance" in weight.name else -1.5
            weight.assign(random.uniform(low, 2.0, weight.shape).astype(np.float32))
    assert_same(model)


def test_a_folded_bias_without_a_quantiser() -> None:
    """It is added as the float32 that it is. A sum just above a tie is rounded onto it, and then to the even step."""
    layer = weighted("Conv2DBatchnorm", 4, 1, kernel=lambda: qkeras.binary(alpha=1), use_bias=False, name="c")
    layer.bias_quantizer = layer.bias_quantizer_internal = None
    model = sequential((3, 3, 1), layer, quantised(bits(12, 8), "then"))
    layer.kernel.assign(np.ones((1, 1, 1, 4), np.float32))
    normalisation = layer.batchnorm
    normalisation.epsilon = 0.0
    for weight in normalisation.weights:
        weight.assign(np.full(4, 1.0 if "gamma" in weight.name or "variance" in weight.name else 0.0, np.float32))
    step = 2.0**-3
    normalisation.beta.assign(np.array([step / 2 + 2.0**-20, -step / 2 - 2.0**-21, 1.0 + 2.0**-22, 0.25], np.float32))
    # Sums of up to 2**8 with bits down to 2**-20 need more than float32's 24.
    assert_same(model, half_steps((300, 3, 3, 1), 2.0**-3, 250.0), input_type="fixed<16,9>")


def exact_normalisation(layer: Any) -> Any:
    """With factors that are powers of two and offsets on the grid, all of it exact in float32."""
    layer.epsilon = 0.0
    return layer


@pytest.mark.parametrize("shape", [(6,), (5, 4), (4, 4, 3)])
@pytest.mark.parametrize("kind", ["BatchNormalization", "QBatchNormalization"])
@pytest.mark.parametrize("after", ["nothing", "quantiser", "relu_and_quantiser", "layer"])
def test_batch_norm_that_float32_holds(shape: tuple[int, ...], kind: str, after: str) -> None:
    """Falling channels too (negative gamma)."""
    if kind == "QBatchNormalization":
        norm = qkeras.QBatchNormalization(
            gamma_quantizer=bits(6, 3),
            beta_quantizer=bits(7, 3),
            mean_quantizer=bits(7, 3),
            variance_quantizer=None,
            name="n",
        )
    else:
        norm = layers.BatchNormalization(name="n")
    norm.epsilon = 0.0
    stack = [quantised(), dense(4, name="d"), norm]
    stack += {
        "nothing": [],
        "quantiser": [quantised(bits(5, 2), "then")],
        "relu_and_quantiser": [layers.ReLU(), quantised(relu(4, 2), "then")],
        "layer": [dense(3, name="e")],
    }[after]
    assert_same(sequential(shape, *stack))


@pytest.mark.parametrize("settings", [{"center": False}, {"scale": False}, {"center": False, "scale": False}])
def test_batch_norm_without_some_of_its_parameters(settings: dict[str, bool]) -> None:
    norm = layers.BatchNormalization(name="n", **settings)
    norm.epsilon = 0.0
    assert_same(sequential((4,), quantised(), dense(3, name="d"), norm, quantised(bits(5, 2), "then")))


def any_statistics(model: Any, name: str = "n", seed: int = 4) -> Any:
    random = np.random.default_rng(seed)
    for weight in model.get_layer(name).weights:
        low = 0.05 if "variance" in weight.name else -2.0
        weight.assign(random.uniform(low, 2.0, weight.shape).astype(np.float32))
    return model


@pytest.mark.parametrize("shape", [(6,), (5, 4), (4, 4, 3)])
@pytest.mark.parametrize("kind", ["BatchNormalization", "QBatchNormalization"])
@pytest.mark.parametrize("after", ["quantized_bits(8,2,alpha=1)", "quantized_relu(4,2)", "binary(alpha=1)"])
def test_batch_norm_that_float32_rounds(shape: tuple[int, ...], kind: str, after: str) -> None:
    """Any statistics: product and sum are rounded to float32 one by one, and the quantiser's steps follow that.

    Keras's fused kernel for images rounds in another order, so there the layer's own formula counts.
    """
    norm = getattr(layers if kind[0] == "B" else qkeras, kind)(name="n")
    stack = [quantised(bits(8, 3)), dense(16, name="d"), norm, qkeras.QActivation(after, name="then")]
    model = any_statistics(sequential(shape, *stack))
    fused = kind == "BatchNormalization" and len(shape) == 3
    assert_same(model, half_steps((500, *shape), 1 / 16, 9.0), sums_exact="no", by_keras=not fused)


@pytest.mark.parametrize("shape", [(48,), (2, 2, 48)])
@pytest.mark.parametrize("kind", ["BatchNormalization", "QBatchNormalization"])
def test_batch_norm_at_every_threshold(shape: tuple[int, ...], kind: str) -> None:
    """The integers right below and at each of 48 times 255 thresholds: where float32's rounding decides, they tell."""
    norm = getattr(layers if kind[0] == "B" else qkeras, kind)(name="n")
    model = any_statistics(sequential(shape, norm, quantised(bits(8, 6), "then")))
    settings: dict[str, Any] = {"input_type": "fixed<21,9>"}
    graph = load_model(model, **settings).graph
    (threshold,) = operations(graph, Threshold)
    sign = next((node.operation.factors for node in graph.nodes if isinstance(node.operation, Scale)), np.ones(48))
    element = graph.inputs[0].operation.element  # type: ignore[attr-defined]
    table = np.clip(threshold.thresholds, element.minimum + 2, element.maximum - 1) * sign[:, None]
    integers = np.concatenate([(table + step).T for step in (-1, 0, 1)])
    x = np.broadcast_to(integers.reshape(-1, *(1,) * (len(shape) - 1), 48), (len(integers), *shape)) * 2.0**-12
    fused = kind == "BatchNormalization" and len(shape) == 3
    assert_same(model, x.astype(np.float32), sums_exact="no", by_keras=not fused, **settings)


def test_the_fused_batch_norm_differs_at_most_by_one_step_near_ties() -> None:
    """Keras's kernel for images against the graph: a differing value lies within two float32 roundings of a tie."""
    norm = layers.BatchNormalization(name="n")
    stack = [quantised(bits(8, 3)), weighted("Conv2D", 8, 3, name="c"), norm, quantised(bits(8, 3), "then")]
    model = any_statistics(sequential((9, 9, 4), *stack))
    x = half_steps((200, 9, 9, 4), 1 / 16, 9.0)
    loaded = load_model(model)
    assert loaded.run is not None
    whole, steps = np.asarray(model(x), np.float64), 2.0**-4
    ours = loaded.run(x).astype(np.float64)
    different = whole != ours
    assert np.abs(whole - ours).max() <= steps
    assert different.mean() < 1e-4
    before = np.asarray(keras.Model(model.inputs, norm.output)(x), np.float64)
    sums = np.asarray(keras.Model(model.inputs, model.get_layer("c").output)(x), np.float64)
    factor = np.abs(np.asarray(norm.gamma) / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon))
    # Each of the two operations rounds by at most 2**-24 of its result, however the kernel orders them.
    size = np.abs(sums) * factor + np.abs(np.asarray(norm.moving_mean)) * factor + np.abs(np.asarray(norm.beta))
    to_tie = np.abs(np.abs(before / steps - np.floor(before / steps)) - 0.5) * steps
    assert (to_tie[different] <= 8 * 2.0**-24 * size[different]).all()


ADAPTIVE = [
    {"activation": "quantized_relu", "total_bits": 5},
    {"activation": "quantized_relu", "total_bits": 6, "relu_neg_slope": 0.25},
    {"activation": "quantized_relu", "total_bits": 4, "per_channel": True},
    {"activation": "quantized_bits", "total_bits": 5, "po2_rounding": True},
    {"activation": "quantized_bits", "total_bits": 6, "symmetric": False, "per_channel": True},
]


@pytest.mark.parametrize("settings", ADAPTIVE, ids=lambda s: f"{s['activation']}-{len(s)}")
def test_adaptive_activations(settings: dict[str, Any]) -> None:
    import tensorflow

    layer = qkeras.QAdaptiveActivation(
        current_step=tensorflow.Variable(3, dtype=tensorflow.int64), name="a", **settings
    )
    model = sequential((5,), quantised(), dense(4, name="d"), layer)
    size = layer.ema_min.shape
    layer.ema_min.assign(-np.linspace(1.2, 9.0, size[0]).astype(np.float32))
    layer.ema_max.assign(np.linspace(0.4, 14.0, size[0]).astype(np.float32))
    model(np.zeros((1, 5), np.float32))  # takes the integer bits from the averages, for the next call
    integers = np.asarray(layer.quantizer.integer).tolist()
    assert (len(set(integers)) > 1) == settings.get("per_channel", False)
    assert_same(model)
