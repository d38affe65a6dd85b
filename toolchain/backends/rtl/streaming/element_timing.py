# SPDX-License-Identifier: Apache-2.0
"""When the kernels that work element by element or pixel by pixel take and give beats.

scale, lookup, upsample, insert_zeros and top_k. The conventions are those of `timing`; the rules are those in the modules'
headers.
"""

from __future__ import annotations

import numpy as np

from toolchain.backends.rtl.streaming.timing import BufferTiming, Queue, StepTiming, pattern_timing, queue_timing

#: Cycles from the acceptance of a beat by scale to its offer.
_SCALE_LATENCY_CYCLES = 6
#: Words of a lane's memory up to which lookup keeps it in LUTs, and saves a cycle.
_LOOKUP_DISTRIBUTED_WORDS = 64
#: The output queue of upsample and of top_k: output beats that may be read and not taken, and cycles from reading to offer.
_READ_QUEUE = Queue(slots=5, latency_cycles=4)


def scale_timing() -> StepTiming:
    """scale: one output beat for each input beat."""
    return queue_timing(_SCALE_LATENCY_CYCLES + 1, _SCALE_LATENCY_CYCLES)


def lookup_timing(words: int) -> StepTiming:
    """lookup: one output beat for each input beat. words: of a lane's memory, entries times the tables that it holds."""
    latency_cycles = 4 if words <= _LOOKUP_DISTRIBUTED_WORDS else 5
    return queue_timing(latency_cycles + 1, latency_cycles)


def upsample_least_beats(row_pixels: int, pixel_beats: int, factor: tuple[int, int]) -> int:
    """The least that upsample's buffer may hold: what is given again, a row or a pixel."""
    if factor[0] > 1:
        return row_pixels * pixel_beats
    return pixel_beats if factor[1] > 1 else 1


def upsample_beats(row_pixels: int, pixel_beats: int, factor: tuple[int, int]) -> int:
    """The smallest BUFFER_BEATS with which upsample never slows a stream down: an output beat is read in every cycle.

    An input beat has to be accepted in the cycle of the output beat before its first. By then all beats before it are in, and
    of them the finished ones have left: at the first beat of a row (pixel) all but the last, which is just being read; at
    the others none of the row (pixel). So two beats, or the row (pixel).
    """
    return max(2, upsample_least_beats(row_pixels, pixel_beats, factor))


def upsample_timing(
    image: tuple[int, int], pixel_beats: int, factor: tuple[int, int], buffer_beats: int
) -> BufferTiming:
    """upsample: output beats are read one a cycle, each behind its input beat and while fewer than 5 wait.

    image: rows and columns of an input frame. factor: times that every row, and every pixel of a row, is given.
    """
    shape = (image[0], factor[0], image[1], factor[1], pixel_beats)
    row, row_copy, pixel, copy, beat = np.indices(shape, np.int32)
    sources = (row * image[1] + pixel) * pixel_beats + beat
    final = ((row_copy == factor[0] - 1) & (copy == factor[1] - 1)).ravel()
    # An input beat is given up with its final output beat: as many as there were of these before.
    keeps = np.cumsum(final) - final
    return BufferTiming(sources.ravel(), keeps, image[0] * image[1] * pixel_beats, buffer_beats, _READ_QUEUE)


def insert_zeros_timing(image: tuple[int, int], pixel_beats: int, factor: tuple[int, int]) -> StepTiming:
    """insert_zeros: each output beat is made by itself for a zero pixel, else from an input beat, one a cycle.

    image: rows and columns of an input frame. factor: output rows and columns from one input pixel to the next.
    """
    rows, columns = ((size - 1) * step + 1 for size, step in zip(image, factor, strict=True))
    takes = np.zeros((rows, columns, pixel_beats), bool)
    takes[:: factor[0], :: factor[1]] = True
    return pattern_timing(takes.ravel(), np.ones(takes.size), Queue(2, 1))


def top_k_timing(channels: int, k: int) -> BufferTiming:
    """top_k: `k` output beats behind the last of `channels` input beats; all but the last of the next frame may come before.

    The last of the next frame may come when one output beat is left, and nothing of the frame after that until none is.
    """
    keeps = np.zeros(k, np.int32)
    if k > 1:
        keeps[-1] = 1
    return BufferTiming(np.full(k, channels - 1, np.int32), keeps, channels, 2 * channels - (k > 1), _READ_QUEUE)
