# SPDX-License-Identifier: Apache-2.0
"""Conv: convolution with constant weights over one or two spatial axes, exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from toolchain.errors import SpecViolation
from toolchain.ir.operation import Operation, binary_point, constant, integers, operation, storage_dtype, stored
from toolchain.ir.products import WeightedSums, product_dtype
from toolchain.ir.types import IntegerType, TensorType
from toolchain.ir.windows import window_patches, window_positions, window_taps

#: Elements of the patches that one piece of work may hold: a few MB, which stay in the cache.
_PIECE_ELEMENTS = 1 << 20


@operation("conv")
@dataclass(frozen=True, eq=False)
class Conv(WeightedSums):
    """``y[p, o] = sum_{k, i} x[p * strides + k * dilation, g * n + i] * weights[k, i, o]``, without loss.

    p runs over the positions and k over the window, along one or two spatial axes; i over the n input channels of a group;
    ``g = o // (outputs / groups)`` is the group of output o. Nothing is padded (`pad` is an operation of its own): an axis of
    `size` has ``(size - (window - 1) * dilation - 1) // strides + 1`` positions. The window is not mirrored, as in all
    frameworks.

    weights: integers of shape (window..., input channels / groups, outputs), one or two window axes; the real weight is
        ``weights * 2**-weight_fraction``.
    strides, dilation: one entry per spatial axis, 1 or more.
    groups: a divisor of the numbers of input and of output channels.

    The result's fraction is the sum of both fractions; its interval is what these weights can reach for any input in
    the input's interval.
    """

    weights: np.ndarray
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    weight_fraction: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", constant(self.weights, (3, 4), "weights"))
        object.__setattr__(self, "strides", integers(self.strides, "strides", 1))
        object.__setattr__(self, "dilation", integers(self.dilation, "dilation", 1))
        object.__setattr__(self, "groups", *integers((self.groups,), "groups", 1))
        object.__setattr__(self, "weight_fraction", binary_point(self.weight_fraction, "weight_fraction"))

    @property
    def window(self) -> tuple[int, ...]:
        """The kernel's size along each spatial axis."""
        return self.weights.shape[:-2]

    @property
    def input_channels(self) -> int:
        return self.weights.shape[-2] * self.groups

    @property
    def output_channels(self) -> int:
        return self.weights.shape[-1]

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        positions = window_positions(x.shape, self.window, self.strides, self.dilation)
        if x.channels != self.input_channels:
            raise SpecViolation(
                f"weights take {self.input_channels} channels in {self.groups} groups, the input's last axis has {x.channels}"
            )
        if self.output_channels % self.groups:
            raise SpecViolation(f"{self.output_channels} output channels cannot be divided into {self.groups} groups")
        return TensorType((*positions, self.output_channels), self.result_element(x.element))

    def evaluate(self, *inputs: np.ndarray, types: tuple[TensorType, ...]) -> np.ndarray:
        (x,), (x_type,) = inputs, types
        result = self.infer(x_type)
        dtype = product_dtype(self.bound(x_type.element))
        weights: np.ndarray = self.weights.astype(dtype)
        y: np.ndarray = np.empty((len(x), *result.shape), dtype=storage_dtype(result.element))
        apply = self._apply_depthwise if self.weights.shape[-2] == 1 and self.groups > 1 else self._apply
        # Pieces are whole samples, or rows of positions where one sample's patches are too many.
        rows = result.shape[0]
        per_row = prod(result.shape[1:-1]) * prod(self.window) * x_type.channels
        rows_of_piece = min(rows, max(1, _PIECE_ELEMENTS // per_row))
        samples = max(1, _PIECE_ELEMENTS // (per_row * rows)) if rows_of_piece == rows else 1
        span = (self.window[0] - 1) * self.dilation[0] + 1
        for sample in range(0, len(x), samples):
            for row in range(0, rows, rows_of_piece):
                last = min(row + rows_of_piece, rows) - 1
                piece = x[sample : sample + samples, row * self.strides[0] : last * self.strides[0] + span]
                sums = apply(piece.astype(dtype, copy=False), weights)
                y[sample : sample + samples, row : last + 1] = sums
        return stored(y, result.element)

    def _apply(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """One matrix product a group, of the patches under the window's positions and the weights."""
        patches = window_patches(x, self.window, self.strides, self.dilation)
        positions = patches.shape[: len(self.window) + 1]
        if self.groups == 1:
            return (patches.reshape(prod(positions), -1) @ weights.reshape(-1, weights.shape[-1])).reshape(
                *positions, -1
            )
        split = patches.reshape(prod(positions), prod(self.window), self.groups, -1)
        grouped = np.moveaxis(split, 2, 0).reshape(self.groups, prod(positions), -1)
        columns = np.moveaxis(weights.reshape(grouped.shape[-1], self.groups, -1), 1, 0)
        return np.moveaxis(grouped @ columns, 0, 1).reshape(*positions, -1)

    def _apply_depthwise(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Groups of one input channel: products element by element, summed over the window's taps."""
        multiplier = self.output_channels // self.groups
        total: np.ndarray | None = None
        for index, tap in window_taps(x, self.window, self.strides, self.dilation):
            factors = weights[index][0]
            term = (tap if multiplier == 1 else np.repeat(tap, multiplier, axis=-1)) * factors
            total = term if total is None else np.add(total, term, out=total)
        assert total is not None
        return total

    def multiplications(self, *types: TensorType) -> int:
        return prod(self.infer(*types).shape[:-1]) * self.weights.size

    @classmethod
    def samples(cls) -> Iterator[tuple[Operation, tuple[TensorType, ...]]]:
        random = np.random.default_rng(4)

        def weights(bits: int, *shape: int) -> np.ndarray:
            return random.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)

        image = TensorType((5, 6, 2), IntegerType(True, 4, 2))
        yield cls(weights(4, 3, 3, 2, 4), (1, 1), (1, 1), 1, 3), (image,)
        yield cls(weights(3, 3, 2, 2, 3), (2, 1), (1, 2)), (image,)
        yield cls(weights(3, 2, 3, 2, 3), (3, 3), (4, 2), 1, -2), (image,)
        yield cls(weights(3, 1, 1, 2, 3), (1, 1), (1, 1)), (image,)
        yield cls(weights(3, 5, 6, 2, 3), (1, 1), (1, 1)), (image,)
        yield cls(np.zeros((2, 2, 2, 1), np.int64), (1, 1), (1, 1)), (image,)
        yield cls(random.integers(0, 2, (2, 2, 1, 3)), (2, 2), (1, 1)), (TensorType((4, 4, 1), IntegerType(False, 1)),)
        shifted = TensorType((4, 5, 4), IntegerType(False, 4, 1, 3, 9))
        yield cls(weights(4, 3, 3, 2, 6), (1, 1), (1, 1), 2, 1), (shifted,)
        yield cls(weights(4, 3, 3, 1, 4), (1, 2), (1, 1), 4, 1), (shifted,)
        yield cls(weights(4, 2, 2, 1, 12), (2, 2), (2, 1), 4, 1), (shifted,)
        series = TensorType((9, 3), IntegerType(True, 5, 3))
        yield cls(weights(4, 4, 3, 2), (2,), (2,), 1, 4), (series,)
        yield cls(weights(4, 3, 1, 6), (1,), (1,), 3, 4), (series,)
        for bits, width in ((16, 16), (30, 30), (40, 50)):  # sums past 2**24, past 2**53, and past 2**63
            yield cls(weights(bits, 2, 2, 2, 2), (1, 1), (1, 1)), (TensorType((3, 3, 2), IntegerType(True, width)),)
            yield cls(weights(bits, 2, 1, 2), (1,), (1,), 2), (TensorType((3, 2), IntegerType(True, width)),)
