# SPDX-License-Identifier: Apache-2.0
"""What the tests of QKeras models share: quantisers by short names, random weights, and the comparison itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from toolchain.errors import ToolchainError, ToolNotFound
from toolchain.frontends import LoadedModel, load_model
from toolchain.frontends.qkeras_runtime import import_qkeras, import_tf_keras
from toolchain.ir import interpret, quantise_input, real_inputs, real_values

try:
    qkeras = import_qkeras()
except ToolNotFound as error:
    pytest.skip(str(error), allow_module_level=True)
keras = import_tf_keras()
layers = keras.layers

from tensorflow.python.autograph.core.ag_ctx import ControlStatusCtx, Status  # noqa: E402


def bits(*arguments: Any, **settings: Any) -> Any:
    return qkeras.quantized_bits(*arguments, **{"alpha": 1, **settings})


def relu(*arguments: Any, **settings: Any) -> Any:
    return qkeras.quantized_relu(*arguments, **settings)


def quantised(quantiser: Any = None, name: str = "q") -> Any:
    return qkeras.QActivation(bits(5, 2) if quantiser is None else quantiser, name=name)


def weighted(kind: str, *arguments: Any, kernel: Any = None, bias: Any = None, **settings: Any) -> Any:
    """A QKeras layer with weights: 'Dense', 'Conv2D', 'DepthwiseConv2D' ... and quantisers of 4 and 6 bits."""
    names = ["depthwise"] if "Depthwise" in kind else ["depthwise", "pointwise"] if "Separable" in kind else ["kernel"]
    quantisers = {f"{name}_quantizer": bits(4, 1) if kernel is None else kernel() for name in names}
    if settings.get("use_bias", True):
        quantisers["bias_quantizer"] = bits(6, 2) if bias is None else bias
    return getattr(qkeras, f"Q{kind}")(*arguments, **{**quantisers, **settings})


def dense(units: int, **settings: Any) -> Any:
    return weighted("Dense", units, **settings)


def sequential(shape: tuple[int, ...], *stack: Any, seed: int = 3, name: str = "net") -> Any:
    """Built without AutoGraph, which rewrites every function that a layer calls and takes most of the time.

    Building settles shapes alone; what is compared runs eagerly, where there is no AutoGraph either.
    """
    with ControlStatusCtx(Status.DISABLED):
        model = keras.Sequential([layers.Input(shape, name="x"), *stack], name=name)
    return randomised(model, seed)


def randomised(model: Any, seed: int = 3, spread: float = 1.2) -> Any:
    """Random weights that reach past the quantisers' ranges; statistics of a batch norm that float32 holds exactly."""
    random = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        own = [*layer._trainable_weights, *layer._non_trainable_weights]
        for weight in own:
            if "ema" in weight.name or weight.dtype.is_integer:
                continue
            values = random.normal(0, spread, weight.shape)
            if "gamma" in weight.name:
                values = 2.0 ** random.integers(-2, 3, weight.shape) * random.choice([-1, 1], weight.shape)
            elif "variance" in weight.name:
                values = 4.0 ** random.integers(-2, 3, weight.shape) - layer.epsilon
            elif "beta" in weight.name or "mean" in weight.name:
                values = random.integers(-40, 41, weight.shape) / 8
            weight.assign(values.astype(np.float32))
    return model


def half_steps(shape: tuple[int, ...], step: float, span: float, seed: int = 5) -> np.ndarray:
    """Reals on multiples of half of `step` (every other one a tie) out to +-span, and some in between."""
    random = np.random.default_rng(seed)
    x = random.integers(-2 * span / step, 2 * span / step + 1, shape) * (step / 2)
    between = random.random(shape) < 0.2
    return np.where(between, x + random.normal(0, step / 3, shape), x).astype(np.float32)


def inputs_of(model: Any, samples: int = 40, step: float = 0.25, span: float = 6.0) -> Any:
    """Ties, saturation and values between for each input; one array, or one by name."""
    arrays = {
        name: half_steps((samples, *tensor.shape[1:]), step, span, seed=5 + number)
        for number, (name, tensor) in enumerate(zip(model.input_names, model.inputs, strict=True))
    }
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def assert_same(
    model: Any, x: Any = None, *, sums_exact: str = "yes", by_keras: bool = True, varies: bool = True, **settings: Any
) -> LoadedModel:
    """The graph's outputs are the framework's, bit for bit: of its layers one by one, and of the model as a whole.

    sums_exact: what the graph has to say about the framework's sums. by_keras: whether Keras's own call of the whole model is
    compared too (not where it ends in a function that stays on the host, or uses the fused batch norm). varies: whether the
    outputs must not be all the same.
    """
    loaded = load_model(model, **settings)
    graph = loaded.graph
    assert graph.metadata["framework_sums_exact"] == sums_exact
    assert "approximations" not in graph.metadata
    given = inputs_of(model) if x is None else x
    feeds = given if isinstance(given, dict) else {graph.inputs[0].name: given}
    integers = {node.name: quantise_input(node, feeds[node.name]).integers for node in graph.inputs}
    if not loaded.quantises_input:
        feeds = {node.name: real_inputs(node, integers[node.name]).astype(np.float32) for node in graph.inputs}
    results = interpret(graph, integers)
    assert loaded.run is not None
    found = loaded.run(feeds if len(feeds) > 1 else next(iter(feeds.values())))
    found = found if isinstance(found, dict) else {graph.outputs[0].name: found}
    arrays = [feeds[node] for node in _order(model, graph)]
    whole = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    for number, output in enumerate(graph.outputs):
        expected = real_values(output, graph.types[output.tensor].element, results[output.tensor])
        assert not varies or np.ptp(expected) > 0, output.name
        assert (found[output.name].astype(np.float64) == expected).all(), output.name
        if by_keras and not output.host_function:
            part = whole[number] if isinstance(whole, list | tuple) else whole
            assert (np.asarray(part, dtype=np.float64) == expected).all(), output.name
    return loaded


def _order(model: Any, graph: Any) -> list[str]:
    return [next(node.name for node in graph.inputs if node.name == name) for name in model.input_names]


def refusal(model: Any, **settings: Any) -> str:
    """The message with which a model is refused."""
    with pytest.raises(ToolchainError) as caught:
        load_model(model, **settings)
    return str(caught.value)
