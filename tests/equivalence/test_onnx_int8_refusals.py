# SPDX-License-Identifier: Apache-2.0
"""ONNX int8 files that are refused, by name; and damaged ones, which end in a message and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

sys.path.insert(0, str(Path(__file__).parent))
from onnx_int8_files import File  # noqa: E402
from onnx_int8_networks import Network, residual  # noqa: E402

from toolchain.errors import InputError, ToolchainError, UnsupportedModel, UsageError  # noqa: E402
from toolchain.frontends import load_model  # noqa: E402
from toolchain.frontends.qonnx import import_proto  # noqa: E402

TensorProto = onnx.TensorProto
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
ONE, ZERO, SIGNED = np.float32(0.5), np.array(0, np.uint8), np.array(0, np.int8)
WEIGHTS = np.arange(24, dtype=np.int8).reshape(6, 4)
OUTPUT = (UINT8, ["N", 4])


def real() -> File:
    return File(21, 10, x=(FLOAT, ["N", 6]))


def integers(*shape: int) -> File:
    return File(21, 10, x=(UINT8, ["N", *(shape or (6,))]))


def dense(file: File, weights: str) -> str:
    """A product of the real input, quantised, with weights that are written already."""
    return file.node(
        "MatMul", file.node("DequantizeLinear", file.node("QuantizeLinear", "x", ONE, ZERO), ONE, ZERO), weights
    )


def float8(kind: int) -> Any:
    return onnx.helper.make_tensor("float8", kind, [6, 4], np.zeros(24, np.float32), raw=False)


def with_float8(file: File) -> str:
    file.constants.append(float8(TensorProto.FLOAT8E4M3FN))
    return file.node("DequantizeLinear", "float8", ONE)


QLINEAR = ("QLinearMatMul", "x", ONE, ZERO)
CASES: dict[str, tuple[Callable[[], tuple[File, str]], str]] = {}


def case(message: str) -> Callable[[Callable[[], tuple[File, str]]], Callable[[], tuple[File, str]]]:
    def keep(make: Callable[[], tuple[File, str]]) -> Callable[[], tuple[File, str]]:
        CASES[make.__name__] = (make, message)
        return make

    return keep


@case(
    "node 'n0' (DynamicQuantizeLinear): takes its scale from the data at hand, so that every sample has another one; quantise "
    "the model statically, with scales that a calibration finds (onnxruntime.quantization.quantize_static)"
)
def dynamic_quantisation() -> tuple[File, str]:
    file = real()
    output = file.node("DynamicQuantizeLinear", "x")
    file.nodes[-1].output.extend(["scale", "zero"])
    return file, output


@case("node 'n0' (MatMulNBits): has a scale for every block of inputs; supported are one scale, or one an output")
def blocks_of_four_bits() -> tuple[File, str]:
    file = File(21, 10, x=(FLOAT, ["N", 32]))
    packed = np.zeros((4, 1, 16), np.uint8)
    return file, file.node(
        "MatMulNBits", "x", packed, np.ones(4, np.float32), domain="com.microsoft", K=32, N=4, bits=4, block_size=32
    )


@case(
    "node 'n0' (DequantizeLinear): has a scale for every 3 elements (block_size); supported are one scale, or one a channel"
)
def blocks_of_weights() -> tuple[File, str]:
    file = real()
    return file, dense(file, file.node("DequantizeLinear", WEIGHTS, np.ones((2, 4), np.float32), axis=0, block_size=3))


@case(
    "node 'n0' (DequantizeLinear): a scale of shape (6, 1), which is in blocks; supported are one value, or one a channel"
)
def a_scale_of_two_axes() -> tuple[File, str]:
    file = real()
    return file, dense(file, file.node("DequantizeLinear", WEIGHTS, np.ones((6, 1), np.float32)))


@case(
    "node 'n0' (DequantizeLinear): a constant of type float8_e4m3fn; supported are uint8, int8, uint16, int16, int32, uint4, "
    "int4, uint2, int2"
)
def weights_of_float8() -> tuple[File, str]:
    file = real()
    return file, dense(file, with_float8(file))


@case(
    "node 'n0' (QuantizeLinear): a result of type float8_e5m2; supported are uint8, int8, uint16, int16, int32, uint4, int4, "
    "uint2, int2"
)
def quantisation_to_float8() -> tuple[File, str]:
    file = real()
    return file, file.node("QuantizeLinear", "x", ONE, output_dtype=TensorProto.FLOAT8E5M2)


@case("node 'n3' (QLinearMatMul): multiplies two computed tensors; supported is a constant second operand")
def weights_that_are_computed() -> tuple[File, str]:
    file = integers(6)
    square = file.node(
        "Reshape",
        file.node("QuantizeLinear", file.node("DequantizeLinear", "x", ONE, ZERO), ONE, ZERO),
        np.array([-1, 6]),
    )
    return file, file.node(*QLINEAR, square, ONE, ZERO, ONE, ZERO)


@case("node 'n2' (QuantizeLinear): scale must be a constant")
def a_scale_that_is_computed() -> tuple[File, str]:
    file = integers(1)
    x = file.node("DequantizeLinear", "x", ONE, ZERO)
    return file, file.node("QuantizeLinear", x, file.node("Add", x, np.float32(1)), ZERO)


@case(
    "node 'n1' (QuantizeLinear): a scale of 5 values along axis 1 of a tensor of shape (1, 6); they must be as many as that axis has elements"
)
def too_few_scales() -> tuple[File, str]:
    file = integers()
    return file, file.node(
        "QuantizeLinear", file.node("DequantizeLinear", "x", ONE, ZERO), np.ones(5, np.float32), ZERO
    )


@case("node 'n0' (DequantizeLinear): its scale must be positive and finite, found -0.5")
def a_negative_scale() -> tuple[File, str]:
    file = integers()
    return file, file.node("DequantizeLinear", "x", np.float32(-0.5), ZERO)


@case(
    "node 'n1' (QuantizeLinear): zero points [0, 1, 2, 3, 4, 5] for one tensor; supported is one for all channels of a computed tensor"
)
def zero_points_a_channel() -> tuple[File, str]:
    file = integers()
    x = file.node("DequantizeLinear", "x", ONE, ZERO)
    return file, file.node("QuantizeLinear", x, np.ones(6, np.float32), np.arange(6, dtype=np.uint8))


@case("node 'n0' (QLinearMatMul): 6 scales for its operand 1; supported is one")
def a_scale_a_row() -> tuple[File, str]:
    file = integers()
    return file, file.node(
        "QLinearMatMul", "x", np.ones(6, np.float32), np.zeros(6, np.uint8), WEIGHTS, ONE, SIGNED, ONE, ZERO
    )


@case("node 'n0' (QLinearMatMul): 4 scales for its result; supported is one")
def a_scale_a_result() -> tuple[File, str]:
    file = integers()
    return file, file.node(*QLINEAR, WEIGHTS, ONE, SIGNED, np.ones(4, np.float32), np.zeros(4, np.uint8))


@case("node 'n0' (MatMulInteger): 6 zero points for its first operand; supported is one")
def a_zero_point_a_row() -> tuple[File, str]:
    file = integers()
    return file, file.node("MatMulInteger", "x", WEIGHTS, np.zeros(6, np.uint8))


@case(
    "node 'n0' (QLinearConv): its sums reach from 2147483647 to 2147486197, more than the 32 bits that the operator has; use "
    "fewer inputs, or smaller weights or biases"
)
def sums_beyond_32_bits() -> tuple[File, str]:
    file = integers(1, 4)
    weights = (np.full((1, 1, 1), 10, np.int8), ONE, SIGNED)
    return file, file.node("QLinearConv", "x", ONE, ZERO, *weights, ONE, ZERO, np.array([(1 << 31) - 1], np.int32))


@case(
    "node 'n0' (QLinearConv): a bias of type float32 and shape (1,) for 1 outputs; supported are int32, one an output"
)
def a_bias_of_floats() -> tuple[File, str]:
    file = integers(1, 4)
    weights = (np.full((1, 1, 1), 10, np.int8), ONE, SIGNED)
    return file, file.node("QLinearConv", "x", ONE, ZERO, *weights, ONE, ZERO, np.ones(1, np.float32))


@case("node 'n0' (QGemm): transA is 1; supported: 0")
def a_turned_input() -> tuple[File, str]:
    file = integers()
    return file, file.node("QGemm", "x", ONE, ZERO, WEIGHTS, ONE, SIGNED, transA=1)


@case("node 'n0' (QGemm): has one of scale and zero point of its result; both or none are needed")
def half_a_quantiser() -> tuple[File, str]:
    file = integers()
    return file, file.node("QGemm", "x", ONE, ZERO, WEIGHTS, ONE, SIGNED, np.zeros(4, np.int32), ONE)


@case("node 'n0' (QLinearAveragePool): channels_last is 1; supported: 0")
def channels_last() -> tuple[File, str]:
    file = integers(4, 4, 2)
    return file, file.node("QLinearAveragePool", "x", ONE, ZERO, ONE, ZERO, kernel_shape=[2, 2], channels_last=1)


@case("node 'n0' (QLinearConcat): has 6 operands; expected 2, and 3 for every part")
def a_part_without_a_zero_point() -> tuple[File, str]:
    file = integers()
    return file, file.node("QLinearConcat", ONE, ZERO, "x", ONE, ZERO, "x", axis=1)


@case("node 'n0' (DequantizeLinear): works along axis 0, the batch; supported are the axes of a sample")
def scales_along_the_batch() -> tuple[File, str]:
    file = integers()
    return file, file.node("DequantizeLinear", "x", np.ones(6, np.float32), axis=0)


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    make, message = CASES[name]
    file, output = make()
    proto = file.proto(**{output: OUTPUT})
    onnx.checker.check_model(proto)
    with pytest.raises(ToolchainError) as caught:
        import_proto(proto)
    assert str(caught.value).removeprefix("model: ") == message
    assert isinstance(caught.value, UnsupportedModel)


def test_operators_that_only_share_a_name_are_refused() -> None:
    file = real()
    output = file.node("Gelu", file.node("QuantizeLinear", "x", ONE, ZERO), domain="com.microsoft")
    with pytest.raises(UnsupportedModel, match=r"node 'n1' \(Gelu\): this operation is not supported"):
        import_proto(file.proto(**{output: OUTPUT}))


def test_operations_of_two_frameworks_in_one_file(tmp_path: Path) -> None:
    file = integers()
    first = file.node("QLinearAdd", "x", ONE, ZERO, "x", ONE, ZERO, ONE, ZERO)
    general = "qonnx.custom_op.general"
    output = file.node("Quant", first, ONE, np.float32(0), np.float32(4), domain=general)
    path = tmp_path / "both.onnx"
    proto = file.proto(**{output: (FLOAT, ["N", 6])})
    proto.opset_import.append(onnx.helper.make_opsetid(general, 1))
    onnx.save_model(proto, path)
    with pytest.raises(UnsupportedModel, match="uses operations of QONNX and of ONNX Runtime"):
        load_model(path)


def test_a_type_for_inputs_that_have_one(tmp_path: Path) -> None:
    file = integers()
    path = tmp_path / "integers.onnx"
    onnx.save_model(file.proto(**{file.node("DequantizeLinear", "x", ONE, ZERO): (FLOAT, ["N", 6])}), path)
    with pytest.raises(UsageError, match=r"integers\.onnx: its inputs are integers already; leave the input type out"):
        load_model(path, input_type="uint8")


def test_a_file_that_the_framework_does_not_take(tmp_path: Path) -> None:
    """The graph is exact whatever the types of the operands; ONNX Runtime wants those of ONNX."""
    file = integers()
    path = tmp_path / "mixed.onnx"
    output = file.node("QLinearMatMul", "x", ONE, SIGNED, WEIGHTS, ONE, SIGNED, ONE, ZERO)
    onnx.save_model(file.proto(**{output: OUTPUT}), path)
    run = load_model(path).run
    assert run is not None
    with pytest.raises(InputError, match="ONNX Runtime cannot execute the model: "):
        run(np.zeros((1, 6)))


def damaged(proto: Any, random: np.random.Generator) -> Any:
    """The model with one random change to its structure."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    node = graph.node[random.integers(len(graph.node))]
    tensor = graph.initializer[random.integers(len(graph.initializer))]
    names = [*(t.name for t in graph.initializer), *(n.output[0] for n in graph.node), "x", "", "nowhere"]
    change = random.integers(7)
    if change == 0 and node.input:
        del node.input[random.integers(len(node.input))]
    elif change == 1:
        node.input[random.integers(len(node.input))] = names[random.integers(len(names))]
    elif change == 2:
        values = onnx.numpy_helper.to_array(tensor)
        shapes = [
            np.zeros(0, values.dtype),
            values.reshape(1, -1),
            values.reshape(-1)[:1],
            np.repeat(values.reshape(-1), 3),
        ]
        tensor.CopyFrom(onnx.numpy_helper.from_array(shapes[random.integers(4)], tensor.name))
    elif change == 3:
        values = onnx.numpy_helper.to_array(tensor)
        kind = [np.float32, np.int64, np.int8, np.uint8, np.float64, np.bool_, np.int32][random.integers(7)]
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(kind), tensor.name))
    elif change == 4:
        kinds = [n.op_type for n in graph.node] + [
            "DequantizeLinear",
            "Relu",
            "Conv",
            "MatMulInteger",
            "Softmax",
            "Clip",
        ]
        node.op_type = kinds[random.integers(len(kinds))]
    elif change == 5 and node.attribute:
        attribute = node.attribute[random.integers(len(node.attribute))]
        value = int(random.integers(-3, 9))
        attribute.i = value
        attribute.ints[:] = [value] * random.integers(5) if attribute.ints else []
    else:
        kind = ["axis", "group", "auto_pad", "pads", "block_size", "output_dtype", "alpha"][random.integers(7)]
        value = ["SAME_UPPER", 3, [1, 2, 3], 1.5, -1][random.integers(5)]
        node.attribute.append(onnx.helper.make_attribute(kind, value))
    return copy


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_damaged_files_end_in_a_message(form: str, random: np.random.Generator, tmp_path: Path) -> None:
    network = Network(form, random, (3, 6, 6), per_channel=True)
    proto = network.end(residual(network))
    path = tmp_path / "damaged.onnx"
    refused = 0
    for _ in range(90):
        onnx.save_model(damaged(proto, random), path)
        try:
            load_model(path)
        except ToolchainError as error:
            refused += 1
            assert "Traceback" not in str(error)  # noqa: PT017
    assert 30 < refused < 90


def test_damaged_bytes_end_in_a_message(random: np.random.Generator, tmp_path: Path) -> None:
    network = Network("QOperator", random, (3, 6, 6))
    data = bytearray(network.end(residual(network)).SerializeToString())
    path = tmp_path / "damaged.onnx"
    for _ in range(100):
        copy = data[: random.integers(1, len(data))] if random.integers(2) else bytearray(data)
        for _ in range(random.integers(1, 4)):
            copy[random.integers(len(copy))] = random.integers(256)
        path.write_bytes(bytes(copy))
        try:
            load_model(path)
        except ToolchainError:
            continue
