# SPDX-License-Identifier: Apache-2.0
"""The integer graph as PyTorch functions on floats that hold integers: one entry an operation.

Exact within the bound that `float_exactness` checks first. Tensors are (batch, *shape); channels are the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from toolchain.ir import (
    AddBias,
    ArgMax,
    Dense,
    Graph,
    Input,
    Operation,
    Overflow,
    Relu,
    Requantise,
    Reshape,
    Rounding,
    TensorType,
    Threshold,
)
from toolchain.measure.float_exactness import clipped_thresholds, plan_requantise

if TYPE_CHECKING:
    import torch

    Step = Callable[[torch.Tensor], torch.Tensor]
    #: Makes a constant tensor, in the model's dtype and on its device, from integers.
    MakeConstant = Callable[[np.ndarray], torch.Tensor]

Lowering = TypeVar("Lowering", bound=Callable[..., Any])
LOWERINGS: dict[type[Operation], Callable[..., Any]] = {}


def lowers(kind: type[Operation]) -> Callable[[Lowering], Lowering]:
    def register(function: Lowering) -> Lowering:
        LOWERINGS[kind] = function
        return function

    return register


@lowers(Dense)
def dense(operation: Dense, x_type: TensorType, make: MakeConstant) -> Step:
    weights = make(operation.weights)
    return lambda x: x @ weights


@lowers(AddBias)
def add_bias(operation: AddBias, x_type: TensorType, make: MakeConstant) -> Step:
    input_shift, bias_shift = operation.shifts(x_type.element)
    bias = make(operation.bias.astype(object) << bias_shift)
    if input_shift == 0:
        return lambda x: x + bias
    # An input that is always 0 may be shifted by any amount, also by more than a float holds.
    factor = float(1 << input_shift) if x_type.element.magnitude else 1.0
    return lambda x: x * factor + bias


@lowers(Relu)
def relu(operation: Relu, x_type: TensorType, make: MakeConstant) -> Step:
    import torch

    shift = operation.negative_slope_shift
    highest = x_type.element.maximum << (shift or 0)
    # A bound that no value reaches is left out: it may be any large integer.
    bound = operation.upper_bound if operation.upper_bound is not None and operation.upper_bound < highest else None
    if shift is None:
        return lambda x: torch.clamp(x, 0, bound)
    slope = float(1 << shift)

    def leaky(x: torch.Tensor) -> torch.Tensor:
        y = torch.maximum(x * slope, x)  # slope * x is the larger of the two exactly where x >= 0
        return y if bound is None else torch.clamp(y, max=bound)

    return leaky


@lowers(Threshold)
def threshold(operation: Threshold, x_type: TensorType, make: MakeConstant) -> Step:
    thresholds = make(clipped_thresholds(operation, x_type))
    offset = operation.offset
    return lambda x: (x.unsqueeze(-1) >= thresholds).sum(-1, dtype=x.dtype) + offset


@lowers(ArgMax)
def argmax(operation: ArgMax, x_type: TensorType, make: MakeConstant) -> Step:
    # torch.argmax returns the first of several maxima, as the graph does (documented since 1.7).
    return lambda x: x.argmax(dim=-1, keepdim=True).to(x.dtype)


@lowers(Reshape)
def reshape(operation: Reshape, x_type: TensorType, make: MakeConstant) -> Step:
    shape = operation.shape
    return lambda x: x.reshape(x.shape[0], *shape)


@lowers(Requantise)
def requantise(operation: Requantise, x_type: TensorType, make: MakeConstant) -> Step:
    plan = plan_requantise(operation, x_type)
    factor = 2.0**plan.scale_exponent
    round_scaled = _rounding(operation.rounding) if plan.scale_exponent < 0 else None
    fit = _overflow(operation) if plan.leaves_target else None

    def step(x: torch.Tensor) -> torch.Tensor:
        y = x if factor == 1.0 else x * factor
        y = y if round_scaled is None else round_scaled(y)
        return y if fit is None else fit(y)

    return step


def _rounding(rounding: Rounding) -> Step:
    """Round exact quotients to integers. A tie is where the quotient equals floor + 1/2, which is exact too."""
    import torch

    simple: dict[Rounding, Step] = {
        Rounding.TRUNCATE: torch.floor,
        Rounding.CEILING: torch.ceil,
        Rounding.TRUNCATE_ZERO: torch.trunc,
        Rounding.HALF_EVEN: torch.round,  # ties to even, as IEEE 754 roundToIntegralTiesToEven
        Rounding.HALF_UP: lambda q: torch.floor(q + 0.5),
        Rounding.HALF_DOWN: lambda q: torch.ceil(q - 0.5),
        Rounding.AWAY: lambda q: torch.where(q < 0, torch.floor(q), torch.ceil(q)),
        Rounding.HALF_ZERO: lambda q: torch.where(q < 0, torch.floor(q + 0.5), torch.ceil(q - 0.5)),
        Rounding.HALF_AWAY: lambda q: torch.where(q < 0, torch.ceil(q - 0.5), torch.floor(q + 0.5)),
        Rounding.HALF_DPU: lambda q: torch.where(q < 0, torch.floor(q + 0.5), torch.round(q)),
    }
    return simple[rounding]


def _overflow(operation: Requantise) -> Step:
    import torch

    target = operation.target
    low, high = target.minimum, target.maximum
    if operation.overflow is Overflow.SATURATE:
        return lambda y: torch.clamp(y, low, high)
    if operation.overflow is Overflow.SATURATE_ZERO:
        # A product, not torch.where with a constant: that copies the constant, which a CUDA graph cannot capture.
        return lambda y: y * ((y >= low) & (y <= high)).to(y.dtype)
    modulus = float(1 << target.width)
    half = modulus / 2

    def wrap(y: torch.Tensor) -> torch.Tensor:
        unsigned = y - modulus * torch.floor(y / modulus)
        return torch.where(unsigned >= half, unsigned - modulus, unsigned) if target.signed else unsigned

    if operation.overflow is Overflow.WRAP:
        return wrap

    def wrap_sign_magnitude(y: torch.Tensor) -> torch.Tensor:
        quotient = torch.floor(y / modulus)
        bit_above = quotient - 2 * torch.floor(quotient / 2)
        wrapped = wrap(y)
        return torch.where((bit_above == 1) != (wrapped < 0), -1 - wrapped, wrapped)

    return wrap_sign_magnitude


def torch_function(
    graph: Graph, dtype: str, device: str
) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """A function from graph inputs to graph outputs, both by name, as float tensors that hold integers.

    dtype: 'float32' or 'float64', as `float_exactness.float_precision` found; device: where the constants live.
    """
    import torch

    element = {"float32": torch.float32, "float64": torch.float64}[dtype]

    def make(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float64)).to(element).to(device)

    steps: list[tuple[str, str, Step]] = []
    last_use = {name: node.name for node in graph.nodes for name in node.inputs}
    for node in graph.nodes:
        if not isinstance(node.operation, Input):
            step = LOWERINGS[type(node.operation)](node.operation, graph.input_types(node)[0], make)
            steps.append((node.name, node.inputs[0], step))
    wanted = {output.tensor for output in graph.outputs}

    def run(feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        live = dict(feeds)
        for name, operand, step in steps:
            live[name] = step(live[operand])
            if last_use[operand] == name and operand not in wanted:
                del live[operand]
        return {output.name: live[output.tensor] for output in graph.outputs}

    return run
