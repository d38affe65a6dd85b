# SPDX-License-Identifier: Apache-2.0
"""Values on the way through a model: constants, real inputs, and integers with their exact rational meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import TypeVar

import numpy as np

from toolchain.errors import SpecViolation, UnsupportedModel
from toolchain.frontends.exact.functions import Function
from toolchain.ir import Operation

Fractions = tuple[Fraction, ...]
ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class Site:
    """Where in the user's model something comes from.

    name: for the graph's nodes. source: the layer as messages and tables of the graph show it. label: the same with the
    file before it, for errors.
    """

    name: str
    source: str
    label: str

    def inner(self, part: str) -> Site:
        """A step within the layer."""
        return Site(f"{self.name}/{part}", self.source, self.label)


@contextmanager
def violations_named(label: str) -> Iterator[None]:
    """Meanwhile, what breaks a rule of the integer graph is reported with `label` before it.

    Operations check themselves where they are made, and know nothing of the user's model.
    """
    try:
        yield
    except SpecViolation as error:
        raise SpecViolation(f"{label}: {error}") from error


def fractions_of(values: np.ndarray | Sequence[float]) -> list[Fraction]:
    """Floats as the exact fractions that they are."""
    return [Fraction(float(value)) for value in np.asarray(values).reshape(-1)]


def power_of_two(value: Fraction) -> int | None:
    """k where value is 2**k, else None."""
    top, bottom = value.numerator, value.denominator
    if top < 1 or top & (top - 1) or bottom & (bottom - 1):
        return None
    return top.bit_length() - bottom.bit_length()


def compact(values: Sequence[Fraction]) -> Fractions:
    """One entry where all are equal."""
    return tuple(values[:1]) if len(set(values)) == 1 else tuple(values)


def common_step(values: Sequence[Fraction]) -> Fraction:
    """The largest fraction of which all (positive) values are whole multiples."""
    numerator, denominator = 0, 1
    for value in set(values):
        denominator = lcm(denominator, value.denominator)
    for value in set(values):
        numerator = gcd(numerator, value.numerator * (denominator // value.denominator))
    return Fraction(numerator, denominator)


@dataclass(frozen=True)
class RealInput:
    """A real input of the model before it is quantised; the value so far is ``factor * x + shift``, clipped.

    name, source: of the input. shape: in the graph's order (channels last), without the batch.
    host_shape: the shape as the graph's input takes it, before `moves` (operations that only rearrange) have been applied.
    host_axes: ``graph sample = user's sample.transpose(host_axes)``; () for the same order.
    low, high: bounds of a clip on the way, or None. axes: see `Line`.
    """

    name: str
    source: str
    shape: tuple[int, ...]
    host_shape: tuple[int, ...]
    host_axes: tuple[int, ...] = ()
    factor: Fraction = ONE
    shift: Fraction = ZERO
    low: Fraction | None = None
    high: Fraction | None = None
    moves: tuple[tuple[Operation, Site], ...] = ()
    axes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Product:
    """A product with constant weights that is not in the graph yet, because a later negative factor has to flip its columns.

    make: (weights, weight_fraction) -> operation; outputs are the last axis of the weights.
    deviations: see `Weights`, for these integers.
    """

    make: Callable[[np.ndarray, int], Operation]
    weights: np.ndarray
    weight_fraction: int
    site: Site
    deviations: np.ndarray | None = None


@dataclass(frozen=True)
class Line:
    """Integers and their exact meaning: ``real[c] = functions(scale[c] * integer[c] + offset[c])``, c along the last axis.

    tensor: the result in the graph that holds the integers or, where `pending` is set, goes into that product.
    shape: without the batch, channels last. scale (never 0), offset: one entry, or one for each channel.
    functions: element by element, first to last, not yet applied to integers.
    axes: for frameworks with another order: axis i of the framework's sample is axis ``axes[i]`` of the graph's; () if all
        are where they are.
    """

    tensor: str
    shape: tuple[int, ...]
    scale: Fractions
    offset: Fractions = (ZERO,)
    functions: tuple[Function, ...] = ()
    pending: Product | None = None
    axes: tuple[int, ...] = ()

    @property
    def channels(self) -> int:
        return self.shape[-1]

    @property
    def is_uniform(self) -> bool:
        """Whether the meaning is the same in every channel."""
        values = (self.scale, self.offset, *(v for f in self.functions for v in f.channel_values()))
        return all(len(set(v)) == 1 for v in values)

    def spread(self, values: Sequence[Fraction]) -> list[Fraction]:
        """One entry for each channel."""
        return spread(values, self.channels)


Number = TypeVar("Number", Fraction, int)


def spread(values: Sequence[Number], channels: int) -> list[Number]:
    """One entry for each channel."""
    return list(values) if len(values) == channels else [values[0]] * channels


@dataclass(frozen=True)
class Weights:
    """Quantised weights: ``real = integers * steps[output]``, outputs on the last axis; steps has one entry or one an output.

    deviations: of the integers' shape: how far, in steps, the weights lie from that with which a framework itself computes, whose
        float32 rounds them; None where they are the same.
    """

    integers: np.ndarray
    steps: Fractions
    deviations: np.ndarray | None = None

    @property
    def outputs(self) -> int:
        return int(self.integers.shape[-1])


def per_channel(values: np.ndarray, channels: int, label: str) -> np.ndarray:
    """A constant as one entry for each channel of the last axis; all other axes must have size 1."""
    values = np.asarray(values)
    if values.size == 1:
        return np.full(channels, values.reshape(-1)[0])
    if values.ndim == 0 or values.shape[-1] != channels or values.size != channels:
        raise UnsupportedModel(
            f"{label}: a constant of shape {values.shape} with {channels} channels; supported are one value, or one a channel"
        )
    return values.reshape(channels)
