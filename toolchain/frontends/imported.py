# SPDX-License-Identifier: Apache-2.0
"""What every frontend returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolchain.frontends.exact.ties import Ties
from toolchain.frontends.exact.values import Line
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.input_types import GivenType
from toolchain.ir import Graph

#: As `ImportedModel.inner`.
Inner = Callable[[Any], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Meaning:
    """What the integers of a node of the graph stand for: ``real[c] = scale[c] * integer[c] + offset[c]``.

    axes: see `exact.values.Line`.
    """

    node: str
    scale: np.ndarray
    offset: np.ndarray
    axes: tuple[int, ...]

    def integers(self, real: np.ndarray) -> np.ndarray:
        """A framework's real values, in its axes, as the nearest integers (float64), in the graph's."""
        values = np.asarray(real, np.float64)
        if self.axes:
            order = tuple(self.axes.index(axis) for axis in range(len(self.axes)))
            values = values.transpose(0, *(axis + 1 for axis in order))
        return np.rint((values - self.offset) / self.scale)


def meaning_of(walk: Walk, value: Any) -> Meaning | None:
    """Of a value that a quantiser or an input of the graph has just made; None for any other."""
    if not isinstance(value, Line) or value.functions or value.pending is not None:
        return None
    if value.tensor not in walk.ties and not walk.is_input(value.tensor):
        return None
    scale, offset = (np.array([float(v) for v in values]) for values in (value.scale, value.offset))
    return Meaning(value.tensor, scale, offset, value.axes)


@dataclass(frozen=True)
class ImportedModel:
    """A graph, and the framework's own forward: real inputs (samples, *shape) -> real values of the graph's output.

    With several inputs `run` takes a mapping of one array for each input's name; with several outputs it gives a mapping of one
    array for each output's name.
    framework: name and version. quantises_input: whether the model itself rounds its real inputs, so that any real input
    may be compared; else only inputs on the steps of the declared input type mean the same to both.
    input_types: the types that inputs were given from outside, by the inputs' names.
    ties: for nodes of the graph that quantise, where their steps begin exactly (see `verify.framework`).
    deviations: for nodes that multiply with weights, how far the framework's own lie from them (see `exact.values.Weights`).
    inner: the same forward, which gives the framework's own result at nodes within the graph: node name -> integers as float64,
        with the graph's axes; {} for what is not known.
    """

    graph: Graph
    framework: str
    run: Callable[[Any], Any]
    quantises_input: bool
    ties: Mapping[str, Ties] = field(default_factory=dict)
    deviations: Mapping[str, np.ndarray] = field(default_factory=dict)
    inner: Inner | None = None
    input_types: Mapping[str, GivenType] = field(default_factory=dict)
