# SPDX-License-Identifier: Apache-2.0
"""What QKeras's quantisers compute at inference, as operations on lines.

Read from the installed version's source (qkeras 0.9.0, quantizers.py); every rule here is tested against it. All
rounding is tf.round: to nearest, ties to even. With u unsigned bits and the step ``2**(integer - u)``:

- quantized_bits(bits, integer, symmetric, keep_negative): u = bits - keep_negative; rounded first, then clipped to
  [-2**u + symmetric, 2**u - 1] steps (from 0 where keep_negative is off). With u = 0 it is the sign, 0 counting as positive.
  A number or tensor as alpha multiplies the result.
- quantized_relu(bits, integer): u = bits, clipped to [0, 2**u - 1]. With a negative slope s (a power of two) one bit becomes
  the sign: u = bits - 1, negative values are multiplied by s before they are rounded, and clipped to -s * 2**u.
  relu_upper_bound lowers the upper end where is_quantized_clip is off.
- binary, stochastic_binary: +-alpha by the sign, 0 counting as positive; with use_01 0 and alpha.
- ternary, stochastic_ternary: +-alpha from the threshold on (0.33 as float32 where none is set), else 0.
- All others (quantized_relu with use_sigmoid, quantized_po2, quantized_relu_po2, quantized_tanh, quantized_sigmoid,
  quantized_ulaw, quantized_hswish) are tabulated: the quantiser object itself runs on every value that can occur.

Quantisers end in the straight-through estimator ``x + (y - x)``, which in float32 gives y as long as x is no more than 2**24
steps away; beyond that `sums_exact` becomes False.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np

from toolchain.errors import UnsupportedModel
from toolchain.frontends.exact.functions import Curve, HalfLine, Leaky
from toolchain.frontends.exact.quantiser import Quantiser, bipolar
from toolchain.frontends.exact.requantise import count_reached, requantise
from toolchain.frontends.exact.tabulate import MAXIMUM_TABLE_BITS, tabulate
from toolchain.frontends.exact.values import ONE, ZERO, Fractions, Line, RealInput, Site, compact, fractions_of
from toolchain.frontends.qkeras_layers.float32 import require_exact, require_reach
from toolchain.frontends.qkeras_layers.registry import KerasWalk, Value
from toolchain.frontends.qkeras_runtime import import_qkeras, lacks, version

#: Wider quantisers cannot be told from rounding errors of the framework's own float32 arithmetic.
MAXIMUM_BITS = 24
MAXIMUM_INTEGER_BITS = 30

#: (walk, value, quantiser, where) -> the quantised line
_Rule = Callable[[KerasWalk, Line | RealInput, Any, Site], Line]
_RULES: dict[str, _Rule] = {}


def _rule(*names: str) -> Callable[[_Rule], _Rule]:
    def register(function: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(names, function))
        return function

    return register


def is_quantiser(value: Any) -> bool:
    """Whether this is an object of one of QKeras's own quantiser classes."""
    return type(value) is getattr(import_qkeras().quantizers, type(value).__name__, None)


def quantise(walk: KerasWalk, value: Value, quantiser: Any, site: Site) -> Line:
    """An activation quantiser on a value: the graph's input where the value is still real, else a step of the graph.

    Raises UnsupportedModel naming the setting that is not supported.
    """
    check_settings(quantiser, site.label)
    return _RULES[type(quantiser).__name__](walk, walk.moved(value, site), quantiser, site)


@_rule("quantized_bits")
def _bits(walk: KerasWalk, value: Line | RealInput, quantiser: Any, site: Site) -> Line:
    factors = _factors(quantiser, site)
    bits, unsigned = word_length(quantiser, site.label), 0
    unsigned = bits - bool(quantiser.keep_negative)
    if unsigned == 0:
        return walk.scaled(_signs(walk, value, site), factors)
    steps = tuple(Fraction(2) ** (integer - unsigned) for integer in integer_bits(quantiser, site.label))
    lowest = -(1 << unsigned) + int(bool(quantiser.symmetric)) if quantiser.keep_negative else 0
    rule = Quantiser(compact(steps), lowest, (1 << unsigned) - 1)
    return walk.scaled(_uniform(walk, value, rule, site, clips_first=False), factors)


@_rule("quantized_relu")
def _relu(walk: KerasWalk, value: Line | RealInput, quantiser: Any, site: Site) -> Line:
    if quantiser.use_sigmoid:
        return _tabulated(walk, value, quantiser, site)
    slope = Fraction(number(quantiser.negative_slope))
    unsigned = word_length(quantiser, site.label) - (slope != 0)
    steps = tuple(Fraction(2) ** (integer - unsigned) for integer in integer_bits(quantiser, site.label))
    highest, lowest = (1 << unsigned) - 1, -slope * (1 << unsigned)
    bound = None if quantiser.is_quantized_clip else quantiser.relu_upper_bound
    if bound:
        if number(bound) < 0:
            refuse(site.label, "quantized_relu", "relu_upper_bound", bound, "a positive number")
        whole = [Fraction(float(np.float32(bound))) / step for step in steps]
        if any(w.denominator != 1 or len(steps) > 1 for w in whole if w < highest):
            return _tabulated(walk, value, quantiser, site)
        highest = min(highest, int(whole[0]))
    if lowest.denominator != 1:
        allowed = f"at least {2.0**-unsigned:g}, so that the lowest value is on a step"
        refuse(site.label, "quantized_relu", "negative_slope", float(slope), allowed)
    if slope:
        line = walk.line(value, site)
        value = replace(line, functions=(*line.functions, Leaky((slope,)))) if slope != 1 else line
    rule = Quantiser(compact(steps), int(lowest), highest)
    return _uniform(walk, value, rule, site, clips_first=bool(quantiser.is_quantized_clip or bound))


def _uniform(walk: KerasWalk, value: Line | RealInput, rule: Quantiser, site: Site, *, clips_first: bool) -> Line:
    """``clip(round(x / step))``. clips_first: whether the straight-through estimator is of the value after a clip."""
    if isinstance(value, RealInput):
        return walk.quantised_input(value, rule, walk.input_range, site)
    line = walk.emitted(value, site)
    if not clips_first:
        require_reach(walk, line, rule.steps)
    return requantise(walk, line, rule, site)


@_rule("binary", "stochastic_binary")
def _binary(walk: KerasWalk, value: Line | RealInput, quantiser: Any, site: Site) -> Line:
    factors = _factors(quantiser, site)
    if not quantiser.use_01:
        return walk.scaled(_signs(walk, value, site), factors)
    return walk.scaled(_counted(walk, value, [HalfLine(ZERO, True)], 0, site), factors)


@_rule("ternary", "stochastic_ternary")
def _ternary(walk: KerasWalk, value: Line | RealInput, quantiser: Any, site: Site) -> Line:
    factors = _factors(quantiser, site)
    threshold = quantiser.default_threshold if quantiser.threshold is None else quantiser.threshold
    limit = Fraction(float(np.float32(number(threshold))))
    if limit < 0:
        refuse(site.label, type(quantiser).__name__, "threshold", threshold, "a positive number")
    if limit == 0:
        # The sign alone, 0 where the value is.
        return walk.scaled(_counted(walk, value, [HalfLine(ZERO, True), HalfLine(ZERO, False)], -1, site), factors)
    return walk.scaled(_counted(walk, value, [HalfLine(-limit, False), HalfLine(limit, True)], -1, site), factors)


def _signs(walk: KerasWalk, value: Line | RealInput, site: Site) -> Line:
    line = walk.line(value, site)
    if _has_curve(line):
        return _counted(walk, line, [HalfLine(ZERO, True)] * 2, -1, site)
    line = walk.emitted(line, site)
    require_reach(walk, line, (ONE,))
    return requantise(walk, line, bipolar((ONE,)), site)


def _counted(walk: KerasWalk, value: Line | RealInput, halves: list[HalfLine], lowest: int, site: Site) -> Line:
    """``lowest`` plus the number of half-lines that the value lies in."""
    line = walk.emitted(walk.line(value, site), site)
    if _has_curve(line):

        def counts(reals: np.ndarray) -> np.ndarray:
            reached = [reals >= float(h.bound) if h.inclusive else reals > float(h.bound) for h in halves]
            return np.asarray(lowest + np.sum(reached, axis=0, dtype=np.float64))

        return tabulate(walk, line, counts, ONE, site)
    require_reach(walk, line, (ONE,))
    tensor = count_reached(walk, line, [halves], lowest, 0, site)
    return Line(tensor, line.shape, (ONE,))


@_rule(
    "quantized_tanh", "quantized_sigmoid", "quantized_po2", "quantized_relu_po2", "quantized_ulaw", "quantized_hswish"
)
def _tabulated(walk: KerasWalk, value: Line | RealInput, quantiser: Any, site: Site) -> Line:
    """The quantiser's own float32 result for each value, whatever its shape."""
    if isinstance(getattr(quantiser, "alpha", None), str):
        _factors(quantiser, site)  # raises
    line = walk.line(value, site)
    for name in ("alpha", "integer"):
        if np.size(getattr(quantiser, name, 0)) > 1:
            allowed = "one number for all channels of a curve"
            refuse(site.label, type(quantiser).__name__, name, getattr(quantiser, name), allowed)
    require_exact(walk, replace(walk.emitted(line, site), functions=()))
    # One table for all channels, where a bias is what they differ in.
    line = walk.evened(line, site, bits=MAXIMUM_TABLE_BITS - 1)
    return tabulate(walk, line, framework_function(quantiser), None, site)


def framework_function(function: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function of the framework on float32, as one on arrays of float64."""

    def values(reals: np.ndarray) -> np.ndarray:
        import tensorflow

        return np.asarray(function(tensorflow.constant(reals.astype(np.float32))), dtype=np.float64)

    return values


def _has_curve(line: Line) -> bool:
    return any(isinstance(function, Curve) for function in line.functions)


def _factors(quantiser: Any, site: Site) -> Fractions:
    """What alpha multiplies the result with: one fraction, or one a channel."""
    alpha = quantiser.alpha
    if alpha is None:
        return (ONE,)
    if isinstance(alpha, str):
        refuse(
            site.label,
            type(quantiser).__name__,
            "alpha",
            alpha,
            "a number or None on activations (a scale computed from the data is not fixed)",
        )
    values = np.asarray(alpha, dtype=np.float32)
    if not np.isfinite(values).all() or values.size not in (*values.shape[-1:], 1):
        refuse(site.label, type(quantiser).__name__, "alpha", alpha, "a finite number, or one a channel")
    return compact(fractions_of(values))


# ---- settings ----------------------------------------------------------------------------------------------------------
def check_settings(quantiser: Any, label: str) -> None:
    """Raise UnsupportedModel where a quantiser is unknown or does not give one fixed result at inference."""
    kind = type(quantiser).__name__
    if not is_quantiser(quantiser) or kind not in (*_RULES, "bernoulli"):
        raise UnsupportedModel(unsupported_quantiser(label, getattr(quantiser, "__name__", kind)))
    if kind == "bernoulli":
        raise UnsupportedModel(
            f"{label}: bernoulli draws random numbers at inference too, so it has no fixed result; use binary(use_01=True)"
        )
    factor = number(getattr(quantiser, "qnoise_factor", 1.0))
    if factor != 1.0:
        refuse(label, kind, "qnoise_factor", factor, "1 (less mixes in values that are not quantised)")
    if getattr(quantiser, "symmetric", 0) not in (0, 1, False, True):
        refuse(label, kind, "symmetric", quantiser.symmetric, "0 or 1")
    if hasattr(quantiser, "bits"):
        word_length(quantiser, label)
    if hasattr(quantiser, "integer"):
        integer_bits(quantiser, label)


def word_length(quantiser: Any, label: str) -> int:
    """The quantiser's bits."""
    value = number(quantiser.bits)
    if not isfinite(value) or value != int(value) or not 1 <= value <= MAXIMUM_BITS:
        refuse(label, type(quantiser).__name__, "bits", quantiser.bits, f"a whole number from 1 to {MAXIMUM_BITS}")
    return int(value)


def integer_bits(quantiser: Any, label: str) -> list[int]:
    """The quantiser's integer bits: one number, or one a channel (which only QAdaptiveActivation makes).

    QKeras computes ``2**integer`` in 32-bit integers, which fails below 0 and overflows above 30.
    """
    try:
        values = np.asarray(quantiser.integer, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not ((values == np.rint(values)) & (values >= 0) & (values <= MAXIMUM_INTEGER_BITS)).all():
        allowed = f"a whole number from 0 to {MAXIMUM_INTEGER_BITS}, which is what QKeras itself computes with"
        refuse(label, type(quantiser).__name__, "integer", quantiser.integer, allowed)
    return [int(v) for v in values]


def number(value: Any) -> float:
    """A setting as a float; NaN where it is not one number."""
    try:
        return float(np.asarray(value).reshape(-1)[0]) if np.size(value) == 1 else float("nan")
    except (TypeError, ValueError):
        return float("nan")


def refuse(label: str, kind: str, setting: str, found: Any, allowed: str) -> None:
    raise UnsupportedModel(f"{label}: {kind} with {setting} = {found!r}; supported is {allowed}")


#: Quantisers that a model may name. Whether a setting of one is supported is decided where it is used.
QUANTISERS = tuple(sorted((*_RULES, "bernoulli")))


def unsupported_quantiser(label: str, name: str) -> str:
    """The message for a quantiser or activation function that the frontend does not read."""
    from toolchain.frontends.qkeras_layers.functions import FUNCTIONS

    known = ", ".join(name for name in QUANTISERS if name != "bernoulli")
    absent = ""
    if lacks(name.partition("(")[0]):
        absent = f", which {version()}, the installed one, does not have, so what it computes is not known"
        absent += " (quantized_bits is what it has instead)" if name.startswith("quantized_linear") else ""
    return f"{label} is {name!r}{absent}; supported are the quantisers {known} and, as an activation, {', '.join(FUNCTIONS)}"
