# SPDX-License-Identifier: Apache-2.0
"""The record, its schema, its files, the terminal tables and the comparison."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from toolchain.errors import InputError, UsageError
from toolchain.ir import AddBias, Conv, Dense, GraphBuilder, Input, IntegerType, SumPool
from toolchain.measure.record import KIND_MEANING, Kind, Measurement
from toolchain.report.compare import compare_reports, print_comparison
from toolchain.report.compare_page import write_page
from toolchain.report.describe import confusion_matrix, describe_graph
from toolchain.report.figures import (
    latency_points,
    name_text,
    number_text,
    preferred,
    processor_rows,
    rate_text,
    resource_uses,
    throughput_series,
    time_text,
)
from toolchain.report.report import (
    Report,
    highest_rung,
    read_report,
    schema,
    status_of,
    ties_sentence,
    validate,
    write_report,
)
from toolchain.report.terminal import console_for, print_report


def figure(name: str, value: float, unit: str, kind: Kind = Kind.POST_ROUTE, **changes: object) -> Measurement:
    fields: dict = {"tool": "tool", "tool_version": "1.0", "device": "part"}
    return Measurement(name, value, unit, kind, **{**fields, **changes})


def rung(number: int, vectors: int = 100, mismatches: int = 0) -> dict:
    return {"rung": number, "name": f"rung {number}", "vectors": vectors, "mismatches": mismatches, "seconds": 1.5}


@pytest.fixture
def full() -> Report:
    return Report(
        model="digits",
        graph_digest="0123456789abcdef" * 4,
        accuracy=0.975,
        ladder=[rung(1, 1000), rung(3, 100_000), rung(4, 64)],
        measurements=[
            figure("latency_cycles", 40, "cycles", Kind.SIMULATED),
            figure("latency", 800.0, "ns", clock_mhz=50.0),
            figure("throughput", 3.125e6, "inferences/s", clock_mhz=50.0),
            figure("used_lut", 1500, "LUT"),
            figure("utilisation_lut", 6.25, "%"),
            figure("latency_p50_batch_1", 11.0, "us", Kind.MEASURED, device="CPU X, 2 of 2 cores"),
            figure("throughput_batch_1", 90_000.0, "inferences/s", Kind.MEASURED, device="CPU X, 2 of 2 cores"),
        ],
        artefacts={"bitstream": "out/top.bit", "graph": {"path": "graph.npz", "sha256": "ab" * 32}},
        quantisation={
            "source": "torch 2.13.0",
            "method": "mse",
            "weight_bits": 8,
            "activation_bits": 8,
            "calibration_samples": 100,
            "vectors": 360,
            "vectors_are": "held-out samples",
            "accuracy_before": 0.98,
            "accuracy_after": 0.975,
        },
        confusion_matrix={"labels": ["a", "b"], "counts": [[9, 1], [2, 8]]},
        checks=[{"name": "board top", "vectors": 8, "mismatches": 0, "seconds": 0.25}],
        graph=[{"name": "x", "operation": "input", "source": "in", "shape": [4], "type": "fixed<8,4>"}],
        folding=[{"name": "fc1", "pe": 4, "simd": 8, "memory": "LUT", "shared": False, "depth": None}],
        toolchain_version="0.1.0",
        backend="rtl",
        board="ulx3s-85f",
        part="LFE5U-85F-6BG381C",
        notes=["a note"],
        timings={"rtl": 0.5},
    )


def test_the_schema_is_a_valid_schema() -> None:
    Draft202012Validator.check_schema(schema())


def test_written_and_read_back_is_identical(full: Report, tmp_path: Path) -> None:
    for number, report in enumerate((full, Report("nothing known"))):
        path = write_report(report, tmp_path / str(number))
        assert path == tmp_path / str(number) / "report.json"
        assert read_report(path) == report
        assert read_report(path.parent) == report
        assert sorted(file.name for file in path.parent.iterdir()) == ["report.html", "report.json"]


def test_the_contract_has_its_seven_keys_and_nothing_unknown(full: Report) -> None:
    data = full.to_json()
    assert list(data)[:7] == [
        "schema", "model", "graph_digest", "accuracy", "ladder", "measurements", "artefacts",
    ]  # fmt: skip
    assert set(data) == set(schema()["properties"])
    assert list(Report("m").to_json()) == list(data)[:7]
    for key in list(data)[1:7]:
        with pytest.raises(InputError, match=f"'{key}' is a required property"):
            validate({k: v for k, v in data.items() if k != key})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accuracy": 1.5}, "report.accuracy: 1.5 is greater than the maximum of 1"),
        ({"graph_digest": "xyz"}, "report.graph_digest: 'xyz' does not match '^([0-9a-f]{64})?$'"),
        ({"ladder": [rung(8)]}, "report.ladder[0].rung: 8 is greater than the maximum of 7"),
        ({"ladder": [{**rung(1), "rung": "1"}]}, "report.ladder[0].rung: '1' is not of type 'integer'"),
        ({"timings": {"rtl": -1}}, "report.timings.rtl: -1 is less than the minimum of 0"),
        (
            {"confusion_matrix": {"labels": ["a", "b"], "counts": [[1, 2]]}},
            "report.confusion_matrix: counts must be 2 rows of 2, one for each label",
        ),
    ],
)
def test_a_report_off_the_schema_is_not_written(full: Report, changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_report(replace(full, **changes), tmp_path)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up", "a/../../up", "C:\\x", "\\\\server\\x", "javascript:alert(1)", ""]
)
def test_artefacts_lie_inside_the_folder(path: str, full: Report) -> None:
    data = replace(full, artefacts={"file": path}).to_json()
    if path.startswith("javascript:"):
        validate(data)  # a file may be called so; the page links to ./javascript%3A...
        return
    with pytest.raises(InputError, match=r"report\.artefacts\.file: "):
        validate(data)


def test_nan_is_refused(full: Report, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="numbers finite"):
        write_report(replace(full, timings={"rtl": float("nan")}), tmp_path)


def test_missing_damaged_and_other_versions(full: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(InputError) as caught:
        read_report(tmp_path)
    assert str(caught.value) == f"{path}: there is no report; `bitwright build` writes one into its output folder"
    path.write_text('{"schema": 1, "mod')
    with pytest.raises(InputError, match="is damaged, not JSON"):
        read_report(tmp_path)
    path.write_text(json.dumps({**full.to_json(), "schema": 2}))
    with pytest.raises(InputError, match="schema version 2 cannot be read, this program reads version 1"):
        read_report(tmp_path)
    path.write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object, found list"):
        read_report(tmp_path)


def test_an_interrupted_write_leaves_the_old_report(
    full: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(full, tmp_path)

    def stop(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(replace(full, model="other"), tmp_path)
    monkeypatch.undo()
    assert read_report(tmp_path).model == "digits"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "report.json"]


@pytest.mark.parametrize(
    ("ladder", "expected"),
    [
        ([], None),
        ([rung(1), rung(3), rung(5)], 5),
        ([rung(5), rung(1)], 5),
        ([rung(1), rung(3, 100, 1), rung(4)], 1),
        ([rung(1, 100, 2)], None),
        ([rung(1), rung(3, 0)], 1),
        ([rung(3), {**rung(3, 9, 9)}], None),
    ],
)
def test_the_highest_rung_has_no_mismatch_in_it_or_below(ladder: list, expected: int | None) -> None:
    reached = highest_rung(Report("m", ladder=ladder))
    assert (reached and reached["rung"]) == expected


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ns"), (1.1e-5, "11 us"), (8.551e-7, "855.1 ns"), (2.4e-9, "2.4 ns"), (1.0, "1 s"), (0.0123456, "12.35 ms")],
)
def test_times_read_well(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_numbers_and_names_read_well() -> None:
    assert [number_text(v) for v in (0, 1234567, 71.3401, 0.00012346, 1e-7, -2.5, 1e20)] == [
        "0", "1,234,567", "71.34", "0.0001235", "1.000e-07", "-2.5", "1.000e+20",
    ]  # fmt: skip
    assert [rate_text(v) for v in (3.125e6, 80442.37, 12.0)] == ["3.125 M", "80.44 k", "12"]
    assert name_text("latency_p99_9_batch_64") == "latency p99.9, batch 64"
    assert name_text("used_block_ram") == "block RAM used"
    assert name_text("compared_vectors_batch_8") == "compared vectors, batch 8"


def test_charts_take_the_figures_by_device(full: Report) -> None:
    points = latency_points(full.measurements)
    assert [(p.group, p.label, p.seconds) for p in points] == [
        ("FPGA", "part at 50 MHz (board)", pytest.approx(8e-7)),
        ("CPU", "CPU X, 2 of 2 cores, tool", pytest.approx(1.1e-5)),
    ]
    series = throughput_series(full.measurements)
    assert [(s.group, s.batches, s.flat) for s in series] == [("FPGA", [1], True), ("CPU", [1], False)]
    (use,) = resource_uses(full.measurements)
    assert (use.unit, use.used, use.available) == ("LUT", 1500, 24000)
    gpu = figure("throughput_batch_8", 1.0, "inferences/s", Kind.MEASURED, device="Some GPU (CUDA)")
    assert throughput_series([gpu])[0].group == "GPU"


def test_batch_figures_become_rows_and_nothing_is_lost() -> None:
    records = [
        figure("latency_p50_batch_8", 2.0, "us", Kind.MEASURED),
        figure("throughput_batch_8", 4e6, "inferences/s", Kind.MEASURED),
        figure("latency_p50_batch_8", 3.0, "us", Kind.RECORDED),
        figure("energy_batch_8", 3.0, "uJ", Kind.MEASURED),
        figure("throughput_batch_8", 3.0, "W", Kind.MEASURED),
    ]
    rows, others = processor_rows(records)
    assert [(r.tool, r.kind, r.batch, r.p50_seconds, r.throughput) for r in rows] == [
        ("tool 1.0", Kind.MEASURED, 8, pytest.approx(2e-6), 4e6),
        ("tool 1.0", Kind.RECORDED, 8, pytest.approx(3e-6), None),
    ]
    assert others == records[3:]


def test_the_later_stage_is_preferred() -> None:
    early, late = figure("used_lut", 100, "LUT", Kind.POST_SYNTHESIS), figure("used_lut", 120, "LUT")
    assert preferred([early, late], "used_lut") is late
    assert preferred([early], "used_ff", "used_lut") is early
    assert preferred([], "used_lut") is None


def test_describe_graph() -> None:
    builder = GraphBuilder("g")
    x = builder.add(Input((2,), IntegerType(True, 4)), name="x", source="in")
    x = builder.add(Dense(np.array([[1, 2], [3, -4]]), 1), x, name="fc", source="fc")
    builder.output(builder.add(AddBias(np.array([1, 2]), 1), x, name="bias", source="fc"))
    rows = describe_graph(builder.build())
    assert rows[0] == {"name": "x", "operation": "input", "source": "in", "shape": [2], "type": "fixed<4,4>"}
    assert rows[1]["accumulator"] == rows[1]["type"] == "fixed<7,6>[-44..46]"
    assert "accumulator" not in rows[2]
    validate(Report("m", graph=rows).to_json())


def test_describe_graph_of_a_convolution() -> None:
    builder = GraphBuilder("g")
    x = builder.add(Input((4, 4, 1), IntegerType(False, 3)), name="x")
    x = builder.add(Conv(np.array([[[[1, -2]]], [[[3, 0]]]]), (1, 1), (1, 1), 1, 2), x, name="conv", source="c")
    builder.output(builder.add(SumPool((3, 4), (1, 1)), x, name="pool"))
    rows = describe_graph(builder.build())
    assert (rows[1]["shape"], rows[1]["accumulator"]) == ([3, 4, 2], "fixed<6,4>[-14..28]")
    assert "accumulator" not in rows[2]
    validate(Report("m", graph=rows).to_json())


def test_confusion_matrix_counts() -> None:
    matrix = confusion_matrix(["a", "b", "c"], np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]))
    assert matrix == {"labels": ["a", "b", "c"], "counts": [[1, 1, 0], [0, 1, 0], [1, 0, 0]]}
    with pytest.raises(InputError, match="predictions must be one index below 2 for each vector"):
        confusion_matrix(["a", "b"], np.array([0, 1]), np.array([0, 2]))


def printed(report: Report) -> str:
    stream = io.StringIO()
    print_report(report, console_for(stream))
    return stream.getvalue()


def test_terminal_output_is_plain_text_off_a_terminal(full: Report) -> None:
    text = printed(full)
    assert "\x1b" not in text
    assert text.splitlines()[0] == "digits: ulx3s-85f, accuracy 97.50 %, verified to rung 4 (rung 4) on 64 vectors"
    lines = [line.split() for line in text.splitlines()]
    assert ["3", "rung", "3", "100,000", "0", "1.5", "s", "equal"] in lines
    assert ["7", "Board", "not", "run"] in lines
    assert ["latency", "at", "the", "board's", "clock", "800", "ns", "post_route", "tool", "1.0"] in lines
    assert ["tool", "1.0", "1", "11", "us", "90", "k", "measured"] in lines
    assert ["bitstream", "out/top.bit"] in lines
    assert text.rstrip().endswith("Note: a note")


def test_terminal_shows_a_mismatch_and_no_control_characters(full: Report) -> None:
    hostile = "a\x1b[31mred\x07[bold]x[/bold]\u202eflip"
    text = printed(replace(full, model=hostile, notes=[hostile], ladder=[{**rung(3, 10, 2), "name": hostile}]))
    assert "DIFFERENT" in text
    assert "no rung holds" in text
    assert text.count("a\\x1b[31mred\\x07[bold]x[/bold]\\u202eflip") == 3
    assert not any(c in text for c in "\x1b\x07\u202e")


def test_explained_ties_are_no_mismatches(full: Report, tmp_path: Path) -> None:
    """Equal but for ties in words, the rung holds, and both numbers survive the file."""
    checks = [{**full.checks[0], "explained_ties": 1}]
    report = replace(full, ladder=[{**rung(1, 1000), "explained_ties": 1234}], checks=checks)
    assert [status_of(entry) for entry in (*report.ladder, *report.checks, rung(3), rung(3, 5, 1), rung(3, 0))] == [
        "explained", "explained", "equal", "different", "empty",
    ]  # fmt: skip
    assert status_of({**rung(1, 9, 2), "explained_ties": 7}) == "different"
    assert read_report(write_report(report, tmp_path)) == report
    assert highest_rung(report) == report.ladder[0]
    text = printed(report)
    lines = [line.split() for line in text.splitlines()]
    assert ["1", "rung", "1", "1,000", "0", "1.5", "s", "equal", "but", "for", "float32", "ties"] in lines
    ending = (
        "by the framework's own float32 rounding, beside a tie or on steps finer than float32 tells apart; each is accounted "
        "for, and is no mismatch. The interpreter's values are exact, and hardware is held to them."
    )
    assert ties_sentence(report.ladder[0]) == f"rung 1: 1,234 values differ {ending}"
    assert ties_sentence(report.checks[0]) == f"board top: 1 value differs {ending}"
    assert [ties_sentence(entry) for entry in (rung(1), {**rung(1), "explained_ties": 0})] == ["", ""]
    words = " ".join(text.split())
    assert ties_sentence(report.ladder[0]) in words
    assert ties_sentence(report.checks[0]) in words
    assert "own float32 rounding" not in printed(full)
    with pytest.raises(InputError) as caught:
        validate({**report.to_json(), "ladder": [{**rung(1), "explained_ties": -1}]})
    assert str(caught.value) == "report.ladder[0].explained_ties: -1 is less than the minimum of 0"


def test_compare(full: Report, tmp_path: Path) -> None:
    other = replace(full, backend="hls4ml", measurements=[figure("latency", 400.0, "ns", Kind.ESTIMATED)])
    write_report(full, tmp_path / "a")
    write_report(other, tmp_path / "b")
    comparison = compare_reports([tmp_path / "a", tmp_path / "b"])
    assert comparison.warnings == ("The row 'latency' mixes kinds: estimated, post_route.",)
    data = json.loads(json.dumps(comparison.to_json()))
    assert [build["backend"] for build in data["builds"]] == ["rtl", "hls4ml"]
    assert data["builds"][0]["figures"]["LUT"]["value"] == 1500
    assert data["builds"][1]["figures"]["LUT"] is None
    stream = io.StringIO()
    print_comparison(comparison, console_for(stream))
    lines = [line.split() for line in stream.getvalue().splitlines()]
    assert ["latency", "800", "ns", "(post_route)", "400", "ns", "(estimated)"] in lines
    assert ["LUT", "1,500", "LUT", "(post_route)", "-"] in lines
    assert not any(line[:1] == ["DSP"] for line in lines)


def test_compare_rows_of_exactness_and_time(full: Report, tmp_path: Path) -> None:
    wrong = {"rung": 2, "name": "HLS C++ = interpreter", "vectors": 50, "mismatches": 3, "seconds": 1.0}
    write_report(
        replace(full, ladder=[rung(1, 1000), rung(3, 1000)], timings={"graph": 1.5, "rtl": 60.0}), tmp_path / "a"
    )
    write_report(replace(full, ladder=[rung(1, 1000), wrong], timings={}), tmp_path / "b")
    comparison = compare_reports([tmp_path / "a", tmp_path / "b"])
    rows = {row.label: row.cells for row in comparison.rows()}
    assert rows["rung 1: Framework output"] == ("equal, 1,000 vectors", "equal, 1,000 vectors")
    assert rows["rung 2: HLS C++ on the CPU"] == ("", "DIFFERENT, 3 of 50 vectors")
    assert rows["rung 3: RTL in bulk"] == ("equal, 1,000 vectors", "")
    assert rows["time of all stages"] == ("61.5 s", "")
    assert "rung 4: RTL protocol and timing" not in rows
    builds = comparison.to_json()["builds"]
    assert [build["build_seconds"] for build in builds] == [61.5, None]
    assert builds[1]["ladder"][1]["mismatches"] == 3


def test_compare_page(full: Report, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    half = replace(full, backend=name, measurements=[figure("used_lut", 750, "LUT", Kind.ESTIMATED)])
    write_report(full, tmp_path / "a")
    write_report(half, tmp_path / "b")
    page = write_page(compare_reports([tmp_path / "a", tmp_path / "b"]), tmp_path / "new" / "page.html")
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    # Bars of the one figure that both have, from zero: 1,500 and 750 LUTs.
    assert re.findall(r'style="width: ([\d.]+)%', text) == ["100.00", "50.00"]
    assert KIND_MEANING[Kind.ESTIMATED] in text
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_page(compare_reports([tmp_path / "a", tmp_path / "b"]), tmp_path / "file" / "page.html")


def test_compare_warns_of_different_graphs(full: Report, tmp_path: Path) -> None:
    write_report(full, tmp_path / "a")
    write_report(replace(full, graph_digest="f" * 64), tmp_path / "b")
    assert compare_reports([tmp_path / "a", tmp_path / "b"]).warnings == (
        "The builds are of different integer graphs: their figures compare two networks, not two ways to build one.",
    )
    with pytest.raises(UsageError, match="comparing needs at least two build folders, found 1"):
        compare_reports([tmp_path / "a"])
