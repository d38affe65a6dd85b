# SPDX-License-Identifier: Apache-2.0
"""hls4ml's own layers for what they can express, and whether they compute exactly that.

What is called exact here is found equal to the interpreter by a run over every case (docs/hls4ml.md is made by it). Where a
layer is not exact or does not compile, the project's extension layer takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from toolchain.backends.hls4ml.words import real_constants
from toolchain.ir import (
    Add,
    Concatenate,
    Conv,
    MaxPool,
    Multiply,
    Operation,
    Pad,
    Slice,
    SumPool,
    TensorType,
    Transpose,
    Upsample,
)

#: On parallel arrays hls4ml writes one line of C++ for each value under each position of the window.
LONGEST_WINDOW_CODE = 2000
_LAST = {"data_format": "channels_last"}


@dataclass(frozen=True)
class Own:
    """A layer of hls4ml's own: its class name and attributes, and why it is not exact ('' if it is)."""

    kind: str
    attributes: dict[str, Any]
    fault: str = ""


def own_layer(operation: Operation, types: tuple[TensorType, ...], y: TensorType, *, stream: bool) -> Own | None:
    """hls4ml's layer for the operation, None if it has none with these options."""
    maker = _MAKERS.get(type(operation))
    return maker(operation, types, y, stream) if maker else None


def _axes(rank: int, one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any] | None:
    return {1: one, 2: two}.get(rank)


def _window(
    x: TensorType, y: TensorType, window: tuple[int, ...], strides: tuple[int, ...], label: str
) -> dict[str, Any]:
    """Sizes of a window over one or two axes; `label` is how hls4ml calls its size."""
    names = ("width",) if len(window) == 1 else ("height", "width")
    sizes: dict[str, Any] = {**_LAST, "pad_left": 0, "pad_right": 0}
    if len(window) == 2:
        sizes |= {"pad_top": 0, "pad_bottom": 0}
    for name, size, out, taps, step in zip(names, x.shape, y.shape, window, strides, strict=False):
        sizes |= {f"in_{name}": size, f"out_{name}": out, f"{label}_{name}": taps, f"stride_{name}": step}
    return sizes


def _conv(operation: Conv, types: tuple[TensorType, ...], y: TensorType, stream: bool) -> Own | None:
    (x,) = types
    if any(step != 1 for step in operation.dilation):
        return None
    depthwise = operation.groups > 1 and operation.groups == operation.input_channels
    if operation.groups > 1 and not depthwise:
        return None
    rank = len(operation.window)
    attributes = _window(x, y, operation.window, operation.strides, "filt")
    attributes |= {"n_chan": x.channels, "n_filt": y.channels}
    weights = real_constants(operation.weights, operation.weight_fraction)
    if depthwise:
        multiplier = operation.output_channels // operation.groups
        shape = (*operation.window, operation.groups, multiplier)
        attributes |= {"depthwise_data": weights.reshape(shape), "depth_multiplier": multiplier}
        return Own(f"DepthwiseConv{rank}D", attributes, _depthwise_fault(operation, y, stream))
    attributes["weight_data"] = weights
    return Own(f"Conv{rank}D", attributes, _conv_fault(operation, y, stream))


def _conv_fault(operation: Conv, y: TensorType, stream: bool) -> str:
    if stream and len(operation.window) == 2 and operation.window[0] == 1 and operation.strides[0] > 1:
        return "takes every row where the window is one row high"
    values = y.size // y.channels * prod(operation.weights.shape[:-1])
    if not stream and values > LONGEST_WINDOW_CODE:
        return f"writes {values} lines of C++ for its windows"
    return ""


def _depthwise_fault(operation: Conv, y: TensorType, stream: bool) -> str:
    if len(operation.window) == 1:
        return "its header cannot be compiled next to that of the two-dimensional layer"
    if operation.output_channels != operation.groups:
        return "several outputs of a channel come out wrong"
    return _conv_fault(operation, y, stream)


def _pool(operation: MaxPool | SumPool, types: tuple[TensorType, ...], y: TensorType, stream: bool) -> Own | None:
    (x,) = types
    rank = len(operation.window)
    if rank > 2 or (isinstance(operation, MaxPool) and any(step != 1 for step in operation.steps)):
        return None
    attributes = _window(x, y, operation.window, operation.strides, "pool")
    if rank == 1:
        attributes |= {"n_in": attributes.pop("in_width"), "n_out": attributes.pop("out_width")}
    attributes |= {"n_filt": x.channels, "count_pad": False}
    if isinstance(operation, SumPool):
        return Own(f"AveragePooling{rank}D", attributes, "divides and rounds; a sum is wanted")
    return Own(f"MaxPooling{rank}D", attributes)


def _merge(operation: Add | Multiply, types: tuple[TensorType, ...], y: TensorType, stream: bool) -> Own | None:
    op = "multiply" if isinstance(operation, Multiply) else "subtract" if operation.subtract else "add"
    fault = "" if types[0].shape == types[1].shape else "repeats no operand"
    return Own("Merge", {"op": op}, fault)


def _concatenate(operation: Concatenate, types: tuple[TensorType, ...], y: TensorType, stream: bool) -> Own | None:
    if len(types) != 2 or len(y.shape) > 3:
        return None
    return Own("Concatenate", {"axis": operation.axis + 1, "op": f"concatenate{len(y.shape)}d"})


def _pad(operation: Pad, types: tuple[TensorType, ...], y: TensorType, stream: bool) -> Own | None:
    (x,) = types
    if operation.value or any(operation.widths[-1]) or x.shape == y.shape:
        return None
    names = {2: ("width",), 3: ("height", "width")}.get(len(x.shape))
    if names is None:
        return None
    attributes: dict[str, Any] = {**_LAST, "n_chan": x.channels}
    ends = {"height": ("top", "bottom"), "width": ("left", "right")}
    for name, size, out, pair in zip(names, x.shape, y.shape, operation.widths, strict=False):
        attributes |= {f"in_{name}": size, f"out_{name}": out}
        attributes |= {f"pad_{end}": width for end, width in zip(ends[name], pair, strict=True)}
    return Own(f"ZeroPadding{len(names)}D", attributes)


def _upsample(operation: Upsample, types: tuple[TensorType, ...], y: TensorType, stream: bool) -> Own | None:
    (x,) = types
    if operation.factors[-1] != 1 or len(x.shape) not in (2, 3):
        return None
    attributes: dict[str, Any] = {**_LAST, "n_chan": x.channels, "algorithm": "nearest", "align_corners": False}
    attributes |= {"in_width": x.shape[-2], "out_width": y.shape[-2], "in_height": 1, "out_height": 1}
    if len(x.shape) == 3:
        attributes |= {"in_height": x.shape[0], "out_height": y.shape[0]}
    return Own(f"UpSampling{len(x.shape) - 1}D", attributes)


def _slice(operation: Slice, types: tuple[TensorType, ...], y: TensorType, stream: bool) -> Own | None:
    (x,) = types
    whole = (operation.starts[-1], operation.stops[-1]) == (0, x.channels)
    if not whole or any(step != 1 for step in operation.steps) or len(x.shape) not in (2, 3):
        return None
    names = ("width",) if len(x.shape) == 2 else ("height", "width")
    ends = {"height": ("top", "bottom"), "width": ("left", "right")}
    attributes: dict[str, Any] = {**_LAST, "n_chan": x.channels}
    for axis, name in enumerate(names):
        before, after = ends[name]
        attributes |= {f"in_{name}": x.shape[axis], f"out_{name}": y.shape[axis]}
        attributes |= {f"crop_{before}": operation.starts[axis], f"crop_{after}": x.shape[axis] - operation.stops[axis]}
    return Own(f"Cropping{len(names)}D", attributes)


def _transpose(operation: Transpose, types: tuple[TensorType, ...], y: TensorType, stream: bool) -> Own | None:
    if operation.permutation == tuple(range(len(y.shape))):
        return None
    return Own("Transpose", {"perm": list(operation.permutation)})


_MAKERS: dict[type[Operation], Any] = {
    Conv: _conv,
    MaxPool: _pool,
    SumPool: _pool,
    Add: _merge,
    Multiply: _merge,
    Concatenate: _concatenate,
    Pad: _pad,
    Upsample: _upsample,
    Slice: _slice,
    Transpose: _transpose,
}
