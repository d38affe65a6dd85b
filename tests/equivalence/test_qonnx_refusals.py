# SPDX-License-Identifier: Apache-2.0
"""What QONNX files may hold that is refused: by the name of the node, with what is allowed or what to do, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.errors import InputError, ToolchainError, UnsupportedModel
from toolchain.frontends import load_model
from toolchain.frontends.onnx_nodes.required_attributes import REQUIRED

sys.path.insert(0, str(Path(__file__).parent))
from onnx_files import CHANNELS_LAST, GENERAL, Net, TensorProto, check, helper, numpy_helper, onnx, refusal


def base() -> Net:
    return Net().quant(0.25, 6)


def image() -> Net:
    return Net(3, 6, 7).quant(0.25, 5)


def two_of(net: Net, kind: str) -> Net:
    first = net.last
    return net.at(first).node("Relu").node(kind, first, name="n")


def scaled_by_itself() -> Net:
    net = base()
    scale = net.node("Relu").last
    return net.at("t0").quant(scale, 4, name="q")


def divided_constant() -> Net:
    net = base()
    kept = net.last
    return net.node("Div", kept, tensor=net.constant(1.0), name="d")


def joined_shapes() -> Net:
    net = base()
    first = net.last
    net.dense(4)
    return net.node("Add", net.last, tensor=first, name="n")


def volume() -> Net:
    net = Net(3, 4, 4, 4).quant(0.25, 4)
    return net.node("Conv", net.weights((2, 3, 2, 2, 2), 0.5), name="c")


def other_channels() -> Net:
    net = image()
    return net.node("Conv", net.weights((2, 4, 2, 2), 0.5), name="c")


def dilated_same() -> Net:
    net = image()
    return net.node("Conv", net.weights((2, 3, 2, 2), 0.5), auto_pad="SAME_UPPER", dilations=[2, 2], name="c")


def oversized_window() -> Net:
    net = image()
    return net.node("Conv", net.weights((2, 3, 7, 7), 0.5), name="c")


def scales_an_input() -> Net:
    net = base()
    return net.node("MatMul", net.weights((6, 3), np.arange(1, 7)[:, None] / 4), name="fc")


def wide_zero_point() -> Net:
    net = base()
    return net.node("MatMul", net.weights((6, 3), 0.5, zero=-1e30, name="w"), name="fc")


REFUSED: dict[str, tuple[Callable[[], Net], str]] = {
    "float weights": (
        lambda: base().node("MatMul", np.ones((6, 3)), name="fc"),
        "node 'fc' (MatMul): its weights are not quantised; use a quantised layer, or quantise the model after training",
    ),
    "float weights of a convolution": (
        lambda: image().node("Conv", np.ones((2, 3, 2, 2)), name="c"),
        "node 'c' (Conv): its weights are not quantised; use a quantised layer, or quantise the model after training",
    ),
    "weights with a scale an input": (
        scales_an_input,
        "node 'fc' (MatMul): its weights have a scale that differs within one output; supported is one, or one an output",
    ),
    "a curve without a quantiser": (
        lambda: base().node("Tanh", name="t").dense(3),
        "node 'dense3' (MatMul): needs the result of Tanh, which is not quantised; put a quantiser before it",
    ),
    "a curve as an output in the middle": (
        lambda: base().node("HardSwish"),
        "output 't1': needs the result of HardSwish, which is not quantised; put a quantiser before it",
    ),
    "the maximum of a curve that falls": (
        lambda: image().node("HardSwish").node("MaxPool", kernel_shape=[2, 2], name="m").quant(0.5, 4),
        "node 'm' (MaxPool): needs the result of HardSwish, which is not quantised; put a quantiser before it",
    ),
    "thresholds on a curve": (
        lambda: base().node("Tanh").node("MultiThreshold", [[0.5]], out_dtype="UINT1", name="m"),
        "node 'm' (MultiThreshold): compares a curve with thresholds; put a quantiser between them",
    ),
    "a negative scale": (
        lambda: base().quant(-0.5, 4, name="q"),
        "node 'q' (Quant): its scale must be positive and finite, found -0.5",
    ),
    "a scale of 0": (
        lambda: base().quant(0.0, 4, name="q"),
        "node 'q' (Quant): its scale must be positive and finite, found 0.0",
    ),
    "a rounding mode": (
        lambda: base().quant(0.5, 4, mode="STOCHASTIC", name="q"),
        "node 'q' (Quant): rounding mode 'STOCHASTIC' is not known; supported are ROUND, HALF_EVEN, CEIL, FLOOR, UP, DOWN, "
        "ROUND_TO_ZERO, HALF_UP, HALF_DOWN, DPU",
    ),
    "a fraction of a bit": (
        lambda: base().quant(0.5, 3.5, name="q"),
        "node 'q' (Quant): its bit width must be one whole number, found [3.5]",
    ),
    "33 bits": (lambda: base().quant(0.5, 33, name="q"), "node 'q' (Quant): bit width is 33; supported are 1 to 32"),
    "no bits": (lambda: base().quant(0.5, 0, name="q"), "node 'q' (Quant): bit width is 0; supported are 1 to 32"),
    "a zero point between whole numbers": (
        lambda: base().quant(0.5, 4, zero=0.5, name="q"),
        "node 'q' (Quant): its zero point must be one whole number, found [0.5]",
    ),
    "a zero point a channel": (
        lambda: base().quant(0.5, 4, zero=np.arange(6.0), name="q"),
        "node 'q' (Quant): its zero point must be one whole number, found [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]",
    ),
    "one bit with a zero point": (
        lambda: base().quant(0.5, 1, zero=1, name="q"),
        "node 'q' (Quant): one bit with a zero point of 1; supported is 0",
    ),
    "one bit that is nothing": (
        lambda: base().quant(0.5, 1, signed=0, narrow=1, name="q"),
        "node 'q' (Quant): one bit, unsigned and narrow, has no value but 0; use more bits",
    ),
    "a scale that is computed": (
        scaled_by_itself,
        "node 'q' (Quant): scale must be a constant",
    ),
    "a scale for every pixel": (
        lambda: image().quant(np.full((1, 1, 6, 7), 0.5) * np.arange(1, 43).reshape(6, 7), 4, name="q"),
        "node 'q' (Quant): a scale of shape (1, 1, 6, 7) for a sample of shape (3, 6, 7); supported are one value, or one a "
        "channel",
    ),
    "small floats": (
        lambda: base().node(
            "FloatQuant",
            *map(np.float32, (1.0, 4, 3, 7, 448.0)),
            name="f",
            has_inf=0,
            has_nan=1,
            has_subnormal=1,
            saturation=1,
            rounding_mode="ROUND",
        ),
        "node 'f' (FloatQuant): quantises to small floating-point numbers (such as fp8), which are no integers on one step; use an "
        "integer quantiser (Quant, BipolarQuant)",
    ),
    "a convolution that FINN has taken apart": (
        lambda: image().node(
            "Im2Col", name="i", domain=GENERAL, kernel_size=[2, 2], stride=[1, 1], input_shape="(1,6,7,3)"
        ),
        "node 'i' (Im2Col): is half of a convolution that FINN has taken apart; give the file as it was before (with Conv)",
    ),
    "thresholds for other channels": (
        lambda: base().node("MultiThreshold", np.zeros((4, 2)), out_dtype="UINT2", name="m"),
        "node 'm' (MultiThreshold): thresholds of shape (4, 2) for 6 channels (axis 1 of 'NC'); supported are (channels or 1, steps)",
    ),
    "two tensors multiplied": (
        lambda: two_of(base(), "MatMul"),
        "node 'n' (MatMul): multiplies two computed tensors; supported is a constant second operand",
    ),
    "a quotient of tensors": (
        lambda: two_of(base(), "Div"),
        "node 'n' (Div): divides by a computed tensor; supported are constant divisors",
    ),
    "a division by 0": (lambda: base().node("Div", np.float32(0.0), name="d"), "node 'd' (Div): divides by 0"),
    "a constant divided": (
        divided_constant,
        "node 'd' (Div): divides by a computed tensor; supported are constant divisors",
    ),
    "the largest of two tensors": (
        lambda: two_of(base(), "Max"),
        "node 'n' (Max): supported is the larger or smaller of a tensor and one constant",
    ),
    "shapes that do not fit": (
        joined_shapes,
        "node 'n' (Add): joins shapes (6,) and (4,), which do not fit",
    ),
    "a larger last window": (
        lambda: image().node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, name="m"),
        "node 'm' (MaxPool): ceil_mode makes a last window that reaches past the edge; supported is ceil_mode = 0, or sizes that "
        "the strides divide",
    ),
    "places of the maxima": (
        lambda: image().node("MaxPool", kernel_shape=[2, 2], results=2, name="m"),
        "node 'm' (MaxPool): gives the indices of the maxima; supported are the maxima",
    ),
    "the largest values": (
        lambda: base().node("TopK", np.array([2]), results=2, axis=-1).quant(0.5, 4, name="q"),
        "node 'q' (Quant): needs the result 't1', which is not supported or computed nowhere",
    ),
    "the smallest values": (
        lambda: base().node("TopK", np.array([2]), results=2, axis=-1, largest=0, name="k"),
        "node 'k' (TopK): largest is 0; supported: 1",
    ),
    "a window larger than the image": (
        oversized_window,
        "node 'c' (Conv): the window (7, 7) is larger than the input (6, 7, 3)",
    ),
    "a convolution in three dimensions": (
        volume,
        "node 'c' (Conv): weights of shape (2, 3, 2, 2, 2) on a sample with 3 spatial axes; supported are 1 or 2",
    ),
    "other channels": (
        other_channels,
        "node 'c' (Conv): weights of shape (2, 2, 4, 2) in 1 groups for an input of shape (6, 7, 3)",
    ),
    "dilation with automatic pads": (
        dilated_same,
        "node 'c' (Conv): auto_pad SAME_UPPER with dilations [2, 2], which frameworks refuse; give the pads themselves",
    ),
    "the batch moved": (
        lambda: image().node("Transpose", perm=[1, 0, 2, 3], name="t"),
        "node 't' (Transpose): moves the batch axis; supported are permutations of the sample's axes",
    ),
    "the batch in the sample": (
        lambda: image().node("Reshape", np.array([3, 42]), name="r"),
        "node 'r' (Reshape): to shape [3, 42]; supported are shapes that keep the batch as the first axis",
    ),
    "the batch reduced": (
        lambda: image().node("ReduceMean", np.array([0]), name="r"),
        "node 'r' (ReduceMean): works along axis 0, the batch; supported are the axes of a sample",
    ),
    "all reduced": (
        lambda: image().node("ReduceMean", np.array([1, 2, 3]), name="r"),
        "node 'r' (ReduceMean): reduces over axes [1, 2, 3] of a sample of shape (3, 6, 7); supported are samples with 2 or 3 axes "
        "of which one is kept",
    ),
    "a softmax over rows": (
        lambda: image().node("Softmax", axis=2),
        "output 't1': a softmax along axis 2; supported is the last one",
    ),
    "mirrored pads": (
        lambda: image().node("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect", name="p"),
        "node 'p' (Pad): mode is 'reflect'; supported: 'constant'",
    ),
    "pads between the steps": (
        lambda: image().node("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(0.3), name="p"),
        "node 'p' (Pad): pads with 0.3, which is not a whole number of steps of the values; pad with 0, or put a quantiser after "
        "the padding",
    ),
    "pads beyond what a graph may hold": (
        lambda: image().node("Pad", np.array([0, 0, 1, 0, 0, 0, 2**40, 0]), name="p"),
        "node 'p' (Pad): widths must lie in 0 to 2147483648, found (1, 1099511627776)",
    ),
    "interpolation": (
        lambda: image().node("Resize", "", np.array([1, 1, 2, 2.0]), mode="linear", name="r"),
        "node 'r' (Resize): mode is 'linear'; supported: 'nearest'",
    ),
    "half a factor": (
        lambda: image().node("Resize", "", np.array([1, 1, 1.5, 2.0]), mode="nearest", name="r"),
        "node 'r' (Resize): by [1.0, 1.0, 1.5, 2.0]; supported are whole factors from 1, and 1 for the batch",
    ),
    "corners aligned": (
        lambda: image().node(
            "Resize",
            "",
            np.array([1, 1, 2, 2.0]),
            mode="nearest",
            coordinate_transformation_mode="align_corners",
            name="r",
        ),
        "node 'r' (Resize): align_corners with round_prefer_floor; supported is what repeats every element equally often",
    ),
    "a negative slope": (
        lambda: base().node("LeakyRelu", alpha=-0.5, name="l"),
        "node 'l' (LeakyRelu): slope -0.5; supported are positive slopes, or 0 for all",
    ),
    "a cast to small floats": (
        lambda: base().node("Cast", to=TensorProto.FLOAT16, name="c"),
        "node 'c' (Cast): casts to float16; supported are float32, float64 and integers",
    ),
    "a cast of fractions to integers": (
        lambda: base().node("Cast", to=TensorProto.INT32, name="c"),
        "node 'c' (Cast): casts values from -8 to 7.75 to int32, which are not all whole numbers of it; quantise them instead",
    ),
    "dropout in training": (
        lambda: base().node("Dropout", "", np.array(True), name="d"),
        "node 'd' (Dropout): is in training mode; export the model for inference",
    ),
    "weights with a zero point that integers cannot hold": (
        wide_zero_point,
        "node 'w' (Quant): has a zero point of 1e+30; supported are magnitudes below 2**32",
    ),
    "more steps than can be looked at": (
        lambda: base().quant(2.0**-16, 24).quant(0.3e-5, 24, name="wide"),
        "node 'wide' (Quant): rounds to 5250001 steps whose scale is no power of two times that of its input; supported are 262144. "
        "Use fewer bits, or power-of-two scales",
    ),
    "no number": (
        lambda: base().node("MatMul", np.full((6, 2), np.nan)),
        "constant 'c3' holds NaN or infinity; all constants must be finite",
    ),
    "nothing quantised": (
        lambda: Net().node("Identity"),
        "quantises nothing on the way to 't0'; there is no integer arithmetic in it",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str, tmp_path: Path) -> None:
    build, text = REFUSED[name]
    assert refusal(build(), tmp_path) == text


@pytest.mark.parametrize(("operation", "domain"), [("Einsum", ""), ("Surprise", GENERAL)])
def test_an_unknown_operation_is_named_with_those_that_are_known(operation: str, domain: str, tmp_path: Path) -> None:
    options = {"equation": "bi->bi"} if not domain else {}
    text = refusal(base().node(operation, domain=domain, name="e", **options), tmp_path)
    assert text.startswith(f"node 'e' ({operation}): this operation is not supported; supported are Abs, Add, ArgMax, ")
    assert text.endswith("(LogSoftmax and Softmax as the end only)")
    assert " Quant, " in text


def pooled_nhwc() -> Net:
    return Net(6, 7, 3).quant(0.25, 5).node("MaxPoolNHWC", kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4, name="n")


def averaged() -> Net:
    return Net(3, 4, 4).quant(1.0, 4).node("QuantAvgPool2d", kernel=2, stride=2, ibits=4, obits=3, signed=1, name="n")


def channels_last(kind: str) -> Net:
    net = Net(6, 7, 3).quant(0.25, 5)
    net.versions[CHANNELS_LAST] = 18
    inputs = [net.weights((4, 2, 2, 3), 0.125)] if kind == "Conv" else []
    more = {"dilations": [1, 1], "group": 1} if kind == "Conv" else {}
    options = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0, 0, 0, 0], **more}
    net.node(kind, *inputs, domain=CHANNELS_LAST, name="n", **options)
    return net.quant(0.5, 4)


#: Each of qonnx's operations that are read, with every attribute that qonnx lists for it, as node 'n'.
COMPLETE: dict[tuple[str, str], Callable[[], Net]] = {
    (GENERAL, "Quant"): lambda: base().quant(0.5, 4, name="n"),
    (GENERAL, "IntQuant"): lambda: base().node(
        "IntQuant", *map(np.float32, (0.5, 0, 4)), signed=1, narrow=1, rounding_mode="CEIL", name="n"
    ),
    (GENERAL, "Trunc"): lambda: base().node(
        "Trunc", *map(np.float32, (0.25, 0, 6, 4)), rounding_mode="FLOOR", name="n"
    ),
    (GENERAL, "MultiThreshold"): lambda: base().node(
        "MultiThreshold", [[0.5, 1.0]], out_dtype="UINT2", out_scale=1.0, out_bias=0.0, data_layout="NC", name="n"
    ),
    (GENERAL, "MaxPoolNHWC"): pooled_nhwc,
    (GENERAL, "QuantAvgPool2d"): averaged,
    (CHANNELS_LAST, "Conv"): lambda: channels_last("Conv"),
    (CHANNELS_LAST, "MaxPool"): lambda: channels_last("MaxPool"),
}


def test_every_operation_with_required_attributes_is_tried() -> None:
    assert set(COMPLETE) == set(REQUIRED)


@pytest.mark.parametrize("operation", COMPLETE, ids="-".join)
def test_without_one_attribute_a_node_is_refused_or_executed(operation: tuple[str, str], tmp_path: Path) -> None:
    """What qonnx can execute without an attribute is exact without it; all else is refused before qonnx sees it."""
    check(COMPLETE[operation](), tmp_path, samples=40)
    names = [attribute.name for attribute in find_node(COMPLETE[operation](), "n").attribute]
    refused = []
    for name in names:
        net = COMPLETE[operation]()
        node = find_node(net, "n")
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)
        if name not in REQUIRED[operation]:
            check(net, tmp_path, samples=40)
            continue
        text = refusal(net, tmp_path)
        allowed = REQUIRED[operation][name]
        assert text == (
            f"node 'n' ({operation[1]}): has no attribute {name!r}, without which qonnx cannot execute it; give it ({allowed}), "
            "or export the model again"
        )
        refused.append(name)
    assert sorted(refused) == sorted(REQUIRED[operation])


def find_node(net: Net, name: str) -> Any:
    return next(node for node in net.nodes if node.name == name)


def load(proto: Any, folder: Path) -> None:
    file = folder / "net.onnx"
    onnx.save_model(proto, file)
    load_model(file)


def test_control_flow(tmp_path: Path) -> None:
    def branch(name: str) -> Any:
        node = helper.make_node("Identity", ["t0"], [name])
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6])])

    proto = base().proto()
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    proto.graph.node.append(
        helper.make_node("If", ["condition"], ["y"], name="choice", then_branch=branch("a"), else_branch=branch("b"))
    )
    proto.graph.output[0].name = "y"
    with pytest.raises(UnsupportedModel) as caught:
        load(proto, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'net.onnx'}: node 'choice' (If): holds a graph of its own (control flow); supported are plain operations"
    )


@pytest.mark.parametrize(
    ("dimensions", "found"), [(["n", "features"], "(0, 0)"), ([1], "(1,)"), ([], "()"), ([1, 0], "(1, 0)")]
)
def test_an_input_without_a_fixed_shape(dimensions: list[Any], found: str, tmp_path: Path) -> None:
    proto = base().proto()
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, dimensions))
    with pytest.raises(UnsupportedModel) as caught:
        load(proto, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'net.onnx'}: input 'x' has shape {found}; expected (batch, sizes...) with every size but the batch fixed"
    )


def test_a_free_batch_is_no_free_shape(tmp_path: Path) -> None:
    net = base().dense(3, 0.25)
    net.batch = "n"
    check(net, tmp_path)


def test_functions_of_the_file_itself(tmp_path: Path) -> None:
    proto = base().proto()
    node = helper.make_node("Relu", ["a"], ["b"])
    proto.functions.append(helper.make_function("", "Mine", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))
    with pytest.raises(UnsupportedModel) as caught:
        load(proto, tmp_path)
    assert str(caught.value) == f"{tmp_path / 'net.onnx'}: defines functions of its own ('Mine'); inline them first"


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    content = base().dense(3, 0.25).proto().SerializeToString()
    file = tmp_path / "net.onnx"
    file.write_bytes(content.replace(b"dense2", b"dens\xff2"))
    with pytest.raises(InputError) as caught:
        load_model(file)
    assert str(caught.value) == f"{file}: holds a name that is no UTF-8 text, b'dens\\xff2'; the file is damaged"


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut off somewhere, or with some bytes or bits changed."""
    data = bytearray(content)
    way = random.integers(3)
    if way == 0:
        return bytes(data[: random.integers(len(data))])
    for place in random.integers(len(data), size=random.integers(1, 4)):
        data[place] = random.integers(256) if way == 1 else data[place] ^ (1 << random.integers(8))
    return bytes(data)


@pytest.mark.parametrize("rounds", [40, pytest.param(2000, marks=pytest.mark.full)])
def test_damaged_files_are_read_or_refused(rounds: int, tmp_path: Path, random: np.random.Generator) -> None:
    """Whatever became of the bytes: a graph, or an error that is meant for the user."""
    from test_qonnx_operations import CASES

    file = tmp_path / "net.onnx"
    read, texts = 0, list[str]()
    for name in random.choice(list(CASES), size=rounds // 4):
        content = CASES[name]().proto().SerializeToString()
        for _ in range(8):
            file.write_bytes(damaged(content, random))
            try:
                load_model(file)
            except ToolchainError as error:
                texts.append(str(error))
            else:
                read += 1
    assert 0 < read < 2 * rounds
    assert [text for text in texts if not text.startswith(str(file))] == []


def test_a_file_of_several_gigabytes(tmp_path: Path) -> None:
    """A sparse file; its size is looked at before it is read."""
    file = base().dense(3, 0.5).save(tmp_path)
    os.truncate(file, 2 << 30)
    with pytest.raises(InputError) as caught:
        load_model(file)
    assert str(caught.value) == f"{file}: 2147483648 bytes, more than the 2147483647 allowed for an ONNX file"
