# SPDX-License-Identifier: Apache-2.0
"""Keras models as networks of layer calls: one traversal, for the conversion and for the framework's own forward alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np

from toolchain.errors import InputError, UnsupportedModel
from toolchain.frontends.exact.values import Site
from toolchain.frontends.imported import Meaning
from toolchain.frontends.qkeras_runtime import import_tf_keras

#: float32 values of one tensor that a piece of a batch may hold in the framework's forward; bounds memory.
_PIECE_VALUES = 1 << 24

Tensor = TypeVar("Tensor")


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    layer: the framework's layer; models inside the model are taken apart. path: names from the outermost model's layer to this
    one, with '/' between them. key: which call it is, in this and all enclosing models.
    """

    layer: Any
    path: str
    key: tuple[int, ...]

    def site(self, where: str) -> Site:
        source = f"{self.path!r} ({type(self.layer).__name__})"
        return Site(self.path, source, f"{where}: layer {source}" if where else f"layer {source}")


def traverse(
    model: Any,
    values: Sequence[Tensor],
    visit: Callable[[Call, list[Tensor]], Tensor],
    *,
    accept: Callable[[Call], None] = lambda call: None,
    where: str = "",
    prefix: str = "",
    key: tuple[int, ...] = (),
) -> list[Tensor]:
    """The model's outputs for values of its inputs, layer by layer in an order in which inputs come first.

    visit: (call, the values of its inputs) -> the value of its result. accept: called first, raises for a layer that it does not
    know.
    Raises UnsupportedModel for calls that say more than which tensors go in.
    """
    known: dict[int, Tensor] = {id(tensor): value for tensor, value in zip(model.inputs, values, strict=True)}
    calls = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    uses: dict[int, int] = {id(tensor): 1 for tensor in model.outputs}
    for node in calls:
        for tensor in node.keras_inputs:
            uses[id(tensor)] = uses.get(id(tensor), 0) + 1
    for number, node in enumerate(calls):
        if node.is_input:
            continue
        call = Call(node.layer, f"{prefix}{node.layer.name}", (*key, number))
        if not is_model(node.layer):
            accept(call)
        arguments = _tensors(node, call.site(where))
        inputs = [known[id(tensor)] for tensor in arguments]
        for tensor in arguments:
            # Forget what nobody needs any more: activations of large batches add up.
            uses[id(tensor)] -= 1
            if uses[id(tensor)] == 0:
                del known[id(tensor)]
        outputs = _flat(node.outputs)
        if is_model(node.layer):
            label = call.site(where).label
            require_network(node.layer, label)
            results = traverse(
                node.layer, inputs, visit, accept=accept, where=where, prefix=f"{call.path}/", key=call.key
            )
        else:
            results = [visit(call, inputs)]
        if len(results) != len(outputs):
            raise UnsupportedModel(f"{call.site(where).label}: gives {len(outputs)} tensors; supported is one")
        known.update((id(tensor), result) for tensor, result in zip(outputs, results, strict=True))
    return [known[id(tensor)] for tensor in model.outputs]


def is_model(layer: Any) -> bool:
    return isinstance(layer, import_tf_keras().Model)


def require_network(model: Any, label: str) -> None:
    """Raise UnsupportedModel unless the model is a network of layer calls."""
    keras = import_tf_keras()
    if type(model).call not in (keras.Model.call, keras.Sequential.call, _functional().call):
        raise UnsupportedModel(
            f"{label}: is of class {type(model).__name__!r} with a call of its own; supported are Sequential and functional "
            "models"
        )
    if not getattr(model, "outputs", None) or not hasattr(model, "_nodes_by_depth"):
        raise UnsupportedModel(f"{label}: is not built: its input shape is unknown; begin it with an Input layer")


def _functional() -> Any:
    from tf_keras.src.engine.functional import Functional

    return Functional


def _flat(structure: Any) -> list[Any]:
    import tensorflow

    return list(tensorflow.nest.flatten(structure))


def _tensors(node: Any, site: Site) -> list[Any]:
    """The tensors that a call takes."""
    extra = {name: value for name, value in node.call_kwargs.items() if value is not None}
    if extra.get("training") is False:
        del extra["training"]
    if extra:
        name, value = next(iter(extra.items()))
        raise UnsupportedModel(f"{site.label}: is called with {name}={value!r}; give it its inputs only")
    tensors = _flat(node.call_args)
    if len(node.call_args) != 1 or len(tensors) != len(node.keras_inputs):
        raise UnsupportedModel(
            f"{site.label}: is called with arguments that are not tensors of the model; give it one tensor, or one list of them"
        )
    return tensors


def sample_shape(tensor: Any, label: str) -> tuple[int, ...]:
    """The shape without the batch. Raises UnsupportedModel where a size is not fixed."""
    shape = tuple(tensor.shape)[1:]
    if not shape or any(size is None for size in shape):
        raise UnsupportedModel(f"{label}: has shape {shape}; every size but the batch must be fixed")
    return tuple(int(size) for size in shape)


class Forward:
    """The framework's own forward in float32, layer by layer, without what stays on the host.

    A call takes real inputs, one array (samples, *shape) or a mapping of one for each input's name, and gives the real values
    of the graph's outputs: one array, or a mapping by the outputs' names where there are several.
    bare: calls whose layer is replaced by something that does less: the call's key -> the function of its input.
    meanings: of calls whose result is a node of the graph, by the call's key.
    """

    def __init__(
        self,
        model: Any,
        input_names: Sequence[str],
        output_names: Sequence[str],
        bare: dict[tuple[int, ...], Callable[[Any], Any]],
        meanings: Mapping[tuple[int, ...], Meaning],
    ) -> None:
        self._model, self._inputs, self._outputs, self._bare = model, list(input_names), list(output_names), bare
        self._meanings = meanings
        self._largest = 1

    def inner(self, x: Any) -> dict[str, np.ndarray]:
        """See `ImportedModel.inner`."""
        parts: dict[str, list[np.ndarray]] = {meaning.node: [] for meaning in self._meanings.values()}

        def visit(call: Call, inputs: list[Any]) -> Any:
            result = self._visit(call, inputs)
            if call.key in self._meanings:
                meaning = self._meanings[call.key]
                parts[meaning.node].append(meaning.integers(np.asarray(result)))
            return result

        self._forward(x, visit)
        return {node: np.concatenate(part) for node, part in parts.items() if part}

    def __call__(self, x: Any) -> Any:
        return self._forward(x, self._visit)

    def _forward(self, x: Any, visit: Callable[[Call, list[Any]], Any]) -> Any:
        feeds = self._feeds(x)
        samples = len(feeds[0])
        step = max(1, min(4096, _PIECE_VALUES // self._widest()))
        parts: list[list[np.ndarray]] = [[] for _ in self._outputs]
        for start in range(0, samples, step):
            results = traverse(self._model, [feed[start : start + step] for feed in feeds], visit)
            for part, result in zip(parts, results, strict=True):
                part.append(np.asarray(result, dtype=np.float32))
        whole = [
            np.concatenate(part) if part else np.empty((0, *sample_shape(tensor, "output")), dtype=np.float32)
            for part, tensor in zip(parts, self._model.outputs, strict=True)
        ]
        return whole[0] if len(whole) == 1 else dict(zip(self._outputs, whole, strict=True))

    def _feeds(self, x: Any) -> list[np.ndarray]:
        if not isinstance(x, Mapping):
            if len(self._inputs) != 1:
                raise InputError(f"the model has inputs {self._inputs}: give one array for each, by name")
            x = {self._inputs[0]: x}
        if set(x) != set(self._inputs):
            raise InputError(f"the model has inputs {self._inputs}, found {sorted(x)}")
        return [np.asarray(x[name], dtype=np.float32) for name in self._inputs]

    def _widest(self) -> int:
        """Elements of the largest tensor of one sample."""
        if self._largest == 1:
            shapes: list[int] = [prod(sample_shape(tensor, "input")) for tensor in self._model.inputs]

            def visit(call: Call, inputs: list[int]) -> int:
                shapes.append(
                    max(
                        (prod(tuple(t.shape)[1:]) for n in call.layer._inbound_nodes for t in _flat(n.outputs)),
                        default=1,
                    )
                )
                return 0

            traverse(self._model, [0] * len(shapes), visit)
            self._largest = max(shapes)
        return self._largest

    def _visit(self, call: Call, inputs: list[Any]) -> Any:
        if call.key in self._bare:
            return self._bare[call.key](inputs[0])
        layer = call.layer
        argument = inputs[0] if len(inputs) == 1 else inputs
        if type(layer).__name__ == "BatchNormalization" and getattr(layer, "fused", False):
            return _unfused(layer, argument)
        return layer(argument, training=False) if layer._expects_training_arg else layer(argument)


def _unfused(layer: Any, x: Any) -> Any:
    """Keras's own batch normalisation with ``fused=False`` (see qkeras_layers/normalisation.py)."""
    import tensorflow

    return tensorflow.nn.batch_normalization(
        x, layer.moving_mean, layer.moving_variance, layer.beta, layer.gamma, layer.epsilon
    )
