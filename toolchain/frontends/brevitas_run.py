# SPDX-License-Identifier: Apache-2.0
"""A torch module's own forward: the framework side of the comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolchain.errors import InputError, UnsupportedModel

#: Samples in one forward.
_CHUNK_SAMPLES = 1024
#: Functions that, as the last one, stay on the host, by torch's names.
_ENDS = {"softmax", "log_softmax", "sigmoid", "tanh"}


def forward_of(
    module: Any, inputs: Sequence[str], outputs: Sequence[str], ends: Mapping[str, str], where: str
) -> Callable[[Any], Any]:
    """A function from real inputs to the real values of the graph's outputs, by the module itself in evaluation mode.

    It takes one array (samples, *shape), or one by name where there are several inputs, and returns one array, or one by name
    where there are several outputs.
    inputs: names in the order of the module's arguments. outputs: names in the order in which the module's result holds them.
    ends: for outputs whose last function stays on the host, that function; their values are those before it.
    """

    def run(x: Any) -> Any:
        import torch

        feeds = x if isinstance(x, Mapping) else {inputs[0]: x}
        missing = [name for name in inputs if name not in feeds]
        if missing:
            raise InputError(f"{where}: input {missing[0]!r} is missing; found {sorted(feeds)}")
        device = next((tensor.device for tensor in module.state_dict().values()), torch.device("cpu"))
        tensors = [torch.tensor(np.asarray(feeds[name], dtype=np.float32), device=device) for name in inputs]
        was_training = module.training
        module.eval()
        parts = []
        try:
            with torch.no_grad():
                for start in range(0, max(1, len(tensors[0])), _CHUNK_SAMPLES):
                    parts.append(
                        _values(module, [t[start : start + _CHUNK_SAMPLES] for t in tensors], outputs, ends, where)
                    )
        finally:
            module.train(was_training)
        whole = [np.concatenate(part) for part in zip(*parts, strict=True)]
        return whole[0] if len(whole) == 1 else dict(zip(outputs, whole, strict=True))

    return run


def _values(
    module: Any, tensors: Sequence[Any], outputs: Sequence[str], ends: Mapping[str, str], where: str
) -> list[np.ndarray]:
    """One chunk's results, in the order of `outputs`."""
    from torch.overrides import TorchFunctionMode

    #: id of a function's result -> (the result, which keeps the id its own; what it was computed from).
    before: dict[int, tuple[Any, Any]] = {}

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            if getattr(function, "__name__", "") in _ENDS:
                before[id(result)] = (result, args[0] if args else (kwargs or {}).get("input"))
            return result

    with Watch():
        results = _leaves(module(*tensors))
    if len(results) != len(outputs):
        raise UnsupportedModel(
            f"{where}: returns {len(results)} tensors, its export {len(outputs)}; return each tensor once"
        )
    values = []
    for name, result in zip(outputs, results, strict=True):
        if name in ends and id(result) not in before:
            raise UnsupportedModel(f"{where}: ends in {ends[name]}; let the module return what comes before it")
        wanted = before[id(result)][1] if name in ends else result
        values.append(np.asarray(getattr(wanted, "value", wanted).detach().cpu()))
    return values


def _leaves(result: Any) -> list[Any]:
    """The tensors in a module's result, in the order in which torch exports them."""
    if hasattr(result, "value") and hasattr(result, "scale"):  # a tensor of Brevitas, with its scale
        return [result]
    if isinstance(result, Mapping):
        return [leaf for value in result.values() for leaf in _leaves(value)]
    if isinstance(result, (list, tuple)):
        return [leaf for value in result for leaf in _leaves(value)]
    return [result]
