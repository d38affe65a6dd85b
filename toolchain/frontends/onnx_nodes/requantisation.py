# SPDX-License-Identifier: Apache-2.0
"""How ONNX Runtime's kernels bring the exact integer of an operator to the integer type of its result.

QLinearConv, QLinearMatMul, QGemm, QLinearMul and QLinearGlobalAveragePool multiply the sum, as a float32, by a float32 ratio of
the scales; QLinearConcat and QLinearLeakyRelu dequantise and quantise in float32. Each is a chain of IEEE operations on one
integer, the same on every processor, so the graph follows it bit for bit (measured: no difference in more than ten million results, on
AVX-512, AVX2 and SSE kernels, with scales chosen so that near ties are common). Where all scales are powers of two no
operation rounds, and the result is a shift.

QLinearAdd and QLinearAveragePool sum floats in an order that depends on the processor. The graph gives them the exact rational
value; it differs from ONNX Runtime by one step where that lies within the rounding error of a tie (QLinearAdd on AVX-512: 3 of a
million pairs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import Affine, Float32, Function
from toolchain.frontends.exact.quantiser import Quantiser, check_scale
from toolchain.frontends.exact.requantise import requantise
from toolchain.frontends.exact.values import ONE, ZERO, Line, compact, fractions_of, power_of_two
from toolchain.frontends.onnx_nodes.quantize_linear import INTEGER_TYPES, quantised, zero_point
from toolchain.frontends.onnx_nodes.reader import NodeView, Reader

#: Largest integer up to which float32 holds every integer.
_FLOAT32_INTEGERS = 1 << 24
#: Ratios for which a product of two 9-bit integers, scaled and with a zero point added, still fits float32.
_SMALLEST_RATIO, _LARGEST_RATIO = Fraction(1, 1 << 6), Fraction(1)


def float32_scale(node: NodeView, index: int) -> np.ndarray:
    """A scale operand as the kernels take it. Raises UnsupportedModel unless it is positive float32."""
    values = node.constant(index, "scale").values
    check_scale(values, node.label)
    if values.dtype != np.float32:
        raise UnsupportedModel(f"{node.label}: a scale of type {values.dtype}; the operator has float32 scales")
    return values.reshape(-1)


def result_type(node: NodeView, index: int, like: int) -> tuple[np.ndarray, np.ndarray]:
    """(scale, zero point) of the result, operands from `index` on: one each.

    like: the operand that is a zero point of the same integer type, which says it where the result's is left out.
    """
    zero = zero_point(node, index + 1)
    if zero is None:
        known = zero_point(node, like)
        if known is None:
            raise UnsupportedModel(
                f"{node.label}: has no zero points, which say the integer type of its result; add them"
            )
        zero = np.zeros(1, known.dtype)
    scale = float32_scale(node, index)
    if scale.size != 1 or zero.size != 1:
        raise UnsupportedModel(f"{node.label}: {max(scale.size, zero.size)} scales for its result; supported is one")
    return scale, zero


def exact_result(
    reader: Reader, line: Line, node: NodeView, index: int, *, like: int, zero_is_rounded: bool = False
) -> Line:
    """The result type on operands from `index` on, by the exact rational value of the line."""
    scale, zero = result_type(node, index, like)
    return quantised(reader, line, scale, zero, node, zero_is_rounded=zero_is_rounded)


def scaled_result(
    reader: Reader,
    line: Line,
    node: NodeView,
    index: int,
    *,
    like: int,
    units: Sequence[Fraction],
    ratios: np.ndarray,
    zero_is_rounded: bool = False,
) -> Line:
    """The result of a kernel that multiplies an integer by a float32.

    units: the real value of 1 in the kernel's integers. ratios: float32. Each has one entry, or one a channel.
    zero_is_rounded: the zero point is added before rounding.
    """
    scale, zero = result_type(node, index, like)
    exact = fractions_of(ratios)
    line = reader.walk.emitted(line, node.site)
    if _never_rounds(reader, line, units, exact, scale, zero_is_rounded=zero_is_rounded):
        return quantised(reader, line, scale, zero, node, zero_is_rounded=zero_is_rounded)
    line = reader.walk.scaled(line, [1 / unit for unit in line.spread(units)])
    functions: list[Function] = [Float32(), Affine(compact(exact), (ZERO,)), Float32()]
    return _rounded(reader, line, functions, zero, node, zero_is_rounded=zero_is_rounded)


def divided_result(
    reader: Reader, line: Line, functions: Sequence[Function], node: NodeView, index: int, *, like: int, is_exact: bool
) -> Line:
    """The result of a kernel that dequantises, applies functions, and divides by the scale, all in float32.

    is_exact: whether the functions are exact for scales that are powers of two.
    """
    scale, zero = result_type(node, index, like)
    single = fractions_of(scale)[0]
    known = {single, *line.scale}
    same = not functions and set(line.scale) == {single}
    if same or (is_exact and all(power_of_two(value) is not None for value in known)):
        return quantised(reader, replace(line, functions=(*line.functions, *functions)), scale, zero, node)
    chain: list[Function] = [Float32()]
    for function in (*functions, Affine((1 / single,), (ZERO,))):
        chain += [function, Float32()]
    return _rounded(reader, line, chain, zero, node, zero_is_rounded=False)


def _never_rounds(
    reader: Reader,
    line: Line,
    units: Sequence[Fraction],
    ratios: Sequence[Fraction],
    scale: np.ndarray,
    *,
    zero_is_rounded: bool,
) -> bool:
    """Whether every float32 operation of a kernel is exact for all integers that can occur."""
    if line.functions or len(set(ratios)) != 1 or power_of_two(ratios[0]) is None:
        return False
    if {unit / fractions_of(scale)[0] for unit in units} != set(ratios):
        return False
    if zero_is_rounded and not _SMALLEST_RATIO <= ratios[0] <= _LARGEST_RATIO:
        return False
    element = reader.walk.element(line)
    ends = [
        (s * end + o) / unit
        for s, o, unit in zip(*map(line.spread, (line.scale, line.offset, units)), strict=True)
        for end in (element.minimum, element.maximum)
    ]
    return max(map(abs, ends)) <= _FLOAT32_INTEGERS


def _rounded(
    reader: Reader,
    line: Line,
    functions: Sequence[Function],
    zero: np.ndarray,
    node: NodeView,
    *,
    zero_is_rounded: bool,
) -> Line:
    """``saturate(round(functions(line)) + zero)``, or with the zero point added in float32 before it is rounded."""
    low, high = INTEGER_TYPES[str(zero.dtype)]
    offset = int(zero.reshape(-1)[0])
    quantiser = Quantiser((ONE,), low - offset, high - offset)
    if zero_is_rounded and offset:
        shift = Fraction(offset)
        functions = (*functions, Affine((ONE,), (shift,)), Float32(), Affine((ONE,), (-shift,)))
        quantiser = Quantiser((ONE,), low, high, zero_point=offset)
    line = replace(line, functions=(*line.functions, *functions))
    result = requantise(reader.walk, line, quantiser, node.site)
    return reader.walk.scaled(result, [ONE], [Fraction(offset)])
