# SPDX-License-Identifier: Apache-2.0
"""What rung 1 says where a framework's float32 rounds: differences are explained by reproduction, and by nothing else."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from toolchain.errors import InputError
from toolchain.frontends import LoadedModel, load_model
from toolchain.ir import (
    AddBias,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Requantise,
    Rounding,
    Threshold,
    interpret,
    real_inputs,
)
from toolchain.pipeline import build_hardware
from toolchain.report.report import read_report
from toolchain.verify.float32 import Errors, error_bounds
from toolchain.verify.framework import EXPLAINED_REMARK, compare_framework

sys.path.insert(0, str(Path(__file__).parent))
from onnx_files import Net, half_steps

FREE = 0.0731


def loaded(net: Net, folder: Path) -> LoadedModel:
    return load_model(net.save(folder))


def steps_of(net: Net, samples: int = 300) -> np.ndarray:
    return half_steps(net.inputs, 0.25, 6.0, samples)["x"]


def free(step: float) -> Net:
    """A sum on a free scale, quantised to a multiple of it: exact ties, which float32 does not meet exactly."""
    return Net().quant(0.25, 6).dense(5, FREE).quant(step, 6)


@pytest.mark.parametrize(("step", "kind"), [(FREE * 2, "requantise"), (FREE * 1.5, "threshold"), (0.731, "threshold")])
def test_ties_that_float32_misses_are_explained(step: float, kind: str, tmp_path: Path) -> None:
    """The steps' ratio is 8, 6 or, but for the rounding of the decimals, 40."""
    net = free(step)
    model = loaded(net, tmp_path)
    assert model.graph.nodes[-1].operation.kind == kind
    result = compare_framework(model, steps_of(net))
    assert result.explained_ties > 0
    assert (result.mismatches, result.first_mismatch) == (0, None)
    assert result.remark == EXPLAINED_REMARK.format(result.explained_ties, result.explained_ties)


def test_the_report_keeps_explained_ties_apart(tmp_path: Path) -> None:
    net = free(FREE * 1.5)
    np.savez(tmp_path / "vectors.npz", x=steps_of(net))
    file, vectors = net.save(tmp_path), tmp_path / "vectors.npz"
    expected = compare_framework(load_model(file), steps_of(net)).explained_ties
    assert expected > 0
    result = build_hardware(file, until="graph", part="LFE5U-85F-6BG381C", vectors=vectors, out=tmp_path / "build")
    (entry,) = read_report(result.folder).ladder
    assert (entry["vectors"], entry["mismatches"], entry["explained_ties"]) == (300, 0, expected)


def test_a_tie_in_the_first_layer_explains_what_follows_from_it(tmp_path: Path) -> None:
    net = free(FREE * 1.5).node("Relu").dense(4, 0.19).node("Add", [0.013, 0.1, -0.2, 0.31]).quant(0.61, 5)
    result = compare_framework(loaded(net, tmp_path), steps_of(net))
    assert result.explained_ties > 0
    assert (result.mismatches, result.first_mismatch) == (0, None)


def test_an_input_beside_a_tie(tmp_path: Path) -> None:
    """x / scale in float32 is 2.5 where the exact quotient is a little less."""
    scale = np.float32(0.1)
    net = Net(1).quant(scale, 5)
    x = np.array([[0.25]], np.float32)
    assert x[0, 0] / scale == 2.5
    assert float(x[0, 0]) / float(scale) < 2.5
    beside = np.nextafter(scale * np.arange(-15, 15, dtype=np.float32) + scale / 2, np.float32(9))[:, None]
    result = compare_framework(loaded(net, tmp_path), np.concatenate([x, beside]))
    assert result.explained_ties > 0
    assert (result.mismatches, result.first_mismatch) == (0, None)


def changed(model: LoadedModel, **fields: object) -> LoadedModel:
    """The same model with its last operation changed."""
    *before, last = model.graph.nodes
    operation = dataclasses.replace(last.operation, **fields)  # type: ignore[arg-type]
    graph = model.graph.replace_nodes((*before, dataclasses.replace(last, operation=operation)))
    return dataclasses.replace(model, graph=graph)


@pytest.mark.parametrize("mode", [Rounding.HALF_AWAY, Rounding.HALF_ZERO, Rounding.TRUNCATE])
def test_a_wrong_rounding_is_never_explained_where_float32_is_exact(mode: Rounding, tmp_path: Path) -> None:
    net = Net().quant(0.25, 6).dense(5, 0.125).quant(0.5, 6)
    model = loaded(net, tmp_path)
    assert compare_framework(model, steps_of(net)).differing_values == 0
    assert isinstance(model.graph.nodes[-1].operation, Requantise)
    result = compare_framework(changed(model, rounding=mode), steps_of(net))
    assert result.mismatches > 0
    assert result.explained_ties == 0
    assert result.first_mismatch is not None


def test_a_wrong_tie_of_exact_thresholds_is_not_explained(tmp_path: Path) -> None:
    """Scales 3 * 2**-k: thresholds, and every tie is exact in float32 as well."""
    net = Net().quant(0.25, 6).dense(5, 0.25).quant(0.375, 5, mode="HALF_UP")
    model = loaded(net, tmp_path)
    assert compare_framework(model, steps_of(net)).differing_values == 0
    other = loaded(Net().quant(0.25, 6).dense(5, 0.25).quant(0.375, 5, mode="HALF_DOWN"), tmp_path)
    result = compare_framework(dataclasses.replace(model, graph=other.graph), steps_of(net))
    assert (result.mismatches > 0, result.explained_ties) == (True, 0)


def test_a_wrong_threshold_is_not_explained(tmp_path: Path) -> None:
    """One threshold of one channel too high by one, on a scale where float32 misses ties, too."""
    net = Net().quant(0.25, 6).dense(5, [[FREE, 0.11, 0.3, 0.07, 0.2]]).quant(0.731, 4)
    model = loaded(net, tmp_path)
    operation = model.graph.nodes[-1].operation
    assert isinstance(operation, Threshold)
    table = operation.thresholds.copy()
    table[2, 4] += 1
    result = compare_framework(changed(model, thresholds=table), steps_of(net, 2000))
    assert result.first_mismatch is not None
    assert result.first_mismatch.index == (2,)
    assert result.mismatches > 0


def test_values_off_the_steps_of_the_output(tmp_path: Path) -> None:
    net = Net().quant(0.25, 6).dense(3, 0.25)
    model = loaded(net, tmp_path)
    run = model.run
    assert run is not None
    shifted = dataclasses.replace(model, run=lambda x: run(x) + 0.01)
    with pytest.raises(
        InputError, match=r"900 of 900 outputs of qonnx 1.* are not values of the output type .* steps\)"
    ):
        compare_framework(shifted, steps_of(net))
    nothing = dataclasses.replace(model, run=lambda x: run(x) * np.nan)
    with pytest.raises(InputError, match="are not values of the output type"):
        compare_framework(nothing, steps_of(net))


def test_an_output_that_is_finer_than_float32(tmp_path: Path) -> None:
    """Sums on a common step of two free scales: 31 bits. What float32 gives is beside them, and is said to be."""
    net = Net().quant(0.25, 6)
    source = net.last
    first = net.quant(0.0731, 6).last
    net.at(source).quant(0.113, 6).node("Add", first)
    model = loaded(net, tmp_path)
    assert model.graph.types[model.graph.outputs[0].tensor].element.width > 24
    result = compare_framework(model, steps_of(net))
    assert result.explained_ties > 0
    assert (result.mismatches, result.first_mismatch) == (0, None)
    run = model.run
    assert run is not None
    wrong = dataclasses.replace(model, run=lambda x: run(x) * (1 + 2.0**-18))
    result = compare_framework(wrong, steps_of(net))
    assert result.first_mismatch is not None
    assert result.mismatches > 0


def test_inputs_by_name(tmp_path: Path) -> None:
    net = Net(3).quant(0.25, 5)
    first = net.last
    net.input("other", 3).quant(0.5, 4).node("Add", first)
    model = loaded(net, tmp_path)
    x = half_steps(net.inputs, 0.25, 3.0, 20)
    with pytest.raises(InputError) as caught:
        compare_framework(model, x["x"])
    assert str(caught.value) == "the model has inputs ['x', 'other']: give one array for each, by name"
    with pytest.raises(InputError) as caught:
        compare_framework(model, {"x": x["x"]})
    assert str(caught.value) == "input 'other' is missing; found ['x']"
    result = compare_framework(model, x)
    assert (result.vectors, result.differing_values) == (20, 0)


def test_the_first_difference_names_its_output(tmp_path: Path) -> None:
    net = Net(3).quant(0.25, 5).output()
    net.node("Neg").output()
    model = loaded(net, tmp_path)
    run = model.run
    assert run is not None

    def wrong(x: np.ndarray) -> dict[str, np.ndarray]:
        results = dict(run(x))
        results[net.last] = results[net.last] + np.eye(20, 3, -4, dtype=np.float32)
        return results

    for form in (wrong, lambda x: list(wrong(x).values())):
        result = compare_framework(dataclasses.replace(model, run=form), half_steps(net.inputs, 0.25, 3.0, 20)["x"])
        assert (result.mismatches, result.explained_ties) == (3, 0)
        first = result.first_mismatch
        assert first is not None
        assert (first.output, first.vector, first.index, first.found - first.expected) == (net.last, 4, (0,), 4)


def dense_chain(random: np.random.Generator) -> Graph:
    builder = GraphBuilder("chain")
    inputs, outputs = (int(v) for v in random.integers(2, 200, 2))
    name = builder.add(Input((inputs,), IntegerType(True, int(random.integers(3, 12)))), name="x")
    name = builder.add(Dense(random.integers(-100, 100, (inputs, outputs))), name, name="dense")
    name = builder.add(AddBias(random.integers(-10000, 10000, outputs), 2), name, name="bias")
    name = builder.add(Dense(random.integers(-7, 8, (outputs, 3)), 1), name, name="again")
    builder.output(name)
    return builder.build()


def test_the_bound_holds_for_float32_arithmetic(random: np.random.Generator) -> None:
    """Free scales, sums in NumPy's order: the error in steps stays within the bound, and is not far below it throughout."""
    largest = 0.0
    for _ in range(40):
        graph = dense_chain(random)
        scales = random.uniform(0.01, 1, 3).astype(np.float32)
        node = graph.inputs[0]
        integers = random.integers(
            node.operation.element.minimum, node.operation.element.maximum + 1, (50, *node.operation.shape)
        )  # type: ignore[attr-defined]
        first, bias, second = (graph.by_name[name].operation for name in ("dense", "bias", "again"))
        x = integers.astype(np.float32) * scales[0]
        step = scales[0] * scales[1]
        y = x @ (first.weights.astype(np.float32) * scales[1])  # type: ignore[attr-defined]
        y = y + (bias.bias.astype(np.float32) / 4) * step  # type: ignore[attr-defined]
        y = y @ (second.weights.astype(np.float32) * scales[2])  # type: ignore[attr-defined]
        names = [node.name for node in graph.nodes]
        values = interpret(graph, integers, record=names)
        exact = values["again"]
        unit = float(scales[0]) * float(scales[1]) * float(scales[2]) / 4
        error = np.abs(y.astype(np.float64) / unit - exact)
        # The step of the bias is a rounded product of two scales itself.
        of_bias = 2.0**-24 * float(np.abs(bias.bias).sum()) * 7  # type: ignore[attr-defined]
        bound = error_bounds(graph)["again"] + of_bias
        assert error.max() <= bound
        known = Errors(graph, {}, (), values).of("again")
        assert (error <= known.error + of_bias).all()
        assert (known.size >= np.abs(exact)).all()
        assert known.error.max() <= error_bounds(graph)["again"]
        largest = max(largest, error.max() / bound)
    assert largest > 0.002
    assert real_inputs(node, integers).shape == integers.shape
