# SPDX-License-Identifier: Apache-2.0
"""Frames on the serial line, and the host driver against a line that damages, drops and delays."""

from __future__ import annotations

import binascii
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.deploy.framing import (
    ANSWER_START,
    CoreInterface,
    StreamFormat,
    core_interface,
    crc16,
    parse_answer,
    request,
)
from toolchain.deploy.host import HostLink
from toolchain.errors import BoardError, InputError

INPUT = StreamFormat(lanes=2, beats=3, width=5, signed=True, bytes_per_beat=2)
OUTPUT = StreamFormat(lanes=1, beats=2, width=12, signed=True, bytes_per_beat=2)
INTERFACE = CoreInterface("core", INPUT, OUTPUT, 0xCAFE1234)


@given(st.binary(max_size=300))
def test_crc_is_the_ccitt_polynomial_started_at_ffff(data: bytes) -> None:
    assert crc16(data) == binascii.crc_hqx(data, 0xFFFF)
    assert crc16(data + crc16(data).to_bytes(2, "big")) == 0


def test_crc_of_the_catalogue() -> None:
    assert crc16(b"123456789") == 0x29B1


def test_request_by_hand() -> None:
    values = np.array([1, -1, 0, 15, -16, 2])
    # element 0 in the low bits: 00001 11111, 00000 01111, 10000 00010, lowest byte first
    beats = [0b11111_00001, 0b01111_00000, 0b00010_10000]
    payload = b"".join(beat.to_bytes(2, "little") for beat in beats)
    assert INPUT.pack(values) == payload
    assert request(payload) == b"\xa5" + payload + crc16(payload).to_bytes(2, "big")


@st.composite
def formats(draw: st.DrawFn) -> StreamFormat:
    lanes, beats, width = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 40))
    padding = draw(st.integers(0, 2))
    return StreamFormat(lanes, beats, width, draw(st.booleans()), -(-lanes * width // 8) + padding)


@given(formats(), st.randoms())
def test_packing_and_unpacking_are_inverse(stream: StreamFormat, random: object) -> None:
    draw = random.randint  # type: ignore[attr-defined]
    values = np.array([draw(stream.minimum, stream.maximum) for _ in range(stream.elements)], dtype=np.int64)
    frame = stream.pack(values)
    assert len(frame) == stream.frame_bytes
    assert np.array_equal(stream.unpack(frame), values)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"values -17 to 0 do not fit this input's range -16 to 15"):
        INPUT.pack(np.array([-17, 0, 0, 0, 0, 0]))
    with pytest.raises(InputError, match="a frame has 6 integers; got 5 values of type int64"):
        INPUT.pack(np.zeros(5, dtype=np.int64))
    with pytest.raises(InputError, match="a frame has 6 integers; got 6 values of type float64"):
        INPUT.pack(np.zeros(6))


def test_interface_from_a_plans_facts() -> None:
    facts = {
        "input": {"lanes": 2, "beats": 3, "element_width": 5, "signed": True, "data_width": 16},
        "output": {"lanes": 1, "beats": 2, "element_width": 12, "signed": True, "data_width": 16},
    }
    assert core_interface("core", facts, "cafe1234" + "0" * 56) == INTERFACE


def answer(status: int = 0, design: int = INTERFACE.design_id, latency: int = 77) -> bytes:
    body = bytes([status]) + design.to_bytes(4, "little")
    if status == 0:
        body += latency.to_bytes(4, "little") + OUTPUT.pack(np.array([-5, 1000]))
    return bytes([ANSWER_START]) + body + crc16(body).to_bytes(2, "big")


def test_answers_are_decoded() -> None:
    done = parse_answer(answer(), OUTPUT.frame_bytes)
    assert (done.status, done.latency_cycles, OUTPUT.unpack(done.payload).tolist()) == (0, 77, [-5, 1000])
    refused = parse_answer(answer(3), OUTPUT.frame_bytes)
    assert (refused.status, refused.latency_cycles, refused.payload) == (3, None, b"")


@given(st.integers(0, len(answer()) * 8 - 1))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    damaged = bytearray(answer())
    damaged[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(BoardError, match="arrived damaged"):
        parse_answer(bytes(damaged), OUTPUT.frame_bytes)


class Line:
    """A serial line whose far end answers each request with the next of `answers`."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers, self.waiting, self.requests = answers, b"", []

    def write(self, data: bytes, /) -> int:
        self.requests.append(data)
        self.waiting += self.answers.pop(0) if self.answers else b""
        return len(data)

    def read(self, size: int = 1, /) -> bytes:
        taken, self.waiting = self.waiting[:size], self.waiting[size:]
        return taken

    def reset_input_buffer(self) -> None:
        self.waiting = b""


VALUES = np.array([1, -1, 0, 15, -16, 2])


@pytest.mark.parametrize(
    "answers",
    [
        [answer()],
        [b"\x00\xff" + answer()],
        [answer(1), answer()],
        [answer(2), answer(3), answer()],
        [b"", answer()],
        [answer()[:-1], answer()],
        [answer()[:5] + b"\x00" + answer()[6:], answer()],
        [answer()[:-1] + bytes([answer()[-1] ^ 1]), answer()],
    ],
    ids=["clean", "noise before", "CRC", "framing, lost byte", "silence", "cut", "damaged identity", "damaged CRC"],
)
def test_the_host_gets_its_result_in_spite_of_the_line(answers: list[bytes]) -> None:
    line = Line(list(answers))
    inference = HostLink(line, INTERFACE).infer(VALUES)
    assert inference.outputs.tolist() == [-5, 1000]
    assert inference.latency_cycles == 77
    assert line.requests == [request(INPUT.pack(VALUES))] * len(answers)


@pytest.mark.parametrize(
    ("make", "message", "requests"),
    [
        (lambda: [], "no answer (after 0 other bytes); is the bitstream loaded, and the baud rate right?", 3),
        (
            lambda: [b"\x01\x02"] * 3,
            "no answer (after 2 other bytes); is the bitstream loaded, and the baud rate right?",
            3,
        ),
        (lambda: [answer(1)] * 3, "the request arrived with a wrong CRC", 3),
        (lambda: [answer(4)], "the core gave no result in time", 1),
        (lambda: [answer(5)], "the core's result had another length than declared", 1),
        (
            lambda: [answer(0, 0x11223344)] * 3,
            "the board runs design 11223344, this is design cafe1234; load its bitstream",
            3,
        ),
    ],
)
def test_what_the_host_says_when_there_is_no_result(
    make: Callable[[], list[bytes]], message: str, requests: int
) -> None:
    line = Line(make())
    with pytest.raises(BoardError) as error:
        HostLink(line, INTERFACE).infer(VALUES)
    assert str(error.value) == f"the board gave no result: {message}"
    assert len(line.requests) == requests


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(BoardError, match="serial device /dev/no-such-device cannot be opened"):
        HostLink.open("/dev/no-such-device", 1_000_000, INTERFACE)
