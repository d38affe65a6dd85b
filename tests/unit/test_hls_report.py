# SPDX-License-Identifier: Apache-2.0
"""csynth.xml of AMD's HLS compilers: what is read, what becomes of it, and damaged files."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from toolchain.build.tools import vitis_hls
from toolchain.build.tools.hls_cosimulation import Cosimulation, read_cosimulation, write_samples
from toolchain.build.tools.vitis_hls import PROGRAMS, find_compiler, read_report, synthesise
from toolchain.errors import BuildFailed, ToolNotFound
from toolchain.measure.hls_report import hls_measurements
from toolchain.measure.record import Kind

REPORT = """<?xml version="1.0" encoding="UTF-8"?>
<profile>
  <ReportVersion><Version>2023.2</Version></ReportVersion>
  <UserAssignments>
    <unit>ns</unit><ProductFamily>virtexuplus</ProductFamily><Part>xcvu13p-flga2577-2-e</Part>
    <TopModelName>tiny_top</TopModelName><TargetClockPeriod>5.00</TargetClockPeriod><ClockUncertainty>1.35</ClockUncertainty>
    <FlowTarget>vivado</FlowTarget>
  </UserAssignments>
  <PerformanceEstimates>
    <PipelineType>dataflow</PipelineType>
    <SummaryOfTimingAnalysis><unit>ns</unit><EstimatedClockPeriod>3.200</EstimatedClockPeriod></SummaryOfTimingAnalysis>
    <SummaryOfOverallLatency>
      <unit>clock cycles</unit><Best-caseLatency>11</Best-caseLatency><Average-caseLatency>12</Average-caseLatency>
      <Worst-caseLatency>14</Worst-caseLatency><Interval-min>8</Interval-min><Interval-max>9</Interval-max>
    </SummaryOfOverallLatency>
  </PerformanceEstimates>
  <AreaEstimates>
    <Resources><BRAM_18K>3</BRAM_18K><DSP>7</DSP><FF>812</FF><LUT>2045</LUT><URAM>0</URAM></Resources>
    <AvailableResources><BRAM_18K>5376</BRAM_18K><DSP>12288</DSP><FF>3456000</FF><LUT>1728000</LUT><URAM>1280</URAM></AvailableResources>
  </AreaEstimates>
</profile>
"""


def written(folder: Path, text: str | bytes = REPORT) -> Path:
    path = folder / "tiny_top_csynth.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_figure(tmp_path: Path) -> None:
    records = hls_measurements(read_report(written(tmp_path)), "Vitis HLS", "abc")
    assert {(r.kind, r.tool, r.tool_version, r.device, r.plan_digest) for r in records} == {
        (Kind.ESTIMATED, "Vitis HLS", "2023.2", "xcvu13p-flga2577-2-e", "abc")
    }
    assert [(r.name, round(r.value, 6), r.unit) for r in records] == [
        ("fmax", 312.5, "MHz"),
        ("latency_cycles", 14, "cycles"),
        ("initiation_interval_cycles", 9, "cycles"),
        ("used_lut", 2045, "LUT"),
        ("utilisation_lut", 0.118345, "%"),
        ("used_ff", 812, "FF"),
        ("utilisation_ff", 0.023495, "%"),
        ("used_dsp", 7, "DSP"),
        ("utilisation_dsp", 0.056966, "%"),
        ("used_block_ram", 1.5, "block RAM"),
        ("utilisation_block_ram", 0.055804, "%"),
    ]


def test_vivado_hls_and_unknown_cycles(tmp_path: Path) -> None:
    text = REPORT.replace("DSP>", "DSP48E>").replace(">14<", ">undef<").replace(">9<", ">undef<")
    report = read_report(written(tmp_path, text))
    assert report.resources["DSP"] == 7
    assert (report.latency_cycles, report.interval_cycles) == (None, None)
    assert "cycles" not in {record.unit for record in hls_measurements(report, "Vivado HLS", "")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a report of an HLS compiler: no element found: line 1, column 0"),
        (REPORT[:400], "not a report of an HLS compiler: "),
        ("<profile/>", "the report has no ReportVersion/Version"),
        (REPORT.replace("<LUT>2045</LUT>", ""), "the report has no AreaEstimates/Resources/LUT"),
        (
            REPORT.replace("<LUT>2045</LUT>", "<LUT>-1</LUT>"),
            "AreaEstimates/Resources/LUT is '-1', expected a whole number",
        ),
        (
            REPORT.replace(">2045<", f">{'9' * 4000}<"),
            f"AreaEstimates/Resources/LUT is '{'9' * 40}', expected a whole number",
        ),
        (REPORT.replace(">3.200<", ">nan<"), "EstimatedClockPeriod is 'nan', expected a clock period in ns above 0"),
        (REPORT.replace(">3.200<", ">0.0<"), "EstimatedClockPeriod is '0.0', expected a clock period in ns above 0"),
        (REPORT.replace("AvailableResources>", "Other>"), "the report has no AreaEstimates/AvailableResources"),
        (
            REPORT.replace("<profile>", '<!DOCTYPE p [<!ENTITY a "aaaa">]><profile>'),
            "not a report of an HLS compiler: it declares entities or is no UTF-8 text",
        ),
        (
            REPORT.replace("<profile>", '<!DOCTYPE profile SYSTEM "file:///dev/zero"><profile>'),
            "not a report of an HLS compiler: it declares entities or is no UTF-8 text",
        ),
        (REPORT.replace("UTF-8", "UTF-16").encode("utf-16"), "it declares entities or is no UTF-8 text"),
        (b"\xff\xfe\x9d" * 9, "not a report of an HLS compiler: "),
    ],
)
def test_damaged_files(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BuildFailed) as raised:
        read_report(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert message in str(raised.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"report cannot be read: No such file or directory"):
        read_report(tmp_path / "none.xml")


def test_the_compiler_of_a_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [find_compiler(flow) for flow in (*PROGRAMS, "quartus")] == [None] * 4
    assert vitis_hls.TOOL.find() is None
    with pytest.raises(ToolNotFound, match=r"flow 'vitis': vitis-run, vitis_hls was not found on PATH"):
        synthesise(tmp_path, "vitis", cosimulate=False, log=tmp_path / "log")
    commands = {}
    for name, flow in (
        ("vitis_hls", "vitis"),
        ("vitis-run", "vitis"),
        ("vivado_hls", "vivado"),
        ("vivado_hls", "vivado_accelerator"),
    ):
        (tmp_path / name).write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
        (tmp_path / name).chmod(0o755)
        options = tmp_path / "build_opt.tcl"
        options.unlink(missing_ok=True)
        done = synthesise(tmp_path, flow, cosimulate=name == "vitis-run", log=tmp_path / "log")
        commands[name, flow] = done.log.read_text().splitlines()
        assert options.exists() == (flow == "vitis")
        if flow == "vitis":
            words = options.read_text().split()
            cosimulated = str(int(name == "vitis-run"))
            assert [words[words.index(step) + 1] for step in ("csim", "cosim", "validation")] == [cosimulated] * 3
            assert words[words.index("synth") + 1] == "1"
    # Vivado HLS's script has cosimulation on, reads no file, and looks for 'synth=' in the argument before 'vsynth='.
    words = "reset=1 csim=0 synth=1 cosim=0 validation=0 export=0 vsynth=0 fifo_opt=0"
    assert commands == {
        ("vitis_hls", "vitis"): ["-f", "build_prj.tcl"],
        ("vitis-run", "vitis"): ["--mode", "hls", "--tcl", "build_prj.tcl"],
        ("vivado_hls", "vivado"): ["-f", "build_prj.tcl", words],
        ("vivado_hls", "vivado_accelerator"): ["-f", "build_prj.tcl", words],
    }


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "vitis_hls").write_text("#!/bin/sh\necho 'ERROR: no licence'\nexit 3\n")
    (tmp_path / "vitis_hls").chmod(0o755)
    with pytest.raises(
        BuildFailed, match=r"HLS compiler on the vitis project failed with status 3(?s:.*)ERROR: no licence"
    ):
        synthesise(tmp_path, "vitis", cosimulate=False, log=tmp_path / "log")


COSIM_REPORT = """Simulation tool   : xsim

+----------+----------+-----------------------------------------------+-----------------------------------------------+
|          |          |                    Latency                    |                    Interval                   |
+   RTL    +  Status  +-----------------------------------------------+-----------------------------------------------+
|          |          |      min      |      avg      |      max      |      min      |      avg      |      max      |
+----------+----------+-----------------------------------------------+-----------------------------------------------+
|      VHDL|        NA|             NA|             NA|             NA|             NA|             NA|             NA|
|   Verilog|      Pass|             11|             11|             12|              9|              9|             10|
+----------+----------+-----------------------------------------------+-----------------------------------------------+
"""
#: More digits than the bench prints, both signs, and zero.
RESULTS = [[Decimal("-1.0009765625"), Decimal("0")], [Decimal("123456.5"), Decimal("0.0001220703125")]]
PRINTED = "-1.00098 0 \n123457 0.00012207 \n"


def cosimulated(folder: Path, report: str = COSIM_REPORT, csim: str = PRINTED, cosim: str = PRINTED) -> Path:
    place = folder / "net_prj" / "solution1" / "sim" / "report"
    place.mkdir(parents=True)
    (place / "net_cosim.rpt").write_text(report)
    (folder / "tb_data").mkdir()
    (folder / "tb_data" / "csim_results.log").write_text(csim)
    (folder / "tb_data" / "rtl_cosim_results.log").write_text(cosim)
    return folder


def test_what_a_cosimulation_leaves(tmp_path: Path) -> None:
    found = read_cosimulation(cosimulated(tmp_path / "a"), "net", "vitis", RESULTS)
    assert found == Cosimulation(samples=2, latency_cycles=12, interval_cycles=10)
    unknown = COSIM_REPORT.replace("12|", "NA|").replace("10|", "NA|")
    assert read_cosimulation(cosimulated(tmp_path / "b", unknown), "net", "vitis", RESULTS).latency_cycles is None


def test_the_samples_of_a_cosimulation_are_exact(tmp_path: Path) -> None:
    write_samples(tmp_path, [[Decimal(1), Decimal("-1E-9")]], [[Decimal("1E+3")]])
    assert (tmp_path / "tb_data/tb_input_features.dat").read_text() == "1 -0.000000001\n"
    assert (tmp_path / "tb_data/tb_output_predictions.dat").read_text() == "1000\n"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"report": COSIM_REPORT.replace("Pass", "Fail")},
            "net_cosim.rpt: the cosimulation did not pass: '|   Verilog|      Fail|",
        ),
        ({"report": ""}, "net_cosim.rpt: the cosimulation's report has no row for Verilog"),
        ({"csim": ""}, "csim_results.log: the bench printed 0 values of the C++, expected 4"),
        (
            {"cosim": PRINTED.replace(" 0 ", " ")},
            "rtl_cosim_results.log: the bench printed 3 values of the RTL, expected 4",
        ),
        (
            {"cosim": PRINTED.replace("57", "58")},
            "cosimulation (RTL): sample 1, value 0 is 123458, expected 123456.5; see ",
        ),
        (
            {"csim": PRINTED.replace("-1", "1")},
            "cosimulation (C++): sample 0, value 0 is 1.00098, expected -1.0009765625; see ",
        ),
        ({"cosim": PRINTED.replace(" 0 ", " nan ")}, "cosimulation (RTL): sample 0, value 1 is nan, expected 0; see "),
        (
            {"cosim": PRINTED.replace(" 0 ", " zero ")},
            "cosimulation (RTL): sample 0, value 1 is zero, expected 0; see ",
        ),
    ],
)
def test_a_cosimulation_that_is_not_as_it_should_be(written: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(BuildFailed) as raised:
        read_cosimulation(cosimulated(tmp_path, **written), "net", "vitis", RESULTS)
    assert message in str(raised.value)


def test_a_cosimulation_that_left_nothing(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"net_axi_cosim.rpt: what the cosimulation leaves cannot be read: "):
        read_cosimulation(tmp_path, "net", "vivado_accelerator", RESULTS)
