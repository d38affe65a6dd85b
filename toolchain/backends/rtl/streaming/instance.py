# SPDX-License-Identifier: Apache-2.0
"""One instance of a library module: what it is called, its parameters, its memory files and its timing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from toolchain.backends.rtl.streaming.timing import Timing
from toolchain.ir import IntegerType
from toolchain.target import DspBlocks

#: Folder of the memory files in a plan. The paths in the SystemVerilog are relative to the plan's folder.
MEMORY_FOLDER = "memory"
#: Values of the parameter MULTIPLIER_STYLE.
IN_LUTS, IN_DSP_BLOCKS = 1, 2


@dataclass(frozen=True)
class MemoryFile:
    """Words of a constant memory, address 0 first, each `width` bits."""

    path: str
    width: int
    words: tuple[int, ...]

    def content(self) -> bytes:
        """One hexadecimal word a line, all of one length, as $readmemh reads them."""
        digits = (self.width + 3) // 4
        return "".join(f"{word:0{digits}x}\n" for word in self.words).encode()


@dataclass(frozen=True)
class Instance:
    """A module of the library with everything that its place in a network decides.

    parameters: (name, SystemVerilog expression), in the order of the module.
    input_lanes, output_lanes: elements of a beat on both sides. timing: the rules of the module, or of each module of
    the chain that it consists of; inner_lanes: elements of a beat between the parts of that chain, or inner_beats: beats a frame
    there, where that is no whole number. is_fifo: whether it does nothing but hold beats. cautious_timing: where `timing` is an
    approximation, rules under which it never holds more than it does, for the proof that a network does not deadlock.
    output_element, output_beats: of each output stream, which all carry the same; beats a frame. label: what it adds to its
    stage's name where a stage consists of several instances. input_ports, output_ports: prefixes of the ports' names.
    load_bases: of a module with a port load_bus, for each of `memories` the parameter with its place on that bus.
    resize: makes the instance with another depth of its memory, for those whose depth the schedule decides; least_depth: the
    least that works. hold: makes the instance that waits for a frame's first beat, for those that otherwise begin a frame by
    themselves. product_bits: of the modules that multiply numbers, bits of both factors together. as_numbers: makes the instance whose
    factors DSP blocks can multiply, for those that keep them in another form.
    """

    module: str
    parameters: tuple[tuple[str, str], ...]
    input_lanes: int
    output_lanes: int
    timing: tuple[Timing, ...]
    output_element: IntegerType
    output_beats: int
    memories: tuple[MemoryFile, ...] = ()
    load_bases: tuple[str, ...] = ()
    inner_lanes: tuple[int, ...] = ()
    inner_beats: tuple[int, ...] = ()
    is_fifo: bool = False
    cautious_timing: tuple[Timing, ...] = ()
    label: str = ""
    input_ports: tuple[str, ...] = ("s_axis",)
    output_ports: tuple[str, ...] = ("m_axis",)
    resize: Callable[[int], Instance] | None = field(default=None, compare=False, repr=False)
    least_depth: int = 0
    hold: Callable[[], Instance] | None = field(default=None, compare=False, repr=False)
    product_bits: int = 0
    as_numbers: Callable[[], Instance] | None = field(default=None, compare=False, repr=False)

    @property
    def is_loadable(self) -> bool:
        """Whether the words of its memories can be replaced at run time."""
        return any(parameter in self.parameters for parameter in loadable(True))

    def with_dsp_blocks(self, blocks: DspBlocks) -> Instance:
        """The instance for a device with such DSP blocks; itself where they make no difference."""
        style = multiplier_style(self.product_bits, blocks)
        if style == IN_DSP_BLOCKS and self.as_numbers:
            return self.as_numbers().with_dsp_blocks(blocks)
        found = [(name, number(blocks.width) if name == "DSP_WIDTH" else value) for name, value in self.parameters]
        if style:
            found.append(("MULTIPLIER_STYLE", number(style)))
        return replace(self, parameters=tuple(found)) if tuple(found) != self.parameters else self


def multiplier_style(product_bits: int, blocks: DspBlocks) -> int:
    """Parameter MULTIPLIER_STYLE of the modules that multiply numbers of so many bits together; 0 for those that do not."""
    if not product_bits or blocks.from_bits is None:
        return 0
    return IN_LUTS if product_bits < blocks.from_bits else IN_DSP_BLOCKS


def number(value: int) -> str:
    """An integer of 32 bits as an expression, for a parameter of type int."""
    assert -(1 << 31) < value < 1 << 31
    return str(value)


def wide_number(value: int) -> str:
    """An integer of 64 bits as an expression, for a parameter of type longint."""
    assert -(1 << 63) <= value < 1 << 63
    return f"-64'sd{-value}" if value < 0 else f"64'sd{value}"


def flag(value: bool) -> str:
    return "1'b1" if value else "1'b0"


def loadable(value: bool) -> tuple[tuple[str, str], ...]:
    """The parameter by which a module's memories can be replaced at run time; none where they cannot."""
    return (("LOADABLE", flag(True)),) if value else ()


def text(value: str) -> str:
    assert value.isascii()
    assert '"' not in value
    assert "\\" not in value
    return f'"{value}"'


def signed_width(minimum: int, maximum: int) -> int:
    """Bits of the narrowest two's complement word that holds the interval; 1 for [-1, 0] and for 0 alone."""
    return 1 + max((-minimum - 1).bit_length() if minimum < 0 else 0, maximum.bit_length() if maximum > 0 else 0)


def packed(values: Iterable[int], width: int) -> int:
    """The integers as one word, the first in the low bits, each as `width` bits of two's complement."""
    mask = (1 << width) - 1
    word = 0
    for position, value in enumerate(values):
        word |= (int(value) & mask) << (position * width)
    return word
