# SPDX-License-Identifier: Apache-2.0
"""Integer types and constants of the graph in the words of HLS: ap_fixed, its modes, and decimal constants."""

from __future__ import annotations

from math import isfinite, ldexp

import numpy as np

from toolchain.ir import IntegerType, Overflow, Rounding

#: ap_fixed's quantisation modes. Rounding modes that are missing here have none.
QUANTISATION = {
    Rounding.TRUNCATE: "TRN",
    Rounding.TRUNCATE_ZERO: "TRN_ZERO",
    Rounding.HALF_UP: "RND",
    Rounding.HALF_DOWN: "RND_MIN_INF",
    Rounding.HALF_ZERO: "RND_ZERO",
    Rounding.HALF_AWAY: "RND_INF",
    Rounding.HALF_EVEN: "RND_CONV",
}


def precision(element: IntegerType, quantisation: str = "", overflow: str = "") -> str:
    """The type as hls4ml's configuration writes it: 'fixed<16,6>', 'ufixed<8,0,RND_CONV,SAT>' (width, integer bits)."""
    modes = f",{quantisation or 'TRN'},{overflow or 'WRAP'}" if quantisation or overflow else ""
    return f"{'' if element.signed else 'u'}fixed<{element.width},{element.width - element.fraction}{modes}>"


def fixed_word(element: IntegerType) -> str:
    """The signed type as the extension layers write it, whatever the vendor calls it."""
    return f"bitwright::fixed<{element.width}, {element.width - element.fraction}>"


def signed_spanning(minimum: int, maximum: int, fraction: int = 0) -> IntegerType:
    """The narrowest signed type that holds the interval."""
    return IntegerType.spanning(min(minimum, -1), max(maximum, 0), fraction)


def saturation_mode(target: IntegerType, overflow: Overflow) -> str | None:
    """ap_fixed's overflow mode that does the same to an aligned value, None if it has none.

    ap_fixed saturates symmetrically only when all but the lowest word is allowed, and its one-bit AP_SAT_SYM gives -1
    where the symmetric interval is [0, 0].
    """
    if overflow is Overflow.WRAP:
        return "WRAP"
    if overflow is Overflow.WRAP_SIGN_MAGNITUDE:
        return "WRAP_SM"
    if overflow is Overflow.SATURATE_ZERO:
        return "SAT_ZERO" if target.is_full_range else None
    if target.is_full_range:
        return "SAT"
    if target.signed and target.width > 1 and (target.minimum, target.maximum) == (-target.highest, target.highest):
        return "SAT_SYM"
    return None


def exact_in_double(integers: np.ndarray, fraction: int) -> bool:
    """Whether every ``integer * 2**-fraction`` is a float64: that is how HLS compilers read a decimal constant."""

    def exact(integer: int) -> bool:
        if integer == 0:
            return True
        significant = integer >> ((integer & -integer).bit_length() - 1)
        return significant.bit_length() <= 53 and -1000 < integer.bit_length() - fraction < 1000 and fraction < 1000

    if integers.dtype != object:
        bound = max(abs(int(integers.min())), abs(int(integers.max())))
        if bound <= 1 << 53 and abs(fraction) < 900:
            return True
    return all(exact(int(v)) for v in integers.ravel())


def real_constants(integers: np.ndarray, fraction: int) -> np.ndarray:
    """``integers * 2**-fraction`` in float64. The caller has checked `exact_in_double`."""
    values = np.array([ldexp(int(v), -fraction) for v in integers.ravel()], dtype=np.float64)
    assert all(isfinite(v) for v in values)
    return values.reshape(integers.shape)
