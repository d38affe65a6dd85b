# SPDX-License-Identifier: Apache-2.0
"""QKeras's hard sigmoid and tanh, exact without a table.

hard_sigmoid is ``clip(0.5 * x + 0.5, 0, 1)`` and hard_tanh twice that less 1: on a binary step their values are on one too.
quantized_sigmoid and quantized_tanh, as long as they are not told to use the real functions, are these followed by
``clip(round(p * m) / m)``, where all rounding is to even and m is a power of two: a shift with saturation.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from toolchain.frontends.exact.functions import Clip
from toolchain.frontends.exact.quantiser import Quantiser
from toolchain.frontends.exact.requantise import requantise
from toolchain.frontends.exact.values import ONE, ZERO, Line, Site, common_step
from toolchain.frontends.qkeras_layers.float32 import representable, rounded
from toolchain.frontends.qkeras_layers.registry import KerasWalk
from toolchain.frontends.qkeras_quantisers import check_settings, word_length
from toolchain.frontends.qkeras_runtime import import_qkeras

HALF, _TWO = Fraction(1, 2), Fraction(2)


def is_hard(function: Any) -> bool:
    """Whether this is one of the functions that `hard` reads."""
    quantizers = import_qkeras().quantizers
    if function in (quantizers.hard_sigmoid, quantizers.hard_tanh):
        return True
    if quantizers._sigmoid is not quantizers.hard_sigmoid:  # set_internal_sigmoid has chosen another
        return False
    if type(function) is quantizers.quantized_sigmoid:
        return not function.use_real_sigmoid
    return type(function) is quantizers.quantized_tanh and not function.use_real_tanh


def is_hard_sigmoid(function: Any) -> bool:
    return is_hard(function) and not _is_tanh(function)


def _is_tanh(function: Any) -> bool:
    quantizers = import_qkeras().quantizers
    return function is quantizers.hard_tanh or type(function) is quantizers.quantized_tanh


def hard(walk: KerasWalk, line: Line, function: Any, site: Site) -> Line:
    """A line after one of QKeras's hard functions, quantised or not."""
    half = rounded(walk, walk.scaled(line, (HALF,), (HALF,)))
    if not _is_tanh(function):
        return hard_of_half(walk, half, function, site)
    if half.functions or not representable(walk, line, ONE):
        # Every operation rounds: the clip to [0, 1] comes before the second one.
        inner = replace(half, functions=(*half.functions, Clip(ZERO, ONE)))
        line = rounded(walk, walk.scaled(inner, (_TWO,), (-ONE,)))
    if function is import_qkeras().quantizers.hard_tanh:
        return _clipped(walk, line, -ONE, site)
    check_settings(function, site.label)
    unsigned = word_length(function, site.label) - 1
    lowest = -(1 << unsigned) + bool(function.symmetric)
    return _quantised(walk, line, unsigned, lowest, site)


def hard_of_half(walk: KerasWalk, half: Line, function: Any, site: Site) -> Line:
    """A hard sigmoid, quantised or not, of x, given ``0.5 * x + 0.5``."""
    if function is import_qkeras().quantizers.hard_sigmoid:
        return _clipped(walk, half, ZERO, site)
    check_settings(function, site.label)
    return _quantised(walk, half, word_length(function, site.label), int(bool(function.symmetric)), site)


def _quantised(walk: KerasWalk, line: Line, bits: int, lowest: int, site: Site) -> Line:
    """Values beyond the range, which the functions clip first, are clipped to the same ends by the quantiser."""
    return requantise(walk, line, Quantiser((Fraction(1, 1 << bits),), lowest, (1 << bits) - 1), site)


def _clipped(walk: KerasWalk, line: Line, low: Fraction, site: Site) -> Line:
    """``clip(line, low, 1)`` as integers, on a step of which 1 is a multiple."""
    if not line.functions:
        line = walk.biased(line, site)
        wanted = common_step([*line.scale, ONE])
        if len(set(line.scale)) == 1 and wanted != line.scale[0]:
            line = walk.aligned(line, wanted, walk.element(line).fraction, site)
    return walk.settled(replace(line, functions=(*line.functions, Clip(low, ONE))), site)
