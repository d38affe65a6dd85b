# SPDX-License-Identifier: Apache-2.0
"""Every start, stop and step on an axis of up to six, the axes taking turns."""

from __future__ import annotations

from rtl_tests.common.case import Case
from rtl_tests.stream_slice.test_stream_slice import Part, case


def axis_parts() -> list[tuple[int, Part]]:
    """A size and a part of it."""
    return [
        (size, (start, stop, step))
        for size in (1, 2, 3, 5, 6)
        for start in range(size)
        for stop in range(start + 1, size + 1)
        for step in range(1, stop - start + 2)
    ]


def cases() -> list[Case]:
    """One axis sweeps while the two others stand at parts that keep some and drop some."""
    every = axis_parts()
    found = {}
    for number, (size, part) in enumerate(every):
        others = [every[(7 * number + 3) % len(every)], every[(11 * number + 5) % len(every)]]
        others.insert(number % 3, (size, part))
        built = case(tuple(s for s, _ in others), *(p for _, p in others), width=10)
        found[built.name] = built
    return list(found.values())


CASES = cases()
