# SPDX-License-Identifier: Apache-2.0
"""Where the words of loadable memories are, as a host on AXI4-Lite sees them.

Byte address 0 is the identification. Each memory has a region whose size is a power of two and which begins at a multiple of
it, so that a memory knows its words by the upper address bits. In it, word w takes 4 * 2**ceil(log2(chunks)) bytes, and the
chunks of 32 bits of a word follow one another, the lowest first; the last one makes the word change (lib/constant_memory.sv).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolchain.backends.rtl.streaming.instance import MemoryFile, number
from toolchain.backends.rtl.streaming.network import Network, Part
from toolchain.backends.rtl.streaming.reserve import Room
from toolchain.errors import UsageError
from toolchain.ir import IntegerType

CHUNK_BITS = 32
_CHUNK_BYTES = CHUNK_BITS // 8
#: Bytes that a map may have: parameters of the modules are signed words of 32 bits.
_MOST_BYTES = 1 << 32


@dataclass(frozen=True)
class LoadableMemory:
    """part: the instance that it is in; node: of the graph. file: its initial content. base: word (not byte) address.

    width: bits of a word; depth: words.
    """

    part: str
    node: str
    parameter: str
    file: str
    width: int
    depth: int
    base: int = 0

    @property
    def chunks(self) -> int:
        """Chunks of a word."""
        return -(-self.width // CHUNK_BITS)

    @property
    def chunks_apart(self) -> int:
        """Word addresses from a word to the next: `chunks`, rounded up to a power of two."""
        return 1 << (self.chunks - 1).bit_length()

    @property
    def region(self) -> int:
        """Word addresses."""
        return self.chunks_apart << (self.depth - 1).bit_length()

    @property
    def address(self) -> int:
        """Byte address of the first word."""
        return self.base * _CHUNK_BYTES


@dataclass(frozen=True)
class LoadMap:
    """memories: in the order of the network. input: the elements that the network takes. identification: of 32 bits, of everything but the memories' contents."""

    memories: tuple[LoadableMemory, ...]
    input: IntegerType
    rooms: tuple[Room, ...]
    structure: tuple[Mapping[str, Any], ...]

    @property
    def first(self) -> int:
        """Lowest word address of a memory."""
        return min(memory.base for memory in self.memories)

    @property
    def last(self) -> int:
        """Highest word address of a memory's region."""
        return max(memory.base + memory.region for memory in self.memories) - 1

    @property
    def address_width(self) -> int:
        """Bits of a byte address."""
        return (_CHUNK_BYTES * (self.last + 1) - 1).bit_length()

    @property
    def identification(self) -> int:
        places = [(memory.address, memory.width, memory.depth) for memory in self.memories]
        text = json.dumps([places, [str(room) for room in self.rooms], self.structure], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def place_memories(network: Network, rooms: Sequence[Room]) -> tuple[Network, LoadMap]:
    """The network with the memories' places as parameters, and the map.

    Larger regions come first, from the size of the largest on, so that all of them are aligned and none has a gap behind it.
    Raises UsageError where nothing can be loaded, or for more than 32 bits of byte addresses.
    """
    found = [memory for part in network.parts for memory in _memories(part)]
    if not found:
        raise UsageError("the network has no weights, biases or thresholds to load; build it without loadable weights")
    base = max(memory.region for memory in found)
    placed: dict[tuple[str, str], LoadableMemory] = {}
    for memory in sorted(found, key=lambda memory: -memory.region):
        placed[memory.part, memory.parameter] = replace(memory, base=base)
        base += memory.region
    if base * _CHUNK_BYTES > _MOST_BYTES // 2:
        raise UsageError(f"the memories take {base * _CHUNK_BYTES} bytes of addresses; allowed are {_MOST_BYTES // 2}")
    memories = tuple(placed[memory.part, memory.parameter] for memory in found)
    parts = []
    for part in network.parts:
        own = tuple((m.parameter, number(m.base)) for m in memories if m.part == part.identifier)
        parts.append(replace(part, instance=replace(part.instance, parameters=(*part.instance.parameters, *own))))
    changed = replace(network, parts=tuple(parts))
    return changed, LoadMap(memories, network.input.element, tuple(rooms), tuple(_structure(changed)))


def _memories(part: Part) -> list[LoadableMemory]:
    instance = part.instance
    if not instance.is_loadable:
        return []
    node = part.stage.name if part.stage else part.purpose.removeprefix("for ")
    return [
        LoadableMemory(part.identifier, node, parameter, memory.path, memory.width, len(memory.words))
        for parameter, memory in zip(instance.load_bases, instance.memories, strict=True)
    ]


def _structure(network: Network) -> list[dict[str, Any]]:
    """Everything about the network's parts but their names: what two networks have in common that differ in constants.

    Tables that cannot be loaded are among it.
    """
    number_of = {network.input.identifier: 0}
    for part in network.parts:
        for stream in part.outputs:
            number_of[stream.identifier] = len(number_of)
    return [
        {
            "part": part.instance.module,
            "parameters": {name: value for name, value in part.instance.parameters if not name.endswith("_FILE")},
            "inputs": [number_of[stream.identifier] for stream in part.inputs],
            "outputs": [number_of[stream.identifier] for stream in part.outputs],
            "tables": [_digest(memory) for memory in part.instance.memories] if not _memories(part) else [],
        }
        for part in network.parts
    ]


def _digest(memory: MemoryFile) -> str:
    return hashlib.sha256(memory.content()).hexdigest()[:16]


def load_facts(load_map: LoadMap, part: str) -> dict[str, Any]:
    """For the plan's facts. part: ordering code of the device that the parameters were chosen for, or ''.

    identification: what byte address 0 reads as. bytes: of the address space. memories: addresses in bytes; word w of one is
    at address + 4 * chunks_apart * w. input: what an element of the input may be. rooms: what the constants of the graph's nodes
    may be, in order. structure: see `_structure`.
    """
    return {
        "identification": f"0x{load_map.identification:08x}",
        "address_width": load_map.address_width,
        "bytes": 1 << load_map.address_width,
        "device": part,
        "memories": [
            {
                "part": memory.part,
                "node": memory.node,
                "file": memory.file,
                "address": memory.address,
                "width": memory.width,
                "depth": memory.depth,
                "chunks": memory.chunks,
                "chunks_apart": memory.chunks_apart,
            }
            for memory in load_map.memories
        ],
        "input": {"low": load_map.input.minimum, "high": load_map.input.maximum},
        "rooms": [{"low": room.low, "high": room.high, "zero": room.zero} for room in load_map.rooms],
        "structure": list(load_map.structure),
    }


#: The AXI4-Lite port of a top module: (name, its width or None for that of an address, whether it is an input).
AXI_LITE_PORTS: tuple[tuple[str, int | None, bool], ...] = (
    ("s_axil_awaddr", None, True),
    ("s_axil_awprot", 3, True),
    ("s_axil_awvalid", 1, True),
    ("s_axil_awready", 1, False),
    ("s_axil_wdata", 32, True),
    ("s_axil_wstrb", 4, True),
    ("s_axil_wvalid", 1, True),
    ("s_axil_wready", 1, False),
    ("s_axil_bresp", 2, False),
    ("s_axil_bvalid", 1, False),
    ("s_axil_bready", 1, True),
    ("s_axil_araddr", None, True),
    ("s_axil_arprot", 3, True),
    ("s_axil_arvalid", 1, True),
    ("s_axil_arready", 1, False),
    ("s_axil_rdata", 32, False),
    ("s_axil_rresp", 2, False),
    ("s_axil_rvalid", 1, False),
    ("s_axil_rready", 1, True),
)


def axi_lite_ports(address_width: int) -> list[tuple[str, int, bool]]:
    """(name, width, whether it is an input) of the top module's AXI4-Lite port, in order."""
    return [(name, width or address_width, into) for name, width, into in AXI_LITE_PORTS]
