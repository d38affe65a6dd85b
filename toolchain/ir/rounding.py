# SPDX-License-Identifier: Apache-2.0
"""Rounding and overflow: the only two ways in which the integer graph loses information.

Every mode is defined once, here, on arrays of NumPy int64 or of Python integers (dtype object); other parts of the
project (RTL, HLS, documentation) refer to the enums and are tested against these functions.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from toolchain.ir.types import IntegerType


class Rounding(Enum):
    """How ``x * 2**-shift`` becomes an integer when bits are dropped. `value` is the name in files and messages."""

    TRUNCATE = "truncate"
    TRUNCATE_ZERO = "truncate_zero"
    HALF_UP = "half_up"
    HALF_DOWN = "half_down"
    HALF_ZERO = "half_zero"
    HALF_AWAY = "half_away"
    HALF_EVEN = "half_even"
    CEILING = "ceiling"
    AWAY = "away"
    HALF_DPU = "half_dpu"


class Overflow(Enum):
    """What happens to a rounded value outside the result type's interval."""

    SATURATE = "saturate"
    WRAP = "wrap"
    SATURATE_ZERO = "saturate_zero"
    WRAP_SIGN_MAGNITUDE = "wrap_sign_magnitude"


#: One row a mode: what it does, and its name elsewhere ('' where that framework has none). docs/semantics.md prints it.
ROUNDING_TABLE: dict[Rounding, tuple[str, str, str]] = {
    Rounding.TRUNCATE: ("towards minus infinity", "AP_TRN", "FLOOR (Brevitas, QONNX)"),
    Rounding.TRUNCATE_ZERO: ("towards zero", "AP_TRN_ZERO", "ROUND_TO_ZERO (Brevitas), DOWN (QONNX)"),
    Rounding.HALF_UP: ("to nearest, ties towards plus infinity", "AP_RND", ""),
    Rounding.HALF_DOWN: ("to nearest, ties towards minus infinity", "AP_RND_MIN_INF", ""),
    Rounding.HALF_ZERO: ("to nearest, ties towards zero", "AP_RND_ZERO", "HALF_DOWN (QONNX)"),
    Rounding.HALF_AWAY: ("to nearest, ties away from zero", "AP_RND_INF", "HALF_UP (QONNX)"),
    Rounding.HALF_EVEN: ("to nearest, ties to even", "AP_RND_CONV", "QKeras; ROUND (Brevitas, QONNX)"),
    Rounding.CEILING: ("towards plus infinity", "", "CEIL (Brevitas, QONNX)"),
    Rounding.AWAY: ("away from zero", "", "UP (QONNX)"),
    Rounding.HALF_DPU: ("to nearest, positive ties to even, negative ties towards plus infinity", "", "DPU (Brevitas)"),
}

OVERFLOW_TABLE: dict[Overflow, tuple[str, str, str]] = {
    Overflow.SATURATE: (
        "the nearest end of the result type's interval; a symmetric interval gives symmetric saturation",
        "AP_SAT, AP_SAT_SYM",
        "QKeras, Brevitas, QONNX (narrow range: symmetric)",
    ),
    Overflow.WRAP: ("the low bits, read as the result type (modulo 2**width)", "AP_WRAP", ""),
    Overflow.SATURATE_ZERO: ("0 for every value outside the interval", "AP_SAT_ZERO", ""),
    # AP_WRAP_SM of a rounded value: one ap_fixed assignment that also rounds takes the bit above from the value before that.
    Overflow.WRAP_SIGN_MAGNITUDE: (
        "the low bits, all inverted where the bit above them differs from their sign bit; signed results only",
        "AP_WRAP_SM",
        "",
    ),
}


def round_shift(values: np.ndarray, shift: int, rounding: Rounding) -> np.ndarray:
    """``values * 2**-shift``, rounded where bits are dropped (shift > 0), exact where not (shift <= 0).

    The caller chooses a dtype in which ``values << -shift`` and ``values + 2**shift`` do not overflow: int64, or object
    for Python integers.
    """
    if shift == 0:
        return values
    if shift < 0:
        return values << -shift
    floor = values >> shift
    remainder = values - (floor << shift)  # 0 <= remainder < 2**shift
    half = 1 << (shift - 1)
    negative = values < 0
    if rounding is Rounding.TRUNCATE:
        return floor
    if rounding is Rounding.CEILING:
        up = remainder != 0
    elif rounding is Rounding.TRUNCATE_ZERO:
        up = negative & (remainder != 0)
    elif rounding is Rounding.AWAY:
        up = ~negative & (remainder != 0)
    else:
        tie = remainder == half
        odd = (floor & 1) == 1
        tie_goes_up = {
            Rounding.HALF_UP: lambda: np.ones_like(tie),
            Rounding.HALF_DOWN: lambda: np.zeros_like(tie),
            Rounding.HALF_ZERO: lambda: negative,
            Rounding.HALF_AWAY: lambda: np.logical_not(negative),
            Rounding.HALF_EVEN: lambda: odd,
            Rounding.HALF_DPU: lambda: np.logical_or(negative, odd),
        }[rounding]()
        up = np.logical_or(remainder > half, np.logical_and(tie, tie_goes_up))
    return floor + up.astype(values.dtype)


def fit(values: np.ndarray, target: IntegerType, overflow: Overflow) -> np.ndarray:
    """Bring integers (already at the target's binary point) into the target type's interval."""
    if overflow is Overflow.SATURATE:
        return np.minimum(np.maximum(values, target.minimum), target.maximum)
    if overflow is Overflow.SATURATE_ZERO:
        outside = np.logical_or(values < target.minimum, values > target.maximum)
        return np.where(outside, 0, values).astype(values.dtype)
    modulus_mask = (1 << target.width) - 1
    low = values & modulus_mask
    if not target.signed:
        return low
    sign_bit = 1 << (target.width - 1)
    wrapped = (low ^ sign_bit) - sign_bit
    if overflow is Overflow.WRAP:
        return wrapped
    above = (values >> target.width) & 1
    return np.where((above == 1) != (wrapped < 0), ~wrapped, wrapped).astype(values.dtype)
