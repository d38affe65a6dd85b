# SPDX-License-Identifier: Apache-2.0
"""Random networks on images and lines of pixels: convolutions of every kind, pools, branches, resampling, tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.equivalence.rtl_bundle import Member
from toolchain.ir import (
    Add,
    AddBias,
    ArgMax,
    Concatenate,
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
    Upsample,
)
from toolchain.passes.choose_folding import default_cycles_per_frame

#: Elements of a tensor above which a network is not made larger any more.
_LARGEST = 600


class _Network:
    """A network in the making; `tensor` is what the next operation takes."""

    def __init__(self, name: str, random: np.random.Generator) -> None:
        self.builder, self.random, self.prefix, self.count = GraphBuilder(name), random, name, 0
        shape = (int(random.integers(4, 8)), int(random.integers(4, 8)), int(random.integers(1, 5)))
        if random.random() < 0.25:
            shape = (int(random.integers(6, 20)), int(random.integers(1, 5)))
        self.types: dict[str, TensorType] = {}
        self.tensor = self.add(Input(shape, self.element()))

    def add(self, operation: Operation, *tensors: str) -> str:
        name = self.builder.add(operation, *tensors, name=f"{self.prefix}_{self.count}_{operation.kind}")
        self.types[name] = operation.infer(*(self.types[tensor] for tensor in tensors))
        self.count += 1
        return name

    def element(self) -> IntegerType:
        return IntegerType(
            bool(self.random.random() < 0.6), int(self.random.integers(2, 6)), int(self.random.integers(-1, 3))
        )

    def activation(self, tensor: str) -> str:
        """Back to few bits, in one of the ways that there are."""
        random, kind = self.random, self.types[tensor]
        low, high = kind.element.minimum, kind.element.maximum
        if random.random() < 0.4 and high - low < 1 << 40:
            rows = kind.channels if random.random() < 0.7 else 1
            steps = np.sort(random.integers(low, high + 2, (rows, int(random.integers(1, 8)))), axis=1)
            return self.add(Threshold(steps, int(random.integers(-3, 3))), tensor)
        if random.random() < 0.3:
            tensor = self.add(Relu(), tensor)
        rounding, overflow = random.choice(list(Rounding)), random.choice([Overflow.SATURATE, Overflow.WRAP])
        narrow = self.element()
        shift = max(0, (high - low).bit_length() - narrow.width - int(random.integers(0, 2)))
        target = IntegerType(narrow.signed, narrow.width, kind.element.fraction - shift)
        tensor = self.add(Requantise(target, rounding, overflow), tensor)
        kind = self.types[tensor]
        if random.random() < 0.2:
            size = kind.element.maximum - kind.element.minimum + 1
            rows = kind.channels if random.random() < 0.5 else 1
            tensor = self.add(Lookup(random.integers(-8, 8, (rows, size)), kind.element.minimum), tensor)
        return tensor

    def convolution(self, tensor: str, *, keep_size: bool = False) -> str:
        random, shape = self.random, self.types[tensor].shape
        axes, channels = len(shape) - 1, shape[-1]
        window = tuple(int(random.integers(1, min(3, size) + 1)) for size in shape[:-1])
        dilation = tuple(
            2 if not keep_size and size > 2 * (k - 1) + 1 and random.random() < 0.2 else 1
            for k, size in zip(window, shape[:-1], strict=True)
        )
        strides = tuple(1 if keep_size else int(random.choice([1, 1, 2])) for _ in range(axes))
        if keep_size or random.random() < 0.5:
            widths = tuple(((k - 1) // 2, k // 2) for k in window)
            if any(any(pair) for pair in widths):
                value = self.types[tensor].element.minimum if random.random() < 0.2 else 0
                tensor = self.add(Pad((*widths, (0, 0)), value), tensor)
        kind = random.random()
        groups, outputs = 1, channels if keep_size else int(random.integers(1, 7))
        if kind < 0.3:
            groups = outputs = channels
        elif kind < 0.4 and channels % 2 == 0:
            groups, outputs = 2, channels if keep_size else 2 * int(random.integers(1, 4))
        weights = random.integers(-4, 4, (*window, channels // groups, outputs))
        tensor = self.add(Conv(weights, strides, dilation, groups, int(random.integers(0, 3))), tensor)
        if random.random() < 0.5:
            tensor = self.add(AddBias(random.integers(-9, 9, outputs), int(random.integers(0, 4))), tensor)
        return self.activation(tensor)

    def pool(self, tensor: str) -> str:
        shape = self.types[tensor].shape
        window = tuple(int(self.random.integers(1, min(3, size) + 1)) for size in shape[:-1])
        strides = tuple(int(self.random.integers(1, 3)) for _ in window)
        if self.random.random() < 0.6:
            return self.add(MaxPool(window, strides), tensor)
        return self.activation(self.add(SumPool(window, strides), tensor))

    def branches(self, tensor: str) -> str:
        """Two ways from one tensor, joined again."""
        random = self.random
        left = self.convolution(tensor, keep_size=True)
        right = self.convolution(tensor, keep_size=True) if random.random() < 0.4 else tensor
        choice = random.random()
        if choice < 0.5:
            return self.activation(self.add(Add(bool(random.random() < 0.3)), left, right))
        if choice < 0.65:
            return self.activation(self.add(Multiply(), right, left))
        operands = [left, right, tensor] if random.random() < 0.3 else [right, left]
        return self.add(Concatenate(int(random.integers(0, len(self.types[tensor].shape)))), *operands)

    def resample(self, tensor: str) -> str:
        random, shape = self.random, self.types[tensor].shape
        axes, choice = len(shape) - 1, random.random()
        factors = (*(int(random.integers(1, 3)) for _ in range(axes)), 1)
        if choice < 0.35:
            return self.add(Upsample(factors), tensor)
        if choice < 0.6:
            return self.add(InsertZeros(factors), tensor)
        starts = tuple(int(random.integers(0, size)) for size in shape)
        stops = tuple(int(random.integers(start + 1, size + 1)) for start, size in zip(starts, shape, strict=True))
        return self.add(Slice(starts, stops, tuple(int(random.integers(1, 3)) for _ in shape)), tensor)

    def grow(self) -> None:
        kind = self.types[self.tensor]
        steps = [self.convolution, self.convolution, self.pool, self.resample]
        if kind.size <= _LARGEST // 2:
            steps += [self.branches, self.branches]
        step = steps[int(self.random.integers(len(steps)))]
        self.tensor = step(self.tensor)
        if self.random.random() < 0.15:
            channels = self.types[self.tensor].channels
            scaled = self.add(Scale(self.random.integers(-5, 6, channels), 2), self.tensor)
            self.tensor = self.activation(scaled)

    def finish(self) -> Graph:
        random, shape = self.random, self.types[self.tensor].shape
        if len(shape) > 1 and random.random() < 0.5:
            self.tensor = self.add(SumPool(shape[:-1], shape[:-1]), self.tensor)
        if random.random() < 0.8:
            size = self.types[self.tensor].size
            self.tensor = self.add(Reshape((size,)), self.tensor)
            self.tensor = self.add(Dense(random.integers(-4, 4, (size, int(random.integers(2, 6))))), self.tensor)
            choice, channels = random.random(), self.types[self.tensor].channels
            if choice < 0.3:
                self.tensor = self.add(ArgMax(), self.tensor)
            elif choice < 0.5:
                self.tensor = self.add(TopK(int(random.integers(1, channels + 1))), self.tensor)
        self.builder.output(self.tensor)
        return self.builder.build()


def image_members(seeds: range) -> Iterator[Member]:
    """A network for each seed, folded for a pace between the fastest by default and one eight times slower."""
    for seed in seeds:
        random = np.random.default_rng(seed)
        network = _Network(f"image_{seed}", random)
        for _ in range(int(random.integers(1, 5))):
            if network.types[network.tensor].size <= _LARGEST:
                network.grow()
        graph = network.finish()
        pace = int(default_cycles_per_frame(graph) * random.choice([1.0, 1.3, 2.0, 8.0]))
        yield Member(graph.name, graph, cycles_per_frame=pace)
