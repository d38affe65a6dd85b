# SPDX-License-Identifier: Apache-2.0
"""Recurrent layers of Brevitas against the module itself.

With scales that are powers of two float32 is exact, and the module's own result is compared. With free scales float32 rounds
the products and sums in between, so that a value next to a tie may go either way and change all steps after it: there the
module is run in float64 with the same parameters, whose rounding (2**-53 of a sum) is far below the distance of any
accumulator of these networks from a tie that it is not exactly on.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolchain.errors import ToolchainError
from toolchain.frontends import LoadedModel, load_model
from toolchain.ir import Dense, interpret, quantise_input, real_values

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("brevitas", reason="needs brevitas")

from brevitas import nn, quant  # noqa: E402

from toolchain.frontends.brevitas import export_module  # noqa: E402

STEPS, FEATURES, UNITS = 4, 5, 6
RNN = {
    "weight_quant": quant.Int8WeightPerTensorFixedPoint,
    "io_quant": quant.Int8ActPerTensorFixedPoint,
    "gate_acc_quant": quant.Int8ActPerTensorFixedPoint,
}
LSTM = {
    **RNN,
    "sigmoid_quant": quant.Uint8ActPerTensorFixedPoint,
    "tanh_quant": quant.Int8ActPerTensorFixedPoint,
    "cell_state_quant": quant.Int8ActPerTensorFixedPoint,
}
FIXED = {"QuantRNN": RNN, "QuantLSTM": LSTM}
KINDS = ("QuantRNN", "QuantLSTM")

#: What a module may take of a layer's results (everything, states).
TAKEN: dict[str, Any] = {
    "sequence": lambda out, h: out,
    "last": lambda out, h: out[:, -1],
    "first": lambda out, h: out[:, 0],
    "state": lambda out, h: h[0],
    "last_state": lambda out, h: h[-1],
    "squeezed": lambda out, h: h.squeeze(0),
    "axis": lambda out, h: h,
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """For products this small, more threads wait for each other longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(torch.nn.Module):
    def __init__(self, kind: str, taken: str = "sequence", **settings: Any) -> None:
        super().__init__()
        self.taken = taken
        self.rnn = getattr(nn, kind)(FEATURES, UNITS, **{"batch_first": True, **settings})

    def forward(self, x: Any) -> Any:
        out, state = self.rnn(x)
        if self.taken == "carried":
            return state[1][0]
        return TAKEN[self.taken](out, state[0] if isinstance(state, tuple) else state)


def trained(kind: str, taken: str = "sequence", seed: int = 1, **settings: Any) -> Any:
    """Random weights, and scales as some batches leave them."""
    torch.manual_seed(seed)
    net = Net(kind, taken, **settings)
    for parameter in net.parameters():
        if parameter.ndim:
            torch.nn.init.normal_(parameter, 0, 0.7)
    net.train()
    with torch.no_grad():
        for _ in range(4):
            net(torch.randn(32, STEPS, FEATURES) * 1.5)
    return net.eval()


def inputs(steps: int = STEPS, samples: int = 80) -> np.ndarray:
    """Ties, values between, and values beyond the quantiser's ends."""
    random = np.random.default_rng(2)
    x = random.integers(-160, 161, (samples, steps, FEATURES)) / 64
    between = random.random(x.shape) < 0.3
    return np.where(between, x + random.normal(0, 0.05, x.shape), x).astype(np.float32)


def interpreted(loaded: LoadedModel, x: np.ndarray) -> np.ndarray:
    graph, output = loaded.graph, loaded.graph.outputs[0]
    integers = interpret(graph, {graph.inputs[0].name: quantise_input(graph.inputs[0], x).integers})[output.tensor]
    return real_values(output, graph.types[output.tensor].element, integers)


def assert_same(net: Any, steps: int = STEPS) -> LoadedModel:
    loaded, x = load_model(net, input_shape=(steps, FEATURES)), inputs(steps)
    assert loaded.run is not None
    expected = interpreted(loaded, x)
    assert np.ptp(expected) > 0
    assert (np.asarray(loaded.run(x), dtype=np.float64) == expected).all()
    assert "approximations" not in loaded.graph.metadata
    return loaded


@pytest.mark.parametrize("taken", [taken for taken in TAKEN if taken != "axis"])
def test_what_is_taken_of_the_results(taken: str) -> None:
    assert_same(trained("QuantRNN", taken, **RNN))


@pytest.mark.parametrize("taken", ["sequence", "last_state", "carried"])
def test_lstm(taken: str) -> None:
    assert_same(trained("QuantLSTM", taken, **LSTM))


@pytest.mark.parametrize("kind", KINDS)
def test_both_directions_in_two_layers(kind: str) -> None:
    assert_same(trained(kind, num_layers=2, bidirectional=True, **FIXED[kind]))


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("QuantRNN", {"nonlinearity": "relu"}),
    "no_bias": ("QuantLSTM", {"bias": False}),
    "float_bias": ("QuantLSTM", {"bias_quant": None}),
    "sums_unquantised": ("QuantRNN", {"gate_acc_quant": None}),
    "coupled": ("QuantLSTM", {"coupled_input_forget_gates": True}),
    "few_bits": (
        "QuantLSTM",
        {
            "weight_bit_width": 4,
            "io_bit_width": 5,
            "sigmoid_bit_width": 4,
            "tanh_bit_width": 4,
            "cell_state_bit_width": 6,
        },
    ),
    "shifted": ("QuantRNN", {"io_quant": quant.ShiftedUint8ActPerTensorFixedPoint}),
    "shared": (
        "QuantLSTM",
        {
            "bidirectional": True,
            "shared_input_hidden_weights": True,
            "shared_intra_layer_weight_quant": True,
            "shared_intra_layer_gate_acc_quant": True,
        },
    ),
}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_options(name: str) -> None:
    kind, settings = OPTIONS[name]
    assert_same(trained(kind, **{**FIXED[kind], **settings}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [quant.Int8WeightPerTensorFloat, quant.Int8WeightPerChannelFloat])
def test_free_scales_in_float64(kind: str, weights: Any) -> None:
    net = trained(kind, weight_quant=weights)
    loaded, x = load_model(net, input_shape=(STEPS, FEATURES)), inputs()
    exact = copy.deepcopy(net).double()
    with torch.no_grad():
        found = np.asarray(exact(torch.from_numpy(x.astype(np.float64))))
    step = loaded.graph.outputs[0].scale[0]
    assert (np.rint(found / step) == np.rint(interpreted(loaded, x) / step)).all()


def test_fifty_steps_share_their_operations() -> None:
    loaded = assert_same(trained("QuantLSTM", "last", **LSTM), steps=50)
    products = [node for node in loaded.graph.nodes if re.fullmatch(r"rnn/step\d+/i/hidden", node.name)]
    assert len(products) == 49
    weights = {id(node.operation.weights) for node in products if isinstance(node.operation, Dense)}
    assert len(weights) == 1


def test_the_module_is_left_as_it_was() -> None:
    net = trained("QuantLSTM", **LSTM)
    x = torch.from_numpy(inputs())
    before = net(x)
    load_model(net, input_shape=(STEPS, FEATURES))
    assert (net(x) == before).all()
    layer = net.rnn.layers[0][0]
    assert "forward" not in vars(layer)
    assert layer.export_handler is None
    assert not layer.export_mode


REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "steps_first": (
        "QuantLSTM",
        "sequence",
        {"batch_first": False},
        "module Net: layer 'rnn' (QuantLSTM): takes (steps, batch, features); the batch has to be the first axis. Make it with "
        "batch_first=True, which leaves its weights as they are, and give it (batch, steps, features)",
    ),
    "weights": (
        "QuantRNN",
        "sequence",
        {"weight_quant": None, "bias_quant": None},
        "module Net: layer 'rnn' (QuantRNN): weight_quant is None, so its weights are not quantised; give it a weight quantiser, "
        "for example Int8WeightPerTensorFixedPoint",
    ),
    "state": (
        "QuantRNN",
        "sequence",
        {"io_quant": None, "bias_quant": None},
        "module Net: layer 'rnn' (QuantRNN): io_quant is None, so values go into products without being quantised; give it an "
        "activation quantiser, for example Int8ActPerTensorFixedPoint",
    ),
    "gates": (
        "QuantLSTM",
        "sequence",
        {"sigmoid_quant": None},
        "module Net: layer 'rnn' (QuantLSTM): sigmoid_quant is None, so values go into products without being quantised; give it "
        "an activation quantiser, for example Int8ActPerTensorFixedPoint",
    ),
    "zero": (
        "QuantLSTM",
        "sequence",
        {"cell_state_quant": quant.SignedBinaryActPerTensorConst},
        "module Net: layer 'rnn' (QuantLSTM): cell_state_quant does not keep 0, the state before the first step; use more bits",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_refusals(name: str) -> None:
    kind, taken, settings, message = REFUSED[name]
    net = Net(kind, taken, **{**FIXED[kind], **settings}).eval()
    with pytest.raises(ToolchainError) as caught:
        load_model(net, input_shape=(STEPS, FEATURES))
    assert str(caught.value) == message
    assert "forward" not in vars(net.rnn.layers[0][0])


def test_states_with_their_own_axis_are_refused() -> None:
    with pytest.raises(
        ToolchainError, match=r"takes the states of a recurrent layer .* pick one of them first, for example h\[-1\]"
    ):
        load_model(trained("QuantRNN", "axis", **RNN), input_shape=(STEPS, FEATURES))


def test_a_file_cannot_hold_them(tmp_path: Path) -> None:
    """Brevitas's own export would be a file of zeros."""
    with pytest.raises(
        ToolchainError, match="QONNX has no operation for its recurrent layers; import the module itself"
    ):
        export_module(trained("QuantLSTM", **LSTM), (STEPS, FEATURES), tmp_path / "net.onnx")
