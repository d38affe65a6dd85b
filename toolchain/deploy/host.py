# SPDX-License-Identifier: Apache-2.0
"""Host driver: run inferences on a board over its serial line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from toolchain.deploy.framing import (
    ANSWER_HEAD_BYTES,
    ANSWER_START,
    RETRY_STATUS,
    STATUS_DONE,
    STATUS_TEXT,
    Answer,
    CoreInterface,
    answer_rest_bytes,
    parse_answer,
    request,
)
from toolchain.errors import BoardError, ToolNotFound


class Port(Protocol):
    """What the driver needs of a serial port; pyserial's Serial has it, and so has the simulated board."""

    def write(self, data: bytes, /) -> int | None: ...

    def read(self, size: int = 1, /) -> bytes:
        """Up to `size` bytes; fewer when the port's timeout has passed."""

    def reset_input_buffer(self) -> None: ...


@dataclass(frozen=True)
class Inference:
    """Integers of the graph's output, flat, and the core's latency in clock cycles as the board counted it."""

    outputs: NDArray[np.int64]
    latency_cycles: int


class HostLink:
    """A board that runs the design with this interface."""

    def __init__(self, port: Port, interface: CoreInterface, *, attempts: int = 3) -> None:
        self._port = port
        self._interface = interface
        self._attempts = attempts

    @classmethod
    def open(cls, device: str, baud: int, interface: CoreInterface, *, timeout_s: float = 2.0) -> HostLink:
        """Open a serial device such as /dev/ttyUSB0. Raises ToolNotFound without pyserial, BoardError if it cannot be opened.

        timeout_s: longest wait for bytes of an answer; longer than the board's own timeouts (1 s for an inference).
        """
        try:
            import serial
        except ImportError:
            raise ToolNotFound(
                "pyserial is not installed; without it no board can be talked to. Install it with: pip install 'bitwright[boards]'"
            ) from None
        try:
            port = serial.Serial(device, baud, timeout=timeout_s, write_timeout=timeout_s)
        except (serial.SerialException, ValueError) as error:
            raise BoardError(f"serial device {device} cannot be opened: {error}") from None
        return cls(port, interface)

    def infer(self, values: NDArray[np.integer[Any]]) -> Inference:
        """Run one inference.

        values: integers of the graph's input, any shape with the right number of elements.
        Raises InputError for values outside the input's type, BoardError if the board does not answer, runs another design,
        or reports a failure of the core. Damaged frames are sent again.
        """
        frame = request(self._interface.input.pack(values))
        problem = ""
        for _ in range(self._attempts):
            self._port.reset_input_buffer()
            self._port.write(frame)
            try:
                answer = self._receive()
            except BoardError as error:
                problem = str(error)
                continue
            if answer.status == STATUS_DONE and answer.latency_cycles is not None:
                return Inference(self._interface.output.unpack(answer.payload), answer.latency_cycles)
            problem = STATUS_TEXT.get(answer.status, f"unknown status {answer.status}")
            if answer.status not in RETRY_STATUS:
                break
        raise BoardError(f"the board gave no result: {problem}")

    def _receive(self) -> Answer:
        skipped = 0
        while (start := self._port.read(1)) != bytes([ANSWER_START]):
            if not start:
                raise BoardError(
                    f"no answer (after {skipped} other bytes); is the bitstream loaded, and the baud rate right?"
                )
            skipped += 1
        head = start + self._read(ANSWER_HEAD_BYTES - 1)
        design_id = int.from_bytes(head[2:ANSWER_HEAD_BYTES], "little")
        if design_id != self._interface.design_id:
            raise BoardError(
                f"the board runs design {design_id:08x}, this is design {self._interface.design_id:08x}; load its bitstream"
            )
        payload_bytes = self._interface.output.frame_bytes
        return parse_answer(head + self._read(answer_rest_bytes(head, payload_bytes)), payload_bytes)

    def _read(self, size: int) -> bytes:
        data = self._port.read(size)
        if len(data) != size:
            raise BoardError(f"an answer stopped after {len(data)} of {size} bytes")
        return data
