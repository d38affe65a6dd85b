# SPDX-License-Identifier: Apache-2.0
"""Requantise in QONNX: a Quant node where QONNX has the rounding and the overflow, standard operations where it has not."""

from __future__ import annotations

from toolchain.ir.export_qonnx.emitter import BOOL, Emitter
from toolchain.ir.export_qonnx.registry import lowers
from toolchain.ir.ops.requantise import Requantise
from toolchain.ir.rounding import Overflow, Rounding
from toolchain.ir.types import IntegerType, TensorType

#: The modes that QONNX has, by its names; the others are built from standard operations.
_QONNX_ROUNDING = {
    Rounding.HALF_EVEN: "ROUND",
    Rounding.TRUNCATE: "FLOOR",
    Rounding.CEILING: "CEIL",
    Rounding.TRUNCATE_ZERO: "DOWN",
    Rounding.AWAY: "UP",
    Rounding.HALF_AWAY: "HALF_UP",
    Rounding.HALF_ZERO: "HALF_DOWN",
}
#: Modes that are computed by adding or subtracting half a step in float32.
_ADDS_HALF = (Rounding.HALF_AWAY, Rounding.HALF_ZERO, Rounding.HALF_UP, Rounding.HALF_DOWN, Rounding.HALF_DPU)


@lowers(Requantise)
def requantise(emit: Emitter, op: Requantise, types: tuple[TensorType, ...], result: TensorType) -> str:
    (x,), (x_type,) = emit.operands(), types
    shift = op.shift(x_type.element)
    if op.rounding in _ADDS_HALF and shift > 0:
        emit.require_exact(x_type.element.magnitude + (1 << (shift - 1)), "values with half a step added")
    rounded = (
        Requantise(IntegerType(True, 4096, op.target.fraction), op.rounding, Overflow.SATURATE).infer(x_type).element
    )
    emit.require_exact(rounded.magnitude, "rounded values")
    fits = op.target.minimum <= rounded.minimum and rounded.maximum <= op.target.maximum
    mode = _QONNX_ROUNDING.get(op.rounding)
    if mode is not None and (fits or op.overflow is Overflow.SATURATE):
        return emit.quantise(x, x_type, op.target, mode, "quantise", final=True)
    word = IntegerType.spanning(rounded.minimum, rounded.maximum, op.target.fraction)
    word = IntegerType(word.signed, word.width, word.fraction)
    tensor = (
        emit.quantise(x, x_type, word, mode, "round", final=False)
        if mode is not None
        else _round(emit, op.rounding, x, x_type, op.target.fraction)
    )
    if not fits and op.overflow is not Overflow.SATURATE:
        tensor = _overflow(emit, op, tensor, x_type.shape, rounded)
    return emit.quantise(tensor, x_type, op.target, "ROUND", "quantise", final=True)


def _round(emit: Emitter, rounding: Rounding, x: str, x_type: TensorType, fraction: int) -> str:
    """The rounding modes that QONNX has no name for, from standard operations; the result is real again."""
    shape = x_type.shape
    half = emit.constant(0.5, "half")
    steps = emit.add("Mul", [x, emit.constant(2.0**fraction, "steps_per_unit")], shape, "steps")

    def half_up() -> str:
        return emit.add("Floor", [emit.add("Add", [steps, half], shape, "plus_half")], shape, "half_up")

    if rounding is Rounding.HALF_UP:
        whole = half_up()
    elif rounding is Rounding.HALF_DOWN:
        whole = emit.add("Ceil", [emit.add("Sub", [steps, half], shape, "minus_half")], shape, "half_down")
    else:
        assert rounding is Rounding.HALF_DPU
        negative = emit.add("Less", [steps, emit.constant(0.0, "zero")], shape, "is_negative", element=BOOL)
        whole = emit.add(
            "Where", [negative, half_up(), emit.add("Round", [steps], shape, "half_even")], shape, "half_dpu"
        )
    return emit.add("Mul", [whole, emit.constant(2.0**-fraction, "unit")], shape, "rounded")


def _overflow(emit: Emitter, op: Requantise, x: str, shape: tuple[int, ...], rounded: IntegerType) -> str:
    """The overflow modes other than saturation, on whole steps; the result is real again."""
    target = op.target
    steps = emit.add(
        "Mul", [x, emit.constant(2.0**target.fraction, "overflow_steps_per_unit")], shape, "overflow_steps"
    )
    if op.overflow is Overflow.SATURATE_ZERO:
        low, high = (
            emit.constant(float(v), end) for v, end in ((target.minimum, "lowest"), (target.maximum, "highest"))
        )
        at_least = emit.add("GreaterOrEqual", [steps, low], shape, "at_least", element=BOOL)
        at_most = emit.add("LessOrEqual", [steps, high], shape, "at_most", element=BOOL)
        inside = emit.add("And", [at_least, at_most], shape, "inside", element=BOOL)
        whole = emit.add("Where", [inside, steps, emit.constant(0.0, "outside")], shape, "saturated")
    else:
        emit.require_exact(rounded.magnitude + (1 << target.width), "values on their way round the word")
        modulus = emit.constant(float(1 << target.width), "modulus")
        lowest = emit.constant(float(target.lowest), "lowest")
        from_lowest = emit.add("Sub", [steps, lowest], shape, "from_lowest")
        turns = emit.add("Floor", [emit.add("Div", [from_lowest, modulus], shape, "turns_and_rest")], shape, "turns")
        whole = emit.add("Sub", [steps, emit.add("Mul", [turns, modulus], shape, "turned")], shape, "wrapped")
        if op.overflow is Overflow.WRAP_SIGN_MAGNITUDE:
            whole = _invert_where_signs_differ(emit, steps, whole, modulus, shape)
    return emit.add("Mul", [whole, emit.constant(2.0**-target.fraction, "overflow_unit")], shape, "in_range")


def _invert_where_signs_differ(emit: Emitter, steps: str, wrapped: str, modulus: str, shape: tuple[int, ...]) -> str:
    """-1 - wrapped where the bit above the word differs from the word's sign bit."""
    above = emit.add("Floor", [emit.add("Div", [steps, modulus], shape, "above_and_rest")], shape, "above")
    two, zero, minus_one = (emit.constant(v, n) for v, n in ((2.0, "two"), (0.0, "wrap_zero"), (-1.0, "minus_one")))
    pairs = emit.add("Floor", [emit.add("Div", [above, two], shape, "pairs_and_rest")], shape, "pairs")
    bit = emit.add("Sub", [above, emit.add("Mul", [pairs, two], shape, "even_part")], shape, "bit_above")
    is_set = emit.add("Greater", [bit, zero], shape, "bit_is_set", element=BOOL)
    is_negative = emit.add("Less", [wrapped, zero], shape, "sign_is_set", element=BOOL)
    differ = emit.add("Xor", [is_set, is_negative], shape, "differ", element=BOOL)
    inverted = emit.add("Sub", [minus_one, wrapped], shape, "inverted")
    return emit.add("Where", [differ, inverted, wrapped], shape, "sign_magnitude")
