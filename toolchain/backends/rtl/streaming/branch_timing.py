# SPDX-License-Identifier: Apache-2.0
"""When the kernels of branches take and give beats: stream_fork, stream_combine, stream_concatenate and stream_slice.

The conventions are those of `timing`; the rules are those in the modules' headers.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from toolchain.backends.rtl.streaming.timing import Queue, StepTiming, pattern_timing


class Combination(IntEnum):
    """OPERATION of stream_combine."""

    ADD = 0
    SUBTRACT = 1
    MULTIPLY = 2


def fork_timing() -> StepTiming:
    """stream_fork: a beat goes to both outputs at once; each is a queue of two."""
    return StepTiming(np.array([1]), np.array([3]), (Queue(2, 1), Queue(2, 1)))


def combine_timing(operation: Combination) -> StepTiming:
    """stream_combine: one beat of each input a step; each input holds two."""
    queue = Queue(5, 4) if operation == Combination.MULTIPLY else Queue(2, 1)
    return StepTiming(np.array([3]), np.array([1]), (queue,), inputs=(2, 2))


def concatenate_timing(a_beats: int, b_beats: int) -> StepTiming:
    """stream_concatenate: `a_beats` beats of the first input, then `b_beats` of the second, in turn."""
    return StepTiming(np.repeat([1, 2], [a_beats, b_beats]), np.ones(a_beats + b_beats), (Queue(2, 1),), inputs=(0, 0))


def slice_timing(sizes: Sequence[int], parts: Sequence[slice]) -> StepTiming:
    """stream_slice: of a frame of `sizes` beats along its axes, the last running fastest, those of `parts` are kept.

    parts: along each axis; slices as Python's own, with steps of at least 1 and something left.
    """
    gives = np.zeros(tuple(sizes), bool)
    gives[tuple(parts)] = True
    assert gives.any()
    return pattern_timing(np.ones(gives.size), gives.ravel(), Queue(2, 1))
