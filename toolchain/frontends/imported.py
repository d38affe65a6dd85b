# SPDX-License-Identifier: Apache-2.0
"""What every frontend returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from toolchain.frontends.exact.ties import Ties
from toolchain.frontends.input_types import GivenType
from toolchain.ir import Graph


@dataclass(frozen=True)
class ImportedModel:
    """A graph, and the framework's own forward: real inputs (samples, *shape) -> real values of the graph's output.

    With several inputs `run` takes a mapping of one array for each input's name; with several outputs it gives a mapping of one
    array for each output's name.
    framework: name and version. quantises_input: whether the model itself rounds its real inputs, so that any real input
    may be compared; else only inputs on the steps of the declared input type mean the same to both.
    input_types: the types that inputs were given from outside, by the inputs' names.
    ties: for nodes of the graph that quantise, where their steps begin exactly (see `verify.framework`).
    """

    graph: Graph
    framework: str
    run: Callable[[Any], Any]
    quantises_input: bool
    ties: Mapping[str, Ties] = field(default_factory=dict)
    input_types: Mapping[str, GivenType] = field(default_factory=dict)
