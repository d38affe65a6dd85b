# SPDX-License-Identifier: Apache-2.0
"""The board's design in Verilator, from serial pin to serial pin.

The PLL is replaced by a stand-in that passes the oscillator on; everything else is what is synthesised. The simulated
board has the methods of a serial port that the host driver uses.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.build.shared_library import load_shared_library
from toolchain.build.tools import verilator
from toolchain.errors import BoardError, BuildFailed
from toolchain.target import Board

_HARNESS = Path(__file__).parent / "harness" / "serial_harness.cpp"
_LIBRARY = "board.so"
_OBJECTS = "objects"


@dataclass(frozen=True)
class BoardComparison:
    """Inferences through the simulated board. mismatches: vectors with any output that differs from what is expected.

    latency_cycles: as the board's own counter gave them, one a vector. cycles: simulated, of the core clock.
    """

    vectors: int
    mismatches: int
    seconds: float
    latency_cycles: tuple[int, ...]
    cycles: int


class SimulatedPort:
    """A serial port with the simulated board at its other end. Use it as a context manager."""

    def __init__(self, library: ctypes.CDLL, project_folder: Path, bit_cycles: float, timeout_cycles: int) -> None:
        self._library = library
        self._timeout_cycles = timeout_cycles
        self._handle = library.board_new(bit_cycles, os.fsencode(project_folder.resolve()))
        if not self._handle:
            raise BuildFailed("the simulation of the board cannot start")

    def __enter__(self) -> SimulatedPort:
        return self

    def __exit__(self, *exception: object) -> None:
        self._library.board_delete(self._handle)
        self._handle = None

    @property
    def cycles(self) -> int:
        """Core clock cycles since power-up."""
        return int(self._library.board_cycles(self._handle))

    @property
    def framing_errors(self) -> int:
        """Bytes from the board without a stop bit."""
        return int(self._library.board_framing_errors(self._handle))

    def write(self, data: bytes, /) -> int:
        self._library.board_write(self._handle, data, len(data))
        return len(data)

    def read(self, size: int = 1, /) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        count = self._library.board_read(self._handle, buffer, size, self._timeout_cycles)
        return buffer.raw[:count]

    def reset_input_buffer(self) -> None:
        while self._library.board_read(self._handle, ctypes.create_string_buffer(1), 1, 0):
            pass


class BoardSimulation:
    """A built simulation of a board's design.

    project_folder: holds the memory files. bit_cycles: the host's bit time in core clock cycles: exact, not the divider of
    the board. timeout_cycles: longest wait for a byte.
    """

    def __init__(self, path: Path, project_folder: Path, bit_cycles: float, timeout_cycles: int) -> None:
        self._project_folder, self._bit_cycles, self._timeout_cycles = project_folder, bit_cycles, timeout_cycles
        try:
            library = load_shared_library(path)
        except OSError as error:
            raise BuildFailed(f"the board simulation {path} cannot be loaded: {error}") from None
        library.board_new.restype = ctypes.c_void_p
        library.board_new.argtypes = (ctypes.c_double, ctypes.c_char_p)
        library.board_delete.argtypes = (ctypes.c_void_p,)
        library.board_write.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64)
        library.board_read.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64)
        for name in ("board_cycles", "board_framing_errors"):
            getattr(library, name).argtypes = (ctypes.c_void_p,)
        for name in ("board_cycles", "board_framing_errors", "board_read"):
            getattr(library, name).restype = ctypes.c_int64
        self._library = library

    def start(self) -> SimulatedPort:
        """A board after power-up."""
        return SimulatedPort(self._library, self._project_folder, self._bit_cycles, self._timeout_cycles)


def build_board_simulation(
    project_folder: Path, facts: Mapping[str, Any], board: Board, folder: Path, *, jobs: int = 2
) -> BoardSimulation:
    """Compile the design of a board project (files below `project_folder`, `facts` of its plan) into `folder`.

    Raises BuildFailed, ToolNotFound.
    """
    project = facts["project"]
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*project["core_sources"], *project["vendor_models"].values(), *project["sources"]]
    relative = Path(os.path.relpath(project_folder.resolve(), folder.resolve()))
    verilator.build_shared_object(
        [str(relative / source) for source in sources],
        board.top,
        cwd=folder,
        log=folder / "board_build.log",
        objects=_OBJECTS,
        harness=[str(_HARNESS)],
        output=f"../{_LIBRARY}",
        compiler_flags=[
            f"-DOSCILLATOR={board.oscillator_port}",
            f"-DSERIAL_IN={board.serial_in_port}",
            f"-DSERIAL_OUT={board.serial_out_port}",
            "-fvisibility=hidden",
            "-fno-gnu-unique",
        ],
        linker_flags=["-Wl,--wrap=fopen", "-Wl,-Bsymbolic"],
        jobs=jobs,
    )
    shutil.rmtree(folder / _OBJECTS)
    return load_board_simulation(project_folder, facts, folder)


def load_board_simulation(project_folder: Path, facts: Mapping[str, Any], folder: Path) -> BoardSimulation:
    """Open what `build_board_simulation` left in `folder`."""
    project = facts["project"]
    cycles_per_second = project["clock_mhz"] * 1e6
    frame_cycles = 10 * project["clocks_per_bit"]
    limit = 4 * (facts["latency_cycles"] + facts["initiation_interval_cycles"]) + 20 * frame_cycles
    return BoardSimulation(folder / _LIBRARY, project_folder, cycles_per_second / project["baud"], limit)


def compare_board(
    port: SimulatedPort,
    infer: Callable[[NDArray[Any]], tuple[NDArray[Any], int]],
    x_integers: NDArray[Any],
    expected: NDArray[Any],
) -> BoardComparison:
    """Run integer vectors of shape (vectors, ...) through a simulated board, and compare with `expected` (vectors, ...).

    infer: one vector through the host driver: outputs (any shape) and the latency that the board counted.
    Raises BoardError if the board does not answer or sends bytes that are not framed.
    """
    started = time.monotonic()
    mismatches, latencies = 0, []
    for vector, wanted in zip(x_integers, expected, strict=True):
        outputs, latency = infer(vector)
        latencies.append(latency)
        mismatches += not np.array_equal(outputs.reshape(-1), wanted.reshape(-1))
    if port.framing_errors:
        raise BoardError(f"the simulated board sent {port.framing_errors} bytes without a stop bit")
    return BoardComparison(len(x_integers), mismatches, time.monotonic() - started, tuple(latencies), port.cycles)
