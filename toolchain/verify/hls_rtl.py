# SPDX-License-Identifier: Apache-2.0
"""Rungs 3 and 4 on the RTL that a vendor's HLS compiler has made of an hls4ml project.

Such RTL speaks ap_ctrl_hs, with AXI-Stream ports (io_stream) or with arrays that each have a valid (io_parallel). An adapter
gives it the ports of the streaming RTL (clk, rst, s_axis_*, m_axis_*), so the same simulation and the same cocotb bench
run on it. Nothing of the vendor's is needed for that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from toolchain.data_folders import HLS_TEMPLATES, RTL_LIBRARY
from toolchain.errors import InputError, UnsupportedModel
from toolchain.ir import Graph
from toolchain.plan import BuildPlan, PlannedFile
from toolchain.verify.finn import count_cycles
from toolchain.verify.network_bench import BenchResult, run_network_bench
from toolchain.verify.simulate import BulkResult, build_simulation, verify_bulk

TOP = "bitwright_hls_adapter"
_ADAPTER = HLS_TEMPLATES / "hls4ml" / "adapter"
#: Cycles that the adapter adds to a frame's latency.
ADAPTER_CYCLES = {"io_stream": 2, "io_parallel": 3}
#: The check of the bench that says whether a reset forgets a frame. HLS compilers reset control alone unless told otherwise, so
#: static variables, which hls4ml's windows on streams have, may survive it.
RESET_CHECK = "reset_in_mid_frame"
#: A frame that takes longer, where no report says so, counts as stuck.
MOST_CYCLES = 50_000
#: Frames in flight for which a module without back-pressure has room.
_DEPTH = 256
_COUNTED_VECTORS = 64
_BENCH_VECTORS = 24

_CLOCKS, _RESETS = ("ap_clk",), ("ap_rst", "ap_rst_n")
_CONTROL = (*_CLOCKS, *_RESETS, "ap_start", "ap_done", "ap_ready", "ap_idle", "ap_continue")
_DECLARATION = re.compile(
    r"^\s*(input|output)\s+(?:wire\s+|reg\s+|logic\s+)?(?:\[\s*(\d+)\s*:\s*0\s*\]\s*)?([A-Za-z_]\w*)\s*[;,)]?\s*$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class RtlPort:
    """A port of the top module. width in bits."""

    name: str
    is_input: bool
    width: int


@dataclass(frozen=True)
class HlsRtlResult:
    """What rungs 3 and 4 found, and the facts of the adapted design, with its cycles as counted, the adapter's included."""

    bulk: BulkResult
    bench: BenchResult
    facts: Mapping[str, Any]

    @property
    def latency_cycles(self) -> int:
        """Of the vendor's RTL alone, from its first input to its last output."""
        return int(self.facts["latency_cycles"]) - ADAPTER_CYCLES[self.facts["io_type"]]


def find_rtl(project: Path, top: str) -> Path | None:
    """The folder in which Vitis HLS and Vivado HLS leave the Verilog of hls4ml's project, if it is there."""
    folder = project / f"{top}_prj" / "solution1" / "syn" / "verilog"
    return folder if (folder / f"{top}.v").is_file() else None


def read_ports(text: str, top: str) -> list[RtlPort]:
    """The ports of module `top` in Verilog as the compilers write it: one declaration a line. Raises InputError."""
    match = re.search(rf"^module\s+{re.escape(top)}\s*[(#].*?^endmodule", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise InputError(f"the generated Verilog has no module {top!r}")
    found = [
        RtlPort(name, direction == "input", int(high or 0) + 1)
        for direction, high, name in _DECLARATION.findall(match[0])
    ]
    names = [port.name for port in found]
    missing = [name for name in (*_CLOCKS,) if name not in names]
    if missing or not any(name in names for name in _RESETS):
        raise InputError(
            f"module {top!r} lacks the ports {', '.join(missing) or ' or '.join(_RESETS)}; it has {', '.join(names)}"
        )
    return found


@dataclass(frozen=True)
class _Side:
    """The data ports of one direction. names: by lane, or one for all, without '_TDATA'. width: of a port in bits.

    stride: bits from an element to the next. elements: of a beat.
    """

    names: tuple[str, ...]
    width: int
    stride: int
    elements: int


def plan_adapter(verilog: Path, hls_facts: Mapping[str, Any], most_cycles: int = MOST_CYCLES) -> BuildPlan:
    """The vendor's files and an adapter with this project's stream ports, as a plan; the cycles in its facts are no more than a bound.

    verilog: what `find_rtl` gave. hls_facts: of the plan of the HLS project. most_cycles: that a frame takes. Raises UnsupportedModel for several inputs or
    outputs, InputError for ports that are not those of the project.
    """
    if (len(hls_facts["inputs"]), len(hls_facts["outputs"])) != (1, 1):
        raise UnsupportedModel(
            f"the bench of a network has one input and one output, this network has {len(hls_facts['inputs'])} and "
            f"{len(hls_facts['outputs'])}; its RTL cannot be run there"
        )
    top, stream = str(hls_facts["top"]), hls_facts["io_type"] == "io_stream"
    sources = sorted(path for path in verilog.iterdir() if path.suffix in (".v", ".sv"))
    memories = sorted(path for path in verilog.iterdir() if path.suffix in (".dat", ".mif"))
    rtl_ports = read_ports((verilog / f"{top}.v").read_text(), top)
    described = {
        "input": _described(hls_facts["inputs"][0], stream=stream),
        "output": _described(hls_facts["outputs"][0], stream=stream),
    }
    wrapper = _wrapper(top, rtl_ports, described, stream=stream)
    modules = ("hls_stream_source", "hls_stream_sink") if stream else ("hls_frame_source", "hls_frame_sink")
    library = ("skid_buffer",) if stream else ("skid_buffer", "stream_fifo")
    files = [PlannedFile(f"{name}.sv", (RTL_LIBRARY / f"{name}.sv").read_bytes()) for name in library]
    files += [PlannedFile(f"{name}.sv", (_ADAPTER / f"{name}.sv").read_bytes()) for name in modules]
    files += [PlannedFile(f"vendor/{path.name}", path.read_bytes()) for path in sources]
    files.append(PlannedFile.text(f"{TOP}.sv", wrapper))
    listed = PlannedFile.text("files.f", "\n".join(file.path for file in files) + "\n")
    # The RTL reads its memories from the folder in which the simulation runs.
    data = [PlannedFile(path.name, path.read_bytes()) for path in memories]
    facts = {
        "top": TOP,
        "io_type": hls_facts["io_type"],
        "nodes": [],
        # For the words of a simulation that stalls: the vendor's module is all there is to see.
        "parts": [{"identifier": "vendor", "inputs": ["s_axis"], "outputs": ["m_axis"]}],
        **described,
        # Until they are counted: how long a simulation waits before it counts as stuck.
        "latency_cycles": most_cycles,
        "initiation_interval_cycles": most_cycles,
        # HLS compilers write delays of zero.
        "simulation_options": ["--no-timing"],
    }
    return BuildPlan("hls-rtl", TOP, (*files, listed, *data), facts)


def verify_hls_rtl(
    graph: Graph, verilog: Path, hls_facts: Mapping[str, Any], x_integers: np.ndarray, folder: Path,
    *, most_cycles: int = MOST_CYCLES,
) -> HlsRtlResult:  # fmt: skip
    """Rung 3 on all vectors and rung 4 on some, in `folder`.

    Cycles are counted in simulation first, and the bench holds the RTL to them. Mismatches and failed checks are in the
    result. Raises BuildFailed for RTL that does not compile, gives too few or too many results, or comes to no steady pace.
    """
    plan = plan_adapter(verilog, hls_facts, most_cycles)
    plan_folder = folder / "plan"
    plan.write(plan_folder)
    library = build_simulation(plan_folder, plan.facts, folder / "simulation")
    facts = {**plan.facts, **count_cycles(graph, library, x_integers[:_COUNTED_VECTORS])}
    library.facts = facts
    bulk = verify_bulk(graph, library, x_integers)
    bench = run_network_bench(plan_folder, facts, graph, x_integers[:_BENCH_VECTORS], folder / "bench")
    return HlsRtlResult(bulk, bench, facts)


def _described(port: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
    """A port of the HLS project as the bench packs it: a packet of channels, or the whole array, in a beat."""
    shape = [int(size) for size in port["shape"]]
    elements = int(np.prod(shape))
    lanes = shape[-1] if stream else elements
    return {
        "node": port["node"],
        "lanes": lanes,
        "beats": elements // lanes,
        "element_width": port["width"],
        "signed": port["signed"],
        "data_width": -(-lanes * port["width"] // 8) * 8,
    }


def _wrapper(top: str, ports: Sequence[RtlPort], described: Mapping[str, Any], *, stream: bool) -> str:
    """The module that joins adapter and vendor's top."""
    by_name = {port.name: port for port in ports}
    sides = [
        _side([port for port in ports if port.is_input is is_input], described[label], stream=stream)
        for label, is_input in (("input", True), ("output", False))
    ]
    source, sink = described["input"], described["output"]
    connected = {"ap_clk": "clk", "ap_rst": "rst", "ap_rst_n": "!rst", "ap_continue": "1'b1"}
    connected |= {"ap_start": "1'b1" if stream else "ap_start", "ap_ready": "ap_ready", "ap_done": "ap_done"}
    lines = _lanes(sides[0], source)
    for side, direction in zip(sides, ("in", "out"), strict=True):
        for index, name in enumerate(side.names):
            bits = f"{direction}_data[{index * _port_bits(side, by_name, stream)}+:{_port_bits(side, by_name, stream)}]"
            if stream:
                connected |= {f"{name}_TDATA": bits, f"{name}_TVALID": f"{direction}_valid[{index}]"}
                connected[f"{name}_TREADY"] = f"{direction}_ready[{index}]"
            else:
                connected[name] = bits
                valid = f"{name}_ap_vld"
                if direction == "in":
                    connected[valid] = "ap_start"
                elif valid in by_name:
                    connected[valid] = f"out_valid[{index}]"
                else:
                    lines.append(f"assign out_valid[{index}] = ap_done;")
    unknown = [port.name for port in ports if port.is_input and port.name not in connected]
    if unknown:
        raise InputError(f"module {top!r} has inputs that no hls4ml project has: {', '.join(unknown)}")
    widths = [_port_bits(side, by_name, stream) for side in sides]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    template = environment.from_string((_ADAPTER / f"{TOP}.sv.j2").read_text(encoding="utf-8"))
    return template.render(
        top=TOP,
        vendor=top,
        stream=stream,
        source=source,
        sink=sink,
        in_ports=len(sides[0].names),
        in_width=widths[0],
        out_ports=len(sides[1].names),
        out_width=widths[1],
        depth=_DEPTH,
        assignments=[*lines, *_results(sides[1], sink)],
        # A module without ap_ready takes its next frame when it is done.
        ready_when_done="ap_ready" not in by_name and "ap_done" in by_name,
        connected=[(name, signal) for name, signal in connected.items() if name in by_name],
    )


def _port_bits(side: _Side, by_name: Mapping[str, RtlPort], stream: bool) -> int:
    return by_name[f"{side.names[0]}_TDATA" if stream else side.names[0]].width


def _lanes(side: _Side, port: Mapping[str, Any]) -> list[str]:
    """Elements of a beat at their places in the ports, filled up with their sign."""
    width = port["element_width"]
    lines = []
    total = side.stride * side.elements
    for lane in range(port["lanes"]):
        high = "" if side.stride == width else f"{{{side.stride - width}{{{_sign(port, lane)}}}}}, "
        value = f"s_axis_tdata[{lane * width}+:{width}]"
        lines.append(f"assign packed_in[{lane * side.stride}+:{side.stride}] = {{{high}{value}}};")
    if side.width * len(side.names) > total:
        lines.append(f"assign packed_in[{side.width * len(side.names) - 1}:{total}] = '0;")
    return lines


def _sign(port: Mapping[str, Any], lane: int) -> str:
    width = port["element_width"]
    return f"s_axis_tdata[{lane * width + width - 1}]" if port["signed"] else "1'b0"


def _results(side: _Side, port: Mapping[str, Any]) -> list[str]:
    width, used = port["element_width"], port["element_width"] * port["lanes"]
    lines = [
        f"assign m_axis_tdata[{lane * width}+:{width}] = packed_out[{lane * side.stride}+:{width}];"
        for lane in range(port["lanes"])
    ]
    if port["data_width"] > used:
        lines.append(f"assign m_axis_tdata[{port['data_width'] - 1}:{used}] = '0;")
    return lines


def _side(ports: Sequence[RtlPort], described: Mapping[str, Any], *, stream: bool) -> _Side:
    """The data ports among those of one direction, in the order of their lanes. Raises InputError for others."""
    lanes, width = described["lanes"], described["element_width"]
    if stream:
        data = [port for port in ports if port.name.endswith("_TDATA")]
    else:
        control = (*_CONTROL, "ap_return")
        data = [port for port in ports if port.name not in control and not port.name.endswith("_ap_vld")]
    names = [port.name.removesuffix("_TDATA") if stream else port.name for port in data]
    if len(data) == 1:
        strides = _strides(width, lanes, data[0].width, stream=stream)
        if strides:
            return _Side((names[0],), data[0].width, strides[0], lanes)
    elif len(data) == lanes:
        # Vivado HLS writes the member of a fixed-point number behind the lane's number.
        numbers = [re.search(r"_(\d+)(?:_V)?$", name) for name in names]
        widths = {port.width for port in data}
        order = sorted(range(lanes), key=lambda place: int(number[1]) if (number := numbers[place]) else -1)
        if all(numbers) and len({number[1] for number in numbers if number}) == lanes and len(widths) == 1:
            (bits,) = widths
            if _strides(width, 1, bits, stream=stream):
                return _Side(tuple(names[place] for place in order), bits, bits, lanes)
    found = ", ".join(f"{port.name} ({port.width} bits)" for port in data) or "none"
    raise InputError(
        f"node {described['node']!r}: its {lanes} elements of {width} bits are expected in one port, or in one port each; the RTL has {found}"
    )


def _strides(width: int, lanes: int, port_width: int, *, stream: bool) -> list[int]:
    """Bits from an element to the next that fit a port of so many bits, the documented one first.

    A structure on an AXI-Stream port is laid out as in C++ memory, elements of 8, 16, 32 or multiples of 64 bits, unless it is packed;
    an array that was reshaped is packed.
    """
    if not stream:
        return [width] if lanes * width == port_width else []
    stored = next((size for size in (8, 16, 32) if width <= size), -(-width // 64) * 64)
    return [
        stride
        for stride in dict.fromkeys((stored, -(-width // 8) * 8, width))
        if -(-lanes * stride // 8) * 8 == port_width
    ]
