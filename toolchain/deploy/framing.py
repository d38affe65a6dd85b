# SPDX-License-Identifier: Apache-2.0
"""Bytes on the serial line: elements of a tensor to stream beats, beats to request frames, answer frames back.

The other end is boards/common/uart_frame_link.sv, whose header defines the frames. Host driver and simulation share this code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import BoardError, InputError
from toolchain.verify.packing import pack_beats, unpack_beats

REQUEST_START = 0xA5
ANSWER_START = 0x5A
#: start byte, status, four bytes of identity
ANSWER_HEAD_BYTES = 6
LATENCY_BYTES = 4
CRC_BYTES = 2
STATUS_DONE = 0
STATUS_TEXT = {
    1: "the request arrived with a wrong CRC",
    2: "a byte of the request had no stop bit",
    3: "the request stopped before its end",
    4: "the core gave no result in time",
    5: "the core's result had another length than declared",
}
#: Worth another try: the line, not the design, was at fault.
RETRY_STATUS = frozenset({1, 2, 3})


@dataclass(frozen=True)
class StreamFormat:
    """How a tensor travels as AXI-Stream beats.

    lanes: elements of a beat, first one in the lowest bits, without gaps. beats: of a frame; the tensor's elements follow
    in row-major order. width: bits of an element. bytes_per_beat: of tdata; bits above the elements are zero.
    """

    lanes: int
    beats: int
    width: int
    signed: bool
    bytes_per_beat: int

    def __post_init__(self) -> None:
        if min(self.lanes, self.beats, self.width) < 1 or self.lanes * self.width > 8 * self.bytes_per_beat:
            raise AssertionError(f"no such stream: {self}")

    @property
    def elements(self) -> int:
        return self.lanes * self.beats

    @property
    def frame_bytes(self) -> int:
        return self.beats * self.bytes_per_beat

    @property
    def minimum(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        return (1 << (self.width - self.signed)) - 1

    def pack(self, values: NDArray[Any]) -> bytes:
        """The bytes of a frame, lowest byte of the first beat first.

        values: integer array with `elements` entries, any shape. Raises InputError for another number or range.
        """
        flat = np.asarray(values).reshape(-1)
        if flat.size != self.elements or not (np.issubdtype(flat.dtype, np.integer) or flat.dtype == object):
            raise InputError(f"a frame has {self.elements} integers; got {flat.size} values of type {flat.dtype}")
        low, high = int(flat.min()), int(flat.max())
        if low < self.minimum or high > self.maximum:
            raise InputError(f"values {low} to {high} do not fit this input's range {self.minimum} to {self.maximum}")
        return pack_beats(flat[None], self.lanes, self.width, self.bytes_per_beat).tobytes()

    def unpack(self, frame: bytes) -> NDArray[Any]:
        """The elements of a frame of `frame_bytes` bytes, flat; padding bits are ignored."""
        if len(frame) != self.frame_bytes:
            raise AssertionError(f"a frame of {self} has {self.frame_bytes} bytes, not {len(frame)}")
        beats = np.frombuffer(frame, np.uint8).reshape(self.beats, self.bytes_per_beat)
        return unpack_beats(beats, self.lanes, self.width, self.signed, self.elements)[0]


def crc16(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, start 0xFFFF, highest bit first; crc16(b'123456789') = 0x29B1."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def request(payload: bytes) -> bytes:
    """The request frame for the bytes of an input frame."""
    return bytes([REQUEST_START]) + payload + crc16(payload).to_bytes(CRC_BYTES, "big")


@dataclass(frozen=True)
class Answer:
    """A decoded answer frame. latency_cycles and payload are there with status 0 only."""

    status: int
    design_id: int
    latency_cycles: int | None
    payload: bytes


def answer_rest_bytes(head: bytes, payload_bytes: int) -> int:
    """How many bytes follow the head (ANSWER_HEAD_BYTES bytes from the start byte on) of an answer."""
    return CRC_BYTES + (LATENCY_BYTES + payload_bytes if head[1] == STATUS_DONE else 0)


def parse_answer(frame: bytes, payload_bytes: int) -> Answer:
    """Decode a whole answer frame, start byte and CRC included. Raises BoardError if it is damaged."""
    body, crc = frame[1:-CRC_BYTES], int.from_bytes(frame[-CRC_BYTES:], "big")
    if not frame or frame[0] != ANSWER_START or crc16(body) != crc:
        raise BoardError(f"an answer of {len(frame)} bytes arrived damaged (start byte or CRC)")
    status, design_id = body[0], int.from_bytes(body[1:5], "little")
    if status != STATUS_DONE:
        return Answer(status, design_id, None, b"")
    latency = int.from_bytes(body[5 : 5 + LATENCY_BYTES], "little")
    payload = body[5 + LATENCY_BYTES :]
    if len(payload) != payload_bytes:
        raise AssertionError(f"answer with {len(payload)} bytes of result, not {payload_bytes}")
    return Answer(status, design_id, latency, payload)


@dataclass(frozen=True)
class CoreInterface:
    """What the board's logic and the host have to know of a streaming core.

    top: its module. input, output: its streams. design_id: 32 bits of the plan's digest, which the board sends back.
    """

    top: str
    input: StreamFormat
    output: StreamFormat
    design_id: int


def core_interface(top: str, facts: Mapping[str, Any], digest: str) -> CoreInterface:
    """Read the interface from the facts of a streaming core's plan; `digest` is the plan's."""
    input_format, output_format = (
        StreamFormat(
            lanes=facts[side]["lanes"],
            beats=facts[side]["beats"],
            width=facts[side]["element_width"],
            signed=facts[side]["signed"],
            bytes_per_beat=facts[side]["data_width"] // 8,
        )
        for side in ("input", "output")
    )
    return CoreInterface(top, input_format, output_format, int(digest[:8], 16))
