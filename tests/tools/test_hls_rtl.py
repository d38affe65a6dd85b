# SPDX-License-Identifier: Apache-2.0
"""RTL behind ap_ctrl_hs on the same rungs as the streaming RTL, by stand-ins for what a vendor's HLS compiler makes."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from hls_stand_in import OUTPUTS, ROWS, arrays, network, stream
from test_hls_report import COSIM_REPORT, REPORT

import toolchain
from toolchain.backends.hls4ml import plan
from toolchain.build.tools import cocotb, verilator
from toolchain.build.tools import hls4ml as hls4ml_tool
from toolchain.errors import BuildFailed, InputError, Mismatch, ToolNotFound, UnsupportedModel, UsageError
from toolchain.ir import save_graph
from toolchain.target import Target
from toolchain.verify.hls_rtl import RESET_CHECK, HlsRtlResult, find_rtl, plan_adapter, read_ports, verify_hls_rtl
from toolchain.verify.vectors import random_vectors

pytestmark = pytest.mark.skipif(
    any(tool.find() is None for tool in (verilator.TOOL, cocotb.TOOL, hls4ml_tool.TOOL)),
    reason="needs Verilator, cocotb, a C++ compiler and hls4ml",
)

WIDTH = network().types["scores"].element.width
STREAMS = {
    "elements of bytes": {},
    "elements without gaps": {"byte_lanes": False},
    "a port for each lane": {"a_port_a_lane": True},
}
ARRAYS = {
    "pipelined": {"pipelined": True},
    "one after the other": {"pipelined": False},
    "no valids": {"pipelined": True, "with_valids": False},
}


def facts(io_type: str) -> dict:
    return dict(plan(network(), Target(), io_type, flows=["vitis"]).facts)


def run(folder: Path, io_type: str, verilog: str, count: int = 500) -> HlsRtlResult:
    described = facts(io_type)
    project = folder / "vitis"
    place = project / f"{described['top']}_prj" / "solution1" / "syn" / "verilog"
    place.mkdir(parents=True)
    (place / f"{described['top']}.v").write_text(verilog)
    found = find_rtl(project, described["top"])
    assert found == place
    return verify_hls_rtl(network(), found, described, random_vectors(network(), count, seed=5), folder / "work")


def failed(result: HlsRtlResult) -> list[str]:
    return [check["name"] for check in result.bench.checks if not check["passed"]]


@pytest.mark.parametrize("name", STREAMS)
def test_streams(name: str, tmp_path: Path) -> None:
    result = run(tmp_path, "io_stream", stream("tiny_top", WIDTH, **STREAMS[name]))
    assert (result.bulk.vectors, result.bulk.mismatches) == (500, 0)
    assert [(check["name"], check["message"]) for check in result.bench.checks if not check["passed"]] == []
    assert len(result.bench.checks) == 9
    # Three packets, of three cycles each.
    assert result.facts["initiation_interval_cycles"] == 3 * ROWS
    assert result.latency_cycles == 3 * ROWS - 1


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str, tmp_path: Path) -> None:
    result = run(tmp_path, "io_parallel", arrays("tiny_top", WIDTH, **ARRAYS[name]))
    assert (result.bulk.vectors, result.bulk.mismatches) == (500, 0)
    assert [(check["name"], check["message"]) for check in result.bench.checks if not check["passed"]] == []
    assert (result.facts["initiation_interval_cycles"], result.latency_cycles) == (
        (10, 4) if name == "one after the other" else (2, 4)
    )


def test_a_wrong_number_is_found(tmp_path: Path) -> None:
    text = stream("tiny_top", WIDTH)
    assert text.count("* 7 ") == 1
    result = run(tmp_path, "io_stream", text.replace("* 7 ", "* 6 "))
    assert result.bulk.mismatches > 400
    assert result.bulk.first_mismatch is not None
    assert result.bulk.first_mismatch.node == "scores"
    assert result.bulk.first_mismatch.index[-1] == 1
    assert "flowing" in failed(result)


def test_lost_results_are_found(tmp_path: Path) -> None:
    """Rung 3 sees it as soon as the sink pauses, and keeps the waveform beside the simulation."""
    with pytest.raises(BuildFailed) as caught:
        run(tmp_path, "io_stream", stream("tiny_top", WIDTH, spoiled="gives whether or not it is taken"))
    message = str(caught.value)
    assert message.startswith("bitwright_hls_adapter stalled: no beat moved any more after ")
    assert "\n  m_axis: the sink waits, u_vendor offers nothing\n" in message
    assert (
        "\n  Not so at full rate; here the source offers a beat in 1 of 1 cycles and the sink takes one in 1 of 6"
        in message
    )
    waveform = tmp_path / "work" / "simulation" / "stalled.vcd"
    assert f"\n  Waveform of all streams: {waveform}\n" in message
    assert waveform.stat().st_size > 1000


def test_what_a_reset_leaves_is_a_check_of_its_own(tmp_path: Path) -> None:
    """A static variable that a reset does not clear, as the compilers have it unless told otherwise: the place in the frame."""
    text = stream("tiny_top", WIDTH, spoiled="keeps its place over a reset")
    result = run(tmp_path, "io_stream", text)
    assert result.bulk.mismatches == 0
    assert failed(result) == [RESET_CHECK]


def test_results_that_never_come(tmp_path: Path) -> None:
    text = stream("tiny_top", WIDTH).replace(
        "assign layer2_out_TVALID = (state", "assign layer2_out_TVALID = 1'b0 & (state"
    )
    with pytest.raises(BuildFailed, match=r"stall|stuck|no beat"):
        run(tmp_path, "io_stream", text)


def test_ports_of_another_project(tmp_path: Path) -> None:
    described = facts("io_parallel")
    (tmp_path / "tiny_top.v").write_text(stream("tiny_top", WIDTH))
    with pytest.raises(InputError, match="node 'x': its 12 elements of 5 bits are expected in one port"):
        plan_adapter(tmp_path, described)
    (tmp_path / "tiny_top.v").write_text(
        stream("tiny_top", WIDTH).replace("input   ap_start;", "input   ap_start;\ninput   reload;")
    )
    with pytest.raises(InputError, match="module 'tiny_top' has inputs that no hls4ml project has: reload"):
        plan_adapter(tmp_path, facts("io_stream"))
    (tmp_path / "tiny_top.v").write_text("module other (ap_clk);\ninput ap_clk;\nendmodule\n")
    with pytest.raises(InputError, match="the generated Verilog has no module 'tiny_top'"):
        plan_adapter(tmp_path, facts("io_stream"))


def test_several_inputs_are_refused(tmp_path: Path) -> None:
    described = facts("io_stream")
    described["inputs"] = described["inputs"] * 2
    with pytest.raises(UnsupportedModel, match="one input and one output, this network has 2 and 1"):
        plan_adapter(tmp_path, described)


def test_ports_are_read_with_their_widths() -> None:
    ports = {
        port.name: (port.is_input, port.width)
        for port in read_ports(arrays("tiny_top", WIDTH, pipelined=True), "tiny_top")
    }
    assert ports["node_x"] == (True, 60)
    assert ports["layer2_out_8"] == (False, WIDTH)
    assert ports["ap_start"] == (True, 1)
    assert len(ports) == 8 + 2 * ROWS * OUTPUTS


#: The flow's program and the arguments with which hls4ml's script is started, without those of a cosimulation.
_STARTED = {
    "vitis": ("vitis-run", "--mode hls --tcl build_prj.tcl"),
    "vivado": (
        "vivado_hls",
        "-f build_prj.tcl reset=1 csim=0 synth=1 cosim=0 validation=0 export=0 vsynth=0 fifo_opt=0",
    ),
}
_STARTED["vivado_accelerator"] = _STARTED["vivado"]


def compiler(
    folder: Path, verilog: str, monkeypatch: pytest.MonkeyPatch, flow: str = "vitis", rtl_bench: str = "firmware"
) -> None:
    """A program on PATH that leaves what the real one leaves, in the folder of the project in which it is started.

    Of a cosimulation that is hls4ml's own bench, compiled with the project's C++ (for the RTL with that in `rtl_bench`), and a report.
    """
    top = "tiny_top_axi" if flow == "vivado_accelerator" else "tiny_top"
    report = REPORT.replace("xcvu13p-flga2577-2-e", "xcvu9p-flga2104-2-e").replace("tiny_top", top)
    (folder / "tiny_top.v").write_text(verilog)
    (folder / "csynth.xml").write_text(report)
    (folder / "cosim.rpt").write_text(COSIM_REPORT)
    program, arguments = _STARTED[flow]
    wanted = [arguments, arguments.replace("csim=0", "csim=1").replace("cosim=0 validation=0", "cosim=1 validation=1")]
    compile_bench = (
        "g++ -O0 -std=c++17 -w -Ifirmware -Ifirmware/ap_types -Ifirmware/nnet_utils '-DWEIGHTS_DIR=\"firmware/weights\"' "
        f"tiny_top_test.cpp {'firmware/tiny_top_axi.cpp' if top != 'tiny_top' else ''}"
    )
    script = f"""#!/bin/sh -e
test "$*" = "{wanted[0]}" || test "$*" = "{wanted[1]}"
test -f firmware/tiny_top.cpp
case "$* $(cat build_opt.tcl 2>/dev/null | tr -s ' \n' ' ')" in
*" csim=1 "*"synth=1"*" cosim=1 "* | *" csim 1 "*"synth 1"*" cosim 1 "*)
    {compile_bench} firmware/tiny_top.cpp -o bench && ./bench
    {compile_bench} -DRTL_SIM {rtl_bench}/tiny_top.cpp -o bench && ./bench
    mkdir -p tiny_top_prj/solution1/sim/report
    cp {folder}/cosim.rpt tiny_top_prj/solution1/sim/report/{top}_cosim.rpt
    ;;
*"synth=1"* | *" synth 1 "*) ;;
*) exit 1 ;;
esac
mkdir -p tiny_top_prj/solution1/syn/verilog tiny_top_prj/solution1/syn/report
cp {folder}/tiny_top.v tiny_top_prj/solution1/syn/verilog
cp {folder}/csynth.xml tiny_top_prj/solution1/syn/report/{top}_csynth.xml
"""
    (folder / program).write_text(script)
    (folder / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def options(io_type: str = "io_stream", flow: str = "vitis", **more: Any) -> dict[str, Any]:
    return {"backend": "hls4ml", "io_type": io_type, "measure": False, "hls_flows": [flow], **more}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_graph(network(), tmp_path / "tiny.bitwright")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


def test_a_build_with_the_compiler_on_path(
    model: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rungs 3 and 4 and the estimates are in the report; without the compiler the report says which one was looked for."""
    report = toolchain.build_hardware(model, out=tmp_path / "out", **options()).report
    assert [entry["rung"] for entry in report["ladder"]] == [2]
    missing = "The HLS project was not compiled into RTL: vitis-run, vitis_hls was not found on PATH."
    assert missing in report["notes"]
    compiler(tools, stream("tiny_top", WIDTH), monkeypatch)
    report = toolchain.build_hardware(model, out=tmp_path / "out", **options()).report
    assert [(entry["rung"], entry["mismatches"]) for entry in report["ladder"]] == [(2, 0), (3, 0), (4, 0)]
    assert missing not in report["notes"]
    assert any("takes 8 cycles to a frame's last output and a frame every 9 cycles" in note for note in report["notes"])
    assert not any("Cosimulation" in note for note in report["notes"])
    luts = [record for record in report["measurements"] if record["name"] == "used_lut"]
    assert [(record["value"], record["kind"], record["device"]) for record in luts] == [
        (2045, "estimated", "xcvu9p-flga2104-2-e")
    ]
    assert report["artefacts"]["hls_compiled_project"] == "hls_rtl/vitis"
    compiler(tools, stream("tiny_top", WIDTH).replace("* 7 ", "* 6 "), monkeypatch)
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(Mismatch, match=r"rung 3 \(the HLS compiler's RTL\), first at layer 'scores'"):
        toolchain.build_hardware(model, out=tmp_path / "out", **options())


def test_a_build_of_parallel_arrays_in_vivado_hls(
    model: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(tools, arrays("tiny_top", WIDTH, pipelined=True), monkeypatch, "vivado")
    report = toolchain.build_hardware(model, out=tmp_path / "out", **options("io_parallel", "vivado")).report
    assert [(entry["rung"], entry["mismatches"]) for entry in report["ladder"]] == [(2, 0), (3, 0), (4, 0)]
    assert any(
        "The RTL of Vivado HLS" in note and "takes 4 cycles to a frame's last output and a frame every 2 cycles" in note
        for note in report["notes"]
    )
    compiler(tools, arrays("tiny_top", WIDTH, pipelined=True).replace("* 7 ", "* 6 "), monkeypatch, "vivado")
    with pytest.raises(Mismatch, match=r"rung 3 \(the HLS compiler's RTL\), first at layer 'scores'"):
        toolchain.build_hardware(model, out=tmp_path / "other", **options("io_parallel", "vivado"))


@pytest.mark.parametrize("flow", ["vitis", "vivado"])
def test_a_cosimulation(flow: str, model: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hls4ml's own bench, compiled here, reads this project's vectors and prints what the interpreter says."""
    compiler(tools, stream("tiny_top", WIDTH), monkeypatch, flow)
    report = toolchain.build_hardware(model, out=tmp_path / "out", **options(flow=flow, hls_cosim=True)).report
    assert (
        "Cosimulation: hls4ml's bench gave the interpreter's results for 8 vectors from the C++ and from the RTL, to the six digits "
        "that it prints, in at most 12 cycles of latency and 10 cycles of interval."
    ) in report["notes"]
    assert [entry["rung"] for entry in report["ladder"]] == [2, 3, 4]
    first = (tmp_path / "out" / "hls_rtl" / flow / "tb_data" / "csim_results.log").read_text().splitlines()[0]
    assert len(first.split()) == ROWS * OUTPUTS


def test_a_cosimulation_that_differs(model: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tools / "other").mkdir()
    (tools / "other" / "tiny_top.cpp").write_text(
        '#include "tiny_top.h"\nvoid tiny_top(hls::stream<input_t> &x, hls::stream<result_t> &y) {\n'
        "    while (!x.empty()) { x.read(); result_t zero; for (auto &v : zero.data) v = 0; y.write(zero); }\n}\n"
    )
    compiler(tools, stream("tiny_top", WIDTH), monkeypatch, rtl_bench=str(tools / "other"))
    with pytest.raises(BuildFailed, match=r"cosimulation \(RTL\): sample 0, value 0 is 0, expected "):
        toolchain.build_hardware(model, out=tmp_path / "out", **options(hls_cosim=True))


def test_a_cosimulation_needs_a_compiler(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolNotFound) as missing:
        toolchain.build_hardware(model, out=tmp_path / "out", **options(hls_cosim=True))
    assert str(missing.value) == (
        "--hls-cosim: The HLS project was not compiled into RTL: vitis-run, vitis_hls was not found on PATH. Put the compiler on "
        "PATH, or build without --hls-cosim"
    )
    with pytest.raises(UsageError, match="a cosimulation is one of backend 'hls4ml', found backend 'rtl'"):
        toolchain.build_hardware(model, out=tmp_path / "out", hls_cosim=True)
    with pytest.raises(UsageError, match="a cosimulation needs rungs 2, 3 and 4"):
        toolchain.build_hardware(model, out=tmp_path / "out", **options(hls_cosim=True, skip_rungs=[3]))


def test_inputs_that_the_bench_of_hls4ml_cannot_read(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_graph(network(width=25), tmp_path / "tiny.bitwright")
    compiler(tools, "", monkeypatch, "vivado_accelerator")
    report = toolchain.build_hardware(
        model, out=tmp_path / "out", **options(flow="vivado_accelerator", hls_cosim=True)
    ).report
    assert (
        "The cosimulation was left out: hls4ml's bench reads float32, which holds 24 bits, and the input has 25."
        in report["notes"]
    )


def test_the_accelerator_behind_its_wrapper(
    model: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its estimates and its cosimulation are there, rungs 3 and 4 are not, and the report says why."""
    compiler(tools, "", monkeypatch, "vivado_accelerator")
    report = toolchain.build_hardware(
        model, out=tmp_path / "out", **options(flow="vivado_accelerator", hls_cosim=True)
    ).report
    assert [entry["rung"] for entry in report["ladder"]] == [2]
    assert any(
        note.startswith("Rungs 3 and 4 are absent: the RTL of flow vivado_accelerator") for note in report["notes"]
    )
    assert any(note.startswith("Cosimulation: hls4ml's bench gave") for note in report["notes"])
    assert any(record["name"] == "used_lut" for record in report["measurements"])


def test_no_rtl_no_folder(tmp_path: Path) -> None:
    assert find_rtl(tmp_path, "tiny_top") is None
    assert np.prod(network().types["x"].shape) == 12
