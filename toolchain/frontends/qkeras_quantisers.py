# SPDX-License-Identifier: Apache-2.0
"""What QKeras's quantisers compute at inference, as integer types and operations.

Read from the installed version's source (qkeras 0.9.0, quantizers.py); every rule here is tested against it. All
rounding is tf.round: to nearest, ties to even. Written in steps of ``2**-fraction``:

- quantized_bits(bits, integer, symmetric, keep_negative): u = bits - keep_negative unsigned bits, fraction = u - integer,
  saturation to [-2**u + symmetric, 2**u - 1] (from 0 where keep_negative is off). With u = 0 it is the sign, 0 counting
  as positive. A number as alpha multiplies the result.
- quantized_relu(bits, integer): fraction = bits - integer, saturation to [0, 2**bits - 1]. With a negative slope s (a
  power of two) one bit becomes the sign: u = bits - 1, fraction = u - integer, negative values are multiplied by s before
  they are rounded, saturation to [-s * 2**u, 2**u - 1]. relu_upper_bound lowers the upper end where is_quantized_clip
  is off.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, isfinite
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.qkeras_file import unsupported_quantiser
from toolchain.frontends.qkeras_runtime import import_qkeras
from toolchain.ir import IntegerType

#: Wider quantisers cannot be told from rounding errors of the framework's own float32 arithmetic.
MAXIMUM_BITS = 24


@dataclass(frozen=True)
class ActivationQuantiser:
    """An activation quantiser: ``saturate(round_half_even(leaky(x)))`` into `target`.

    negative_slope_shift: None, or k for a slope of ``2**-k`` on negative values before rounding.
    sign: the result is +1 for x >= 0, else -1, and `target` is not used.
    """

    target: IntegerType
    negative_slope_shift: int | None = None
    sign: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the host can apply it to a real input: rounding and saturation only."""
        return self.negative_slope_shift is None and not self.sign


def activation_quantiser(quantiser: Any, label: str) -> ActivationQuantiser:
    """Read a QKeras quantiser object that is applied to activations. Raises UnsupportedModel with the setting's name."""
    qkeras = import_qkeras()
    kind = type(quantiser).__name__
    if type(quantiser) is qkeras.quantized_bits:
        _require_deterministic(quantiser, label)
        if quantiser.alpha is not None and not _equals(quantiser.alpha, 1.0):
            _refuse(
                label,
                kind,
                "alpha",
                quantiser.alpha,
                "1 or None on activations (a scale computed from the data is not fixed)",
            )
        bits, integer = _bits(quantiser, label)
        unsigned = bits - bool(quantiser.keep_negative)
        if unsigned == 0:
            return ActivationQuantiser(IntegerType(True, 2, 0, -1, 1), sign=True)
        return ActivationQuantiser(_bits_type(quantiser, bits, unsigned - integer))
    if type(quantiser) is qkeras.quantized_relu:
        return _relu(quantiser, label)
    raise UnsupportedModel(unsupported_quantiser(label, kind))


def _bits_type(quantiser: Any, bits: int, fraction: int) -> IntegerType:
    if not quantiser.keep_negative:
        return IntegerType(False, bits, fraction)
    lowest = -(1 << (bits - 1)) + (1 if quantiser.symmetric else 0)
    return IntegerType(True, bits, fraction, minimum=lowest)


def _relu(quantiser: Any, label: str) -> ActivationQuantiser:
    _require_deterministic(quantiser, label)
    if quantiser.use_sigmoid:
        _refuse(label, "quantized_relu", "use_sigmoid", quantiser.use_sigmoid, "0")
    bits, integer = _bits(quantiser, label)
    slope = float(quantiser.negative_slope)
    unsigned = bits - (slope != 0.0)
    fraction = unsigned - integer
    highest = (1 << unsigned) - 1
    bound = quantiser.relu_upper_bound
    if bound and not quantiser.is_quantized_clip:
        steps = float(bound) * 2.0**fraction
        if steps < highest:
            if steps < 0 or steps != int(steps):
                _refuse(
                    label, "quantized_relu", "relu_upper_bound", bound, f"a multiple of the step {2.0**-fraction:g}"
                )
            highest = int(steps)
    if slope == 0.0:
        return ActivationQuantiser(IntegerType(False, bits, fraction, maximum=highest))
    shift = 1 - frexp(slope)[1]
    if slope > 1.0 or shift > unsigned:
        allowed = f"a power of two from {2.0**-unsigned:g} to 1, so that the lowest value is on a step"
        _refuse(label, "quantized_relu", "negative_slope", slope, allowed)
    lowest = -(1 << (unsigned - shift))
    return ActivationQuantiser(IntegerType(True, bits, fraction, lowest, highest), negative_slope_shift=shift)


def quantised_weights(quantiser: Any, values: np.ndarray, label: str) -> tuple[np.ndarray, int]:
    """(integers, fraction) of weights as the layer uses them: the quantiser itself is run on the stored values.

    values: float32, finite. The integers have the values' shape; the real weight is ``integer * 2**-fraction`` exactly.
    Raises UnsupportedModel for a quantiser that is not supported on weights or whose scale is not a power of two.
    """
    qkeras = import_qkeras()
    kind = type(quantiser).__name__
    if type(quantiser) not in (qkeras.quantized_bits, qkeras.binary, qkeras.ternary):
        raise UnsupportedModel(
            f"{label} is {kind!r}; supported on weights are quantized_bits, binary and ternary with a power-of-two scale"
        )
    _require_deterministic(quantiser, label)
    step = 1.0
    if type(quantiser) is qkeras.quantized_bits:
        bits, integer = _bits(quantiser, label)
        unsigned = bits - bool(quantiser.keep_negative)
        if unsigned > 0:
            step = 2.0 ** (integer - unsigned)
    if isinstance(quantiser.alpha, str) and quantiser.alpha != "auto_po2":
        allowed = "a power of two or 'auto_po2' (a scale that is no power of two cannot be exact)"
        _refuse(label, kind, "alpha", quantiser.alpha, allowed)
    quantised = np.asarray(quantiser(values), dtype=np.float64)
    scale = 1.0 if quantiser.scale is None else np.asarray(quantiser.scale, dtype=np.float64)
    if not np.isfinite(scale).all() or not (np.frexp(scale)[0] == 0.5).all():
        _refuse(label, kind, "alpha", quantiser.alpha, "a scale that is a power of two")
    steps = quantised / (scale * step)
    if not np.isfinite(quantised).all() or (steps != np.rint(steps)).any() or np.abs(steps).max() >= 1 << MAXIMUM_BITS:
        raise UnsupportedModel(
            f"{label} {quantiser} gave weights that are not whole multiples of its step; "
            "its float32 arithmetic lost bits on these values, so they cannot be represented exactly"
        )
    return _common_grid(quantised, step if np.ndim(scale) == 0 and scale == 1.0 else None)


def _common_grid(quantised: np.ndarray, step: float | None) -> tuple[np.ndarray, int]:
    """Integers and fraction for exact binary fractions; `step`: the grid where it is the same for all weights."""
    if step is None:
        mantissas, exponents = np.frexp(quantised)
        whole = (mantissas * 2.0**53).astype(np.int64)
        # Trailing zeros of the 53-bit mantissa: the lowest set bit is 2**zeros.
        lowest = np.where(whole == 0, 1, whole & -whole)
        finest = exponents - 53 + np.rint(np.log2(lowest.astype(np.float64))).astype(np.int64)
        fraction = -int(finest[whole != 0].min()) if (whole != 0).any() else 0
    else:
        fraction = -(frexp(step)[1] - 1)
    scaled = np.ldexp(quantised, fraction)
    if np.abs(scaled).max() < 2.0**62:
        return scaled.astype(np.int64), fraction
    flat = np.empty(scaled.size, dtype=object)
    flat[:] = [int(value) for value in scaled.ravel()]
    return flat.reshape(scaled.shape), fraction


def _require_deterministic(quantiser: Any, label: str) -> None:
    kind = type(quantiser).__name__
    if getattr(quantiser, "use_stochastic_rounding", False):
        _refuse(label, kind, "use_stochastic_rounding", True, "False")
    factor = _number(getattr(quantiser, "qnoise_factor", 1.0))
    if factor != 1.0:
        _refuse(label, kind, "qnoise_factor", factor, "1 (less mixes in values that are not quantised)")


def _bits(quantiser: Any, label: str) -> tuple[int, int]:
    kind = type(quantiser).__name__
    values = []
    for name, low, high in (("bits", 1, MAXIMUM_BITS), ("integer", -64, 64)):
        value = _number(getattr(quantiser, name))
        if not isfinite(value) or value != int(value) or not low <= value <= high:
            _refuse(label, kind, name, getattr(quantiser, name), f"a whole number from {low} to {high}")
        values.append(int(value))
    if getattr(quantiser, "symmetric", 0) not in (0, 1, False, True):
        _refuse(label, kind, "symmetric", quantiser.symmetric, "0 or 1")
    return values[0], values[1]


def _number(value: Any) -> float:
    try:
        return float(np.asarray(value).reshape(-1)[0]) if np.size(value) == 1 else float("nan")
    except (TypeError, ValueError):
        return float("nan")


def _equals(value: Any, number: float) -> bool:
    return not isinstance(value, str) and _number(value) == number


def _refuse(label: str, kind: str, setting: str, found: Any, allowed: str) -> None:
    raise UnsupportedModel(f"{label}: {kind} with {setting} = {found!r}; supported is {allowed}")
