# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers of QKeras against the framework itself, bit for bit: every cell, its options and its quantisers."""

from __future__ import annotations

import re
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.equivalence.qkeras_bench import (
    assert_same,
    bits,
    dense,
    inputs_of,
    keras,
    layers,
    qkeras,
    quantised,
    refusal,
    sequential,
)
from toolchain.frontends import load_model
from toolchain.frontends.exact.recurrent import MAXIMUM_OPERATIONS
from toolchain.ir import Constant, Dense, Node

STEPS, FEATURES, UNITS = 5, 3, 4
#: A first step without a state, one after it, and one that repeats: enough where quantisers vary, and quicker in the framework.
SHORT = (3, FEATURES)
CELLS = ("SimpleRNN", "LSTM", "GRU")
GATED = ("LSTM", "GRU")


def recurrent(kind: str, units: int = UNITS, **settings: Any) -> Any:
    quantisers: dict[str, Any] = {
        "kernel_quantizer": bits(4, 1),
        "recurrent_quantizer": bits(4, 1),
        "bias_quantizer": bits(6, 2),
        "state_quantizer": bits(6, 1),
        "activation": qkeras.quantized_tanh(6),
    }
    if kind in GATED:
        quantisers["recurrent_activation"] = qkeras.quantized_sigmoid(5)
    return getattr(qkeras, f"Q{kind}")(units, **{"name": "rnn", **quantisers, **settings})


def network(*stack: Any, shape: tuple[int, int] = (STEPS, FEATURES), seed: int = 3) -> Any:
    return sequential(shape, quantised(), *stack, seed=seed)


def steps_of(nodes: tuple[Node, ...], name: str) -> list[Node]:
    """The nodes 'rnn/stepN/name' in the order of the steps."""
    found = {int(m[1]): n for n in nodes if (m := re.fullmatch(rf"rnn/step(\d+)/{name}", n.name))}
    return [found[number] for number in sorted(found)]


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sequences": {"return_sequences": True},
    "backwards": {"go_backwards": True},
    "backwards_sequences": {"go_backwards": True, "return_sequences": True},
    "no_bias": {"use_bias": False},
    "unrolled_by_keras": {"unroll": True},
    "dropout_at_training_only": {"dropout": 0.5, "recurrent_dropout": 0.25},
}


@pytest.mark.parametrize("option", list(OPTIONS))
@pytest.mark.parametrize("kind", CELLS)
def test_options(kind: str, option: str) -> None:
    loaded = assert_same(network(recurrent(kind, **OPTIONS[option])))
    shape = (STEPS, UNITS) if OPTIONS[option].get("return_sequences") else (UNITS,)
    assert loaded.graph.outputs[0].shape(loaded.graph) == shape


ACTIVATIONS: dict[str, Any] = {
    "tanh_text": "quantized_tanh(5)",
    "tanh_symmetric": lambda: qkeras.quantized_tanh(5, symmetric=True),
    "tanh_one_bit": lambda: qkeras.quantized_tanh(1),
    "tanh_real": lambda: qkeras.quantized_tanh(6, use_real_tanh=True),
    "sigmoid": lambda: qkeras.quantized_sigmoid(5),
    "bits": lambda: bits(5, 1),
    "bits_alpha": lambda: bits(4, 1, alpha=0.5),
    "relu": lambda: qkeras.quantized_relu(5, 1),
    "ternary": lambda: qkeras.ternary(alpha=1),
    "hard_tanh": "hard_tanh",
    "binary_tanh": "binary_tanh",
    "plain_relu": "relu",
}


@pytest.mark.parametrize("name", list(ACTIVATIONS))
@pytest.mark.parametrize("kind", CELLS)
def test_activations(kind: str, name: str) -> None:
    activation = ACTIVATIONS[name]
    assert_same(network(recurrent(kind, activation=activation() if callable(activation) else activation), shape=SHORT))


GATES: dict[str, Any] = {
    "hard": "hard_sigmoid",
    "symmetric": lambda: qkeras.quantized_sigmoid(4, symmetric=True),
    "real": lambda: qkeras.quantized_sigmoid(6, use_real_sigmoid=True),
    "relu": lambda: qkeras.quantized_relu(4, 0),
    "binary": lambda: qkeras.binary(use_01=True, alpha=1),
}


@pytest.mark.parametrize("name", list(GATES))
@pytest.mark.parametrize("kind", GATED)
def test_recurrent_activations(kind: str, name: str) -> None:
    gate = GATES[name]
    assert_same(network(recurrent(kind, recurrent_activation=gate() if callable(gate) else gate), shape=SHORT))


STATES: dict[str, Any] = {
    "unsigned": lambda: bits(5, 1, keep_negative=False),
    "coarse": lambda: bits(3, 2),
    "alpha": lambda: bits(5, 1, alpha=2.0),
    "ternary": lambda: qkeras.ternary(alpha=1),
    "binary": lambda: qkeras.binary(alpha=1),
    "binary_scaled": lambda: qkeras.binary(alpha=0.5),
}


@pytest.mark.parametrize("name", list(STATES))
@pytest.mark.parametrize("kind", CELLS)
def test_state_quantisers(kind: str, name: str) -> None:
    """One that makes something else of 0 gives the first step a state."""
    loaded = assert_same(network(recurrent(kind, state_quantizer=STATES[name]()), shape=SHORT))
    constants = [node for node in loaded.graph.nodes if isinstance(node.operation, Constant)]
    assert bool(constants) == name.startswith("binary")


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(
    "kernel", [lambda: bits(4, 1, alpha="auto_po2"), lambda: bits(2, 1), lambda: qkeras.ternary(alpha=1)]
)
def test_weight_quantisers(kind: str, kernel: Any) -> None:
    assert_same(network(recurrent(kind, kernel_quantizer=kernel(), recurrent_quantizer=kernel()), shape=SHORT))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("resets_after", [True, False])
def test_gru_forms(resets_after: bool, implementation: int, has_bias: bool) -> None:
    settings = {"reset_after": resets_after, "implementation": implementation, "use_bias": has_bias}
    assert_same(network(recurrent("GRU", **settings), shape=SHORT))


def test_gru_resets_a_first_state_that_is_not_zero() -> None:
    assert_same(network(recurrent("GRU", reset_after=True, state_quantizer=qkeras.binary(alpha=1))))


def test_lstm_with_one_product_for_all_gates() -> None:
    assert_same(network(recurrent("LSTM", implementation=2)))


@pytest.mark.parametrize("kind", CELLS)
def test_a_single_step(kind: str) -> None:
    assert_same(network(recurrent(kind), shape=(1, FEATURES)))
    assert_same(network(recurrent(kind, return_sequences=True), shape=(1, FEATURES)))


@pytest.mark.parametrize("kind", CELLS)
def test_wide_sums(kind: str) -> None:
    """Eight bits and thirty-two units, as networks have them: sums of more bits than a table of every value may have."""
    wide = {f"{name}_quantizer": bits(8, 0) for name in ("kernel", "recurrent", "bias", "state")}
    model = network(recurrent(kind, 32, activation=qkeras.quantized_tanh(8), **wide), shape=(4, 16))
    assert_same(
        model, inputs_of(model, samples=20), sums_exact=load_model(model).graph.metadata["framework_sums_exact"]
    )


@pytest.mark.parametrize("merge", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("sequences", [True, False])
def test_both_directions(merge: str, sequences: bool) -> None:
    kind = {"concat": "LSTM", "sum": "GRU"}.get(merge, "SimpleRNN")
    both = qkeras.QBidirectional(recurrent(kind, return_sequences=sequences), merge_mode=merge)
    assert_same(network(both, shape=SHORT))


def test_another_layer_backwards() -> None:
    forward = recurrent("GRU", name="there")
    backward = recurrent("LSTM", 6, name="back", go_backwards=True)
    assert_same(network(layers.Bidirectional(forward, backward_layer=backward, name="both")))


def test_layers_on_layers() -> None:
    assert_same(
        network(
            recurrent("LSTM", return_sequences=True, name="first"),
            qkeras.QBidirectional(recurrent("GRU", return_sequences=True, name="second")),
            recurrent("SimpleRNN", name="third"),
            dense(3, name="fc"),
        )
    )


def test_a_plain_curve_is_quantised_as_state_and_as_result() -> None:
    result = quantised(bits(6, 0), "after")
    assert_same(network(recurrent("SimpleRNN", activation="tanh", return_sequences=True), result))


@pytest.mark.parametrize("kind", CELLS)
def test_states_without_a_quantiser_while_float32_holds_them(kind: str) -> None:
    few = {"kernel_quantizer": bits(2, 1), "recurrent_quantizer": bits(2, 1), "activation": qkeras.quantized_tanh(2)}
    if kind in GATED:
        few["recurrent_activation"] = qkeras.quantized_sigmoid(2)
    assert_same(network(recurrent(kind, state_quantizer=None, **few), shape=(3, FEATURES)))


@pytest.mark.parametrize("ending", [".h5", ".keras", pytest.param("", marks=pytest.mark.full)])
def test_files(tmp_path: Path, ending: str) -> None:
    """What is saved is what is read again, the layer inside a layer too."""
    model = network(
        qkeras.QBidirectional(recurrent("LSTM", return_sequences=True, name="inner"), name="both"),
        recurrent("GRU", reset_after=True, name="last"),
    )
    path = tmp_path / f"model{ending}"
    model.save(path)
    assert load_model(path).graph.digest == load_model(model).graph.digest


@pytest.mark.parametrize("kind", CELLS)
def test_steps_share_their_operations(kind: str) -> None:
    """Repeated steps are the same objects, and all steps have one array of each weight."""
    loaded = assert_same(network(recurrent(kind, return_sequences=True), shape=(6, FEATURES)))
    gate = {"SimpleRNN": "h", "LSTM": "i", "GRU": "z"}[kind]
    products = steps_of(loaded.graph.nodes, f"{gate}/hidden")
    assert len(products) == 5  # the first step has no state
    operations = [node.operation for node in products]
    assert all(isinstance(operation, Dense) for operation in operations)
    assert len({id(operation.weights) for operation in operations}) == 1  # type: ignore[attr-defined]


def test_fifty_steps() -> None:
    model = network(recurrent("LSTM", 32), shape=(50, 16))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    graph = load_model(model).graph
    seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    arrays = {
        id(node.operation.weights): node.operation.weights for node in graph.nodes if isinstance(node.operation, Dense)
    }
    # Four kernels and four recurrent kernels, whatever the number of steps.
    assert len(arrays) == 8
    assert sum(array.size for array in arrays.values()) == 4 * 32 * (16 + 32)
    assert seconds < 30
    assert grown < 300
    assert_same(model, inputs_of(model, samples=8))


def test_operations_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAXIMUM_OPERATIONS >= 20_000
    monkeypatch.setattr("toolchain.frontends.exact.recurrent.MAXIMUM_OPERATIONS", 60)
    message = refusal(network(recurrent("LSTM")))
    assert "5 steps of" in message
    assert "shorten the sequence before the layer" in message


REFUSED: dict[str, tuple[Any, str]] = {
    "stateful": (
        lambda: recurrent("LSTM", stateful=True, batch_input_shape=(1, STEPS, FEATURES)),
        "layer 'rnn' (QLSTM): stateful is True; supported is a state of zeros before every sample",
    ),
    "plain_tanh": (
        lambda: recurrent("LSTM", activation="tanh"),
        "layer 'rnn' (QLSTM): activation is 'tanh', whose result goes into products without being quantised; give the layer "
        "activation='quantized_tanh(8)'",
    ),
    "plain_sigmoid": (
        lambda: recurrent("GRU", recurrent_activation="sigmoid"),
        "layer 'rnn' (QGRU): recurrent_activation is 'sigmoid', whose result goes into products without being quantised; give the "
        "layer recurrent_activation='quantized_sigmoid(8)'",
    ),
    "plain_state": (
        lambda: recurrent("SimpleRNN", activation="tanh", state_quantizer=None),
        "layer 'rnn' (QSimpleRNN): activation is 'tanh', whose result comes back as the state without being quantised; give the "
        "layer activation='quantized_tanh(8)', or a state_quantizer",
    ),
    "long_state": (
        lambda: recurrent("LSTM", state_quantizer=None),
        "layer 'rnn' (QLSTM): its states have no quantiser and take more bits with every step; at 'rnn/step3/forget' these are "
        "more than the framework's float32 holds. Give the layer one, for example state_quantizer='quantized_bits(8,2,alpha=1)'",
    ),
    "kernel": (
        lambda: recurrent("SimpleRNN", kernel_quantizer=None),
        "layer 'rnn' (QSimpleRNN): kernel_quantizer is None, so its kernel is not quantised; give it a quantiser, for example "
        "kernel_quantizer=quantized_bits(6, 0, alpha=1)",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_refusals(name: str) -> None:
    layer, message = REFUSED[name]
    if name == "stateful":
        stack = keras.Sequential([layers.Input(batch_shape=(1, STEPS, FEATURES), name="x"), quantised(), layer()])
    else:
        stack = network(layer())
    assert refusal(stack) == message


def test_states_that_go_in_or_out_are_refused() -> None:
    x, h = layers.Input((STEPS, FEATURES), name="x"), layers.Input((UNITS,), name="h")
    given = keras.Model([x, h], recurrent("SimpleRNN")(quantised()(x), initial_state=[quantised(name="p")(h)]))
    assert refusal(given) == "layer 'rnn' (QSimpleRNN): is given its initial state; supported is a state of zeros"
    result, _ = recurrent("SimpleRNN", return_state=True)(quantised()(x))
    assert refusal(keras.Model(x, result)).startswith(
        "layer 'rnn' (QSimpleRNN): return_state is True; supported is its result alone"
    )


def test_both_directions_apart_are_refused() -> None:
    x = layers.Input((STEPS, FEATURES), name="x")
    apart = qkeras.QBidirectional(recurrent("LSTM"), merge_mode=None, name="both")(quantised()(x))
    assert refusal(keras.Model(x, apart)) == (
        "layer 'both' (QBidirectional): merge_mode is None; supported are 'concat', 'sum', 'ave' and 'mul', which give one tensor"
    )


def test_masks_are_refused() -> None:
    assert "Masking" in refusal(network(layers.Masking(name="mask"), recurrent("SimpleRNN")))


def test_inputs_hit_ties_and_both_ends() -> None:
    """The comparison is of use only if the states reach their quantiser's ends and lie between them as well."""
    model = network(recurrent("LSTM", return_sequences=True))
    result = np.asarray(load_model(model).run(inputs_of(model)))  # type: ignore[misc]
    assert result.max() > 0.8
    assert result.min() < -0.8
    assert len(np.unique(result)) > 50
