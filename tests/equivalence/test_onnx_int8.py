# SPDX-License-Identifier: Apache-2.0
"""ONNX int8 files as ONNX Runtime's tools write them: QDQ and QOperator format, against ONNX Runtime.

With scales that are powers of two all of ONNX Runtime's float32 arithmetic is exact, and so is the comparison. With free
scales most operators of the QOperator format round a function of one integer, in IEEE float32 operations that the graph
follows: equal again. Float operators between quantisations, QLinearAdd and QLinearAveragePool sum floats in an order of the
processor's; there the graph keeps the exact rational value, and the two may differ by one step where that lies within the
bound of float32 rounding from a tie, which the judge in onnx_int8_bench computes; everywhere else they are equal.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

sys.path.insert(0, str(Path(__file__).parent))
from onnx_int8_bench import Judge  # noqa: E402
from onnx_int8_networks import NETWORKS, SHAPES, Network  # noqa: E402

from toolchain.frontends import LoadedModel, load_model  # noqa: E402
from toolchain.ir import interpret, quantise_input, real_values  # noqa: E402
from toolchain.verify.framework import compare_framework  # noqa: E402

#: Relative error of the judge's own float64 arithmetic, with a wide margin.
FLOAT64 = 2.0**-40


def with_outputs(proto: Any, names: list[str]) -> Any:
    """The model with these tensors as its outputs, of the types and shapes that ONNX Runtime infers for them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    del copy.graph.output[:]
    codes = {"tensor(uint8)": onnx.TensorProto.UINT8, "tensor(int8)": onnx.TensorProto.INT8}
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(v.name, codes.get(v.type, onnx.TensorProto.FLOAT), v.shape)
        for v in session.get_outputs()
    )
    return copy


def save(proto: Any, folder: Path) -> Path:
    path = folder / "network.onnx"
    onnx.save_model(proto, path)
    return path


def graph_values(model: LoadedModel, x: np.ndarray) -> list[np.ndarray]:
    """The real values of all outputs, axes in the user's order."""
    graph = model.graph
    results = interpret(graph, quantise_input(graph.inputs[0], x).integers)
    return [real_values(output, graph.types[output.tensor].element, results[output.tensor]) for output in graph.outputs]


def samples(random: np.random.Generator, proto: Any, shape: tuple[int, ...], count: int = 150) -> np.ndarray:
    """Random inputs, some far beyond the quantiser's range, and for scales of powers of two its ties; the extremes of integers."""
    kind = proto.graph.input[0].type.tensor_type.elem_type
    if kind == onnx.TensorProto.FLOAT:
        x = random.normal(0, 1, (count, *shape)) * random.choice([1, 1, 1, 8], (count, *(1,) * len(shape)))
        first = next(node for node in proto.graph.node if node.input[0] == proto.graph.input[0].name)
        scale = float(Judge(proto).constants[first.input[1]])
        if np.frexp(scale)[0] == 0.5:
            ties = random.integers(-300, 300, (count, *shape)) * (scale / 2)
            x = np.concatenate([x, ties])
        return x.astype(np.float32)
    low, high = (0, 255) if kind == onnx.TensorProto.UINT8 else (-128, 127)
    x = random.integers(low, high + 1, (count, *shape))
    return np.concatenate(
        [x, np.full((1, *shape), low), np.full((1, *shape), high), random.choice([low, high], x.shape)]
    )


def judged(proto: Any, x: np.ndarray, folder: Path) -> tuple[int, int]:
    """Every quantised tensor of the graph and of ONNX Runtime against the judge; (values that differ, all values)."""
    judge = Judge(proto)
    names = judge.quantised()
    model = load_model(save(with_outputs(proto, names), folder))
    assert model.framework.startswith("onnxruntime ")
    assert model.run is not None
    mine, found = graph_values(model, x), model.run(x)
    theirs = [found[name] for name in names] if isinstance(found, dict) else [found]
    sides = [{"x": x, **dict(zip(names, values, strict=True))} for values in (mine, theirs)]
    steps = [judge.steps(side) for side in sides]
    differing = total = 0
    same = np.ones(len(x), bool)  # samples in which no tensor differs so far
    for name in names:
        for side, whose, values in zip(sides, ("the graph", "ONNX Runtime"), steps, strict=True):
            found = values[name]
            is_exact = whose == "the graph" and not found.is_followed
            allowed = FLOAT64 * (1 + abs(found.value)) if is_exact else found.error
            off = side[name] - found.rounded()
            assert abs(off).max() <= 1, f"{name}: {whose}"
            assert found.near_tie(allowed)[off != 0].all(), f"{name}: {whose}, away from ties"
        different = sides[0][name] != sides[1][name]
        here = different.reshape(len(x), -1).any(axis=1)
        assert not (found.is_followed and here[same].any()), f"{name}: a kernel that the graph follows"
        same &= ~here
        differing += int(different.sum())
        total += different.size
    return differing, total


FORMS = ["QDQ", "QOperator"]
CHOICES = {
    "plain": {},
    "signed": {"kind": "int8", "per_channel": True},
    "asymmetric": {"weight_kind": "uint8", "weight_zero": True},
    "integers": {"real_input": False, "per_channel": True},
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_scales_that_are_powers_of_two(
    name: str, form: str, choice: str, random: np.random.Generator, tmp_path: Path
) -> None:
    network = Network(form, random, SHAPES[name], exact=True, **CHOICES[choice])  # type: ignore[arg-type]
    last = NETWORKS[name](network)
    proto = network.end(last, real=choice != "signed")
    x = samples(random, proto, SHAPES[name])
    model = load_model(save(proto, tmp_path))
    result = compare_framework(model, x)
    assert (result.vectors, result.differing_values, result.first_mismatch) == (len(x), 0, None)
    # The same for every tensor on the way, and the judge agrees with both.
    assert judged(proto, x, tmp_path)[0] == 0


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_free_scales(name: str, form: str, choice: str, random: np.random.Generator, tmp_path: Path) -> None:
    network = Network(form, random, SHAPES[name], **CHOICES[choice])  # type: ignore[arg-type]
    proto = network.end(NETWORKS[name](network))
    differing, total = judged(proto, samples(random, proto, SHAPES[name]), tmp_path)
    print(f"{differing} of {total} values differ")


# ---- files of the tools themselves -----------------------------------------------------------------------------------
def float_network(random: np.random.Generator) -> Any:
    """A float network with what quantize_static knows: convolutions, a sum, a concatenation, pooling, curves, dense layers."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], group=4),
        helper.make_node("Add", ["c2", "r1"], ["sum"]),
        helper.make_node("LeakyRelu", ["sum"], ["leaky"], alpha=0.1),
        helper.make_node("Sigmoid", ["leaky"], ["gate"]),
        helper.make_node("Concat", ["leaky", "gate"], ["both"], axis=1),
        helper.make_node("MaxPool", ["both"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("AveragePool", ["small"], ["mean"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Mul", ["mean", "mean"], ["square"]),
        helper.make_node("GlobalAveragePool", ["square"], ["all"]),
        helper.make_node("Flatten", ["all"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["dense"], transB=1),
        helper.make_node("MatMul", ["dense", "w4"], ["y"]),
    ]
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 1, 3, 3), "b2": (4,), "w3": (6, 8), "b3": (6,), "w4": (6, 5)}
    constants = [
        onnx.numpy_helper.from_array(random.normal(0, 0.4, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in (("x", ["N", 3, 6, 6]), ("y", ["N", 5]))
    ]
    graph = helper.make_graph(nodes, "float", *ends, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("per_channel", [False, True], ids=["per_tensor", "per_channel"])
@pytest.mark.parametrize("kind", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("form", FORMS)
def test_quantize_static(
    form: str,
    kind: str,
    per_channel: bool,
    random: np.random.Generator,
    tmp_path: Path,
) -> None:
    """Files of ONNX Runtime's own tool, with its usual settings."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    batches = iter([{"x": random.normal(0, 1, (16, 3, 6, 6)).astype(np.float32)}, None])
    reader = type("Reader", (quantization.CalibrationDataReader,), {"get_next": lambda self: next(batches)})()
    onnx.save_model(float_network(random), tmp_path / "float.onnx")
    quantization.quantize_static(
        str(tmp_path / "float.onnx"),
        str(tmp_path / "int8.onnx"),
        reader,
        quant_format=quantization.QuantFormat[form],
        activation_type=quantization.QuantType[kind],
        per_channel=per_channel,
    )
    proto = onnx.load_model(str(tmp_path / "int8.onnx"))
    names = {node.op_type for node in proto.graph.node}
    assert {"QLinearConv", "QGemm", "QLinearConcat"} <= names if form == "QOperator" else "Conv" in names
    judged(proto, samples(random, proto, (3, 6, 6), 60), tmp_path)


@pytest.mark.parametrize("scales", ["powers", "free"])
def test_brevitas_qcdq(scales: str, random: np.random.Generator, tmp_path: Path) -> None:
    """Fewer than 8 bits through Clip, a scale a channel, quantised biases, an unsigned output with a zero point."""
    torch, nn = pytest.importorskip("torch"), pytest.importorskip("brevitas.nn")
    from brevitas import quant
    from brevitas.export import export_onnx_qcdq

    exact = scales == "powers"
    weights = quant.Int8WeightPerTensorFixedPoint if exact else quant.Int8WeightPerChannelFloat
    inner = {"act_quant": quant.Uint8ActPerTensorFixedPoint if exact else quant.Uint8ActPerTensorFloat}
    outer = {"act_quant": quant.Int8ActPerTensorFixedPoint if exact else quant.Int8ActPerTensorFloat}
    last = outer if exact else {"act_quant": quant.ShiftedUint8ActPerTensorFloat}
    layer = {"weight_quant": weights, "bias_quant": quant.Int32Bias, "return_quant_tensor": True}
    torch.manual_seed(int(random.integers(1 << 30)))
    module = torch.nn.Sequential(
        nn.QuantIdentity(bit_width=6, return_quant_tensor=True, **outer),
        nn.QuantConv2d(3, 6, 3, padding=1, bias=True, weight_bit_width=4, **layer),
        nn.QuantReLU(bit_width=4, return_quant_tensor=True, **inner),
        nn.QuantConv2d(6, 6, 3, padding=1, groups=6, bias=True, weight_bit_width=3, **layer),
        nn.QuantReLU(bit_width=5, return_quant_tensor=True, **inner),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        nn.QuantLinear(54, 5, bias=True, weight_bit_width=8, **layer),
        nn.QuantIdentity(bit_width=8, **last),
    )
    x = torch.tensor(random.normal(0, 1, (64, 3, 6, 6)).astype(np.float32))
    module(x)
    module.eval()
    export_onnx_qcdq(module, x[:1], export_path=str(tmp_path / "qcdq.onnx"), opset_version=17, dynamo=False)
    proto = onnx.load_model(str(tmp_path / "qcdq.onnx"))
    assert proto.graph.node[0].op_type == "QuantizeLinear"
    proto.graph.node[0].input[0] = proto.graph.input[0].name = "x"
    proto.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    model = load_model(save(proto, tmp_path))
    inputs = samples(random, proto, (3, 6, 6))
    if exact:
        result = compare_framework(model, inputs)
        assert (result.differing_values, result.first_mismatch) == (0, None)
    # The integers before a clip are outputs here, and so unclipped; as the file is, the clip narrows the type.
    judged(proto, inputs, tmp_path)
    widths = [model.graph.types[node.name].element.width for node in model.graph.nodes]
    assert widths[0] == 6
    assert 4 in widths
    assert 5 in widths
