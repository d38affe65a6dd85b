# SPDX-License-Identifier: Apache-2.0
"""Dense, with the bias behind it: matrix_vector_unit, which convolutions use as well."""

from __future__ import annotations

from functools import partial

import numpy as np

from toolchain.backends.rtl.streaming.instance import (
    MEMORY_FOLDER,
    Instance,
    MemoryFile,
    flag,
    loadable,
    number,
    packed,
    text,
)
from toolchain.backends.rtl.streaming.reserve import Room, room_of
from toolchain.backends.rtl.streaming.timing import StepTiming, folded_timing
from toolchain.ir import Dense
from toolchain.passes.choose_folding import StageFolding
from toolchain.passes.group_stages import Stage

OPERATION = Dense

#: Bits that the module's multipliers take on either side.
_WIDEST_FACTOR = 64
#: What matrix_vector_unit's weights are: its parameter WEIGHT_KIND.
_NUMBERS, _SIGNS, _TERNARY, _MAGNITUDES = 0, 1, 2, 3
#: Bits of the widest inputs whose multiples it selects by magnitudes; products of wider ones are left to DSP blocks.
_WIDEST_SELECTED = 8


def why_unsupported(stage: Stage) -> str | None:
    return matrix_refusal(stage, _matrix(stage))


def instances(stage: Stage, folding: StageFolding, identifier: str) -> tuple[Instance, ...]:
    return (matrix_instance(stage, _matrix(stage), folding, identifier),)


def _matrix(stage: Stage) -> np.ndarray:
    """The weights (outputs, inputs)."""
    operation = stage.operation
    assert isinstance(operation, Dense)
    return operation.weights.T


def matrix_refusal(stage: Stage, matrix: np.ndarray) -> str | None:
    """None if matrix_vector_unit multiplies this stage's vectors by the matrix (outputs, inputs), else the reason."""
    if stage.input_type.element.width > _WIDEST_FACTOR:
        return f"inputs have {stage.input_type.element.width} bits; allowed are {_WIDEST_FACTOR}. Quantise the input of this layer"
    width = _constants(stage, matrix)[1].width
    if width > _WIDEST_FACTOR:
        return f"weights have {width} bits; allowed are {_WIDEST_FACTOR}. Quantise the weights of this layer"
    return None


def _constants(stage: Stage, matrix: np.ndarray) -> tuple[np.ndarray, Room, int, np.ndarray | None, Room | None]:
    """Weights (outputs, inputs) and what they may be, the products' left shift, the bias in output units and what it may be."""
    room, bias_room = room_of(stage.operation), None
    # Other weights may have other bits in common.
    zeros = 0 if room else _common_zeros(matrix)
    weights, shift, bias = matrix >> zeros, zeros, None
    if stage.bias is not None:
        # The stage's first node alone has the product's binary point: input fraction plus weight fraction.
        product = stage.operation.infer(stage.input_type).element
        product_shift, bias_shift = stage.bias.shifts(product)
        shift += product_shift
        bias = stage.bias.bias.astype(object) * (1 << bias_shift)
        reserved = room_of(stage.bias)
        bias_room = reserved.shifted(bias_shift) if reserved else Room(int(bias.min()), int(bias.max()))
    if shift >= stage.output_type.element.width:
        # The module needs outputs wider than the shift; so few bits mean that the products hardly vary.
        weights, room, shift = weights.astype(object) * (1 << shift), room.shifted(shift) if room else None, 0
    room = room or Room(int(weights.min()), int(weights.max()), not weights.all())
    return weights, room, shift, bias, bias_room


def _common_zeros(matrix: np.ndarray) -> int:
    """Low bits that are zero in every weight; 0 if all weights are zero."""
    together = int(np.bitwise_or.reduce(matrix, axis=None))
    return (together & -together).bit_length() - 1 if together else 0


def _kind(room: Room, input_width: int) -> tuple[int, int]:
    """(WEIGHT_KIND, bits of a weight in the memory) of matrix_vector_unit for weights that lie in `room`."""
    if room.width == 3 and room.low >= -3 and input_width <= _WIDEST_SELECTED:
        return _MAGNITUDES, 3
    if room.width != 2 or room.low < -1:
        return _NUMBERS, room.width
    return (_TERNARY, 2) if room.zero else (_SIGNS, 1)


def _magnitudes(weights: np.ndarray) -> np.ndarray:
    """Weights (..., column lanes) from -3 to 3 as matrix_vector_unit's memory has them with WEIGHT_KIND 3."""
    negative = weights < 0
    lanes = np.arange(weights.shape[-1])
    differs = negative ^ negative[..., lanes & (lanes - 1)]
    differs[..., 0] = negative[..., 0]
    return np.abs(weights) + 4 * differs


def matrix_instance(
    stage: Stage, matrix: np.ndarray, folding: StageFolding, identifier: str, *, as_numbers: bool = False
) -> Instance:
    """matrix_vector_unit: vectors of the stage times the matrix (outputs, inputs), with the stage's bias.

    as_numbers: with weights that DSP blocks can multiply, where there is another way to keep them.
    """
    weights, room, shift, bias, bias_room = _constants(stage, matrix)
    outputs, inputs = weights.shape
    simd, pe = folding.simd, folding.pe
    beats, groups = inputs // simd, outputs // pe
    kind, stored_width = _kind(room, stage.input_type.element.width)
    if as_numbers and kind == _MAGNITUDES:
        kind = _NUMBERS
    stored = (weights < 0).astype(np.int64) if kind == _SIGNS else weights
    # Word group * beats + beat, its elements row lane by row lane.
    lanes = stored.reshape(groups, pe, beats, simd).transpose(0, 2, 1, 3)
    order = (_magnitudes(lanes) if kind == _MAGNITUDES else lanes).reshape(groups * beats, pe * simd)
    words = tuple(packed(row, stored_width) for row in order.tolist())
    memories = [MemoryFile(f"{MEMORY_FOLDER}/{identifier}_weights.hex", pe * simd * stored_width, words)]
    bias_width = 1
    if bias is not None and bias_room is not None:
        bias_width = bias_room.width
        bias_words = tuple(packed(bias[g * pe : (g + 1) * pe], bias_width) for g in range(groups))
        memories.append(MemoryFile(f"{MEMORY_FOLDER}/{identifier}_bias.hex", pe * bias_width, bias_words))
    parameters = (
        ("INPUT_SIZE", number(inputs)),
        ("OUTPUT_SIZE", number(outputs)),
        ("SIMD", number(simd)),
        ("PE", number(pe)),
        ("INPUT_WIDTH", number(stage.input_type.element.width)),
        ("INPUT_SIGNED", flag(stage.input_type.element.signed)),
        ("WEIGHT_WIDTH", number(stored_width)),
        ("WEIGHT_KIND", number(kind)),
        ("ACCUMULATOR_WIDTH", number(stage.output_type.element.width)),
        ("PRODUCT_SHIFT", number(shift)),
        ("HAS_BIAS", flag(bias is not None)),
        ("BIAS_WIDTH", number(bias_width)),
        ("WEIGHT_FILE", text(memories[0].path)),
        ("DSP_WIDTH", number(0)),
        ("BIAS_FILE", text(memories[1].path if bias is not None else "")),
        *loadable(room_of(stage.operation) is not None),
    )
    return Instance(
        module="matrix_vector_unit",
        parameters=parameters,
        input_lanes=simd,
        output_lanes=pe,
        timing=(matrix_timing(beats, groups, simd, bias is not None),),
        output_element=stage.output_type.element,
        output_beats=stage.output_type.size // pe,
        memories=tuple(memories),
        load_bases=("WEIGHT_LOAD_BASE", "BIAS_LOAD_BASE")[: len(memories)],
        product_bits=stage.input_type.element.width + stored_width if kind in (_NUMBERS, _MAGNITUDES) else 0,
        as_numbers=partial(matrix_instance, stage, matrix, folding, identifier, as_numbers=True)
        if kind == _MAGNITUDES
        else None,
    )


def matrix_timing(beats: int, groups: int, simd: int, has_bias: bool) -> StepTiming:
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
    return folded_timing(beats, groups, slots, result_cycle + (1 if slots <= 2 else 3))
