# SPDX-License-Identifier: Apache-2.0
"""Operations of convolutional, branched and recurrent networks against loops over Python integers that follow the page's text."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.sample_graphs import samples
from tests.unit.test_ir_operations import random_integers
from toolchain.errors import SpecViolation
from toolchain.ir import (
    Add,
    Concatenate,
    Constant,
    Conv,
    InsertZeros,
    IntegerType,
    Lookup,
    MaxPool,
    Multiply,
    Operation,
    Pad,
    Scale,
    Slice,
    SumPool,
    TensorType,
    TopK,
    Transpose,
    Upsample,
)  # fmt: skip
from toolchain.ir.operation import storage_dtype

#: One sample: integers; the real value is integer * 2**-fraction.
Sample = np.ndarray


def real(value: int, fraction: int) -> Fraction:
    return Fraction(value) / Fraction(2) ** fraction


def expected_value(operation: Any, x: list[Sample], types: tuple[TensorType, ...], at: tuple[int, ...]) -> Fraction:
    """The real value of the result at one index. Indices and constants are those of the operation's documentation."""
    fractions = [t.element.fraction for t in types]
    if isinstance(operation, Conv):
        *window, per_group, outputs = operation.weights.shape
        *position, o = at
        group = o // (outputs // operation.groups)
        total = 0
        for k in np.ndindex(*window):
            place = [
                p * s + i * d for p, s, i, d in zip(position, operation.strides, k, operation.dilation, strict=True)
            ]
            for i in range(per_group):
                total += x[0][(*place, group * per_group + i)] * int(operation.weights[(*k, i, o)])
        return real(total, fractions[0] + operation.weight_fraction)
    if isinstance(operation, MaxPool | SumPool):
        *position, c = at
        dilation = getattr(operation, "dilation", ()) or (1,) * len(operation.window)
        values = [
            x[0][(*(p * s + i * d for p, s, i, d in zip(position, operation.strides, k, dilation, strict=True)), c)]
            for k in np.ndindex(*operation.window)
        ]
        return real(max(values) if isinstance(operation, MaxPool) else sum(values), fractions[0])
    if isinstance(operation, Pad):
        place = [i - before for i, (before, _) in zip(at, operation.widths, strict=True)]
        inside = all(0 <= i < size for i, size in zip(place, types[0].shape, strict=True))
        return real(x[0][tuple(place)] if inside else operation.value, fractions[0])
    if isinstance(operation, Add | Multiply):
        a, b = (
            real(v[tuple(i if size > 1 else 0 for i, size in zip(at, v.shape, strict=True))], f)
            for v, f in zip(x, fractions, strict=True)
        )
        return a * b if isinstance(operation, Multiply) else a - b if operation.subtract else a + b
    if isinstance(operation, Constant):
        return real(int(operation.values[at]), operation.fraction)
    if isinstance(operation, Concatenate):
        place = list(at)
        for v, f in zip(x, fractions, strict=True):
            if place[operation.axis] < v.shape[operation.axis]:
                return real(v[tuple(place)], f)
            place[operation.axis] -= v.shape[operation.axis]
    if isinstance(operation, Slice):
        return real(
            x[0][tuple(a + i * s for a, i, s in zip(operation.starts, at, operation.steps, strict=True))], fractions[0]
        )
    if isinstance(operation, Upsample):
        return real(x[0][tuple(i // f for i, f in zip(at, operation.factors, strict=True))], fractions[0])
    if isinstance(operation, InsertZeros):
        if any(i % f for i, f in zip(at, operation.factors, strict=True)):
            return Fraction(0)
        return real(x[0][tuple(i // f for i, f in zip(at, operation.factors, strict=True))], fractions[0])
    if isinstance(operation, Transpose):
        place = [0] * len(at)
        for axis, source in enumerate(operation.permutation):
            place[source] = at[axis]
        return real(x[0][tuple(place)], fractions[0])
    if isinstance(operation, Lookup):
        row = operation.table[at[-1] if len(operation.table) > 1 else 0]
        return real(int(row[x[0][at] - operation.first]), operation.fraction)
    if isinstance(operation, Scale):
        factor = operation.factors[at[-1] if len(operation.factors) > 1 else 0]
        return real(x[0][at], fractions[0]) * real(int(factor), operation.fraction)
    if isinstance(operation, TopK):
        row = [x[0][(*at[:-1], c)] for c in range(types[0].channels)]
        return Fraction(sorted(range(len(row)), key=lambda c: (-row[c], c))[at[-1]])
    raise AssertionError(f"no reference for {operation}")


NEW = (
    Add, Concatenate, Constant, Conv, InsertZeros, Lookup, MaxPool, Multiply, Pad, Scale, Slice, SumPool, TopK, Transpose,
    Upsample,
)  # fmt: skip


@pytest.mark.parametrize(("operation", "types"), list(samples(NEW)))
def test_equals_plain_loops(operation: Operation, types: tuple[TensorType, ...], random: np.random.Generator) -> None:
    batch = 6
    inputs = [random_integers(t.element, (batch, *t.shape), random) for t in types]
    result = operation.infer(*types)
    values = operation.evaluate(*inputs, types=types)
    for sample in range(batch if types else 1):
        one = [array[sample].astype(object) for array in inputs]
        for at in np.ndindex(*result.shape):
            found = real(int(values[(sample, *at)]), result.element.fraction)
            assert found == expected_value(operation, one, types, at), (sample, at)


#: Operations whose interval is exactly what some input reaches; `extreme` makes such inputs.
def extremes(operation: Any, types: tuple[TensorType, ...]) -> list[list[np.ndarray]]:
    """Batches of one that together reach both ends of the result's interval."""
    ends = [(t.element.minimum, t.element.maximum) for t in types]
    full = [[np.full((1, *t.shape), v, dtype=object) for v in pair] for t, pair in zip(types, ends, strict=True)]
    if isinstance(operation, Conv):
        found = []
        *window, per_group, outputs = operation.weights.shape
        for o in range(outputs):
            group = o // (outputs // operation.groups)
            for sign in (1, -1):
                x = np.full((1, *types[0].shape), ends[0][0], dtype=object)
                for k in np.ndindex(*window):
                    for i in range(per_group):
                        place = tuple(a * d for a, d in zip(k, operation.dilation, strict=True))
                        wanted = sign * int(operation.weights[(*k, i, o)]) > 0
                        x[(0, *place, group * per_group + i)] = ends[0][wanted]
                found.append([x])
        return found
    if len(types) == 2:
        return [[a, b] for a in full[0] for b in full[1]]
    if isinstance(operation, Lookup):
        return [[np.full((1, *types[0].shape), v, dtype=object)] for v in range(ends[0][0], ends[0][1] + 1)]
    return [list(column) for column in zip(*full, strict=True)]


TIGHT = (
    Add,
    Concatenate,
    Conv,
    InsertZeros,
    Lookup,
    MaxPool,
    Multiply,
    Pad,
    Scale,
    Slice,
    SumPool,
    Transpose,
    Upsample,
)


@pytest.mark.parametrize(("operation", "types"), list(samples(TIGHT)))
def test_the_interval_is_reached(operation: Operation, types: tuple[TensorType, ...]) -> None:
    result = operation.infer(*types).element
    lowest, highest = [], []
    for extreme in extremes(operation, types):
        inputs = [x.astype(storage_dtype(t.element)) for x, t in zip(extreme, types, strict=True)]
        values = operation.evaluate(*inputs, types=types)
        lowest.append(int(values.min()))
        highest.append(int(values.max()))
    assert (min(lowest), max(highest)) == (result.minimum, result.maximum)


def test_conv_in_pieces(monkeypatch: pytest.MonkeyPatch, random: np.random.Generator) -> None:
    """Whole samples, single rows, and all at once give the same; each with strides, dilation and groups."""
    import toolchain.ir.ops.conv as module

    x_type = TensorType((11, 9, 4), IntegerType(True, 6))
    x = random_integers(x_type.element, (7, *x_type.shape), random)
    for groups, inputs, outputs, strides in (
        (1, 4, 6, (2, 3)),
        (1, 4, 3, (1, 1)),
        (2, 2, 6, (1, 2)),
        (4, 1, 8, (1, 1)),
    ):
        operation = Conv(random.integers(-9, 9, (3, 2, inputs, outputs)), strides, (2, 1), groups)
        whole = operation.evaluate(x, types=(x_type,))
        for elements in (1, 200, 1500, 3000):
            monkeypatch.setattr(module, "_PIECE_ELEMENTS", elements)
            assert (operation.evaluate(x, types=(x_type,)) == whole).all()
        monkeypatch.undo()


@pytest.mark.parametrize("groups", [1, 3])
def test_conv_takes_the_widest_path_only_when_it_must(groups: int) -> None:
    """Sums just below and just above what float32, float64 and int64 hold."""
    for width in (11, 12, 25, 26, 27, 31, 32, 63, 64):
        top = (1 << width) - 1
        weights = np.array([[top] * 3, [top - 1, -top, 1]], dtype=object).reshape(2, 1, 3)
        x_type = TensorType((3, groups), IntegerType(False, width))
        x = np.full((1, 3, groups), top, dtype=object)
        x[0, 1, 0] = 1
        operation = Conv(weights, (1,), (1,), groups)
        expected = [
            [sum(x[0, p + k, o if groups > 1 else 0] * weights[k, 0, o] for k in range(2)) for o in range(3)]
            for p in range(2)
        ]
        values = operation.evaluate(x.astype(storage_dtype(x_type.element)), types=(x_type,))
        assert values[0].tolist() == expected


def test_multiplications_are_counted() -> None:
    x = TensorType((5, 6, 4), IntegerType(True, 4))
    assert Conv(np.ones((3, 3, 2, 6), int), (1, 2), (1, 1), 2).multiplications(x) == 3 * 2 * 6 * 3 * 3 * 2
    assert Multiply().multiplications(x, TensorType((1, 6, 1), x.element)) == 5 * 6 * 4
    assert Scale(np.array([3])).multiplications(x) == 5 * 6 * 4
    from toolchain.ir import Dense, Relu

    assert Dense(np.ones((4, 7), int)).multiplications(x) == 5 * 6 * 4 * 7
    assert Relu().multiplications(x) == Add().multiplications(x, x) == 0


ROWS = TensorType((4, 3), IntegerType(True, 4))
PLANE = TensorType((4, 5, 3), IntegerType(True, 4))
LARGE = TensorType((1 << 16, 1 << 15), IntegerType(True, 4))


@pytest.mark.parametrize(
    ("operation", "types", "message"),
    [
        (Conv(np.ones((2, 2, 3, 1), int), (1, 1), (1, 1)), (ROWS,), "a window of 2 axes (2, 2) needs an input of 2 axes and channels, found (4, 3)"),
        (Conv(np.ones((2, 3, 1), int), (1, 1), (1,)), (ROWS,), "strides (1, 1) must have one entry for each of the window's axes (2,)"),
        (Conv(np.ones((2, 3, 1), int), (1,), ()), (ROWS,), "dilation () must have one entry for each of the window's axes (2,)"),
        (Conv(np.ones((3, 3, 1), int), (1,), (2,)), (ROWS,), "a window that covers (5,) does not fit into the input's (4,)"),
        (Conv(np.ones((2, 3, 2), int), (1,), (1,), 2), (ROWS,), "weights take 6 channels in 2 groups, the input's last axis has 3"),
        (Conv(np.ones((2, 1, 4), int), (1,), (1,), 3), (ROWS,), "4 output channels cannot be divided into 3 groups"),
        (MaxPool((2, 2), (1, 1)), (ROWS,), "a window of 2 axes (2, 2) needs an input of 2 axes and channels, found (4, 3)"),
        (SumPool((5,), (1,)), (ROWS,), "a window that covers (5,) does not fit into the input's (4,)"),
        (MaxPool((), ()), (TensorType((3,), ROWS.element),), "a window of 0 axes () needs an input of 0 axes and channels, found (3,)"),
        (Pad(((1, 1),)), (ROWS,), "widths ((1, 1),) must hold (before, after) for each axis of the input's (4, 3)"),
        (Pad(((0, 1 << 31), (0, 0))), (ROWS,), "a tensor has up to 2147483648 elements, found shape (2147483652, 3)"),
        (Add(), (ROWS, PLANE), "operands of shapes (4, 3) and (4, 5, 3): sizes must be equal, or 1, along each of the same axes"),
        (Multiply(), (ROWS, TensorType((4, 2), ROWS.element)), "operands of shapes (4, 3) and (4, 2): sizes must be equal, or 1, along each of the same axes"),
        (Add(), (TensorType((1 << 16, 1), ROWS.element), TensorType((1, 1 << 16), ROWS.element)), "a tensor has up to 2147483648 elements, found shape (65536, 65536)"),
        (Concatenate(2), (ROWS, ROWS), "axis 2 must be one of the 2 axes of (4, 3), from 0"),
        (Concatenate(1), (ROWS, TensorType((5, 3), ROWS.element)), "operands of shapes (4, 3), (5, 3) must be equal in all axes but 1"),
        (Concatenate(0), (LARGE, LARGE), "a tensor has up to 2147483648 elements, found shape (131072, 32768)"),
        (Slice((0,), (1,), (1,)), (ROWS,), "starts, stops and steps must have one entry for each axis of the input's (4, 3)"),
        (Slice((2, 0), (2, 3), (1, 1)), (ROWS,), "0 <= start < stop <= size must hold along each axis, found starts (2, 0), stops (2, 3) in (4, 3)"),
        (Slice((0, 0), (4, 4), (1, 1)), (ROWS,), "0 <= start < stop <= size must hold along each axis, found starts (0, 0), stops (4, 4) in (4, 3)"),
        (Upsample((2,)), (ROWS,), "factors (2,) must have one entry for each axis of the input's (4, 3)"),
        (Upsample((1 << 30, 1)), (ROWS,), "a tensor has up to 2147483648 elements, found shape (4294967296, 3)"),
        (InsertZeros((2,)), (ROWS,), "factors (2,) must have one entry for each axis of the input's (4, 3)"),
        (InsertZeros((1 << 31, 1)), (ROWS,), "a tensor has up to 2147483648 elements, found shape (6442450945, 3)"),
        (Transpose((0, 0)), (ROWS,), "permutation (0, 0) must hold each of the 2 axes of the input's (4, 3) once"),
        (Lookup(np.zeros((2, 16), int), -8), (ROWS,), "the table has 2 channels, the input's last axis has 3; allowed: 1 or that"),
        (Lookup(np.zeros((1, 16), int), -7), (ROWS,), "the table covers [-7, 8], the input's interval is [-8, 7]"),
        (Lookup(np.zeros((1, 15), int), -8), (ROWS,), "the table covers [-8, 6], the input's interval is [-8, 7]"),
        (Scale(np.array([1, 2])), (ROWS,), "there are 2 factors, the input's last axis has 3; allowed: 1 or that"),
        (TopK(4), (ROWS,), "k must be 1 to 3, the size of the input's last axis, found 4"),
        (Constant(np.ones((1,) * 17, int)), (), "a tensor has up to 16 axes, found 17"),
    ],
)  # fmt: skip
def test_refusals(operation: Operation, types: tuple[TensorType, ...], message: str) -> None:
    with pytest.raises(SpecViolation) as caught:
        operation.infer(*types)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv(np.ones((2, 1), int), (1,), (1,)), "weights must have 3 or 4 axes and at least one value, found shape (2, 1)"),
        (lambda: Conv(np.ones((2, 1, 1)), (1,), (1,)), "weights must be integers, found an array of float64"),
        (lambda: Conv(np.ones((2, 1, 1), int), (0,), (1,)), "strides must lie in 1 to 2147483648, found (0,)"),
        (lambda: Conv(np.ones((2, 1, 1), int), (1,), (1 << 40,)), "dilation must lie in 1 to 2147483648, found (1099511627776,)"),
        (lambda: Conv(np.ones((2, 1, 1), int), (1,), (1,), 0), "groups must lie in 1 to 2147483648, found (0,)"),
        (lambda: Conv(np.ones((2, 1, 1), int), (1.5,), (1,)), "strides must be integers, found (1.5,)"),  # type: ignore[arg-type]
        (lambda: Pad(((-1, 0),)), "widths must lie in 0 to 2147483648, found (-1, 0)"),
        (lambda: Pad(((0, 0),), 0.5), "value must be an integer, found 0.5"),  # type: ignore[arg-type]
        (lambda: Constant(np.zeros(()).astype(int)), "values must have one or more axes and at least one value, found shape ()"),
        (lambda: Constant(np.zeros(2, int), 1 << 40), "fraction must lie in +-4096, found 1099511627776"),
        (lambda: Concatenate(-1), "axis must lie in 0 to 2147483648, found (-1,)"),
        (lambda: TopK(0), "k must lie in 1 to 2147483648, found (0,)"),
        (lambda: Lookup(np.zeros((1, 2), int), True), "first must be an integer, found True"),
        (lambda: Scale(np.zeros((1, 2), int)), "factors must have 1 axes and at least one value, found shape (1, 2)"),
    ],
)  # fmt: skip
def test_fields_are_checked(make: Callable[[], Operation], message: str) -> None:
    with pytest.raises(SpecViolation) as caught:
        make()
    assert str(caught.value) == message


def test_numpy_integers_become_python_integers() -> None:
    """Fields that NumPy computed can be written into a file."""
    one = np.int64(1)
    conv = Conv(np.ones((1, 1, 1), int), np.array([1]), (one,), one, one)  # type: ignore[arg-type]
    assert [type(v) for v in (*conv.strides, *conv.dilation, conv.groups, conv.weight_fraction)] == [int] * 4
    assert type(Pad(np.ones((1, 2), int), one).value) is int  # type: ignore[arg-type]
    assert type(TopK(one).k) is int  # type: ignore[arg-type]
