# SPDX-License-Identifier: Apache-2.0
"""What a reader of layers gets and gives, and the table that finds it by the layer's class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import Curve
from toolchain.frontends.exact.values import ONE, Line, Product, RealInput, Site, compact
from toolchain.frontends.exact.walk import Walk
from toolchain.frontends.qkeras_network import Call
from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras, lacks, version

#: Fraction bits that a bias may add where channels shall not differ.
_BIAS_BITS = 12


@dataclass(frozen=True)
class OnHost:
    """What the framework computes last from `line`, and the host instead of the hardware: 'softmax' or 'sigmoid'.

    curve: the same function for a quantiser that comes after it, or None. call: the layer's call that computes it.
    """

    line: Line | RealInput
    function: str
    curve: Curve | None = None
    call: Call | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.line.shape


Value = Line | RealInput | OnHost


class KerasWalk(Walk):
    """The graph under construction, with what Keras models add to it.

    input_range: the real range that inputs are known to lie in, or None. sums_exact: whether float32 holds every value that
    the framework has computed so far, in whatever order it sums.
    """

    def __init__(self, name: str, framework: str, where: str, input_range: tuple[float, float] | None) -> None:
        super().__init__(name, framework, where)
        self.input_range = input_range
        self.sums_exact = True
        #: Calls whose function could stay on the host, but which other layers come after.
        self.continued: set[tuple[int, ...]] = set()
        #: What has been put into the graph for a line, so that several layers which take it share that.
        self._emitted: dict[tuple[int, tuple[int, ...]], tuple[Product, str]] = {}
        self._settled: dict[int, tuple[Line, Line]] = {}
        self._biased: dict[int, tuple[Line, Line]] = {}
        #: Products that `note_inexact` has been told of, by their identity.
        self._inexact: dict[int, Product] = {}

    def note_inexact(self, line: Line) -> None:
        """Note that the framework has these values up to the rounding of its float32 only."""
        self.sums_exact = False
        if line.pending is None:
            self.inexact.add(line.tensor)
            return
        self._inexact[id(line.pending)] = line.pending
        self.inexact.update(tensor for product, tensor in self._emitted.values() if product is line.pending)

    def input_tensor(self, name: str) -> str | None:
        """The graph's input for an input of the model; None where nothing uses it."""
        known = self._inputs.get(name)
        return None if known is None else known[1]

    def line(self, value: Any, site: Site) -> Line:
        return super().line(self.moved(value, site), site)

    def emitted(self, line: Line, site: Site) -> Line:
        if line.pending is None:
            return super().emitted(line, site)
        signs = tuple((s > 0) - (s < 0) for s in line.scale)
        key = (id(line.pending), signs)
        if key not in self._emitted:
            result = super().emitted(line, site)
            self._emitted[key] = (line.pending, result.tensor)
            if id(line.pending) in self._inexact:
                self.inexact.add(result.tensor)
            return result
        # The product has been made with these signs: what is left is the meaning of its integers.
        tensor = self._emitted[key][1]
        fallback = next((abs(s) for s in line.scale if s), ONE)
        return replace(line, tensor=tensor, pending=None, scale=compact([abs(s) or fallback for s in line.scale]))

    def settled(self, line: Line, site: Site) -> Line:
        if id(line) not in self._settled:
            self._settled[id(line)] = (line, super().settled(line, site))
        return self._settled[id(line)][1]

    def with_bias(self, line: Line, extra_fraction: int, site: Site) -> Line | None:
        known = self._biased.get(id(line))
        if known is not None and self.element(known[1]).fraction - self.element(line).fraction <= extra_fraction:
            return known[1]
        result = super().with_bias(line, extra_fraction, site)
        if result is not None and result is not line:
            self._biased[id(line)] = (line, result)
        return result

    def evened(self, line: Line, site: Site, *, bits: int | None = None) -> Line:
        """The line; where its channels differ by a bias only, with that in its integers if it takes few bits there.

        bits: the widest integers that may come of it.
        """
        line = self.emitted(line, site)
        if line.is_uniform or line.functions or len(set(line.scale)) > 1:
            return line
        extra = _BIAS_BITS if bits is None else min(_BIAS_BITS, bits - self.element(line).width)
        return (self.with_bias(line, extra, site) if extra >= 0 else None) or line

    def moved(self, value: Value, site: Site) -> Line | RealInput:
        """`value` on its way to hardware, for a layer that comes after it."""
        if not isinstance(value, OnHost):
            return value
        if value.curve is None or isinstance(value.line, RealInput):
            raise UnsupportedModel(
                f"{site.label}: comes after {value.function!r}, which is supported as the last layer only"
            )
        if value.call is not None:
            self.continued.add(value.call.key)
        return replace(value.line, functions=(*value.line.functions, value.curve))


#: (walk, the framework's layer, its input or inputs, where it is) -> its result
Reader = Callable[[KerasWalk, Any, Any, Site], Value]


@dataclass(frozen=True)
class LayerReader:
    """How layers of a class are read.

    entries: of the layer's configuration, those that a file may set. several: whether it takes a list of inputs.
    """

    class_name: str
    entries: tuple[str, ...]
    read: Reader
    several: bool


_REGISTRY: dict[str, LayerReader] = {}


@cache
def layers() -> dict[str, LayerReader]:
    """All readers by class name: every module of this package is imported and so registers what it reads."""
    package = import_module("toolchain.frontends.qkeras_layers")
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def handles(class_name: str, *entries: str, several: bool = False) -> Callable[[Reader], Reader]:
    """Register the function that reads layers of a class of QKeras (its name begins with Q) or Keras."""

    def register(function: Reader) -> Reader:
        if class_name in _REGISTRY:
            raise AssertionError(f"{class_name} is registered twice")
        _REGISTRY[class_name] = LayerReader(class_name, entries, function, several)
        return function

    return register


def reader_of(layer: Any, label: str) -> LayerReader:
    """The reader for a layer, if the layer's class is really QKeras's or Keras's class of that name."""
    name = type(layer).__name__
    home = import_qkeras() if name.startswith("Q") else import_tf_keras().layers
    if name not in layers() or type(layer) is not getattr(home, name, None):
        raise UnsupportedModel(unsupported_layer(label, name))
    return layers()[name]


#: Layers of other versions of QKeras, and what the installed one has for the same.
_INSTEAD = {"QDenseBatchnorm": "QDense and a QBatchNormalization behind it"}


def unsupported_layer(label: str, class_name: str) -> str:
    """The message for a layer class that the frontend does not read."""
    if f"Q{class_name}" in layers():
        return f"{label}: its weights are not quantised; use Q{class_name} with a quantiser for each of its weights"
    if lacks(class_name):
        instead = f"; use {_INSTEAD[class_name]}" if class_name in _INSTEAD else ""
        return (
            f"{label}: {version()}, which is installed, has no layer of this class, so what it computes is not known{instead}; "
            f"supported are {', '.join(layers())}"
        )
    reason = " and would run code from the file" if class_name in ("Lambda", "TFOpLambda", "SlicingOpLambda") else ""
    if class_name in ("TFOpLambda", "SlicingOpLambda"):
        reason += " (operators between tensors make them: use layers such as Add instead)"
    if class_name == "PruneLowMagnitude":
        reason += (
            " (take the wrappers off with tensorflow_model_optimization.sparsity.keras.strip_pruning and save again)"
        )
    supported = ", ".join(layers())
    return f"{label}: layers of this class are not supported{reason}; supported are {supported}"


def call_reader(walk: KerasWalk, layer: Any, values: Sequence[Value], site: Site) -> Value:
    """The layer's result for these inputs."""
    reader = reader_of(layer, site.label)
    computes = getattr(layer, "compute_dtype", "float32")
    if computes != "float32":
        raise UnsupportedModel(f"{site.label}: computes in {computes!r}; supported is float32")
    if reader.several:
        return reader.read(walk, layer, list(values), site)
    if len(values) != 1:
        raise UnsupportedModel(f"{site.label}: takes {len(values)} tensors; supported is one")
    return reader.read(walk, layer, values[0], site)


def last_channels(layer: Any, site: Site) -> None:
    """Raise UnsupportedModel unless the layer's channels are its last axis."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UnsupportedModel(f"{site.label}: data_format is {layer.data_format!r}; supported is 'channels_last'")
