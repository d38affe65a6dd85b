# SPDX-License-Identifier: Apache-2.0
"""Brevitas's recurrent layers (QuantRNN, QuantLSTM), read from the module itself.

Brevitas 0.13.4 cannot hand them over: its exporter replaces a QuantLSTM by zeros (its operation QuantLSTMCell exists for the
older TorchScript exporter alone, and QONNX cannot execute it), and fails on a QuantRNN. So while a module is exported, each of
its recurrent layers describes itself, with the quantised weights and the quantisers that it uses, and leaves a node in the
file that stands for it; `brevitas_cells` unrolls what was described. Such a node means something to the import of its
module, and nothing in a file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.quantiser import MAXIMUM_BITS, Quantiser, bipolar, grid_of
from toolchain.frontends.exact.values import Weights, compact, fractions_of
from toolchain.frontends.onnx_nodes.quantisers import ROUNDING_MODES, integer_range

#: The operation that stands for a layer, in a domain that files may use.
DOMAIN, OPERATION = "qonnx.custom_op.general", "RecurrentLayer"


@dataclass(frozen=True)
class GateParameters:
    """Quantised weights of shape (inputs, units), those of the state with as many rows as units.

    bias: one float32 a unit, or None. bias_integers, bias_steps: the same as integers times steps, where it is quantised.
    """

    kernel: Weights
    hidden: Weights
    bias: np.ndarray | None = None
    bias_integers: np.ndarray | None = None
    bias_steps: np.ndarray | None = None


@dataclass(frozen=True)
class Described:
    """One direction of one layer.

    name: its path in the module, shortened. function: 'lstm', or the function of a simple cell, 'tanh' or 'relu'.
    gates: by their names in the cell; quantisers: by Brevitas's names of them, None where there is none.
    one: what an LSTM whose gates are coupled subtracts its input gate from, else None.
    """

    name: str
    function: str
    units: int
    is_reversed: bool
    gates: dict[str, GateParameters]
    quantisers: dict[str, Quantiser | None]
    one: Fraction | None = None


#: Brevitas's quantisers of a cell -> the parameter of the layer that sets them.
LSTM_QUANTISERS = {
    "output_quant": "io_quant", "cell_state_quant": "cell_state_quant", "input_acc_quant": "gate_acc_quant",
    "forget_acc_quant": "gate_acc_quant", "cell_acc_quant": "gate_acc_quant", "output_acc_quant": "gate_acc_quant",
    "input_sigmoid_quant": "sigmoid_quant", "forget_sigmoid_quant": "sigmoid_quant", "output_sigmoid_quant": "sigmoid_quant",
    "cell_tanh_quant": "tanh_quant", "hidden_state_tanh_quant": "tanh_quant",
}  # fmt: skip
RNN_QUANTISERS = {"output_quant": "io_quant", "gate_acc_quant": "gate_acc_quant"}
#: What may be left out: sums may go into the functions with all their bits.
_OPTIONAL = ("gate_acc_quant",)


def can_be_exported(module: Any) -> bool:
    """Whether every recurrent layer of the module, if it has any, stands in for itself."""
    return all("forward" in vars(layer) for layer, _, _ in _layers(module, ""))


@contextmanager
def recurrent_layers(module: Any, where: str) -> Iterator[dict[str, Described]]:
    """Meanwhile, the module's recurrent layers describe themselves when they run, and leave a node when they are exported.

    Gives the descriptions, by the node's attribute `key`; they are there after the export. Raises UnsupportedModel for a layer with settings that are not supported.
    """
    known: dict[str, Described] = {}
    changed = []
    try:
        for layer, name, label in _layers(module, where):
            if not layer.cell.batch_first:
                raise UnsupportedModel(
                    f"{label}: takes (steps, batch, features); the batch has to be the first axis. Make it with batch_first=True, "
                    "which leaves its weights as they are, and give it (batch, steps, features)"
                )
            layer.export_handler = _NoHandler()  # Brevitas's own refuses some settings, and nothing calls it
            layer.forward = _standing_in(layer, name, label, known)
            changed.append(layer)
        yield known
    finally:
        for layer in changed:
            del layer.forward
            layer.export_handler = None


def _layers(module: Any, where: str) -> Iterator[tuple[Any, str, str]]:
    """(one direction of one layer, its name in the graph, its place for messages) for all of a module."""
    home = sys.modules.get("brevitas.nn.quant_rnn")
    if home is None:  # then no object can be of its classes
        return
    for found, stack in module.named_modules():
        if not isinstance(stack, home.QuantRecurrentStackBase):
            continue
        path = found or type(stack).__name__
        label = f"{where}: layer {path!r} ({type(stack).__name__})"
        for number, directions in enumerate(stack.layers):
            for layer, direction in zip(directions, ("forward", "backward"), strict=False):
                name = path + (f"/layer{number}" if len(stack.layers) > 1 else "")
                yield layer, name + (f"/{direction}" if len(directions) > 1 else ""), label


class _NoHandler:
    """In the place of an export handler, until Brevitas takes it away at the end of an export."""

    def prepare_for_export(self, layer: Any) -> None:
        pass

    def attach_debug_info(self, layer: Any) -> None:
        pass


def _standing_in(layer: Any, name: str, label: str, known: dict[str, Described]) -> Callable[..., Any]:
    """A forward that describes the layer when it runs, and is one node when it is exported."""
    import torch
    from brevitas.quant_tensor import _unpack_quant_tensor

    own = layer.forward

    def forward(inp: Any, *states: Any) -> Any:
        if any(state is not None for state in states):
            raise UnsupportedModel(f"{label}: is given its initial state; supported is a state of zeros")
        if not torch.onnx.is_in_onnx_export():
            if name not in known:
                known[name] = _describe(layer, inp, name, label)
            return own(inp, *states)
        value = _unpack_quant_tensor(layer.maybe_quantize_input(inp))
        batch, steps, _ = value.shape
        state = (batch, layer.hidden_size)
        shapes = [(batch, steps, layer.hidden_size), state, state][: len(states) + 1]
        results = torch.onnx.ops.symbolic_multi_out(
            f"{DOMAIN}::{OPERATION}",
            (value,),
            {"key": name, "steps": int(steps)},
            dtypes=[value.dtype] * len(shapes),
            shapes=shapes,
            version=1,
        )
        packed = [layer.pack_quant_outputs(results[0])]
        for result, quantiser in zip(results[1:], ("output_quant", "cell_state_quant"), strict=False):
            packed.append(layer.pack_quant_state(result, getattr(layer.cell, quantiser)))
        return tuple(packed)

    return forward


# ---- descriptions ------------------------------------------------------------------------------------------------------
def _describe(layer: Any, inp: Any, name: str, label: str) -> Described:
    import torch

    cell, is_lstm = layer.cell, hasattr(layer.cell, "cell_state_quant")
    names = LSTM_QUANTISERS if is_lstm else RNN_QUANTISERS
    units = int(layer.hidden_size)
    with torch.no_grad():
        quantisers = {
            quantiser: _quantiser(getattr(cell, quantiser), units, f"{label}: {parameter}", parameter)
            for quantiser, parameter in names.items()
        }
        quantised = layer.maybe_quantize_input(inp)
        one = None
        if is_lstm:
            parts = {gate: getattr(layer, f"{part}_gate_params") for gate, part in _PARTS.items()}
            function = "lstm"
            if layer.cifg:
                one = Fraction(
                    float(cell.input_sigmoid_quant.fused_activation_quant_proxy.tensor_quant(torch.ones(1))[0])
                )
        else:
            parts, function = {"h": layer.gate_params}, _function_of(cell.act_fn, label)
        gates = {gate: _gate(layer, part, quantised, label) for gate, part in parts.items() if part is not None}
    if _of_zero(quantisers.get("cell_state_quant")):
        raise UnsupportedModel(
            f"{label}: cell_state_quant does not keep 0, the state before the first step; use more bits"
        )
    return Described(name, function, units, bool(cell.reverse_input), gates, quantisers, one)


_PARTS = {"i": "input", "f": "forget", "c": "cell", "o": "output"}


def _function_of(module: Any, label: str) -> str:
    import torch

    names = {torch.nn.Tanh: "tanh", torch.nn.ReLU: "relu"}
    if type(module) not in names:
        raise UnsupportedModel(f"{label}: its function is {type(module).__name__}; supported are tanh and relu")
    return names[type(module)]


def _of_zero(quantiser: Quantiser | None) -> bool:
    """Whether a quantiser makes something else of 0."""
    if quantiser is None:
        return False
    return quantiser.is_bipolar or not quantiser.lowest <= quantiser.zero_point <= quantiser.highest


def _quantiser(proxy: Any, units: int, label: str, parameter: str) -> Quantiser | None:
    """A quantiser of the cell; its function, where it has one, is not part of it."""
    if not proxy.is_quant_enabled:
        if parameter in _OPTIONAL:
            return None
        raise UnsupportedModel(
            f"{label} is None, so values go into products without being quantised; give it an activation quantiser, for example "
            "Int8ActPerTensorFixedPoint"
        )
    if type(proxy).__name__ != "ActQuantProxyFromInjector" or proxy.is_groupwise:
        raise UnsupportedModel(
            f"{label}: is a {type(proxy).__name__}; supported are integer quantisers with a fixed scale"
        )
    scale, zero, bits = (np.asarray(value().detach()) for value in (proxy.scale, proxy.zero_point, proxy.bit_width))
    width = int(bits)
    if width != float(bits) or not 1 <= width <= MAXIMUM_BITS:
        raise UnsupportedModel(f"{label}: bit width is {float(bits):g}; supported are 1 to {MAXIMUM_BITS}")
    steps = grid_of(scale, units, label)
    if width == 1:
        return bipolar(steps)
    mode = str(proxy.rounding_mode).upper()
    if mode not in ROUNDING_MODES or np.unique(zero).size != 1 or (zero != np.rint(zero)).any():
        raise UnsupportedModel(
            f"{label}: rounds by {mode!r} with zero point {zero.tolist()}; supported are {', '.join(ROUNDING_MODES)} and one whole zero point"
        )
    lowest, highest = integer_range(width, signed=bool(proxy.is_signed), narrow=bool(proxy.is_narrow_range))
    return Quantiser(steps, lowest, highest, ROUNDING_MODES[mode], int(zero.reshape(-1)[0]))


def _gate(layer: Any, gate: Any, quantised: Any, label: str) -> GateParameters:
    kernel, hidden, bias = layer.gate_params_fwd(gate, quantised)
    weights = _weights(kernel, label), _weights(hidden, label)
    if bias is None:
        return GateParameters(*weights)
    values = np.asarray(getattr(bias, "value", bias).detach(), dtype=np.float64)
    if getattr(bias, "scale", None) is None:
        return GateParameters(*weights, values)
    steps = np.broadcast_to(np.asarray(bias.scale.detach(), dtype=np.float64).reshape(-1), values.shape)
    return GateParameters(*weights, values, np.rint(values / steps).astype(np.int64), steps)


def _weights(tensor: Any, label: str) -> Weights:
    if getattr(tensor, "scale", None) is None or not hasattr(tensor, "zero_point"):
        raise UnsupportedModel(
            f"{label}: weight_quant is None, so its weights are not quantised; give it a weight quantiser, for example "
            "Int8WeightPerTensorFixedPoint"
        )
    values, scale = (np.asarray(part.detach(), dtype=np.float64) for part in (tensor.value, tensor.scale))
    outputs = values.shape[0]
    if scale.size != 1 and (scale.size != outputs or scale.shape[0] != outputs):
        raise UnsupportedModel(
            f"{label}: its weights have a scale of shape {scale.shape}; supported is one, or one a unit"
        )
    steps = scale.reshape(-1)
    integers = np.rint(values / (steps[:, None] if steps.size > 1 else steps)).astype(np.int64)
    return Weights(np.ascontiguousarray(integers.T), compact(fractions_of(steps)))


# ---- results -----------------------------------------------------------------------------------------------------------
def taken_directly(proto: Any, layers: Mapping[str, Described], where: str) -> None:
    """Let what picks one step or one state out of a layer's results take it directly; the nodes between are left out.

    torch gives states an axis before the batch, (layers and directions, batch, units), which no tensor of the graph has. And the
    result of the last step alone, the state, needs no others.
    """
    from onnx import helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    outputs = {value.name for value in proto.graph.output}
    stacks: dict[str, list[str]] = {}
    lasts: dict[str, tuple[str, tuple[int, ...]]] = {}
    states: set[str] = set()
    aliases: dict[str, str] = {}
    kept = []
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = aliases.get(name, name)
        first = node.input[0] if node.input else ""
        second = constants.get(node.input[1]) if len(node.input) > 1 else None
        index = None if second is None or second.size != 1 else int(second.reshape(-1)[0])
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        if node.op_type == OPERATION and node.domain == DOMAIN:
            steps, key = (_attribute(node, name) for name in ("steps", "key"))
            layer = layers.get(str(key))
            if layer is not None:
                lasts[node.output[0]] = node.output[1], (0,) if layer.is_reversed else (-1, int(steps) - 1)
            states.update(node.output[1:])
        elif node.op_type == "Unsqueeze" and first in states and index == 0:
            stacks[node.output[0]] = [first]
        elif node.op_type == "Concat" and axis == 0 and all(name in stacks for name in node.input):
            stacks[node.output[0]] = [state for name in node.input for state in stacks[name]]
        elif node.op_type == "Gather" and second is not None and second.ndim == 0 and index is not None:
            if axis == 0 and first in stacks:
                aliases[node.output[0]] = stacks[first][index]
            elif axis == 1 and first in lasts and index in lasts[first][1]:
                aliases[node.output[0]] = lasts[first][0]
        elif node.op_type == "Squeeze" and len(stacks.get(first, ())) == 1 and index in (0, None):
            aliases[node.output[0]] = stacks[first][0]
        if node.output[0] not in aliases:
            kept.append(node)
        elif node.output[0] in outputs:
            kept.append(helper.make_node("Identity", [aliases.pop(node.output[0])], list(node.output), name=node.name))
    kept = [node for node in kept if node.output[0] not in stacks]
    readers = [f"{node.name!r} ({node.op_type})" for node in kept if stacks.keys() & set(node.input)]
    readers += [f"output {name!r}" for name in outputs if name in stacks]
    if readers:
        raise UnsupportedModel(
            f"{where}: {readers[0]} takes the states of a recurrent layer with their axis of layers and directions, which comes "
            "before the batch; pick one of them first, for example h[-1]"
        )
    nodes = [type(node).FromString(node.SerializeToString()) for node in kept]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _attribute(node: Any, name: str) -> Any:
    from onnx import helper

    found = next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), b"")
    return found.decode() if isinstance(found, bytes) else found
