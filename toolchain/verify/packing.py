# SPDX-License-Identifier: Apache-2.0
"""Integers to beats of a stream and back: element 0 in the low bits, elements without gaps, bytes lowest first."""

from __future__ import annotations

import numpy as np


def pack_beats(values: np.ndarray, lanes: int, width: int, beat_bytes: int) -> np.ndarray:
    """Integers of shape (frames, elements) as beats of `lanes` elements: uint8 of shape (frames * elements / lanes, beat_bytes).

    Each element becomes `width` bits of two's complement or unsigned; bits above lanes * width are 0.
    """
    groups = np.ascontiguousarray(values).reshape(-1, lanes)
    if lanes * width <= 64 and groups.dtype != object:
        mask = np.uint64((1 << width) - 1)
        words = np.zeros(len(groups), dtype=np.uint64)
        for lane in range(lanes):
            words |= (groups[:, lane].astype(np.int64).view(np.uint64) & mask) << np.uint64(lane * width)
        octets = words.astype("<u8").view(np.uint8).reshape(-1, 8)
    elif width <= 8 and 8 % width == 0 and groups.dtype != object:
        # Whole elements in a byte: one pass for each place in the byte.
        parts = (groups.astype(np.int64) & ((1 << width) - 1)).astype(np.uint8)
        a_byte = 8 // width
        parts = np.pad(parts, ((0, 0), (0, -lanes % a_byte))).reshape(len(groups), -1, a_byte)
        octets = np.zeros(parts.shape[:2], dtype=np.uint8)
        for place in range(a_byte):
            octets |= parts[:, :, place] << np.uint8(place * width)
    else:
        octets = np.packbits(_bits(groups, width).reshape(len(groups), lanes * width), axis=1, bitorder="little")
    if octets.shape[1] < beat_bytes:
        octets = np.pad(octets, ((0, 0), (0, beat_bytes - octets.shape[1])))
    return np.ascontiguousarray(octets[:, :beat_bytes])


def unpack_beats(beats: np.ndarray, lanes: int, width: int, signed: bool, elements: int) -> np.ndarray:
    """The inverse: integers of shape (frames, elements) of beats (uint8, shape (beats, bytes)).

    int64 up to 63 bits (64 if signed), else Python integers. Bits above lanes * width are ignored.
    """
    if lanes * width <= 64:
        words = np.zeros((len(beats), 8), dtype=np.uint8)
        used = min(8, beats.shape[1])
        words[:, :used] = beats[:, :used]
        packed = words.view("<u8")
        fields = (packed >> np.arange(0, lanes * width, width, dtype=np.uint64)) & np.uint64((1 << width) - 1)
        if width == 64 and not signed:
            return fields.astype(object).reshape(-1, elements)
        values = fields.view(np.int64)
    else:
        bits = np.unpackbits(beats, axis=1, bitorder="little")[:, : lanes * width].reshape(len(beats), lanes, width)
        if width > (64 if signed else 63):
            weights = np.array([1 << place for place in range(width)], dtype=object)
            if signed:
                weights[-1] = -weights[-1]
            return (bits.astype(object) * weights).sum(axis=-1).reshape(-1, elements)
        values = (
            (bits.astype(np.uint64) << np.arange(width, dtype=np.uint64)).sum(axis=-1, dtype=np.uint64).view(np.int64)
        )
    if signed and width < 64:
        sign = np.int64(1 << (width - 1))
        values = (values ^ sign) - sign
    return values.reshape(-1, elements)


def _bits(groups: np.ndarray, width: int) -> np.ndarray:
    """The low `width` bits of integers, lowest first along a new last axis, as uint8."""
    if groups.dtype == object or width > 64:
        places = np.array(range(width), dtype=object)
        return ((groups.astype(object)[..., None] >> places) & 1).astype(np.uint8)
    places = np.arange(width, dtype=np.int64)
    return ((groups.astype(np.int64)[..., None] >> places) & 1).astype(np.uint8)
