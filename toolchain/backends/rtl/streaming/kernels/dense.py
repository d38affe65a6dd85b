# SPDX-License-Identifier: Apache-2.0
"""Dense, with the bias behind it: matrix_vector_unit."""

from __future__ import annotations

import numpy as np

from toolchain.backends.rtl.streaming.instance import (
    MEMORY_FOLDER,
    Instance,
    MemoryFile,
    flag,
    number,
    packed,
    signed_width,
    text,
)
from toolchain.backends.rtl.streaming.timing import FoldedTiming
from toolchain.ir import Dense
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Dense

#: Bits that the module's multipliers take on either side.
_WIDEST_FACTOR = 64


def why_unsupported(stage: Stage) -> str | None:
    if stage.input_type.element.width > _WIDEST_FACTOR:
        return f"inputs have {stage.input_type.element.width} bits; allowed are {_WIDEST_FACTOR}. Quantise the input of this layer"
    width = _constants(stage)[1]
    if width > _WIDEST_FACTOR:
        return f"weights have {width} bits; allowed are {_WIDEST_FACTOR}. Quantise the weights of this layer"
    return None


def _constants(stage: Stage) -> tuple[np.ndarray, int, int, np.ndarray | None]:
    """Weights (outputs, inputs) and their signed width, the products' left shift, and the bias in output units."""
    operation = stage.operation
    assert isinstance(operation, Dense)
    weights, shift, bias = operation.weights.astype(object).T, 0, None
    if stage.bias is not None:
        # The stage's first node alone has the product's binary point: input fraction plus weight fraction.
        product = operation.infer(stage.input_type).element
        shift, bias_shift = stage.bias.shifts(product)
        bias = stage.bias.bias.astype(object) * (1 << bias_shift)
    if shift >= stage.output_type.element.width:
        # The module needs outputs wider than the shift; so few bits mean that the products hardly vary.
        weights, shift = weights * (1 << shift), 0
    return weights, signed_width(int(weights.min()), int(weights.max())), shift, bias


def instance(stage: Stage, folding: StageFolding, identifier: str) -> Instance:
    weights, weight_width, shift, bias = _constants(stage)
    outputs, inputs = weights.shape
    simd, pe = folding.simd, folding.pe
    beats, groups = inputs // simd, outputs // pe
    words = tuple(
        packed(weights[g * pe : (g + 1) * pe, b * simd : (b + 1) * simd].ravel(), weight_width)
        for g in range(groups)
        for b in range(beats)
    )
    memories = [MemoryFile(f"{MEMORY_FOLDER}/{identifier}_weights.hex", pe * simd * weight_width, words)]
    bias_width = 1
    if bias is not None:
        bias_width = signed_width(int(bias.min()), int(bias.max()))
        bias_words = tuple(packed(bias[g * pe : (g + 1) * pe], bias_width) for g in range(groups))
        memories.append(MemoryFile(f"{MEMORY_FOLDER}/{identifier}_bias.hex", pe * bias_width, bias_words))
    parameters = (
        ("INPUT_SIZE", number(inputs)),
        ("OUTPUT_SIZE", number(outputs)),
        ("SIMD", number(simd)),
        ("PE", number(pe)),
        ("INPUT_WIDTH", number(stage.input_type.element.width)),
        ("INPUT_SIGNED", flag(stage.input_type.element.signed)),
        ("WEIGHT_WIDTH", number(weight_width)),
        ("ACCUMULATOR_WIDTH", number(stage.output_type.element.width)),
        ("PRODUCT_SHIFT", number(shift)),
        ("HAS_BIAS", flag(bias is not None)),
        ("BIAS_WIDTH", number(bias_width)),
        ("WEIGHT_FILE", text(memories[0].path)),
        ("BIAS_FILE", text(memories[1].path if bias is not None else "")),
    )
    return Instance(
        module="matrix_vector_unit",
        uses=("constant_memory", "multiplier", "adder_tree", "result_queue", "stream_fifo", "skid_buffer"),
        parameters=parameters,
        input_lanes=simd,
        output_lanes=pe,
        timing=(_timing(beats, groups, simd, bias is not None),),
        memories=tuple(memories),
    )


def _timing(beats: int, groups: int, simd: int, has_bias: bool) -> FoldedTiming:
    """The header of matrix_vector_unit, with ADDER_LEVELS = 1: SF = beats, F = result_cycle."""
    multiplier_cycles = 2
    tree_stages = (simd - 1).bit_length()
    result_cycle = 3 + multiplier_cycles + tree_stages + (1 if beats > 1 and has_bias else 0)
    if result_cycle + 1 < beats:
        slots = 1
    elif result_cycle + 1 < 2 * beats:
        slots = 2
    else:
        slots = (result_cycle + 3) // beats + 1
    return FoldedTiming(beats, groups, slots, result_cycle + (1 if slots <= 2 else 3))
