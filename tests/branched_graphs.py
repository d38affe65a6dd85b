# SPDX-License-Identifier: Apache-2.0
"""Small networks with branches, whose ways from fork to join take different times: what the sizes of FIFOs depend on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolchain.ir import (
    Add,
    Concatenate,
    Conv,
    Dense,
    Graph,
    GraphBuilder,
    Input,
    IntegerType,
    Overflow,
    Pad,
    Requantise,
    Rounding,
)


class _Drawing:
    def __init__(self, name: str, channels: int = 2, size: int = 6) -> None:
        self.builder, self.random, self.count = GraphBuilder(name), np.random.default_rng(1), 0
        self.prefix = name
        self.x = self.builder.add(Input((size, size, channels), IntegerType(True, 4)), name=f"{name}_x")

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{self.prefix}_{kind}{self.count}"

    def conv(self, tensor: str, window: int = 3, stride: int = 1, outputs: int = 2) -> str:
        """A convolution that keeps the size of the image but for its stride, and eight bits behind it."""
        channels = self.builder.type(tensor).channels
        if window > 1:
            border = (window // 2, window // 2)
            tensor = self.builder.add(Pad((border, border, (0, 0))), tensor, name=self._name("pad"))
        weights = self.random.integers(-3, 4, (window, window, channels, outputs))
        tensor = self.builder.add(Conv(weights, (stride, stride), (1, 1)), tensor, name=self._name("conv"))
        narrow = Requantise(IntegerType(True, 8), Rounding.TRUNCATE, Overflow.SATURATE)
        return self.builder.add(narrow, tensor, name=self._name("narrow"))

    def add(self, left: str, right: str) -> str:
        return self.builder.add(Add(), left, right, name=self._name("add"))

    def finished(self, tensor: str) -> Graph:
        self.builder.output(tensor)
        return self.builder.build()


def residual() -> Graph:
    """One convolution and nothing beside it."""
    d = _Drawing("residual")
    return d.finished(d.add(d.conv(d.x), d.x))


def nested() -> Graph:
    """A residual block inside one way of another."""
    d = _Drawing("nested")
    inner = d.conv(d.x)
    return d.finished(d.add(d.conv(d.add(d.conv(inner), inner)), d.x))


def unequal() -> Graph:
    """Three convolutions beside one of a single pixel."""
    d = _Drawing("unequal")
    return d.finished(d.add(d.conv(d.conv(d.conv(d.x))), d.conv(d.x, window=1)))


def downsampling() -> Graph:
    """A strided convolution and another beside a strided one of a single pixel, as in ResNet."""
    d = _Drawing("downsampling")
    return d.finished(d.add(d.conv(d.conv(d.x, stride=2)), d.conv(d.x, window=1, stride=2)))


def joined() -> Graph:
    """One tensor read three times, two of them by concatenations."""
    d = _Drawing("joined")
    wide = d.builder.add(Concatenate(2), d.conv(d.x), d.x, name="joined_wide")
    return d.finished(d.builder.add(Concatenate(2), wide, d.x, name="joined_all"))


def chain() -> Graph:
    """No branch: FIFOs let layers work on different frames."""
    builder, random = GraphBuilder("chain"), np.random.default_rng(2)
    x = builder.add(Input((12,), IntegerType(True, 4)), name="chain_x")
    for layer, (inputs, outputs) in enumerate(((12, 8), (8, 9), (9, 3))):
        x = builder.add(Dense(random.integers(-3, 4, (inputs, outputs))), x, name=f"chain_fc{layer}")
        narrow = Requantise(IntegerType(True, 4), Rounding.TRUNCATE, Overflow.SATURATE)
        x = builder.add(narrow, x, name=f"chain_narrow{layer}")
    builder.output(x)
    return builder.build()


BRANCHED: dict[str, Callable[[], Graph]] = {
    make.__name__: make for make in (residual, nested, unequal, downsampling, joined)
}
