# SPDX-License-Identifier: Apache-2.0
"""Verilator's runtime is compiled once: a second build takes the kept objects, and one with other settings does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.build.tools import cocotb, verilated_runtime

DESIGN = """module top (input wire logic clk, output logic [3:0] count);
  always_ff @(posedge clk) count <= count + 1'b1;
endmodule
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verilated_runtime, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def build(folder: Path) -> str:
    """Build the design for cocotb; returns the log."""
    folder.mkdir()
    (folder / "top.sv").write_text(DESIGN)
    cocotb.build_bench(["top.sv"], "top", ("clk", "count"), folder=folder, log=folder / "log")
    assert (folder / "bench_build" / "top").stat().st_mode & 0o100
    return (folder / "log").read_text()


def test_the_second_build_does_not_compile_the_runtime(cache: Path, tmp_path: Path) -> None:
    assert "verilated_vpi.cpp" in build(tmp_path / "first")
    (kept,) = cache.iterdir()
    names = {path.name for path in kept.iterdir()}
    assert names >= {"verilated.o", "verilated_vpi.o"}
    assert "verilator.o" not in names  # cocotb's main program knows the size of the design's class
    second = build(tmp_path / "second")
    assert "verilated_vpi.cpp" not in second
    assert "Vtop__ALL.cpp" in second
    assert "verilator.cpp" in second


def test_other_settings_have_other_objects(cache: Path) -> None:
    names = {verilated_runtime.key(*settings) for settings in ((), ("a",), ("a", "b"), ("ab",), (["a"], "b"))}
    assert len(names) == 5


def test_a_cache_that_cannot_be_written_is_no_error(cache: Path, tmp_path: Path) -> None:
    cache.write_text("in the way")
    objects = tmp_path / "objects"
    objects.mkdir()
    (objects / "verilated.o").write_bytes(b"x")
    verilated_runtime.keep(objects, "name")
    verilated_runtime.lay_out(objects, "name")
    assert cache.read_text() == "in the way"
