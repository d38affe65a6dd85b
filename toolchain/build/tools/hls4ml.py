# SPDX-License-Identifier: Apache-2.0
"""HLS projects on the CPU: hls4ml's C++ compiled into a library and run on integers, without a vendor's tool (csim).

Values cross the boundary as words of their binary representation, so nothing is rounded at any width.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.build.shared_library import load_shared_library
from toolchain.build.tool import Tool, python_package
from toolchain.build.tools.cxx import SharedLibrary, build_shared_library
from toolchain.errors import BuildFailed, InputError

TOOL = Tool(
    name="hls4ml",
    lost="no HLS C++ is generated (backend hls4ml, rung 2 of the ladder)",
    install="pip install 'bitwright[hls4ml]'",
    find=python_package("hls4ml", "hls4ml"),
)

DISTRIBUTED_ARITHMETIC = Tool(
    name="da4ml",
    lost="hls4ml's strategy distributed_arithmetic cannot be used; latency and resource can",
    install="pip install 'bitwright[hls4ml]'",
    find=python_package("da4ml", "da4ml"),
    optional=True,
)

#: Compiling at -O1 takes about a third longer than at -O0, and the result runs about seventeen times as fast.
OPTIMISATION = "-O1"
_WORD_BITS = 64
#: Where the flows' headers lie below `firmware`; a project has some of them.
_HEADERS = (
    "",
    "/nnet_utils",
    "/ap_types",
    "/ac_types",
    "/ac_types/include",
    "/ac_math/include",
    "/ac_simutils/include",
)


@dataclass(frozen=True)
class Port:
    """An input or output of the top function. shape: of one sample; width in bits."""

    node: str
    shape: tuple[int, ...]
    signed: bool
    width: int

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape))

    @property
    def words(self) -> int:
        """64-bit words of one element."""
        return -(-self.width // _WORD_BITS)


def ports(described: Sequence[Mapping[str, Any]], fewest_bits: int = 1) -> tuple[Port, ...]:
    """The ports of the plan's facts `inputs` or `outputs`, which are at least so wide in the flow."""
    return tuple(
        Port(str(p["node"]), tuple(p["shape"]), bool(p["signed"]), max(fewest_bits, int(p["width"]))) for p in described
    )


def compile_csim(
    plan_folder: Path,
    facts: Mapping[str, Any],
    output: Path,
    *,
    log: Path,
    flow: str = "vitis",
    optimisation: str = OPTIMISATION,
    jobs: int = 2,
    timeout_s: float = 900,
) -> SharedLibrary:
    """Compile one project of a plan that was written to `plan_folder` into the library `output`.

    flow: one of the plan's. The library reads the constants from `<plan_folder>/<flow>/firmware/weights` when it is
    opened; it keeps no path. Raises ToolNotFound, BuildFailed.
    """
    top = str(facts["top"])
    firmware = f"{flow}/firmware"
    flags = [
        optimisation,
        "-std=c++17",
        "-w",  # hls4ml's and the vendor's headers are not free of warnings
        "-DNDEBUG",
        "-include",
        "csim/weights.h",
        *(f"-I{firmware}{folder}" for folder in _HEADERS),
        f"-DBITWRIGHT_TOP={top}",
        f'-DBITWRIGHT_HEADER="{top}.h"',
    ]
    if (plan_folder / flow / "csim_ports.h").is_file():
        flags.append(f'-DBITWRIGHT_PORTS="{flow}/csim_ports.h"')
        flags.append("-I.")
    sources = [f"{firmware}/{top}.cpp", "csim/bridge.cpp"]
    return build_shared_library(sources, output, cwd=plan_folder, log=log, flags=flags, jobs=jobs, timeout_s=timeout_s)


class Csim:
    """An open library. `run` is not reentrant: the generated code keeps its constants in static memory."""

    def __init__(self, library: ctypes.CDLL, facts: Mapping[str, Any], flow: str) -> None:
        self._library = library
        fewest_bits = int(facts["fewest_bits"][flow])
        self.inputs = ports(facts["inputs"], fewest_bits)
        self.outputs = ports(facts["outputs"], fewest_bits)
        layers = () if flow in facts["untraced"] else facts["layers"]
        self._layers = tuple((str(layer["node"]), str(layer["identifier"]), tuple(layer["shape"])) for layer in layers)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a batch: integers of shape (batch, *shape) by input node; integers by output node.

        Results are int64, or Python integers (object) for words that int64 does not hold. The interpreter lock is
        released meanwhile. Raises InputError for a wrong shape or integers that the port's word does not hold.
        """
        batch = len(next(iter(inputs.values())))
        parts = [_to_words(port, inputs[port.node]) for port in self.inputs]
        sent = np.ascontiguousarray(np.concatenate(parts, axis=1))
        widths = [port.elements * port.words for port in self.outputs]
        received = np.zeros((batch, sum(widths)), dtype=np.uint64)
        self._library.bitwright_run(
            ctypes.c_void_p(sent.ctypes.data),
            ctypes.c_void_p(received.ctypes.data),
            ctypes.c_size_t(batch),
            _sizes(self.inputs),
            _sizes(self.outputs),
        )
        columns = np.split(received, np.cumsum(widths)[:-1], axis=1)
        return {port.node: _from_words(port, words) for port, words in zip(self.outputs, columns, strict=True)}

    def trace(self, inputs: Mapping[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
        """Run one sample; (node, real values) of every layer in order, as float64: exact up to 53 bits a value.

        Nothing for a flow whose layers are not traced.
        """
        results = [np.zeros(shape, dtype=np.float64) for _, _, shape in self._layers]
        names = (ctypes.c_char_p * len(results))(*(identifier.encode() for _, identifier, _ in self._layers))
        pointers = (ctypes.c_void_p * len(results))(*(array.ctypes.data for array in results))
        self._library.bitwright_trace_begin(names, pointers, ctypes.c_size_t(len(results)))
        try:
            self.run(inputs)
        finally:
            self._library.bitwright_trace_end()
        return [(node, array) for (node, _, _), array in zip(self._layers, results, strict=True)]


@contextmanager
def open_csim(library: Path, plan_folder: Path, facts: Mapping[str, Any], flow: str = "vitis") -> Iterator[Csim]:
    """Load a library that `compile_csim` built and let go of it afterwards.

    Raises InputError if constants of the project are missing, BuildFailed if the library cannot be loaded.
    """
    import _ctypes

    weights = (plan_folder / flow / "firmware" / "weights").resolve()
    # The generated code ends the whole process when one of its files is not there.
    # (Quartus's projects have them compiled in.)
    missing = [
        header.stem
        for header in weights.glob("*.h")
        if not header.with_suffix(".txt").is_file() and "__SYNTHESIS__" in header.read_text()
    ]
    if missing:
        raise InputError(f"{weights}: constants {sorted(missing)} of the HLS project are missing; build it again")
    try:
        loaded = load_shared_library(library)
    except OSError as error:
        raise BuildFailed(f"the simulation library {library} cannot be loaded: {error}") from None
    try:
        for name in ("bitwright_run", "bitwright_set_weights_folder", "bitwright_trace_begin", "bitwright_trace_end"):
            getattr(loaded, name).restype = None
        loaded.bitwright_set_weights_folder(ctypes.c_char_p(str(weights).encode()))
        yield Csim(loaded, facts, flow)
    finally:
        _ctypes.dlclose(loaded._handle)


def _sizes(described: Sequence[Port]) -> Any:
    return (ctypes.c_size_t * len(described))(*(port.elements for port in described))


def _to_words(port: Port, values: np.ndarray) -> np.ndarray:
    """(batch, elements * words) of uint64; lowest word first."""
    if values.shape[1:] != port.shape:
        raise InputError(
            f"input {port.node!r}: expected shape (batch, {', '.join(map(str, port.shape))}), found {values.shape}"
        )
    flat = values.reshape(len(values), port.elements)
    low = -(1 << (port.width - 1)) if port.signed else 0
    if flat.size and not low <= int(flat.min()) <= int(flat.max()) < low + (1 << port.width):
        raise InputError(f"input {port.node!r}: integers do not fit the port's {port.width} bits")
    if flat.dtype != object:
        flat = flat.astype(np.int64)
    mask = (1 << _WORD_BITS) - 1
    if port.words == 1:
        low_bits = (1 << port.width) - 1
        if flat.dtype == object:
            return (flat & low_bits).astype(np.uint64)
        return flat.view(np.uint64) & np.uint64(low_bits)
    wide = flat.astype(object) & ((1 << port.width) - 1)
    words = np.stack([((wide >> (_WORD_BITS * k)) & mask).astype(np.uint64) for k in range(port.words)], axis=-1)
    return words.reshape(len(values), -1)


def _from_words(port: Port, words: np.ndarray) -> np.ndarray:
    batch = len(words)
    if port.width <= _WORD_BITS - (not port.signed):
        integers = np.ascontiguousarray(words).view(np.int64)
        if port.signed:
            unused = _WORD_BITS - port.width
            integers = (integers << unused) >> unused
        return integers.reshape(batch, *port.shape)
    split = words.reshape(batch, port.elements, port.words).astype(object)
    wide = np.zeros((batch, port.elements), dtype=object)
    for k in range(port.words):
        wide = wide + (split[:, :, k] << (_WORD_BITS * k))
    if port.signed:
        sign = 1 << (port.width - 1)
        wide = (wide ^ sign) - sign
    return wide.reshape(batch, *port.shape)
