# SPDX-License-Identifier: Apache-2.0
"""Which stages FINN's own RTL computes, with what it needs to know of each, and why the others are kernels of this project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from toolchain.backends.rtl.streaming.kernels._windows import image_size, pair, too_many_axes
from toolchain.ir import Conv, Dense, IntegerType, Pad, Threshold
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.folding_model import divisors, is_depthwise, is_matrix, positions, slides
from toolchain.passes.group_stages import Stage

#: FINN computes on float32 arrays, which hold every integer up to this magnitude.
_EXACT_IN_FLOAT32 = 1 << 24
#: What FINN's matrix unit takes on a family's DSP block: bits of activations (one less for unsigned ones), weights, sums.
DATAPATHS = {"DSP48E1": (18, 25, 48), "DSP48E2": (18, 27, 48), "DSP58": (24, 27, 58)}
#: Bits of what FINN's vector unit, which only DSP58 has, takes: unsigned activations, signed ones, weights.
_VECTOR_UNIT = (8, 9, 8)
#: Bits of a result of FINN's thresholding unit.
_MOST_THRESHOLD_BITS = 8
#: FINN has these in HLS only, or only in part of its families in RTL.
_ONLY_HLS = {
    "max_pool": "FINN has pooling in HLS only",
    "sum_pool": "FINN has pooling in HLS only",
    "add": "FINN has the sum of two integer streams in HLS only",
    "multiply": "FINN has the product of two integer streams in HLS only",
    "concatenate": "FINN has concatenation in HLS only",
    "argmax": "FINN has label selection in HLS only",
    "top_k": "FINN has label selection in HLS only",
    "upsample": "FINN has upsampling in HLS only",
    "add_bias": "FINN has the sum with a constant in HLS only",
    "scale": "FINN has the product with a constant in HLS only",
    "insert_zeros": "FINN has the insertion of zeros in HLS only",
    "slice": "FINN has cutting in HLS only",
}


@dataclass(frozen=True)
class Word:
    """An element of a FINN stream: `width` bits, two's complement if `signed`."""

    signed: bool
    width: int

    @property
    def finn_name(self) -> str:
        return f"{'INT' if self.signed else 'UINT'}{self.width}"


@dataclass(frozen=True)
class Layer:
    """A node of FINN's hardware graph.

    name: the node's, an identifier. kind: 'matrix', 'depthwise', 'threshold', 'window' or 'pad'. stage: that it belongs to.
    inputs, outputs: elements of a beat on both sides. source, result: the words of an element there; the matrix's and the
    threshold's result as FINN chooses them when `result` is None.
    numbers: the node's sizes, by FINN's names. table: the matrix (inputs, outputs; of a depthwise convolution with zeros off the
    diagonal), or the thresholds (channels or 1, count).
    """

    name: str
    kind: str
    stage: str
    inputs: int
    outputs: int
    source: Word
    result: Word | None
    numbers: dict[str, Any] = field(default_factory=dict)
    table: np.ndarray | None = None


def dsp_block(part: str) -> str:
    """The DSP block that FINN builds for on an AMD part."""
    if part.startswith("xcv") and part[3:4] in "cemhpn":
        return "DSP58"
    return "DSP48E1" if part.startswith("xc7") else "DSP48E2"


def why_own_kernel(stage: Stage, part: str) -> str | None:
    """None if FINN's RTL computes the stage exactly, else the reason why one of this project's kernels does."""
    operation = stage.operation
    if isinstance(operation, Threshold):
        return _why_no_threshold(stage)
    if isinstance(operation, Pad):
        return _why_no_pad(stage, operation)
    if is_depthwise(operation):
        return too_many_axes(stage) or _why_no_vectors(stage, part) or _why_no_window(stage)
    if is_matrix(stage):
        return too_many_axes(stage) or _why_no_matrix(stage, part) or _why_no_window(stage)
    return _ONLY_HLS.get(operation.kind, f"FINN has no RTL for operation {operation.kind!r}")


def _why_no_threshold(stage: Stage) -> str | None:
    word, element = _result_word(stage.output_type.element), stage.input_type.element
    if word.width > _MOST_THRESHOLD_BITS:
        return f"its result has {word.width} bits; FINN's thresholds are built up to {_MOST_THRESHOLD_BITS}"
    if max(-element.minimum, element.maximum + 1) >= _EXACT_IN_FLOAT32:
        return f"its input reaches {max(-element.minimum, element.maximum)}; FINN keeps thresholds in float32, exact below 2**24"
    return None


def _why_no_pad(stage: Stage, operation: Pad) -> str | None:
    if len(stage.input_type.shape) not in (2, 3):
        return "FINN pads images and lines only"
    if operation.value != 0 or any(operation.widths[-1]):
        return "FINN pads with zeros, and not along the channels"
    if stage.input_type.shape == stage.output_type.shape:
        return "nothing to pad"
    if len(stage.input_type.shape) == 2:
        return "FINN's padding is built for images here"
    return None


def _why_no_window(stage: Stage) -> str | None:
    """FINN's window steps through its buffer by offsets that must not pass the buffer's end."""
    if not slides(stage):
        return None
    operation = stage.operation
    assert isinstance(operation, Conv)
    height, width = image_size(stage.input_type)
    (k_h, k_w), (s_h, s_w) = pair(operation.window), pair(operation.strides)
    d_h, d_w = pair(operation.dilation)
    span = (k_w - 1) * d_w + 1
    if s_h > height or s_w > width:
        return f"its strides ({s_h}, {s_w}) pass the image of {height} rows and {width} columns, which FINN's window refuses"
    columns = (width - span) // s_w + 1
    left = width % (span + (columns - 1) * s_w)
    for fold in divisors(stage.input_type.channels):
        least = ((k_h - 1) * d_h * width + (k_w - 1) * d_w + 1) * fold
        numbers = {
            "channels": fold, "size": (height, width), "kernel": (k_h, k_w), "stride": (s_h, s_w), "dilation": (d_h, d_w),
        }  # fmt: skip
        room = least + 1 if k_h == k_w == 1 else buffer_beats(numbers, 1)
        steps = (
            -least + s_w * fold + 1,
            -least + (left + span) * fold + (s_h - 1) * width * fold + 1,
        )
        if any(abs(step) > room for step in steps):
            return f"its strides ({s_h}, {s_w}) pass the buffer of FINN's window"
    return None


def buffer_beats(numbers: Mapping[str, Any], simd: int) -> int:
    """Beats that FINN's window keeps, by the numbers of its layer."""
    fold = int(numbers["channels"]) // simd
    (_, width), (k_h, k_w) = numbers["size"], numbers["kernel"]
    (s_h, s_w), (d_h, d_w) = numbers["stride"], numbers["dilation"]
    least = ((k_h - 1) * d_h * width + (k_w - 1) * d_w + 1) * fold
    spare = max(0, (s_w - 1) - k_h * k_w) + max(0, (s_h - 1) * width - k_h * k_w)
    return int(least + spare * fold)


def _why_no_vectors(stage: Stage, part: str) -> str | None:
    """A depthwise convolution: FINN's vector unit."""
    if dsp_block(part) != "DSP58":
        return "FINN has depthwise convolution in RTL only for Versal"
    if not slides(stage):
        return "its window does not slide; FINN's depthwise convolution is built here behind a sliding window"
    word, values = _source_word(stage.input_type.element), _weight_word(matrix(stage))
    most_unsigned, most_signed, most_weight = _VECTOR_UNIT
    if word.width > (most_signed if word.signed else most_unsigned):
        return (
            f"inputs have {word.width} bits; FINN's vector unit takes {most_signed if word.signed else most_unsigned}"
        )
    if values.width > most_weight:
        return f"weights have {values.width} bits; FINN's vector unit takes {most_weight}"
    return _why_no_matrix(stage, part)


def _why_no_matrix(stage: Stage, part: str) -> str | None:
    weights = matrix(stage)
    word, values = _source_word(stage.input_type.element), _weight_word(weights)
    most_input, most_weight, most_sum = DATAPATHS[dsp_block(part)]
    block = dsp_block(part)
    if word.width - word.signed >= most_input:
        return (
            f"inputs have {word.width} bits; FINN's matrix unit on {block} takes fewer than {most_input + word.signed}"
        )
    if values.width > most_weight:
        return f"weights have {values.width} bits; FINN's matrix unit on {block} takes {most_weight}"
    if not weights.any():
        return "its weights are all 0, and FINN has no word for sums that are always 0"
    # FINN takes every value of the input's word as possible.
    bound = int(np.abs(weights).sum(axis=0).max()) << (word.width - word.signed)
    needed = 1 + bound.bit_length()
    if max(needed, word.width + values.width) + 8 > min(most_sum, 32):
        return f"sums have {needed} bits; FINN's matrix unit is built up to 24 here"
    if bound >= _EXACT_IN_FLOAT32:
        return f"sums reach {bound}; FINN chooses its words in float32, exact below 2**24"
    return None


def matrix(stage: Stage) -> np.ndarray:
    """The weights of a matrix stage, or of a depthwise one, as `weight_matrix`."""
    operation = stage.operation
    assert isinstance(operation, Dense | Conv)
    return weight_matrix(operation)


def weight_matrix(operation: Dense | Conv) -> np.ndarray:
    """The weights (inputs, outputs) of an operation; a window's rows before its channels, as the windows come.

    Where an output does not read an input, as in a convolution in groups, there is a 0.
    """
    if isinstance(operation, Dense):
        return operation.weights
    weights = operation.weights.reshape(-1, *operation.weights.shape[-2:])
    count, inputs, outputs = weights.shape
    full = np.zeros((count, operation.groups, inputs, outputs), weights.dtype)
    for group in range(operation.groups):
        columns = slice(group * outputs // operation.groups, (group + 1) * outputs // operation.groups)
        full[:, group, :, columns] = weights[:, :, columns]
    return full.reshape(-1, outputs)


def layers_of(stage: Stage, folding: StageFolding, key: str) -> tuple[Layer, ...]:
    """The FINN nodes of a stage that FINN computes, in the order of the data. key: the stage's identifier."""
    operation = stage.operation
    if isinstance(operation, Threshold):
        return (_threshold_layer(stage, operation, folding, key),)
    if isinstance(operation, Pad):
        return (_pad_layer(stage, operation, folding, key),)
    weights = matrix(stage)
    source = _source_word(stage.input_type.element)
    inputs, outputs = weights.shape
    depthwise = is_depthwise(operation)
    kind = "depthwise" if depthwise else "matrix"
    unit = Layer(
        name=f"{key}_{kind}", kind=kind, stage=stage.name, inputs=folding.simd, outputs=folding.pe,
        source=source, result=None,
        numbers={
            # The vector unit takes one pixel of its window a beat, of PE channels.
            "MW": inputs, "MH": outputs, "SIMD": 1 if depthwise else folding.simd, "PE": folding.pe, "vectors": positions(stage),
            **({"kernel": list(pair(operation.window))} if isinstance(operation, Conv) and depthwise else {}),
            "weights": _weight_word(weights).finn_name, **_shapes([*_rows(stage), inputs], [*_rows(stage), outputs]),
        },
        table=weights,
    )  # fmt: skip
    if not slides(stage):
        return (unit,)
    assert isinstance(operation, Conv)
    height, width = image_size(stage.input_type)
    kernel, stride = pair(operation.window), pair(operation.strides)
    dilation = pair(operation.dilation)
    window = Layer(
        name=f"{key}_window", kind="window", stage=stage.name, inputs=folding.simd, outputs=folding.simd,
        source=source, result=source,
        numbers={
            "channels": stage.input_type.channels, "SIMD": folding.simd, "size": [height, width],
            "kernel": list(kernel), "stride": list(stride), "dilation": list(dilation), "depthwise": int(depthwise),
            **_shapes([height, width, stage.input_type.channels], [*_rows(stage), inputs]),
        },
    )  # fmt: skip
    return window, unit


def canonical_thresholds(
    operation: Threshold, element: IntegerType, result: IntegerType
) -> tuple[np.ndarray, int, Word]:
    """(thresholds, the result below the first, the result's word) as FINN wants them: 2**n - 1 of an n-bit result.

    Those that the operation does not have are reached by every input of type `element`, or by none.
    """
    word = _result_word(result)
    lowest = -(1 << (word.width - 1)) if word.signed else 0
    count = (1 << word.width) - 1
    rows = np.clip(operation.thresholds.astype(object), element.minimum, element.maximum + 1)
    always = operation.offset - lowest
    if always < 0:
        # The first thresholds are reached by every input, or the result would not fit its word.
        rows, always = rows[:, -always:], 0
    table = np.full((len(rows), count), element.maximum + 1, dtype=object)
    table[:, :always] = element.minimum
    kept = min(rows.shape[1], count - always)
    table[:, always : always + kept] = rows[:, :kept]
    return table.astype(np.int64), lowest, word


def _threshold_layer(stage: Stage, operation: Threshold, folding: StageFolding, key: str) -> Layer:
    element = stage.input_type.element
    table, lowest, word = canonical_thresholds(operation, element, stage.output_type.element)
    return Layer(
        name=f"{key}_threshold", kind="threshold", stage=stage.name, inputs=folding.simd, outputs=folding.pe,
        source=Word(element.signed, max(2, element.width)), result=word,
        numbers={"channels": stage.input_type.channels, "PE": folding.pe, "bias": lowest,
                 "vectors": stage.input_type.size // stage.input_type.channels,
                 **_shapes(finn_shape(stage.input_type.shape), finn_shape(stage.input_type.shape))},
        table=table,
    )  # fmt: skip


def _pad_layer(stage: Stage, operation: Pad, folding: StageFolding, key: str) -> Layer:
    height, width = image_size(stage.input_type)
    (top, bottom), (left, right) = operation.widths[:2]
    word = _source_word(stage.input_type.element)
    return Layer(
        name=f"{key}_pad", kind="pad", stage=stage.name, inputs=folding.simd, outputs=folding.pe, source=word, result=word,
        numbers={
            "channels": stage.input_type.channels, "SIMD": folding.simd, "size": [height, width],
            "padding": [top, left, bottom, right],
            **_shapes(finn_shape(stage.input_type.shape), finn_shape(stage.output_type.shape)),
        },
    )  # fmt: skip


def _shapes(before: list[int], after: list[int]) -> dict[str, list[int]]:
    return {"input_shape": before, "output_shape": after}


def finn_shape(shape: tuple[int, ...]) -> list[int]:
    """A tensor's shape as FINN has it: a vector, or an image of rows, columns and channels."""
    if len(shape) == 1:
        return [int(shape[0])]
    spatial = [int(size) for size in shape[:-1]]
    spatial = [prod(spatial), 1] if len(spatial) > 2 else [1] * (2 - len(spatial)) + spatial
    return [*spatial, int(shape[-1])]


def _rows(stage: Stage) -> list[int]:
    """The axes of a matrix stage's vectors: of an image's positions, or none where there is one vector."""
    if isinstance(stage.operation, Conv) and not slides(stage) and positions(stage) == 1:
        return []
    return finn_shape(stage.output_type.shape)[:-1]


def _source_word(element: IntegerType) -> Word:
    """FINN's matrix unit takes two bits or more."""
    return Word(element.signed, max(2, element.width))


def _result_word(element: IntegerType) -> Word:
    """The narrowest word of at least two bits that holds the interval."""
    if element.minimum >= 0:
        return Word(False, max(2, element.maximum.bit_length()))
    return Word(True, max(2, 1 + (-element.minimum - 1).bit_length(), 1 + max(0, element.maximum).bit_length()))


def _weight_word(weights: np.ndarray) -> Word:
    """Signed, and wide enough that no weight is the most negative of the word, which not every DSP block takes."""
    return Word(True, max(2, 1 + int(np.abs(weights.astype(object)).max()).bit_length()))


def input_vectors(layer: Layer) -> int:
    """Beats that enter a layer a frame."""
    numbers = layer.numbers
    if layer.kind in ("matrix", "depthwise"):
        return int(numbers["vectors"]) * int(numbers["MW"]) // layer.inputs
    if layer.kind == "threshold":
        return int(numbers["vectors"]) * int(numbers["channels"]) // layer.inputs
    return prod(numbers["size"]) * int(numbers["channels"]) // layer.inputs
