# SPDX-License-Identifier: Apache-2.0
"""The sliding window and the reduction over it that convolutions and pools share."""

from __future__ import annotations

from toolchain.backends.rtl.streaming.instance import Instance, flag, number
from toolchain.backends.rtl.streaming.window_timing import (
    Windows,
    parallel_window_timing,
    sliding_window_timing,
    window_reduce_timing,
)
from toolchain.ir import Conv, IntegerType, MaxPool, SumPool, TensorType
from toolchain.passes.folding_model import slides, taps
from toolchain.passes.group_stages import Stage

#: Elements that window_reduce takes.
_WIDEST_ELEMENT = 64


def image_size(tensor: TensorType) -> tuple[int, int]:
    """(rows, pixels of a row) of a tensor with channels and at most two axes before them."""
    spatial = tensor.shape[:-1]
    assert len(spatial) <= 2
    height, width = (1,) * (2 - len(spatial)) + spatial
    return height, width


def pair(values: tuple[int, ...], missing: int = 1) -> tuple[int, int]:
    """(rows, columns) of one entry for each spatial axis."""
    first, second = (missing,) * (2 - len(values)) + tuple(values)
    return first, second


def too_many_axes(stage: Stage) -> str | None:
    """None if the stage's tensors are images, lines or vectors, else the reason."""
    axes = max(len(tensor.shape) for tensor in (*stage.input_types, stage.output_type)) - 1
    return f"{axes} spatial axes; allowed are 2" if axes > 2 else None


def window_instances(stage: Stage, lanes: int) -> tuple[Instance, ...]:
    """sliding_window, or nothing where every pixel is used once, in order."""
    if not slides(stage):
        return ()
    windows = _windows(stage, stage.input_type.channels // lanes)
    return (window_instance(windows, stage.input_type, lanes, windows.least_buffer_beats),)


def parallel_window_instances(stage: Stage) -> tuple[Instance, ...]:
    """parallel_window: the whole window in one beat, of a stage that slides."""
    return (_parallel_window_instance(_windows(stage, 1), stage.input_type, 1),)


def _windows(stage: Stage, pixel_beats: int) -> Windows:
    operation = stage.operation
    assert isinstance(operation, Conv | MaxPool | SumPool)
    dilation = (1,) * len(operation.window)
    if isinstance(operation, Conv):
        dilation = operation.dilation
    elif isinstance(operation, MaxPool):
        dilation = operation.steps
    height, width = image_size(stage.input_type)
    return Windows(
        height,
        width,
        pixel_beats,
        pair(operation.window),
        pair(operation.strides),
        pair(dilation),
    )


def _geometry(windows: Windows) -> tuple[tuple[str, str], ...]:
    """Parameters for kernel, stride and dilation."""
    pairs = (("KERNEL", windows.kernel), ("STRIDE", windows.stride), ("DILATION", windows.dilation))
    return tuple(
        (f"{label}_{axis}", number(value))
        for label, values in pairs
        for axis, value in zip(("HEIGHT", "WIDTH"), values, strict=True)
    )


def _parallel_window_instance(windows: Windows, tensor: TensorType, slots: int) -> Instance:
    """parallel_window with room for `slots` windows; the schedule decides how many there have to be."""
    taps = windows.window_beats
    return Instance(
        module="parallel_window",
        parameters=(
            ("HEIGHT", number(windows.height)),
            ("WIDTH", number(windows.width)),
            ("CHANNELS", number(tensor.channels)),
            ("ELEMENT_WIDTH", number(tensor.element.width)),
            *_geometry(windows),
            ("SLOTS", number(slots)),
        ),
        input_lanes=tensor.channels,
        output_lanes=taps * tensor.channels,
        timing=(parallel_window_timing(windows, slots),),
        output_element=tensor.element,
        output_beats=windows.positions[0] * windows.positions[1],
        label="window",
        resize=lambda depth: _parallel_window_instance(windows, tensor, depth),
        least_depth=1,
    )


def window_instance(windows: Windows, tensor: TensorType, lanes: int, buffer_beats: int) -> Instance:
    """sliding_window with room for `buffer_beats`; the schedule decides how many there have to be."""
    return Instance(
        module="sliding_window",
        parameters=(
            ("HEIGHT", number(windows.height)),
            ("WIDTH", number(windows.width)),
            ("CHANNELS", number(tensor.channels)),
            ("SIMD", number(lanes)),
            ("ELEMENT_WIDTH", number(tensor.element.width)),
            *_geometry(windows),
            ("BUFFER_BEATS", number(buffer_beats)),
        ),
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(sliding_window_timing(windows, buffer_beats),),
        output_element=tensor.element,
        output_beats=windows.output_beats,
        label="window",
        resize=lambda depth: window_instance(windows, tensor, lanes, depth),
        least_depth=windows.least_buffer_beats,
    )


def reduce_refusal(stage: Stage) -> str | None:
    """None if window_reduce takes the stage's elements, else the reason."""
    width = stage.input_type.element.width
    if width > _WIDEST_ELEMENT:
        return f"inputs have {width} bits; allowed are {_WIDEST_ELEMENT}. Quantise the input of this layer"
    return too_many_axes(stage)


def reduce_instance(
    stage: Stage, element: IntegerType, lanes: int, *, is_sum: bool, result: IntegerType | None = None
) -> Instance:
    """window_reduce over the stage's windows, of elements of type `element` to the stage's own type, or another."""
    result = result or stage.output_type.element
    channels = stage.output_type.channels
    return Instance(
        module="window_reduce",
        parameters=(
            ("TAPS", number(taps(stage))),
            ("CHANNELS", number(channels)),
            ("PE", number(lanes)),
            ("INPUT_WIDTH", number(element.width)),
            ("INPUT_SIGNED", flag(element.signed)),
            ("OPERATION", number(int(is_sum))),
            ("OUTPUT_WIDTH", number(result.width)),
        ),
        input_lanes=lanes,
        output_lanes=lanes,
        timing=(window_reduce_timing(taps(stage), channels // lanes),),
        output_element=result,
        output_beats=stage.output_type.size // lanes,
    )
