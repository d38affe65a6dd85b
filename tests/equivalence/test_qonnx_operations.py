# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLW0108  # the cases come first and name functions that stand further down
"""Every operation of QONNX files with its options: qonnx's execution of a small file equals the interpreter, integer by integer.

Inputs lie on halves of the input quantiser's steps, so ties and saturation are among them. Scales are powers of two, where float32
is exact; tests of free scales say why the sums in them stay off the ties.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from onnx_files import CHANNELS_LAST, GENERAL, Net, TensorProto, check

FREE = 0.0731
MODES = ["ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN", "HALF_EVEN"]


def image(*shape: int, bits: int = 5, scale: float = 0.25, **settings: int) -> Net:
    """A network that begins with a quantised image, channels first."""
    return Net(*(shape or (3, 6, 7)), **settings).quant(scale, bits)


def conv(
    net: Net, outputs: int, window: tuple[int, ...], scale: object = 0.125, *, channels: int = 3, **options: object
) -> Net:
    groups = int(options.get("group", 1))  # type: ignore[call-overload]
    weights = net.weights((outputs, channels // groups, *window), scale)
    return net.node("Conv", weights, kernel_shape=list(window), **options)


def requantised(net: Net, scale: float = 0.5, bits: int = 6) -> Net:
    return net.quant(scale, bits)


Case = Callable[[], Net]
CASES: dict[str, Case] = {}


def case(name: str) -> Callable[[Case], Case]:
    def register(build: Case) -> Case:
        assert name not in CASES
        CASES[name] = build
        return build

    return register


def cases(prefix: str, builds: dict[str, Case]) -> None:
    for name, build in builds.items():
        case(f"{prefix}-{name}")(build)


# ---- quantisers ------------------------------------------------------------------------------------------------------
cases(
    "quant",
    {
        f"{mode}-{'signed' if signed else 'unsigned'}-{'narrow' if narrow else 'full'}-{bits}": (
            lambda mode=mode, signed=signed, narrow=narrow, bits=bits: (
                Net().quant(0.25, 7).quant(1.0, bits, mode=mode, signed=signed, narrow=narrow)
            )
        )
        for mode in MODES
        for signed in (0, 1)
        for narrow in (0, 1)
        for bits in (2, 4)
    },
)
cases("quant", {
    "one bit, unsigned": lambda: Net().quant(0.25, 5).quant(1.0, 1, signed=0),
    "one bit, signed, is the sign": lambda: Net().quant(0.25, 5).quant(0.5, 1, signed=1),
    "zero point": lambda: Net().quant(0.25, 5, zero=3).quant(0.5, 4, zero=-5).dense(3, 0.25),
    "zero point a mode of its own": lambda: Net().quant(0.25, 5, zero=3, mode="FLOOR").quant(0.5, 4, zero=2, mode="DOWN"),
    "zero point, unsigned": lambda: Net().quant(0.25, 5, signed=0, zero=7).quant(0.75, 3, signed=0, zero=3).dense(3, 0.25),
    "scale a channel": lambda: Net().quant(0.25, 6).quant([[0.25, 0.5, 1.0, 2.0, 0.75, 0.125]], 4),
    "scale a channel, then a product": lambda: Net().quant(0.25, 6).quant([[0.25, 0.5, 1.0, 2.0, 0.75, 0.125]], 4).dense(3, 0.5),
    "scale a channel of an image": lambda: image().quant(np.reshape([0.25, 0.5, 1.5], (1, 3, 1, 1)), 4),
    "of a constant scale shape": lambda: Net().quant(np.full((1,), 0.25), 6).quant(np.full((1, 1), 0.5), 4),
    "repeated": lambda: Net().quant(0.25, 6).quant(0.25, 6).quant(0.5, 5).quant(0.5, 5),
    "coarser, then finer": lambda: Net().quant(0.25, 6).quant(2.0, 3).quant(0.125, 8).dense(3, 0.25),
    "of the sum itself, 32 bits": lambda: Net().quant(0.25, 6).dense(4, 0.125).quant(0.03125, 32).quant(1.0, 3),
    "lower case mode": lambda: Net().quant(0.25, 6).quant(1.0, 4, mode="half_up"),
    "IntQuant": lambda: Net().quant(0.25, 6).node(
        "IntQuant", np.float32(0.5), np.float32(0), np.float32(4), signed=1, narrow=1, rounding_mode="CEIL"
    ),
    "bipolar": lambda: Net().quant(0.25, 4).node("BipolarQuant", np.float32(0.5)).dense(3, 0.25),
    "bipolar with a scale a channel": lambda: Net().quant(0.25, 4).node("BipolarQuant", [[0.5, 1, 2, 4, 0.25, 1]]).dense(3, 0.25),
    "bipolar weights with a scale an output": lambda: bipolar_weights(Net().quant(0.25, 4)),
})  # fmt: skip


def bipolar_weights(net: Net) -> Net:
    source = net.last
    net.node("BipolarQuant", [[0.5, 0.25, 2.0]], tensor=net.constant(net.random.normal(0, 1, (6, 3))))
    weights = net.last
    return net.at(source).node("MatMul", weights)


def truncated(first: int, second: int, mode: str, *, zero: float = 0, version: int = 1, **more: int) -> Net:
    net = Net().quant(0.25, first, zero=zero)
    operands = [np.float32(0.25), np.float32(zero), np.float32(first)]
    if version == 2:
        operands.append(np.float32(0.25 * 2.0 ** (first - second)))
    net.node("Trunc", *operands, np.float32(second), rounding_mode=mode, **more)
    net.versions[GENERAL] = version
    return net


cases(
    "trunc",
    {
        f"version {version}, {mode}": lambda mode=mode, version=version: truncated(6, 3, mode, version=version).dense(
            3, 0.5
        )
        for mode in MODES
        for version in (1, 2)
    },
)
cases("trunc", {
    "version 1 with a zero point": lambda: truncated(6, 4, "FLOOR", zero=3),
    "version 2 with a zero point": lambda: truncated(6, 4, "FLOOR", zero=3, version=2),
    "version 2, unsigned and narrow": lambda: truncated(6, 4, "ROUND", version=2, signed=0, narrow=1),
    "version 2, signed, clips": lambda: truncated(6, 4, "CEIL", version=2, signed=1, narrow=1),
    "of more bits than there are": lambda: truncated(4, 6, "FLOOR"),
    "of values between the steps": lambda: between_steps(),
    "of an average, as Brevitas pools": lambda: image(bits=4).node("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    .node("Mul", np.float32(4)).node("Trunc", *map(np.float32, (0.25, 0, 6, 1.0, 4)), rounding_mode="FLOOR"),
})  # fmt: skip


def between_steps() -> Net:
    """First to whole steps, ties to even, then down: not the same as down at once."""
    net = Net().quant(0.125, 7)
    return net.node("Trunc", *map(np.float32, (0.25, 0, 7, 5)), rounding_mode="FLOOR")


def thresholds(net: Net, rows: int, steps: int = 5, **options: object) -> Net:
    table = np.sort(net.random.integers(-20, 20, (rows, steps)) / 8, axis=1)
    return net.node("MultiThreshold", table, out_dtype="UINT4", **options)


cases("multithreshold", {
    "NC": lambda: thresholds(Net().quant(0.25, 5), 6, data_layout="NC").dense(3, 0.5),
    "one row": lambda: thresholds(Net().quant(0.25, 5), 1),
    "without a layout, two axes": lambda: thresholds(Net().quant(0.25, 5), 6),
    "without a layout, three axes": lambda: thresholds(Net(4, 3).quant(0.25, 5), 3),
    "NCW": lambda: thresholds(Net(4, 3).quant(0.25, 5), 4, data_layout="NCW"),
    "NWC": lambda: thresholds(Net(4, 3).quant(0.25, 5), 3, data_layout="NWC"),
    "without a layout, four axes": lambda: thresholds(image(), 3),
    "NCHW after a convolution": lambda: thresholds(conv(image(), 4, (3, 3)), 4, data_layout="NCHW"),
    "NHWC": lambda: thresholds(image(6, 7, 3), 3, data_layout="NHWC"),
    "NHWC between transpositions": lambda: thresholds(
        conv(image(), 4, (3, 3)).node("Transpose", perm=[0, 2, 3, 1]), 4, data_layout="NHWC"
    ).node("Transpose", perm=[0, 3, 1, 2]),
    "scale and bias": lambda: thresholds(Net().quant(0.25, 5), 6, out_scale=0.5, out_bias=-1.25).dense(3, 0.5),
    "bipolar": lambda: Net().quant(0.25, 5)
    .node("MultiThreshold", np.linspace(-1, 1, 6).reshape(6, 1), out_dtype="BIPOLAR", out_scale=2.0, out_bias=-1.0).dense(3, 1.0),
    "signed integers": lambda: thresholds(Net().quant(0.25, 5), 6, steps=7, out_bias=-4.0).dense(3, 1.0),
    "negative scale": lambda: thresholds(Net().quant(0.25, 5), 6, out_scale=-0.5).dense(3, 0.5),
    "not ascending": lambda: Net().quant(0.25, 5)
    .node("MultiThreshold", Net().random.integers(-20, 20, (6, 5)) / 8, out_dtype="UINT4"),
    "equal thresholds": lambda: Net().quant(0.25, 5).node("MultiThreshold", np.full((1, 3), 0.5), out_dtype="UINT2"),
    "after a negative factor": lambda: thresholds(
        Net().quant(0.25, 5).node("Mul", [[1.0, -1.0, 0.5, -2.0, 0.0, 1.0]]), 6
    ),
    "after a rectifier": lambda: thresholds(Net().quant(0.25, 5).dense(4, 0.5).node("Relu"), 4),
})  # fmt: skip


# ---- products --------------------------------------------------------------------------------------------------------
cases(
    "conv",
    {
        "plain": lambda: requantised(conv(image(), 4, (3, 3))),
        "not quantised at the end": lambda: conv(image(), 4, (3, 3)),
        "1x1": lambda: requantised(conv(image(), 4, (1, 1))),
        "pads": lambda: requantised(conv(image(), 4, (3, 3), pads=[1, 1, 1, 1])),
        "uneven pads": lambda: requantised(conv(image(), 4, (3, 2), pads=[2, 0, 1, 3])),
        "pads and strides": lambda: requantised(conv(image(), 4, (3, 3), pads=[1, 0, 0, 2], strides=[2, 3])),
        "same upper": lambda: requantised(conv(image(), 4, (3, 2), auto_pad="SAME_UPPER", strides=[2, 2])),
        "same lower": lambda: requantised(conv(image(), 4, (3, 2), auto_pad="SAME_LOWER", strides=[2, 1])),
        "valid": lambda: requantised(conv(image(), 4, (3, 2), auto_pad="VALID")),
        "dilation": lambda: requantised(conv(image(), 4, (2, 3), dilations=[3, 2], pads=[1, 2, 1, 2])),
        "groups": lambda: requantised(conv(image(4, 5, 5), 6, (3, 3), channels=4, group=2)),
        "depthwise": lambda: requantised(conv(image(), 3, (3, 3), group=3, pads=[1, 1, 1, 1])),
        "depthwise with two outputs a channel": lambda: requantised(conv(image(), 6, (3, 3), group=3)),
        "scale an output": lambda: requantised(
            conv(image(), 4, (3, 3), np.reshape([0.25, 0.125, 0.5, 1.0], (4, 1, 1, 1)))
        ),
        "depthwise, scale an output": lambda: requantised(
            conv(image(), 3, (3, 3), np.reshape([0.25, 0.125, 0.5], (3, 1, 1, 1)), group=3)
        ),
        "bias": lambda: with_bias(image(), [0.5, -1.0, 0.25, 3.0]),
        "quantised bias": lambda: with_quantised_bias(image()),
        "zero point and pads": lambda: requantised(
            conv(Net(3, 6, 7).quant(0.25, 5, zero=4), 4, (3, 3), pads=[1, 2, 0, 1])
        ),
        "offset of the thresholds and pads": lambda: requantised(
            conv(thresholds(image(), 3, out_bias=-2.5), 4, (3, 3), pads=[1, 2, 0, 1])
        ),
        "one dimension": lambda: requantised(conv(image(3, 9), 4, (3,), pads=[2, 1], strides=[2])),
        "one dimension, dilation and groups": lambda: requantised(
            conv(image(4, 9), 6, (3,), channels=4, dilations=[2], group=2)
        ),
        "two in a row": lambda: requantised(conv(requantised(conv(image(), 4, (3, 3)), 0.5, 4), 5, (2, 2), channels=4)),
        "one channel": lambda: requantised(conv(image(1, 6, 6), 2, (3, 3), channels=1)),
        "of the whole image": lambda: requantised(conv(image(3, 4, 5), 2, (4, 5))),
    },
)


def with_bias(net: Net, bias: object) -> Net:
    return requantised(net.node("Conv", net.weights((4, 3, 3, 3), 0.125), np.array(bias)))


def with_quantised_bias(net: Net) -> Net:
    bias = net.quantised(net.random.normal(0, 1, 4), 0.25 * 0.125, 12)
    return requantised(net.node("Conv", net.weights((4, 3, 3, 3), 0.125), bias))


def deconv(
    net: Net, outputs: int, window: tuple[int, ...], scale: object = 0.125, *, channels: int = 3, **options: object
) -> Net:
    groups = int(options.get("group", 1))  # type: ignore[call-overload]
    weights = net.weights((channels, outputs // groups, *window), scale)
    return requantised(net.node("ConvTranspose", weights, kernel_shape=list(window), **options))


cases("conv_transpose", {
    "plain": lambda: deconv(image(3, 4, 5), 4, (3, 2)),
    "strides": lambda: deconv(image(3, 4, 5), 4, (3, 2), strides=[2, 3]),
    "strides larger than the window": lambda: deconv(image(3, 4, 5), 4, (1, 2), strides=[2, 3]),
    "pads": lambda: deconv(image(3, 4, 5), 4, (3, 3), strides=[2, 2], pads=[1, 0, 1, 2]),
    "pads larger than the window": lambda: deconv(image(3, 6, 6), 4, (2, 2), pads=[2, 3, 2, 2]),
    "output padding": lambda: deconv(image(3, 4, 5), 4, (3, 3), strides=[2, 3], pads=[1, 1, 1, 1], output_padding=[1, 2]),
    "output shape": lambda: deconv(image(3, 4, 5), 4, (3, 3), strides=[2, 2], output_shape=[8, 10]),
    "output shape, same upper": lambda: deconv(
        image(3, 4, 5), 4, (4, 3), strides=[2, 2], output_shape=[9, 10], auto_pad="SAME_UPPER"
    ),
    "same upper": lambda: deconv(image(3, 4, 5), 4, (3, 4), strides=[2, 2], auto_pad="SAME_UPPER"),
    "same lower": lambda: deconv(image(3, 4, 5), 4, (3, 4), strides=[2, 2], auto_pad="SAME_LOWER"),
    "dilation": lambda: deconv(image(3, 4, 5), 4, (2, 3), dilations=[2, 2], strides=[1, 2]),
    "groups": lambda: deconv(image(4, 4, 5), 6, (3, 3), channels=4, group=2, strides=[2, 1]),
    "depthwise": lambda: deconv(image(3, 4, 5), 3, (2, 2), group=3, strides=[2, 2]),
    "scale an output": lambda: deconv(image(3, 4, 5), 3, (2, 2), np.reshape([0.25, 0.125, 0.5], (1, 3, 1, 1)), strides=[2, 2]),
    "one dimension": lambda: deconv(image(3, 6), 4, (3,), strides=[2], pads=[1, 0], output_padding=[1]),
    "zero point": lambda: deconv(Net(3, 4, 5).quant(0.25, 5, zero=4), 4, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
})  # fmt: skip


def gemm(net: Net, bias: object = None, *, turned: bool = False) -> Net:
    weights = net.weights((4, 6) if turned else (6, 4), 0.125)
    operands = [weights] if bias is None else [weights, np.asarray(bias)]
    return requantised(net.node("Gemm", *operands, transB=int(turned)))


cases(
    "dense",
    {
        "MatMul": lambda: requantised(Net().quant(0.25, 5).dense(4, 0.125)),
        "MatMul, scale an output": lambda: requantised(Net().quant(0.25, 5).dense(4, [[0.125, 0.25, 0.5, 1.0]])),
        "MatMul over the last axis of an image": lambda: requantised(image(3, 4, 5).dense(2, 0.125)),
        "MatMul with a constant of three axes": lambda: batched_weights(),
        "Gemm": lambda: gemm(Net().quant(0.25, 5)),
        "Gemm, turned, with a bias": lambda: gemm(Net().quant(0.25, 5), [0.5, -0.25, 1.0, 0.0], turned=True),
        "Gemm, one bias": lambda: gemm(Net().quant(0.25, 5), [0.5]),
        "Gemm, a row of biases": lambda: gemm(Net().quant(0.25, 5), [[0.5, -0.25, 1.0, 0.0]]),
        "flattened image": lambda: flattened_dense(),
    },
)


def batched_weights() -> Net:
    net = Net(4, 6).quant(0.25, 5)
    return requantised(net.node("MatMul", net.weights((1, 6, 3), 0.125)))


def flattened_dense() -> Net:
    net = requantised(conv(image(3, 4, 5), 2, (3, 3)), 0.5, 4).node("Flatten")
    net.shape = (12,)
    return requantised(net.dense(3, 0.25))


@case("dense-MatMul after a convolution")
def matmul_after_convolution() -> Net:
    net = requantised(conv(image(), 4, (3, 3)), 0.5, 4)
    net.shape = (4, 4, 5)
    return requantised(net.dense(3, 0.25))


# ---- batch norm ------------------------------------------------------------------------------------------------------
def batch_norm(net: Net, gamma: object, beta: object, mean: object, variance: object) -> Net:
    """variance + epsilon is a power of four, so that float32 is exact."""
    epsilon = 2.0**-10
    parts = [np.array(v, dtype=np.float64) for v in (gamma, beta, mean, variance)]
    parts[3] = parts[3] - epsilon
    return net.node("BatchNormalization", *parts, epsilon=epsilon)


NORMS = ([1.0, -0.5, 0.0, 2.0], [0.5, 0.25, -1.0, 0.0], [0.25, -0.5, 1.0, 0.0], [1.0, 4.0, 1.0, 0.25])
cases(
    "batch_norm",
    {
        "after a convolution, negative and zero gamma": lambda: requantised(
            batch_norm(conv(image(), 4, (3, 3)), *NORMS)
        ),
        "and a rectifier": lambda: batch_norm(conv(image(), 4, (3, 3)), *NORMS).node("Relu").quant(0.5, 3, signed=0),
        "after a dense layer": lambda: requantised(batch_norm(Net().quant(0.25, 5).dense(4, 0.125), *NORMS)),
        "after a rectifier": lambda: requantised(batch_norm(conv(image(), 4, (3, 3)).node("Relu"), *NORMS)),
        "at the end": lambda: batch_norm(conv(image(), 4, (3, 3)), *NORMS),
        "of the quantised image": lambda: requantised(batch_norm(image(4, 3, 3), *NORMS)),
        "before pads": lambda: requantised(
            conv(requantised(batch_norm(image(4, 5, 5), *NORMS)), 2, (3, 3), channels=4, pads=[1] * 4)
        ),
        "before a maximum": lambda: requantised(
            batch_norm(conv(image(), 4, (3, 3)), *NORMS).node("MaxPool", kernel_shape=[2, 2])
        ),
        "one dimension": lambda: requantised(batch_norm(conv(image(3, 9), 4, (3,)), *NORMS)),
    },
)

# ---- pools -----------------------------------------------------------------------------------------------------------
cases("max_pool", {
    "plain": lambda: image().node("MaxPool", kernel_shape=[2, 3]),
    "strides": lambda: image().node("MaxPool", kernel_shape=[2, 3], strides=[2, 2]),
    "pads": lambda: image().node("MaxPool", kernel_shape=[3, 3], pads=[1, 0, 2, 1], strides=[2, 2]),
    "same upper": lambda: image().node("MaxPool", kernel_shape=[3, 2], auto_pad="SAME_UPPER", strides=[2, 2]),
    "same lower": lambda: image().node("MaxPool", kernel_shape=[3, 2], auto_pad="SAME_LOWER", strides=[2, 2]),
    "dilation": lambda: image().node("MaxPool", kernel_shape=[2, 2], dilations=[2, 3]),
    "ceil_mode that changes nothing": lambda: image(3, 6, 6).node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "one dimension": lambda: image(3, 9).node("MaxPool", kernel_shape=[3], strides=[2], pads=[1, 1]),
    "of sums, then a quantiser": lambda: requantised(conv(image(), 4, (3, 3)).node("MaxPool", kernel_shape=[2, 2])),
    "of a rectifier": lambda: requantised(conv(image(), 4, (3, 3)).node("Relu").node("MaxPool", kernel_shape=[2, 2])),
    "of negative values with pads": lambda: image().node("Neg").node("MaxPool", kernel_shape=[2, 2], pads=[1, 1, 1, 1]),
    "scale a channel": lambda: image().quant(np.reshape([0.25, 0.5, 1.5], (1, 3, 1, 1)), 3)
    .node("MaxPool", kernel_shape=[2, 2]),
    "zero point": lambda: Net(3, 6, 6).quant(0.25, 4, zero=3).node("MaxPool", kernel_shape=[2, 2], pads=[0, 1, 1, 0]),
    "global": lambda: image().node("GlobalMaxPool"),
    "global, one dimension": lambda: image(3, 7).node("GlobalMaxPool"),
    "ReduceMax": lambda: image().node("ReduceMax", np.array([2, 3])),
    "ReduceMax of one axis": lambda: image().node("ReduceMax", np.array([-1]), keepdims=0),
})  # fmt: skip
cases("average_pool", {
    "plain": lambda: requantised(image().node("AveragePool", kernel_shape=[2, 2]), 0.5, 4),
    "strides": lambda: requantised(image().node("AveragePool", kernel_shape=[2, 4], strides=[2, 3]), 0.5, 4),
    "not quantised": lambda: image().node("AveragePool", kernel_shape=[2, 2]),
    "pads that count": lambda: requantised(
        image().node("AveragePool", kernel_shape=[2, 4], pads=[1, 2, 0, 1], count_include_pad=1), 0.5, 4
    ),
    "same upper, counting": lambda: requantised(
        image().node("AveragePool", kernel_shape=[2, 4], auto_pad="SAME_UPPER", count_include_pad=1), 0.5, 4
    ),
    "pads that do not count": lambda: requantised(
        image().node("AveragePool", kernel_shape=[2, 2], pads=[1, 1, 1, 1]), 0.5, 4
    ),
    "ceil_mode that changes nothing": lambda: image(3, 6, 6)
    .node("AveragePool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "one dimension": lambda: requantised(image(3, 8).node("AveragePool", kernel_shape=[4], strides=[2]), 0.5, 4),
    "of a rectifier": lambda: requantised(conv(image(), 4, (3, 3)).node("Relu").node("AveragePool", kernel_shape=[2, 2])),
    "of batch norm": lambda: requantised(batch_norm(conv(image(), 4, (3, 3)), *NORMS).node("AveragePool", kernel_shape=[2, 2])),
    "zero point and pads that count": lambda: requantised(
        Net(3, 6, 6).quant(0.25, 4, zero=3).node("AveragePool", kernel_shape=[2, 2], pads=[0, 1, 1, 0], count_include_pad=1)
    ),
    "scale a channel": lambda: requantised(
        image().quant(np.reshape([0.25, 0.5, 1.5], (1, 3, 1, 1)), 3).node("AveragePool", kernel_shape=[2, 2])
    ),
    "global": lambda: requantised(image(3, 4, 4).node("GlobalAveragePool"), 0.125),
    "global, one dimension": lambda: requantised(image(3, 8).node("GlobalAveragePool"), 0.125),
    "ReduceMean": lambda: requantised(image(3, 4, 4).node("ReduceMean", np.array([-2, -1])), 0.125),
    "ReduceMean without its axes": lambda: requantised(image(3, 4, 4).node("ReduceMean", np.array([2, 3]), keepdims=0), 0.125),
    "ReduceMean of one axis": lambda: requantised(image(3, 4, 5).node("ReduceMean", np.array([2]), keepdims=0), 0.125),
    "ReduceMean of the last axis": lambda: requantised(image(3, 5, 4).node("ReduceMean", np.array([3])), 0.125),
    "ReduceMean of the channels": lambda: requantised(image(4, 5, 3).node("ReduceMean", np.array([1])), 0.125),
    "ReduceMean, channels last": lambda: requantised(image(4, 4, 3).node("ReduceMean", np.array([1, 2]), keepdims=0), 0.125),
    "ReduceMean of one of two axes": lambda: requantised(image(4, 3).node("ReduceMean", np.array([1]), keepdims=0), 0.125),
    "ReduceMean with an attribute": lambda: requantised(image(3, 4, 4, opset=13).node("ReduceMean", axes=[2, 3]), 0.125),
    "ReduceSum": lambda: requantised(image(3, 4, 5).node("ReduceSum", np.array([2, 3]), keepdims=0)),
    "global, then a dense layer": lambda: global_dense(),
})  # fmt: skip


def global_dense() -> Net:
    net = conv(image(), 4, (3, 3), pads=[0, 0, 0, 1]).node("Relu").quant(0.5, 4, signed=0)
    net.node("AveragePool", kernel_shape=[4, 4], strides=[4, 4]).quant(0.25, 5).node("GlobalMaxPool").node("Flatten")
    net.shape = (4,)
    return net.dense(3, 0.25)


# ---- arithmetic with constants and between branches ----------------------------------------------------------------------
def branches(
    net: Net, join: Callable[[Net, str, str], Net], first: float = 0.25, second: float = 0.25, bits: int = 5
) -> Net:
    source = net.last
    a = net.quant(first, bits).last
    b = net.at(source).node("Neg").quant(second, bits - 1).last
    return join(net, a, b)


def joined(kind: str, **options: object) -> Callable[[Net, str, str], Net]:
    return lambda net, a, b: net.node(kind, b, tensor=a, **options)


for _kind in ("Add", "Sub", "Mul"):
    for _name, _second in (("the same scale", 0.25), ("a coarser scale", 1.0), ("another scale", 0.75)):
        case(f"branches-{_kind}, {_name}")(
            lambda kind=_kind, second=_second: requantised(
                branches(Net().quant(0.125, 8), joined(kind), 0.25, second).dense(3, 0.5)
            )
        )
cases("branches", {
    "Add of images": lambda: requantised(branches(image(bits=8, scale=0.125), joined("Add"))),
    "Add, not quantised": lambda: branches(image(bits=8, scale=0.125), joined("Add"), 0.25, 0.75),
    "Add of sums with scales a channel": lambda: added_sums(),
    "Add of zero points": lambda: added_zero_points(),
    "Sum of three": lambda: three("Sum"),
    "Mean of four": lambda: three("Mean", 4),
    "Sum with a constant": lambda: branches(
        Net().quant(0.125, 8), lambda net, a, b: net.node("Sum", b, [[1.0, 0.5, 0.25, 0.0, -1.0, 2.0]], tensor=a)
    ).quant(0.5, 6),
    "Mul of an image by a value a channel": lambda: squeezed(),
    "Add of a value a channel": lambda: squeezed("Add"),
    "residual": lambda: residual(),
    "residual, channels last": lambda: residual(channels_last=True),
    "Concat of channels": lambda: concatenated(1),
    "Concat of rows": lambda: concatenated(2),
    "Concat of columns, different scales": lambda: concatenated(-1, 0.75),
    "Concat of channels, different scales": lambda: concatenated(1, 0.75),
    "Concat of channels, then a convolution": lambda: requantised(conv(concatenated(1, 0.75), 4, (3, 3), channels=6)),
    "Concat of one": lambda: branches(Net().quant(0.125, 8), lambda net, a, b: net.node("Concat", tensor=a, axis=1)),
    "Concat of features": lambda: requantised(wide(branches(Net().quant(0.125, 8), joined("Concat", axis=1), 0.25, 0.75)).dense(3, 0.5)),
    "Concat with a constant": lambda: branches(
        Net().quant(0.125, 8), lambda net, a, b: net.node("Concat", [[1.0, 0.5]], tensor=a, axis=1)
    ),
    "Concat of zero points": lambda: concatenated(2, zero=3),
    "Concat of sums with scales a channel": lambda: added_sums("Concat", axis=1),
})  # fmt: skip


def wide(net: Net) -> Net:
    net.shape = (12,)
    return net


def added_sums(kind: str = "Add", **options: int) -> Net:
    net = Net().quant(0.25, 5)
    source = net.last
    a = net.node("MatMul", net.weights((6, 4), [[0.125, 0.25, 0.5, 1.0]])).last
    b = net.at(source).node("MatMul", net.weights((6, 4), 0.375)).node("Add", [0.5, -0.25, 1.0, 2.0]).last
    return requantised(net.node(kind, b, tensor=a, **options))


def added_zero_points() -> Net:
    net = Net().quant(0.125, 8)
    source = net.last
    a = net.quant(0.25, 4, zero=3).last
    b = net.at(source).quant(0.5, 4, zero=-2).last
    return requantised(net.node("Add", b, tensor=a))


def three(kind: str, count: int = 3) -> Net:
    net = Net().quant(0.125, 8)
    source = net.last
    names = [net.at(source).quant(step, 5).last for step in (0.25, 0.75, 1.0, 0.5)[:count]]
    return requantised(net.node(kind, *names[1:], tensor=names[0]))


def squeezed(kind: str = "Mul") -> Net:
    net = image(3, 4, 4)
    source = net.last
    gate = net.node("GlobalAveragePool").quant(0.25, 4).last
    return requantised(net.node(kind, gate, tensor=source))


def residual(*, channels_last: bool = False) -> Net:
    net = Net(5, 6, 4) if channels_last else Net(4, 5, 6)
    net = net.node("Transpose", perm=[0, 3, 1, 2]) if channels_last else net
    source = net.quant(0.25, 5).last
    conv(net, 4, (3, 3), channels=4, pads=[1] * 4).node("Relu").quant(0.5, 4, signed=0)
    conv(net, 4, (3, 3), channels=4, pads=[1] * 4).quant(0.25, 5)
    requantised(net.node("Add", source).node("Relu"))
    return net.node("Transpose", perm=[0, 2, 3, 1]) if channels_last else net


def concatenated(axis: int, second: float = 0.25, *, zero: int = 0) -> Net:
    net = Net(3, 6, 7).quant(0.125, 8)
    source = net.last
    a = net.quant(0.25, 5, zero=zero).last
    b = net.at(source).node("Neg").quant(second, 4, zero=zero).last
    return net.node("Concat", b, tensor=a, axis=axis)


PLANE = np.random.default_rng(4).integers(-8, 8, (1, 3, 6, 7)) / 8
cases(
    "constants",
    {
        "Add one": lambda: requantised(image().node("Add", np.float32(0.125))),
        "Add a channel": lambda: requantised(image().node("Add", np.reshape([0.125, 0.5, -1.0], (3, 1, 1)))),
        "Add a plane": lambda: requantised(image().node("Add", PLANE)),
        "Sub a plane": lambda: requantised(image().node("Sub", PLANE[0])),
        "from a plane": lambda: subtracted_from(image(), PLANE),
        "from a constant": lambda: subtracted_from(image(), np.float32(0.5)),
        "Mul one": lambda: requantised(image().node("Mul", np.float32(-0.375))),
        "Mul zero": lambda: requantised(image().node("Mul", np.float32(0.0))),
        "Mul a channel": lambda: requantised(image().node("Mul", np.reshape([0.125, 0.0, -1.5], (3, 1, 1)))),
        "Mul a plane": lambda: requantised(image().node("Mul", PLANE)),
        "Mul a row": lambda: requantised(image().node("Mul", PLANE[0, 0, :1, :])),
        "Div one": lambda: requantised(image().node("Div", np.float32(4.0))),
        "Div a channel": lambda: requantised(image().node("Div", np.reshape([0.5, -2.0, 4.0], (1, 3, 1, 1)))),
        "Neg": lambda: requantised(image().node("Neg")),
        "before the quantiser": lambda: (
            Net().node("Mul", np.float32(2.0)).node("Sub", np.float32(1.0)).quant(0.5, 4).dense(3)
        ),
        "negated before the quantiser of a sum": lambda: requantised(Net().quant(0.25, 5).dense(4, 0.5).node("Neg")),
        "after a rectifier": lambda: requantised(
            image().node("Relu").node("Mul", np.float32(-0.5)).node("Add", np.float32(1.0))
        ),
        "a plane after a rectifier": lambda: requantised(image().node("Relu").node("Add", PLANE)),
    },
)


def subtracted_from(net: Net, constant: object) -> Net:
    kept = net.last
    return requantised(net.node("Sub", kept, tensor=net.constant(constant)))


# ---- rearranging -----------------------------------------------------------------------------------------------------
def shape(*sizes: int) -> np.ndarray:
    return np.array(sizes, dtype=np.int64)


cases("shapes", {
    "Reshape to features": lambda: image(3, 4, 5).node("Reshape", shape(1, 60)),
    "Reshape with a free batch": lambda: image(3, 4, 5).node("Reshape", shape(-1, 60)),
    "Reshape with a free size": lambda: image(3, 4, 5).node("Reshape", shape(1, 4, -1)),
    "Reshape that copies sizes": lambda: image(3, 4, 5).node("Reshape", shape(0, 0, 20)),
    "Reshape to an image": lambda: requantised(conv(Net(60).quant(0.25, 5).node("Reshape", shape(1, 3, 4, 5)), 2, (2, 2))),
    "Reshape after a convolution": lambda: requantised(conv(image(3, 4, 5), 2, (2, 2)), 0.5, 4).node("Reshape", shape(1, 24)),
    "Reshape before the quantiser": lambda: requantised(conv(Net(60).node("Reshape", shape(1, 3, 4, 5)).quant(0.25, 5), 2, (2, 2))),
    "Reshape of scales a channel": lambda: conv(image(3, 4, 5), 2, (2, 2), np.reshape([0.25, 0.375], (2, 1, 1, 1)))
    .node("Reshape", shape(1, 2, 12)).quant(0.5, 5),
    "channel shuffle": lambda: image(4, 3, 3).node("Reshape", shape(1, 2, 2, 3, 3)).node("Transpose", perm=[0, 2, 1, 3, 4])
    .node("Reshape", shape(1, 4, 3, 3)),
    "Flatten": lambda: image(3, 4, 5).node("Flatten"),
    "Flatten, axis from the end": lambda: image(3, 4, 5).node("Flatten", axis=-3),
    "Squeeze": lambda: image(3, 4, 4).node("GlobalMaxPool").node("Squeeze", shape(2, 3)),
    "Squeeze of all that is 1": lambda: image(3, 1, 4).node("Squeeze", shape(2)),
    "Unsqueeze": lambda: requantised(conv(image(3, 8).node("Unsqueeze", shape(-1)), 2, (3, 1))),
    "Unsqueeze before the channels": lambda: requantised(
        conv(Net(5, 6).quant(0.25, 5).node("Unsqueeze", shape(1)), 2, (3, 3), channels=1)
    ),
    "Transpose": lambda: image(3, 4, 5).node("Transpose", perm=[0, 3, 1, 2]),
    "Transpose to channels last": lambda: requantised(conv(image(3, 4, 5), 2, (2, 2))).node("Transpose", perm=[0, 2, 3, 1]),
    "Transpose of features": lambda: requantised(Net(4, 6).quant(0.25, 5).node("Transpose", perm=[0, 2, 1]).node("Relu")),
    "Transpose, then a dense layer": lambda: transposed_dense(),
    "channels last": lambda: channels_last(Net(5, 6, 3)),
    "channels last, quantised first": lambda: channels_last(Net(5, 6, 3).quant(0.25, 5)),
    "channels last, one dimension": lambda: requantised(
        conv(Net(8, 3).quant(0.25, 5).node("Transpose", perm=[0, 2, 1]), 4, (3,))
    ).node("Transpose", perm=[0, 2, 1]),
    "Identity, Dropout and Cast": lambda: requantised(
        image().node("Identity").node("Dropout").node("Cast", to=TensorProto.DOUBLE).node("Cast", to=TensorProto.FLOAT)
    ),
    "Cast of whole numbers": lambda: Net().quant(1.0, 5).node("Cast", to=TensorProto.INT32).node("Cast", to=TensorProto.FLOAT).dense(3, 0.5),
})  # fmt: skip


def channels_last(net: Net) -> Net:
    net.node("Transpose", perm=[0, 3, 1, 2])
    net = net if "Quant" in [node.op_type for node in net.nodes] else net.quant(0.25, 5)
    conv(net, 4, (3, 3), pads=[1] * 4).quant(0.5, 4).node("Transpose", perm=[0, 2, 3, 1])
    return (
        net.node("Transpose", perm=[0, 3, 1, 2])
        .node("MaxPool", kernel_shape=[2, 2])
        .node("Transpose", perm=[0, 2, 3, 1])
    )


def transposed_dense() -> Net:
    net = Net(4, 6).quant(0.25, 5).node("Transpose", perm=[0, 2, 1])
    net.shape = (6, 4)
    return requantised(net.dense(3, 0.5))


cases(
    "pad",
    {
        "zeros": lambda: image().node("Pad", shape(0, 0, 1, 2, 0, 0, 3, 0)),
        "a value": lambda: image().node("Pad", shape(0, 0, 1, 2, 0, 0, 3, 0), np.float32(1.5)),
        "a value beyond the type": lambda: image().node("Pad", shape(0, 0, 1, 0, 0, 0, 0, 0), np.float32(-25.0)),
        "channels": lambda: image().node("Pad", shape(0, 1, 0, 0, 0, 2, 0, 0)),
        "features": lambda: Net().quant(0.25, 5).node("Pad", shape(0, 1, 0, 2)),
        "along named axes": lambda: image().node("Pad", shape(1, 2, 0, 1), "", shape(-1, 2)),
        "that cuts off": lambda: image().node("Pad", shape(0, 0, -1, 2, 0, 0, 0, -3)),
        "zeros of a zero point": lambda: Net(3, 4, 4).quant(0.25, 5, zero=4).node("Pad", shape(0, 0, 1, 1, 0, 0, 1, 1)),
        "with the attributes of old files": lambda: (
            Net(3, 4, 4, opset=10).quant(0.25, 5).node("Pad", pads=[0, 0, 1, 1, 0, 0, 1, 1])
        ),
        "then a convolution": lambda: requantised(conv(image().node("Pad", shape(0, 0, 1, 2, 0, 0, 0, 1)), 4, (3, 3))),
    },
)
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
cases("resize", {
    "by scales": lambda: image(3, 4, 5).node("Resize", "", np.array([1, 1, 2, 3.0]), **NEAREST),
    "to sizes": lambda: image(3, 4, 5).node("Resize", "", "", shape(1, 3, 8, 5), **NEAREST),
    "half pixel": lambda: image(3, 4, 5).node("Resize", "", np.array([1, 1, 4, 3.0]), mode="nearest"),
    "half pixel, preferring the ceiling": lambda: image(3, 4, 5).node(
        "Resize", "", np.array([1, 1, 2, 5.0]), mode="nearest", nearest_mode="round_prefer_ceil"
    ),
    "along named axes": lambda: image(3, 4, 5).node("Resize", "", np.array([2, 3.0]), axes=[3, 2], **NEAREST),
    "channels too": lambda: image(3, 4, 5).node("Resize", "", np.array([1, 2, 1, 1.0]), **NEAREST),
    "then a convolution": lambda: requantised(conv(image(3, 3, 4).node("Resize", "", np.array([1, 1, 2, 2.0]), **NEAREST), 4, (3, 3))),
    "of version 10": lambda: Net(3, 4, 5, opset=10).quant(0.25, 5).node("Resize", np.array([1, 1, 2, 2.0]), mode="nearest"),
    "Upsample": lambda: Net(3, 4, 5, opset=9).quant(0.25, 5).node("Upsample", np.array([1, 1, 2, 3.0]), mode="nearest"),
    "of scales a channel along their own axis": lambda: Net(4, 3).quant(0.25, 5).quant([[[0.25, 0.5, 0.75]]], 4)
    .node("Resize", "", np.array([1, 2, 2.0]), **NEAREST),
})  # fmt: skip
cases(
    "pieces",
    {
        "Slice": lambda: image().node("Slice", shape(1, 2), shape(5, 7), shape(2, 3)),
        "Slice with steps": lambda: image().node("Slice", shape(0, 1), shape(6, 100), shape(2, 3), shape(2, 3)),
        "Slice from the end": lambda: image().node("Slice", shape(-3), shape(-1), shape(-1)),
        "Slice of channels": lambda: requantised(
            conv(image(5, 6, 6).node("Slice", shape(1), shape(4), shape(1)), 4, (3, 3))
        ),
        "Slice of features": lambda: Net().quant(0.25, 5).node("Slice", shape(0, 1), shape(2**31 - 1, 4)),
        "Slice with attributes": lambda: (
            Net(3, 6, 7, opset=9).quant(0.25, 5).node("Slice", starts=[1], ends=[3], axes=[2])
        ),
        "Split": lambda: two_parts(np.array([2, 4])),
        "Split into equal parts": lambda: two_parts(None),
        "Split of channels": lambda: channel_parts(),
        "Gather": lambda: image().node("Gather", shape(1, 3, 5), axis=2),
        "Gather one": lambda: image().node("Gather", np.array(2), axis=3),
        "Gather of channels": lambda: image().node("Gather", np.array(-1), axis=1),
        "Gather in any order": lambda: image().node("Gather", shape(4, 0, 0, 2, 1), axis=2),
        "Gather channels in any order": lambda: (
            image().quant(np.reshape([0.25, 0.5, 1.5], (1, 3, 1, 1)), 4).node("Gather", shape(2, 0, 1, 1), axis=1)
        ),
        "Gather with a table": lambda: image().node("Gather", np.array([[0, 1], [2, 3]]), axis=3),
    },
)


def two_parts(lengths: np.ndarray | None) -> Net:
    net = Net().quant(0.25, 5)
    net.node(
        "Split",
        *([] if lengths is None else [lengths]),
        results=2,
        axis=1,
        **({"num_outputs": 2} if lengths is None else {}),
    )
    first = net.last
    net.at(f"{first}_1").node("Mul", np.float32(0.5)).output()
    return net.at(first).node("Neg").output()


def channel_parts() -> Net:
    net = image(4, 5, 5)
    net.node("Split", shape(1, 3), results=2, axis=1)
    first = net.last
    conv(net.at(f"{first}_1"), 2, (3, 3), pads=[1] * 4).quant(0.5, 4)
    return net.node("Concat", first, axis=1)


# ---- element by element ----------------------------------------------------------------------------------------------
cases(
    "function",
    {
        "Relu": lambda: requantised(image().node("Relu")),
        "Relu, not quantised": lambda: conv(image(), 4, (3, 3)).node("Relu"),
        "Relu of a free bias, then a sum": lambda: free_bias_residual(),
        "LeakyRelu, a power of two": lambda: requantised(image().node("LeakyRelu", alpha=0.125)),
        "LeakyRelu, any slope": lambda: requantised(image().node("LeakyRelu", alpha=0.375)),
        "LeakyRelu, then no quantiser": lambda: image().node("LeakyRelu", alpha=0.25),
        "LeakyRelu of slope 0": lambda: requantised(image().node("LeakyRelu", alpha=0.0)),
        "PRelu": lambda: requantised(image().node("PRelu", np.float32(0.25))),
        "PRelu a channel": lambda: requantised(
            conv(image(), 4, (3, 3)).node("PRelu", np.reshape([0.25, 0.5, 0.75, 1.5], (4, 1, 1)))
        ),
        "Clip": lambda: requantised(image().node("Clip", np.float32(-1.0), np.float32(2.5))),
        "Clip below": lambda: requantised(image().node("Clip", np.float32(-1.0))),
        "Clip above": lambda: requantised(image().node("Clip", "", np.float32(0.75))),
        "Clip between steps": lambda: requantised(image().node("Clip", np.float32(-1.1), np.float32(2.6)), 0.75),
        "Clip, not quantised": lambda: image().node("Clip", np.float32(-1.0), np.float32(2.5)),
        "Clip with attributes": lambda: requantised(
            Net(3, 6, 7, opset=9).quant(0.25, 5).node("Clip", min=0.0, max=1.5)
        ),
        "Clip before the quantiser": lambda: (
            Net().node("Clip", np.float32(-1.0), np.float32(1.5)).quant(0.25, 5).dense(3, 0.5)
        ),
        "Relu before the quantiser": lambda: Net().node("Relu").quant(0.25, 5).dense(3, 0.5),
        "Max with a constant": lambda: requantised(image().node("Max", np.float32(-0.5))),
        "Min with a constant": lambda: requantised(image().node("Min", np.float32(0.5))),
        "HardSigmoid": lambda: image().node("HardSigmoid", alpha=0.25, beta=0.5).quant(0.0625, 4, signed=0),
        "a chain": lambda: requantised(
            image()
            .node("Mul", np.float32(-0.5))
            .node("Relu")
            .node("Sub", np.float32(0.5))
            .node("Relu")
            .node("LeakyRelu", alpha=0.5)
        ),
        "Abs": lambda: image().node("Abs").quant(0.5, 4, signed=0),
        "ThresholdedRelu": lambda: image().node("ThresholdedRelu", alpha=1.0).quant(0.5, 4, signed=0),
    },
)


def free_bias_residual() -> Net:
    net = Net().quant(0.25, 5)
    source = net.quant(0.375, 4).last
    net.at("t0").dense(6, 0.5).node("Add", [0.1, -0.3, 0.7, 0.01, -1.3, 2.2]).node("Relu")
    return net.node("Add", source).quant(0.61, 5)


#: Curves of float values: the graph has the correctly rounded float32 of each, ONNX Runtime's may be the float32 next to it. The
#: quantisers' ties, odd multiples of 2**-8 and the like, are far from both for these inputs.
CURVES: dict[str, dict[str, float | str]] = {
    "Sigmoid": {}, "Tanh": {}, "HardSwish": {}, "Softplus": {}, "Softsign": {}, "Erf": {}, "Elu": {"alpha": 0.75}, "Selu": {},
    "Celu": {"alpha": 0.5}, "Mish": {}, "Gelu": {},
}  # fmt: skip
for _kind, _options in CURVES.items():
    case(f"curve-{_kind}")(
        lambda kind=_kind, options=_options: (
            Net(opset=20).quant(0.25, 6).node(kind, **options).quant(2.0**-6, 8).dense(3, 0.5)
        )
    )
cases(
    "curve",
    {
        "of a sum": lambda: Net().quant(0.25, 5).dense(4, 0.125).node("Tanh").quant(2.0**-5, 6),
        "of an image, one bit": lambda: conv(image(), 4, (3, 3)).node("Tanh").node("BipolarQuant", np.float32(0.5)),
        "with a scale a channel": lambda: (
            image().node("Sigmoid").quant(np.reshape([0.125, 0.25, 0.0625], (1, 3, 1, 1)), 4, signed=0)
        ),
        "after batch norm": lambda: (
            batch_norm(conv(image(), 4, (3, 3)), *NORMS).node("Sigmoid").quant(2.0**-4, 4, signed=0)
        ),
        "before a maximum": lambda: (
            image().node("Sigmoid").node("MaxPool", kernel_shape=[2, 2]).quant(2.0**-4, 4, signed=0)
        ),
        "scaled": lambda: (
            image().node("Tanh").node("Mul", np.float32(0.5)).node("Add", np.float32(0.25)).quant(2.0**-5, 6)
        ),
        "with a zero point": lambda: image().node("Tanh").quant(2.0**-3, 4, zero=2),
    },
)

# ---- ends ------------------------------------------------------------------------------------------------------------
cases("end", {
    "Softmax": lambda: Net().quant(0.25, 5).dense(4, 0.5).node("Softmax", axis=-1),
    "LogSoftmax": lambda: Net().quant(0.25, 5).dense(4, 0.5).node("LogSoftmax", axis=1),
    "Sigmoid": lambda: Net().quant(0.25, 5).dense(1, 0.5).node("Sigmoid"),
    "ArgMax": lambda: Net().quant(0.25, 5).dense(4, 0.5).node("ArgMax", axis=1).output(kind=TensorProto.INT64),
    "ArgMax without its axis": lambda: requantised(conv(image(), 4, (3, 3))).node("ArgMax", axis=1, keepdims=0).output(kind=TensorProto.INT64),
    "ArgMax of rows": lambda: image().node("ArgMax", axis=2).output(kind=TensorProto.INT64),
    "ArgMax with a scale an output": lambda: Net().quant(0.25, 5).dense(4, [[0.5, 0.25, 0.375, 1.0]]).node("ArgMax", axis=-1)
    .output(kind=TensorProto.INT64),
    "ArgMax with free biases": lambda: Net().quant(0.25, 5).dense(4, FREE).node("Add", [0.1, 0.013, -0.27, 0.31])
    .node("ArgMax", axis=-1).output(kind=TensorProto.INT64),
    "ArgMax with equal values": lambda: Net().quant(1.0, 2).node("ArgMax", axis=-1).output(kind=TensorProto.INT64),
    "TopK": lambda: top_k(Net().quant(0.25, 8).dense(8, 0.125), 3),
    "TopK of one": lambda: top_k(Net().quant(0.25, 8).dense(8, 0.125), 1),
    "two outputs": lambda: two_outputs(),
    "an output that is read on": lambda: inner_output(),
})  # fmt: skip


def top_k(net: Net, count: int) -> Net:
    net.node("TopK", shape(count), results=2, axis=-1, largest=1, sorted=1)
    return net.output(f"{net.last}_1", TensorProto.INT64)


def two_outputs() -> Net:
    net = image()
    source = net.last
    conv(net, 4, (3, 3)).quant(0.5, 4).output()
    net.at(source).node("GlobalMaxPool").node("Flatten")
    net.shape = (3,)
    return net.dense(2, 0.375).output()


def inner_output() -> Net:
    net = Net().quant(0.25, 5).dense(4, 0.5).quant(0.5, 4).output()
    return net.dense(3, 0.25).node("Softmax").output()


# ---- several inputs --------------------------------------------------------------------------------------------------
@case("inputs-of different shapes")
def two_inputs() -> Net:
    net = image(3, 4, 5)
    conv(net, 4, (3, 3)).quant(0.5, 4).node("Flatten")
    first = net.last
    net.input("side", 5).quant(0.25, 4, signed=0)
    net.node("Concat", first, axis=1)
    net.shape = (29,)
    return requantised(net.dense(3, 0.25))


@case("inputs-added, the second first")
def added_inputs() -> Net:
    net = Net(3, 4, 5)
    net.input("other", 3, 4, 5).quant(0.5, 4)
    second = net.last
    return requantised(net.at("x").quant(0.25, 5).node("Add", second))


@case("inputs-one named as a node is")
def named_as_a_node() -> Net:
    net = Net().quant(0.25, 5, name="other")
    first = net.last
    net.input("other", 6).quant(0.5, 4)
    return requantised(net.node("Sub", first))


# ---- channels last, qonnx's own ------------------------------------------------------------------------------------------
@case("channels_last-Conv")
def channels_last_conv() -> Net:
    net = image(6, 7, 3)
    net.versions[CHANNELS_LAST] = 18
    net.node("Conv", net.weights((4, 3, 2, 3), 0.125), domain=CHANNELS_LAST, kernel_shape=[3, 2], pads=[1, 0, 0, 1], strides=[2, 1],
             dilations=[1, 1], group=1)  # fmt: skip
    return requantised(net)


@case("channels_last-MaxPool and batch norm")
def channels_last_pool() -> Net:
    net = image(6, 7, 4)
    net.versions[CHANNELS_LAST] = 18
    net.node("MaxPool", domain=CHANNELS_LAST, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0])
    epsilon = 2.0**-10
    parts = [np.array(v, dtype=np.float64) for v in NORMS]
    net.node("BatchNormalization", *parts[:3], parts[3] - epsilon, domain=CHANNELS_LAST, epsilon=epsilon, momentum=0.9)
    return requantised(net)


@case("channels_last-MaxPoolNHWC")
def max_pool_nhwc() -> Net:
    return image(6, 7, 3).node("MaxPoolNHWC", kernel_shape=[2, 3], strides=[2, 1], pads=[1, 0, 1, 0])


for _layout in ("NCHW", "NHWC"):

    @case(f"channels_last-QuantAvgPool2d, {_layout}")
    def averaged(layout: str = _layout) -> Net:
        return image(4, 4, 4, bits=4, scale=1.0).node(
            "QuantAvgPool2d", kernel=2, stride=2, ibits=4, obits=3, signed=1, data_layout=layout
        )


@pytest.mark.parametrize("name", CASES)
def test_operation(name: str, tmp_path: Path) -> None:
    check(CASES[name](), tmp_path, samples=60)


# ---- free scales -------------------------------------------------------------------------------------------------------
FREE_CASES: dict[str, Case] = {
    "conv": lambda: conv(image(), 4, (3, 3), FREE, pads=[1] * 4).node("Add", np.full((4, 1, 1), 0.013)).quant(0.61, 4),
    "conv, scale an output": lambda: conv(image(), 4, (3, 3), np.reshape([0.11, 0.07, 0.3, 0.023], (4, 1, 1, 1)))
    .node("Add", np.full((4, 1, 1), 0.013)).quant(0.61, 4),
    "added": lambda: free_sum("Add", 0.0731, 0.113),
    "subtracted": lambda: free_sum("Sub", 0.0731, 0.0731),
    "multiplied": lambda: free_sum("Mul", 0.0731, 0.113),
    "batch norm": lambda: conv(image(), 4, (3, 3), FREE)
    .node("BatchNormalization", [0.7, -1.3, 0.0, 2.1], [0.1, 0.2, -0.3, 0.0], [0.3, -0.2, 0.11, 0.05], [0.9, 1.7, 0.3, 2.0])
    .node("Relu").quant(0.31, 3, signed=0),
    "average of 3x3": lambda: image().node("AveragePool", kernel_shape=[3, 3]).node("Add", np.float32(0.013)).quant(FREE, 5),
    "average without the pads": lambda: image().node("AveragePool", kernel_shape=[3, 3], pads=[1] * 4)
    .node("Add", np.float32(0.013)).quant(FREE, 5),
    "leaky": lambda: conv(image(), 4, (3, 3), FREE).node("LeakyRelu", alpha=0.3).node("Sub", np.float32(0.017)).quant(0.31, 5),
    "hard sigmoid": lambda: image(scale=0.23).node("HardSigmoid").quant(0.0431, 4, signed=0),
    "sigmoid": lambda: image(scale=0.23).node("Sigmoid").quant(0.0431, 4, signed=0),
    "wide": lambda: conv(image(), 4, (3, 3), FREE).quant(0.0031717, 14),
    "concat": lambda: requantised_free(),
    "bipolar thresholds": lambda: conv(image(), 4, (3, 3), FREE).node("Add", np.full((4, 1, 1), 0.013)).node("BipolarQuant", np.float32(0.3)),
}  # fmt: skip


def free_sum(kind: str, first: float, second: float) -> Net:
    net = Net().quant(0.25, 6)
    source = net.last
    a = net.quant(first, 6).last
    b = net.at(source).node("Add", np.float32(0.1)).quant(second, 5).last
    return net.node(kind, b, tensor=a).node("Add", np.float32(0.013)).quant(0.31, 4)


def requantised_free() -> Net:
    net = Net(3, 6, 7).quant(0.25, 6)
    source = net.last
    a = net.quant(0.0731, 6).last
    b = net.at(source).quant(0.113, 5).last
    return (
        conv(net.node("Concat", b, tensor=a, axis=1), 3, (2, 2), 0.17, channels=6)
        .node("Add", np.full((3, 1, 1), 0.013))
        .quant(0.61, 5)
    )


@pytest.mark.parametrize("name", FREE_CASES)
def test_free_scales(name: str, tmp_path: Path) -> None:
    """The added constant keeps sums of 0, which float32 does not always reach exactly, off the ties."""
    net = FREE_CASES[name]()
    check(net, tmp_path, 0.25, samples=200)
