# SPDX-License-Identifier: Apache-2.0
"""Every operation's samples: inferred types hold, 64-bit and arbitrary-precision evaluation agree, files round-trip."""

import numpy as np
import pytest

from tests.sample_graphs import sample_graph, samples
from toolchain.errors import SpecViolation
from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    GraphBuilder,
    Input,
    IntegerType,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    TensorType,
    Threshold,
    load_graph,
    save_graph,
)  # fmt: skip
from toolchain.ir.operation import storage_dtype

CASES = list(samples())


def random_integers(element: IntegerType, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Uniform over the type's interval with its ends in the first rows; Python integers where 63 bits do not suffice."""
    span = element.maximum - element.minimum + 1
    words = (span.bit_length() + 31) // 32 + 1
    flat = [
        element.minimum + int.from_bytes(random.bytes(4 * words), "little") % span for _ in range(int(np.prod(shape)))
    ]
    array = np.array(flat, dtype=object).reshape(shape)
    array[0], array[1] = element.minimum, element.maximum
    return array.astype(storage_dtype(element))


@pytest.mark.parametrize(("operation", "types"), CASES)
def test_result_lies_in_the_inferred_type(
    operation: Operation, types: tuple[TensorType, ...], random: np.random.Generator
) -> None:
    if isinstance(operation, Input):
        return  # has no operands; tests/unit/test_ir_graph.py feeds it
    inputs = [random_integers(t.element, (50, *t.shape), random) for t in types]
    result = operation.infer(*types)
    values = operation.evaluate(*inputs, types=types)
    assert values.shape == (50 if inputs else 1, *result.shape)
    assert values.dtype == storage_dtype(result.element)
    assert result.element.minimum <= values.min()
    assert values.max() <= result.element.maximum
    exact = operation.evaluate(*(array.astype(object) for array in inputs), types=types)
    assert (values == exact).all()


@pytest.mark.parametrize(("operation", "types"), CASES)
def test_file_round_trip(operation: Operation, types: tuple[TensorType, ...], tmp_path: object) -> None:
    graph = sample_graph(operation, types)
    path = save_graph(graph, f"{tmp_path}/graph.bitwright")
    loaded = load_graph(path)
    assert loaded.digest == graph.digest
    assert loaded.types == graph.types
    again = save_graph(loaded, f"{tmp_path}/again.bitwright")
    assert again.read_bytes() == path.read_bytes()


def test_dense_takes_the_widest_path_only_when_it_must() -> None:
    """Sums one below and one above what float32, float64 and int64 hold, against Python integers."""
    for width in (10, 11, 12, 24, 25, 26, 27, 30, 31, 32, 62, 63, 64):
        top = (1 << width) - 1
        weights = np.array([[top, -top], [top, top - 1], [1, 1]], dtype=object)
        x_type = TensorType((3,), IntegerType(False, width))
        x = np.array([[top, top, 1], [top, 0, top]], dtype=object).astype(storage_dtype(x_type.element))
        expected = x.astype(object) @ weights
        assert (Dense(weights).evaluate(x, types=(x_type,)) == expected).all()


def test_dense_interval_is_reached() -> None:
    weights = np.array([[3, -1], [-2, 0]])
    x = TensorType((2,), IntegerType(True, 3))
    result = Dense(weights, 2).infer(x).element
    assert (result.minimum, result.maximum, result.fraction) == (3 * -4 - 2 * 3, 3 * 3 + 2 * 4, 2)


def test_threshold_counts_thresholds_not_above() -> None:
    x = TensorType((2,), IntegerType(True, 4))
    operation = Threshold(np.array([[-3, 0, 0], [1, 2, 8]]), offset=-1)
    values = operation.evaluate(np.array([[-4, 1], [-3, 0], [0, 2], [7, 7]]), types=(x,))
    assert values.tolist() == [[-1, 0], [0, -1], [2, 1], [2, 1]]
    assert operation.infer(x).element == IntegerType(True, 3, 0, -1, 2)


def test_relu_forms() -> None:
    x = TensorType((4,), IntegerType(True, 4, 1))
    values = np.array([[-8, -1, 0, 7]])
    assert Relu().evaluate(values, types=(x,)).tolist() == [[0, 0, 0, 7]]
    assert Relu(None, 5).evaluate(values, types=(x,)).tolist() == [[0, 0, 0, 5]]
    assert Relu(2).evaluate(values, types=(x,)).tolist() == [[-8, -1, 0, 28]]
    assert Relu(2).infer(x).element.fraction == 3


def test_argmax_ties_go_to_the_lowest_index() -> None:
    x = TensorType((3,), IntegerType(True, 4))
    assert ArgMax().evaluate(np.array([[1, 3, 3], [-1, -1, -1]]), types=(x,)).tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("operation", "element", "message"),
    [
        (Dense(np.ones((3, 2), int)), IntegerType(True, 4), "y (dense from block/1): weights take 3 inputs, the input's last axis has 4"),
        (AddBias(np.ones(3, int)), IntegerType(True, 4), "y (add_bias from block/1): bias has 3 channels, the input's last axis has 4"),
        (Reshape((5,)), IntegerType(True, 4), "y (reshape from block/1): cannot reshape 4 elements of shape (4,) into (5,)"),
        (Threshold(np.array([[2, 1]])), IntegerType(True, 4), "y (threshold from block/1): thresholds must ascend along their last axis"),
        (Relu(None, -1), IntegerType(True, 4), "y (relu from block/1): upper_bound must be None or at least 0, found -1"),
        (
            Requantise(IntegerType(True, 4, 0, -7, 7), Rounding.TRUNCATE, Overflow.WRAP),
            IntegerType(True, 4),
            "y (requantise from block/1): overflow 'wrap' needs a full-range target, found fixed<4,4>[-7..7]",
        ),
    ],
)  # fmt: skip
def test_refusals_name_node_and_layer(operation: Operation, element: IntegerType, message: str) -> None:
    builder = GraphBuilder("bad")
    x = builder.add(Input((4,), element), name="x")
    with pytest.raises(SpecViolation) as caught:
        builder.add(operation, x, name="y", source="block/1")
    assert str(caught.value) == message


def test_constants_must_be_integers_and_cannot_be_written() -> None:
    with pytest.raises(SpecViolation, match="weights must be integers, found an array of float64"):
        Dense(np.ones((2, 2)))
    with pytest.raises(ValueError, match="read-only"):
        Dense(np.ones((2, 2), int)).weights[0, 0] = 3
