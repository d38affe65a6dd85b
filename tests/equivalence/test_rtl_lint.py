# SPDX-License-Identifier: Apache-2.0
"""Generated networks, of dense layers, on images, with branches and of narrow products, hostile names included, are clean in Verilator -Wall and in both of Yosys's frontends."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.branched_graphs import downsampling, joined, nested
from tests.equivalence.rtl_bundle import Member
from tests.equivalence.rtl_cases import narrow_members, network_members
from tests.equivalence.rtl_images import image_members
from toolchain.backends.rtl.streaming import plan
from toolchain.build.runner import run
from toolchain.build.tool import distribution_version
from toolchain.build.tools import verilator
from toolchain.ir import Dense, GraphBuilder, Input, IntegerType
from toolchain.passes.choose_folding import Folding, StageFolding
from toolchain.target import Target

DENSE = list(network_members(range(30, 46)))
IMAGES = list(image_members(range(300, 306)))
NARROW = list(narrow_members(range(300, 303)))
BRANCHED = [Member(graph.name, graph) for graph in (downsampling(), joined(), nested())]
MEMBERS = [*DENSE, *IMAGES, *NARROW, *BRANCHED]
#: Yosys takes longer: one of each kind and a few more.
FEW = [*DENSE[1:4], *IMAGES[:2], NARROW[0], BRANCHED[0]]

_YOSYS = """
import sys
import pyosys.libyosys as yosys
frontend, top = sys.argv[1:]
sources = open("files.f").read().split()
design = yosys.Design()
if frontend == "slang":
    yosys.run_pass(f"read_slang --top {top} " + " ".join(sources), design)
else:
    for source in sources:
        yosys.run_pass(f"read_verilog -sv -defer {source}", design)
    yosys.run_pass(f"hierarchy -check -top {top}", design)
yosys.run_pass("proc; opt; check -assert", design)
"""


@pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator and a C++ compiler")
@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_verilator_lint(member: Member, tmp_path: Path) -> None:
    made = plan(member.graph, member.target)
    made.write(tmp_path)
    log = verilator.lint(made.sources(".sv"), made.top, cwd=tmp_path, log=tmp_path / "lint.log").text()
    assert "%Warning" not in log


@pytest.mark.skipif(verilator.TOOL.find() is None, reason="needs Verilator and a C++ compiler")
@pytest.mark.parametrize("name", ["a", "B", "block", "state", "stream_fifo", "module"])
def test_a_name_that_the_library_uses_itself(name: str, tmp_path: Path) -> None:
    """A top called as an argument of a function below it would hide that one. The network has converters of every sort."""
    builder = GraphBuilder(name)
    x = builder.add(Input((6,), IntegerType(True, 4)), name="x")
    x = builder.add(Dense(np.arange(-12, 12).reshape(6, 4)), x, name="first")
    builder.output(builder.add(Dense(np.arange(-8, 4).reshape(4, 3)), x, name="second"))
    graph = builder.build()
    folding = Folding(24, {"first": StageFolding(simd=3, pe=4), "second": StageFolding(simd=1, pe=3)})
    made = plan(graph, Target(), folding)
    assert "rtl/stream_width_converter.sv" in made.sources(".sv")
    made.write(tmp_path)
    log = verilator.lint(made.sources(".sv"), made.top, cwd=tmp_path, log=tmp_path / "lint.log").text()
    assert "%Warning" not in log


@pytest.mark.skipif(distribution_version("pyosys") is None, reason="needs pyosys")
@pytest.mark.parametrize("frontend", ["slang", "verilog"])
@pytest.mark.parametrize("member", FEW, ids=lambda member: member.name)
def test_yosys_reads_it(member: Member, frontend: str, tmp_path: Path) -> None:
    made = plan(member.graph, member.target)
    made.write(tmp_path)
    command = [sys.executable, "-c", _YOSYS, frontend, made.top]
    log = run(command, cwd=tmp_path, log=tmp_path / "yosys.log", what="Yosys", timeout_s=120).text()
    assert "Warning" not in log
