# SPDX-License-Identifier: Apache-2.0
"""QKeras models to the integer graph, exactly.

Every layer is read by one function under ``@handles``. Weights are the quantiser's own result on the stored values,
turned into integers without loss; sums keep their full width; values are rounded only where the model has a quantiser.

The framework computes in float32. Its sums are exact, and so equal to the graph's, while every partial sum stays below
2**24 steps of the accumulator's binary point; the graph's metadata says whether that holds (`framework_sums_exact`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import frexp
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import InputError, UnsupportedModel, UsageError
from toolchain.frontends.imported import ImportedModel
from toolchain.frontends.qkeras_file import LAYER_ENTRIES, load_file, unsupported_layer, unsupported_quantiser
from toolchain.frontends.qkeras_quantisers import ActivationQuantiser, activation_quantiser, quantised_weights
from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras, version
from toolchain.frontends.real_input import declared, narrowed, parse_input_type
from toolchain.ir import (
    AddBias,
    Dense,
    GraphBuilder,
    Input,
    IntegerType,
    Operation,
    OutOfRange,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    Threshold,
)
from toolchain.ir.operation import FLOAT32_EXACT

#: Activation functions that, as a model's last layer, stay on the host: the graph ends before them.
HOST_FUNCTIONS = ("softmax", "sigmoid")
#: Samples in one call of the framework; bounds memory.
_CHUNK_SAMPLES = 4096

Handler = Callable[["_Walk", Any, str], None]
_HANDLERS: dict[str, Handler] = {}


def handles(class_name: str) -> Callable[[Handler], Handler]:
    """Register the function that reads layers of a class. It gets the walk, the layer and the layer's label."""

    def register(function: Handler) -> Handler:
        _HANDLERS[class_name] = function
        return function

    return register


@dataclass
class _Walk:
    """The graph under construction along a chain of layers.

    tensor: the current tensor, or None while the model has only moved real inputs around. pending: those moves, for
        after the graph's input. sums_exact: whether float32 holds every sum so far.
    """

    builder: GraphBuilder
    input_name: str
    input_source: str
    input_shape: tuple[int, ...]
    input_type: IntegerType | None
    input_range: tuple[float, float] | None
    tensor: str | None = None
    pending: list[tuple[Operation, str, str]] = field(default_factory=list)
    sums_exact: bool = True
    host_function: str = ""
    #: Where the framework must stop for its result to be the graph's output: a tensor, or None for the last one.
    framework_output: Any = None

    def start(self, element: IntegerType, out_of_range: OutOfRange, source: str) -> None:
        """Put the graph's input and what was waiting for it."""
        operation = Input(self.input_shape, element, rounding=Rounding.HALF_EVEN, out_of_range=out_of_range)
        self.tensor = self.builder.add(operation, name=self.input_name, source=source)
        for move, name, origin in self.pending:
            self.tensor = self.builder.add(move, self.tensor, name=name, source=origin)
        self.pending = []

    def move(self, operation: Operation, name: str, source: str) -> None:
        """An operation that only rearranges values; it may come before the input is quantised."""
        if self.tensor is None:
            self.pending.append((operation, name, source))
        else:
            self.tensor = self.builder.add(operation, self.tensor, name=name, source=source)

    def add(self, operation: Operation, name: str, source: str) -> None:
        """An operation on integers."""
        if self.tensor is None:
            raise UsageError(
                f"{source} works on inputs that the model has not quantised: give the type that the inputs have in hardware "
                "with input_type (--input-type on the command line), for example 'fixed<16,6>', or let the model begin "
                "with a QActivation"
            )
        self.tensor = self.builder.add(operation, self.tensor, name=name, source=source)

    @property
    def element(self) -> IntegerType:
        assert self.tensor is not None
        return self.builder.type(self.tensor).element

    def quantise(self, quantiser: ActivationQuantiser, name: str, source: str) -> None:
        """Apply an activation quantiser: as the graph's input where the tensor is still real."""
        target = quantiser.target
        if self.tensor is None and quantiser.is_plain:
            step = Fraction(2) ** -target.fraction
            element, out_of_range = narrowed(target, self.input_range, step=step)
            self.start(element, out_of_range, f"{self.input_source}, {source}")
            return
        if quantiser.sign:
            # Two equal thresholds at 0: -1 below, -1 + 2 from 0 on.
            self.add(Threshold(np.zeros((1, 2), dtype=np.int64), offset=-1), name, source)
            return
        if quantiser.negative_slope_shift is not None:
            self.add(Relu(quantiser.negative_slope_shift), f"{name}/slope", source)
        self.add(Requantise(target, Rounding.HALF_EVEN, Overflow.SATURATE), name, source)


def import_file(
    path: Path, *, input_type: str | None = None, input_range: tuple[float, float] | None = None
) -> ImportedModel:
    """Read an .h5 or .keras file or a SavedModel folder; see `import_model`."""
    return import_model(load_file(path), input_type=input_type, input_range=input_range, where=str(path))


def import_model(
    model: Any,
    *,
    input_type: str | None = None,
    input_range: tuple[float, float] | None = None,
    where: str = "",
) -> ImportedModel:
    """Convert a tf_keras model of QKeras layers.

    model: Sequential or functional, built, one chain of layers.
    input_type: the type of the inputs in hardware, e.g. 'fixed<16,6>'; needed where the model does not begin with a
        quantiser of its own. input_range: the real range that inputs are known to lie in; values outside are refused.
    where: for messages, the file. Raises UnsupportedModel naming the layer, UsageError for a missing or bad input_type.
    """
    layers = _chain(model, where)
    shape = _input_shape(layers[0], where)
    walk = _Walk(
        GraphBuilder(model.name, {"framework": version()}),
        input_name=layers[0].name,
        input_source=_label(layers[0]),
        input_shape=shape,
        input_type=parse_input_type(input_type) if input_type is not None else None,
        input_range=input_range,
    )
    if walk.input_type is not None:
        walk.start(declared(walk.input_type, input_range), OutOfRange.REFUSE, walk.input_source)
    prefix = f"{where}: " if where else ""
    for position, layer in enumerate(layers[1:], start=1):
        label = f"{prefix}layer {_label(layer)}"
        handler = _HANDLERS[_class_name(layer, label)]
        if walk.host_function:
            raise UnsupportedModel(
                f"{label}: comes after {walk.host_function!r}, which is supported as the last layer only"
            )
        handler(walk, layer, label)
        if walk.host_function and walk.framework_output is None:
            walk.framework_output = layers[position - 1].output
    if walk.tensor is None:
        raise UnsupportedModel(f"{prefix}model {model.name!r} quantises nothing; there is no integer arithmetic in it")
    walk.builder.output(walk.tensor, name=layers[-1].name, host_function=walk.host_function)
    graph = walk.builder.build()
    metadata = {**graph.metadata, "framework_sums_exact": "yes" if walk.sums_exact else "no"}
    output = walk.framework_output if walk.framework_output is not None else model.outputs[0]
    run = _framework_run(import_tf_keras().Model(model.inputs, output), graph.types[walk.tensor].shape)
    return ImportedModel(replace(graph, metadata=metadata), version(), run, quantises_input=walk.input_type is None)


def load_weights(model: Any, path: Path) -> None:
    """Load weights saved by ``model.save_weights`` (an .h5 file) into a built model."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        model.load_weights(str(path))
    except Exception as error:  # Keras raises many kinds for a file that does not fit
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: does not hold weights for model {model.name!r}: {reason}") from None


def _framework_run(model: Any, output_shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    def run(x: np.ndarray) -> np.ndarray:
        real = np.asarray(x, dtype=np.float32)
        parts = [
            np.asarray(model(real[start : start + _CHUNK_SAMPLES], training=False), dtype=np.float32)
            for start in range(0, len(real), _CHUNK_SAMPLES)
        ]
        return np.concatenate(parts) if parts else np.empty((0, *output_shape), dtype=np.float32)

    return run


def _label(layer: Any) -> str:
    return f"{layer.name!r} ({type(layer).__name__})"


def _class_name(layer: Any, label: str) -> str:
    """The layer's class name if it is really QKeras's or Keras's class of that name."""
    name = type(layer).__name__
    home = import_qkeras() if name.startswith("Q") else import_tf_keras().layers
    if name not in _HANDLERS or type(layer) is not getattr(home, name, None):
        raise UnsupportedModel(unsupported_layer(label, name))
    return name


def _chain(model: Any, where: str) -> list[Any]:
    """The model's layers from input to output. Raises UnsupportedModel where they are not one chain."""
    prefix = f"{where}: " if where else ""
    outputs = getattr(model, "outputs", None)
    if not outputs:
        raise UnsupportedModel(
            f"{prefix}model {model.name!r} is not built: its input shape is unknown; begin it with an Input layer"
        )
    if len(outputs) != 1 or len(model.inputs) != 1:
        raise UnsupportedModel(
            f"{prefix}model {model.name!r} has {len(model.inputs)} inputs and {len(outputs)} outputs; supported is one each"
        )
    layers, tensor = [], outputs[0]
    while True:
        layer, node_index, _ = tensor._keras_history
        layers.append(layer)
        node = layer.inbound_nodes[node_index]
        if node.is_input:
            break
        label = f"{prefix}layer {_label(layer)}"
        _class_name(layer, label)
        if len(node.keras_inputs) != 1:
            raise UnsupportedModel(f"{label}: takes {len(node.keras_inputs)} tensors; supported is one chain of layers")
        tensor = node.keras_inputs[0]
    return layers[::-1]


def _input_shape(layer: Any, where: str) -> tuple[int, ...]:
    shape = tuple(layer.output.shape)[1:]
    if not shape or any(size is None for size in shape):
        prefix = f"{where}: " if where else ""
        raise UnsupportedModel(
            f"{prefix}layer {_label(layer)}: has shape {shape}; every size but the batch must be fixed"
        )
    return tuple(int(size) for size in shape)


def _finite(values: Any, label: str, what: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise UnsupportedModel(
            f"{label}: {what} holds {array[tuple(index)]} at index {index}; all weights must be finite"
        )
    return array


@handles("QDense")
def _dense(walk: _Walk, layer: Any, label: str) -> None:
    source = _label(layer)
    for what, used in (("kernel", True), ("bias", layer.use_bias)):
        if used and getattr(layer, f"{what}_quantizer_internal") is None:
            raise UnsupportedModel(
                f"{label}: {what}_quantizer is None, so its {what} is not quantised; give it a quantiser, for example "
                f"{what}_quantizer=quantized_bits(6, 0, alpha=1)"
            )
    kernel = _finite(layer.kernel, label, "kernel")
    weights, fraction = quantised_weights(layer.kernel_quantizer_internal, kernel, f"{label}: kernel_quantizer")
    magnitude = walk.element.magnitude if walk.tensor is not None else 0
    walk.add(Dense(weights, fraction), layer.name, source)
    largest_sum, sum_fraction = int(np.abs(weights).sum(axis=0).max()) * magnitude, walk.element.fraction
    if layer.use_bias:
        values = _finite(layer.bias, label, "bias")
        bias, bias_fraction = quantised_weights(layer.bias_quantizer_internal, values, f"{label}: bias_quantizer")
        walk.add(AddBias(bias, bias_fraction), f"{layer.name}/bias", source)
        largest_sum <<= walk.element.fraction - sum_fraction
        largest_sum += int(np.abs(bias).max()) << (walk.element.fraction - bias_fraction)
    # The largest magnitude of any partial sum, in any order, in steps of the final binary point.
    walk.sums_exact &= largest_sum < FLOAT32_EXACT
    _apply_activation(walk, layer, layer.activation, f"{layer.name}/activation", f"{label}: activation")


@handles("QActivation")
def _quantised_activation(walk: _Walk, layer: Any, label: str) -> None:
    _apply_activation(walk, layer, layer.quantizer, layer.name, f"{label}: activation")


@handles("Activation")
def _activation(walk: _Walk, layer: Any, label: str) -> None:
    _apply_activation(walk, layer, layer.activation, layer.name, f"{label}: activation")


def _apply_activation(walk: _Walk, layer: Any, function: Any, name: str, label: str) -> None:
    """A quantiser object or one of Keras's functions, as a layer of its own or inside a QDense."""
    keras = import_tf_keras()
    functions = {getattr(keras.activations, known): known for known in ("linear", "relu", *HOST_FUNCTIONS)}
    if isinstance(function, type):
        function = function()  # QActivation("quantized_relu") keeps the class; QKeras then applies its defaults
    known = (
        None
        if function is None
        else functions.get(function)
        if callable(function) and hasattr(function, "__name__")
        else ""
    )
    if known in (None, "linear") and (function is None or known == "linear"):
        return
    source = _label(layer)
    if known == "relu":
        walk.add(Relu(), name, source)
    elif known in HOST_FUNCTIONS:
        if walk.tensor is None:
            walk.add(Relu(), name, source)  # raises: the input has no type
        walk.host_function = str(known)
        if type(layer).__name__ == "QDense":
            walk.framework_output = _without_activation(layer)
    elif type(function) in _quantiser_classes():
        walk.quantise(activation_quantiser(function, label), name, source)
    else:
        raise UnsupportedModel(unsupported_quantiser(label, getattr(function, "__name__", type(function).__name__)))


def _quantiser_classes() -> tuple[type, ...]:
    qkeras = import_qkeras()
    return (qkeras.quantized_bits, qkeras.quantized_relu, qkeras.binary, qkeras.ternary)


def _without_activation(layer: Any) -> Any:
    """The layer's result before its activation, as a tensor of the framework."""
    config = {**layer.get_config(), "activation": None}
    bare = type(layer).from_config(config)
    tensor = bare(layer.input)
    bare.set_weights(layer.get_weights())
    return tensor


@handles("ReLU")
def _relu(walk: _Walk, layer: Any, label: str) -> None:
    if float(layer.threshold) != 0.0:
        raise UnsupportedModel(f"{label}: threshold is {float(layer.threshold):g}; supported is 0")
    slope, maximum = float(layer.negative_slope), layer.max_value
    shift = None
    if slope != 0.0:
        mantissa, exponent = frexp(slope)
        shift = 1 - exponent
        if mantissa != 0.5 or not 0 <= shift <= 24:
            raise UnsupportedModel(
                f"{label}: negative_slope is {slope:g}; supported are 0 and powers of two from 2**-24 to 1"
            )
    bound = None
    if maximum is not None and walk.tensor is not None:
        steps = float(maximum) * 2.0 ** (walk.element.fraction + (shift or 0))
        if steps != int(steps):
            raise UnsupportedModel(
                f"{label}: max_value {float(maximum):g} is not on the steps of its input ({walk.element})"
            )
        bound = int(steps)
    walk.add(Relu(shift, bound), layer.name, _label(layer))


@handles("Softmax")
def _softmax(walk: _Walk, layer: Any, label: str) -> None:
    last = len(layer.output.shape) - 1
    if layer.axis not in (-1, last):
        raise UnsupportedModel(f"{label}: axis is {layer.axis}; supported is the last one")
    _apply_activation(walk, layer, import_tf_keras().activations.softmax, layer.name, label)


@handles("Flatten")
def _flatten(walk: _Walk, layer: Any, label: str) -> None:
    if layer.data_format != "channels_last":
        raise UnsupportedModel(f"{label}: data_format is {layer.data_format!r}; supported is 'channels_last'")
    _reshape(walk, layer, label)


@handles("Reshape")
def _reshape(walk: _Walk, layer: Any, label: str) -> None:
    before, after = (tuple(int(size) for size in tensor.shape[1:]) for tensor in (layer.input, layer.output))
    if before != after:
        walk.move(Reshape(after), layer.name, _label(layer))


@handles("Dropout")
def _dropout(walk: _Walk, layer: Any, label: str) -> None:
    """Does nothing at inference."""


@handles("InputLayer")
def _input(walk: _Walk, layer: Any, label: str) -> None:
    raise UnsupportedModel(f"{label}: an input in the middle of the model")


assert set(_HANDLERS) == set(LAYER_ENTRIES), "qkeras_file.LAYER_ENTRIES must list what the frontend reads"
