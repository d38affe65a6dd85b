# SPDX-License-Identifier: Apache-2.0
"""Descriptions of a generated core for other tools: a FuseSoC core file (CAPI2) and an IP-XACT component (IEEE 1685-2014).

Both name the same files; nothing in them depends on where the plan is written. Memory files have to lie below the folder that a
tool runs in, as the paths in the SystemVerilog say; the core file has them copied there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.etree import ElementTree

from toolchain.backends.rtl.streaming.emit import padded
from toolchain.backends.rtl.streaming.load_map import LoadMap, axi_lite_ports
from toolchain.backends.rtl.streaming.network import Network

_VENDOR, _LIBRARY, _VERSION = "bitwright", "networks", "1.0.0"
_IPXACT = "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"
_SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"
#: ARM's definitions of AXI4-Stream and of AXI4, of which AXI4-Lite is a part.
_BUS = {"vendor": "amba.com", "library": "AMBA4", "name": "AXI4Stream", "version": "r0p0_1"}
_AXI4 = {"vendor": "amba.com", "library": "AMBA4", "name": "AXI4", "version": "r0p0_0"}
#: Bits of a word of the memory map.
_LOAD_MAP, _LOAD_WORD = "load", 32


def core_file(network: Network, sources: Sequence[str], memories: Sequence[str], description: str) -> str:
    """The FuseSoC core file. sources: SystemVerilog in reading order; memories: files that it reads."""
    # Strings as JSON writes them are YAML as well, whatever is in them.
    quoted = json.dumps
    lines = [
        "CAPI=2:",
        f"name: {_VENDOR}:{_LIBRARY}:{network.top}:{_VERSION}",
        f"description: {quoted(description)}",
        "filesets:",
        "  rtl:",
        "    file_type: systemVerilogSource",
        "    files:",
        *(f"      - {quoted(path)}" for path in sources),
    ]
    if memories:
        lines += ["  memory:", "    file_type: user", "    files:"]
        lines += [f"      - {quoted(path)}: {{copyto: {quoted(path)}}}" for path in memories]
    filesets = "[rtl, memory]" if memories else "[rtl]"
    lines += [
        "targets:",
        "  default: &default",
        f"    filesets: {filesets}",
        f"    toplevel: {network.top}",
        "  lint:",
        "    <<: *default",
        "    flow: lint",
        "    flow_options:",
        "      tool: verilator",
        "      verilator_options: [-Wall]",
        "",
    ]
    return "\n".join(lines)


def ipxact_file(
    network: Network,
    sources: Sequence[str],
    memories: Sequence[str],
    description: str,
    load_map: LoadMap | None = None,
) -> str:
    """The IP-XACT component: AXI4-Stream interfaces, clock, reset, ports, files; AXI4-Lite and its memory map with `load_map`."""
    ElementTree.register_namespace("ipxact", _IPXACT)
    ElementTree.register_namespace("xsi", _SCHEMA)
    root = ElementTree.Element(
        f"{{{_IPXACT}}}component",
        {f"{{{_SCHEMA}}}schemaLocation": f"{_IPXACT} http://www.accellera.org/XMLSchema/IPXACT/1685-2014/index.xsd"},
    )

    def add(parent: ElementTree.Element, name: str, text: str = "", /, **attributes: str) -> ElementTree.Element:
        element = ElementTree.SubElement(parent, f"{{{_IPXACT}}}{name}", attributes)
        element.text = text or None
        return element

    for name, value in (("vendor", _VENDOR), ("library", _LIBRARY), ("name", network.top), ("version", _VERSION)):
        add(root, name, value)
    input_bits, output_bits = padded(network.input.width), padded(network.output.width)
    load_ports = axi_lite_ports(load_map.address_width) if load_map else []
    interfaces: list[tuple[str, str, dict[str, str], Sequence[str]]] = [
        ("s_axis", "slave", _BUS, ("TDATA", "TVALID", "TREADY")),
        ("m_axis", "master", _BUS, ("TDATA", "TVALID", "TREADY", "TLAST")),
    ]
    if load_map:
        signals = [name.removeprefix("s_axil_").upper() for name, _, _ in load_ports]
        interfaces.append(("s_axil", "slave", _AXI4, signals))
    buses = add(root, "busInterfaces")
    for bus, mode, definition, logical in interfaces:
        interface = add(buses, "busInterface")
        add(interface, "name", bus)
        add(interface, "busType", **definition)
        maps = add(add(add(interface, "abstractionTypes"), "abstractionType"), "portMaps")
        # The abstraction precedes the maps that refer to it.
        abstraction = interface.find(f".//{{{_IPXACT}}}abstractionType")
        assert abstraction is not None
        reference = ElementTree.Element(
            f"{{{_IPXACT}}}abstractionRef", {**definition, "name": f"{definition['name']}_rtl"}
        )
        abstraction.insert(0, reference)
        for signal in logical:
            port_map = add(maps, "portMap")
            add(add(port_map, "logicalPort"), "name", signal)
            add(add(port_map, "physicalPort"), "name", f"{bus}_{signal.lower()}")
        side = add(interface, mode)
        if definition is _AXI4:
            add(side, "memoryMapRef", memoryMapRef=_LOAD_MAP)
    if load_map:
        memory_map = add(add(root, "memoryMaps"), "memoryMap")
        add(memory_map, "name", _LOAD_MAP)
        blocks = [("identification", 0, 1, "register", "read-only")]
        for memory in load_map.memories:
            name = memory.file.rpartition("/")[2].removesuffix(".hex")
            blocks.append((name, memory.address, memory.region, "memory", "write-only"))
        for name, address, words, usage, access in blocks:
            block = add(memory_map, "addressBlock")
            add(block, "name", name)
            add(block, "baseAddress", f"'h{address:x}")
            add(block, "range", str(words * _LOAD_WORD // 8))
            add(block, "width", str(_LOAD_WORD))
            add(block, "usage", usage)
            add(block, "access", access)
        add(memory_map, "addressUnitBits", "8")
    model = add(root, "model")
    view = add(add(model, "views"), "view")
    add(view, "name", "rtl")
    add(view, "envIdentifier", ":*Synthesis:")
    add(view, "envIdentifier", ":*Simulation:")
    add(view, "componentInstantiationRef", "rtl")
    instantiation = add(add(model, "instantiations"), "componentInstantiation")
    add(instantiation, "name", "rtl")
    add(instantiation, "language", "SystemVerilog")
    add(instantiation, "moduleName", network.top)
    add(add(instantiation, "fileSetRef"), "localName", "files")
    ports = add(model, "ports")
    for name, direction, bits in (
        ("clk", "in", 1),
        ("rst", "in", 1),
        ("s_axis_tdata", "in", input_bits),
        ("s_axis_tvalid", "in", 1),
        ("s_axis_tready", "out", 1),
        ("m_axis_tdata", "out", output_bits),
        ("m_axis_tvalid", "out", 1),
        ("m_axis_tready", "in", 1),
        ("m_axis_tlast", "out", 1),
        *((name, "in" if into else "out", width) for name, width, into in load_ports),
    ):
        port = add(ports, "port")
        add(port, "name", name)
        wire = add(port, "wire")
        add(wire, "direction", direction)
        if bits > 1 or name.endswith("tdata"):
            vector = add(add(wire, "vectors"), "vector")
            add(vector, "left", str(bits - 1))
            add(vector, "right", "0")
    files = add(add(root, "fileSets"), "fileSet")
    add(files, "name", "files")
    for path, kind in (*((path, "systemVerilogSource") for path in sources), *((path, "user") for path in memories)):
        entry = add(files, "file")
        add(entry, "name", path)
        add(entry, "fileType", kind, **({"user": "memory"} if kind == "user" else {}))
    add(root, "description", description)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
