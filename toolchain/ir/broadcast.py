# SPDX-License-Identifier: Apache-2.0
"""Two operands of sample shapes that need not be equal: which result shape they have together."""

from __future__ import annotations

from toolchain.errors import SpecViolation


def broadcast_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an element-by-element result: sizes are equal or one of them is 1, the number of axes is the same."""
    if len(a) != len(b) or any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        raise SpecViolation(f"operands of shapes {a} and {b}: sizes must be equal, or 1, along each of the same axes")
    return tuple(max(m, n) for m, n in zip(a, b, strict=True))
