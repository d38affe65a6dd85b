# SPDX-License-Identifier: Apache-2.0
"""ONNX int8 files as ONNX Runtime's tools write them: QDQ and QOperator format, against ONNX Runtime.

With scales that are powers of two all of ONNX Runtime's float32 arithmetic is exact, and so is the comparison. With free
scales the graph keeps the exact rational value, and ONNX Runtime rounds float32 products, sums and quotients on the way: the
two may differ by one step where the exact value lies within the bound of that rounding from a tie, which the judge in
onnx_int8_bench computes operator by operator; everywhere else they are equal.
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
        judge = Judge(proto)
        scale = float(judge.constants[proto.graph.node[0].input[1]])
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
    for name in names:
        exact = steps[0][name]
        sure = ~exact.near_tie(FLOAT64 * (1 + abs(exact.value)))
        assert (sides[0][name] == exact.rounded())[sure].all(), f"{name}: the graph"
        framework = steps[1][name]
        off = sides[1][name] - framework.rounded()
        assert abs(off).max() <= 1, f"{name}: ONNX Runtime"
        assert framework.near_tie(framework.error)[off != 0].all(), f"{name}: ONNX Runtime, away from ties"
        differing += int((sides[0][name] != sides[1][name]).sum())
        total += off.size
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
    assert (result.vectors, result.mismatches, result.first_mismatch) == (len(x), 0, None)
    # The same for every tensor on the way, and the judge agrees with both.
    assert judged(proto, x, tmp_path)[0] == 0


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_free_scales(name: str, form: str, choice: str, random: np.random.Generator, tmp_path: Path) -> None:
    network = Network(form, random, SHAPES[name], **CHOICES[choice])  # type: ignore[arg-type]
    proto = network.end(NETWORKS[name](network))
    differing, total = judged(proto, samples(random, proto, SHAPES[name]), tmp_path)
    print(differing, total)
