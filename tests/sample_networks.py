# SPDX-License-Identifier: Apache-2.0
"""Whole networks for all tests that run a graph somewhere else: one of the usual kind, and random ones of all operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from toolchain.ir import (
    Add,
    AddBias,
    ArgMax,
    Concatenate,
    Constant,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    InsertZeros,
    IntegerType,
    Lookup,
    MaxPool,
    Multiply,
    Operation,
    Overflow,
    Pad,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    Scale,
    Slice,
    SumPool,
    TensorType,
    Threshold,
    TopK,
    Transpose,
    Upsample,
    interpret,
)

#: Results beyond this are brought back to few bits, so that a network stays within float32.
_WIDEST = 1 << 10
#: Elements of a sample up to which operations that make samples larger are taken.
_LARGEST = 600


def feeds_for(graph: Graph, count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """`count` samples for each input, by name: all at the lowest value, all at the highest, random ones, and dark ones.

    Of two samples one has random values in the whole interval, the next only up to a random place in it.
    """
    feeds: dict[str, np.ndarray] = {}
    for node in graph.inputs:
        tensor = graph.types[node.name]
        low, high = tensor.element.minimum, tensor.element.maximum
        tops = np.where(np.arange(count) % 2, random.integers(low, high, count, endpoint=True), high)
        each = tops.reshape(-1, *(1 for _ in tensor.shape))
        feeds[node.name] = random.integers(low, each, (count, *tensor.shape), endpoint=True)
        feeds[node.name][0], feeds[node.name][1] = low, high
    return feeds


def steps(element: IntegerType, levels: int, rows: int, random: np.random.Generator) -> np.ndarray:
    """Ascending thresholds of shape (rows, levels) in the middle of a type's interval, where most sums lie."""
    low, high = (element.minimum * 3 + element.maximum) // 4, (element.minimum + element.maximum * 3) // 4
    return np.sort(random.integers(low, high, (rows, levels), endpoint=True), axis=1)


def residual_classifier(random: np.random.Generator, groups: int = 2) -> Graph:
    """Image (channels first for the user) -> conv, threshold, pool, residual add, concatenation, global average, dense, argmax.

    groups: of one of the convolutions, 1, 2 or 4.
    """
    builder = GraphBuilder("residual")

    def weights(*shape: int) -> np.ndarray:
        return random.integers(-4, 4, shape)

    def activation(x: str, name: str) -> str:
        element, channels = builder.type(x).element, builder.type(x).channels
        return builder.add(Threshold(steps(element, 7, channels, random), 0, 2), x, name=name, source=name)

    pad = Pad(((1, 1), (1, 1), (0, 0)))
    x = builder.add(Input((12, 10, 3), IntegerType(False, 8, 8), scale=0.5, axes=(1, 2, 0)), name="image", source="in")
    x = builder.add(Conv(weights(3, 3, 3, 8), (1, 1), (1, 1), 1, 3), builder.add(pad, x, name="pad1"), name="conv1")
    x = builder.add(AddBias(random.integers(-99, 99, 8), 9), x, name="bias1", source="conv1")
    x = builder.add(MaxPool((2, 2), (2, 2)), activation(x, "act1"), name="pool1", source="pool1")
    inner = builder.add(
        Conv(weights(3, 3, 1, 8), (1, 1), (1, 1), 8, 2), builder.add(pad, x, name="pad2"), name="depthwise"
    )
    inner = builder.add(Conv(weights(1, 1, 8, 8), (1, 1), (1, 1), 1, 2), activation(inner, "act2"), name="pointwise")
    quantiser = Requantise(IntegerType(True, 6, 2), Rounding.HALF_EVEN, Overflow.SATURATE)
    inner = builder.add(quantiser, inner, name="quantise")
    x = builder.add(Relu(), builder.add(Add(), x, inner, name="residual", source="add"), name="relu")
    side = builder.add(Conv(weights(1, 1, 8 // groups, 4), (1, 1), (1, 1), groups), x, name="grouped")
    x = builder.add(Concatenate(2), x, activation(side, "act3"), name="joined", source="concatenate")
    x = builder.add(SumPool((6, 5), (1, 1)), x, name="average", source="pool2")
    features = builder.add(Reshape((12,)), x, name="flat", source="flatten")
    builder.output(x, name="features", axes=(2, 0, 1))
    # A bias that brings all scores near 0, so that different samples have different classes.
    partial = builder.build()
    matrix = weights(12, 5)
    usual = interpret(partial, feeds_for(partial, 64, random))[x].reshape(64, -1).mean(axis=0)
    bias = -np.rint(usual @ matrix).astype(np.int64)
    x = builder.add(AddBias(bias, 6), builder.add(Dense(matrix, 4), features, name="dense"), name="scores", source="fc")
    builder.output(x, name="logits", scale=0.25, host_function="softmax")
    builder.output(builder.add(ArgMax(), x, name="class"), name="class")
    return builder.build()


def random_network(random: np.random.Generator, nodes: int = 14) -> Graph:
    """Operations in random order on up to two inputs, with branches, constants and one to three outputs."""
    return _Grower(random).grow(nodes)


class _Grower:
    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.builder = GraphBuilder("random")
        self.names: list[str] = []

    def grow(self, nodes: int) -> Graph:
        for number in range(1 + self.below(2)):
            shape = tuple(int(n) for n in self.random.integers(1, 7, self.random.choice([1, 2, 3, 3, 3])))
            bits = 1 + self.below(5)
            axes = tuple(int(a) for a in self.random.permutation(len(shape))) if self.below(2) else ()
            operation = Input(shape, IntegerType(bool(self.below(2)), bits, self.below(4)), axes=axes)
            self.names.append(self.builder.add(operation, name=f"in{number}"))
        makers = list(_MAKERS.values())
        while len(self.names) < nodes:
            makers[self.below(len(makers))](self)
        last = self.pick()
        ends = dict.fromkeys([self.names[-1], *(self.pick() for _ in range(self.below(3)))])
        if self.below(2):
            channels = self.builder.type(last).channels
            operation = ArgMax() if self.below(2) else TopK(1 + self.below(channels))
            ends[self.builder.add(operation, last, name="selected")] = None
        for number, name in enumerate(ends):
            axes = tuple(int(a) for a in self.random.permutation(len(self.builder.type(name).shape)))
            self.builder.output(name, name=f"out{number}", axes=axes if self.below(2) else ())
        return self.builder.build()

    def below(self, limit: int) -> int:
        return int(self.random.integers(limit))

    def pick(self) -> str:
        """A result, more often a late one."""
        late = self.names[-3:]
        return late[self.below(len(late))] if self.below(4) else self.names[self.below(len(self.names))]

    def type(self, name: str) -> TensorType:
        return self.builder.type(name)

    def add(self, operation: Operation, *operands: str) -> str:
        name = self.builder.add(operation, *operands, name=operation.kind, source=f"layer {len(self.names)}")
        if self.type(name).element.magnitude > _WIDEST:
            element = self.type(name).element
            target = IntegerType(element.minimum < 0, 5, element.fraction - element.width + 5)
            rounding = list(Rounding)[self.below(len(Rounding))]
            name = self.builder.add(Requantise(target, rounding, Overflow.SATURATE), name, name="narrowed")
        self.names.append(name)
        return name

    def integers(self, *shape: int) -> np.ndarray:
        return self.random.integers(-4, 5, shape)

    def windows(self, spatial: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        window = tuple(1 + self.below(min(3, size)) for size in spatial)
        return window, tuple(1 + self.below(2) for _ in spatial)


def _conv(g: _Grower) -> None:
    x = g.pick()
    *spatial, channels = g.type(x).shape
    if len(spatial) not in (1, 2):
        return
    window, strides = g.windows(tuple(spatial))
    dilation = tuple(
        2 if size >= 2 * (k - 1) + 1 and g.below(2) else 1 for size, k in zip(spatial, window, strict=True)
    )
    groups = int(g.random.choice([n for n in range(1, channels + 1) if channels % n == 0]))
    weights = g.integers(*window, channels // groups, groups * (1 + g.below(2)))
    g.add(Conv(weights, strides, dilation, groups, g.below(3)), x)


def _pool(g: _Grower) -> None:
    x = g.pick()
    spatial = g.type(x).shape[:-1]
    if 1 <= len(spatial) <= 3:
        window, strides = g.windows(spatial)
        g.add((MaxPool if g.below(2) else SumPool)(window, strides), x)


def _pad(g: _Grower) -> None:
    x = g.pick()
    tensor = g.type(x)
    widths = [tuple(int(n) for n in g.random.integers(0, 3, 2)) for _ in tensor.shape]
    if g.below(3):
        widths[-1] = (0, 0)
    if prod(size + sum(pair) for size, pair in zip(tensor.shape, widths, strict=True)) <= _LARGEST:
        value = [0, tensor.element.minimum, tensor.element.maximum + 1, -3][g.below(4)]
        padded = g.add(Pad(tuple(widths), value), x)
        if g.below(2):  # as it usually stands: under a window
            g.names.append(padded)
            (_pool if g.below(2) else _conv)(g)
            g.names.remove(padded)


def _binary(g: _Grower) -> None:
    x = g.pick()
    shape = g.type(x).shape
    fitting = [
        name
        for name in g.names
        if len(g.type(name).shape) == len(shape)
        and all(m == n or 1 in (m, n) for m, n in zip(g.type(name).shape, shape, strict=True))
    ]
    y = fitting[g.below(len(fitting))]
    if g.below(3) == 0:
        sizes = tuple(size if g.below(2) else 1 for size in shape)
        y = g.builder.add(Constant(g.integers(*sizes), g.below(3)), name="constant")
    operation = [Add(), Add(True), Multiply()][g.below(3)]
    if prod(max(m, n) for m, n in zip(shape, g.type(y).shape, strict=True)) <= _LARGEST:
        g.add(operation, *((x, y) if g.below(2) else (y, x)))


def _concatenate(g: _Grower) -> None:
    x = g.pick()
    shape = g.type(x).shape
    axis = g.below(len(shape))
    others = (*shape[:axis], *shape[axis + 1 :])
    fitting = [
        name
        for name in g.names
        if len(g.type(name).shape) == len(shape)
        and (*g.type(name).shape[:axis], *g.type(name).shape[axis + 1 :]) == others
    ]
    chosen = [x, *(fitting[g.below(len(fitting))] for _ in range(g.below(3)))]
    if g.below(3) == 0:
        sizes = (*shape[:axis], 2, *shape[axis + 1 :])
        chosen.append(g.builder.add(Constant(g.integers(*sizes), g.below(3)), name="constant"))
    if sum(prod(g.type(name).shape) for name in chosen) <= _LARGEST:
        g.add(Concatenate(axis), *chosen)


def _slice(g: _Grower) -> None:
    x = g.pick()
    bounds = [(low := g.below(size), low + 1 + g.below(size - low), 1 + g.below(2)) for size in g.type(x).shape]
    starts, stops, strides = zip(*bounds, strict=True)
    g.add(Slice(starts, stops, strides), x)


def _spread(g: _Grower) -> None:
    x = g.pick()
    factors = tuple(1 + g.below(3) for _ in g.type(x).shape)
    if g.type(x).size * prod(factors) <= _LARGEST:
        g.add((Upsample if g.below(2) else InsertZeros)(factors), x)


def _rearrange(g: _Grower) -> None:
    x = g.pick()
    shape = g.type(x).shape
    if g.below(2):
        g.add(Transpose(tuple(int(a) for a in g.random.permutation(len(shape)))), x)
    else:
        size, split = prod(shape), 1 + g.below(4)
        g.add(Reshape((size // split, split) if size % split == 0 and g.below(2) else (size,)), x)


def _element_wise(g: _Grower) -> None:
    x = g.pick()
    tensor = g.type(x)
    element, rows = tensor.element, tensor.channels if g.below(2) else 1
    choices: list[Callable[[], Operation]] = [
        lambda: Threshold(steps(element, 1 + g.below(6), rows, g.random), -g.below(4), g.below(3)),
        lambda: Lookup(g.integers(rows, element.maximum - element.minimum + 1), element.minimum, g.below(3)),
        lambda: Scale(g.integers(rows), g.below(3)),
        lambda: AddBias(g.integers(tensor.channels), g.below(5)),
        lambda: Relu(None if g.below(2) else g.below(3), None if g.below(2) else g.below(6)),
        lambda: Requantise(
            IntegerType(True, 2 + g.below(4), element.fraction - 1 + g.below(3)),
            list(Rounding)[g.below(len(Rounding))],
            list(Overflow)[g.below(len(Overflow))],
        ),
    ]
    if element.maximum - element.minimum < 1 << 10 and len(tensor.shape) <= 3:
        g.add(choices[g.below(len(choices))](), x)


def _dense(g: _Grower) -> None:
    x = g.pick()
    g.add(Dense(g.integers(g.type(x).channels, 1 + g.below(5)), g.below(3)), x)


_MAKERS: Mapping[str, Callable[[_Grower], None]] = {
    "conv": _conv, "pool": _pool, "pad": _pad, "binary": _binary, "concatenate": _concatenate, "slice": _slice,
    "table": _element_wise, "spread": _spread, "rearrange": _rearrange, "element_wise": _element_wise, "dense": _dense,
}  # fmt: skip
