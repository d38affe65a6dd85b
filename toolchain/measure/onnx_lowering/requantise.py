# SPDX-License-Identifier: Apache-2.0
"""Requantise as standard ONNX operators on floats that hold integers."""

from __future__ import annotations

from collections.abc import Callable

from toolchain.ir import Overflow, Requantise, Rounding, TensorType
from toolchain.measure.float_exactness import plan_requantise
from toolchain.measure.onnx_lowering.writer import Writer, lowers


@lowers(Requantise)
def requantise(operation: Requantise, types: tuple[TensorType, ...], writer: Writer, x: str) -> str:
    plan = plan_requantise(operation, types[0])
    if plan.scale_exponent:
        x = writer.node("Mul", x, writer.scalar(2.0**plan.scale_exponent))
    if plan.scale_exponent < 0:
        x = _round(operation.rounding, writer, x)
    return _fit(operation, writer, x) if plan.leaves_target else x


def _round(rounding: Rounding, writer: Writer, quotient: str) -> str:
    """Round exact quotients to integers. A tie is where the quotient equals floor + 1/2, which is exact too."""

    def half_up() -> str:
        return writer.node("Floor", writer.node("Add", quotient, writer.scalar(0.5)))

    def half_down() -> str:
        return writer.node("Ceil", writer.node("Sub", quotient, writer.scalar(0.5)))

    def by_sign(negative: Callable[[], str], other: Callable[[], str]) -> str:
        return writer.node("Where", writer.node("Less", quotient, writer.scalar(0.0)), negative(), other())

    def plain(operator: str) -> Callable[[], str]:
        return lambda: writer.node(operator, quotient)

    choices: dict[Rounding, Callable[[], str]] = {
        Rounding.TRUNCATE: plain("Floor"),
        Rounding.CEILING: plain("Ceil"),
        Rounding.TRUNCATE_ZERO: lambda: by_sign(plain("Ceil"), plain("Floor")),
        Rounding.AWAY: lambda: by_sign(plain("Floor"), plain("Ceil")),
        Rounding.HALF_EVEN: plain("Round"),  # ties to even, by the operator's definition
        Rounding.HALF_UP: half_up,
        Rounding.HALF_DOWN: half_down,
        Rounding.HALF_ZERO: lambda: by_sign(half_up, half_down),
        Rounding.HALF_AWAY: lambda: by_sign(half_down, half_up),
        Rounding.HALF_DPU: lambda: by_sign(half_up, plain("Round")),
    }
    return choices[rounding]()


def _fit(operation: Requantise, writer: Writer, y: str) -> str:
    target = operation.target
    if operation.overflow is Overflow.SATURATE:
        return writer.clip(y, target.minimum, target.maximum)
    if operation.overflow is Overflow.SATURATE_ZERO:
        below = writer.node("Less", y, writer.scalar(target.minimum))
        above = writer.node("Greater", y, writer.scalar(target.maximum))
        return writer.node("Where", writer.node("Or", below, above), writer.scalar(0.0), y)
    modulus = float(1 << target.width)
    quotient = _floor_quotient(writer, y, modulus)
    unsigned = writer.node("Sub", y, writer.node("Mul", quotient, writer.scalar(modulus)))
    if not target.signed:
        return unsigned
    upper_half = writer.node("GreaterOrEqual", unsigned, writer.scalar(modulus / 2))
    wrapped = writer.node("Where", upper_half, writer.node("Sub", unsigned, writer.scalar(modulus)), unsigned)
    if operation.overflow is Overflow.WRAP:
        return wrapped
    even = writer.node("Mul", _floor_quotient(writer, quotient, 2.0), writer.scalar(2.0))
    bit_above = writer.node("Greater", quotient, even)
    differs = writer.node("Xor", bit_above, writer.node("Less", wrapped, writer.scalar(0.0)))
    return writer.node("Where", differs, writer.node("Sub", writer.scalar(-1.0), wrapped), wrapped)


def _floor_quotient(writer: Writer, value: str, divisor: float) -> str:
    """``floor(value / divisor)`` for a power of two, exact."""
    return writer.node("Floor", writer.node("Mul", value, writer.scalar(1.0 / divisor)))
